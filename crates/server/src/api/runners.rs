//! Runners: list, look, edit, enable, disable, drain, accept, delete.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use legwork_core::limits;
use legwork_protocol::api::{EditRunner, Runner};
use legwork_protocol::duration::HumanDuration;
use legwork_protocol::error::ErrorBody;
use legwork_store::runners::{DesiredState, Removal, RunnerEdit};
use legwork_store::users::Permission;

use crate::auth::Caller;
use crate::error::{ApiError, ApiResult};
use crate::extract::JsonBody;
use crate::fleet::{self, Member};
use crate::state::AppState;

const TITLE_LENGTH: usize = 128;
const EVICTION_MOST: std::time::Duration = std::time::Duration::from_secs(30 * 24 * 3_600);

/// List the runners
///
/// By title.
#[utoipa::path(
    get,
    path = "/api/v1/runners",
    tag = "runners",
    responses((status = 200, body = Vec<Runner>), (status = "4XX", body = ErrorBody))
)]
pub(crate) async fn list_runners(State(state): State<AppState>, caller: Caller) -> ApiResult<Json<Vec<Runner>>> {
    caller.require(Permission::RunnerView)?;
    let mut runners = Vec::new();
    for member in fleet::members(&state).await? {
        runners.push(shown(&state, member).await?);
    }
    Ok(Json(runners))
}

/// Look at a runner
#[utoipa::path(
    get,
    path = "/api/v1/runners/{id}",
    tag = "runners",
    params(("id" = String, Path, description = "The runner's identity or title.")),
    responses((status = 200, body = Runner), (status = "4XX", body = ErrorBody))
)]
pub(crate) async fn get_runner(State(state): State<AppState>, caller: Caller, Path(id): Path<String>) -> ApiResult<Json<Runner>> {
    caller.require(Permission::RunnerView)?;
    let member = fleet::find(&state, &id).await?;
    Ok(Json(shown(&state, member).await?))
}

/// Change a runner
///
/// What is not given stays. The runner hears of it at once; tasks that run are never touched.
#[utoipa::path(
    patch,
    path = "/api/v1/runners/{id}",
    tag = "runners",
    params(("id" = String, Path, description = "The runner's identity or title.")),
    request_body = EditRunner,
    responses((status = 200, body = Runner), (status = "4XX", body = ErrorBody))
)]
pub(crate) async fn edit_runner(
    State(state): State<AppState>,
    caller: Caller,
    Path(id): Path<String>,
    JsonBody { value: asked, .. }: JsonBody<EditRunner>,
) -> ApiResult<Json<Runner>> {
    let edit = check(asked)?;
    change(&state, &caller, &id, "runner.edit", edit).await.map(Json)
}

/// Let a runner take work
#[utoipa::path(
    post,
    path = "/api/v1/runners/{id}/enable",
    tag = "runners",
    params(("id" = String, Path, description = "The runner's identity or title.")),
    responses((status = 200, body = Runner), (status = "4XX", body = ErrorBody))
)]
pub(crate) async fn enable_runner(
    State(state): State<AppState>,
    caller: Caller,
    Path(id): Path<String>,
) -> ApiResult<Json<Runner>> {
    set(&state, &caller, &id, "runner.enable", DesiredState::Enabled).await
}

/// Let a runner take no work
///
/// What it has goes on.
#[utoipa::path(
    post,
    path = "/api/v1/runners/{id}/disable",
    tag = "runners",
    params(("id" = String, Path, description = "The runner's identity or title.")),
    responses((status = 200, body = Runner), (status = "4XX", body = ErrorBody))
)]
pub(crate) async fn disable_runner(
    State(state): State<AppState>,
    caller: Caller,
    Path(id): Path<String>,
) -> ApiResult<Json<Runner>> {
    set(&state, &caller, &id, "runner.disable", DesiredState::Disabled).await
}

/// Let a runner finish what it has and stop
#[utoipa::path(
    post,
    path = "/api/v1/runners/{id}/drain",
    tag = "runners",
    params(("id" = String, Path, description = "The runner's identity or title.")),
    responses((status = 200, body = Runner), (status = "4XX", body = ErrorBody))
)]
pub(crate) async fn drain_runner(
    State(state): State<AppState>,
    caller: Caller,
    Path(id): Path<String>,
) -> ApiResult<Json<Runner>> {
    set(&state, &caller, &id, "runner.drain", DesiredState::Draining).await
}

/// Accept the newest process of a runner that two processes claim to be
///
/// It gets work again. The older process stays refused.
#[utoipa::path(
    post,
    path = "/api/v1/runners/{id}/accept",
    tag = "runners",
    params(("id" = String, Path, description = "The runner's identity or title.")),
    responses((status = 200, body = Runner), (status = "4XX", body = ErrorBody))
)]
pub(crate) async fn accept_runner(
    State(state): State<AppState>,
    caller: Caller,
    Path(id): Path<String>,
) -> ApiResult<Json<Runner>> {
    caller.require(Permission::RunnerEdit)?;
    let runner = fleet::find(&state, &id).await?.runner;
    if !state.store.resolve_conflict(runner.id).await? {
        let message = format!("only one process claims to be the runner {}: there is nothing to accept", runner.settings.title);
        return Err(ApiError::conflict(message));
    }
    let (object, why) = (format!("runner {}", runner.id), runner.conflict.unwrap_or_default());
    state.store.append_audit(&caller.user, "runner.accept", &object, &why, state.now()).await?;
    state.live.wake(runner.id);
    let member = fleet::find(&state, &runner.id.to_string()).await?;
    Ok(Json(shown(&state, member).await?))
}

/// Delete a runner
///
/// It finishes what it has, wipes its store and ends; then it is gone from the list. One that is offline and has no task is
/// gone at once.
#[utoipa::path(
    delete,
    path = "/api/v1/runners/{id}",
    tag = "runners",
    params(("id" = String, Path, description = "The runner's identity or title.")),
    responses((status = 202, description = "It is deleting."), (status = 204, description = "It is gone."), (status = "4XX", body = ErrorBody))
)]
pub(crate) async fn delete_runner(
    State(state): State<AppState>,
    caller: Caller,
    Path(id): Path<String>,
) -> ApiResult<StatusCode> {
    caller.require(Permission::RunnerEdit)?;
    let member = fleet::find(&state, &id).await?;
    let runner = member.runner.id;
    let edit = RunnerEdit { state: Some(DesiredState::Deleting), ..RunnerEdit::default() };
    change(&state, &caller, &runner.to_string(), "runner.delete", edit).await?;
    let heard = state.live.last_seen(runner).is_some_and(|at| state.now().since(at) <= limits::SILENCE);
    if heard && !state.live.has_left(runner) {
        return Ok(StatusCode::ACCEPTED);
    }
    if state.store.remove_runner(runner).await? == Removal::HasTasks {
        return Ok(StatusCode::ACCEPTED);
    }
    state.live.forget(runner);
    Ok(StatusCode::NO_CONTENT)
}

async fn set(state: &AppState, caller: &Caller, id: &str, action: &'static str, wanted: DesiredState) -> ApiResult<Json<Runner>> {
    let edit = RunnerEdit { state: Some(wanted), ..RunnerEdit::default() };
    change(state, caller, id, action, edit).await.map(Json)
}

async fn change(state: &AppState, caller: &Caller, id: &str, action: &'static str, edit: RunnerEdit) -> ApiResult<Runner> {
    caller.require(Permission::RunnerEdit)?;
    let member = fleet::find(state, id).await?;
    let runner = member.runner.id;
    if member.runner.settings.state == DesiredState::Deleting && edit.state != Some(DesiredState::Deleting) {
        return Err(ApiError::conflict(format!("the runner {} is being deleted", member.runner.settings.title)));
    }
    let detail = format!("{edit:?}");
    if state.store.edit_runner(runner, edit).await?.is_none() {
        return Err(ApiError::not_found(format!("there is no runner {runner}")));
    }
    // Its poll is given no more work before it has looked at the settings.
    state.live.wake(runner);
    state.store.append_audit(&caller.user, action, &format!("runner {runner}"), &detail, state.now()).await?;
    let member = fleet::find(state, &runner.to_string()).await?;
    shown(state, member).await
}

fn check(asked: EditRunner) -> ApiResult<RunnerEdit> {
    if let Some(title) = &asked.title
        && (title.is_empty() || title.len() > TITLE_LENGTH || title.contains(char::is_control))
    {
        let message = format!("title: it must have 1 to {TITLE_LENGTH} bytes and no control characters");
        return Err(ApiError::invalid("title", message));
    }
    if asked.capabilities.as_ref().is_some_and(|capabilities| capabilities.0.len() > limits::CAPABILITIES) {
        let message = format!("capabilities: at most {} are possible", limits::CAPABILITIES);
        return Err(ApiError::invalid("capabilities", message));
    }
    if asked.capacity.is_some_and(|capacity| capacity > limits::CAPACITY_MAX) {
        let message = format!("capacity: it can be at most {}", limits::CAPACITY_MAX);
        return Err(ApiError::invalid("capacity", message));
    }
    if asked.eviction_time.is_some_and(|time| time.0 > EVICTION_MOST) {
        return Err(ApiError::invalid("eviction_time", "eviction_time: it can be at most 30d"));
    }
    Ok(RunnerEdit {
        title: asked.title,
        capabilities: asked.capabilities,
        capacity: asked.capacity,
        eviction_time: asked.eviction_time.map(|time| time.0),
        state: None,
    })
}

async fn shown(state: &AppState, member: Member) -> ApiResult<Runner> {
    let Member { runner, view, status, explanation, last_seen } = member;
    let token_expires = match runner.token {
        Some(id) => state.store.token(id).await?.and_then(|token| token.expires_at),
        None => None,
    };
    Ok(Runner {
        id: runner.id,
        title: runner.settings.title,
        capabilities: runner.settings.capabilities,
        capacity: runner.settings.capacity,
        used: view.used,
        eviction_time: HumanDuration(runner.settings.eviction_time),
        status: status.as_str().to_owned(),
        explanation,
        epoch: runner.epoch.0,
        last_seen,
        created: runner.first_registered_at,
        token_expires,
        clock_skew_millis: state.live.clock_skew_millis(runner.id),
        version: runner.version,
        metadata: runner.metadata,
    })
}
