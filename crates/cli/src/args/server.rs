//! `legwork server …`.

use std::net::IpAddr;
use std::path::PathBuf;

use crate::args::process::ProcessArgs;

/// What to do with a server.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum ServerCommand {
    /// Start a server
    Start(Box<ServerStartArgs>),
}

/// Start a server
///
/// On its first start it makes its own CA and certificate, a key under which secrets are stored, a SQLite database,
/// and the user `admin`, all in the data directory. It stops on SIGTERM; running tasks go on meanwhile.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  legwork server start --data-dir /var/lib/legwork --host-name legwork.example.com\n  legwork server start --database-url postgres://legwork@db/legwork --tls-certificate tls.crt --tls-key tls.key\n\nExit status: 0 after it was told to stop, 64 bad configuration, 2 anything else."
)]
pub(crate) struct ServerStartArgs {
    /// Where keys, certificates and the default database are kept
    #[arg(long, env = "LEGWORK_DATA_DIR", value_name = "DIR", default_value = "legwork-server")]
    pub(crate) data_dir: PathBuf,
    /// The address to listen on
    #[arg(long, env = "LEGWORK_BIND", value_name = "ADDRESS", default_value = "0.0.0.0")]
    pub(crate) bind: IpAddr,
    /// The port to listen on; 0 takes a free one
    #[arg(long, env = "LEGWORK_PORT", value_name = "PORT", default_value_t = legwork_server::DEFAULT_PORT)]
    pub(crate) port: u16,
    /// The database, postgres://… or sqlite://…; a file in the data directory if not given
    #[arg(long, env = "LEGWORK_DATABASE_URL", value_name = "URL", hide_env_values = true)]
    pub(crate) database_url: Option<String>,
    /// The file with the key under which secrets are stored (mode 0600, made if missing); one in the data directory if not given
    #[arg(long, env = "LEGWORK_MASTER_KEY_FILE", value_name = "FILE")]
    pub(crate) master_key_file: Option<PathBuf>,
    /// That key itself, 32 bytes in base64; meant for the environment
    #[arg(long, env = "LEGWORK_MASTER_KEY", value_name = "BASE64", hide_env_values = true, conflicts_with = "master_key_file")]
    pub(crate) master_key: Option<String>,
    /// The password of the user `admin`, used on the first start only; made up and printed once if not given
    #[arg(long, env = "LEGWORK_ADMIN_PASSWORD", value_name = "PASSWORD", hide_env_values = true)]
    pub(crate) admin_password: Option<String>,
    /// A file with that password
    #[arg(long, env = "LEGWORK_ADMIN_PASSWORD_FILE", value_name = "FILE", conflicts_with = "admin_password")]
    pub(crate) admin_password_file: Option<PathBuf>,
    /// The server's certificate and its chain (PEM); the server makes its own if not given
    #[arg(long, env = "LEGWORK_TLS_CERTIFICATE", value_name = "FILE", requires = "tls_key")]
    pub(crate) tls_certificate: Option<PathBuf>,
    /// The certificate's private key (PEM)
    #[arg(long, env = "LEGWORK_TLS_KEY", value_name = "FILE", requires = "tls_certificate")]
    pub(crate) tls_key: Option<PathBuf>,
    /// A name or address for the certificate that the server makes (can be repeated): how runners and people reach it
    #[arg(long = "host-name", env = "LEGWORK_HOST_NAMES", value_name = "NAME", value_delimiter = ',')]
    pub(crate) host_names: Vec<String>,
    /// Serve without TLS: only behind something that adds it
    #[arg(long, env = "LEGWORK_PLAIN_HTTP", conflicts_with_all = ["tls_certificate", "tls_key"])]
    pub(crate) plain_http: bool,
    #[command(flatten)]
    pub(crate) process: ProcessArgs,
}
