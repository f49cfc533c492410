//! Hands queued work to the runners that wait for it: one loop, woken by whatever may make a match possible.
//!
//! Polls park in [`crate::live`]; a round takes those that can be given something, claims tasks for all of them at
//! once, and answers them. The claim in the store decides; this only proposes. An offer whose poll went away
//! meanwhile stays in the store and comes with the runner's next poll, until it expires.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use futures::future::join_all;
use legwork_core::matching::{Assignment, QueuedGroup, RunnerView, assign};
use legwork_core::{RunnerId, limits};
use legwork_store::StoreError;
use legwork_store::queue::{Offer, UsedSlots};

use crate::channel::offers;
use crate::live::Waiter;
use crate::state::AppState;

/// A look without being asked, in case that something changed behind our back.
const TICK: Duration = Duration::from_secs(5);
const AFTER_FAILURE: Duration = Duration::from_secs(1);
/// Runners that are looked at for each requirement, even if there are fewer tasks.
const CANDIDATES: u32 = 64;

/// Hands out work until the life is stopped.
pub(crate) async fn run(state: AppState) {
    let stopping = state.lifecycle.stopping().clone();
    loop {
        tokio::select! {
            () = stopping.cancelled() => return,
            () = state.live.nudged() => {}
            () = tokio::time::sleep(TICK) => {}
        }
        let start = Instant::now();
        match hand_out(&state).await {
            Ok(0) => {}
            Ok(_) => state.metrics.dispatch.record(start.elapsed().as_secs_f64()),
            Err(error) => {
                tracing::error!(
                    error = format!("{:#}", anyhow::Error::from(error)),
                    "work could not be handed out; trying again"
                );
                tokio::select! {
                    () = stopping.cancelled() => return,
                    () = tokio::time::sleep(AFTER_FAILURE) => state.live.nudge(),
                }
            }
        }
    }
}

/// One round: says how many tasks were offered. The costs do not depend on how many tasks wait.
async fn hand_out(state: &AppState) -> Result<usize, StoreError> {
    if state.live.waiting() == 0 {
        return Ok(0);
    }
    let groups = state.store.queued_groups().await?;
    if groups.is_empty() {
        return Ok(0);
    }
    let used = state.store.used_slots().await?;
    let views = candidates(state, &groups, &used);
    let mut of_runner: HashMap<RunnerId, Vec<Assignment>> = HashMap::new();
    for assignment in assign(&groups, &views) {
        of_runner.entry(assignment.runner).or_default().push(assignment);
    }
    let claims = of_runner.into_iter().filter_map(|(runner, assignments)| {
        let waiter = state.live.take(runner)?;
        Some(claim(state, waiter, assignments))
    });
    // The store makes all claims that arrive together durable with one commit.
    let mut offered = 0;
    for claimed in join_all(claims).await {
        offered += claimed?;
    }
    Ok(offered)
}

/// Runners that wait and can take something: for each requirement as many as there are tasks, and at least a few, so that
/// work spreads. A thousand runners that wait cost no more than these.
fn candidates(state: &AppState, groups: &[QueuedGroup], used: &HashMap<RunnerId, UsedSlots>) -> Vec<RunnerView> {
    let mut wanted: Vec<u32> = groups.iter().map(|group| group.tasks.max(CANDIDATES)).collect();
    state.live.with_waiting(|waiting| {
        let mut views = Vec::new();
        for waiter in waiting {
            if wanted.iter().all(|wanted| *wanted == 0) {
                break;
            }
            let takes: Vec<usize> =
                (0..groups.len()).filter(|&index| wanted[index] > 0 && waiter.view.matches(&groups[index].required)).collect();
            if takes.is_empty() {
                continue;
            }
            let view = with_used(waiter, used);
            let free = view.free_slots();
            if free.tasks.max(free.scripts) == 0 {
                continue;
            }
            for index in takes {
                wanted[index] -= 1;
            }
            views.push(view);
        }
        views
    })
}

/// Claims tasks for one poll and answers it.
async fn claim(state: &AppState, waiter: Waiter, assignments: Vec<Assignment>) -> Result<usize, StoreError> {
    let runner = waiter.view.id;
    let now = state.now();
    let until = now.plus(limits::OFFER_TIME);
    let mut claimed: Vec<Offer> = Vec::new();
    let mut failure = None;
    for Assignment { groups, tasks, .. } in &assignments {
        match state.store.offer_tasks(runner, waiter.epoch, groups, *tasks, now, until).await {
            Ok(offers) => claimed.extend(offers),
            Err(error) => failure = Some(error),
        }
    }
    let offered = claimed.len();
    if offered == 0 {
        state.live.put_back(waiter);
    } else {
        state.metrics.offers.increment(offered as u64);
        state.tasks_offered(&claimed);
        let offers = claimed.into_iter().map(offers::on_the_wire).collect();
        if waiter.offers.send(offers).is_err() {
            tracing::debug!(%runner, offered, "the poll went away; its offers come with the runner's next one");
        }
    }
    failure.map_or(Ok(offered), Err)
}

/// The runner as it stands: slots in use as the server counts them, and no more free ones than the runner says.
fn with_used(waiter: &Waiter, used: &HashMap<RunnerId, UsedSlots>) -> RunnerView {
    let mut view = waiter.view.clone();
    let slots = used.get(&view.id).copied().unwrap_or_default();
    view.used = slots.used.max(view.capacity.saturating_sub(waiter.free_slots));
    view.used_by_scripts = slots.by_scripts;
    view
}
