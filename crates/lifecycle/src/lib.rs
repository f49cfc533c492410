//! Start and stop of a process: signals, tokens, supervised tasks.
//!
//! Every long-running future of the server and the runner is spawned here by name. One that ends or panics
//! although nobody asked it to stops the process ([`Lifecycle::run_until_stopped`] returns the reason), so that nothing
//! fails in silence. It knows nothing of what the futures do. Start reading at [`Lifecycle`].

use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::FutureExt as _;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The life of one process, or of one half of it: clones are the same life.
#[derive(Clone, Debug, Default)]
pub struct Lifecycle {
    inner: Arc<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    soft: CancellationToken,
    hard: CancellationToken,
    tracker: TaskTracker,
    failure: Mutex<Option<String>>,
}

/// How a life ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stopped {
    /// It was asked to, and everything ended in time.
    Asked,
    /// It was asked to, and what did not end in time was dropped.
    Forced,
    /// Something that should go on for ever ended by itself; this says what.
    Failed(String),
}

impl Lifecycle {
    /// A life that nothing has stopped yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Runs `future` until it ends, and stops everything if it ends although nobody asked it to.
    ///
    /// When the life is stopped the future gets [`Lifecycle::stopping`] and is expected to return; when it is forced, it is dropped.
    pub fn spawn(&self, name: &'static str, future: impl Future<Output = ()> + Send + 'static) {
        self.supervise(name, future, false);
    }

    /// Runs `future`, which may end whenever it likes. A panic of it stops everything.
    pub fn spawn_once(&self, name: &'static str, future: impl Future<Output = ()> + Send + 'static) {
        self.supervise(name, future, true);
    }

    fn supervise(&self, name: &'static str, future: impl Future<Output = ()> + Send + 'static, may_end: bool) {
        let life = self.clone();
        let guarded = async move {
            let ended = tokio::select! {
                ended = std::panic::AssertUnwindSafe(future).catch_unwind() => ended,
                () = life.inner.hard.cancelled() => return,
            };
            if ended.is_err() {
                life.fail(format!("{name} panicked"));
            } else if !may_end && !life.inner.soft.is_cancelled() {
                life.fail(format!("{name} ended by itself"));
            }
        };
        drop(self.inner.tracker.spawn(guarded));
    }

    /// The token that says: take no new work, finish, return.
    pub fn stopping(&self) -> &CancellationToken {
        &self.inner.soft
    }

    /// Asks everything to stop.
    pub fn stop(&self) {
        self.inner.soft.cancel();
    }

    /// Stops everything because of a failure, which the process then reports.
    pub fn fail(&self, why: String) {
        tracing::error!(why, "stopping because of a failure");
        self.inner.failure.lock().unwrap_or_else(std::sync::PoisonError::into_inner).get_or_insert(why);
        self.inner.soft.cancel();
    }

    /// Waits until somebody asks for a stop (or a signal does, if `signals`), then until everything has ended.
    ///
    /// A second signal, or `patience` being over, drops what has not ended.
    pub async fn run_until_stopped(&self, signals: bool, patience: Duration) -> Stopped {
        if signals {
            tokio::select! {
                () = self.inner.soft.cancelled() => {}
                name = stop_signal() => tracing::info!(signal = name, "stopping"),
            }
        } else {
            self.inner.soft.cancelled().await;
        }
        self.inner.soft.cancel();
        self.inner.tracker.close();
        let forced = tokio::select! {
            () = self.inner.tracker.wait() => false,
            () = tokio::time::sleep(patience) => true,
            _ = stop_signal(), if signals => true,
        };
        if forced {
            tracing::warn!("not everything ended in time: stopping now");
            self.inner.hard.cancel();
            self.inner.tracker.wait().await;
        }
        match self.inner.failure.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone() {
            Some(why) => Stopped::Failed(why),
            None if forced => Stopped::Forced,
            None => Stopped::Asked,
        }
    }
}

/// Waits for SIGTERM or SIGINT and says which came.
async fn stop_signal() -> &'static str {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut terminate), Ok(mut interrupt)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt())) else {
        tracing::error!("signals cannot be listened for");
        return std::future::pending().await;
    };
    tokio::select! {
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_task_that_ends_by_itself_stops_everything() {
        let life = Lifecycle::new();
        let other = life.clone();
        life.spawn("patient", async move { other.stopping().cancelled().await });
        life.spawn("brief", async {});
        assert_eq!(
            life.run_until_stopped(false, Duration::from_secs(5)).await,
            Stopped::Failed("brief ended by itself".to_owned())
        );
    }

    #[tokio::test]
    async fn a_panic_stops_everything() {
        let life = Lifecycle::new();
        life.spawn_once("clumsy", async { panic!("on purpose") });
        assert_eq!(life.run_until_stopped(false, Duration::from_secs(5)).await, Stopped::Failed("clumsy panicked".to_owned()));
    }

    #[tokio::test]
    async fn what_does_not_end_is_dropped() {
        let life = Lifecycle::new();
        life.spawn("stubborn", std::future::pending());
        life.stop();
        assert_eq!(life.run_until_stopped(false, Duration::from_millis(10)).await, Stopped::Forced);
    }
}
