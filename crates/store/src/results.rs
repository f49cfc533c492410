//! Results: in chunks, sealed.

use std::collections::HashMap;
use std::sync::Arc;

use legwork_core::limits::RESULT_BYTES;
use legwork_core::task::{Refusal, TaskState};
use legwork_core::{AttemptId, AttemptNumber, RunnerId};
use legwork_database::{Given, Tx, args};
use legwork_sealing::SealingKey;

use crate::attempts::Ending;
use crate::confirm::Denied;
use crate::error::{InRow, StoreError};
use crate::rows::{Standing, standing_columns};
use crate::sql::Stored;
use crate::store::Store;

/// What came of a chunk of a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChunkAnswer {
    /// It is stored, now or since before.
    Stored,
    /// A chunk with this number and other bytes is stored.
    Different,
    /// With it the result would be over the limit.
    TooLarge,
    /// It is not wanted.
    Denied(Denied),
}

/// A chunk of a result.
#[derive(Clone, PartialEq, Eq)]
pub struct ResultChunk {
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// True if no other follows.
    pub last: bool,
}

struct NewChunk {
    attempt: AttemptId,
    runner: RunnerId,
    sequence: u32,
    last: bool,
    bytes: Vec<u8>,
    sealed: Vec<u8>,
    key: Arc<SealingKey>,
}

/// What is stored of a result.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct KeptChunks {
    pub(crate) bytes: u64,
    pub(crate) chunks: u32,
    /// True if the chunks follow one another and the highest one is the last.
    pub(crate) complete: bool,
}

/// Where a chunk of a result is sealed to.
pub(crate) fn result_context(id: AttemptId, sequence: u32) -> String {
    format!("result/{id}/{sequence}")
}

impl Store {
    /// Stores a chunk of the result of an attempt that runs. Storing it twice is as good as once.
    pub async fn put_result_chunk(
        &self,
        attempt: AttemptId,
        runner: RunnerId,
        sequence: u32,
        last: bool,
        bytes: Vec<u8>,
    ) -> Result<ChunkAnswer, StoreError> {
        let sealed = self.key.seal(&result_context(attempt, sequence), &bytes);
        let chunk = NewChunk { attempt, runner, sequence, last, bytes, sealed, key: self.key.clone() };
        self.database.write(chunk, |chunk, tx| Box::pin(put(tx, chunk))).await
    }

    /// A chunk of the result of an attempt that has ended; none if there is no such chunk.
    pub async fn result_chunk(&self, attempt: AttemptId, sequence: u32) -> Result<Option<ResultChunk>, StoreError> {
        let sql = "SELECT result_chunks.body, result_chunks.last FROM result_chunks \
                   JOIN attempts ON attempts.task = result_chunks.task AND attempts.number = result_chunks.attempt \
                   WHERE result_chunks.task = $1 AND result_chunks.attempt = $2 AND result_chunks.sequence = $3 \
                   AND attempts.result_kept <> 'missing' AND result_chunks.sequence < attempts.result_chunks";
        let values = args![attempt.task.stored(), attempt.attempt.0, sequence];
        let Some(row) = self.database.fetch_optional(sql, values).await? else { return Ok(None) };
        let read = || Ok((row.get::<Vec<u8>>("body")?, row.flag("last")?));
        let (sealed, last) = read().in_row("result_chunks", attempt)?;
        Ok(Some(ResultChunk { bytes: self.key.open(&result_context(attempt, sequence), &sealed)?, last }))
    }
}

async fn put(tx: &mut Tx, chunk: &NewChunk) -> Result<ChunkAnswer, StoreError> {
    let id = chunk.attempt;
    let sql = tx.dialect().choose(
        concat!(
            "SELECT ",
            standing_columns!(),
            ", attempts.ending, attempts.runner AS attempt_runner FROM tasks JOIN attempts ON attempts.task = tasks.id \
             WHERE tasks.id = $1 AND attempts.number = $2"
        ),
        concat!(
            "SELECT ",
            standing_columns!(),
            ", attempts.ending, attempts.runner AS attempt_runner FROM tasks JOIN attempts ON attempts.task = tasks.id \
             WHERE tasks.id = $1 AND attempts.number = $2 FOR UPDATE OF tasks"
        ),
    );
    let Some(row) = tx.fetch_optional(sql, args![id.task.stored(), id.attempt.0]).await? else {
        return Ok(ChunkAnswer::Denied(Denied::Missing));
    };
    let standing = Standing::read(&row)?;
    let read = || Ok((row.parse::<RunnerId>("attempt_runner")?, row.parse_optional::<Ending>("ending")?));
    let (runner, ending) = read().in_row("attempts", id)?;
    let running = standing.state == TaskState::Running { attempt: id.attempt, runner: chunk.runner };
    // After the report only what was stored before is acknowledged again.
    if runner != chunk.runner || !(running || ending == Some(Ending::Reported)) {
        return Ok(ChunkAnswer::Denied(Denied::Refused(Refusal::Superseded)));
    }
    let sql = "SELECT body, last FROM result_chunks WHERE task = $1 AND attempt = $2 AND sequence = $3";
    if let Some(row) = tx.fetch_optional(sql, args![id.task.stored(), id.attempt.0, chunk.sequence]).await? {
        let read = || Ok((row.get::<Vec<u8>>("body")?, row.flag("last")?));
        let (sealed, last) = read().in_row("result_chunks", id)?;
        let same = last == chunk.last && chunk.key.open(&result_context(id, chunk.sequence), &sealed)? == chunk.bytes;
        return Ok(if same { ChunkAnswer::Stored } else { ChunkAnswer::Different });
    }
    if !running {
        return Ok(ChunkAnswer::Denied(Denied::Refused(Refusal::AlreadyFinished)));
    }
    let bytes = chunk.bytes.len() as u64;
    if kept_chunks(tx, &[id]).await?.get(&id).map_or(0, |kept| kept.bytes) + bytes > RESULT_BYTES {
        return Ok(ChunkAnswer::TooLarge);
    }
    let sql = "INSERT INTO result_chunks (task, attempt, sequence, last, bytes, body) VALUES ($1, $2, $3, $4, $5, $6)";
    let values = args![id.task.stored(), id.attempt.0, chunk.sequence, chunk.last, bytes, chunk.sealed.clone()];
    tx.execute(sql, values).await?;
    Ok(ChunkAnswer::Stored)
}

const KEPT: &[Given] = &[Given::Text("task"), Given::Integer("attempt")];

/// What is stored of the results of these attempts; nothing is said of those of which nothing is stored.
pub(crate) async fn kept_chunks(tx: &mut Tx, ids: &[AttemptId]) -> Result<HashMap<AttemptId, KeptChunks>, StoreError> {
    let sql = "SELECT result_chunks.task, result_chunks.attempt, COUNT(*) AS chunks, CAST(SUM(bytes) AS BIGINT) AS bytes, \
               MAX(sequence) AS highest, COALESCE(MAX(CASE WHEN last = 1 THEN sequence END), -1) AS last \
               FROM given JOIN result_chunks ON result_chunks.task = given.task AND result_chunks.attempt = given.attempt \
               GROUP BY result_chunks.task, result_chunks.attempt";
    let mut kept = HashMap::new();
    for row in tx.fetch_given(sql, KEPT, ids.iter().map(|id| args![id.task.stored(), id.attempt.0])).await? {
        let read = || {
            let id = AttemptId { task: row.parse("task")?, attempt: AttemptNumber(row.count("attempt")?) };
            let chunks: u32 = row.count("chunks")?;
            let (highest, last): (i64, i64) = (row.get("highest")?, row.get("last")?);
            let complete = highest + 1 == i64::from(chunks) && last == highest;
            Ok((id, KeptChunks { bytes: row.count("bytes")?, chunks, complete }))
        };
        let (id, chunks) = read().in_row("result_chunks", "?")?;
        kept.insert(id, chunks);
    }
    Ok(kept)
}
