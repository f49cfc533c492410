//! Inputs to runners, results and logs from them, in chunks.

use axum::Json;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse as _, Response};
use legwork_core::event::LogStream;
use legwork_core::{AttemptId, AttemptNumber, limits};
use legwork_protocol::channel::ChunkAnswer;
use legwork_protocol::envelope::{CHUNK_KEY_HEADER, CHUNK_LAST_HEADER, KeyId};
use legwork_protocol::error::ErrorCode;
use legwork_protocol::frames;
use legwork_store::confirm::Denied;
use legwork_store::logs::LogAnswer;
use legwork_store::results::ChunkAnswer as Stored;

use crate::channel::session::Session;
use crate::error::{ApiError, ApiResult};
use crate::extract::read_body;
use crate::state::AppState;

/// Room for a seal around a chunk.
const SEAL: usize = 4 * 1024;

/// Gives a chunk of an input.
pub(crate) async fn get_chunk(
    State(state): State<AppState>,
    session: Session,
    Path((task, attempt, stream, sequence)): Path<(String, String, String, String)>,
) -> ApiResult<Response> {
    let attempt = attempt_id(&task, &attempt)?;
    if stream != "input" {
        return Err(ApiError::not_found(format!("runners fetch chunks of the stream input, not of {stream:?}")));
    }
    let sequence = number(&sequence)?;
    match state.store.input_chunk(attempt, session.runner, sequence).await? {
        Some(bytes) => {
            let headers =
                [(header::CONTENT_TYPE, "application/octet-stream".to_owned()), (key_header(), KeyId::CLEAR.to_owned())];
            Ok((headers, bytes).into_response())
        }
        None => {
            Err(ApiError::not_found(format!("the attempt {attempt} is not this runner's, or its input has no chunk {sequence}")))
        }
    }
}

/// Keeps a chunk of a result or of a log.
pub(crate) async fn put_chunk(
    State(state): State<AppState>,
    session: Session,
    Path((task, attempt, stream, sequence)): Path<(String, String, String, String)>,
    request: Request,
) -> ApiResult<Json<ChunkAnswer>> {
    let attempt = attempt_id(&task, &attempt)?;
    let sequence = number(&sequence)?;
    let last = check_headers(request.headers())?;
    let bytes = read_body(request, limits::CHUNK_BYTES + SEAL).await?;
    match stream.as_str() {
        "log" => put_log(&state, &session, attempt, &bytes).await.map(Json),
        "result" => put_result(&state, &session, attempt, sequence, last, bytes.to_vec()).await.map(Json),
        _ => Err(ApiError::not_found(format!("runners send chunks of the streams result and log, not of {stream:?}"))),
    }
}

/// Whether no chunk follows, if the chunk is one that can be read here.
fn check_headers(headers: &HeaderMap) -> ApiResult<bool> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let key = text(CHUNK_KEY_HEADER);
    if key != Some(KeyId::CLEAR) {
        let message = format!("{CHUNK_KEY_HEADER}: the chunk is sealed with the key {key:?}, which is not known here");
        return Err(ApiError::invalid(CHUNK_KEY_HEADER, message));
    }
    match text(CHUNK_LAST_HEADER) {
        Some("true") => Ok(true),
        Some("false") => Ok(false),
        _ => Err(ApiError::invalid(CHUNK_LAST_HEADER, format!("{CHUNK_LAST_HEADER}: it must be true or false"))),
    }
}

async fn put_log(state: &AppState, session: &Session, attempt: AttemptId, bytes: &[u8]) -> ApiResult<ChunkAnswer> {
    let pieces = frames::decode(bytes).map_err(|error| ApiError::new(ErrorCode::BadRequest, error.to_string()))?;
    match state.store.append_log(attempt, session.runner, pieces).await? {
        LogAnswer::AppendedThrough { stdout, stderr } => {
            state.metrics.log_bytes.increment(bytes.len() as u64);
            state.wakes.wake(attempt.task);
            Ok(ChunkAnswer::Kept { stdout, stderr })
        }
        LogAnswer::Expected { stream, offset } => {
            // The other stream's end is as it was: nothing of this chunk was kept.
            let record = state.store.attempt(attempt).await?;
            let (mut stdout, mut stderr) = record.map_or((0, 0), |record| (record.stdout_end, record.stderr_end));
            match stream {
                LogStream::Stdout => stdout = offset,
                LogStream::Stderr => stderr = offset,
            }
            Ok(ChunkAnswer::Missing { sequence: 0, stdout, stderr })
        }
        LogAnswer::Denied(denied) => Ok(refused(state, session, attempt, denied)),
    }
}

async fn put_result(
    state: &AppState,
    session: &Session,
    attempt: AttemptId,
    sequence: u32,
    last: bool,
    bytes: Vec<u8>,
) -> ApiResult<ChunkAnswer> {
    match state.store.put_result_chunk(attempt, session.runner, sequence, last, bytes).await? {
        Stored::Stored => Ok(ChunkAnswer::Kept { stdout: 0, stderr: 0 }),
        Stored::Different => {
            Err(ApiError::conflict(format!("the chunk {sequence} of the result of {attempt} is here already, with other bytes")))
        }
        Stored::TooLarge => {
            let message = format!("the result of {attempt} is over the limit of {} bytes", limits::RESULT_BYTES);
            Err(ApiError::new(ErrorCode::TooLarge, message))
        }
        Stored::Denied(denied) => Ok(refused(state, session, attempt, denied)),
    }
}

fn refused(state: &AppState, session: &Session, attempt: AttemptId, denied: Denied) -> ChunkAnswer {
    state.metrics.superseded.increment(1);
    tracing::info!(%attempt, runner = %session.runner, reason = %denied, "a chunk was refused");
    ChunkAnswer::Refused { why: denied.to_string() }
}

fn key_header() -> header::HeaderName {
    header::HeaderName::from_static(CHUNK_KEY_HEADER)
}

fn attempt_id(task: &str, attempt: &str) -> ApiResult<AttemptId> {
    match (task.parse(), attempt.parse()) {
        (Ok(task), Ok(attempt)) => Ok(AttemptId { task, attempt: AttemptNumber(attempt) }),
        _ => Err(ApiError::not_found("there is no such attempt")),
    }
}

fn number(text: &str) -> ApiResult<u32> {
    text.parse().map_err(|_| ApiError::not_found("there is no such chunk"))
}
