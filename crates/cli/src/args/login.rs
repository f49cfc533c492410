//! `legwork login`.

use std::path::PathBuf;

/// Log in to a server and remember it
///
/// The address, the CA and a token are kept in `$XDG_CONFIG_HOME/legwork/client.json`, readable only by you. With a
/// user name, the password is used once to make a token and is not kept.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  legwork login https://legwork.example.com:5516 --user admin --ca ca.pem\n  legwork login https://legwork.example.com:5516 --user ci --password-stdin < password.txt"
)]
pub(crate) struct LoginArgs {
    /// The server's address
    #[arg(value_name = "URL")]
    pub(crate) url: String,
    /// Certificates (PEM) of CAs to trust beside the system's; a copy is kept
    #[arg(long, env = "LEGWORK_CA", value_name = "FILE")]
    pub(crate) ca: Option<PathBuf>,
    /// A personal access token to use from now on
    #[arg(long, env = "LEGWORK_TOKEN", value_name = "TOKEN", hide_env_values = true)]
    pub(crate) token: Option<String>,
    /// A user name; the password is asked for
    #[arg(long, value_name = "USER")]
    pub(crate) user: Option<String>,
    /// Read the password from standard input instead of asking for it
    #[arg(long, requires = "user")]
    pub(crate) password_stdin: bool,
}
