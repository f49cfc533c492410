//! Attempts: what is known of each try at a task.

use legwork_core::event::{LogSummary, Phase};
use legwork_core::task::Outcome;
use legwork_core::verdict::Exit;
use legwork_core::{AttemptId, AttemptNumber, Epoch, EventNumber, RunnerId, TaskId, Timestamp};
use legwork_database::{Given, Row, Tx, args};

use crate::error::{InRow, StoreError};
use crate::rows::{optional_json, optional_time, outcome, time};
use crate::sql::Stored;
use crate::store::Store;

/// One try at a task, as the server knows it.
#[derive(Clone, Debug, PartialEq)]
pub struct AttemptRecord {
    /// Which attempt.
    pub id: AttemptId,
    /// The runner that it was offered to.
    pub runner: RunnerId,
    /// The runner's epoch at that time.
    pub epoch: Epoch,
    /// When it was offered.
    pub offered_at: Timestamp,
    /// When the runner confirmed it.
    pub confirmed_at: Option<Timestamp>,
    /// When and how it ended.
    pub ended: Option<(Timestamp, Ending)>,
    /// The verdict, if its runner has reported one.
    pub outcome: Option<Outcome>,
    /// Why it failed, or a note.
    pub message: String,
    /// How the plugin's process ended.
    pub exit: Option<Exit>,
    /// The `exitCode` of the plugin's result.
    pub result_exit_code: Option<i64>,
    /// What the engine said.
    pub evidence: Option<String>,
    /// Where the time went, in milliseconds.
    pub timings: Vec<(String, u64)>,
    /// What is kept of the result; read it with [`Store::result_chunk`].
    pub result: KeptResult,
    /// What the runner is doing, and more about it.
    pub phase: Option<(Phase, String)>,
    /// The plugin's status line.
    pub status_line: String,
    /// The highest event number that was applied.
    pub applied: EventNumber,
    /// Bytes of standard output that are stored, gaps included.
    pub stdout_end: u64,
    /// Bytes of standard error that are stored, gaps included.
    pub stderr_end: u64,
    /// The position after the last piece of log ([`Store::read_log`]).
    pub log_position: u64,
    /// The whole log's summary; none until the runner says that it has sent everything.
    pub log: Option<LogSummary>,
}

/// How an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Its runner reported a verdict, which was accepted.
    Reported,
    /// Its runner did not confirm it in time.
    OfferExpired,
    /// Somebody aborted the task before the runner had confirmed it.
    AbortedBeforeStart,
    /// Its runner was silent for longer than the task allows.
    RunnerLost,
}

impl Ending {
    const ALL: [Self; 4] = [Self::Reported, Self::OfferExpired, Self::AbortedBeforeStart, Self::RunnerLost];

    /// The text in the database and the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Reported => "reported",
            Self::OfferExpired => "offer-expired",
            Self::AbortedBeforeStart => "aborted-before-start",
            Self::RunnerLost => "runner-lost",
        }
    }
}

impl std::str::FromStr for Ending {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|ending| ending.as_str() == text).ok_or_else(|| format!("{text:?} is no ending"))
    }
}

/// What is kept of an attempt's result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeptResult {
    /// Nothing: none was reported.
    None,
    /// All of it, sealed, in so many chunks.
    Chunks {
        /// How many; 1 if it came inside the report.
        chunks: u32,
        /// Bytes of all chunks.
        bytes: u64,
        /// True if it is small enough to be shown with the task.
        inline: bool,
    },
}

/// A comment of a plugin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Comment {
    /// The attempt that made it.
    pub attempt: AttemptNumber,
    /// When it arrived.
    pub at: Timestamp,
    /// The text.
    pub text: String,
}

const COLUMNS: &str = "SELECT task, number, runner, epoch, offered_at, confirmed_at, ended_at, ending, outcome, class, message, \
                       exit, result_exit_code, evidence, timings, result_kept, result_bytes, result_chunks, phase, phase_detail, \
                       status_line, applied, stdout_end, stderr_end, log_position, log_summary FROM attempts";

impl Store {
    /// The attempts of a task, first to last.
    pub async fn attempts(&self, task: TaskId) -> Result<Vec<AttemptRecord>, StoreError> {
        let sql = format!("{COLUMNS} WHERE task = $1 ORDER BY number");
        self.database.fetch_all(sql, args![task.stored()]).await?.iter().map(read).collect()
    }

    /// One attempt.
    pub async fn attempt(&self, id: AttemptId) -> Result<Option<AttemptRecord>, StoreError> {
        let sql = format!("{COLUMNS} WHERE task = $1 AND number = $2");
        self.database.fetch_optional(sql, args![id.task.stored(), id.attempt.0]).await?.as_ref().map(read).transpose()
    }

    /// The comments of a task, of one attempt or of all, in the order of their arrival.
    pub async fn comments(&self, task: TaskId, attempt: Option<AttemptNumber>) -> Result<Vec<Comment>, StoreError> {
        let sql = "SELECT attempt, created_at, text FROM comments WHERE task = $1 AND ($2 = 0 OR attempt = $2) \
                   ORDER BY attempt, sequence";
        let rows = self.database.fetch_all(sql, args![task.stored(), attempt.map_or(0, |number| number.0)]).await?;
        rows.iter()
            .map(|row| {
                let read = || {
                    let attempt = AttemptNumber(row.count("attempt")?);
                    Ok(Comment { attempt, at: time(row, "created_at")?, text: row.get("text")? })
                };
                read().in_row("comments", task)
            })
            .collect()
    }
}

fn read(row: &Row) -> Result<AttemptRecord, StoreError> {
    let task: TaskId = row.parse("task").in_row("attempts", "?")?;
    let number = AttemptNumber(row.count("number").in_row("attempts", task)?);
    let id = AttemptId { task, attempt: number };
    let read = || {
        let ending = row.parse_optional::<Ending>("ending")?;
        let phase_detail = row.get("phase_detail")?;
        let kept: Option<String> = row.get("result_kept")?;
        Ok(AttemptRecord {
            id,
            runner: row.parse("runner")?,
            epoch: Epoch(row.count("epoch")?),
            offered_at: time(row, "offered_at")?,
            confirmed_at: optional_time(row, "confirmed_at")?,
            ended: optional_time(row, "ended_at")?.zip(ending),
            outcome: outcome(row)?,
            message: row.get("message")?,
            exit: optional_json(row, "exit")?,
            result_exit_code: row.get("result_exit_code")?,
            evidence: row.get("evidence")?,
            timings: optional_json(row, "timings")?.unwrap_or_default(),
            result: match kept.as_deref() {
                None | Some("missing") => KeptResult::None,
                Some(kept) => KeptResult::Chunks {
                    chunks: row.count("result_chunks")?,
                    bytes: row.count("result_bytes")?,
                    inline: kept == "inline",
                },
            },
            phase: row.parse_optional("phase")?.map(|phase| (phase, phase_detail)),
            status_line: row.get("status_line")?,
            applied: EventNumber(row.count("applied")?),
            stdout_end: row.count("stdout_end")?,
            stderr_end: row.count("stderr_end")?,
            log_position: row.count("log_position")?,
            log: optional_json(row, "log_summary")?,
        })
    };
    read().in_row("attempts", id)
}

const ENDINGS: &[Given] = &[Given::Text("task"), Given::Integer("number"), Given::Text("ending"), Given::Integer("ended_at")];

/// Writes down that the server has taken attempts away.
pub(crate) async fn end(tx: &mut Tx, ids: &[AttemptId], ending: Ending, now: Timestamp) -> Result<(), StoreError> {
    let sql = "UPDATE attempts SET ending = given.ending, ended_at = given.ended_at FROM given \
               WHERE attempts.task = given.task AND attempts.number = given.number AND attempts.ending IS NULL";
    let rows = ids.iter().map(|id| args![id.task.stored(), id.attempt.0, ending.as_str(), now.stored()]);
    let ended = tx.execute_given(sql, ENDINGS, rows).await?;
    match ids {
        [first, ..] if ended != ids.len() as u64 => {
            let problem = format!("only {ended} of {} had not ended although their tasks were waiting for them", ids.len());
            Err(StoreError::inconsistent("attempts", first, problem))
        }
        _ => Ok(()),
    }
}
