//! `legwork runner …`, but for `start`.

use legwork_core::Capabilities;
use legwork_protocol::duration::HumanDuration;

use crate::args::connection::ConnectionArgs;
use crate::args::runner_start::RunnerStartArgs;

/// What to do with runners.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum RunnerCommand {
    /// Start a runner on this machine
    Start(Box<RunnerStartArgs>),
    /// List the runners of a server
    List {
        #[command(flatten)]
        connection: ConnectionArgs,
    },
    /// Show everything about a runner
    Show(OneRunner),
    /// Change a runner's title, capabilities, capacity or eviction time
    Edit(EditRunnerArgs),
    /// Let a runner take work again
    Enable(OneRunner),
    /// Keep new work from a runner; what it has goes on
    Disable(OneRunner),
    /// Let a runner finish what it has, and give it nothing new
    Drain(OneRunner),
    /// Trust the process that runs as this runner now, after the server has held it back
    ///
    /// The server holds a runner back when its store seems to be a copy, or when two processes run on one identity.
    Accept(OneRunner),
    /// Delete a runner: it finishes what it has, wipes its store and exits
    Delete(OneRunner),
}

/// One runner.
#[derive(Debug, clap::Args)]
pub(crate) struct OneRunner {
    /// The runner: its title, its id, or four or more characters of the id's beginning or end
    #[arg(value_name = "RUNNER")]
    pub(crate) runner: String,
    #[command(flatten)]
    pub(crate) connection: ConnectionArgs,
}

/// Change a runner's title, capabilities, capacity or eviction time
///
/// What is not given stays as it is. The runner takes it over while it runs.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  legwork runner edit builder-2 --capacity 16 --capabilities remote,container,docker,gpu")]
pub(crate) struct EditRunnerArgs {
    /// The runner: its title, its id, or four or more characters of the id's beginning or end
    #[arg(value_name = "RUNNER")]
    pub(crate) runner: String,
    /// What people call it
    #[arg(long, value_name = "TEXT")]
    pub(crate) title: Option<String>,
    /// Everything that it offers, separated by commas
    #[arg(long, value_name = "LIST", value_parser = Capabilities::parse_list)]
    pub(crate) capabilities: Option<Capabilities>,
    /// How many executors it may have; 0 stops it from taking work
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(0..=1000))]
    pub(crate) capacity: Option<u32>,
    /// How long idle executors are kept, such as 60s; 0s keeps none
    #[arg(long, value_name = "DURATION")]
    pub(crate) eviction_time: Option<HumanDuration>,
    #[command(flatten)]
    pub(crate) connection: ConnectionArgs,
}
