//! Tasks as rows: reading one, and the one statement that moves tasks from state to state.

use std::collections::HashMap;
use std::time::Duration;

use legwork_core::task::{Outcome, TaskState};
use legwork_core::{AttemptNumber, Capabilities, FailureClass, TaskId, TaskSpec, TaskStatus, Timestamp};
use legwork_database::row::ColumnError;
use legwork_database::{Given, Row, Tx, Value, args};

use crate::error::{InRow, StoreError};
use crate::sql::{Stored, list, listed, locked};

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
    move_tasks(tx, &[(from.clone(), change)]).await
}

const MOVES: &[Given] = &[
    Given::Text("id"),
    Given::Text("from_state"),
    Given::Integer("from_attempt"),
    Given::Text("state"),
    Given::Integer("attempt"),
    Given::Text("runner"),
    Given::Integer("offer_until"),
    Given::Text("outcome"),
    Given::Text("class"),
    Given::Text("message"),
    Given::Integer("retried"),
    Given::Integer("abort_at"),
    Given::Text("abort_by"),
    Given::Text("abort_reason"),
    Given::Integer("finished_at"),
    Given::Integer("waits_anew"),
    Given::Integer("queued_at"),
    Given::Integer("queue_deadline"),
];

/// Moves tasks that were read in this transaction, each at most once, to their next states.
pub(crate) async fn move_tasks(tx: &mut Tx, moves: &[(Standing, Move)]) -> Result<(), StoreError> {
    let Some((first, _)) = moves.first() else { return Ok(()) };
    let timeouts =
        queue_timeouts(tx, moves.iter().filter(|(from, change)| waits_anew(from, change)).map(|(from, _)| from.id)).await?;
    let sql = "UPDATE tasks SET state = given.state, attempt = given.attempt, runner = given.runner, \
               offer_until = given.offer_until, outcome = given.outcome, class = given.class, message = given.message, \
               retried = given.retried, abort_at = given.abort_at, abort_by = given.abort_by, abort_reason = given.abort_reason, \
               finished_at = given.finished_at, \
               queued_at = CASE WHEN given.waits_anew = 1 THEN given.queued_at ELSE tasks.queued_at END, \
               queue_deadline = CASE WHEN given.waits_anew = 1 THEN given.queue_deadline ELSE tasks.queue_deadline END \
               FROM given WHERE tasks.id = given.id AND tasks.state = given.from_state AND tasks.attempt = given.from_attempt";
    let rows = moves.iter().map(|(from, change)| {
        let (from_state, from_attempt, _, _, _) = state_columns(from.state);
        let (state, attempt, runner, offer_until, outcome) = state_columns(change.to);
        let (outcome, class) = outcome_columns(outcome);
        let finished_at = matches!(change.to, TaskState::Finished { .. }).then_some(change.now);
        args![
            from.id.stored(),
            from_state,
            from_attempt,
            state,
            attempt,
            runner,
            offer_until,
            outcome,
            class,
            &change.message,
            change.retried,
            change.abort.as_ref().map(|mark| mark.at).stored(),
            change.abort.as_ref().map(|mark| mark.by.clone()),
            change.abort.as_ref().map(|mark| mark.reason.clone()),
            finished_at.stored(),
            waits_anew(from, change),
            change.now.stored(),
            timeouts.get(&from.id).map(|timeout| change.now.plus(*timeout)).stored(),
        ]
    });
    match tx.execute_given(sql, MOVES, rows).await? {
        moved if moved == moves.len() as u64 => Ok(()),
        moved => {
            let problem = format!("a state changed under a lock: {moved} of {} tasks were moved", moves.len());
            Err(StoreError::inconsistent("tasks", first.id, problem))
        }
    }
}

/// A task whose offer expired has waited all the time; one that comes back from a runner begins to wait now.
fn waits_anew(from: &Standing, change: &Move) -> bool {
    matches!(change.to, TaskState::Queued { .. }) && !matches!(from.state, TaskState::Offered { .. })
}

/// How long these tasks may wait, of those that may not wait for ever.
async fn queue_timeouts(tx: &mut Tx, ids: impl Iterator<Item = TaskId>) -> Result<HashMap<TaskId, Duration>, StoreError> {
    let ids: Vec<TaskId> = ids.collect();
    let mut timeouts = HashMap::new();
    if ids.is_empty() {
        return Ok(timeouts);
    }
    let sql = listed!(tx, ["SELECT id, spec FROM tasks WHERE id"], "");
    for row in tx.fetch_all(sql, args![list(tx.dialect(), ids)]).await? {
        let id: TaskId = row.parse("id").in_row("tasks", "?")?;
        if let Some(timeout) = json::<TaskSpec>(&row, "spec").in_row("tasks", id)?.queue_timeout {
            timeouts.insert(id, timeout);
        }
    }
    Ok(timeouts)
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
