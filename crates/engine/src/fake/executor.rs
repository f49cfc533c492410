//! One executor of the fake engine: a state, and the point in time at which the state ends by itself.
//!
//! Nothing runs for it. Whoever waits for its end sleeps until that point and then records the end.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use legwork_contract::abort::Signal;
use legwork_contract::session::SessionKey;
use legwork_core::attempt::ExecutorSeen;
use legwork_core::verdict::{Evidence, Exit};
use legwork_core::{AttemptId, FailureClass};
use tokio::sync::watch;
use tokio::time::Instant;

use super::script::{Log, Script};
use crate::{Ended, ExecutorSpec, Fault, Owner};

pub(super) struct Executor {
    pub(super) owner: Owner,
    pub(super) attempt: Option<AttemptId>,
    key: SessionKey,
    memory_limit: u64,
    state: watch::Sender<State>,
}

#[derive(Clone)]
enum State {
    /// Made and not started; without a script it will be parked.
    Created(Option<Arc<Script>>),
    /// Started, and waiting for its input.
    Parked,
    /// Started, and somebody has opened its input.
    Reading,
    /// Doing what its script says until `until`.
    Running { script: Arc<Script>, until: Instant },
    /// At its end.
    Over(Arc<Over>),
}

struct Over {
    ended: Ended,
    /// The result as the plugin left it, encrypted.
    result: Option<Bytes>,
    script: Option<Arc<Script>>,
    /// Not in the engine's list any more.
    lost: bool,
}

impl Executor {
    pub(super) fn new(spec: &ExecutorSpec, script: Option<Script>) -> Self {
        Self {
            owner: spec.owner,
            attempt: spec.attempt,
            key: spec.session_key.clone(),
            memory_limit: spec.settings.limits.memory_bytes,
            state: watch::Sender::new(State::Created(script.map(Arc::new))),
        }
    }

    pub(super) fn start(&self) -> Result<(), Fault> {
        let mut outcome = Ok(());
        self.state.send_if_modified(|state| {
            let State::Created(script) = state else { return false };
            if let Some(words) = script.as_ref().and_then(|script| script.fail_start.clone()) {
                outcome = Err(Fault::lasting(FailureClass::CouldNotStart, words));
                return false;
            }
            *state = script.take().map_or(State::Parked, running);
            true
        });
        outcome
    }

    pub(super) fn open_pipe(self: &Arc<Self>) -> Result<Pipe, Fault> {
        let mut opened = false;
        self.state.send_if_modified(|state| {
            opened = matches!(state, State::Parked);
            if opened {
                *state = State::Reading;
            }
            opened
        });
        if opened {
            Ok(Pipe { executor: self.clone(), written: Some(Vec::new()) })
        } else {
            Err(Fault::lasting(FailureClass::CouldNotStart, "the executor is not parked: it cannot be given an input"))
        }
    }

    pub(super) fn signal(&self, signal: Signal) {
        self.stop(signal, None);
    }

    pub(super) fn stop_by_others(&self) {
        self.stop(
            Signal::Terminate,
            Some(Evidence::RemovedByOthers { detail: "stopped by somebody else (signal 15)".to_owned() }),
        );
    }

    pub(super) fn lose(&self) {
        self.state.send_if_modified(|state| {
            let lost = !matches!(state, State::Over(_));
            if lost {
                *state = State::Over(Arc::new(Over { ended: gone_by_others(), result: None, script: None, lost: true }));
            }
            lost
        });
    }

    /// What a signal does to it: ABRT nothing, as with the Python SDK; TERM a failed result, unless it was told to ignore
    /// signals; KILL the end.
    fn stop(&self, signal: Signal, evidence: Option<Evidence>) {
        self.settle();
        self.state.send_if_modified(|state| {
            let script = match state {
                State::Created(_) | State::Over(_) => return false,
                State::Parked | State::Reading => None,
                State::Running { script, .. } => Some(script.clone()),
            };
            let ignores = script.as_ref().is_some_and(|script| script.ignore_signals);
            let (exit, result) = match signal {
                Signal::Kill => (Exit::Signal(9), None),
                Signal::Terminate if !ignores => {
                    (Exit::Status(1), script.as_ref().and_then(|script| script.stopped_result(&self.key)))
                }
                Signal::Terminate | Signal::Abort => return false,
            };
            let ended = Ended { exit: Some(exit), evidence };
            *state = State::Over(Arc::new(Over { ended, result, script, lost: false }));
            true
        });
    }

    pub(super) fn seen(&self) -> ExecutorSeen {
        self.settle();
        match &*self.state.borrow() {
            State::Created(_) => ExecutorSeen::Created,
            State::Parked | State::Reading | State::Running { .. } => ExecutorSeen::Running,
            State::Over(over) if over.lost => ExecutorSeen::Missing,
            State::Over(_) => ExecutorSeen::Exited,
        }
    }

    pub(super) fn is_lost(&self) -> bool {
        self.seen() == ExecutorSeen::Missing
    }

    pub(super) async fn ended(&self) -> Ended {
        self.over().await.ended.clone()
    }

    pub(super) async fn result(&self) -> Option<Bytes> {
        self.over().await.result.clone()
    }

    /// Everything that it writes; all of it is there from the moment it runs.
    pub(super) async fn log_when_running(&self) -> Log {
        let mut states = self.state.subscribe();
        let reached = states.wait_for(|state| matches!(state, State::Running { .. } | State::Over(_))).await;
        let script = match reached.as_deref() {
            Ok(State::Running { script, .. }) => Some(script.clone()),
            Ok(State::Over(over)) => over.script.clone(),
            _ => None,
        };
        script.map(|script| script.log()).unwrap_or_default()
    }

    async fn over(&self) -> Arc<Over> {
        let mut states = self.state.subscribe();
        loop {
            self.settle();
            let until = match &*states.borrow_and_update() {
                State::Over(over) => return over.clone(),
                State::Running { until, .. } => Some(*until),
                State::Created(_) | State::Parked | State::Reading => None,
            };
            // A change cannot be missed: the state was marked as seen above. The sender lives as long as `self`.
            match until {
                Some(until) => drop(tokio::time::timeout_at(until, states.changed()).await),
                None => drop(states.changed().await),
            }
        }
    }

    /// Records the end if its time has come.
    fn settle(&self) {
        self.state.send_if_modified(|state| {
            let State::Running { script, until } = state else { return false };
            if Instant::now() < *until {
                return false;
            }
            *state = State::Over(Arc::new(self.finish(script.clone())));
            true
        });
    }

    fn finish(&self, script: Arc<Script>) -> Over {
        if script.lose {
            return Over { ended: gone_by_others(), result: None, script: None, lost: true };
        }
        if script.oom {
            let evidence = Evidence::OutOfMemory { limit: self.memory_limit, peak: Some(self.memory_limit) };
            let ended = Ended { exit: Some(Exit::Signal(9)), evidence: Some(evidence) };
            return Over { ended, result: None, script: Some(script), lost: false };
        }
        let ended = Ended { exit: Some(Exit::Status(script.process_exit)), evidence: None };
        Over { ended, result: script.result(&self.key), script: Some(script), lost: false }
    }
}

fn running(script: Arc<Script>) -> State {
    let until = Instant::now() + Duration::from_millis(script.sleep_ms);
    State::Running { script, until }
}

/// The end of an executor that is not there any more.
pub(super) fn gone_by_others() -> Ended {
    let detail = "it is not there any more, and this runner did not remove it".to_owned();
    Ended { exit: None, evidence: Some(Evidence::RemovedByOthers { detail }) }
}

/// The writing end of a parked executor's input. Closed, or dropped, the executor reads what was written until then.
pub(super) struct Pipe {
    executor: Arc<Executor>,
    written: Option<Vec<u8>>,
}

impl Pipe {
    pub(super) fn write(&mut self, bytes: &[u8]) {
        if let Some(written) = &mut self.written {
            written.extend_from_slice(bytes);
        }
    }

    pub(super) fn close(mut self) -> Result<(), Fault> {
        if self.deliver() {
            Ok(())
        } else {
            Err(Fault::lasting(FailureClass::RemovedByOthers, "the executor has ended while it was given its input"))
        }
    }

    fn deliver(&mut self) -> bool {
        let Some(written) = self.written.take() else { return false };
        let script = Arc::new(Script::read(&written, &self.executor.key));
        self.executor.state.send_if_modified(|state| {
            let reading = matches!(state, State::Reading);
            if reading {
                *state = running(script);
            }
            reading
        })
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        self.deliver();
    }
}
