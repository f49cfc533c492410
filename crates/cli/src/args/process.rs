//! What servers and runners have in common as processes.

use clap::ValueEnum;

/// How a process logs.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Process")]
pub(crate) struct ProcessArgs {
    /// What is logged to standard error: a level, or levels by module such as `info,legwork_runner=debug`
    #[arg(long, env = "LEGWORK_LOG", value_name = "FILTER", default_value = "info")]
    pub(crate) log: String,
    /// How it is logged
    #[arg(long, env = "LEGWORK_LOG_FORMAT", value_enum, default_value_t, value_name = "FORMAT")]
    pub(crate) log_format: LogFormat,
    /// Threads that do the work
    #[arg(long, env = "LEGWORK_WORKER_THREADS", value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub(crate) worker_threads: u16,
}

/// How log lines are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// For people
    #[default]
    Text,
    /// One JSON object a line
    Json,
}
