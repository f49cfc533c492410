//! What runners report: each event once, in order, result and state in one transaction.
//!
//! Everything that the events of a transaction need is read first, then all of them are judged in memory, and what came
//! of them is written with a few statements for all attempts.

use std::collections::{HashMap, HashSet};

use legwork_core::event::{AttemptEvent, LogStream, Report, ResultBytes};
use legwork_core::limits::COMMENTS;
use legwork_core::task::{Outcome, Refusal, TaskEvent, TaskState, retry_is_due};
use legwork_core::{AttemptId, AttemptNumber, Epoch, EventNumber, RunnerId, TaskId, Timestamp};
use legwork_database::{Given, Row, Together, Tx, Value, args};

use crate::attempts::Ending;
use crate::audit::{self, Line};
use crate::confirm::Denied;
use crate::error::{InRow, StoreError};
use crate::results::{KeptChunks, kept_chunks, result_context};
use crate::rows::{Move, Standing, move_tasks, outcome_columns, standing_columns};
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
    attempts: Vec<(AttemptId, Vec<Numbered>)>,
    now: Timestamp,
}

/// An event, with the result that comes inside it sealed already.
struct Numbered {
    number: EventNumber,
    event: AttemptEvent,
    sealed: Option<Vec<u8>>,
}

/// An attempt while its events are being applied.
struct Current {
    runner: RunnerId,
    epoch: Option<u64>,
    ending: Option<Ending>,
    applied: u64,
    comments: u32,
    phase: Option<String>,
    phase_detail: String,
    status_line: String,
    log_summary: Option<String>,
    /// The columns of the report, if it came in this transaction.
    report: Option<Vec<Value>>,
}

type Marker = (AttemptId, LogStream, u64);

/// What was read, and what is to be written of it.
struct Work {
    tasks: HashMap<TaskId, Standing>,
    attempts: HashMap<AttemptId, Current>,
    chunks: HashMap<AttemptId, KeptChunks>,
    markers: HashSet<Marker>,
    changed: HashSet<AttemptId>,
    comments: Vec<Vec<Value>>,
    results: Vec<Vec<Value>>,
    moves: Vec<(Standing, Move)>,
    lines: Vec<Line>,
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
        let mut attempts: Vec<(AttemptId, Vec<Numbered>)> = Vec::new();
        let mut places: HashMap<AttemptId, usize> = HashMap::new();
        for (attempt, number, event) in events {
            let place = *places.entry(attempt).or_insert_with(|| {
                attempts.push((attempt, Vec::new()));
                attempts.len() - 1
            });
            let sealed = match &event {
                AttemptEvent::Finished(Report { result: ResultBytes::Inline { json }, .. }) => {
                    Some(self.key.seal(&result_context(attempt, 0), json.as_bytes()))
                }
                _ => None,
            };
            attempts[place].1.push(Numbered { number, event, sealed });
        }
        self.database.write_together(Batch { runner, epoch, attempts, now }).await
    }
}

impl Together for Batch {
    type Answer = Vec<EventsAnswer>;
    type Error = StoreError;

    async fn write_together(batches: &[Self], tx: &mut Tx) -> Result<Vec<Self::Answer>, StoreError> {
        let mut work = Work::read(tx, batches).await?;
        let answers = batches.iter().map(|batch| work.apply_batch(batch)).collect::<Result<_, _>>()?;
        work.write(tx).await?;
        Ok(answers)
    }
}

impl Current {
    fn read(row: &Row) -> Result<Self, legwork_database::ColumnError> {
        Ok(Self {
            runner: row.parse("attempt_runner")?,
            epoch: row.optional_count("current_epoch")?,
            ending: row.parse_optional("ending")?,
            applied: row.count("applied")?,
            comments: row.count("comments")?,
            phase: row.get("phase")?,
            phase_detail: row.get("phase_detail")?,
            status_line: row.get("status_line")?,
            log_summary: row.get("log_summary")?,
            report: None,
        })
    }
}

const MARKERS: &[Given] = &[Given::Text("task"), Given::Integer("attempt"), Given::Text("stream"), Given::Integer("marker")];

impl Work {
    async fn read(tx: &mut Tx, batches: &[Batch]) -> Result<Self, StoreError> {
        let ids = batches.iter().flat_map(|batch| batch.attempts.iter().map(|(id, _)| id.task)).collect();
        let (tasks, attempts) = read_attempts(tx, ids).await?;
        let mut chunked = Vec::new();
        let mut markers = Vec::new();
        for (id, events) in batches.iter().flat_map(|batch| &batch.attempts) {
            for Numbered { event, .. } in events {
                match event {
                    AttemptEvent::Finished(Report { result: ResultBytes::Chunked { .. }, .. }) => chunked.push(*id),
                    AttemptEvent::Comment { stream, offset, .. } => markers.push((*id, *stream, *offset)),
                    _ => {}
                }
            }
        }
        chunked.sort_unstable();
        chunked.dedup();
        Ok(Self {
            tasks,
            attempts,
            chunks: kept_chunks(tx, &chunked).await?,
            markers: known_markers(tx, &markers).await?,
            changed: HashSet::new(),
            comments: Vec::new(),
            results: Vec::new(),
            moves: Vec::new(),
            lines: Vec::new(),
        })
    }

    fn apply_batch(&mut self, batch: &Batch) -> Result<Vec<EventsAnswer>, StoreError> {
        let mut answers = Vec::with_capacity(batch.attempts.len());
        for (id, events) in &batch.attempts {
            // Taken out while it is worked on, so that the rest can be used beside it.
            let Some(mut current) = self.attempts.remove(id) else {
                answers.push(EventsAnswer { attempt: *id, through: EventNumber(0), refused: Some(Denied::Missing.into()) });
                continue;
            };
            let before = current.applied;
            let refused = self.apply_all(batch, *id, &mut current, events)?;
            if current.applied != before {
                self.changed.insert(*id);
            }
            answers.push(EventsAnswer { attempt: *id, through: EventNumber(current.applied), refused });
            self.attempts.insert(*id, current);
        }
        Ok(answers)
    }

    fn apply_all(
        &mut self,
        batch: &Batch,
        id: AttemptId,
        current: &mut Current,
        events: &[Numbered],
    ) -> Result<Option<EventRefusal>, StoreError> {
        let superseded = Some(Denied::Refused(Refusal::Superseded).into());
        if current.runner != batch.runner || current.epoch != Some(batch.epoch.0) {
            return Ok(superseded);
        }
        for Numbered { number, event, sealed } in events {
            if number.0 <= current.applied {
                continue;
            }
            if number.0 != current.applied + 1 {
                return Ok(Some(EventRefusal::Gap { expected: EventNumber(current.applied + 1) }));
            }
            match event {
                AttemptEvent::Finished(report) => {
                    if let Some(refusal) = self.finish(batch, id, current, report, sealed.as_ref())? {
                        return Ok(Some(refusal));
                    }
                }
                _ if !self.is_wanted(id, current, batch.runner) => return Ok(superseded),
                AttemptEvent::Phase { phase, detail } => {
                    current.phase = Some(phase.as_str().to_owned());
                    current.phase_detail.clone_from(detail);
                }
                AttemptEvent::StatusLine { text } => current.status_line.clone_from(text),
                AttemptEvent::Comment { stream, offset, text } => {
                    self.comment(id, current, (*stream, *offset), text, batch.now);
                }
                AttemptEvent::LogComplete(summary) => current.log_summary = Some(serde_json::to_string(summary)?),
            }
            current.applied = number.0;
        }
        Ok(None)
    }

    /// True while what the runner says of this attempt is wanted: until the server has taken it away.
    fn is_wanted(&self, id: AttemptId, current: &Current, runner: RunnerId) -> bool {
        let running = TaskState::Running { attempt: id.attempt, runner };
        current.ending == Some(Ending::Reported) || self.tasks.get(&id.task).is_some_and(|standing| standing.state == running)
    }

    /// Keeps a comment; one of the same marker is the same comment.
    fn comment(&mut self, id: AttemptId, current: &mut Current, (stream, offset): (LogStream, u64), text: &str, now: Timestamp) {
        if current.comments < COMMENTS && self.markers.insert((id, stream, offset)) {
            let (task, text) = (id.task.stored(), text.to_owned());
            self.comments.push(args![task, id.attempt.0, stream.as_str(), offset, text, now.stored(), current.comments]);
            current.comments += 1;
        }
    }

    /// Takes the verdict: the result, the attempt's end and the task's next state.
    fn finish(
        &mut self,
        batch: &Batch,
        id: AttemptId,
        current: &mut Current,
        report: &Report,
        sealed: Option<&Vec<u8>>,
    ) -> Result<Option<EventRefusal>, StoreError> {
        let Some(standing) = self.tasks.get_mut(&id.task) else {
            return Err(StoreError::inconsistent("attempts", id, "it has no task"));
        };
        let outcome = report.outcome;
        let retry = retry_is_due(outcome, standing.retried, standing.retries, standing.abort.is_some());
        let event = TaskEvent::Result { attempt: id.attempt, runner: batch.runner, outcome, retry };
        let to = match standing.state.apply(event) {
            Ok(to) => to,
            Err(refusal) => {
                let (actor, object) = (format!("runner {}", batch.runner), format!("task {}", id.task));
                let detail = format!("{}: attempt {}, {}", refusal, id.attempt, outcome_words(outcome));
                self.lines.push(Line { actor, action: "task.late-result", object, detail, now: batch.now });
                return Ok(Some(Denied::Refused(refusal).into()));
            }
        };
        let (kept, bytes, chunks) = match &report.result {
            ResultBytes::Missing => ("missing", 0, 0),
            ResultBytes::Inline { json } => {
                self.results.push(args![id.task.stored(), id.attempt.0, json.len() as u64, sealed.cloned()]);
                ("inline", json.len() as u64, 1)
            }
            ResultBytes::Chunked { bytes, chunks } => {
                let have = self.chunks.get(&id).copied().unwrap_or_default();
                if have != (KeptChunks { bytes: *bytes, chunks: *chunks, complete: true }) {
                    return Ok(Some(EventRefusal::ResultIncomplete { chunks: have.chunks, bytes: have.bytes }));
                }
                ("chunked", *bytes, *chunks)
            }
        };
        let (outcome_text, class) = outcome_columns(Some(outcome));
        current.report = Some(args![
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
        ]);
        current.ending = Some(Ending::Reported);
        let (message, retried, abort) = (report.message.clone(), standing.retried + u32::from(retry), standing.abort.clone());
        self.moves.push((standing.clone(), Move { to, message, retried, abort, now: batch.now }));
        standing.state = to;
        Ok(None)
    }
}

fn outcome_words(outcome: Outcome) -> String {
    match outcome {
        Outcome::Completed => "completed".to_owned(),
        Outcome::Failed(class) => format!("failed ({class})"),
    }
}

type Read = (HashMap<TaskId, Standing>, HashMap<AttemptId, Current>);

async fn read_attempts(tx: &mut Tx, ids: Vec<TaskId>) -> Result<Read, StoreError> {
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
    let (mut tasks, mut attempts) = (HashMap::new(), HashMap::new());
    for row in tx.fetch_all(sql, args![list(tx.dialect(), ids)]).await? {
        let standing = Standing::read(&row)?;
        let id = AttemptId { task: standing.id, attempt: AttemptNumber(row.count("number").in_row("attempts", standing.id)?) };
        attempts.insert(id, Current::read(&row).in_row("attempts", id)?);
        tasks.insert(standing.id, standing);
    }
    Ok((tasks, attempts))
}

/// Those of the markers whose comments are stored already.
async fn known_markers(tx: &mut Tx, markers: &[Marker]) -> Result<HashSet<Marker>, StoreError> {
    let sql = "SELECT comments.task, comments.attempt, comments.stream, comments.marker FROM given JOIN comments \
               ON comments.task = given.task AND comments.attempt = given.attempt \
               AND comments.stream = given.stream AND comments.marker = given.marker";
    let rows = markers.iter().map(|(id, stream, offset)| args![id.task.stored(), id.attempt.0, stream.as_str(), *offset]);
    let mut known = HashSet::new();
    for row in tx.fetch_given(sql, MARKERS, rows).await? {
        let read = || {
            let id = AttemptId { task: row.parse("task")?, attempt: AttemptNumber(row.count("attempt")?) };
            Ok((id, row.parse("stream")?, row.count("marker")?))
        };
        known.insert(read().in_row("comments", "?")?);
    }
    Ok(known)
}

const COMMENT: &[Given] = &[
    Given::Text("task"),
    Given::Integer("attempt"),
    Given::Text("stream"),
    Given::Integer("marker"),
    Given::Text("text"),
    Given::Integer("created_at"),
    Given::Integer("sequence"),
];

const RESULT: &[Given] = &[Given::Text("task"), Given::Integer("attempt"), Given::Integer("bytes"), Given::Blob("body")];

/// What changes with every event.
const PROGRESS: &[Given] = &[
    Given::Text("task"),
    Given::Integer("number"),
    Given::Integer("applied"),
    Given::Integer("comments"),
    Given::Text("phase"),
    Given::Text("phase_detail"),
    Given::Text("status_line"),
    Given::Text("log_summary"),
];

/// What changes when the report is among the events.
const REPORTED: &[Given] = &[
    Given::Text("task"),
    Given::Integer("number"),
    Given::Integer("applied"),
    Given::Integer("comments"),
    Given::Text("phase"),
    Given::Text("phase_detail"),
    Given::Text("status_line"),
    Given::Text("log_summary"),
    Given::Integer("ended_at"),
    Given::Text("outcome"),
    Given::Text("class"),
    Given::Text("message"),
    Given::Text("exit"),
    Given::Integer("result_exit_code"),
    Given::Text("evidence"),
    Given::Text("timings"),
    Given::Text("result_kept"),
    Given::Integer("result_bytes"),
    Given::Integer("result_chunks"),
];

/// The beginning and the end of the two statements that write attempts.
macro_rules! attempts_update {
    ($columns:expr, $condition:expr) => {
        concat!(
            "UPDATE attempts SET applied = given.applied, comments = given.comments, phase = given.phase, \
             phase_detail = given.phase_detail, status_line = given.status_line, log_summary = given.log_summary",
            $columns,
            " FROM given WHERE attempts.task = given.task AND attempts.number = given.number AND attempts.applied < given.applied",
            $condition
        )
    };
}

impl Work {
    /// Writes down what came of all events.
    async fn write(self, tx: &mut Tx) -> Result<(), StoreError> {
        let sql = "INSERT INTO comments (task, attempt, stream, marker, text, created_at, sequence) \
                   SELECT task, attempt, stream, marker, text, created_at, sequence FROM given";
        tx.execute_given(sql, COMMENT, self.comments).await?;
        // Chunks that were sent before and then not used give way.
        let sql = "INSERT INTO result_chunks (task, attempt, sequence, last, bytes, body) \
                   SELECT task, attempt, 0, 1, bytes, body FROM given WHERE 1 = 1 \
                   ON CONFLICT (task, attempt, sequence) DO UPDATE SET last = 1, bytes = excluded.bytes, body = excluded.body";
        tx.execute_given(sql, RESULT, self.results).await?;
        let (mut progress, mut reported) = (Vec::new(), Vec::new());
        let changed = self.attempts.into_iter().filter(|(id, _)| self.changed.contains(id));
        for (id, current) in changed {
            let mut row = args![
                id.task.stored(),
                id.attempt.0,
                current.applied,
                current.comments,
                current.phase,
                current.phase_detail,
                current.status_line,
                current.log_summary,
            ];
            match current.report {
                None => progress.push(row),
                Some(report) => {
                    row.extend(report);
                    reported.push(row);
                }
            }
        }
        let expected = progress.len() + reported.len();
        let mut written = tx.execute_given(attempts_update!("", ""), PROGRESS, progress).await?;
        let sql = attempts_update!(
            ", ending = 'reported', ended_at = given.ended_at, outcome = given.outcome, class = given.class, \
             message = given.message, exit = given.exit, result_exit_code = given.result_exit_code, \
             evidence = given.evidence, timings = given.timings, result_kept = given.result_kept, \
             result_bytes = given.result_bytes, result_chunks = given.result_chunks",
            " AND attempts.ending IS NULL"
        );
        written += tx.execute_given(sql, REPORTED, reported).await?;
        if written != expected as u64 {
            let problem = format!("{written} of {expected} took what was read of them under a lock a step further");
            return Err(StoreError::inconsistent("attempts", "?", problem));
        }
        move_tasks(tx, &self.moves).await?;
        audit::append_all(tx, self.lines).await
    }
}
