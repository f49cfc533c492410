//! The runners as the server sees them: what the store keeps of them, and what was heard of them.

use std::collections::HashMap;

use legwork_core::matching::{Availability, RunnerView};
use legwork_core::{RunnerId, Timestamp, limits};
use legwork_protocol::channel::{Duty, RunnerSettings};
use legwork_store::StoreError;
use legwork_store::queue::UsedSlots;
use legwork_store::runners::{DesiredState, Runner};

use crate::error::{ApiError, ApiResult};
use crate::state::AppState;

/// How a runner stands, in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RunnerStatus {
    Online,
    Offline,
    Disabled,
    Draining,
    Outdated,
    Conflict,
    Deleting,
}

impl RunnerStatus {
    pub(crate) const ALL: [Self; 7] =
        [Self::Online, Self::Offline, Self::Disabled, Self::Draining, Self::Outdated, Self::Conflict, Self::Deleting];

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Online => "online",
            Self::Offline => "offline",
            Self::Disabled => "disabled",
            Self::Draining => "draining",
            Self::Outdated => "outdated",
            Self::Conflict => "conflict",
            Self::Deleting => "deleting",
        }
    }
}

/// A runner and how it stands.
#[derive(Clone, Debug)]
pub(crate) struct Member {
    pub(crate) runner: Runner,
    pub(crate) view: RunnerView,
    pub(crate) status: RunnerStatus,
    pub(crate) explanation: Option<String>,
    pub(crate) last_seen: Option<Timestamp>,
}

/// All runners, by title.
pub(crate) async fn members(state: &AppState) -> Result<Vec<Member>, StoreError> {
    let used = state.store.used_slots().await?;
    let runners = state.store.runners().await?;
    Ok(runners.into_iter().map(|runner| member(state, &used, runner)).collect())
}

/// The runner of this identity or title, or a refusal.
pub(crate) async fn find(state: &AppState, name: &str) -> ApiResult<Member> {
    let unknown = || {
        let name: String = name.chars().take(128).collect();
        ApiError::not_found(format!("there is no runner {name:?}"))
    };
    if let Ok(id) = name.parse::<RunnerId>() {
        let runner = state.store.runner(id).await?.ok_or_else(unknown)?;
        return Ok(member(state, &state.store.used_slots().await?, runner));
    }
    let mut named: Vec<Member> = members(state).await?;
    named.retain(|member| member.runner.settings.title == name);
    match named.len() {
        0 => Err(unknown()),
        1 => named.pop().ok_or_else(unknown),
        several => Err(ApiError::conflict(format!("{several} runners are called {name:?}: give the identity of one"))),
    }
}

/// The titles of these runners; those that were deleted have none.
pub(crate) async fn names(
    state: &AppState,
    runners: impl Iterator<Item = RunnerId>,
) -> Result<HashMap<RunnerId, String>, StoreError> {
    let mut names = HashMap::new();
    for id in runners {
        if !names.contains_key(&id)
            && let Some(runner) = state.store.runner(id).await?
        {
            names.insert(id, runner.settings.title);
        }
    }
    Ok(names)
}

/// A runner as the matching sees it.
pub(crate) fn view(state: &AppState, runner: &Runner, used: UsedSlots) -> RunnerView {
    RunnerView {
        id: runner.id,
        title: runner.settings.title.clone(),
        capabilities: runner.settings.capabilities.clone(),
        capacity: runner.settings.capacity,
        used: used.used,
        used_by_scripts: used.by_scripts,
        availability: availability(state, runner),
    }
}

/// The settings that a runner must follow.
pub(crate) fn settings(runner: &Runner) -> RunnerSettings {
    let settings = &runner.settings;
    RunnerSettings {
        revision: settings.revision,
        title: settings.title.clone(),
        capabilities: settings.capabilities.clone(),
        capacity: settings.capacity,
        eviction_seconds: settings.eviction_time.as_secs(),
        duty: match settings.state {
            DesiredState::Enabled => Duty::Enabled,
            DesiredState::Disabled => Duty::Disabled,
            DesiredState::Draining => Duty::Draining,
            DesiredState::Deleting => Duty::Deleted,
        },
    }
}

fn availability(state: &AppState, runner: &Runner) -> Availability {
    if runner.conflict.is_some() {
        return Availability::Conflict;
    }
    match runner.settings.state {
        DesiredState::Disabled => return Availability::Disabled,
        DesiredState::Draining | DesiredState::Deleting => return Availability::Draining,
        DesiredState::Enabled => {}
    }
    if state.live.is_outdated(runner.id) {
        return Availability::Outdated;
    }
    match state.live.last_seen(runner.id) {
        Some(at) if state.now().since(at) <= limits::SILENCE && !state.live.has_left(runner.id) => Availability::Online,
        since => Availability::Offline { since },
    }
}

fn member(state: &AppState, used: &HashMap<RunnerId, UsedSlots>, runner: Runner) -> Member {
    let view = view(state, &runner, used.get(&runner.id).copied().unwrap_or_default());
    let last_seen = state.live.last_seen(runner.id);
    let heard = last_seen.map_or_else(|| "it was not heard of yet".to_owned(), |at| format!("last heard of at {at}"));
    let silent = state.live.last_seen(runner.id).is_none_or(|at| state.now().since(at) > limits::SILENCE);
    let (status, explanation) = match (runner.settings.state, view.availability) {
        (DesiredState::Deleting, _) => (RunnerStatus::Deleting, Some("it finishes what it has and wipes its store".to_owned())),
        (_, Availability::Conflict) => {
            let why = runner.conflict.as_deref().unwrap_or_default();
            let advice = "it gets no work until somebody accepts its newest process or deletes it";
            (RunnerStatus::Conflict, Some(format!("{why}; {advice}")))
        }
        (_, Availability::Disabled) => (RunnerStatus::Disabled, silent.then(|| format!("silent; {heard}"))),
        (_, Availability::Draining) => {
            (RunnerStatus::Draining, Some("it takes no work and stops when nothing is left".to_owned()))
        }
        (_, Availability::Outdated) => {
            (RunnerStatus::Outdated, Some("it speaks another version of the channel: update it, or the server".to_owned()))
        }
        (_, Availability::Offline { .. }) => {
            let stopped = state.live.has_left(runner.id);
            (RunnerStatus::Offline, Some(if stopped { format!("it was stopped; {heard}") } else { heard }))
        }
        (_, Availability::Online) => (RunnerStatus::Online, None),
    };
    Member { runner, view, status, explanation, last_seen }
}
