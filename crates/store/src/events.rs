//! What runners report: each event once, in order, result and state in one transaction.

use std::collections::HashMap;
use std::sync::Arc;

use legwork_core::event::{AttemptEvent, LogStream, Report, ResultBytes};
use legwork_core::limits::COMMENTS;
use legwork_core::task::{Outcome, Refusal, TaskEvent, TaskState, retry_is_due};
use legwork_core::{AttemptId, AttemptNumber, Epoch, EventNumber, RunnerId, Timestamp};
use legwork_database::{Row, Tx, Value, args};
use legwork_sealing::SealingKey;

use crate::attempts::Ending;
use crate::audit;
use crate::confirm::Denied;
use crate::error::{InRow, StoreError};
use crate::results::{KeptChunks, kept_chunks, result_context};
use crate::rows::{Move, Standing, move_task, outcome_columns, standing_columns};
use crate::sql::{Stored, list, listed};
use crate::store::Store;

/// What came of the events of one attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventsAnswer {
    /// The attempt.
    pub attempt: AttemptId,
    /// The highest number that is applied now; events up to it need not be sent again.
    pub through: EventNumber,
    /// Why the event after it was not applied, if one was not.
    pub refused: Option<EventRefusal>,
}

/// Why an event was not applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EventRefusal {
    /// The attempt is not this runner's any more, or there is none.
    #[error(transparent)]
    Denied(#[from] Denied),
    /// Events are missing.
    #[error("event {expected} is missing: events are applied in order")]
    Gap {
        /// The number that comes next.
        expected: EventNumber,
    },
    /// The report says that the result came in chunks, and not all of them are here.
    #[error("the result is not complete: {chunks} chunks with {bytes} bytes are here; send the rest first")]
    ResultIncomplete {
        /// Chunks that are here.
        chunks: u32,
        /// Bytes that are here.
        bytes: u64,
    },
}

struct Batch {
    runner: RunnerId,
    epoch: Epoch,
    events: Vec<(AttemptId, Vec<(EventNumber, AttemptEvent)>)>,
    now: Timestamp,
    key: Arc<SealingKey>,
}

/// An attempt while its events are being applied.
struct Current {
    standing: Standing,
    runner: RunnerId,
    epoch: Option<u64>,
    ending: Option<Ending>,
    applied: u64,
    comments: u32,
    phase: Option<String>,
    phase_detail: String,
    status_line: String,
    log_summary: Option<String>,
}

impl Store {
    /// Applies events of a runner's attempts. Events that were applied before are passed over.
    pub async fn apply_events(
        &self,
        runner: RunnerId,
        epoch: Epoch,
        events: Vec<(AttemptId, EventNumber, AttemptEvent)>,
        now: Timestamp,
    ) -> Result<Vec<EventsAnswer>, StoreError> {
        let mut by_attempt: Vec<(AttemptId, Vec<(EventNumber, AttemptEvent)>)> = Vec::new();
        let mut places: HashMap<AttemptId, usize> = HashMap::new();
        for (attempt, number, event) in events {
            let place = *places.entry(attempt).or_insert_with(|| {
                by_attempt.push((attempt, Vec::new()));
                by_attempt.len() - 1
            });
            by_attempt[place].1.push((number, event));
        }
        let batch = Batch { runner, epoch, events: by_attempt, now, key: self.key.clone() };
        self.database.write(batch, |batch, tx| Box::pin(apply_batch(tx, batch))).await
    }
}

async fn apply_batch(tx: &mut Tx, batch: &Batch) -> Result<Vec<EventsAnswer>, StoreError> {
    let mut attempts = read_attempts(tx, batch).await?;
    let mut answers = Vec::with_capacity(batch.events.len());
    for (id, events) in &batch.events {
        let answer = match attempts.get_mut(id) {
            None => EventsAnswer { attempt: *id, through: EventNumber(0), refused: Some(Denied::Missing.into()) },
            Some(current) => {
                let before = current.applied;
                let refused = apply_all(tx, batch, *id, current, events).await?;
                if current.applied != before {
                    write_down(tx, *id, current).await?;
                }
                EventsAnswer { attempt: *id, through: EventNumber(current.applied), refused }
            }
        };
        answers.push(answer);
    }
    Ok(answers)
}

async fn read_attempts(tx: &mut Tx, batch: &Batch) -> Result<HashMap<AttemptId, Current>, StoreError> {
    let dialect = tx.dialect();
    let sql = listed!(
        tx,
        [
            "SELECT ",
            standing_columns!(),
            ", attempts.number, attempts.runner AS attempt_runner, attempts.ending, attempts.applied, attempts.comments, \
             attempts.phase, attempts.phase_detail, attempts.status_line, attempts.log_summary, runners.epoch AS current_epoch \
             FROM tasks JOIN attempts ON attempts.task = tasks.id LEFT JOIN runners ON runners.id = attempts.runner \
             WHERE tasks.id"
        ],
        "",
        " FOR UPDATE OF tasks, attempts"
    );
    let ids = list(dialect, batch.events.iter().map(|(id, _)| id.task));
    let mut attempts = HashMap::new();
    for row in tx.fetch_all(sql, args![ids]).await? {
        let standing = Standing::read(&row)?;
        let id = AttemptId { task: standing.id, attempt: AttemptNumber(row.count("number").in_row("attempts", standing.id)?) };
        attempts.insert(id, Current::read(&row, standing).in_row("attempts", id)?);
    }
    Ok(attempts)
}

impl Current {
    fn read(row: &Row, standing: Standing) -> Result<Self, legwork_database::ColumnError> {
        Ok(Self {
            standing,
            runner: row.parse("attempt_runner")?,
            epoch: row.optional_count("current_epoch")?,
            ending: row.parse_optional("ending")?,
            applied: row.count("applied")?,
            comments: row.count("comments")?,
            phase: row.get("phase")?,
            phase_detail: row.get("phase_detail")?,
            status_line: row.get("status_line")?,
            log_summary: row.get("log_summary")?,
        })
    }

    /// True while what the runner says of this attempt is wanted: until the server has taken it away.
    fn is_wanted(&self, attempt: AttemptNumber, runner: RunnerId) -> bool {
        self.ending == Some(Ending::Reported) || self.standing.state == TaskState::Running { attempt, runner }
    }
}

async fn apply_all(
    tx: &mut Tx,
    batch: &Batch,
    id: AttemptId,
    current: &mut Current,
    events: &[(EventNumber, AttemptEvent)],
) -> Result<Option<EventRefusal>, StoreError> {
    let superseded = Some(Denied::Refused(Refusal::Superseded).into());
    if current.runner != batch.runner || current.epoch != Some(batch.epoch.0) {
        return Ok(superseded);
    }
    for (number, event) in events {
        if number.0 <= current.applied {
            continue;
        }
        if number.0 != current.applied + 1 {
            return Ok(Some(EventRefusal::Gap { expected: EventNumber(current.applied + 1) }));
        }
        match event {
            AttemptEvent::Finished(report) => {
                if let Some(refusal) = finish(tx, batch, id, current, report).await? {
                    return Ok(Some(refusal));
                }
            }
            _ if !current.is_wanted(id.attempt, batch.runner) => return Ok(superseded),
            AttemptEvent::Phase { phase, detail } => {
                current.phase = Some(phase.as_str().to_owned());
                current.phase_detail.clone_from(detail);
            }
            AttemptEvent::StatusLine { text } => current.status_line.clone_from(text),
            AttemptEvent::Comment { stream, offset, text } => {
                comment(tx, id, current, (*stream, *offset), text, batch.now).await?;
            }
            AttemptEvent::LogComplete(summary) => current.log_summary = Some(serde_json::to_string(summary)?),
        }
        current.applied = number.0;
    }
    Ok(None)
}

async fn comment(
    tx: &mut Tx,
    id: AttemptId,
    current: &mut Current,
    (stream, offset): (LogStream, u64),
    text: &str,
    now: Timestamp,
) -> Result<(), StoreError> {
    if current.comments >= COMMENTS {
        return Ok(());
    }
    let sql = "INSERT INTO comments (task, attempt, stream, marker, text, created_at, sequence) \
               VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT DO NOTHING";
    let values = args![id.task.stored(), id.attempt.0, stream.as_str(), offset, text.to_owned(), now.stored(), current.comments,];
    current.comments += u32::from(tx.execute(sql, values).await? == 1);
    Ok(())
}

/// Takes the verdict: the result, the attempt's end and the task's next state.
async fn finish(
    tx: &mut Tx,
    batch: &Batch,
    id: AttemptId,
    current: &mut Current,
    report: &Report,
) -> Result<Option<EventRefusal>, StoreError> {
    let standing = &current.standing;
    let outcome = report.outcome;
    let retry = retry_is_due(outcome, standing.retried, standing.retries, standing.abort.is_some());
    let event = TaskEvent::Result { attempt: id.attempt, runner: batch.runner, outcome, retry };
    let to = match standing.state.apply(event) {
        Ok(to) => to,
        Err(refusal) => {
            let actor = format!("runner {}", batch.runner);
            let detail = format!("{}: attempt {}, {}", refusal, id.attempt, outcome_words(outcome));
            let object = format!("task {}", id.task);
            audit::append(tx, &actor, "task.late-result", &object, &detail, batch.now).await?;
            return Ok(Some(Denied::Refused(refusal).into()));
        }
    };
    let (kept, bytes, chunks) = match &report.result {
        ResultBytes::Missing => ("missing", 0, 0),
        ResultBytes::Inline { json } => {
            let body = batch.key.seal(&result_context(id, 0), json.as_bytes());
            // Chunks that were sent before and then not used give way.
            let sql = "INSERT INTO result_chunks (task, attempt, sequence, last, bytes, body) VALUES ($1, $2, 0, 1, $3, $4) \
                       ON CONFLICT (task, attempt, sequence) DO UPDATE SET last = 1, bytes = $3, body = $4";
            tx.execute(sql, args![id.task.stored(), id.attempt.0, json.len() as u64, body]).await?;
            ("inline", json.len() as u64, 1)
        }
        ResultBytes::Chunked { bytes, chunks } => {
            let have = kept_chunks(tx, id).await?;
            if have != (KeptChunks { bytes: *bytes, chunks: *chunks, complete: true }) {
                return Ok(Some(EventRefusal::ResultIncomplete { chunks: have.chunks, bytes: have.bytes }));
            }
            ("chunked", *bytes, *chunks)
        }
    };
    let (outcome_text, class) = outcome_columns(Some(outcome));
    let sql = "UPDATE attempts SET ending = 'reported', ended_at = $3, outcome = $4, class = $5, message = $6, exit = $7, \
               result_exit_code = $8, evidence = $9, timings = $10, result_kept = $11, result_bytes = $12, result_chunks = $13 \
               WHERE task = $1 AND number = $2 AND ending IS NULL";
    let values = args![
        id.task.stored(),
        id.attempt.0,
        batch.now.stored(),
        outcome_text,
        class,
        &report.message,
        report.exit.map(|exit| serde_json::to_string(&exit)).transpose()?,
        report.result_exit_code,
        report.evidence.clone(),
        serde_json::to_string(&report.timings)?,
        kept,
        bytes,
        chunks,
    ];
    if tx.execute(sql, values).await? != 1 {
        return Err(StoreError::inconsistent("attempts", id, "it had ended although its task was running"));
    }
    let retried = standing.retried + u32::from(retry);
    let message = report.message.clone();
    let abort = standing.abort.clone();
    move_task(tx, standing, Move { to, message, retried, abort, now: batch.now }).await?;
    current.standing.state = to;
    current.ending = Some(Ending::Reported);
    Ok(None)
}

fn outcome_words(outcome: Outcome) -> String {
    match outcome {
        Outcome::Completed => "completed".to_owned(),
        Outcome::Failed(class) => format!("failed ({class})"),
    }
}

async fn write_down(tx: &mut Tx, id: AttemptId, current: &Current) -> Result<(), StoreError> {
    let sql = "UPDATE attempts SET applied = $3, comments = $4, phase = $5, phase_detail = $6, status_line = $7, log_summary = $8 \
               WHERE task = $1 AND number = $2 AND applied < $3";
    let values = args![
        id.task.stored(),
        id.attempt.0,
        current.applied,
        current.comments,
        current.phase.clone(),
        &current.phase_detail,
        &current.status_line,
        current.log_summary.clone().map_or(Value::Null, Value::from),
    ];
    match tx.execute(sql, values).await? {
        1 => Ok(()),
        _ => Err(StoreError::inconsistent("attempts", id, "its events were applied twice under a lock")),
    }
}
