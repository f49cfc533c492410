//! Logs as bytes, from any offset on, in one stream of memory however long they are.

use axum::body::{Body, Bytes};
use axum::extract::{Path, State};
use axum::http::header::{self, HeaderName};
use axum::response::{IntoResponse as _, Response};
use futures::stream;
use legwork_core::event::{LogContent, LogStream};
use legwork_core::{AttemptId, AttemptNumber};
use legwork_protocol::api::{LOG_COMPLETE_HEADER, LOG_NEXT_HEADER, ReadLog};
use legwork_protocol::error::ErrorBody;
use legwork_store::logs::PlacedPiece;
use legwork_store::users::Permission;
use legwork_store::{AttemptRecord, StoreError};

use crate::api::tasks;
use crate::auth::Caller;
use crate::error::{ApiError, ApiResult};
use crate::extract::Params;
use crate::state::AppState;

/// Bytes that are read from the store at once.
const READ: usize = 512 * 1024;

/// Read a log
///
/// The bytes as the plugin wrote them, masked. What is missing stands as a line in square brackets. Ask for more from the
/// offset in `legwork-log-next`.
#[utoipa::path(
    get,
    path = "/api/v1/tasks/{id}/log",
    tag = "tasks",
    params(("id" = uuid::Uuid, Path, description = "The task's identity."), ReadLog),
    responses(
        (
            status = 200,
            content_type = "application/octet-stream",
            headers(
                ("legwork-log-next" = u64, description = "The offset after the last byte of this answer."),
                ("legwork-log-complete" = bool, description = "True if this answer reaches the end of a complete log."),
            )
        ),
        (status = "4XX", body = ErrorBody),
    )
)]
pub(crate) async fn read_log(
    State(state): State<AppState>,
    caller: Caller,
    Path(id): Path<String>,
    Params(asked): Params<ReadLog>,
) -> ApiResult<Response> {
    caller.require(Permission::TaskView)?;
    let task = tasks::find(&state, &id).await?;
    let number = match asked.attempt {
        Some(number) => Some(AttemptNumber(number)),
        None => task.attempt(),
    };
    let record = match number {
        Some(attempt) => state.store.attempt(AttemptId { task: task.id, attempt }).await?,
        None => None,
    };
    let Some(record) = record else {
        return match asked.attempt {
            Some(number) => Err(ApiError::not_found(format!("the task {} has no attempt {number}", task.id))),
            // It was never handed out: its log is empty, so far or for good.
            None => Ok(answer(0, task.status().is_final(), Body::empty())),
        };
    };
    let end = end_of(&record, asked.stream);
    let from = asked.offset.unwrap_or(0).min(end);
    let until = asked.limit.map_or(end, |limit| from.saturating_add(limit).min(end));
    let complete = record.log.is_some() && until == end;
    let reader = Reader { state, attempt: record.id, stream: asked.stream, at: from, until, position: None };
    let body = stream::unfold(Some(reader), |reader| async {
        match reader?.next().await {
            Ok(Some((bytes, reader))) => Some((Ok(bytes), Some(reader))),
            Ok(None) => None,
            Err(error) => {
                tracing::error!(%error, "a log could not be read to its end");
                Some((Err(error), None))
            }
        }
    });
    Ok(answer(until, complete, Body::from_stream(body)))
}

fn answer(next: u64, complete: bool, body: Body) -> Response {
    let headers = [
        (header::CONTENT_TYPE, "application/octet-stream".to_owned()),
        (HeaderName::from_static(LOG_NEXT_HEADER), next.to_string()),
        (HeaderName::from_static(LOG_COMPLETE_HEADER), complete.to_string()),
    ];
    (headers, body).into_response()
}

/// The end of what has arrived: of one stream in its own bytes, of both in the order of arrival.
fn end_of(record: &AttemptRecord, stream: Option<LogStream>) -> u64 {
    match stream {
        None => record.log_position,
        Some(LogStream::Stdout) => record.stdout_end,
        Some(LogStream::Stderr) => record.stderr_end,
    }
}

/// Reads from one offset to another, a piece of memory at a time.
struct Reader {
    state: AppState,
    attempt: AttemptId,
    stream: Option<LogStream>,
    /// Where it is, in the caller's offsets.
    at: u64,
    until: u64,
    /// Where it is in the order of arrival; for one stream this is another number.
    position: Option<u64>,
}

impl Reader {
    /// The next bytes, or nothing at the end.
    async fn next(mut self) -> Result<Option<(Bytes, Self)>, StoreError> {
        while self.at < self.until {
            let position = match (self.position, self.stream) {
                (Some(position), _) => position,
                (None, None) => self.at,
                (None, Some(stream)) => self.state.store.log_position_of(self.attempt, stream, self.at).await?,
            };
            let pieces = self.state.store.read_log(self.attempt, self.stream, position, READ).await?;
            if pieces.is_empty() {
                return Ok(None);
            }
            let mut bytes = Vec::new();
            for placed in &pieces {
                self.take(placed, &mut bytes);
                self.position = Some(placed.next());
            }
            if !bytes.is_empty() {
                return Ok(Some((bytes.into(), self)));
            }
        }
        Ok(None)
    }

    fn take(&mut self, placed: &PlacedPiece, bytes: &mut Vec<u8>) {
        let (start, end) = match self.stream {
            None => (placed.position, placed.next()),
            Some(_) => (placed.piece.offset, placed.piece.end()),
        };
        if start >= self.until {
            self.at = self.until;
            return;
        }
        match &placed.piece.content {
            LogContent::Bytes(piece) => {
                let from = usize::try_from(self.at.saturating_sub(start)).unwrap_or(usize::MAX).min(piece.len());
                let to = usize::try_from(self.until - start).unwrap_or(usize::MAX).min(piece.len());
                bytes.extend_from_slice(&piece[from..to.max(from)]);
            }
            LogContent::Gap { bytes: Some(missing) } => {
                bytes.extend_from_slice(format!("\n[{missing} bytes of the log are missing here]\n").as_bytes());
            }
            LogContent::Gap { bytes: None } => bytes.extend_from_slice(b"\n[some of the log is missing here]\n"),
        }
        self.at = end.min(self.until);
    }
}
