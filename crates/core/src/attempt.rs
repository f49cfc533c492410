//! The states of an attempt in its runner's journal, and what a runner does with each after a restart.
//!
//! `Accepted → Creating → Running → ResultTaken → Acknowledged → Removed`, from every state before
//! `ResultTaken` also `Stopping`. Each is written before the act it announces.

use crate::failure::text_enum;

text_enum!(
    /// How far an attempt has come, as its runner has journaled it.
    AttemptState {
        /// The offer is journaled; the server may not know that yet.
        Accepted = "accepted",
        /// The server knows; the image is pulled and the executor is created, not started.
        Creating = "creating",
        /// The executor is about to start or has started.
        Running = "running",
        /// Signals are being sent; why is journaled beside it.
        Stopping = "stopping",
        /// The verdict is journaled and waits in the outbox.
        ResultTaken = "result_taken",
        /// The server has everything.
        Acknowledged = "acknowledged",
        /// Executor and spool are gone; the entry can go too.
        Removed = "removed",
    }
);

impl AttemptState {
    /// True if the journal may go from this state to `next`.
    pub fn may_become(self, next: Self) -> bool {
        use AttemptState as A;
        match (self, next) {
            (A::Accepted, A::Creating) | (A::Creating, A::Running) => true,
            (A::Accepted | A::Creating | A::Running, A::Stopping) => true,
            // A failure before the start has a verdict too.
            (A::Accepted | A::Creating | A::Running | A::Stopping, A::ResultTaken) => true,
            (A::ResultTaken, A::Acknowledged) | (A::Acknowledged, A::Removed) => true,
            // A refused or superseded attempt is dropped from wherever it is.
            (_, A::Removed) => self != A::Removed,
            _ => false,
        }
    }

    /// True while the attempt takes one of the runner's slots, whether or not its executor exists yet.
    pub fn is_live(self) -> bool {
        matches!(self, Self::Accepted | Self::Creating | Self::Running | Self::Stopping)
    }
}

/// What the engine says about an attempt's executor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExecutorSeen {
    /// There is none.
    Missing,
    /// It exists and was never started.
    Created,
    /// It runs.
    Running,
    /// It has ended and is still there.
    Exited,
}

impl ExecutorSeen {
    /// Every value.
    pub const ALL: &'static [Self] = &[Self::Missing, Self::Created, Self::Running, Self::Exited];
}

/// What a runner does after a restart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recovery {
    /// Confirm the offer again; create only if the server agrees.
    Confirm,
    /// Create the executor (an existing one of the same name is taken over) and go on.
    Create,
    /// Start the executor that exists.
    Start,
    /// Follow the running executor: its logs from the last point, its result, its end.
    Adopt,
    /// Take the result and the rest of the log of the executor that has ended.
    TakeResult,
    /// The executor was removed while nobody looked: judge by that.
    JudgeMissing,
    /// Go on stopping: signals, grace, kill.
    ContinueStopping,
    /// Send what waits in the outbox and remove the executor.
    Deliver,
    /// Remove the executor and the journal's entry.
    Remove,
}

/// What a runner does about an attempt in this journaled state (`None`: not in the journal) whose executor is seen like this.
pub fn recover(journaled: Option<AttemptState>, seen: ExecutorSeen) -> Recovery {
    use AttemptState as A;
    use ExecutorSeen as E;
    match (journaled, seen) {
        (None | Some(A::Acknowledged | A::Removed), _) => Recovery::Remove,
        // Nothing is created before the server has agreed, so whatever exists here was started by nobody we know of.
        (Some(A::Accepted), _) => Recovery::Confirm,
        (Some(A::Creating), E::Missing | E::Created) => Recovery::Create,
        (Some(A::Running), E::Created) => Recovery::Start,
        (Some(A::Creating | A::Running), E::Running) => Recovery::Adopt,
        (Some(A::Creating | A::Running | A::Stopping), E::Exited) => Recovery::TakeResult,
        (Some(A::Running), E::Missing) => Recovery::JudgeMissing,
        (Some(A::Stopping), E::Missing | E::Created) => Recovery::JudgeMissing,
        (Some(A::Stopping), E::Running) => Recovery::ContinueStopping,
        (Some(A::ResultTaken), _) => Recovery::Deliver,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pair_has_an_action_that_loses_nothing() {
        for seen in ExecutorSeen::ALL {
            assert_eq!(recover(None, *seen), Recovery::Remove);
            for state in AttemptState::ALL {
                let action = recover(Some(*state), *seen);
                if state.is_live() {
                    assert_ne!(action, Recovery::Remove, "{state} {seen:?}: a live attempt must end with a verdict");
                }
                if *state == AttemptState::Running {
                    assert_ne!(action, Recovery::Create, "{seen:?}: what may have run is not run again");
                }
            }
        }
    }

    #[test]
    fn states_only_go_forward() {
        use AttemptState as A;
        assert!(A::Accepted.may_become(A::Creating));
        assert!(A::Running.may_become(A::Stopping));
        assert!(!A::ResultTaken.may_become(A::Stopping));
        assert!(!A::Running.may_become(A::Creating));
        assert!(!A::Removed.may_become(A::Removed));
        for state in A::ALL {
            assert!(!state.may_become(A::Accepted));
        }
    }
}
