//! What people do to a task: abort it, try it again.

use legwork_core::task::{Refusal, TaskEvent, TaskState};
use legwork_core::{AttemptId, AttemptNumber, RunnerId, TaskId, Timestamp};
use legwork_database::Tx;

use crate::attempts::{Ending, end};
use crate::audit;
use crate::error::StoreError;
use crate::rows::{AbortMark, Move, Standing, move_task};
use crate::store::Store;
use crate::tasks::{IdempotencyKey, KeyRequest, KeySeen, find_key, remember_keys};

/// What a request to abort did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Abort {
    /// No runner had it: it is finished. A runner that it was offered to is refused when it confirms.
    Finished,
    /// Its runner has to stop it.
    Marked {
        /// The attempt to be stopped.
        attempt: AttemptId,
        /// Where it runs.
        runner: RunnerId,
    },
    /// Somebody asked before; its runner has to stop it.
    AlreadyMarked {
        /// The attempt to be stopped.
        attempt: AttemptId,
        /// Where it runs.
        runner: RunnerId,
    },
    /// It had ended before.
    AlreadyFinished,
    /// There is no such task.
    Missing,
}

/// What a request for another try did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// It waits again, for this attempt.
    Queued {
        /// The number of the next attempt.
        next: AttemptNumber,
    },
    /// The same request was made before and has had its effect.
    AlreadyDone,
    /// The key was used for another request.
    KeyUsedForOther,
    /// It has not finished yet.
    NotFinished,
    /// There is no such task.
    Missing,
}

struct AbortRequest {
    task: TaskId,
    mark: AbortMark,
}

struct RetryRequest {
    task: TaskId,
    by: String,
    idempotency: Option<IdempotencyKey>,
    now: Timestamp,
}

impl Store {
    /// Asks for a task's end.
    pub async fn request_abort(&self, task: TaskId, by: &str, reason: &str, now: Timestamp) -> Result<Abort, StoreError> {
        let mark = AbortMark { at: now, by: by.to_owned(), reason: reason.to_owned() };
        self.database.write(AbortRequest { task, mark }, |request, tx| Box::pin(abort(tx, request))).await
    }

    /// Asks for another try at a finished task: a new attempt with the same input, the abort mark cleared.
    pub async fn retry_task(
        &self,
        task: TaskId,
        by: &str,
        idempotency: Option<IdempotencyKey>,
        now: Timestamp,
    ) -> Result<Retry, StoreError> {
        let request = RetryRequest { task, by: by.to_owned(), idempotency, now };
        self.database.write(request, |request, tx| Box::pin(retry(tx, request))).await
    }
}

async fn abort(tx: &mut Tx, request: &AbortRequest) -> Result<Abort, StoreError> {
    let Some(standing) = Standing::lock(tx, request.task).await? else { return Ok(Abort::Missing) };
    let to = match standing.state.apply(TaskEvent::Abort) {
        Ok(to) => to,
        Err(Refusal::AlreadyFinished) => return Ok(Abort::AlreadyFinished),
        Err(refusal) => return Err(StoreError::inconsistent("tasks", request.task, refusal)),
    };
    let marked = standing.abort.is_some();
    if let TaskState::Running { attempt, runner } = to
        && marked
    {
        return Ok(Abort::AlreadyMarked { attempt: AttemptId { task: request.task, attempt }, runner });
    }
    if let TaskState::Offered { attempt, .. } = standing.state {
        let attempt = AttemptId { task: request.task, attempt };
        end(tx, &[attempt], Ending::AbortedBeforeStart, request.mark.at).await?;
    }
    let finished = matches!(to, TaskState::Finished { .. });
    let message = if finished { abort_message(&request.mark) } else { standing.message.clone() };
    let retried = standing.retried;
    let mark = request.mark.clone();
    move_task(tx, &standing, Move { to, message, retried, abort: Some(mark), now: request.mark.at }).await?;
    let object = format!("task {}", request.task);
    audit::append(tx, &request.mark.by, "task.abort", &object, &request.mark.reason, request.mark.at).await?;
    Ok(match to {
        TaskState::Running { attempt, runner } => Abort::Marked { attempt: AttemptId { task: request.task, attempt }, runner },
        _ => Abort::Finished,
    })
}

/// The message of a task that was aborted before it ran.
pub(crate) fn abort_message(mark: &AbortMark) -> String {
    if mark.reason.is_empty() {
        format!("aborted by {} before it ran", mark.by)
    } else {
        format!("aborted by {} before it ran: {}", mark.by, mark.reason)
    }
}

async fn retry(tx: &mut Tx, request: &RetryRequest) -> Result<Retry, StoreError> {
    let Some(standing) = Standing::lock(tx, request.task).await? else { return Ok(Retry::Missing) };
    let to = standing.state.apply(TaskEvent::Retry);
    if let Some(idempotency) = &request.idempotency {
        // A request that is refused leaves no key behind: it may be sent again with the same key when the task has ended.
        match known_key(tx, request, idempotency, to.is_ok()).await? {
            Some(KeySeen::Same(task)) if task == request.task => return Ok(Retry::AlreadyDone),
            Some(KeySeen::Same(_) | KeySeen::Other) => return Ok(Retry::KeyUsedForOther),
            Some(KeySeen::New) | None => {}
        }
    }
    let Ok(to @ TaskState::Queued { next }) = to else { return Ok(Retry::NotFinished) };
    move_task(tx, &standing, Move { to, message: String::new(), retried: 0, abort: None, now: request.now }).await?;
    let object = format!("task {}", request.task);
    audit::append(tx, &request.by, "task.retry", &object, &format!("attempt {next}"), request.now).await?;
    Ok(Retry::Queued { next })
}

async fn known_key(
    tx: &mut Tx,
    request: &RetryRequest,
    idempotency: &IdempotencyKey,
    remember: bool,
) -> Result<Option<KeySeen>, StoreError> {
    let request = KeyRequest { owner: &request.by, idempotency, task: request.task, now: request.now };
    if remember {
        return Ok(remember_keys(tx, &[request]).await?.pop());
    }
    find_key(tx, &request).await
}
