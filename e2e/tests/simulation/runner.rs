//! A small model of a runner: what it has on disk, what its engine has, and what its process knows.

use std::collections::{BTreeMap, BTreeSet};

use legwork_core::attempt::{AttemptState, ExecutorSeen};
use legwork_core::event::{AttemptEvent, LogStream, LogSummary, Phase, Report, ResultBytes};
use legwork_core::task::Outcome;
use legwork_core::{AttemptId, Epoch, FailureClass, InstanceId, RunnerId};

/// What the journal says of an attempt.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) state: AttemptState,
    /// Events that are not acknowledged, by number.
    pub(crate) events: BTreeMap<u64, AttemptEvent>,
    next_event: u64,
    /// An abort was journaled.
    pub(crate) stopping: bool,
}

impl Entry {
    pub(crate) fn accepted() -> Self {
        Self { state: AttemptState::Accepted, events: BTreeMap::new(), next_event: 1, stopping: false }
    }

    /// One write of the journal: the next state and what is told about it.
    pub(crate) fn write(&mut self, state: AttemptState, events: Vec<AttemptEvent>) -> Result<(), String> {
        if !self.state.may_become(state) {
            return Err(format!("the journal would go from {} to {state}", self.state));
        }
        self.state = state;
        self.stopping |= state == AttemptState::Stopping;
        for event in events {
            self.events.insert(self.next_event, event);
            self.next_event += 1;
        }
        Ok(())
    }
}

/// A container, as its engine has it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Container {
    pub(crate) seen: ExecutorSeen,
    /// The plugin has written its result.
    pub(crate) result: bool,
}

/// What one process of a runner knows. It is gone with it.
#[derive(Clone, Debug)]
pub(crate) struct Process {
    /// Tells its messages from those of earlier processes.
    pub(crate) instance: InstanceId,
    pub(crate) epoch: Option<Epoch>,
    /// The call that asks for an offer's confirmation.
    pub(crate) confirming: BTreeMap<AttemptId, u64>,
    /// Offers that the server has confirmed.
    pub(crate) confirmed: BTreeSet<AttemptId>,
    /// Attempts that it was asked to abort.
    pub(crate) aborting: BTreeSet<AttemptId>,
    /// Until when it waits for the answer to a poll, and to its events.
    pub(crate) poll_until: i64,
    pub(crate) events_until: i64,
}

impl Process {
    pub(crate) fn new() -> Self {
        Self {
            instance: InstanceId::new(),
            epoch: None,
            confirming: BTreeMap::new(),
            confirmed: BTreeSet::new(),
            aborting: BTreeSet::new(),
            poll_until: 0,
            events_until: 0,
        }
    }
}

/// A runner: disk and engine stay when its process ends.
#[derive(Debug)]
pub(crate) struct Runner {
    pub(crate) id: RunnerId,
    pub(crate) capacity: usize,
    pub(crate) last_epoch: Epoch,
    pub(crate) journal: BTreeMap<AttemptId, Entry>,
    pub(crate) containers: BTreeMap<AttemptId, Container>,
    pub(crate) process: Option<Process>,
}

impl Runner {
    pub(crate) fn new(capacity: usize) -> Self {
        Self {
            id: RunnerId::new(),
            capacity,
            last_epoch: Epoch(0),
            journal: BTreeMap::new(),
            containers: BTreeMap::new(),
            process: None,
        }
    }

    pub(crate) fn seen(&self, attempt: AttemptId) -> ExecutorSeen {
        self.containers.get(&attempt).map_or(ExecutorSeen::Missing, |container| container.seen)
    }

    pub(crate) fn free_slots(&self) -> usize {
        let busy = self.journal.iter().filter(|(id, entry)| entry.state.is_live() || self.containers.contains_key(id)).count();
        self.capacity.saturating_sub(busy)
    }

    /// The attempts that the process holds and that have no verdict.
    pub(crate) fn holding(&self) -> Vec<AttemptId> {
        self.journal.iter().filter(|(_, entry)| entry.state.is_live()).map(|(id, _)| *id).collect()
    }

    /// Executor, entry and what the process knows of it go. True if there was an entry.
    pub(crate) fn forget(&mut self, attempt: AttemptId) -> bool {
        self.containers.remove(&attempt);
        if let Some(process) = &mut self.process {
            process.confirming.remove(&attempt);
            process.confirmed.remove(&attempt);
            process.aborting.remove(&attempt);
        }
        self.journal.remove(&attempt).is_some()
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.journal.is_empty() && self.containers.is_empty()
    }
}

/// The result that an attempt's plugin writes.
pub(crate) fn result_of(attempt: AttemptId) -> String {
    format!("{{\"attempt\":\"{attempt}\"}}")
}

/// What is told when the executor is about to start.
pub(crate) fn running_events() -> Vec<AttemptEvent> {
    vec![
        AttemptEvent::Phase { phase: Phase::Running, detail: String::new() },
        AttemptEvent::Comment { stream: LogStream::Stdout, offset: 0, text: "hello".to_owned() },
    ]
}

/// What is told with a verdict.
pub(crate) fn final_events(attempt: AttemptId, result: bool, failure: Option<FailureClass>) -> Vec<AttemptEvent> {
    let report = Report {
        outcome: failure.map_or(Outcome::Completed, Outcome::Failed),
        message: String::new(),
        exit: None,
        result_exit_code: None,
        result: if result { ResultBytes::Inline { json: result_of(attempt) } } else { ResultBytes::Missing },
        evidence: None,
        timings: Vec::new(),
    };
    vec![AttemptEvent::Finished(report), AttemptEvent::LogComplete(LogSummary::default())]
}
