//! The states of a task, as the server's database keeps them, and every way from one to the next.
//!
//! Abort is a mark beside the state, not a state. Why a task waits is derived ([`crate::waiting`]), never stored.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::failure::{FailureClass, TimeoutKind, text_enum};
use crate::ids::{AttemptNumber, RunnerId};
use crate::spec::LostRunnerPolicy;

/// The state of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TaskState {
    /// Waits for a runner; `next` is the number that its next attempt will carry.
    Queued {
        /// The number of the next attempt.
        next: AttemptNumber,
    },
    /// Offered to a runner that has not confirmed yet.
    Offered {
        /// The attempt that is offered.
        attempt: AttemptNumber,
        /// To whom.
        runner: RunnerId,
        /// Until when the runner may confirm, by the server's clock.
        until: Timestamp,
    },
    /// A runner has journaled it.
    Running {
        /// The attempt that runs.
        attempt: AttemptNumber,
        /// Where.
        runner: RunnerId,
    },
    /// Ended.
    Finished {
        /// The last attempt that was handed out, if any was.
        attempt: Option<AttemptNumber>,
        /// How it ended.
        outcome: Outcome,
    },
}

/// How a task ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// The plugin reported success.
    Completed,
    /// It did not succeed, for this class of reason.
    Failed(FailureClass),
}

text_enum!(
    /// What users see of a task's state.
    TaskStatus {
        /// Waits for a runner; the reason is shown beside it.
        Pending = "pending",
        /// A runner is at it.
        InProgress = "in_progress",
        /// A runner is at it and was told to stop.
        Aborting = "aborting",
        /// Ended well.
        Completed = "completed",
        /// Ended badly; the class is shown beside it.
        Failed = "failed",
    }
);

impl TaskStatus {
    /// The words for people.
    pub fn label(self) -> &'static str {
        match self {
            Self::Pending => "Pending",
            Self::InProgress => "In progress",
            Self::Aborting => "Aborting",
            Self::Completed => "Completed",
            Self::Failed => "Failed",
        }
    }

    /// True if nothing more happens to the task by itself.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Completed | Self::Failed)
    }
}

/// What happens to a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TaskEvent {
    /// The server hands it to a runner.
    Offer {
        /// To whom.
        runner: RunnerId,
        /// Until when the offer stands.
        until: Timestamp,
    },
    /// The runner says that it has journaled the attempt.
    Confirm {
        /// Which attempt.
        attempt: AttemptNumber,
        /// Who says so.
        runner: RunnerId,
        /// When, by the server's clock.
        now: Timestamp,
    },
    /// The server looks whether the offer is over.
    ExpireOffer {
        /// When, by the server's clock.
        now: Timestamp,
    },
    /// Its queue timeout is over.
    QueueTimeout,
    /// Somebody asks for its abort.
    Abort,
    /// A runner reports how the attempt ended.
    Result {
        /// Which attempt.
        attempt: AttemptNumber,
        /// Who reports.
        runner: RunnerId,
        /// How it ended.
        outcome: Outcome,
        /// True if the attempt's failure is to be retried without being asked ([`retry_is_due`]).
        retry: bool,
    },
    /// Its runner has been silent for so long.
    RunnerSilent {
        /// How long.
        silence: Duration,
        /// What the task says about it.
        policy: LostRunnerPolicy,
    },
    /// Somebody asks for another try.
    Retry,
}

/// Why an event does not apply. The task stays as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The attempt was replaced, or belongs to another runner.
    #[error("this attempt was superseded")]
    Superseded,
    /// The offer was over before it was confirmed.
    #[error("the offer has expired")]
    OfferExpired,
    /// The task has ended.
    #[error("the task has already finished")]
    AlreadyFinished,
    /// Only a finished task can be tried again.
    #[error("the task has not finished yet")]
    NotFinished,
    /// The event has no meaning in this state.
    #[error("there is nothing to do")]
    NothingToDo,
}

/// True if an attempt that failed with this class is followed by another without being asked.
///
/// `retried` counts the retries so far, `allowed` is what the task allows, `aborting` is its abort mark.
pub fn retry_is_due(outcome: Outcome, retried: u32, allowed: u32, aborting: bool) -> bool {
    match outcome {
        Outcome::Failed(class) => class.retried_if_allowed() && retried < allowed && !aborting,
        Outcome::Completed => false,
    }
}

impl TaskState {
    /// The state that `event` leads to, or why it does not apply.
    ///
    /// An abort of a running task is a mark, so it leads to the same state; on a task that no runner has
    /// confirmed it ends the task at once.
    pub fn apply(self, event: TaskEvent) -> Result<Self, Refusal> {
        use TaskEvent as E;
        use TaskState as S;
        match (self, event) {
            (S::Queued { next }, E::Offer { runner, until }) => Ok(S::Offered { attempt: next, runner, until }),
            (S::Offered { attempt, runner, until }, E::Confirm { attempt: confirmed, runner: by, now }) => {
                if confirmed != attempt || by != runner {
                    Err(Refusal::Superseded)
                } else if now > until {
                    Err(Refusal::OfferExpired)
                } else {
                    Ok(S::Running { attempt, runner })
                }
            }
            // A confirmation whose answer was lost is sent again.
            (S::Running { attempt, runner }, E::Confirm { attempt: confirmed, runner: by, .. }) => {
                if confirmed == attempt && by == runner { Ok(self) } else { Err(Refusal::Superseded) }
            }
            (S::Queued { next }, E::Confirm { attempt, .. }) => {
                if attempt < next {
                    Err(Refusal::OfferExpired)
                } else {
                    Err(Refusal::Superseded)
                }
            }
            (S::Offered { attempt, until, .. }, E::ExpireOffer { now }) => {
                if now > until {
                    Ok(S::Queued { next: attempt.next() })
                } else {
                    Err(Refusal::NothingToDo)
                }
            }
            (S::Queued { next }, E::QueueTimeout) => {
                Ok(S::Finished { attempt: previous(next), outcome: Outcome::Failed(FailureClass::TimedOut) })
            }
            (S::Queued { next }, E::Abort) => {
                Ok(S::Finished { attempt: previous(next), outcome: Outcome::Failed(FailureClass::Aborted) })
            }
            (S::Offered { attempt, .. }, E::Abort) => {
                Ok(S::Finished { attempt: Some(attempt), outcome: Outcome::Failed(FailureClass::Aborted) })
            }
            (S::Running { .. }, E::Abort) => Ok(self),
            (S::Running { attempt, runner }, E::Result { attempt: reported, runner: by, outcome, retry }) => {
                if reported != attempt || by != runner {
                    Err(Refusal::Superseded)
                } else if retry {
                    Ok(S::Queued { next: attempt.next() })
                } else {
                    Ok(S::Finished { attempt: Some(attempt), outcome })
                }
            }
            (S::Queued { .. } | S::Offered { .. }, E::Result { .. }) => Err(Refusal::Superseded),
            (S::Running { attempt, .. }, E::RunnerSilent { silence, policy }) => match policy {
                LostRunnerPolicy::Fail { after } if silence >= after => {
                    Ok(S::Finished { attempt: Some(attempt), outcome: Outcome::Failed(FailureClass::RunnerLost) })
                }
                LostRunnerPolicy::RunElsewhere { after } if silence >= after => Ok(S::Queued { next: attempt.next() }),
                LostRunnerPolicy::Wait | LostRunnerPolicy::Fail { .. } | LostRunnerPolicy::RunElsewhere { .. } => {
                    Err(Refusal::NothingToDo)
                }
            },
            (S::Finished { attempt, .. }, E::Retry) => {
                Ok(S::Queued { next: attempt.map_or(AttemptNumber::FIRST, AttemptNumber::next) })
            }
            (S::Queued { .. } | S::Offered { .. } | S::Running { .. }, E::Retry) => Err(Refusal::NotFinished),
            (S::Finished { attempt, .. }, E::Result { attempt: reported, .. } | E::Confirm { attempt: reported, .. })
                if attempt != Some(reported) =>
            {
                Err(Refusal::Superseded)
            }
            (S::Finished { .. }, E::Result { .. } | E::Confirm { .. } | E::Abort | E::QueueTimeout | E::Offer { .. }) => {
                Err(Refusal::AlreadyFinished)
            }
            (S::Offered { .. } | S::Running { .. }, E::Offer { .. } | E::QueueTimeout)
            | (S::Queued { .. } | S::Running { .. } | S::Finished { .. }, E::ExpireOffer { .. })
            | (S::Queued { .. } | S::Offered { .. } | S::Finished { .. }, E::RunnerSilent { .. }) => Err(Refusal::NothingToDo),
        }
    }

    /// What users see; `aborting` is the abort mark.
    pub fn status(self, aborting: bool) -> TaskStatus {
        match self {
            Self::Queued { .. } | Self::Offered { .. } => TaskStatus::Pending,
            Self::Running { .. } if aborting => TaskStatus::Aborting,
            Self::Running { .. } => TaskStatus::InProgress,
            Self::Finished { outcome: Outcome::Completed, .. } => TaskStatus::Completed,
            Self::Finished { outcome: Outcome::Failed(_), .. } => TaskStatus::Failed,
        }
    }
}

/// The queue timeout's failure message.
pub fn queue_timeout_message(waited: Duration) -> String {
    format!("the {} timeout of {} s was over before a runner took the task", TimeoutKind::Queue, waited.as_secs_f32())
}

fn previous(next: AttemptNumber) -> Option<AttemptNumber> {
    next.0.checked_sub(1).filter(|number| *number > 0).map(AttemptNumber)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: AttemptNumber = AttemptNumber::FIRST;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    #[test]
    fn the_usual_life() {
        let runner = RunnerId::new();
        let queued = TaskState::Queued { next: FIRST };
        let offered = queued.apply(TaskEvent::Offer { runner, until: at(30) }).unwrap();
        let running = offered.apply(TaskEvent::Confirm { attempt: FIRST, runner, now: at(10) }).unwrap();
        let done =
            running.apply(TaskEvent::Result { attempt: FIRST, runner, outcome: Outcome::Completed, retry: false }).unwrap();
        assert_eq!(done, TaskState::Finished { attempt: Some(FIRST), outcome: Outcome::Completed });
        assert_eq!(done.apply(TaskEvent::Retry).unwrap(), TaskState::Queued { next: AttemptNumber(2) });
    }

    #[test]
    fn an_expired_offer_is_fenced_off() {
        let runner = RunnerId::new();
        let offered = TaskState::Offered { attempt: FIRST, runner, until: at(30) };
        assert_eq!(offered.apply(TaskEvent::Confirm { attempt: FIRST, runner, now: at(31) }), Err(Refusal::OfferExpired));
        let queued = offered.apply(TaskEvent::ExpireOffer { now: at(31) }).unwrap();
        assert_eq!(queued, TaskState::Queued { next: AttemptNumber(2) });
        assert_eq!(queued.apply(TaskEvent::Confirm { attempt: FIRST, runner, now: at(32) }), Err(Refusal::OfferExpired));
        let again = queued.apply(TaskEvent::Offer { runner, until: at(60) }).unwrap();
        assert_eq!(again.apply(TaskEvent::Confirm { attempt: FIRST, runner, now: at(33) }), Err(Refusal::Superseded));
    }

    #[test]
    fn a_result_counts_once_and_only_from_the_current_attempt() {
        let (runner, other) = (RunnerId::new(), RunnerId::new());
        let running = TaskState::Running { attempt: AttemptNumber(2), runner };
        let result = |attempt, runner| TaskEvent::Result { attempt, runner, outcome: Outcome::Completed, retry: false };
        assert_eq!(running.apply(result(FIRST, runner)), Err(Refusal::Superseded));
        assert_eq!(running.apply(result(AttemptNumber(2), other)), Err(Refusal::Superseded));
        let done = running.apply(result(AttemptNumber(2), runner)).unwrap();
        assert_eq!(done.apply(result(AttemptNumber(2), runner)), Err(Refusal::AlreadyFinished));
        assert_eq!(done.apply(result(FIRST, runner)), Err(Refusal::Superseded));
    }

    #[test]
    fn abort_ends_what_no_runner_holds_and_marks_the_rest() {
        let runner = RunnerId::new();
        let aborted = |attempt| TaskState::Finished { attempt, outcome: Outcome::Failed(FailureClass::Aborted) };
        assert_eq!(TaskState::Queued { next: FIRST }.apply(TaskEvent::Abort).unwrap(), aborted(None));
        let offered = TaskState::Offered { attempt: FIRST, runner, until: at(30) };
        let ended = offered.apply(TaskEvent::Abort).unwrap();
        assert_eq!(ended, aborted(Some(FIRST)));
        assert_eq!(ended.apply(TaskEvent::Confirm { attempt: FIRST, runner, now: at(1) }), Err(Refusal::AlreadyFinished));
        let running = TaskState::Running { attempt: FIRST, runner };
        assert_eq!(running.apply(TaskEvent::Abort).unwrap(), running);
        assert_eq!(running.status(true), TaskStatus::Aborting);
    }

    #[test]
    fn retries_follow_the_class() {
        let failed = |class| Outcome::Failed(class);
        assert!(retry_is_due(failed(FailureClass::EngineLost), 0, 1, false));
        assert!(!retry_is_due(failed(FailureClass::EngineLost), 1, 1, false));
        assert!(!retry_is_due(failed(FailureClass::EngineLost), 0, 1, true));
        assert!(!retry_is_due(failed(FailureClass::PluginFailed), 0, 9, false));
        assert!(!retry_is_due(Outcome::Completed, 0, 9, false));
    }

    #[test]
    fn the_lost_runner_policy_decides() {
        let running = TaskState::Running { attempt: FIRST, runner: RunnerId::new() };
        let minute = Duration::from_secs(60);
        let silent = |silence, policy| running.apply(TaskEvent::RunnerSilent { silence, policy });
        assert_eq!(silent(minute * 9999, LostRunnerPolicy::Wait), Err(Refusal::NothingToDo));
        assert_eq!(silent(minute / 2, LostRunnerPolicy::Fail { after: minute }), Err(Refusal::NothingToDo));
        assert!(matches!(silent(minute, LostRunnerPolicy::Fail { after: minute }), Ok(TaskState::Finished { .. })));
        assert_eq!(
            silent(minute, LostRunnerPolicy::RunElsewhere { after: minute }),
            Ok(TaskState::Queued { next: AttemptNumber(2) })
        );
    }

    /// Writes the whole table, so that a change of any cell is seen in review. `UPDATE=1 cargo test -p legwork-core` renews it.
    #[test]
    fn the_documented_table_is_the_code() {
        let (runner, other) = (RunnerId::new(), RunnerId::new());
        let states = [
            ("queued", TaskState::Queued { next: AttemptNumber(2) }),
            ("offered", TaskState::Offered { attempt: AttemptNumber(2), runner, until: at(30) }),
            ("running", TaskState::Running { attempt: AttemptNumber(2), runner }),
            ("finished", TaskState::Finished { attempt: Some(AttemptNumber(2)), outcome: Outcome::Completed }),
        ];
        let result = |attempt, by, retry| TaskEvent::Result {
            attempt,
            runner: by,
            outcome: Outcome::Failed(FailureClass::EngineLost),
            retry,
        };
        let events = [
            ("offer", TaskEvent::Offer { runner, until: at(30) }),
            ("confirm in time", TaskEvent::Confirm { attempt: AttemptNumber(2), runner, now: at(1) }),
            ("confirm too late", TaskEvent::Confirm { attempt: AttemptNumber(2), runner, now: at(31) }),
            ("confirm, older attempt", TaskEvent::Confirm { attempt: FIRST, runner, now: at(1) }),
            ("confirm, other runner", TaskEvent::Confirm { attempt: AttemptNumber(2), runner: other, now: at(1) }),
            ("offer's time is over", TaskEvent::ExpireOffer { now: at(31) }),
            ("queue timeout", TaskEvent::QueueTimeout),
            ("abort", TaskEvent::Abort),
            ("result", result(AttemptNumber(2), runner, false)),
            ("result, retry due", result(AttemptNumber(2), runner, true)),
            ("result, older attempt", result(FIRST, runner, false)),
            (
                "runner silent, policy wait",
                TaskEvent::RunnerSilent { silence: Duration::from_secs(9), policy: LostRunnerPolicy::Wait },
            ),
            (
                "runner silent, policy fail",
                TaskEvent::RunnerSilent {
                    silence: Duration::from_secs(9),
                    policy: LostRunnerPolicy::Fail { after: Duration::ZERO },
                },
            ),
            (
                "runner silent, policy run elsewhere",
                TaskEvent::RunnerSilent {
                    silence: Duration::from_secs(9),
                    policy: LostRunnerPolicy::RunElsewhere { after: Duration::ZERO },
                },
            ),
            ("retry", TaskEvent::Retry),
        ];
        let cell = |state: TaskState, event| match state.apply(event) {
            Ok(TaskState::Queued { next }) => format!("queued (attempt {next} next)"),
            Ok(TaskState::Offered { attempt, .. }) => format!("offered (attempt {attempt})"),
            Ok(TaskState::Running { attempt, .. }) => format!("running (attempt {attempt})"),
            Ok(TaskState::Finished { outcome: Outcome::Completed, .. }) => "finished (completed)".to_owned(),
            Ok(TaskState::Finished { outcome: Outcome::Failed(class), .. }) => format!("finished ({class})"),
            Err(refusal) => format!("*{refusal}*"),
        };
        let mut page = String::from(
            "# States of a task\n\nGenerated from `crates/core/src/task.rs` by its test; renew with `UPDATE=1 cargo test -p legwork-core`.\nThe task is at its second attempt. Words in italics are refusals: the state stays.\n\n| event | queued | offered | running | finished |\n|---|---|---|---|---|\n",
        );
        for (name, event) in events {
            page.push_str(&format!("| {name} |"));
            for (_, state) in states {
                page.push_str(&format!(" {} |", cell(state, event)));
            }
            page.push('\n');
        }
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/state-machine.md");
        if option_env!("UPDATE").is_some() {
            std::fs::write(path, &page).unwrap();
        }
        assert_eq!(std::fs::read_to_string(path).unwrap_or_default(), page, "renew docs/state-machine.md");
    }
}
