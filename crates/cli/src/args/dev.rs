//! `legwork dev`.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::ValueEnum;

use crate::args::process::ProcessArgs;

/// Start a server and a runner on this machine, for trying things out
///
/// Both run in this process and keep their data in ./.legwork, so that stopping and starting again loses nothing.
/// All other commands find the server by themselves when they are called in this folder or below it.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  legwork dev\n  legwork dev --port 6000 --health-port 6001 --data-dir /tmp/try/.legwork")]
pub(crate) struct DevArgs {
    /// The folder for all data; other commands look for one called .legwork
    #[arg(long, env = "LEGWORK_DEV_DATA_DIR", value_name = "DIR", default_value = ".legwork")]
    pub(crate) data_dir: PathBuf,
    /// The address that the server listens on
    #[arg(long, env = "LEGWORK_DEV_BIND", value_name = "ADDRESS", default_value = "127.0.0.1")]
    pub(crate) bind: IpAddr,
    /// The server's port; 0 takes a free one
    #[arg(long, env = "LEGWORK_DEV_PORT", value_name = "PORT", default_value_t = 5516)]
    pub(crate) port: u16,
    /// The port of the runner's /live, /ready and /metrics; 0 takes a free one
    #[arg(long, env = "LEGWORK_DEV_HEALTH_PORT", value_name = "PORT", default_value_t = 8686)]
    pub(crate) health_port: u16,
    /// What runs the containers
    #[arg(long, env = "LEGWORK_DEV_ENGINE", value_enum, default_value_t, value_name = "ENGINE")]
    pub(crate) engine: DevEngine,
    #[command(flatten)]
    pub(crate) process: ProcessArgs,
}

/// What runs the containers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum DevEngine {
    /// The Docker daemon of this machine
    #[default]
    Docker,
    /// Nothing: executors that only pretend, for measuring everything else
    #[value(hide = true)]
    Fake,
}
