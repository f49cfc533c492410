//! What a runner is told when it starts. The cli crate reads it from flags, variables and files.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use legwork_core::{Capabilities, Clock};
use legwork_docker::{DockerConfig, DockerEngine};
use legwork_engine::Engine;
use legwork_engine::fake::FakeEngine;
use zeroize::Zeroizing;

use crate::channel::Address;
use crate::error::StartError;

/// Where the health endpoints listen unless something else is asked for.
pub const HEALTH_ADDRESS: &str = "0.0.0.0:8686";

/// Everything that a runner must be told.
pub struct RunnerConfig {
    /// The server's address, such as `https://legwork.example:5516`.
    pub server_url: String,
    /// The personal access token that it registers with.
    pub token: Token,
    /// Certificates, in PEM, to trust beside those of the system.
    pub ca_pem: Option<Vec<u8>>,
    /// True if an `http://` address of the server is allowed.
    pub plain_http: bool,
    /// Where its store is.
    pub data_dir: PathBuf,
    /// What it is called, until the server's settings say otherwise.
    pub title: String,
    /// What it offers, likewise.
    pub capabilities: Capabilities,
    /// Executors it may have, likewise.
    pub capacity: u32,
    /// Facts about it: cluster, environment, namespace, labels.
    pub metadata: BTreeMap<String, String>,
    /// What starts its executors.
    pub engine: EngineChoice,
    /// The server's address as plugins may use it, if it differs from `server_url`.
    pub release_url: Option<String>,
    /// Where `/live`, `/ready` and `/metrics` are; none = nowhere.
    pub health: Option<SocketAddr>,
    /// True if it waits for its live executors when it is stopped; else the next start takes them over.
    pub drain: bool,
    /// Where wall-clock time comes from.
    pub clock: Clock,
}

/// Which engine starts the executors.
#[derive(Clone)]
pub enum EngineChoice {
    /// Docker.
    Docker(DockerConfig),
    /// The one that does nothing.
    Fake,
    /// One that the caller has made.
    Made(Arc<dyn Engine>),
}

/// The names that [`EngineChoice::from_name`] takes.
pub const ENGINE_NAMES: &[&str] = &["docker", "fake"];

impl EngineChoice {
    /// The engine of this name.
    pub fn from_name(name: &str, docker: DockerConfig) -> Result<Self, StartError> {
        match name {
            "docker" => Ok(Self::Docker(docker)),
            "fake" => Ok(Self::Fake),
            _ => Err(StartError::UnknownEngine { name: name.to_owned(), accepted: ENGINE_NAMES.join(", ") }),
        }
    }

    pub(crate) fn make(&self) -> Result<Arc<dyn Engine>, StartError> {
        match self {
            Self::Docker(config) => {
                let engine =
                    DockerEngine::new(config.clone()).map_err(|error| StartError::Engine { detail: error.to_string() })?;
                Ok(Arc::new(engine))
            }
            Self::Fake => Ok(Arc::new(FakeEngine::new())),
            Self::Made(engine) => Ok(engine.clone()),
        }
    }
}

/// A personal access token. It is never shown.
#[derive(Clone)]
pub struct Token(Zeroizing<String>);

impl Token {
    /// The token with this text; blanks around it do not count.
    pub fn new(text: &str) -> Self {
        Self(Zeroizing::new(text.trim().to_owned()))
    }

    pub(crate) fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

impl RunnerConfig {
    /// Checks what can be checked without opening anything.
    pub(crate) fn check(&self) -> Result<Address, StartError> {
        let invalid = |field: &'static str, problem: String| StartError::Invalid { field, problem };
        if self.token.expose().is_empty() {
            return Err(invalid(
                "token",
                "it is empty: create one with `legwork token create` and the permission runner#registration".to_owned(),
            ));
        }
        if self.token.expose().chars().any(|c| c.is_control() || !c.is_ascii()) {
            return Err(invalid("token", "it holds characters that no token has: copy it again".to_owned()));
        }
        if self.capacity == 0 || self.capacity > legwork_core::limits::CAPACITY_MAX {
            let most = legwork_core::limits::CAPACITY_MAX;
            return Err(invalid("capacity", format!("{} is not between 1 and {most}", self.capacity)));
        }
        if self.title.trim().is_empty() {
            return Err(invalid("title", "it is empty".to_owned()));
        }
        Address::parse(&self.server_url, self.plain_http).map_err(|problem| invalid("server URL", problem))
    }
}
