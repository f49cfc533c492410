//! The connection to the daemon, and what its errors mean.

use bollard::errors::Error;
use bollard::{API_DEFAULT_VERSION, Docker};
use legwork_core::FailureClass;
use legwork_engine::Fault;
use tokio::sync::OnceCell;

use crate::config::ConfigError;

/// Where the daemon listens unless it is said otherwise.
const USUAL_HOST: &str = "unix:///var/run/docker.sock";
/// Seconds that the daemon may take to begin an answer. Starting a container on a busy machine is the longest.
const ANSWER_SECONDS: u64 = 120;

/// A daemon that is connected to when it is first needed, and again if that failed.
pub(crate) struct Connection {
    host: String,
    docker: OnceCell<Docker>,
}

impl Connection {
    pub(crate) fn new(host: Option<&str>) -> Result<Self, ConfigError> {
        let host = host.filter(|host| !host.is_empty()).unwrap_or(USUAL_HOST);
        if !["unix://", "tcp://", "http://"].iter().any(|scheme| host.starts_with(scheme)) {
            return Err(ConfigError::Host { host: host.to_owned() });
        }
        Ok(Self { host: host.to_owned(), docker: OnceCell::new() })
    }

    /// The client. Requests share its kept-alive connections.
    pub(crate) async fn docker(&self) -> Result<&Docker, Fault> {
        let connect = async {
            let docker = if self.host.starts_with("unix://") {
                Docker::connect_with_unix(&self.host, ANSWER_SECONDS, API_DEFAULT_VERSION)?
            } else {
                Docker::connect_with_http(&self.host, ANSWER_SECONDS, API_DEFAULT_VERSION)?
            };
            docker.negotiate_version().await
        };
        self.docker.get_or_try_init(|| connect).await.map_err(|error: Error| {
            let message =
                format!("cannot reach the Docker daemon at {}: {}; is it running, and may we use it?", self.host, error);
            Fault::passing(FailureClass::EngineLost, message)
        })
    }
}

/// True if there is no such container, image or volume.
pub(crate) fn is_missing(error: &Error) -> bool {
    status(error) == Some(404)
}

/// The HTTP status of an error that the daemon itself has given.
pub(crate) fn status(error: &Error) -> Option<u16> {
    match error {
        Error::DockerResponseServerError { status_code, .. } => Some(*status_code),
        _ => None,
    }
}

/// The words of the daemon, or of whatever went wrong on the way to it.
pub(crate) fn words(error: &Error) -> String {
    match error {
        Error::DockerResponseServerError { message, .. } => message.trim().to_owned(),
        Error::DockerStreamError { error } => error.trim().to_owned(),
        other => {
            let mut text = other.to_string();
            let mut source = std::error::Error::source(other);
            while let Some(inner) = source {
                text = format!("{text}: {inner}");
                source = inner.source();
            }
            text
        }
    }
}

/// What an error means. `class` is what the daemon's own refusal would be; if it could not be asked, the engine is lost.
pub(crate) fn fault(class: FailureClass, doing: &str, error: &Error) -> Fault {
    let message = format!("{doing}: {}", words(error));
    match status(error) {
        // Says so itself while it shuts down.
        Some(503) => Fault::passing(FailureClass::EngineLost, message),
        Some(_) => Fault::lasting(class, message),
        None if matches!(error, Error::DockerStreamError { .. }) => Fault::lasting(class, message),
        None => Fault::passing(FailureClass::EngineLost, message),
    }
}
