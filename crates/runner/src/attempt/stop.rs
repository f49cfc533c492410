//! Ending an executor: the contract's plan of signals, and the kill at its end.

use std::time::Duration;

use legwork_contract::abort::{AbortPlan, Signal, Step};
use legwork_core::event::{AttemptEvent, Phase};
use legwork_core::verdict::StopCause;
use legwork_engine::Handle;
use tokio::sync::watch;
use tokio::time::Instant;

use super::watch::Watch;
use super::{Course, Dropped};
use crate::journal::{Change, JournalError};

/// How long a killed executor may take to be seen as ended before it is simply removed.
const AFTER_KILL: Duration = Duration::from_millis(500);
/// How long the engine may take for one signal.
const SIGNAL_TIMEOUT: Duration = Duration::from_secs(2);

impl Course {
    /// Journals why signals will be sent. Nothing is sent before this is durable.
    pub(super) async fn journal_stop(&self, cause: &StopCause) -> Result<(), Dropped> {
        let (context, id) = (&self.context, self.id);
        let detail = match cause {
            StopCause::Abort { by } => format!("aborted {by}"),
            StopCause::Timeout { kind, .. } => format!("the {kind} timeout was over"),
            StopCause::Superseded => String::new(),
        };
        let events = [AttemptEvent::Phase { phase: Phase::Stopping, detail }];
        context
            .durable("stopping", || context.journal.change(id, Change::Stopping { cause: cause.clone() }, &events))
            .await
            .map_err(|error| self.not_journaled(&error))?;
        context.outbox.news();
        Ok(())
    }

    /// Sends signals until the executor has ended or was killed. True if meanwhile nobody wants the attempt any more.
    pub(super) async fn send_signals(
        &self,
        watch: &mut Watch<'_>,
        handle: &Handle,
        terminating: &mut watch::Receiver<bool>,
    ) -> bool {
        let engine = self.context.engine.clone();
        let mut plan = AbortPlan::new(self.work.spec.abort_timeout);
        let began = Instant::now();
        let mut superseded = self.stop.clone();
        loop {
            if watch.ended.is_some() {
                return false;
            }
            let acknowledged = *terminating.borrow_and_update();
            match plan.next(began.elapsed(), acknowledged) {
                Step::Send(signal) => {
                    // The log goes on being read: it may say that the signal has arrived, or be what the plugin waits for.
                    let sending = tokio::time::timeout(SIGNAL_TIMEOUT, engine.signal(handle, signal));
                    tokio::pin!(sending);
                    let sent = loop {
                        tokio::select! {
                            sent = &mut sending => break sent,
                            () = watch.advance() => {}
                        }
                    };
                    match sent {
                        Ok(Ok(())) => {}
                        Ok(Err(fault)) => {
                            tracing::warn!(attempt = %self.id, %fault, signal = signal.name(), "the signal was not sent");
                        }
                        Err(_) => {
                            tracing::warn!(attempt = %self.id, signal = signal.name(), "the engine takes too long for a signal");
                        }
                    }
                    if signal == Signal::Kill {
                        watch.until(Instant::now() + AFTER_KILL, |watch| watch.ended.is_some()).await;
                        return false;
                    }
                }
                Step::Wait(time) => {
                    tokio::select! {
                        _ = watch.until(Instant::now() + time, |watch| watch.ended.is_some()) => {}
                        _ = terminating.wait_for(|seen| *seen && !acknowledged) => {}
                        _ = superseded.wait_for(|cause| *cause == Some(StopCause::Superseded)) => return true,
                    }
                }
            }
        }
    }

    /// The journal's guard has refused: something else has ended this attempt.
    pub(super) fn not_journaled(&self, error: &JournalError) -> Dropped {
        tracing::error!(attempt = %self.id, %error, "this attempt cannot go on");
        Dropped
    }
}
