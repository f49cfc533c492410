//! Tasks: create, list, look, abort, retry.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use legwork_core::{TaskId, TaskStatus};
use legwork_protocol::api::{
    AbortTask, Attempt, CreateTask, IDEMPOTENCY_HEADER, ListTasks, Page, Task, TaskCreated, TaskSummary,
};
use legwork_protocol::error::{ErrorBody, ErrorCode};
use legwork_store::control::{Abort, Retry};
use legwork_store::list::TaskFilter;
use legwork_store::tasks::{Creation, IdempotencyKey, NewTask};
use legwork_store::users::Permission;

use crate::api::{task_request, view};
use crate::auth::Caller;
use crate::error::{ApiError, ApiResult};
use crate::extract::{JsonBody, OptionalJsonBody, Params};
use crate::fleet;
use crate::state::AppState;

const KEY_LENGTH: usize = 256;
const REASON_LENGTH: usize = 1_024;
const PAGE: u32 = 50;
const PAGE_MOST: u32 = 500;

/// Create a task
///
/// It waits for a runner from now on. With an `Idempotency-Key` the request can be sent again without making a
/// second task; the key is remembered for a day.
#[utoipa::path(
    post,
    path = "/api/v1/tasks",
    tag = "tasks",
    params(("idempotency-key" = Option<String>, Header, description = "Makes the request safe to send twice.")),
    request_body = CreateTask,
    responses(
        (status = 201, body = TaskCreated),
        (status = 200, description = "The key was seen before: this is the task of then.", body = TaskCreated),
        (status = "4XX", body = ErrorBody),
    )
)]
pub(crate) async fn create_task(
    State(state): State<AppState>,
    caller: Caller,
    headers: HeaderMap,
    JsonBody { value: asked, hash }: JsonBody<CreateTask>,
) -> ApiResult<Response> {
    caller.require(Permission::TaskRun)?;
    let (spec, input) = task_request::check(asked)?;
    let idempotency = idempotency_key(&headers, hash)?;
    let input = serde_json::to_vec(&input).map_err(ApiError::internal)?;
    let id = TaskId::new();
    let task = NewTask { id, spec, input, created_by: caller.user, idempotency };
    let (id, repeated) = match state.store.create_task(task, state.now()).await? {
        Creation::Created => (id, false),
        Creation::AlreadyCreated(earlier) => (earlier, true),
        Creation::KeyUsedForOther => return Err(key_reused()),
    };
    if !repeated {
        state.metrics.tasks_created.increment(1);
        state.tasks_changed([id]);
    }
    let status = if repeated { StatusCode::OK } else { StatusCode::CREATED };
    let location = [(header::LOCATION, format!("/api/v1/tasks/{id}"))];
    Ok((status, location, Json(TaskCreated { id, repeated })).into_response())
}

/// List tasks
///
/// The newest first.
#[utoipa::path(
    get,
    path = "/api/v1/tasks",
    tag = "tasks",
    params(ListTasks),
    responses((status = 200, body = Page<TaskSummary>), (status = "4XX", body = ErrorBody))
)]
pub(crate) async fn list_tasks(
    State(state): State<AppState>,
    caller: Caller,
    Params(asked): Params<ListTasks>,
) -> ApiResult<Json<Page<TaskSummary>>> {
    caller.require(Permission::TaskView)?;
    let limit = asked.limit.unwrap_or(PAGE);
    if !(1..=PAGE_MOST).contains(&limit) {
        return Err(ApiError::invalid("limit", format!("limit: it must be from 1 to {PAGE_MOST}")));
    }
    let after = asked.after.as_deref().map(str::parse::<TaskId>).transpose();
    let after = after.map_err(|_| ApiError::invalid("after", "after: it must be the `next` of the page before"))?;
    let statuses = asked.status.as_deref().unwrap_or("").split(',').map(str::trim).filter(|text| !text.is_empty());
    let statuses = statuses.map(str::parse::<TaskStatus>).collect::<Result<Vec<_>, _>>();
    let statuses = statuses.map_err(|error| ApiError::invalid("status", format!("status: {error}")))?;
    let runner = match &asked.runner {
        None => None,
        Some(name) => Some(fleet::find(&state, name).await.map_err(|error| error.in_field("runner"))?.runner.id),
    };
    let filter = TaskFilter { statuses, runner, task_type: asked.task_type, text: asked.search, ..TaskFilter::default() };
    let page = state.store.tasks(&filter, after, limit).await?;
    let items = view::summaries(&state, &page.tasks).await?;
    Ok(Json(Page { items, next: page.next.map(|id| id.to_string()) }))
}

/// Look at a task
#[utoipa::path(
    get,
    path = "/api/v1/tasks/{id}",
    tag = "tasks",
    params(("id" = uuid::Uuid, Path, description = "The task's identity.")),
    responses((status = 200, body = Task), (status = "4XX", body = ErrorBody))
)]
pub(crate) async fn get_task(State(state): State<AppState>, caller: Caller, Path(id): Path<String>) -> ApiResult<Json<Task>> {
    caller.require(Permission::TaskView)?;
    let task = find(&state, &id).await?;
    let inputs = view::ShownInputs::load(&state, &task).await?;
    Ok(Json(view::task(&state, task, &inputs).await?))
}

/// List a task's attempts
///
/// The oldest first.
#[utoipa::path(
    get,
    path = "/api/v1/tasks/{id}/attempts",
    tag = "tasks",
    params(("id" = uuid::Uuid, Path, description = "The task's identity.")),
    responses((status = 200, body = Vec<Attempt>), (status = "4XX", body = ErrorBody))
)]
pub(crate) async fn list_attempts(
    State(state): State<AppState>,
    caller: Caller,
    Path(id): Path<String>,
) -> ApiResult<Json<Vec<Attempt>>> {
    caller.require(Permission::TaskView)?;
    let task = find(&state, &id).await?;
    let attempts = state.store.attempts(task.id).await?;
    let names = fleet::names(&state, attempts.iter().map(|attempt| attempt.runner)).await?;
    Ok(Json(attempts.iter().map(|attempt| view::attempt(attempt, &names)).collect()))
}

/// Abort a task
///
/// The abort is durable when this is answered. A task that no runner has ends at once; one that runs is Aborting until
/// its runner has seen the container gone. Asking again is harmless.
#[utoipa::path(
    post,
    path = "/api/v1/tasks/{id}/abort",
    tag = "tasks",
    params(("id" = uuid::Uuid, Path, description = "The task's identity.")),
    request_body(content = Option<AbortTask>),
    responses((status = 202), (status = "4XX", body = ErrorBody))
)]
pub(crate) async fn abort_task(
    State(state): State<AppState>,
    caller: Caller,
    Path(id): Path<String>,
    OptionalJsonBody(asked): OptionalJsonBody<AbortTask>,
) -> ApiResult<StatusCode> {
    caller.require(Permission::TaskAbort)?;
    let reason = asked.reason.unwrap_or_default();
    if reason.len() > REASON_LENGTH {
        return Err(ApiError::invalid("reason", format!("reason: it can have at most {REASON_LENGTH} bytes")));
    }
    let id = identity(&id)?;
    match state.store.request_abort(id, &caller.user, &reason, state.now()).await? {
        Abort::Finished => {}
        Abort::Marked { runner, .. } | Abort::AlreadyMarked { runner, .. } => state.live.wake(runner),
        Abort::AlreadyFinished => return Err(ApiError::conflict(format!("the task {id} has already finished"))),
        Abort::Missing => return Err(unknown(&id.to_string())),
    }
    state.tasks_changed([id]);
    Ok(StatusCode::ACCEPTED)
}

/// Try a finished task again
///
/// A new attempt with the same inputs, its own log and its own outputs.
#[utoipa::path(
    post,
    path = "/api/v1/tasks/{id}/retry",
    tag = "tasks",
    params(
        ("id" = uuid::Uuid, Path, description = "The task's identity."),
        ("idempotency-key" = Option<String>, Header, description = "Makes the request safe to send twice."),
    ),
    responses(
        (status = 201, body = TaskCreated),
        (status = 200, description = "The key was seen before.", body = TaskCreated),
        (status = "4XX", body = ErrorBody),
    )
)]
pub(crate) async fn retry_task(
    State(state): State<AppState>,
    caller: Caller,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> ApiResult<(StatusCode, Json<TaskCreated>)> {
    caller.require(Permission::TaskRun)?;
    let id = identity(&id)?;
    let idempotency = idempotency_key(&headers, retry_hash(id))?;
    match state.store.retry_task(id, &caller.user, idempotency, state.now()).await? {
        Retry::Queued { .. } => {
            state.tasks_changed([id]);
            Ok((StatusCode::CREATED, Json(TaskCreated { id, repeated: false })))
        }
        Retry::AlreadyDone => Ok((StatusCode::OK, Json(TaskCreated { id, repeated: true }))),
        Retry::KeyUsedForOther => Err(key_reused()),
        Retry::NotFinished => {
            Err(ApiError::conflict(format!("the task {id} has not finished yet: abort it first, or wait for its end")))
        }
        Retry::Missing => Err(unknown(&id.to_string())),
    }
}

/// The task of this identity, or a refusal.
pub(crate) async fn find(state: &AppState, id: &str) -> ApiResult<legwork_store::Task> {
    state.store.task(identity(id)?).await?.ok_or_else(|| unknown(id))
}

fn identity(id: &str) -> ApiResult<TaskId> {
    id.parse().map_err(|_| unknown(id))
}

fn unknown(id: &str) -> ApiError {
    let id: String = id.chars().take(100).collect();
    ApiError::not_found(format!("there is no task {id:?}"))
}

fn key_reused() -> ApiError {
    let message = "this Idempotency-Key was used with another request within a day: use a new key for a new request";
    ApiError::new(ErrorCode::IdempotencyKeyReused, message)
}

fn idempotency_key(headers: &HeaderMap, body_hash: [u8; 32]) -> ApiResult<Option<IdempotencyKey>> {
    let Some(value) = headers.get(IDEMPOTENCY_HEADER) else { return Ok(None) };
    match value.to_str() {
        Ok(key) if (1..=KEY_LENGTH).contains(&key.len()) => Ok(Some(IdempotencyKey { key: key.to_owned(), body_hash })),
        _ => {
            let message = format!("the header Idempotency-Key must have 1 to {KEY_LENGTH} visible ASCII characters");
            Err(ApiError::new(ErrorCode::BadRequest, message).in_field(IDEMPOTENCY_HEADER))
        }
    }
}

/// Stands for the body that a retry does not have: a key of one task's retry is none of another's.
fn retry_hash(task: TaskId) -> [u8; 32] {
    use sha2::Digest as _;
    sha2::Sha256::digest(format!("retry {task}")).into()
}
