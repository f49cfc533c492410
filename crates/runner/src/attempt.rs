//! An attempt's course: one function from the confirmed offer, or from wherever a restart finds it, until its executor is gone.
//!
//! Everything that happens at the same time for one attempt (log, result, end, signals) is polled by this one function, so
//! dropping it stops all of it and leaves the executor to the next start. Intent is journaled before every act.

mod bring_up;
mod follow;
mod outcome;
mod stop;
mod timings;
mod watch;

use std::sync::Arc;

use legwork_contract::mask::Patterns;
use legwork_contract::secrets::SecretSet;
use legwork_core::attempt::{AttemptState, ExecutorSeen, Recovery, recover};
use legwork_core::event::AttemptEvent;
use legwork_core::spec::Input;
use legwork_core::verdict::StopCause;
use legwork_core::{AttemptId, Failure, FailureClass, Timestamp};
use legwork_engine::Handle;
use tokio::sync::watch as channel;
use zeroize::Zeroizing;

use crate::context::Context;
use crate::input_spool;
use crate::journal::{InputPlace, LogPoint, Work};
use crate::live::Ticket;
use timings::Timings;

/// An attempt that is to be carried out, and how far it has come.
pub(crate) struct Job {
    pub(crate) id: AttemptId,
    pub(crate) work: Work,
    pub(crate) state: AttemptState,
    pub(crate) accepted_at: Timestamp,
    pub(crate) handle: Option<Handle>,
    pub(crate) started_at: Option<Timestamp>,
    pub(crate) seen: ExecutorSeen,
    pub(crate) log_point: LogPoint,
    pub(crate) result_chunks: u32,
    /// True if this is taken over from an earlier process.
    pub(crate) recovered: bool,
}

/// The attempt is not wanted any more, or cannot be journaled: remove the executor, say nothing.
struct Dropped;

/// What the parts of a course share.
struct Course {
    context: Arc<Context>,
    id: AttemptId,
    work: Work,
    started_at: Option<Timestamp>,
    log_point: LogPoint,
    patterns: Arc<Patterns>,
    stop: channel::Receiver<Option<StopCause>>,
    ticket: Ticket,
    result_chunks: channel::Sender<Option<u32>>,
    timings: Timings,
    recovered: bool,
}

/// Carries an attempt out and returns when its executor is gone. `result_chunks` is told as soon as it is known.
pub(crate) async fn run(context: Arc<Context>, ticket: Ticket, job: Job, result_chunks: channel::Sender<Option<u32>>) {
    let id = job.id;
    let handle = job.handle.clone().unwrap_or_else(|| Handle(id.executor_name()));
    let dropped = Box::pin(course(context.clone(), ticket, job, result_chunks)).await.is_err();
    if dropped {
        remove(&context, id, &handle).await;
    }
    context.live.gone(id);
    context.live.over(&context, id).await;
}

async fn course(
    context: Arc<Context>,
    ticket: Ticket,
    job: Job,
    result_chunks: channel::Sender<Option<u32>>,
) -> Result<(), Dropped> {
    let input = read_input(&context, &job);
    let (input, secrets) = match &input {
        Ok(input) => (Ok(input), SecretSet::of(input)),
        Err(failure) => (Err(failure.clone()), SecretSet::default()),
    };
    let patterns = Patterns::compile(&secrets);
    drop(secrets);
    let mut course = Course {
        id: job.id,
        started_at: job.started_at,
        log_point: job.log_point,
        patterns,
        stop: ticket.stop.clone(),
        ticket,
        result_chunks,
        timings: Timings::since(context.clock.now().since(job.accepted_at)),
        recovered: job.recovered,
        work: job.work,
        context,
    };
    if !course.recovered {
        course.warn_of_short_secrets().await;
    }
    let action = recover(Some(job.state), job.seen);
    match action {
        Recovery::Deliver => {
            let _ = course.result_chunks.send(Some(job.result_chunks));
            course.context.live.judged(course.id);
            return course.wind_up(job.handle.unwrap_or_else(|| Handle(course.id.executor_name()))).await;
        }
        Recovery::Remove => return Err(Dropped),
        _ => {}
    }
    if job.state == AttemptState::Stopping && job.seen == ExecutorSeen::Created {
        let cause = Course::stop_cause(&mut course.stop.clone()).await;
        return course.stopped_before_start(cause, job.handle).await;
    }
    let handle = match (action, job.handle) {
        (Recovery::Confirm | Recovery::Create, _) | (Recovery::Start, None) => match input {
            Err(failure) => return course.fail_before_start(failure, None).await,
            Ok(input) => match course.bring_up(input).await? {
                bring_up::Outcome::Started(handle) => handle,
                bring_up::Outcome::Failed(failure, handle) => return course.fail_before_start(failure, handle).await,
                bring_up::Outcome::Stopped(cause, handle) => return course.stopped_before_start(cause, handle).await,
            },
        },
        (Recovery::Start, Some(handle)) => match course.start_again(&handle).await? {
            bring_up::Outcome::Started(handle) => handle,
            bring_up::Outcome::Failed(failure, handle) => return course.fail_before_start(failure, handle).await,
            bring_up::Outcome::Stopped(cause, handle) => return course.stopped_before_start(cause, handle).await,
        },
        (_, handle) => handle.unwrap_or_else(|| Handle(course.id.executor_name())),
    };
    course.follow(handle, job.state == AttemptState::Stopping).await
}

impl Course {
    /// Waits until somebody wants the attempt to stop.
    async fn stop_cause(stop: &mut channel::Receiver<Option<StopCause>>) -> StopCause {
        let cause = stop.wait_for(Option::is_some).await.ok().and_then(|cause| cause.clone());
        match cause {
            Some(cause) => cause,
            None => std::future::pending().await,
        }
    }

    /// Journals events that nothing waits for.
    async fn say(&self, event: AttemptEvent) {
        if let Err(error) = self.context.journal.add_events(self.id, &[event]).await {
            tracing::warn!(attempt = %self.id, %error, "an event is lost");
        }
        self.context.outbox.news();
    }

    /// A secret that is too short to be masked is named where everybody sees it.
    async fn warn_of_short_secrets(&self) {
        for warning in self.patterns.warnings() {
            tracing::warn!(attempt = %self.id, "{warning}");
            self.say(AttemptEvent::StatusLine { text: format!("warning: {warning}") }).await;
        }
    }
}

/// Removes an executor and everything made for it, however long that takes.
async fn remove(context: &Context, attempt: AttemptId, handle: &Handle) {
    let mut backoff = crate::backoff::Backoff::between(std::time::Duration::from_millis(200), std::time::Duration::from_secs(10));
    while let Err(fault) = context.engine.remove(handle).await {
        tracing::warn!(%attempt, %fault, "the executor cannot be removed now: trying again");
        tokio::time::sleep(backoff.next()).await;
    }
}

fn read_input(context: &Context, job: &Job) -> Result<Input, Failure> {
    let unreadable =
        |problem: String| Failure::new(FailureClass::Configuration, format!("the task's input cannot be read: {problem}"));
    match &job.work.input {
        InputPlace::Inline { json } => serde_json::from_slice(json).map_err(|error| unreadable(error.to_string())),
        InputPlace::Spooled => {
            let json = input_spool::read(&context.spool.input(job.id), &context.key, job.id)
                .map_err(|error| unreadable(error.to_string()))?;
            serde_json::from_slice(&Zeroizing::new(json)).map_err(|error| unreadable(error.to_string()))
        }
    }
}
