//! Tasks as rows: reading one, and the one statement that moves it from state to state.

use std::time::Duration;

use legwork_core::task::{Outcome, TaskState};
use legwork_core::{AttemptNumber, Capabilities, FailureClass, TaskId, TaskSpec, TaskStatus, Timestamp};
use legwork_database::row::ColumnError;
use legwork_database::{Row, Tx, Value, args};

use crate::error::{InRow, StoreError};
use crate::sql::{Stored, locked};

/// A task, without its input.
#[derive(Clone, Debug, PartialEq)]
pub struct Task {
    /// Which task.
    pub id: TaskId,
    /// What was asked for.
    pub spec: TaskSpec,
    /// Its state.
    pub state: TaskState,
    /// Who has asked for its abort, if somebody has.
    pub abort: Option<AbortMark>,
    /// Why it failed, or a note; empty if there is nothing to say.
    pub message: String,
    /// How often it was retried without being asked since it was queued by a user.
    pub retried: u32,
    /// Bytes of its input, as JSON.
    pub input_bytes: u64,
    /// Who made it.
    pub created_by: String,
    /// When.
    pub created_at: Timestamp,
    /// Since when it waits, or when it last began to.
    pub queued_at: Timestamp,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
}

impl Task {
    /// What users see of its state.
    pub fn status(&self) -> TaskStatus {
        self.state.status(self.abort.is_some())
    }

    /// Its current or last attempt; none if it was never handed out.
    pub fn attempt(&self) -> Option<AttemptNumber> {
        match self.state {
            TaskState::Queued { next } => Some(AttemptNumber(next.0 - 1)).filter(|number| number.0 > 0),
            TaskState::Offered { attempt, .. } | TaskState::Running { attempt, .. } => Some(attempt),
            TaskState::Finished { attempt, .. } => attempt,
        }
    }
}

/// Somebody's wish that a task ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AbortMark {
    /// When it was asked for.
    pub at: Timestamp,
    /// Who asked.
    pub by: String,
    /// Why; may be empty.
    pub reason: String,
}

/// The part of a task's row that decides what may happen to it.
#[derive(Clone, Debug)]
pub(crate) struct Standing {
    pub(crate) id: TaskId,
    pub(crate) state: TaskState,
    pub(crate) abort: Option<AbortMark>,
    pub(crate) message: String,
    pub(crate) retried: u32,
    pub(crate) retries: u32,
    pub(crate) queued_at: Timestamp,
    pub(crate) finished_at: Option<Timestamp>,
}

/// The columns that [`Standing`] is read from.
macro_rules! standing_columns {
    () => {
        "tasks.id, tasks.state, tasks.attempt, tasks.runner, tasks.offer_until, tasks.outcome, tasks.class, tasks.message, \
         tasks.abort_at, tasks.abort_by, tasks.abort_reason, tasks.retried, tasks.retries, tasks.queued_at, tasks.finished_at"
    };
}

/// The columns that [`Task`] is read from.
macro_rules! task_columns {
    () => {
        concat!($crate::rows::standing_columns!(), ", tasks.spec, tasks.input_bytes, tasks.created_by, tasks.created_at")
    };
}
pub(crate) use {standing_columns, task_columns};

pub(crate) fn time(row: &Row, column: &'static str) -> Result<Timestamp, ColumnError> {
    Ok(Timestamp::from_millis(row.get(column)?))
}

pub(crate) fn optional_time(row: &Row, column: &'static str) -> Result<Option<Timestamp>, ColumnError> {
    Ok(row.get::<Option<i64>>(column)?.map(Timestamp::from_millis))
}

/// Labels separated by commas.
pub(crate) fn capabilities(row: &Row, column: &'static str) -> Result<Capabilities, ColumnError> {
    let text: String = row.get(column)?;
    Capabilities::parse_list(&text).map_err(|error| ColumnError { column, problem: error.to_string() })
}

/// A value stored as JSON.
pub(crate) fn json<T: serde::de::DeserializeOwned>(row: &Row, column: &'static str) -> Result<T, ColumnError> {
    let text: String = row.get(column)?;
    serde_json::from_str(&text).map_err(|error| ColumnError { column, problem: error.to_string() })
}

/// A value stored as JSON, or nothing.
pub(crate) fn optional_json<T: serde::de::DeserializeOwned>(row: &Row, column: &'static str) -> Result<Option<T>, ColumnError> {
    row.get::<Option<String>>(column)?
        .map(|text| serde_json::from_str(&text).map_err(|error| ColumnError { column, problem: error.to_string() }))
        .transpose()
}

pub(crate) fn outcome(row: &Row) -> Result<Option<Outcome>, ColumnError> {
    let class: Option<FailureClass> = row.parse_optional("class")?;
    match (row.get::<Option<String>>("outcome")?.as_deref(), class) {
        (None, None) => Ok(None),
        (Some("completed"), None) => Ok(Some(Outcome::Completed)),
        (Some("failed"), Some(class)) => Ok(Some(Outcome::Failed(class))),
        (outcome, class) => {
            Err(ColumnError { column: "outcome", problem: format!("{outcome:?} does not go with the class {class:?}") })
        }
    }
}

/// The two columns that an outcome is stored in.
pub(crate) fn outcome_columns(outcome: Option<Outcome>) -> (Value, Value) {
    match outcome {
        None => (Value::Null, Value::Null),
        Some(Outcome::Completed) => ("completed".into(), Value::Null),
        Some(Outcome::Failed(class)) => ("failed".into(), class.as_str().into()),
    }
}

impl Standing {
    pub(crate) fn read(row: &Row) -> Result<Self, StoreError> {
        let id: TaskId = row.parse("id").in_row("tasks", "?")?;
        Self::read_columns(row, id).in_row("tasks", id)
    }

    fn read_columns(row: &Row, id: TaskId) -> Result<Self, ColumnError> {
        let attempt = AttemptNumber(row.count("attempt")?);
        let runner = row.parse_optional("runner")?;
        let missing = |column| ColumnError { column, problem: "it is missing in this state".to_owned() };
        let state = match row.get::<String>("state")?.as_str() {
            "queued" => TaskState::Queued { next: attempt },
            "offered" => TaskState::Offered {
                attempt,
                runner: runner.ok_or_else(|| missing("runner"))?,
                until: optional_time(row, "offer_until")?.ok_or_else(|| missing("offer_until"))?,
            },
            "running" => TaskState::Running { attempt, runner: runner.ok_or_else(|| missing("runner"))? },
            "finished" => TaskState::Finished {
                attempt: Some(attempt).filter(|number| number.0 > 0),
                outcome: outcome(row)?.ok_or_else(|| missing("outcome"))?,
            },
            other => return Err(ColumnError { column: "state", problem: format!("{other:?} is no state") }),
        };
        let abort = match optional_time(row, "abort_at")? {
            Some(at) => Some(AbortMark { at, by: row.get("abort_by")?, reason: row.get("abort_reason")? }),
            None => None,
        };
        Ok(Self {
            id,
            state,
            abort,
            message: row.get("message")?,
            retried: row.count("retried")?,
            retries: row.count("retries")?,
            queued_at: time(row, "queued_at")?,
            finished_at: optional_time(row, "finished_at")?,
        })
    }

    /// The task's row, which nobody else changes until the transaction ends.
    pub(crate) async fn lock(tx: &mut Tx, id: TaskId) -> Result<Option<Self>, StoreError> {
        let sql = locked!(tx, "SELECT ", standing_columns!(), " FROM tasks WHERE id = $1");
        tx.fetch_optional(sql, args![id.stored()]).await?.as_ref().map(Self::read).transpose()
    }
}

impl Task {
    pub(crate) fn read(row: &Row) -> Result<Self, StoreError> {
        let standing = Standing::read(row)?;
        let id = standing.id;
        let read = || {
            Ok(Self {
                id,
                spec: json(row, "spec")?,
                state: standing.state,
                abort: standing.abort,
                message: standing.message,
                retried: standing.retried,
                input_bytes: row.count("input_bytes")?,
                created_by: row.get("created_by")?,
                created_at: time(row, "created_at")?,
                queued_at: standing.queued_at,
                finished_at: standing.finished_at,
            })
        };
        read().in_row("tasks", id)
    }
}

/// What else changes when a task moves to another state.
pub(crate) struct Move {
    /// Where it goes.
    pub(crate) to: TaskState,
    /// Why it failed, or a note.
    pub(crate) message: String,
    /// Retries so far.
    pub(crate) retried: u32,
    /// The abort mark that it has afterwards.
    pub(crate) abort: Option<AbortMark>,
    /// When this happens.
    pub(crate) now: Timestamp,
}

/// Moves a task that was read in this transaction to its next state.
pub(crate) async fn move_task(tx: &mut Tx, from: &Standing, change: Move) -> Result<(), StoreError> {
    let (from_state, from_attempt, _, _, _) = state_columns(from.state);
    let (state, attempt, runner, offer_until, outcome) = state_columns(change.to);
    let (outcome, class) = outcome_columns(outcome);
    let now = change.now;
    let finished_at = matches!(change.to, TaskState::Finished { .. }).then_some(now);
    // A task whose offer expired has waited all the time; one that comes back from a runner begins to wait now.
    let waits_anew = matches!(change.to, TaskState::Queued { .. }) && !matches!(from.state, TaskState::Offered { .. });
    let queue_deadline = if waits_anew { queue_timeout(tx, from.id).await?.map(|timeout| now.plus(timeout)) } else { None };
    let sql = "UPDATE tasks SET state = $4, attempt = $5, runner = $6, offer_until = $7, outcome = $8, class = $9, \
               message = $10, retried = $11, abort_at = $12, abort_by = $13, abort_reason = $14, finished_at = $15, \
               queued_at = CASE WHEN $16 = 1 THEN $17 ELSE queued_at END, \
               queue_deadline = CASE WHEN $16 = 1 THEN $18 ELSE queue_deadline END \
               WHERE id = $1 AND state = $2 AND attempt = $3";
    let values = args![
        from.id.stored(),
        from_state,
        from_attempt,
        state,
        attempt,
        runner,
        offer_until,
        outcome,
        class,
        change.message,
        change.retried,
        change.abort.as_ref().map(|mark| mark.at).stored(),
        change.abort.as_ref().map(|mark| mark.by.clone()),
        change.abort.map(|mark| mark.reason),
        finished_at.stored(),
        waits_anew,
        now.stored(),
        queue_deadline.stored(),
    ];
    match tx.execute(sql, values).await? {
        1 => Ok(()),
        rows => {
            Err(StoreError::inconsistent("tasks", from.id, format!("its state changed under a lock: {rows} rows were moved")))
        }
    }
}

async fn queue_timeout(tx: &mut Tx, id: TaskId) -> Result<Option<Duration>, StoreError> {
    match tx.fetch_optional("SELECT spec FROM tasks WHERE id = $1", args![id.stored()]).await? {
        Some(row) => Ok(json::<TaskSpec>(&row, "spec").in_row("tasks", id)?.queue_timeout),
        None => Err(StoreError::inconsistent("tasks", id, "it vanished under a lock")),
    }
}

type StateColumns = (&'static str, Value, Value, Value, Option<Outcome>);

fn state_columns(state: TaskState) -> StateColumns {
    match state {
        TaskState::Queued { next } => ("queued", next.0.into(), Value::Null, Value::Null, None),
        TaskState::Offered { attempt, runner, until } => ("offered", attempt.0.into(), runner.stored(), until.stored(), None),
        TaskState::Running { attempt, runner } => ("running", attempt.0.into(), runner.stored(), Value::Null, None),
        TaskState::Finished { attempt, outcome } => {
            ("finished", attempt.map_or(0, |number| number.0).into(), Value::Null, Value::Null, Some(outcome))
        }
    }
}
