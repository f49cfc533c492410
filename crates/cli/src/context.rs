//! What every command may use.

use legwork_client::Client;
use legwork_core::{Clock, Timestamp};

use crate::args::Format;
use crate::args::connection::ConnectionArgs;
use crate::environment::Environment;
use crate::saved;

/// What every command may use.
#[derive(Debug)]
pub(crate) struct Context {
    /// The environment.
    pub(crate) environment: Environment,
    /// How results are written.
    pub(crate) format: Format,
    /// The wall clock.
    pub(crate) clock: Clock,
}

impl Context {
    /// A client for the server that the flags name, or else for the one that is remembered.
    pub(crate) fn client(&self, args: &ConnectionArgs) -> anyhow::Result<Client> {
        saved::client(args, &self.environment)
    }

    /// The present time.
    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// True if results go to programs.
    pub(crate) fn json(&self) -> bool {
        self.format == Format::Json
    }
}
