//! `legwork token …`.

use legwork_core::TokenId;
use legwork_protocol::duration::HumanDuration;

use crate::args::connection::ConnectionArgs;

/// The permission that a runner's token needs, and the only one.
pub(crate) const RUNNER_REGISTRATION: &str = "runner#registration";

/// What to do with tokens.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum TokenCommand {
    /// Make a token and print it, this once
    Create(CreateTokenArgs),
    /// List the tokens, without their texts
    List {
        #[command(flatten)]
        connection: ConnectionArgs,
    },
    /// Revoke a token: whoever uses it is refused from now on
    Revoke {
        /// The token's id, as `legwork token list` shows it
        id: TokenId,
        #[command(flatten)]
        connection: ConnectionArgs,
    },
}

/// Make a token and print it, this once
///
/// Standard output gets the token and nothing else, so that it can be captured by a script.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  legwork token create --runner --note \"runner in data centre 2\"\n  legwork token create --note ci --permission task#run --permission task#view --expires 30d"
)]
pub(crate) struct CreateTokenArgs {
    /// For a runner: short for --permission runner#registration
    #[arg(long)]
    pub(crate) runner: bool,
    /// What it is for
    #[arg(long, value_name = "TEXT")]
    pub(crate) note: Option<String>,
    /// What it allows (can be repeated); everything that you may, if none is given
    #[arg(long = "permission", value_name = "PERMISSION")]
    pub(crate) permissions: Vec<String>,
    /// How long it is valid, such as 30d; for ever if not given
    #[arg(long, value_name = "DURATION")]
    pub(crate) expires: Option<HumanDuration>,
    #[command(flatten)]
    pub(crate) connection: ConnectionArgs,
}
