//! Logs: appended by the offset in each stream, read by the place in the order of arrival.

use legwork_core::event::{LogContent, LogPiece, LogStream};
use legwork_core::limits::CHUNK_BYTES;
use legwork_core::task::{Refusal, TaskState};
use legwork_core::{AttemptId, RunnerId};
use legwork_database::{Row, Tx, args};

use crate::attempts::Ending;
use crate::confirm::Denied;
use crate::error::{InRow, StoreError};
use crate::rows::{Standing, standing_columns};
use crate::sql::Stored;
use crate::store::Store;

/// What came of pieces of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogAnswer {
    /// Everything up to these offsets is stored.
    AppendedThrough {
        /// Of standard output.
        stdout: u64,
        /// Of standard error.
        stderr: u64,
    },
    /// Something before a piece is missing; nothing of this call was stored.
    Expected {
        /// Of which stream.
        stream: LogStream,
        /// The offset that comes next.
        offset: u64,
    },
    /// It is not wanted.
    Denied(Denied),
}

/// A piece of a log at its place in the order of arrival.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlacedPiece {
    /// Where it begins. It takes as many places as it has bytes; a gap takes one.
    pub position: u64,
    /// The piece.
    pub piece: LogPiece,
}

impl PlacedPiece {
    /// The place after it; whoever has read it goes on here.
    pub fn next(&self) -> u64 {
        self.position + places(&self.piece.content)
    }
}

fn places(content: &LogContent) -> u64 {
    match content {
        LogContent::Bytes(bytes) => bytes.len() as u64,
        LogContent::Gap { .. } => 1,
    }
}

struct Append {
    attempt: AttemptId,
    runner: RunnerId,
    pieces: Vec<LogPiece>,
}

impl Store {
    /// Appends pieces of a log. What is stored already is passed over, so sending it twice is as good as once.
    pub async fn append_log(&self, attempt: AttemptId, runner: RunnerId, pieces: Vec<LogPiece>) -> Result<LogAnswer, StoreError> {
        let append = Append { attempt, runner, pieces };
        self.database.write(append, |request, tx| Box::pin(append_pieces(tx, request))).await
    }

    /// The log from this position on, in the order of arrival, of one stream or of both; about `max_bytes`, at least one piece.
    ///
    /// Empty if there is nothing there yet. [`crate::AttemptRecord::log`] says whether more may come.
    pub async fn read_log(
        &self,
        attempt: AttemptId,
        stream: Option<LogStream>,
        from: u64,
        max_bytes: usize,
    ) -> Result<Vec<PlacedPiece>, StoreError> {
        let mut pieces: Vec<PlacedPiece> = Vec::new();
        let (mut next, mut bytes) = (from, 0);
        while bytes < max_bytes {
            // The piece that `next` lies in begins at or before it.
            let sql = "SELECT position, stream, start, body, gap_bytes FROM log_pieces WHERE task = $1 AND attempt = $2 \
                       AND position >= COALESCE((SELECT MAX(position) FROM log_pieces \
                         WHERE task = $1 AND attempt = $2 AND position <= $3), 0) \
                       AND ($4 = '' OR stream = $4) ORDER BY position LIMIT 8";
            let filter = stream.map_or("", LogStream::as_str);
            let rows = self.database.fetch_all(sql, args![attempt.task.stored(), attempt.attempt.0, next, filter]).await?;
            let before = next;
            for row in &rows {
                let placed = read(row).in_row("log_pieces", attempt)?;
                let after = placed.next();
                if after <= next || bytes >= max_bytes {
                    continue;
                }
                let placed = cut(placed, next);
                bytes += usize::try_from(places(&placed.piece.content)).unwrap_or(usize::MAX);
                next = after;
                pieces.push(placed);
            }
            if next == before {
                break;
            }
        }
        Ok(pieces)
    }
}

/// The piece from this position on.
fn cut(placed: PlacedPiece, from: u64) -> PlacedPiece {
    let skip = from.saturating_sub(placed.position);
    match placed.piece.content {
        LogContent::Bytes(mut bytes) if skip > 0 => {
            let rest = bytes.split_off(usize::try_from(skip).unwrap_or(usize::MAX).min(bytes.len()));
            let piece =
                LogPiece { stream: placed.piece.stream, offset: placed.piece.offset + skip, content: LogContent::Bytes(rest) };
            PlacedPiece { position: from, piece }
        }
        content => PlacedPiece { position: placed.position, piece: LogPiece { content, ..placed.piece } },
    }
}

fn read(row: &Row) -> Result<PlacedPiece, legwork_database::ColumnError> {
    let content = match row.get::<Option<Vec<u8>>>("body")? {
        Some(bytes) => LogContent::Bytes(bytes),
        None => LogContent::Gap { bytes: row.optional_count("gap_bytes")? },
    };
    let piece = LogPiece { stream: row.parse("stream")?, offset: row.count("start")?, content };
    Ok(PlacedPiece { position: row.count("position")?, piece })
}

/// The ends of an attempt's log while pieces are appended.
struct Ends {
    stdout: u64,
    stderr: u64,
    position: u64,
}

impl Ends {
    fn of(&mut self, stream: LogStream) -> &mut u64 {
        match stream {
            LogStream::Stdout => &mut self.stdout,
            LogStream::Stderr => &mut self.stderr,
        }
    }
}

async fn append_pieces(tx: &mut Tx, append: &Append) -> Result<LogAnswer, StoreError> {
    let id = append.attempt;
    let sql = tx.dialect().choose(
        concat!(
            "SELECT ",
            standing_columns!(),
            ", attempts.ending, attempts.runner AS attempt_runner, attempts.stdout_end, attempts.stderr_end, attempts.log_position \
             FROM tasks JOIN attempts ON attempts.task = tasks.id WHERE tasks.id = $1 AND attempts.number = $2"
        ),
        concat!(
            "SELECT ",
            standing_columns!(),
            ", attempts.ending, attempts.runner AS attempt_runner, attempts.stdout_end, attempts.stderr_end, attempts.log_position \
             FROM tasks JOIN attempts ON attempts.task = tasks.id WHERE tasks.id = $1 AND attempts.number = $2 \
             FOR UPDATE OF attempts"
        ),
    );
    let Some(row) = tx.fetch_optional(sql, args![id.task.stored(), id.attempt.0]).await? else {
        return Ok(LogAnswer::Denied(Denied::Missing));
    };
    let standing = Standing::read(&row)?;
    let read = || {
        let ends =
            Ends { stdout: row.count("stdout_end")?, stderr: row.count("stderr_end")?, position: row.count("log_position")? };
        Ok((row.parse::<RunnerId>("attempt_runner")?, row.parse_optional::<Ending>("ending")?, ends))
    };
    let (runner, ending, mut ends) = read().in_row("attempts", id)?;
    let running = standing.state == TaskState::Running { attempt: id.attempt, runner: append.runner };
    if runner != append.runner || !(running || ending == Some(Ending::Reported)) {
        return Ok(LogAnswer::Denied(Denied::Refused(Refusal::Superseded)));
    }
    let before = ends.position;
    let fresh = match fresh_pieces(tx, append, &mut ends).await? {
        Ok(fresh) => fresh,
        Err(expected) => return Ok(expected),
    };
    let mut position = before;
    for piece in fresh {
        let next = position + places(&piece.content);
        let (body, gap) = match piece.content {
            LogContent::Bytes(bytes) => (Some(bytes), None),
            LogContent::Gap { bytes } => (None, bytes),
        };
        let sql = "INSERT INTO log_pieces (task, attempt, position, stream, start, body, gap_bytes) VALUES ($1, $2, $3, $4, $5, $6, $7)";
        let values = args![id.task.stored(), id.attempt.0, position, piece.stream.as_str(), piece.offset, body, gap];
        tx.execute(sql, values).await?;
        position = next;
    }
    if position != before {
        let sql = "UPDATE attempts SET stdout_end = $3, stderr_end = $4, log_position = $5 \
                   WHERE task = $1 AND number = $2 AND log_position = $6";
        let values = args![id.task.stored(), id.attempt.0, ends.stdout, ends.stderr, position, before];
        if tx.execute(sql, values).await? != 1 {
            return Err(StoreError::inconsistent("attempts", id, "its log grew under a lock"));
        }
    }
    Ok(LogAnswer::AppendedThrough { stdout: ends.stdout, stderr: ends.stderr })
}

/// What is new of the pieces, neighbours joined into larger ones; or what is missing before them.
async fn fresh_pieces(tx: &mut Tx, append: &Append, ends: &mut Ends) -> Result<Result<Vec<LogPiece>, LogAnswer>, StoreError> {
    let mut fresh: Vec<LogPiece> = Vec::new();
    for piece in &append.pieces {
        let stream = piece.stream;
        let end = ends.of(stream);
        if piece.offset > *end {
            return Ok(Err(LogAnswer::Expected { stream, offset: *end }));
        }
        let Some(piece) = piece.clone().after(*end) else { continue };
        if piece.content == (LogContent::Gap { bytes: None }) && is_known_gap(tx, append.attempt, &piece, &fresh).await? {
            continue;
        }
        *end = piece.end();
        match (fresh.last_mut(), piece.content) {
            (_, LogContent::Bytes(bytes)) if bytes.is_empty() => {}
            (Some(LogPiece { stream: last, content: LogContent::Bytes(before), .. }), LogContent::Bytes(bytes))
                if *last == stream && before.len() + bytes.len() <= CHUNK_BYTES =>
            {
                before.extend_from_slice(&bytes);
            }
            (_, content) => fresh.push(LogPiece { stream, offset: piece.offset, content }),
        }
    }
    Ok(Ok(fresh))
}

/// A gap of unknown length does not move its stream's end, so its offset alone does not tell whether it is stored.
async fn is_known_gap(tx: &mut Tx, id: AttemptId, gap: &LogPiece, fresh: &[LogPiece]) -> Result<bool, StoreError> {
    if fresh.contains(gap) {
        return Ok(true);
    }
    let sql = "SELECT position FROM log_pieces WHERE task = $1 AND attempt = $2 AND stream = $3 AND start = $4 \
               AND body IS NULL AND gap_bytes IS NULL";
    let values = args![id.task.stored(), id.attempt.0, gap.stream.as_str(), gap.offset];
    Ok(tx.fetch_optional(sql, values).await?.is_some())
}
