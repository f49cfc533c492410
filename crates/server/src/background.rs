//! The loops beside the requests. Each looks at the store, does what is due, and waits for a time or a nudge.

use std::time::Duration;

use legwork_core::{RunnerId, Timestamp, limits};
use legwork_lifecycle::Lifecycle;
use legwork_store::StoreError;

use crate::dispatcher;
use crate::state::AppState;

/// The longest sleep of the loop that looks after deadlines: the wall clock may jump.
const DEADLINE_TICK: Duration = Duration::from_secs(1);
const RUNNER_TICK: Duration = Duration::from_secs(2);
const CLEANING_TICK: Duration = Duration::from_secs(600);

/// Starts the loops.
pub(crate) fn spawn(state: &AppState, lifecycle: &Lifecycle) {
    lifecycle.spawn("the dispatcher", dispatcher::run(state.clone()));
    lifecycle.spawn("the deadline keeper", keep_deadlines(state.clone()));
    lifecycle.spawn("the lost-runner watch", watch_silent_runners(state.clone()));
    lifecycle.spawn("the cleaner", clean(state.clone()));
}

/// Takes back offers that were not confirmed, and fails tasks that have waited too long.
async fn keep_deadlines(state: AppState) {
    loop {
        let wait = match pass_deadlines(&state).await {
            Ok(next) => next.map_or(DEADLINE_TICK, |at| at.since(state.now())).min(DEADLINE_TICK),
            Err(error) => {
                report("deadlines could not be kept", error);
                DEADLINE_TICK
            }
        };
        tokio::select! {
            () = state.lifecycle.stopping().cancelled() => return,
            () = tokio::time::sleep(wait) => {}
            () = state.deadlines.notified() => {}
        }
    }
}

/// What is due now; says when something is due next.
async fn pass_deadlines(state: &AppState) -> Result<Option<Timestamp>, StoreError> {
    let now = state.now();
    let next = state.store.next_deadline().await?;
    if next.is_none_or(|at| at > now) {
        return Ok(next);
    }
    let expired = state.store.expire_offers(now).await?;
    for attempt in &expired {
        tracing::info!(%attempt, "an offer was not confirmed in time: the task waits again");
    }
    let failed = state.store.fail_overdue_queued(now).await?;
    state.tasks_changed(expired.iter().map(|attempt| attempt.task).chain(failed));
    state.store.next_deadline().await
}

/// Applies what tasks say about silent runners.
async fn watch_silent_runners(state: AppState) {
    while tick(&state, RUNNER_TICK).await {
        if let Err(error) = apply_policies(&state).await {
            report("silent runners could not be looked after", error);
        }
    }
}

async fn apply_policies(state: &AppState) -> Result<(), StoreError> {
    let now = state.now();
    // The time for which this server was away is nobody's silence.
    let silent = |runner: RunnerId| now.since(state.live.silent_since(runner));
    let used = state.store.used_slots().await?;
    let silences: Vec<_> =
        used.into_keys().map(|runner| (runner, silent(runner))).filter(|(_, silence)| *silence > limits::SILENCE).collect();
    let lost = state.store.apply_lost_runner(&silences, now).await?;
    for attempt in &lost {
        tracing::warn!(%attempt, "its runner was silent for longer than the task allows");
    }
    if !lost.is_empty() {
        state.tasks_changed(lost.iter().map(|attempt| attempt.task));
    }
    Ok(())
}

/// Forgets what nobody will ask for again.
async fn clean(state: AppState) {
    while tick(&state, CLEANING_TICK).await {
        state.metrics.upkeep();
        match state.store.clean_idempotency_keys(state.now()).await {
            Ok(forgotten) => tracing::debug!(forgotten, "old idempotency keys were forgotten"),
            Err(error) => report("old idempotency keys could not be forgotten", error),
        }
    }
}

/// Waits; false if the life is being stopped.
async fn tick(state: &AppState, time: Duration) -> bool {
    tokio::select! {
        () = state.lifecycle.stopping().cancelled() => false,
        () = tokio::time::sleep(time) => true,
    }
}

fn report(what: &'static str, error: StoreError) {
    tracing::error!(error = format!("{:#}", anyhow::Error::from(error)), "{what}; trying again");
}
