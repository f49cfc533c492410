//! What runners say about their attempts: confirmations and events.

use axum::Json;
use axum::extract::State;
use legwork_core::event::AttemptEvent;
use legwork_protocol::channel::{Confirm, ConfirmAnswer, Confirmed, Events, EventsAnswer, EventsApplied};
use legwork_store::events::EventRefusal;

use crate::channel::session::Session;
use crate::error::{ApiError, ApiResult};
use crate::extract::JsonBody;
use crate::state::AppState;

/// Offers are journaled: what is confirmed here runs.
pub(crate) async fn confirm(
    State(state): State<AppState>,
    session: Session,
    JsonBody { value: asked, .. }: JsonBody<Confirm>,
) -> ApiResult<Json<ConfirmAnswer>> {
    let confirmed = state.store.confirm(&asked.attempts, session.runner, session.epoch, state.now()).await?;
    let mut answers = Vec::with_capacity(confirmed.len());
    for (attempt, result) in confirmed {
        answers.push(match result {
            Ok(()) => {
                state.metrics.confirmations.increment(1);
                state.wakes.wake(attempt.task);
                Confirmed::Yes
            }
            Err(denied) => {
                tracing::info!(%attempt, runner = %session.runner, reason = %denied, "a confirmation was refused");
                Confirmed::No { why: denied.to_string() }
            }
        });
    }
    Ok(Json(ConfirmAnswer { attempts: answers }))
}

/// Something happened to attempts. Each event is applied once, in order; the answer says up to which one.
pub(crate) async fn events(
    State(state): State<AppState>,
    session: Session,
    JsonBody { value: asked, .. }: JsonBody<Events>,
) -> ApiResult<Json<EventsAnswer>> {
    let mut events = Vec::with_capacity(asked.events.len());
    let mut reports = Vec::new();
    for (index, event) in asked.events.into_iter().enumerate() {
        let field = || format!("events[{index}].body");
        let refuse = |error: String| ApiError::invalid(field(), format!("{}: {error}", field()));
        let json = event.body.open_clear().map_err(|error| refuse(error.to_string()))?;
        let body: AttemptEvent = serde_json::from_slice(&json).map_err(|error| refuse(error.to_string()))?;
        if matches!(body, AttemptEvent::Finished(_)) {
            reports.push((event.attempt, event.number));
        }
        events.push((event.attempt, event.number, body));
    }
    let answers = state.store.apply_events(session.runner, session.epoch, events, state.now()).await?;
    let mut applied = Vec::with_capacity(answers.len());
    for answer in answers {
        let finished = reports.iter().any(|(attempt, number)| *attempt == answer.attempt && *number <= answer.through);
        if finished {
            state.metrics.results.increment(1);
            state.tasks_changed([answer.attempt.task]);
        } else {
            state.wakes.wake(answer.attempt.task);
        }
        // What is only out of order is sent again by a runner that looks at `through`; what is not wanted is dropped.
        let refused = match answer.refused {
            Some(EventRefusal::Denied(denied)) => {
                state.metrics.superseded.increment(1);
                tracing::info!(attempt = %answer.attempt, runner = %session.runner, reason = %denied, "events were refused");
                Some(denied.to_string())
            }
            Some(incomplete) => {
                tracing::warn!(attempt = %answer.attempt, runner = %session.runner, reason = %incomplete, "events must be sent again");
                None
            }
            None => None,
        };
        applied.push(EventsApplied { attempt: answer.attempt, through: answer.through, refused });
    }
    Ok(Json(EventsAnswer { attempts: applied }))
}
