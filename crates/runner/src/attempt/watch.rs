//! The three things that are waited for at the same time once an executor runs: its result, its end, the end of its log.

use std::path::Path;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use futures::future::BoxFuture;
use legwork_contract::output::{ResultFile, read_result};
use legwork_contract::session::{SessionKey, text_length};
use legwork_core::limits;
use legwork_engine::{Ended, Engine, Fault, Handle, ResultTaken};
use tokio::time::Instant;

use crate::backoff::Backoff;
use crate::log::pump::Pump;

/// Bytes that white space around an encrypted result may take.
const SLACK: u64 = 1024;

/// What was found out about a running executor, and what is still waited for.
pub(super) struct Watch<'a> {
    take: Option<BoxFuture<'a, Taken>>,
    wait: Option<BoxFuture<'a, Ended>>,
    logs: Option<BoxFuture<'a, ()>>,
    pub(super) taken: Option<Taken>,
    pub(super) ended: Option<Ended>,
}

/// A result as it was taken.
#[derive(Clone, Debug)]
pub(super) enum Taken {
    /// There is none.
    Missing,
    /// There is one, or what was meant to be one, in the spool.
    File(ResultFileSeen),
}

/// What lies in the spool's result file.
#[derive(Clone, Debug)]
pub(super) enum ResultFileSeen {
    Complete { exit_code: i64, message: String, plaintext_bytes: u64 },
    Unreadable { detail: String },
    TooLarge { bytes: u64, limit: u64 },
}

impl<'a> Watch<'a> {
    /// Begins to wait. The result is taken with this key into this file; not at all if it was taken before.
    pub(super) fn begin(
        engine: &'a dyn Engine,
        handle: &'a Handle,
        result: Option<(&'a SessionKey, &'a Path)>,
        pump: &'a mut Pump,
    ) -> Self {
        Self {
            take: result.map(|(key, into)| Box::pin(take(engine, handle, key, into)) as BoxFuture<'a, Taken>),
            wait: Some(Box::pin(again("wait for", || engine.wait(handle)))),
            logs: Some(Box::pin(pump.run(engine, handle))),
            taken: None,
            ended: None,
        }
    }

    pub(super) fn log_ended(&self) -> bool {
        self.logs.is_none()
    }

    pub(super) fn all_ended(&self) -> bool {
        self.ended.is_some() && self.logs.is_none()
    }

    /// Waits for the next of the three; for ever if all were there.
    pub(super) async fn advance(&mut self) {
        tokio::select! {
            biased;
            taken = or_never(self.take.as_mut()) => {
                self.taken = Some(taken);
                self.take = None;
            }
            ended = or_never(self.wait.as_mut()) => {
                self.ended = Some(ended);
                self.wait = None;
            }
            () = or_never(self.logs.as_mut()) => self.logs = None,
        }
    }

    /// Waits until something is so, or until the deadline. True if it is so.
    pub(super) async fn until(&mut self, deadline: Instant, mut is_so: impl FnMut(&Self) -> bool) -> bool {
        while !is_so(self) {
            tokio::select! {
                () = self.advance() => {}
                () = tokio::time::sleep_until(deadline) => return is_so(self),
            }
        }
        true
    }
}

async fn or_never<T>(future: Option<&mut BoxFuture<'_, T>>) -> T {
    match future {
        Some(future) => future.await,
        None => std::future::pending().await,
    }
}

/// Asks the engine again and again while it is away. The executor may be well meanwhile.
async fn again<T, F: Future<Output = Result<T, Fault>>>(what: &'static str, mut ask: impl FnMut() -> F) -> T {
    let mut backoff = Backoff::between(Duration::from_millis(200), Duration::from_secs(5));
    loop {
        match ask().await {
            Ok(answer) => return answer,
            Err(fault) => tracing::warn!(%fault, "the engine cannot {what} an executor now: trying again"),
        }
        tokio::time::sleep(backoff.next()).await;
    }
}

async fn take(engine: &dyn Engine, handle: &Handle, key: &SessionKey, into: &Path) -> Taken {
    let limit = text_length(limits::RESULT_BYTES) + SLACK;
    // The last look at the file is kept: a large one is not decrypted twice.
    let seen = Mutex::new(None);
    let is_complete = |path: &Path| {
        let found = look(key, path);
        let complete = !matches!(found, Some(ResultFile::Incomplete { .. }) | None);
        *seen.lock().unwrap_or_else(PoisonError::into_inner) = found;
        complete
    };
    let taken = again("take the result of", || engine.take_result(handle, into, limit, &is_complete)).await;
    let seen = seen.lock().unwrap_or_else(PoisonError::into_inner).take();
    match taken {
        // An earlier process may have taken it and not come to journal it.
        ResultTaken::Missing => match look(key, into) {
            Some(found @ ResultFile::Complete { .. }) => Taken::File(of(found)),
            _ => Taken::Missing,
        },
        ResultTaken::TooLarge { bytes } => {
            Taken::File(ResultFileSeen::TooLarge { bytes: bytes / 4 * 3, limit: limits::RESULT_BYTES })
        }
        ResultTaken::Complete | ResultTaken::Incomplete => match seen.or_else(|| look(key, into)) {
            Some(found) => Taken::File(of(found)),
            None => Taken::Missing,
        },
    }
}

/// What lies in the file; none if it cannot be read.
fn look(key: &SessionKey, path: &Path) -> Option<ResultFile> {
    let mut file = std::fs::File::open(path).ok()?;
    match read_result(key, &mut file) {
        Ok(found) => Some(found),
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "a spooled result cannot be read");
            None
        }
    }
}

fn of(found: ResultFile) -> ResultFileSeen {
    match found {
        ResultFile::Complete { summary, plaintext_bytes } => {
            ResultFileSeen::Complete { exit_code: summary.exit_code, message: summary.job_error_message, plaintext_bytes }
        }
        ResultFile::Incomplete { detail, .. } | ResultFile::Invalid { detail } => ResultFileSeen::Unreadable { detail },
        ResultFile::TooLarge { bytes, limit } => ResultFileSeen::TooLarge { bytes, limit },
    }
}
