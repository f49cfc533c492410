//! What a Docker engine has to be told.

use std::path::PathBuf;

/// How a Docker engine is set up.
#[derive(Clone, Debug, Default)]
pub struct DockerConfig {
    /// The daemon, as `DOCKER_HOST` names it: `unix:///path` or `tcp://host:port`; none for the usual socket.
    pub host: Option<String>,
    /// How the files of an executor are reached.
    pub files: Files,
    /// Docker's own configuration file with the credentials of registries, usually `~/.docker/config.json`.
    pub credentials: Option<PathBuf>,
}

/// How the files of an executor are reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Files {
    /// Directly if the daemon's volumes lie in our own file system, by the API otherwise.
    #[default]
    WhereverTheyAre,
    /// Always by the API, as with a daemon on another machine.
    ByApi,
}

/// A setting cannot work.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// Another scheme.
    #[error("the Docker host {host:?} is not understood: give unix:///path/to/docker.sock or tcp://host:port")]
    Host {
        /// What was given.
        host: String,
    },
}
