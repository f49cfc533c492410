//! Why a runner does not start.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

/// Why a runner does not start. Every one is a matter of its configuration: the process exits with 64.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A setting has a value that it cannot have.
    #[error("the {field} cannot be used: {problem}")]
    Invalid {
        /// Which setting.
        field: &'static str,
        /// What is wrong with it and what to do.
        problem: String,
    },
    /// There is no such engine.
    #[error("there is no engine {name:?}: use one of {accepted}")]
    UnknownEngine {
        /// What was asked for.
        name: String,
        /// What there is.
        accepted: String,
    },
    /// The engine's address cannot be used.
    #[error("the engine cannot be set up: {detail}")]
    Engine {
        /// What is wrong.
        detail: String,
    },
    /// The store cannot be made or written to.
    #[error("the data directory {path} cannot be used: {source}; give one that this user may write to", path = path.display())]
    DataDir {
        /// Which directory.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Another process has the store.
    #[error("a runner ({holder}) already uses {path}: stop it, or give this one another data directory", path = path.display())]
    InUse {
        /// Which directory.
        path: PathBuf,
        /// Who, as far as is known: `pid 17`.
        holder: String,
    },
    /// The health endpoints cannot listen there.
    #[error("the health endpoints cannot listen on {address}: {source}; free the port or choose another one")]
    Health {
        /// Where.
        address: SocketAddr,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The key file cannot be used.
    #[error(transparent)]
    Key(#[from] legwork_sealing::KeyError),
    /// The journal cannot be opened.
    #[error("the journal cannot be opened: {0}")]
    Journal(#[from] legwork_database::OpenError),
    /// What the journal holds cannot be read.
    #[error("the journal cannot be read: {0}")]
    JournalContent(#[from] crate::journal::JournalError),
    /// TLS cannot be set up.
    #[error("TLS cannot be set up: {0}")]
    Tls(String),
}
