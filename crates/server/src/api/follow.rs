//! A task live, as Server-Sent Events: the task whenever it changes, its log as it arrives.
//!
//! The stream holds no state that a reader could miss: it looks at the store, says what is new since its last look, and
//! waits to be woken. So a broken connection goes on where it was, from `Last-Event-ID`.

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::response::Sse;
use axum::response::sse::{Event, KeepAlive};
use futures::stream::{self, Stream};
use legwork_core::event::LogContent;
use legwork_core::{AttemptId, AttemptNumber, TaskId};
use legwork_protocol::api::{Follow, FollowLog};
use legwork_protocol::error::{ErrorBody, ErrorCode};
use legwork_store::logs::PlacedPiece;
use legwork_store::users::Permission;
use tokio::time::Instant;

use crate::api::{tasks, view};
use crate::auth::Caller;
use crate::error::{ApiError, ApiResult};
use crate::state::AppState;
use crate::wake::TaskSubscription;

/// Why a task waits, and whether its runner is silent, change without anybody writing them down.
const TICK: Duration = Duration::from_secs(1);
/// How long the log of a finished task may take to become complete.
const LOG_PATIENCE: Duration = Duration::from_secs(60);
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// Bytes of log in one event.
const READ: usize = 128 * 1024;

/// Follow a task
///
/// Events `task`, `log` and `end`; each carries a `Follow` as JSON. The stream ends with `end`.
#[utoipa::path(
    get,
    path = "/api/v1/tasks/{id}/follow",
    tag = "tasks",
    params(
        ("id" = uuid::Uuid, Path, description = "The task's identity."),
        ("last-event-id" = Option<String>, Header, description = "The id of the last `log` event that was seen."),
    ),
    responses((status = 200, content_type = "text/event-stream", body = Follow), (status = "4XX", body = ErrorBody))
)]
pub(crate) async fn follow_task(
    State(state): State<AppState>,
    caller: Caller,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> ApiResult<Sse<impl Stream<Item = Result<Event, Infallible>>>> {
    caller.require(Permission::TaskView)?;
    let task = tasks::find(&state, &id).await?;
    let seen = match headers.get("last-event-id") {
        None => None,
        Some(value) => Some(value.to_str().ok().and_then(|text| place(text, task.attempt())).ok_or_else(|| {
            let message = "the header Last-Event-ID must be the id of a log event: <attempt>:<offset>";
            ApiError::new(ErrorCode::BadRequest, message).in_field("last-event-id")
        })?),
    };
    let follower = Follower {
        subscription: state.wakes.subscribe(task.id),
        inputs: view::ShownInputs::load(&state, &task).await?,
        task: task.id,
        attempt: seen.map(|(attempt, _)| attempt),
        position: seen.map_or(0, |(_, position)| position),
        shown: String::new(),
        pending: Vec::new(),
        finished_since: None,
        ended: false,
        state,
    };
    let events = stream::unfold(follower, |mut follower| async {
        let event = follower.next().await?;
        Some((Ok(event), follower))
    });
    Ok(Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)))
}

/// `<attempt>:<offset>`, or the offset alone in the last attempt.
fn place(text: &str, last: Option<AttemptNumber>) -> Option<(AttemptNumber, u64)> {
    match text.split_once(':') {
        Some((attempt, offset)) => Some((AttemptNumber(attempt.parse().ok()?), offset.parse().ok()?)),
        None => Some((last.unwrap_or(AttemptNumber::FIRST), text.parse().ok()?)),
    }
}

struct Follower {
    state: AppState,
    subscription: TaskSubscription,
    task: TaskId,
    inputs: view::ShownInputs,
    /// The attempt whose log is being sent, and the place up to which it was.
    attempt: Option<AttemptNumber>,
    position: u64,
    /// The task as it was sent last.
    shown: String,
    /// Events to be sent, the last one first.
    pending: Vec<Event>,
    finished_since: Option<Instant>,
    ended: bool,
}

impl Follower {
    async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.pending.pop() {
                return Some(event);
            }
            if self.ended || self.state.lifecycle.stopping().is_cancelled() {
                return None;
            }
            if let Err(error) = self.look().await {
                // The reader comes back by itself, with the place that it has reached.
                tracing::warn!(?error, "following a task ends");
                return None;
            }
            if self.pending.is_empty() && !self.ended {
                tokio::select! {
                    () = self.subscription.changed() => {}
                    () = tokio::time::sleep(TICK) => {}
                    () = self.state.lifecycle.stopping().cancelled() => return None,
                }
            }
        }
    }

    /// Puts everything that is new since the last look into `pending`.
    async fn look(&mut self) -> ApiResult<()> {
        let Some(task) = self.state.store.task(self.task).await? else {
            self.ended = true;
            return Ok(());
        };
        let current = task.attempt();
        let mut events = Vec::new();
        let finished = task.status().is_final();
        let view = view::task(&self.state, task, &self.inputs).await?;
        let log_complete = view.attempts.last().is_none_or(|attempt| attempt.log.is_some() || attempt.confirmed.is_none());
        let json = serde_json::to_string(&Follow::Task(Box::new(view))).map_err(ApiError::internal)?;
        if json != self.shown {
            events.push(Event::default().event("task").data(&json));
            self.shown = json;
        }
        let mut more = false;
        if let Some(attempt) = self.attempt.or(current) {
            self.attempt = Some(attempt);
            let pieces = self.state.store.read_log(AttemptId { task: self.task, attempt }, None, self.position, READ).await?;
            more = !pieces.is_empty();
            for placed in &pieces {
                events.push(log_event(attempt, placed)?);
                self.position = placed.next();
            }
            // Another try has a log of its own, which is sent when this one's is.
            if !more && current > self.attempt {
                self.attempt = Some(attempt.next());
                self.position = 0;
                more = true;
            }
        }
        if finished && !more {
            let since = *self.finished_since.get_or_insert_with(Instant::now);
            if log_complete || since.elapsed() >= LOG_PATIENCE {
                let end = serde_json::to_string(&Follow::End { log_complete }).map_err(ApiError::internal)?;
                events.push(Event::default().event("end").data(end));
                self.ended = true;
            }
        } else if !finished {
            self.finished_since = None;
        }
        events.reverse();
        self.pending = events;
        if more && self.pending.is_empty() {
            return Box::pin(self.look()).await;
        }
        Ok(())
    }
}

fn log_event(attempt: AttemptNumber, placed: &PlacedPiece) -> ApiResult<Event> {
    let (bytes, missing) = match &placed.piece.content {
        LogContent::Bytes(bytes) => (bytes.clone(), Some(0)),
        LogContent::Gap { bytes } => (Vec::new(), *bytes),
    };
    let log = FollowLog { attempt: attempt.0, stream: placed.piece.stream, offset: placed.position, bytes, missing };
    let json = serde_json::to_string(&Follow::Log(log)).map_err(ApiError::internal)?;
    Ok(Event::default().event("log").id(format!("{attempt}:{}", placed.next())).data(json))
}
