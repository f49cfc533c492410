//! Which server a command talks to.

use std::path::PathBuf;

/// Which server, and who we are to it.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Connection")]
pub(crate) struct ConnectionArgs {
    /// The server's address; what `legwork dev` or `legwork login` remembered, if not given
    ///
    /// `legwork dev` is found from its folder and those below it.
    #[arg(long, env = "LEGWORK_SERVER", value_name = "URL")]
    pub(crate) server: Option<String>,
    /// A personal access token (better in the environment than here, where others can see it)
    #[arg(long, env = "LEGWORK_TOKEN", value_name = "TOKEN", hide_env_values = true)]
    pub(crate) token: Option<String>,
    /// Certificates (PEM) of CAs to trust beside the system's, such as the server's ca.pem
    #[arg(long, env = "LEGWORK_CA", value_name = "FILE")]
    pub(crate) ca: Option<PathBuf>,
}
