//! The long poll: answered the moment that there is something for the runner.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use legwork_core::matching::Availability;
use legwork_core::{Epoch, limits};
use legwork_protocol::channel::{Abort, Poll, PollAnswer};
use legwork_store::held::Wanted;
use legwork_store::queue::UsedSlots;
use legwork_store::runners::Runner;
use tokio::time::Instant;

use crate::channel::offers;
use crate::channel::session::Session;
use crate::error::ApiResult;
use crate::extract::JsonBody;
use crate::fleet;
use crate::live::Parked;
use crate::state::AppState;

/// Answers a poll.
pub(crate) async fn poll(
    State(state): State<AppState>,
    session: Session,
    JsonBody { value: asked, .. }: JsonBody<Poll>,
) -> ApiResult<Json<PollAnswer>> {
    let runner = session.runner;
    let deadline = Instant::now() + Duration::from_millis(asked.wait_millis).min(limits::POLL_TIME);
    let number = state.live.begin_poll(runner);
    // From here on no news is missed: whoever makes some wakes this poll, and then it looks again.
    let mut news = state.live.news(runner);
    loop {
        news.borrow_and_update();
        if !state.live.is_latest_poll(runner, number) {
            return Ok(Json(PollAnswer::default()));
        }
        let row = session.row(&state).await?;
        let answer = look(&state, &row, &asked).await?;
        if !is_empty(&answer) {
            return Ok(Json(answer));
        }
        let mut parked = park(&state, &row, session.epoch, number, asked.free_slots);
        let woken = tokio::select! {
            offers = next_offers(&mut parked) => match offers {
                Some(offers) => return Ok(Json(PollAnswer { offers, ..PollAnswer::default() })),
                None => true,
            },
            _ = news.changed() => true,
            () = tokio::time::sleep_until(deadline) => false,
            () = state.lifecycle.stopping().cancelled() => false,
        };
        let offers = match parked {
            Some(parked) => parked.leave().await,
            None => Vec::new(),
        };
        if !woken || !offers.is_empty() {
            return Ok(Json(PollAnswer { offers, ..PollAnswer::default() }));
        }
    }
}

fn park<'a>(state: &'a AppState, row: &Runner, epoch: Epoch, number: u64, free_slots: u32) -> Option<Parked<'a>> {
    let view = fleet::view(state, row, UsedSlots::default());
    if free_slots == 0 || view.availability != Availability::Online {
        return None;
    }
    state.live.park(number, view, epoch, free_slots)
}

async fn next_offers(parked: &mut Option<Parked<'_>>) -> Option<Vec<legwork_protocol::channel::Offer>> {
    match parked {
        Some(parked) => parked.offers().await,
        None => std::future::pending().await,
    }
}

fn is_empty(answer: &PollAnswer) -> bool {
    answer.offers.is_empty() && answer.aborts.is_empty() && answer.superseded.is_empty() && answer.settings.is_none()
}

/// What there is for the runner now, beside work that nobody has been offered yet.
async fn look(state: &AppState, row: &Runner, asked: &Poll) -> ApiResult<PollAnswer> {
    let runner = row.id;
    let held = state.store.held_attempts(runner).await?;
    let mut answer = PollAnswer::default();
    let mut lost = Vec::new();
    for attempt in &held {
        if let Some(mark) = &attempt.abort
            && !asked.aborting.contains(&attempt.id)
        {
            let reason = if mark.reason.is_empty() { String::new() } else { format!(": {}", mark.reason) };
            answer.aborts.push(Abort { attempt: attempt.id, by: format!("by {}{reason}", mark.by) });
        }
        // The answer that carried this offer has not arrived.
        if attempt.offered && !asked.holding.contains(&attempt.id) {
            lost.push(attempt.id);
        }
    }
    if !lost.is_empty() && state.live.may_redeliver(runner) {
        let offers = state.store.offers_of(runner, &lost).await?;
        answer.offers = offers.into_iter().map(offers::on_the_wire).collect();
    }
    let foreign: Vec<_> = asked.holding.iter().filter(|id| held.iter().all(|attempt| attempt.id != **id)).copied().collect();
    if !foreign.is_empty() {
        let wanted = state.store.wanted(runner, &foreign).await?;
        answer.superseded = wanted.into_iter().filter(|(_, wanted)| *wanted == Wanted::No).map(|(id, _)| id).collect();
    }
    let settings = fleet::settings(row);
    if settings.revision != asked.settings_revision {
        answer.settings = Some(settings);
    }
    Ok(answer)
}
