//! From the confirmed offer to the started executor.

use std::time::Duration;

use bytes::Bytes;
use legwork_contract::input::InputContext;
use legwork_contract::session;
use legwork_core::event::{AttemptEvent, Phase};
use legwork_core::spec::Input;
use legwork_core::verdict::StopCause;
use legwork_core::{Failure, FailureClass, TimeoutKind, limits};
use legwork_engine::{ExecutorSpec, Fault, Handle, Pooling, Remedy, RunSettings};
use tokio::sync::watch;
use tokio::time::Instant;

use super::{Course, Dropped};
use crate::backoff::Backoff;
use crate::journal::Change;

/// A phase that is over sooner than this is not told.
const WORTH_TELLING: Duration = Duration::from_millis(50);
/// How often the progress of a phase is told.
const TELL_EVERY: Duration = Duration::from_secs(1);

/// How the bringing up went.
pub(super) enum Outcome {
    /// The executor was started.
    Started(Handle),
    /// It could not be; the handle is there if something may have been created.
    Failed(Failure, Option<Handle>),
    /// Somebody wanted it to stop.
    Stopped(StopCause, Option<Handle>),
}

/// How one step of it went.
enum Step<T> {
    Done(T),
    Failed(Failure),
    Stopped(StopCause),
}

impl Course {
    /// Prepares the image, creates the executor and starts it.
    pub(super) async fn bring_up(&mut self, input: &Input) -> Result<Outcome, Dropped> {
        let (context, id) = (self.context.clone(), self.id);
        let mut stop = self.stop.clone();
        tokio::select! {
            () = context.live.within_capacity(id) => {}
            cause = Self::stop_cause(&mut stop) => return Ok(Outcome::Stopped(cause, None)),
        }
        // Pulling an image creates nothing of ours, so it need not wait for the journal.
        let (journaled, image) = tokio::join!(
            context.durable("creating", || context.journal.change(id, Change::Creating, &[])),
            self.prepare_image(),
        );
        journaled.map_err(|error| self.not_journaled(&error))?;
        match image {
            Step::Done(()) => {}
            Step::Failed(failure) => return Ok(Outcome::Failed(failure, None)),
            Step::Stopped(cause) => return Ok(Outcome::Stopped(cause, None)),
        }
        self.timings.spent_on("image");
        let spec = match self.executor_spec(input) {
            Ok(spec) => spec,
            Err(failure) => return Ok(Outcome::Failed(failure, None)),
        };
        let name = Handle(id.executor_name());
        let deadline = Instant::now() + limits::START_TIMEOUT;
        let engine = context.engine.clone();
        let created = self
            .step(Some(Phase::Starting), TimeoutKind::Start, limits::START_TIMEOUT, deadline, None, || engine.create(&spec))
            .await;
        drop(spec);
        let handle = match created {
            Step::Done(handle) => handle,
            Step::Failed(failure) => return Ok(Outcome::Failed(failure, Some(name))),
            Step::Stopped(cause) => return Ok(Outcome::Stopped(cause, Some(name))),
        };
        self.timings.spent_on("create");
        let started_at = context.clock.now();
        self.started_at = Some(started_at);
        let running = [AttemptEvent::Phase { phase: Phase::Running, detail: String::new() }];
        context
            .durable("running", || context.journal.change(id, Change::Running { handle: handle.clone(), started_at }, &running))
            .await
            .map_err(|error| self.not_journaled(&error))?;
        self.start(handle, deadline).await
    }

    /// Starts an executor that an earlier process has created.
    pub(super) async fn start_again(&mut self, handle: &Handle) -> Result<Outcome, Dropped> {
        self.start(handle.clone(), Instant::now() + limits::START_TIMEOUT).await
    }

    async fn start(&mut self, handle: Handle, deadline: Instant) -> Result<Outcome, Dropped> {
        let engine = self.context.engine.clone();
        // The journal has said `running` already, and that is sent as soon as it is true.
        let started = self.step(None, TimeoutKind::Start, limits::START_TIMEOUT, deadline, None, || engine.start(&handle)).await;
        self.timings.spent_on("start");
        self.context.outbox.news();
        Ok(match started {
            Step::Done(()) => Outcome::Started(handle),
            Step::Failed(failure) => Outcome::Failed(failure, Some(handle)),
            Step::Stopped(cause) => Outcome::Stopped(cause, Some(handle)),
        })
    }

    async fn prepare_image(&self) -> Step<()> {
        let (tell, told) = watch::channel(String::new());
        let tell = move |text: String| {
            tell.send_replace(text);
        };
        let engine = &self.context.engine;
        let image = &self.work.spec.image;
        let deadline = Instant::now() + limits::PULL_TIMEOUT;
        self.step(Some(Phase::Image), TimeoutKind::Image, limits::PULL_TIMEOUT, deadline, Some(told), || async {
            engine.prepare(image, &tell).await.map(drop)
        })
        .await
    }

    /// Does one thing with the engine, again if it is away, until the deadline or a stop; tells the phase if it takes long.
    async fn step<T, F: Future<Output = Result<T, Fault>>>(
        &self,
        phase: Option<Phase>,
        kind: TimeoutKind,
        timeout: Duration,
        deadline: Instant,
        told: Option<watch::Receiver<String>>,
        mut act: impl FnMut() -> F,
    ) -> Step<T> {
        let mut stop = self.stop.clone();
        let mut last_fault: Option<Fault> = None;
        let acting = async {
            let mut backoff = Backoff::between(Duration::from_millis(200), Duration::from_secs(5));
            loop {
                match act().await {
                    Ok(done) => return Step::Done(done),
                    Err(fault) if fault.remedy == Remedy::GiveUp => return Step::Failed(fault.failure),
                    Err(fault) => {
                        tracing::warn!(attempt = %self.id, %fault, "the engine cannot do this now: trying again");
                        last_fault = Some(fault);
                    }
                }
                tokio::time::sleep(backoff.next()).await;
            }
        };
        tokio::select! {
            biased;
            cause = Self::stop_cause(&mut stop) => return Step::Stopped(cause),
            done = acting => return done,
            () = tokio::time::sleep_until(deadline) => {}
            () = self.tell(phase, told) => {}
        }
        match last_fault {
            // It was not slow, it was away: that is what the user should read.
            Some(fault) => Step::Failed(fault.failure),
            None => Step::Stopped(StopCause::Timeout { kind, millis: u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX) }),
        }
    }

    /// Tells the phase, if it is to be told, and its progress, for as long as it takes.
    async fn tell(&self, phase: Option<Phase>, told: Option<watch::Receiver<String>>) {
        let Some(phase) = phase else {
            return std::future::pending().await;
        };
        tokio::time::sleep(WORTH_TELLING).await;
        let Some(mut told) = told else {
            self.say(AttemptEvent::Phase { phase, detail: String::new() }).await;
            return std::future::pending().await;
        };
        loop {
            let detail = told.borrow_and_update().clone();
            self.say(AttemptEvent::Phase { phase, detail }).await;
            tokio::time::sleep(TELL_EVERY).await;
            if told.changed().await.is_err() {
                return std::future::pending().await;
            }
        }
    }

    fn executor_spec(&self, input: &Input) -> Result<ExecutorSpec, Failure> {
        let (spec, key) = (&self.work.spec, &self.work.session_key);
        let release_url = &self.context.release_url;
        let json = InputContext::new(spec, input, self.id, Some(release_url)).to_json();
        let text = session::encrypt(key, &json)
            .map_err(|error| Failure::new(FailureClass::CouldNotStart, format!("the input cannot be encrypted: {error}")))?;
        Ok(ExecutorSpec {
            name: self.id.executor_name(),
            owner: self.context.owner(),
            epoch: self.context.epoch(),
            attempt: Some(self.id),
            image: spec.image.clone(),
            settings: RunSettings {
                limits: spec.limits,
                network: spec.network,
                read_only_root: spec.read_only_root,
                log_limit: spec.log_limit,
            },
            session_key: key.clone(),
            release_url: release_url.clone(),
            pooling: Pooling::Single { input: Bytes::from(text) },
        })
    }
}
