//! The verdict: one pure function of what was seen of an attempt.

use serde::{Deserialize, Serialize};

use crate::failure::{FailureClass, TimeoutKind};
use crate::task::Outcome;

/// Everything that counts for the verdict on an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observation {
    /// The result that the plugin left.
    pub result: ResultSeen,
    /// True if the result was journaled before we sent the first signal of an abort or timeout.
    pub result_before_signal: bool,
    /// Why we sent signals, if we did.
    pub stopped_for: Option<StopCause>,
    /// How the plugin's first process ended, if that is known.
    pub exit: Option<Exit>,
    /// What the engine knows besides.
    pub evidence: Option<Evidence>,
}

/// The result that a plugin left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ResultSeen {
    /// None.
    Missing,
    /// One that decrypts with the attempt's key and parses.
    Valid {
        /// Its `exitCode`; 0 = success.
        exit_code: i64,
        /// Its `jobErrorMessage`, masked, maybe empty.
        message: String,
    },
    /// Bytes that do not decrypt or do not parse.
    Unreadable {
        /// What is wrong with them, with sizes and masked first bytes.
        detail: String,
    },
    /// More bytes than allowed.
    TooLarge {
        /// Bytes seen.
        bytes: u64,
        /// Bytes allowed.
        limit: u64,
    },
}

/// Why we sent signals.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "cause", rename_all = "snake_case")]
pub enum StopCause {
    /// Somebody asked for an abort.
    Abort {
        /// Who and why, in words.
        by: String,
    },
    /// A timeout was over.
    Timeout {
        /// Which.
        kind: TimeoutKind,
        /// How long it was, in milliseconds.
        millis: u64,
    },
    /// The server has replaced the attempt: nobody wants its result.
    Superseded,
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Exit {
    /// It ended by itself with this status.
    Status(i32),
    /// A signal ended it.
    Signal(i32),
}

impl Exit {
    /// From the single number that engines report, where 128 + n stands for signal n.
    pub fn from_engine_status(status: i64) -> Self {
        let status = i32::try_from(status).unwrap_or(-1);
        match status {
            129..=192 => Self::Signal(status - 128),
            _ => Self::Status(status),
        }
    }
}

impl std::fmt::Display for Exit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Status(status) => write!(f, "exit status {status}"),
            Self::Signal(signal) => write!(f, "signal {signal}"),
        }
    }
}

/// What an engine knows of an executor's end besides its exit status.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "evidence", rename_all = "snake_case")]
pub enum Evidence {
    /// The memory limit was reached.
    OutOfMemory {
        /// The limit in bytes.
        limit: u64,
        /// The most that was used, in bytes, if known.
        peak: Option<u64>,
    },
    /// The engine threw it out, in the engine's words.
    Evicted {
        /// The engine's words.
        detail: String,
    },
    /// Its machine is gone.
    NodeLost {
        /// The engine's words.
        detail: String,
    },
    /// The engine was stopped, or has lost the executor.
    EngineLost {
        /// The engine's words.
        detail: String,
    },
    /// Somebody else stopped, killed or removed it.
    RemovedByOthers {
        /// What was seen.
        detail: String,
    },
}

impl Evidence {
    fn class(&self) -> FailureClass {
        match self {
            Self::OutOfMemory { .. } => FailureClass::OomKilled,
            Self::Evicted { .. } => FailureClass::Evicted,
            Self::NodeLost { .. } => FailureClass::NodeLost,
            Self::EngineLost { .. } => FailureClass::EngineLost,
            Self::RemovedByOthers { .. } => FailureClass::RemovedByOthers,
        }
    }

    fn somebody_stopped_it(&self) -> bool {
        !matches!(self, Self::OutOfMemory { .. })
    }

    fn message(&self) -> String {
        match self {
            Self::OutOfMemory { limit, peak: Some(peak) } => {
                format!(
                    "the plugin ran out of memory: limit {}, peak {}; raise the task's memory limit",
                    mebibytes(*limit),
                    mebibytes(*peak)
                )
            }
            Self::OutOfMemory { limit, peak: None } => {
                format!("the plugin ran out of memory: limit {}; raise the task's memory limit", mebibytes(*limit))
            }
            Self::Evicted { detail } => format!("the engine evicted the executor: {detail}"),
            Self::NodeLost { detail } => format!("the executor's machine was lost: {detail}"),
            Self::EngineLost { detail } => format!("the container engine lost the executor: {detail}"),
            Self::RemovedByOthers { detail } => format!("somebody other than Legwork ended the executor: {detail}"),
        }
    }
}

/// The verdict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// How the attempt ended.
    pub outcome: Outcome,
    /// For a failure: what went wrong. For a success: empty, or a note.
    pub message: String,
}

/// Judges an attempt. The rows stand in the order of `STATES.md`.
pub fn judge(seen: &Observation) -> Verdict {
    // A result that was journaled before our first signal stands as if we had sent none.
    let stopped_for = if seen.result_before_signal { None } else { seen.stopped_for.as_ref() };
    match &seen.result {
        ResultSeen::Valid { exit_code: 0, .. } => Verdict { outcome: Outcome::Completed, message: exit_note(seen.exit) },
        ResultSeen::Valid { exit_code, message } => match (stopped_for, &seen.evidence) {
            (Some(cause), _) => stopped(cause),
            (None, Some(evidence)) if !seen.result_before_signal && evidence.somebody_stopped_it() => {
                failed(evidence.class(), evidence.message())
            }
            (None, _) => failed(
                FailureClass::PluginFailed,
                if message.is_empty() { format!("the plugin reported exit code {exit_code}") } else { message.clone() },
            ),
        },
        ResultSeen::Unreadable { detail } => match stopped_for {
            // A kill may cut the plugin's own write short: that is the stop's doing, not the plugin's.
            Some(cause) => stopped(cause),
            None => match &seen.evidence {
                Some(evidence) => failed(evidence.class(), evidence.message()),
                None => failed(FailureClass::Protocol, format!("the plugin's result cannot be read: {detail}")),
            },
        },
        ResultSeen::TooLarge { bytes, limit } => {
            failed(FailureClass::ResultTooLarge, format!("the plugin's result has {bytes} bytes, the limit is {limit}"))
        }
        ResultSeen::Missing => match (&seen.evidence, stopped_for) {
            (Some(evidence), _) => failed(evidence.class(), evidence.message()),
            (None, Some(cause)) => stopped(cause),
            (None, None) => failed(
                FailureClass::PluginCrashed,
                match seen.exit {
                    Some(exit) => format!("the plugin ended without a result ({exit})"),
                    None => "the plugin ended without a result".to_owned(),
                },
            ),
        },
    }
}

fn failed(class: FailureClass, message: String) -> Verdict {
    Verdict { outcome: Outcome::Failed(class), message }
}

fn stopped(cause: &StopCause) -> Verdict {
    match cause {
        StopCause::Abort { by } => failed(FailureClass::Aborted, format!("aborted {by}")),
        StopCause::Timeout { kind, millis } => failed(
            FailureClass::TimedOut,
            format!("the {kind} timeout of {} s was over", std::time::Duration::from_millis(*millis).as_secs_f32()),
        ),
        StopCause::Superseded => failed(FailureClass::RunnerLost, "the server had given the task to another attempt".to_owned()),
    }
}

fn exit_note(exit: Option<Exit>) -> String {
    match exit {
        None | Some(Exit::Status(0)) => String::new(),
        Some(exit) => format!("the plugin reported success and then ended with {exit}"),
    }
}

fn mebibytes(bytes: u64) -> String {
    format!("{} MiB", bytes / (1024 * 1024))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn valid(exit_code: i64) -> ResultSeen {
        ResultSeen::Valid { exit_code, message: "boom".to_owned() }
    }

    fn abort() -> StopCause {
        StopCause::Abort { by: "by admin".to_owned() }
    }

    fn removed() -> Evidence {
        Evidence::RemovedByOthers { detail: "docker stop".to_owned() }
    }

    fn oom() -> Evidence {
        Evidence::OutOfMemory { limit: 1 << 20, peak: None }
    }

    /// One row of the table: result, before signal, stopped for, exit, evidence, outcome.
    type Row = (ResultSeen, bool, Option<StopCause>, Option<Exit>, Option<Evidence>, Outcome);

    #[test]
    fn the_table_of_states_md() {
        use FailureClass as C;
        let unreadable = ResultSeen::Unreadable { detail: String::new() };
        let large = ResultSeen::TooLarge { bytes: 2, limit: 1 };
        let timeout = StopCause::Timeout { kind: TimeoutKind::Run, millis: 1000 };
        let killed = Some(Exit::Signal(9));
        let rows: Vec<Row> = vec![
            (valid(0), true, Some(abort()), killed, None, Outcome::Completed),
            (valid(1), true, Some(abort()), killed, Some(removed()), Outcome::Failed(C::PluginFailed)),
            (valid(0), false, Some(abort()), killed, None, Outcome::Completed),
            (valid(0), false, None, Some(Exit::Status(255)), Some(removed()), Outcome::Completed),
            (valid(1), false, Some(abort()), Some(Exit::Status(1)), None, Outcome::Failed(C::Aborted)),
            (valid(134), false, Some(timeout.clone()), Some(Exit::Status(0)), None, Outcome::Failed(C::TimedOut)),
            (valid(1), false, None, Some(Exit::Status(1)), Some(removed()), Outcome::Failed(C::RemovedByOthers)),
            (valid(1), false, None, Some(Exit::Status(0)), Some(oom()), Outcome::Failed(C::PluginFailed)),
            (valid(-1), false, None, Some(Exit::Status(0)), None, Outcome::Failed(C::PluginFailed)),
            (unreadable.clone(), false, None, Some(Exit::Status(0)), None, Outcome::Failed(C::Protocol)),
            (unreadable, false, Some(abort()), killed, None, Outcome::Failed(C::Aborted)),
            (large, false, Some(abort()), Some(Exit::Status(0)), None, Outcome::Failed(C::ResultTooLarge)),
            (ResultSeen::Missing, false, Some(abort()), killed, Some(oom()), Outcome::Failed(C::OomKilled)),
            (ResultSeen::Missing, false, None, killed, Some(removed()), Outcome::Failed(C::RemovedByOthers)),
            (ResultSeen::Missing, false, None, Some(Exit::Status(3)), None, Outcome::Failed(C::PluginCrashed)),
            (ResultSeen::Missing, false, Some(timeout), killed, None, Outcome::Failed(C::TimedOut)),
            (ResultSeen::Missing, false, Some(abort()), killed, Some(removed()), Outcome::Failed(C::RemovedByOthers)),
        ];
        for (result, result_before_signal, stopped_for, exit, evidence, outcome) in rows {
            let seen = Observation { result, result_before_signal, stopped_for, exit, evidence };
            assert_eq!(judge(&seen).outcome, outcome, "{seen:?}");
        }
    }

    #[test]
    fn a_success_keeps_a_strange_exit_as_a_note() {
        let seen = Observation {
            result: valid(0),
            result_before_signal: false,
            stopped_for: None,
            exit: Some(Exit::Status(7)),
            evidence: None,
        };
        assert!(judge(&seen).message.contains("exit status 7"));
    }
}
