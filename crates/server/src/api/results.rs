//! The whole result of a task, however large.

use axum::body::{Body, Bytes};
use axum::extract::{Path, State};
use axum::http::header;
use axum::response::{IntoResponse as _, Response};
use futures::stream;
use legwork_core::AttemptId;
use legwork_protocol::error::ErrorBody;
use legwork_store::KeptResult;
use legwork_store::users::Permission;

use crate::api::tasks;
use crate::auth::Caller;
use crate::error::{ApiError, ApiResult};
use crate::state::AppState;

/// Read a result
///
/// The JSON as the plugin made it, of the last attempt.
#[utoipa::path(
    get,
    path = "/api/v1/tasks/{id}/result",
    tag = "tasks",
    params(("id" = uuid::Uuid, Path, description = "The task's identity.")),
    responses((status = 200, content_type = "application/json"), (status = "4XX", body = ErrorBody))
)]
pub(crate) async fn read_result(State(state): State<AppState>, caller: Caller, Path(id): Path<String>) -> ApiResult<Response> {
    caller.require(Permission::TaskView)?;
    let task = tasks::find(&state, &id).await?;
    let record = match task.attempt() {
        Some(attempt) => state.store.attempt(AttemptId { task: task.id, attempt }).await?,
        None => None,
    };
    let Some((attempt, chunks, bytes)) = record.and_then(|record| match record.result {
        KeptResult::Chunks { chunks, bytes, .. } => Some((record.id, chunks, bytes)),
        KeptResult::None => None,
    }) else {
        let yet = if task.status().is_final() { "" } else { " yet" };
        return Err(ApiError::not_found(format!("the task {} has no result{yet}", task.id)));
    };
    let body = stream::unfold(0, move |sequence| {
        let state = state.clone();
        async move {
            if sequence >= chunks {
                return None;
            }
            let chunk = match state.store.result_chunk(attempt, sequence).await {
                Ok(Some(chunk)) => Ok(Bytes::from(chunk.bytes)),
                Ok(None) => Err(anyhow::anyhow!("the chunk {sequence} of the result of {attempt} is missing")),
                Err(error) => Err(error.into()),
            };
            if let Err(error) = &chunk {
                tracing::error!(error = format!("{error:#}"), "a result could not be read to its end");
            }
            // After an error nothing more is asked for.
            let next = if chunk.is_ok() { sequence + 1 } else { chunks };
            Some((chunk, next))
        }
    });
    let headers = [(header::CONTENT_TYPE, "application/json".to_owned()), (header::CONTENT_LENGTH, bytes.to_string())];
    Ok((headers, Body::from_stream(body)).into_response())
}
