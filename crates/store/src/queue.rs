//! The queue: what waits, who gets it, and what waited too long.

use std::collections::HashMap;

use legwork_core::limits::{CAPACITY_MAX, INLINE_INPUT_BYTES};
use legwork_core::matching::QueuedGroup;
use legwork_core::task::{TaskEvent, TaskState, queue_timeout_message};
use legwork_core::{AttemptId, Capabilities, Epoch, RunnerId, TaskId, TaskSpec, Timestamp};
use legwork_database::{Dialect, Given, Together, Tx, Value, args};

use crate::attempts::{Ending, end};
use crate::error::{InRow, StoreError};
use crate::rows::{Move, Standing, Task, capabilities, move_tasks, standing_columns, task_columns};
use crate::sql::{Stored, locked, queued};
use crate::store::Store;
use crate::tasks::input_context;

/// Groups that one call of [`Store::offer_tasks`] looks at.
const GROUPS: usize = 16;
/// Tasks that one call of a cleaning method moves.
const SWEEP: u32 = 1_000;

/// A task that was offered to a runner.
#[derive(Clone, Debug)]
pub struct Offer {
    /// The attempt.
    pub attempt: AttemptId,
    /// What is to be done.
    pub spec: TaskSpec,
    /// Until when the runner may confirm, by the server's clock.
    pub until: Timestamp,
    /// The input.
    pub input: OfferedInput,
}

/// The input of an offered task.
#[derive(Clone, PartialEq, Eq)]
pub enum OfferedInput {
    /// All of it, as JSON.
    Inline(Vec<u8>),
    /// To be fetched with [`Store::input_chunk`].
    Chunked {
        /// Bytes of all chunks.
        bytes: u64,
        /// How many chunks.
        chunks: u32,
    },
}

/// Shows no input: it holds secrets.
impl std::fmt::Debug for OfferedInput {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Inline(json) => write!(f, "Inline({} bytes)", json.len()),
            Self::Chunked { bytes, chunks } => write!(f, "Chunked({bytes} bytes, {chunks} chunks)"),
        }
    }
}

/// Slots of a runner that are taken, as the server counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UsedSlots {
    /// By tasks and scripts that are offered or running.
    pub used: u32,
    /// By scripts alone.
    pub by_scripts: u32,
}

struct Claim {
    runner: RunnerId,
    epoch: Epoch,
    groups: Vec<Capabilities>,
    limit: u32,
    now: Timestamp,
    until: Timestamp,
}

/// An offer whose input is still sealed.
pub(crate) struct Claimed {
    pub(crate) task: Task,
    pub(crate) chunks: u32,
    pub(crate) input: Option<Vec<u8>>,
}

impl Store {
    /// The requirements that queued tasks have, with how many there are of each; counted up to 1,000, which is
    /// more than a runner can take, so that a long queue costs no more than a short one.
    pub async fn queued_groups(&self) -> Result<Vec<QueuedGroup>, StoreError> {
        let sql = concat!(
            "WITH RECURSIVE requirement (required) AS (SELECT MIN(required) FROM tasks WHERE ",
            queued!(),
            " UNION ALL SELECT (SELECT MIN(required) FROM tasks WHERE ",
            queued!(),
            " AND required > requirement.required) FROM requirement WHERE requirement.required IS NOT NULL) \
             SELECT required, (SELECT COUNT(*) FROM (SELECT 1 FROM tasks WHERE ",
            queued!(),
            " AND tasks.required = requirement.required LIMIT $1) AS counted) AS tasks \
             FROM requirement WHERE required IS NOT NULL"
        );
        let rows = self.database.fetch_all(sql, args![CAPACITY_MAX]).await?;
        rows.iter()
            .map(|row| {
                let read = || Ok(QueuedGroup { required: capabilities(row, "required")?, tasks: row.count("tasks")? });
                read().in_row("tasks", "?")
            })
            .collect()
    }

    /// Queued tasks that will be handed out before this one, among those that require the same.
    pub async fn tasks_ahead(&self, task: TaskId) -> Result<u64, StoreError> {
        let sql = concat!(
            "SELECT COUNT(*) AS ahead FROM tasks JOIN tasks AS this ON this.id = $1 WHERE ",
            queued!(),
            " AND tasks.required = this.required \
             AND (tasks.priority > this.priority OR (tasks.priority = this.priority AND tasks.id < this.id))"
        );
        let row = self.database.fetch_optional(sql, args![task.stored()]).await?;
        row.map_or(Ok(0), |row| row.count("ahead").in_row("tasks", task))
    }

    /// The slots that are taken, of every runner that has any.
    pub async fn used_slots(&self) -> Result<HashMap<RunnerId, UsedSlots>, StoreError> {
        let sql = "SELECT runner, COUNT(*) AS used, CAST(SUM(script) AS BIGINT) AS by_scripts FROM tasks \
                   WHERE runner IS NOT NULL GROUP BY runner";
        let rows = self.database.fetch_all(sql, args![]).await?;
        rows.iter()
            .map(|row| {
                let read = || {
                    let used = UsedSlots { used: row.count("used")?, by_scripts: row.count("by_scripts")? };
                    Ok((row.parse("runner")?, used))
                };
                read().in_row("tasks", "?")
            })
            .collect()
    }

    /// Offers the best queued tasks of these requirements to a runner, at most `limit`, until `until`.
    ///
    /// Higher priority first, then the older task. No task is offered twice, however many ask at once.
    pub async fn offer_tasks(
        &self,
        runner: RunnerId,
        epoch: Epoch,
        groups: &[Capabilities],
        limit: u32,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<Vec<Offer>, StoreError> {
        if groups.is_empty() || limit == 0 {
            return Ok(Vec::new());
        }
        let groups = groups.iter().take(GROUPS).cloned().collect();
        let claim = Claim { runner, epoch, groups, limit, now, until };
        let claimed = self.database.write_together(claim).await?;
        claimed.into_iter().map(|claimed| self.open_offer(claimed, until)).collect()
    }

    pub(crate) fn open_offer(&self, claimed: Claimed, until: Timestamp) -> Result<Offer, StoreError> {
        let TaskState::Offered { attempt, .. } = claimed.task.state else {
            return Err(StoreError::inconsistent("tasks", claimed.task.id, "it was offered and is not offered"));
        };
        let input = match claimed.input {
            Some(sealed) => OfferedInput::Inline(self.key.open(&input_context(claimed.task.id, 0), &sealed)?),
            None => OfferedInput::Chunked { bytes: claimed.task.input_bytes, chunks: claimed.chunks },
        };
        Ok(Offer { attempt: AttemptId { task: claimed.task.id, attempt }, spec: claimed.task.spec, until, input })
    }

    /// A chunk of the input of an attempt that this runner has; none if it has not, or there is no such chunk.
    pub async fn input_chunk(&self, attempt: AttemptId, runner: RunnerId, sequence: u32) -> Result<Option<Vec<u8>>, StoreError> {
        let sql = "SELECT task_inputs.body FROM task_inputs JOIN tasks ON tasks.id = task_inputs.task \
                   WHERE tasks.id = $1 AND tasks.attempt = $2 AND tasks.runner = $3 AND task_inputs.sequence = $4";
        let values = args![attempt.task.stored(), attempt.attempt.0, runner.stored(), sequence];
        let Some(row) = self.database.fetch_optional(sql, values).await? else { return Ok(None) };
        let sealed: Vec<u8> = row.get("body").in_row("task_inputs", attempt.task)?;
        Ok(Some(self.key.open(&input_context(attempt.task, sequence), &sealed)?))
    }

    /// Takes back the offers that were not confirmed in time; their tasks wait again. Up to 1,000 at once.
    pub async fn expire_offers(&self, now: Timestamp) -> Result<Vec<AttemptId>, StoreError> {
        self.database.write(now, |now, tx| Box::pin(expire(tx, *now))).await
    }

    /// Fails the queued tasks whose queue timeout is over. Up to 1,000 at once.
    pub async fn fail_overdue_queued(&self, now: Timestamp) -> Result<Vec<TaskId>, StoreError> {
        self.database.write(now, |now, tx| Box::pin(fail_overdue(tx, *now))).await
    }

    /// When [`Store::expire_offers`] or [`Store::fail_overdue_queued`] will next have something to do.
    pub async fn next_deadline(&self) -> Result<Option<Timestamp>, StoreError> {
        let sql = concat!(
            "SELECT MIN(at) AS at FROM (SELECT MIN(offer_until) + 1 AS at FROM tasks WHERE runner IS NOT NULL UNION ALL \
             SELECT MIN(queue_deadline) AS at FROM tasks WHERE ",
            queued!(),
            " AND queue_deadline IS NOT NULL) AS deadlines"
        );
        match self.database.fetch_optional(sql, args![]).await? {
            Some(row) => crate::rows::optional_time(&row, "at").in_row("tasks", "?"),
            None => Ok(None),
        }
    }
}

/// One statement for each number of groups. Each group is looked up in the order of the index and gives at most
/// `limit` candidates, so a long queue costs no more than a short one.
fn claim_sql(dialect: Dialect, groups: usize) -> String {
    let (queued, lock) = (queued!(), dialect.choose("", " FOR UPDATE SKIP LOCKED"));
    let candidates: Vec<String> = (0..groups)
        .map(|group| {
            format!(
                "SELECT * FROM (SELECT id, priority FROM tasks WHERE {queued} AND required = ${} \
                 ORDER BY priority DESC, id LIMIT $3{lock}) AS group_{group}",
                group + 5
            )
        })
        .collect();
    let best = format!("SELECT id FROM ({}) AS candidates ORDER BY priority DESC, id LIMIT $3", candidates.join(" UNION ALL "));
    // PostgreSQL might run a subquery after IN more than once; an array is made once.
    let (open, close) = dialect.choose(("IN (", ")"), ("= ANY (ARRAY(", "))"));
    format!(
        concat!(
            "UPDATE tasks SET state = 'offered', runner = $1, offer_until = $2 WHERE state = 'queued' AND id {}{}{} RETURNING ",
            task_columns!(),
            ", tasks.input_chunks, CASE WHEN tasks.input_bytes <= $4 THEN \
             (SELECT body FROM task_inputs WHERE task_inputs.task = tasks.id AND task_inputs.sequence = 0) END AS body"
        ),
        open, best, close
    )
}

impl Together for Claim {
    type Answer = Vec<Claimed>;
    type Error = StoreError;

    async fn write_together(claims: &[Self], tx: &mut Tx) -> Result<Vec<Self::Answer>, StoreError> {
        let mut answers = Vec::with_capacity(claims.len());
        for claim in claims {
            answers.push(offer(tx, claim).await?);
        }
        let sql = "INSERT INTO attempts (task, number, runner, epoch, offered_at, message, phase_detail, status_line, applied, \
                   comments, stdout_end, stderr_end, log_position) \
                   SELECT task, number, runner, epoch, offered_at, '', '', '', 0, 0, 0, 0, 0 FROM given";
        let rows = claims.iter().zip(&answers).flat_map(|(claim, answer)| {
            answer.iter().map(|claimed| {
                let number = claimed.task.attempt().map(|number| number.0);
                args![claimed.task.id.stored(), number, claim.runner.stored(), claim.epoch.0, claim.now.stored()]
            })
        });
        tx.execute_given(sql, ATTEMPTS, rows).await?;
        Ok(answers)
    }
}

const ATTEMPTS: &[Given] = &[
    Given::Text("task"),
    Given::Integer("number"),
    Given::Text("runner"),
    Given::Integer("epoch"),
    Given::Integer("offered_at"),
];

async fn offer(tx: &mut Tx, claim: &Claim) -> Result<Vec<Claimed>, StoreError> {
    let mut values = args![claim.runner.stored(), claim.until.stored(), claim.limit, INLINE_INPUT_BYTES];
    values.extend(claim.groups.iter().map(|group| Value::from(group.to_string())));
    let mut claimed = Vec::new();
    for row in tx.fetch_all(claim_sql(tx.dialect(), claim.groups.len()), values).await? {
        let task = Task::read(&row)?;
        // The statement's condition is the only state from which an offer leads anywhere.
        let event = TaskEvent::Offer { runner: claim.runner, until: claim.until };
        if task.attempt().map(|next| TaskState::Queued { next }.apply(event)) != Some(Ok(task.state)) {
            return Err(StoreError::inconsistent("tasks", task.id, "it was offered from a state that allows no offer"));
        }
        let read = || Ok((row.count("input_chunks")?, row.get("body")?));
        let (chunks, input) = read().in_row("tasks", task.id)?;
        claimed.push(Claimed { task, chunks, input });
    }
    claimed.sort_by_key(|claimed| (std::cmp::Reverse(claimed.task.spec.priority), claimed.task.id));
    Ok(claimed)
}

async fn expire(tx: &mut Tx, now: Timestamp) -> Result<Vec<AttemptId>, StoreError> {
    let sql = locked!(
        tx,
        "SELECT ",
        standing_columns!(),
        " FROM tasks WHERE runner IS NOT NULL AND offer_until < $1 ORDER BY offer_until LIMIT $2"
    );
    let (mut expired, mut moves) = (Vec::new(), Vec::new());
    for row in tx.fetch_all(sql, args![now.stored(), SWEEP]).await? {
        let standing = Standing::read(&row)?;
        let TaskState::Offered { attempt, .. } = standing.state else { continue };
        let Ok(to) = standing.state.apply(TaskEvent::ExpireOffer { now }) else { continue };
        expired.push(AttemptId { task: standing.id, attempt });
        let (message, retried) = (String::new(), standing.retried);
        moves.push((standing, Move { to, message, retried, abort: None, now }));
    }
    move_tasks(tx, &moves).await?;
    end(tx, &expired, Ending::OfferExpired, now).await?;
    Ok(expired)
}

async fn fail_overdue(tx: &mut Tx, now: Timestamp) -> Result<Vec<TaskId>, StoreError> {
    let sql = locked!(
        tx,
        "SELECT ",
        standing_columns!(),
        " FROM tasks WHERE ",
        queued!(),
        " AND queue_deadline IS NOT NULL AND queue_deadline <= $1 ORDER BY queue_deadline LIMIT $2"
    );
    let mut moves = Vec::new();
    for row in tx.fetch_all(sql, args![now.stored(), SWEEP]).await? {
        let standing = Standing::read(&row)?;
        let Ok(to) = standing.state.apply(TaskEvent::QueueTimeout) else { continue };
        let message = queue_timeout_message(now.since(standing.queued_at));
        let (retried, abort) = (standing.retried, standing.abort.clone());
        moves.push((standing, Move { to, message, retried, abort, now }));
    }
    move_tasks(tx, &moves).await?;
    Ok(moves.iter().map(|(standing, _)| standing.id).collect())
}
