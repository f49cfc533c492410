//! What servers and runners have in common as processes: runtime, log, end.

use std::future::Future;
use std::io::IsTerminal as _;
use std::time::Duration;

use anyhow::Context as _;
use legwork_lifecycle::Stopped;
use tracing_subscriber::EnvFilter;

use crate::args::process::{LogFormat, ProcessArgs};
use crate::failure::{Complaint, Ending};

/// Longer than anything lasts.
pub(crate) const FOR_EVER: Duration = Duration::from_hours(24 * 365 * 100);
/// How long a process that was told to stop may take to finish what it is at.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Sets the log up and runs `body` on as many threads as asked for.
pub(crate) fn run(args: &ProcessArgs, body: impl Future<Output = anyhow::Result<Ending>>) -> anyhow::Result<Ending> {
    log_to_stderr(args)?;
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(usize::from(args.worker_threads))
        .enable_all()
        .build()
        .context("the runtime cannot be started")?
        .block_on(body)
}

fn log_to_stderr(args: &ProcessArgs) -> anyhow::Result<()> {
    let filter = EnvFilter::builder()
        .parse(&args.log)
        .map_err(|error| Complaint::configuration(format!("--log (or LEGWORK_LOG) {:?}: {error}", args.log)))?;
    let subscriber = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let set = match args.log_format {
        LogFormat::Text => subscriber.with_ansi(std::io::stderr().is_terminal()).try_init(),
        LogFormat::Json => subscriber.json().flatten_event(true).try_init(),
    };
    set.map_err(|error| anyhow::anyhow!("the log cannot be set up: {error}"))
}

/// How a process ends after its life did.
pub(crate) fn ending(stopped: Stopped) -> anyhow::Result<Ending> {
    match stopped {
        Stopped::Asked | Stopped::Forced => Ok(Ending::Success),
        Stopped::Failed(why) => Err(anyhow::anyhow!(why)),
    }
}
