//! The server itself: what it is, who is asking, whether it works.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use legwork_protocol::api::{Me, ServerInfo};
use legwork_protocol::error::ErrorBody;
use legwork_protocol::{BUILD_VERSION, CHANNEL_VERSION};
use legwork_store::users::Permission;

use crate::auth::Caller;
use crate::error::ApiResult;
use crate::fleet::{self, RunnerStatus};
use crate::state::AppState;

/// What this server is
#[utoipa::path(get, path = "/api/v1/server", tag = "server", security(()), responses((status = 200, body = ServerInfo)))]
pub(crate) async fn server_info() -> Json<ServerInfo> {
    let (name, version) = ("Legwork".to_owned(), BUILD_VERSION.to_owned());
    Json(ServerInfo { name, version, channel_version: CHANNEL_VERSION })
}

/// Who is asking
#[utoipa::path(
    get,
    path = "/api/v1/me",
    tag = "server",
    responses((status = 200, body = Me), (status = "4XX", body = ErrorBody))
)]
pub(crate) async fn me(caller: Caller) -> Json<Me> {
    let permissions = caller.permissions.0.iter().map(ToString::to_string).collect();
    Json(Me { user: caller.user, permissions })
}

/// This document
#[utoipa::path(
    get,
    path = "/api/v1/openapi.json",
    tag = "server",
    security(()),
    responses((status = 200, content_type = "application/json"))
)]
pub(crate) async fn openapi(State(state): State<AppState>) -> Response {
    let document = state.openapi.get().cloned().unwrap_or_default();
    ([(header::CONTENT_TYPE, "application/json")], document).into_response()
}

/// Whether the process works
#[utoipa::path(get, path = "/live", tag = "server", security(()), responses((status = 200, body = String)))]
pub(crate) async fn live() -> &'static str {
    "live\n"
}

/// Whether the server can do its work
///
/// If not, the answer says why.
#[utoipa::path(
    get,
    path = "/ready",
    tag = "server",
    security(()),
    responses((status = 200, body = String), (status = 503, body = String))
)]
pub(crate) async fn ready(State(state): State<AppState>) -> Response {
    if state.lifecycle.stopping().is_cancelled() {
        return (StatusCode::SERVICE_UNAVAILABLE, "the server is stopping\n").into_response();
    }
    match state.store.ping().await {
        Ok(()) => "ready\n".into_response(),
        Err(error) => {
            tracing::error!(%error, "the database does not answer");
            (StatusCode::SERVICE_UNAVAILABLE, "the database does not answer\n").into_response()
        }
    }
}

/// Numbers for Prometheus
#[utoipa::path(
    get,
    path = "/metrics",
    tag = "server",
    responses((status = 200, body = String, content_type = "text/plain"), (status = "4XX", body = ErrorBody))
)]
pub(crate) async fn metrics(State(state): State<AppState>, caller: Caller) -> ApiResult<Response> {
    caller.require(Permission::TaskView)?;
    let counts: BTreeMap<String, u64> = state.store.unfinished_counts().await?.into_iter().collect();
    for unfinished in ["queued", "offered", "running"] {
        let count = counts.get(unfinished).copied().unwrap_or(0);
        state.metrics.gauge("legwork_tasks", Some(("state", unfinished)), count as f64);
    }
    let mut by_status: BTreeMap<&str, u32> = RunnerStatus::ALL.iter().map(|status| (status.as_str(), 0)).collect();
    for member in fleet::members(&state).await? {
        *by_status.entry(member.status.as_str()).or_default() += 1;
    }
    for (status, count) in by_status {
        state.metrics.gauge("legwork_runners", Some(("status", status)), f64::from(count));
    }
    state.metrics.gauge("legwork_polls_waiting", None, state.live.waiting() as f64);
    let content_type = [(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")];
    Ok((content_type, state.metrics.render()).into_response())
}
