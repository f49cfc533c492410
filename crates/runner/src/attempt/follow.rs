//! From the running executor to its verdict, and from there until it is gone.

use std::time::Duration;

use legwork_core::event::{AttemptEvent, LogSummary};
use legwork_core::verdict::{Evidence, StopCause};
use legwork_core::{Failure, TimeoutKind};
use legwork_engine::{Ended, Handle};
use tokio::time::Instant;

use super::outcome::{Judged, Seen};
use super::watch::{ResultFileSeen, Taken, Watch};
use super::{Course, Dropped, remove};
use crate::log::pump::Pump;

/// How long a successful result waits for the exit status, which would only be a note.
const EXIT_NOTE: Duration = Duration::from_millis(5);
/// How long a failing result waits for the executor's end, which may show that somebody else had stopped it.
const EVIDENCE: Duration = Duration::from_secs(5);
/// How long an executor may go on after its result was taken.
const LINGER: Duration = Duration::from_secs(30);
/// How long the engine may take to bring the rest of a log after the executor's end.
const LOG_REST: Duration = Duration::from_secs(30);
/// How long it may take in an abort: the executor is to be gone at its timeout + 2 s.
const LOG_REST_STOPPED: Duration = Duration::from_millis(1_000);
/// How long the last lines of a crashed plugin are waited for.
const LAST_LINES: Duration = Duration::from_secs(2);
/// For ever, as far as timers go.
const FAR: Duration = Duration::from_secs(10 * 365 * 24 * 3_600);

/// What ended the waiting for a result.
enum Until {
    Result,
    Stop(StopCause),
}

impl Course {
    /// Follows an executor that runs or ran. `stopping`: an earlier process has already sent signals.
    pub(super) async fn follow(&mut self, handle: Handle, stopping: bool) -> Result<(), Dropped> {
        let context = self.context.clone();
        let engine = context.engine.clone();
        let key = self.work.session_key.clone();
        let into = context.spool.result(self.id);
        let mut pump = self.pump();
        let mut terminating = pump.terminating();
        let last_lines = pump.last_lines();
        let mut watch = Watch::begin(&*engine, &handle, Some((&key, &into)), &mut pump);
        let until = if stopping {
            Until::Stop(Self::stop_cause(&mut self.stop.clone()).await)
        } else {
            self.until_result_or_stop(&mut watch).await
        };
        let stopped_for = match until {
            Until::Result => None,
            Until::Stop(StopCause::Superseded) => {
                drop(watch);
                remove(&context, self.id, &handle).await;
                return Err(Dropped);
            }
            Until::Stop(cause) => {
                self.journal_stop(&cause).await?;
                let superseded = self.send_signals(&mut watch, &handle, &mut terminating).await;
                if superseded {
                    drop(watch);
                    remove(&context, self.id, &handle).await;
                    return Err(Dropped);
                }
                Some(cause)
            }
        };
        if let Some(cause) = stopped_for {
            // What is aborted is Failed only once the engine has confirmed that it is gone.
            let rest = Instant::now() + LOG_REST_STOPPED;
            watch.until(rest, |watch| watch.all_ended() && watch.taken.is_some()).await;
            let (taken, ended) = (watch.taken.clone(), watch.ended.clone());
            drop(watch);
            let log = self.close_log(&mut pump).await;
            self.remove_ended(&handle).await;
            self.timings.spent_on("stop");
            let evidence = ended.as_ref().and_then(|ended| ended.evidence.clone()).filter(|evidence| {
                // After a restart the engine does not know that the signals were ours.
                !(stopping && matches!(evidence, Evidence::RemovedByOthers { .. }))
            });
            let exit = ended.and_then(|ended| ended.exit);
            let seen = Seen { taken, exit, evidence, stopped_for: Some(cause), last_lines: String::new() };
            self.report(seen).await?;
            self.tell_log_end(log).await;
            return Ok(());
        }
        self.timings.spent_on("run");
        self.wait_for_evidence(&mut watch).await;
        let (taken, ended) = (watch.taken.clone(), watch.ended.clone());
        if taken.is_none() || matches!(taken, Some(Taken::Missing)) {
            watch.until(Instant::now() + LAST_LINES, Watch::log_ended).await;
        }
        let superseded = *self.stop.borrow() == Some(StopCause::Superseded);
        if superseded {
            drop(watch);
            remove(&context, self.id, &handle).await;
            return Err(Dropped);
        }
        let Ended { exit, evidence } = ended.unwrap_or(Ended { exit: None, evidence: None });
        let crashed = matches!(taken, None | Some(Taken::Missing));
        let last_lines = if crashed { last_lines.text() } else { String::new() };
        let seen = Seen { taken, exit, evidence, stopped_for: None, last_lines };
        self.report(seen).await?;
        self.let_it_end(&mut watch).await;
        drop(watch);
        // First the log's end is durable: what is removed cannot be read again.
        self.end_log(pump).await;
        self.remove_ended(&handle).await;
        Ok(())
    }

    /// A verdict is journaled, by this process or an earlier one; what is left is the rest of the log and the executor.
    pub(super) async fn wind_up(&mut self, handle: Handle) -> Result<(), Dropped> {
        let context = self.context.clone();
        let mut pump = self.pump();
        if !self.log_point.ended {
            let engine = context.engine.clone();
            let mut watch = Watch::begin(&*engine, &handle, None, &mut pump);
            self.let_it_end(&mut watch).await;
        }
        // First the log's end is durable: what is removed cannot be read again.
        self.end_log(pump).await;
        self.remove_ended(&handle).await;
        Ok(())
    }

    /// The executor was never started: the engine's words are the verdict.
    pub(super) async fn fail_before_start(&mut self, failure: Failure, handle: Option<Handle>) -> Result<(), Dropped> {
        self.remove_unstarted(handle).await;
        self.report_failure(failure).await?;
        let pump = self.pump();
        self.end_log(pump).await;
        Ok(())
    }

    /// The executor was never started, because somebody wanted it to stop.
    pub(super) async fn stopped_before_start(&mut self, cause: StopCause, handle: Option<Handle>) -> Result<(), Dropped> {
        if cause == StopCause::Superseded {
            self.remove_unstarted(handle).await;
            return Err(Dropped);
        }
        self.journal_stop(&cause).await?;
        self.remove_unstarted(handle).await;
        let seen = Seen { taken: None, exit: None, evidence: None, stopped_for: Some(cause), last_lines: String::new() };
        self.report(seen).await?;
        let pump = self.pump();
        self.end_log(pump).await;
        Ok(())
    }

    async fn remove_unstarted(&self, handle: Option<Handle>) {
        if let Some(handle) = handle {
            remove(&self.context, self.id, &handle).await;
        }
        self.context.live.gone(self.id);
    }

    fn pump(&self) -> Pump {
        Pump::resume(
            self.context.log_place(self.id),
            self.work.spec.log_limit,
            self.log_point,
            self.patterns.clone(),
            self.context.clone(),
            self.ticket.progress.clone(),
        )
    }

    async fn until_result_or_stop(&self, watch: &mut Watch<'_>) -> Until {
        let mut stop = self.stop.clone();
        let timeout = self.work.spec.run_timeout;
        let deadline = match timeout {
            None => Instant::now() + FAR,
            Some(timeout) => {
                // The time in which no runner was there counts too.
                let ran = self.started_at.map_or(Duration::ZERO, |started| self.context.clock.now().since(started));
                let ran = if self.recovered { ran } else { Duration::ZERO };
                Instant::now() + timeout.saturating_sub(ran)
            }
        };
        tokio::select! {
            biased;
            there = watch.until(deadline, |watch| watch.taken.is_some()) => {
                if there {
                    return Until::Result;
                }
            }
            cause = Self::stop_cause(&mut stop) => return Until::Stop(cause),
        }
        let millis = u64::try_from(timeout.unwrap_or_default().as_millis()).unwrap_or(u64::MAX);
        Until::Stop(StopCause::Timeout { kind: TimeoutKind::Run, millis })
    }

    /// Waits for what else the verdict depends on. A stop that comes now comes after the result: it only ends the wait.
    async fn wait_for_evidence(&self, watch: &mut Watch<'_>) {
        let patience = match &watch.taken {
            Some(Taken::File(ResultFileSeen::Complete { exit_code: 0, .. })) => EXIT_NOTE,
            Some(Taken::File(ResultFileSeen::Complete { .. })) => EVIDENCE,
            // It is judged by its size alone.
            Some(Taken::File(ResultFileSeen::TooLarge { .. })) => return,
            // The executor has ended: how, the engine will say.
            Some(Taken::File(ResultFileSeen::Unreadable { .. }) | Taken::Missing) | None => LINGER,
        };
        let mut stop = self.stop.clone();
        tokio::select! {
            _ = watch.until(Instant::now() + patience, |watch| watch.ended.is_some()) => {}
            _ = Self::stop_cause(&mut stop) => {}
        }
    }

    /// After the verdict: the executor may end by itself and its log come to its end, for a while.
    async fn let_it_end(&self, watch: &mut Watch<'_>) {
        let mut stop = self.stop.clone();
        tokio::select! {
            _ = watch.until(Instant::now() + LINGER, |watch| watch.ended.is_some()) => {}
            _ = Self::stop_cause(&mut stop) => {}
        }
        if watch.ended.is_none() {
            tracing::info!(attempt = %self.id, "the executor went on after its result: ending it");
            // The removal that follows kills what a signal does not.
            return;
        }
        if !watch.until(Instant::now() + LOG_REST, Watch::log_ended).await {
            tracing::warn!(attempt = %self.id, "the engine did not bring the rest of the log in time");
        }
    }

    /// Ends the log, durably: the executor may be removed then. The event that says so comes after the verdict.
    async fn close_log(&mut self, pump: &mut Pump) -> LogSummary {
        let summary = pump.finish().await;
        self.log_point = pump.point();
        self.keep_log_point(&[]).await;
        summary
    }

    /// Says that the log has ended.
    async fn tell_log_end(&mut self, summary: LogSummary) {
        self.log_point.told = true;
        self.keep_log_point(&[AttemptEvent::LogComplete(summary)]).await;
        self.context.outbox.news();
    }

    /// Ends the log and says so, after the verdict.
    async fn end_log(&mut self, mut pump: Pump) {
        if !self.log_point.told {
            let summary = pump.finish().await;
            self.log_point = pump.point();
            self.tell_log_end(summary).await;
        }
    }

    async fn keep_log_point(&self, events: &[AttemptEvent]) {
        let (context, id, point) = (&self.context, self.id, self.log_point);
        if let Err(error) = context.durable("the end of a log", || context.journal.set_log_point(id, point, events)).await {
            tracing::error!(attempt = %id, %error, "the end of the log is not journaled");
        }
    }

    async fn remove_ended(&self, handle: &Handle) {
        remove(&self.context, self.id, handle).await;
        self.context.live.gone(self.id);
    }

    async fn report(&mut self, seen: Seen) -> Result<(), Dropped> {
        let judged = self.judge(seen).await;
        self.journal_verdict(judged).await
    }

    async fn report_failure(&mut self, failure: Failure) -> Result<(), Dropped> {
        let judged = Judged::failure(&failure, self.patterns.mask_text(&failure.message), self.timings.list());
        self.journal_verdict(judged).await
    }
}
