//! Making a task and looking at it.

use std::sync::Arc;

use legwork_core::limits::{CHUNK_BYTES, IDEMPOTENCY_TIME};
use legwork_core::{TaskId, TaskSpec, Timestamp};
use legwork_database::{Tx, args};
use legwork_sealing::SealingKey;

use crate::error::{InRow, StoreError};
use crate::rows::{Task, task_columns};
use crate::sql::Stored;
use crate::store::Store;

/// A task to be made.
#[derive(Clone, Debug)]
pub struct NewTask {
    /// Its identity, made by the caller.
    pub id: TaskId,
    /// What is asked for.
    pub spec: TaskSpec,
    /// The input as JSON. It is sealed before it is stored.
    pub input: Vec<u8>,
    /// Who asks.
    pub created_by: String,
    /// The key of the request, so that sending it twice makes one task.
    pub idempotency: Option<IdempotencyKey>,
}

/// The key that a client has given to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdempotencyKey {
    /// The key; it counts per user.
    pub key: String,
    /// The SHA-256 of what was asked for.
    pub body_hash: [u8; 32],
}

/// What came of a request to make a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Creation {
    /// It was made.
    Created,
    /// The same request was made before, and gave this task.
    AlreadyCreated(TaskId),
    /// The key was used for another request.
    KeyUsedForOther,
}

struct SealedTask {
    task: NewTask,
    input_bytes: u64,
    chunks: Vec<Vec<u8>>,
    now: Timestamp,
}

impl Store {
    /// Makes a task; it waits for a runner from now on.
    pub async fn create_task(&self, mut task: NewTask, now: Timestamp) -> Result<Creation, StoreError> {
        let input = std::mem::take(&mut task.input);
        let chunks = seal_chunks(&self.key, task.id, &input);
        let sealed = SealedTask { task, input_bytes: input.len() as u64, chunks, now };
        self.database.write(sealed, |sealed, tx| Box::pin(create(tx, sealed))).await
    }

    /// The task with this identity.
    pub async fn task(&self, id: TaskId) -> Result<Option<Task>, StoreError> {
        let sql = concat!("SELECT ", task_columns!(), " FROM tasks WHERE id = $1");
        self.database.fetch_optional(sql, args![id.stored()]).await?.as_ref().map(Task::read).transpose()
    }

    /// Forgets idempotency keys that are older than a day; says how many.
    pub async fn clean_idempotency_keys(&self, now: Timestamp) -> Result<u64, StoreError> {
        self.database
            .write(now.minus(IDEMPOTENCY_TIME), |before, tx| {
                let sql = "DELETE FROM idempotency_keys WHERE created_at < $1";
                Box::pin(async move { Ok(tx.execute(sql, args![before.stored()]).await?) })
            })
            .await
    }
}

/// Where a chunk of an input is sealed to.
pub(crate) fn input_context(task: TaskId, sequence: u32) -> String {
    format!("task-input/{task}/{sequence}")
}

fn seal_chunks(key: &Arc<SealingKey>, task: TaskId, input: &[u8]) -> Vec<Vec<u8>> {
    // An empty input is one empty chunk, so that there always is a first one.
    let chunks = if input.is_empty() { vec![input] } else { input.chunks(CHUNK_BYTES).collect() };
    (0..).zip(chunks).map(|(sequence, chunk)| key.seal(&input_context(task, sequence), chunk)).collect()
}

async fn create(tx: &mut Tx, sealed: &SealedTask) -> Result<Creation, StoreError> {
    let task = &sealed.task;
    if let Some(idempotency) = &task.idempotency {
        match remember_key(tx, &task.created_by, idempotency, task.id, sealed.now).await? {
            KeySeen::New => {}
            KeySeen::Same(id) => return Ok(Creation::AlreadyCreated(id)),
            KeySeen::Other => return Ok(Creation::KeyUsedForOther),
        }
    }
    let spec = &task.spec;
    let sql = "INSERT INTO tasks (id, state, attempt, message, retried, retries, title, image, task_type, required, script, \
               priority, spec, input_bytes, input_chunks, created_by, created_at, queued_at, queue_deadline) \
               VALUES ($1, 'queued', 1, '', 0, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $13, $14)";
    let values = args![
        task.id.stored(),
        spec.retries,
        &spec.title,
        &spec.image,
        &spec.task_type,
        spec.capabilities.to_string(),
        spec.capabilities.is_script(),
        spec.priority,
        serde_json::to_string(spec)?,
        sealed.input_bytes,
        sealed.chunks.len() as u64,
        &task.created_by,
        sealed.now.stored(),
        spec.queue_timeout.map(|timeout| sealed.now.plus(timeout)).stored(),
    ];
    tx.execute(sql, values).await?;
    for (sequence, chunk) in (0u32..).zip(&sealed.chunks) {
        let sql = "INSERT INTO task_inputs (task, sequence, body) VALUES ($1, $2, $3)";
        tx.execute(sql, args![task.id.stored(), sequence, chunk.clone()]).await?;
    }
    Ok(Creation::Created)
}

/// What is known of an idempotency key.
pub(crate) enum KeySeen {
    New,
    Same(TaskId),
    Other,
}

pub(crate) async fn remember_key(
    tx: &mut Tx,
    owner: &str,
    idempotency: &IdempotencyKey,
    task: TaskId,
    now: Timestamp,
) -> Result<KeySeen, StoreError> {
    // A key that is older than a day counts as new.
    let sql = "INSERT INTO idempotency_keys (owner, key, body_hash, task, created_at) VALUES ($1, $2, $3, $4, $5) \
               ON CONFLICT (owner, key) DO UPDATE SET body_hash = $3, task = $4, created_at = $5 \
               WHERE idempotency_keys.created_at < $6";
    let expired = now.minus(IDEMPOTENCY_TIME);
    let hash = idempotency.body_hash;
    let values = args![owner.to_owned(), &idempotency.key, hash, task.stored(), now.stored(), expired.stored()];
    if tx.execute(sql, values).await? == 1 {
        return Ok(KeySeen::New);
    }
    match find_key(tx, owner, idempotency, now).await? {
        Some(seen) => Ok(seen),
        None => Err(StoreError::inconsistent("idempotency_keys", &idempotency.key, "it vanished under a lock")),
    }
}

pub(crate) async fn find_key(
    tx: &mut Tx,
    owner: &str,
    idempotency: &IdempotencyKey,
    now: Timestamp,
) -> Result<Option<KeySeen>, StoreError> {
    let sql = "SELECT body_hash, task FROM idempotency_keys WHERE owner = $1 AND key = $2 AND created_at >= $3";
    let since = now.minus(IDEMPOTENCY_TIME);
    let Some(row) = tx.fetch_optional(sql, args![owner.to_owned(), &idempotency.key, since.stored()]).await? else {
        return Ok(None);
    };
    let read = || Ok((row.get::<Vec<u8>>("body_hash")?, row.parse("task")?));
    let (known, task) = read().in_row("idempotency_keys", &idempotency.key)?;
    Ok(Some(if known == idempotency.body_hash { KeySeen::Same(task) } else { KeySeen::Other }))
}
