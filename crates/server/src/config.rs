//! What a server is started with, and why it may not start.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

use legwork_core::Clock;

/// What a server is started with.
#[derive(Clone)]
pub struct ServerConfig {
    /// Where keys, certificates and the default database lie. Made if it does not exist.
    pub data_dir: PathBuf,
    /// Where the server listens; port 0 lets the system choose.
    pub listen: SocketAddr,
    /// How connections are protected.
    pub tls: TlsConfig,
    /// The database's address; SQLite in the data directory if not given.
    pub database_url: Option<String>,
    /// Where the key comes from under which secrets are stored.
    pub master_key: MasterKey,
    /// The first user's password, used at the first start only; made up and handed back if not given.
    pub admin_password: Option<String>,
    /// More names and addresses for the certificate that the server makes: those under which runners and people reach it.
    pub host_names: Vec<String>,
    /// The wall clock.
    pub clock: Clock,
}

impl ServerConfig {
    /// A server with everything at its default and this data directory.
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        Self {
            data_dir: data_dir.into(),
            listen: SocketAddr::from(([0, 0, 0, 0], DEFAULT_PORT)),
            tls: TlsConfig::OwnAuthority,
            database_url: None,
            master_key: MasterKey::InDataDir,
            admin_password: None,
            host_names: Vec::new(),
            clock: Clock::system(),
        }
    }
}

/// Passwords and keys are not shown.
impl fmt::Debug for ServerConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerConfig")
            .field("data_dir", &self.data_dir)
            .field("listen", &self.listen)
            .field("tls", &self.tls)
            .field("host_names", &self.host_names)
            .finish_non_exhaustive()
    }
}

/// The port that the server listens on unless told otherwise.
pub const DEFAULT_PORT: u16 = 5516;

/// How connections are protected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TlsConfig {
    /// By certificates of the server's own authority, which it makes in its data directory at the first start.
    OwnAuthority,
    /// By these files.
    Files {
        /// The certificate and its chain, as PEM.
        certificate: PathBuf,
        /// Its private key, as PEM.
        key: PathBuf,
    },
    /// Not at all: something in front of the server protects them.
    Plain,
}

/// Where the key comes from under which secrets are stored.
#[derive(Clone)]
pub enum MasterKey {
    /// The file `master.key` of the data directory, made at the first start with mode 0600.
    InDataDir,
    /// This file, likewise.
    File(PathBuf),
    /// This text, 32 bytes in base64.
    Given(String),
}

/// Why a server does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Something that was asked for cannot be: the process ends with status 64, and nothing was opened.
    #[error("{0}")]
    Configuration(String),
    /// Something went wrong that the configuration is not to blame for.
    #[error("{what}")]
    Failed {
        /// What was being done.
        what: &'static str,
        /// What went wrong.
        source: anyhow::Error,
    },
}

impl StartError {
    pub(crate) fn failed(what: &'static str, source: impl Into<anyhow::Error>) -> Self {
        Self::Failed { what, source: source.into() }
    }

    /// True if the configuration is to blame.
    pub fn is_configuration(&self) -> bool {
        matches!(self, Self::Configuration(_))
    }
}
