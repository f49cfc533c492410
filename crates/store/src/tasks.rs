//! Making a task and looking at it.

use std::collections::HashSet;
use std::sync::Arc;

use legwork_core::limits::{CHUNK_BYTES, IDEMPOTENCY_TIME};
use legwork_core::{TaskId, TaskSpec, Timestamp};
use legwork_database::{Given, Together, Tx, Value, args};
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
        self.database.write_together(sealed).await
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

impl Together for SealedTask {
    type Answer = Creation;
    type Error = StoreError;

    async fn write_together(tasks: &[Self], tx: &mut Tx) -> Result<Vec<Creation>, StoreError> {
        let requests: Vec<KeyRequest<'_>> = tasks.iter().filter_map(SealedTask::key_request).collect();
        let mut seen = remember_keys(tx, &requests).await?.into_iter();
        let answers = tasks.iter().map(|sealed| match sealed.key_request().and_then(|_| seen.next()) {
            None | Some(KeySeen::New) => Creation::Created,
            Some(KeySeen::Same(id)) => Creation::AlreadyCreated(id),
            Some(KeySeen::Other) => Creation::KeyUsedForOther,
        });
        let answers: Vec<Creation> = answers.collect();
        let created = || tasks.iter().zip(&answers).filter(|(_, answer)| **answer == Creation::Created).map(|(sealed, _)| sealed);
        let sql = "INSERT INTO tasks (id, state, attempt, message, retried, retries, title, image, task_type, required, script, \
                   priority, spec, input_bytes, input_chunks, created_by, created_at, queued_at, queue_deadline) \
                   SELECT id, 'queued', 1, '', 0, retries, title, image, task_type, required, script, \
                   priority, spec, input_bytes, input_chunks, created_by, created_at, created_at, queue_deadline FROM given";
        let rows = created().map(SealedTask::columns).collect::<Result<Vec<_>, _>>()?;
        tx.execute_given(sql, TASKS, rows).await?;
        let sql = "INSERT INTO task_inputs (task, sequence, body) SELECT task, sequence, body FROM given";
        let rows = created().flat_map(|sealed| {
            let chunks = (0u32..).zip(&sealed.chunks);
            chunks.map(|(sequence, chunk)| args![sealed.task.id.stored(), sequence, chunk.clone()])
        });
        tx.execute_given(sql, INPUTS, rows).await?;
        Ok(answers)
    }
}

const TASKS: &[Given] = &[
    Given::Text("id"),
    Given::Integer("retries"),
    Given::Text("title"),
    Given::Text("image"),
    Given::Text("task_type"),
    Given::Text("required"),
    Given::Integer("script"),
    Given::Integer("priority"),
    Given::Text("spec"),
    Given::Integer("input_bytes"),
    Given::Integer("input_chunks"),
    Given::Text("created_by"),
    Given::Integer("created_at"),
    Given::Integer("queue_deadline"),
];

const INPUTS: &[Given] = &[Given::Text("task"), Given::Integer("sequence"), Given::Blob("body")];

impl SealedTask {
    fn key_request(&self) -> Option<KeyRequest<'_>> {
        let idempotency = self.task.idempotency.as_ref()?;
        Some(KeyRequest { owner: &self.task.created_by, idempotency, task: self.task.id, now: self.now })
    }

    /// What goes into [`TASKS`].
    fn columns(&self) -> Result<Vec<Value>, StoreError> {
        let spec = &self.task.spec;
        Ok(args![
            self.task.id.stored(),
            spec.retries,
            &spec.title,
            &spec.image,
            &spec.task_type,
            spec.capabilities.to_string(),
            spec.capabilities.is_script(),
            spec.priority,
            serde_json::to_string(spec)?,
            self.input_bytes,
            self.chunks.len() as u64,
            &self.task.created_by,
            self.now.stored(),
            spec.queue_timeout.map(|timeout| self.now.plus(timeout)).stored(),
        ])
    }
}

/// What is known of an idempotency key.
#[derive(Clone, Copy, Debug)]
pub(crate) enum KeySeen {
    New,
    Same(TaskId),
    Other,
}

/// A request that carries an idempotency key.
#[derive(Clone, Copy)]
pub(crate) struct KeyRequest<'a> {
    pub(crate) owner: &'a str,
    pub(crate) idempotency: &'a IdempotencyKey,
    pub(crate) task: TaskId,
    pub(crate) now: Timestamp,
}

impl KeyRequest<'_> {
    fn key(&self) -> (&str, &str) {
        (self.owner, &self.idempotency.key)
    }
}

/// Remembers the keys that are new, in this order, and tells what is known of the others.
pub(crate) async fn remember_keys(tx: &mut Tx, requests: &[KeyRequest<'_>]) -> Result<Vec<KeySeen>, StoreError> {
    let mut seen: Vec<Option<KeySeen>> = vec![None; requests.len()];
    let mut waiting: Vec<usize> = (0..requests.len()).collect();
    while !waiting.is_empty() {
        // Of requests with the same key the later one must find what the earlier one has left.
        let mut keys = HashSet::new();
        let (first, later): (Vec<usize>, Vec<usize>) = waiting.into_iter().partition(|place| keys.insert(requests[*place].key()));
        let different: Vec<KeyRequest<'_>> = first.iter().map(|place| requests[*place]).collect();
        for (place, known) in first.into_iter().zip(remember_different_keys(tx, &different).await?) {
            seen[place] = Some(known);
        }
        waiting = later;
    }
    Ok(seen.into_iter().flatten().collect())
}

const KEYS: &[Given] =
    &[Given::Text("owner"), Given::Text("key"), Given::Blob("body_hash"), Given::Text("task"), Given::Integer("created_at")];

async fn remember_different_keys(tx: &mut Tx, requests: &[KeyRequest<'_>]) -> Result<Vec<KeySeen>, StoreError> {
    // A key that is older than a day counts as new.
    let sql = format!(
        "INSERT INTO idempotency_keys (owner, key, body_hash, task, created_at) \
         SELECT owner, key, body_hash, task, created_at FROM given WHERE 1 = 1 ON CONFLICT (owner, key) DO UPDATE \
         SET body_hash = excluded.body_hash, task = excluded.task, created_at = excluded.created_at \
         WHERE idempotency_keys.created_at < excluded.created_at - {} RETURNING owner, key",
        IDEMPOTENCY_TIME.as_millis()
    );
    let rows = requests.iter().map(|request| {
        let (hash, task) = (request.idempotency.body_hash, request.task.stored());
        args![request.owner.to_owned(), &request.idempotency.key, hash, task, request.now.stored()]
    });
    let mut new: HashSet<(String, String)> = HashSet::new();
    for row in tx.fetch_given(&sql, KEYS, rows).await? {
        let read = || Ok((row.get("owner")?, row.get("key")?));
        new.insert(read().in_row("idempotency_keys", "?")?);
    }
    let mut seen = Vec::with_capacity(requests.len());
    for request in requests {
        let key = &request.idempotency.key;
        seen.push(if new.contains(&(request.owner.to_owned(), key.clone())) {
            KeySeen::New
        } else {
            let known = find_key(tx, request).await?;
            known.ok_or_else(|| StoreError::inconsistent("idempotency_keys", key, "it vanished under a lock"))?
        });
    }
    Ok(seen)
}

pub(crate) async fn find_key(tx: &mut Tx, request: &KeyRequest<'_>) -> Result<Option<KeySeen>, StoreError> {
    let sql = "SELECT body_hash, task FROM idempotency_keys WHERE owner = $1 AND key = $2 AND created_at >= $3";
    let (key, since) = (&request.idempotency.key, request.now.minus(IDEMPOTENCY_TIME));
    let Some(row) = tx.fetch_optional(sql, args![request.owner.to_owned(), key, since.stored()]).await? else {
        return Ok(None);
    };
    let read = || Ok((row.get::<Vec<u8>>("body_hash")?, row.parse("task")?));
    let (known, task) = read().in_row("idempotency_keys", key)?;
    Ok(Some(if known == request.idempotency.body_hash { KeySeen::Same(task) } else { KeySeen::Other }))
}
