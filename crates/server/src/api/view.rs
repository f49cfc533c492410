//! Tasks as users see them, put together from what the store keeps and what is known of the runners.

use std::collections::HashMap;

use futures::future::try_join_all;
use legwork_core::event::Phase;
use legwork_core::spec::{Input, LostRunnerPolicy};
use legwork_core::task::{Outcome, TaskState};
use legwork_core::waiting::{WaitingReason, why_queued};
use legwork_core::{AttemptId, RunnerId, TaskStatus, limits};
use legwork_protocol::api;
use legwork_protocol::duration::HumanDuration;
use legwork_store::{AttemptRecord, KeptResult, Task};
use serde_json::{Map, Value};

use crate::error::{ApiError, ApiResult};
use crate::fleet;
use crate::state::AppState;

/// Bytes of a text input that are shown; the rest is counted.
const SHOWN_INPUT: usize = 4 * 1024;

/// What a task was run with, as it is shown. It never changes.
#[derive(Clone, Debug)]
pub(crate) struct ShownInputs(Vec<api::TaskInput>);

impl ShownInputs {
    pub(crate) async fn load(state: &AppState, task: &Task) -> ApiResult<Self> {
        let json = state.store.input(task.id).await?.unwrap_or_default();
        let input: Input = serde_json::from_slice(&json).map_err(ApiError::internal)?;
        let shown = input.properties.into_iter().map(|property| api::TaskInput {
            name: property.name,
            value: if property.password { Value::Null } else { without_secrets(property.value) },
            kind: Some(property.kind),
            secret: property.password,
        });
        Ok(Self(shown.collect()))
    }
}

/// The value with what is secret inside it taken out, and long texts cut.
fn without_secrets(value: Value) -> Value {
    match value {
        Value::String(text) if text.len() > SHOWN_INPUT => {
            let cut = text.floor_char_boundary(SHOWN_INPUT);
            Value::String(format!("{}… ({} bytes)", &text[..cut], text.len()))
        }
        Value::Array(items) => Value::Array(items.into_iter().map(without_secrets).collect()),
        Value::Object(mut object) => {
            if object.get("password") == Some(&Value::Bool(true)) && object.contains_key("value") {
                object.insert("value".to_owned(), Value::Null);
            }
            Value::Object(object.into_iter().map(|(name, value)| (name, without_secrets(value))).collect())
        }
        other => other,
    }
}

/// Everything about a task.
pub(crate) async fn task(state: &AppState, task: Task, inputs: &ShownInputs) -> ApiResult<api::Task> {
    let attempts = state.store.attempts(task.id).await?;
    let comments = match attempts.last() {
        Some(last) => state.store.comments(task.id, Some(last.id.attempt)).await?,
        None => Vec::new(),
    };
    let last = attempts.iter().rfind(|attempt| Some(attempt.id.attempt) == task.attempt());
    let names = fleet::names(state, attempts.iter().map(|attempt| attempt.runner)).await?;
    let waiting = waiting(state, &task, &names).await?;
    let explanation = match &waiting {
        Some(reason) => Some(reason.to_string()),
        None => last.and_then(|attempt| what_is_being_done(state, &task, attempt, &names)),
    };
    let result = match last {
        Some(attempt) => shown_result(state, attempt).await?,
        None => ShownResult::default(),
    };
    let finished = matches!(task.state, TaskState::Finished { .. });
    Ok(api::Task {
        summary: summary(&task, last, &names),
        created_by: task.created_by.clone(),
        waiting,
        explanation,
        message: Some(task.message.clone()).filter(|message| finished && !message.is_empty()),
        evidence: last.filter(|_| finished).and_then(|attempt| attempt.evidence.clone()),
        abort: task.abort.clone().map(|mark| api::AbortInfo {
            by: mark.by,
            at: mark.at,
            reason: Some(mark.reason).filter(|reason| !reason.is_empty()),
        }),
        outputs: result.outputs,
        reporting_records: result.reporting_records,
        result_bytes: result.bytes,
        inputs: inputs.0.clone(),
        capabilities: task.spec.capabilities.clone(),
        priority: task.spec.priority,
        abort_timeout: HumanDuration(task.spec.abort_timeout),
        run_timeout: task.spec.run_timeout.map(HumanDuration),
        queue_timeout: task.spec.queue_timeout.map(HumanDuration),
        retries: task.spec.retries,
        lost_runner: match task.spec.lost_runner {
            LostRunnerPolicy::Wait => api::LostRunner::Wait,
            LostRunnerPolicy::Fail { after } => api::LostRunner::Fail { after: HumanDuration(after) },
            LostRunnerPolicy::RunElsewhere { after } => api::LostRunner::RunElsewhere { after: HumanDuration(after) },
        },
        attempts: attempts.iter().map(|record| attempt(record, &names)).collect(),
        comments: comments
            .into_iter()
            .map(|comment| api::Comment { attempt: comment.attempt.0, at: comment.at, text: comment.text })
            .collect(),
    })
}

/// The tasks of a list.
pub(crate) async fn summaries(state: &AppState, tasks: &[Task]) -> ApiResult<Vec<api::TaskSummary>> {
    let lookups = tasks.iter().map(async |task| match task.attempt() {
        Some(attempt) => state.store.attempt(AttemptId { task: task.id, attempt }).await,
        None => Ok(None),
    });
    let attempts = try_join_all(lookups).await?;
    let names = fleet::names(state, attempts.iter().flatten().map(|attempt| attempt.runner)).await?;
    Ok(tasks.iter().zip(&attempts).map(|(task, attempt)| summary(task, attempt.as_ref(), &names)).collect())
}

/// An attempt as users see it.
pub(crate) fn attempt(record: &AttemptRecord, names: &HashMap<RunnerId, String>) -> api::Attempt {
    let outcome = match (record.outcome, record.ended) {
        (Some(Outcome::Completed), _) => Some("completed".to_owned()),
        (Some(Outcome::Failed(class)), _) => Some(class.to_string()),
        (None, Some((_, ending))) => Some(ending.as_str().to_owned()),
        (None, None) => None,
    };
    api::Attempt {
        number: record.id.attempt.0,
        runner: name(record.runner, names),
        phase: record.phase.as_ref().map(|(phase, _)| *phase),
        offered: record.offered_at,
        confirmed: record.confirmed_at,
        finished: record.ended.map(|(at, _)| at),
        outcome,
        message: Some(record.message.clone()).filter(|message| !message.is_empty()),
        timings: record.timings.iter().map(|(step, millis)| api::Timing { step: step.clone(), millis: *millis }).collect(),
        log: record.log.map(api::LogInfo::from),
    }
}

fn summary(task: &Task, last: Option<&AttemptRecord>, names: &HashMap<RunnerId, String>) -> api::TaskSummary {
    let class = match task.state {
        TaskState::Finished { outcome: Outcome::Failed(class), .. } => Some(class),
        _ => None,
    };
    // A task that waits for another try has neither runner nor start: those were the last attempt's.
    let current = last.filter(|_| !matches!(task.state, TaskState::Queued { .. }));
    api::TaskSummary {
        id: task.id,
        title: task.spec.title.clone(),
        image: task.spec.image.clone(),
        task_type: task.spec.task_type.clone(),
        status: task.status(),
        class,
        status_line: current.map(|attempt| attempt.status_line.clone()).filter(|line| !line.is_empty()),
        runner: current.map(|attempt| name(attempt.runner, names)),
        attempt: task.attempt().map_or(0, |attempt| attempt.0),
        created: task.created_at,
        started: current.and_then(|attempt| attempt.confirmed_at),
        finished: task.finished_at,
    }
}

fn name(runner: RunnerId, names: &HashMap<RunnerId, String>) -> api::RunnerName {
    // The attempts of a runner outlive it.
    let title = names.get(&runner).cloned().unwrap_or_else(|| format!("deleted runner {runner}"));
    api::RunnerName { id: runner, title }
}

async fn waiting(state: &AppState, task: &Task, names: &HashMap<RunnerId, String>) -> ApiResult<Option<WaitingReason>> {
    match task.state {
        TaskState::Queued { .. } => {
            let ahead = state.store.tasks_ahead(task.id).await?;
            let runners: Vec<_> = fleet::members(state).await?.into_iter().map(|member| member.view).collect();
            Ok(Some(why_queued(&task.spec.capabilities, &runners, ahead)))
        }
        TaskState::Offered { runner, .. } => Ok(Some(WaitingReason::Offered { runner: name(runner, names).title })),
        TaskState::Running { .. } | TaskState::Finished { .. } => Ok(None),
    }
}

/// What a runner is doing with a running task, for people.
fn what_is_being_done(
    state: &AppState,
    task: &Task,
    attempt: &AttemptRecord,
    names: &HashMap<RunnerId, String>,
) -> Option<String> {
    let TaskState::Running { runner, .. } = task.state else { return None };
    let silent = state.live.silent_since(runner);
    if state.now().since(silent) > limits::SILENCE {
        return Some(format!("the runner {} is silent since {silent}", name(runner, names).title));
    }
    let doing = match &attempt.phase {
        None => "the runner has taken it".to_owned(),
        Some((phase, detail)) => {
            let words = match phase {
                Phase::Image => "getting the image",
                Phase::Starting => "starting",
                Phase::Running => "running",
                Phase::Stopping => "stopping",
                Phase::Reporting => "sending result and log",
            };
            if detail.is_empty() { words.to_owned() } else { format!("{words}: {detail}") }
        }
    };
    let aborting = task.status() == TaskStatus::Aborting && !matches!(attempt.phase, Some((Phase::Stopping, _)));
    Some(if aborting { format!("told to stop; {doing}") } else { doing })
}

#[derive(Default)]
struct ShownResult {
    bytes: u64,
    outputs: Option<Map<String, Value>>,
    reporting_records: Vec<Value>,
}

async fn shown_result(state: &AppState, attempt: &AttemptRecord) -> ApiResult<ShownResult> {
    let KeptResult::Chunks { bytes, inline, .. } = attempt.result else { return Ok(ShownResult::default()) };
    let mut shown = ShownResult { bytes, ..ShownResult::default() };
    if inline && let Some(chunk) = state.store.result_chunk(attempt.id, 0).await? {
        // The runner has read it before; whatever it lets through is shown as far as it goes.
        if let Ok(Value::Object(mut result)) = serde_json::from_slice(&chunk.bytes) {
            if let Some(Value::Object(outputs)) = result.remove("outputProperties") {
                shown.outputs = Some(outputs);
            }
            if let Some(Value::Array(records)) = result.remove("reportingRecords") {
                shown.reporting_records = records;
            }
        }
    }
    Ok(shown)
}
