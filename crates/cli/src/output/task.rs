//! Tasks for people.

use std::fmt::Write as _;
use std::time::Duration;

use legwork_core::{FailureClass, TaskStatus, Timestamp};
use legwork_protocol::api::{Attempt, LostRunner, Page, Task, TaskSummary};
use owo_colors::OwoColorize as _;
use serde_json::Value;

use crate::output::table::{fields, table};
use crate::output::{lines, one_line, short_id, time};
use crate::size::ByteSize;

/// A page of tasks.
pub(crate) fn list(page: &Page<TaskSummary>, now: Timestamp) -> String {
    if page.items.is_empty() {
        return "no tasks\n".to_owned();
    }
    let rows: Vec<Vec<String>> = page
        .items
        .iter()
        .map(|task| {
            vec![
                short_id(task.id),
                status(task.status, task.class),
                one_line(&task.title),
                task.runner.as_ref().map_or_else(|| "-".to_owned(), |runner| one_line(&runner.title)),
                time::relative(task.created, now),
                taken(task, now).map_or_else(|| "-".to_owned(), time::span),
                task.status_line.as_deref().map(one_line).unwrap_or_default(),
            ]
        })
        .collect();
    let mut text = table(&["TASK", "STATUS", "TITLE", "RUNNER", "CREATED", "TOOK", "STATUS LINE"], &rows);
    // The last column is often empty.
    text = text.lines().fold(String::new(), |text, line| text + line.trim_end() + "\n");
    if page.next.is_some() {
        let _ = writeln!(text, "{}", "There are more: see --limit and --after.".dimmed());
    }
    text
}

/// The words for a status, with the class of a failure.
pub(crate) fn status(status: TaskStatus, class: Option<FailureClass>) -> String {
    let words = match class {
        Some(class) if status == TaskStatus::Failed => format!("{} ({class})", status.label()),
        _ => status.label().to_owned(),
    };
    match status {
        TaskStatus::Pending => words.yellow().to_string(),
        TaskStatus::InProgress => words.blue().to_string(),
        TaskStatus::Aborting => words.magenta().to_string(),
        TaskStatus::Completed => words.green().to_string(),
        TaskStatus::Failed => words.red().to_string(),
    }
}

fn taken(task: &TaskSummary, now: Timestamp) -> Option<Duration> {
    Some(task.finished.unwrap_or(now).since(task.started?))
}

/// Everything about a task.
pub(crate) fn show(task: &Task, now: Timestamp) -> String {
    let summary = &task.summary;
    let seconds = |duration: Option<legwork_protocol::duration::HumanDuration>| duration.map(|duration| duration.to_string());
    let mut text = fields(&[
        ("Task", Some(summary.id.bold().to_string())),
        ("Title", Some(one_line(&summary.title))),
        ("Type", (summary.task_type != summary.title).then(|| one_line(&summary.task_type))),
        ("Image", Some(one_line(&summary.image))),
        ("Status", Some(status(summary.status, summary.class))),
        ("", task.explanation.as_deref().map(one_line)),
        ("Message", task.message.as_deref().map(block)),
        ("Evidence", task.evidence.as_deref().map(block)),
        ("Status line", summary.status_line.as_deref().map(one_line)),
        (
            "Abort",
            task.abort.as_ref().map(|abort| {
                let reason = abort.reason.as_deref().map(|reason| format!(": {}", one_line(reason))).unwrap_or_default();
                format!("asked for by {} {}{reason}", one_line(&abort.by), time::relative(abort.at, now))
            }),
        ),
        ("Runner", summary.runner.as_ref().map(|runner| one_line(&runner.title))),
        ("Created", Some(format!("{} by {}", time::at(summary.created, now), one_line(&task.created_by)))),
        ("Started", summary.started.map(|at| time::at(at, now))),
        ("Finished", summary.finished.map(|at| time::at(at, now))),
        ("Took", taken(summary, now).map(time::span)),
        ("Requires", (!task.capabilities.0.is_empty()).then(|| task.capabilities.to_string())),
        ("Priority", (task.priority != 0).then(|| task.priority.to_string())),
        ("Abort timeout", seconds(Some(task.abort_timeout))),
        ("Run timeout", seconds(task.run_timeout)),
        ("Queue timeout", seconds(task.queue_timeout)),
        ("Retries", (task.retries != 0).then(|| task.retries.to_string())),
        (
            "Lost runner",
            match task.lost_runner {
                LostRunner::Wait => None,
                LostRunner::Fail { after } => Some(format!("fail after {after}")),
                LostRunner::RunElsewhere { after } => {
                    Some(format!("run elsewhere after {after} (at most one accepted result, maybe two executions)"))
                }
            },
        ),
    ]);
    section(
        &mut text,
        "Inputs",
        task.inputs.iter().map(|input| {
            let shown = if input.secret { "(secret)".dimmed().to_string() } else { value(&input.value) };
            format!("{} = {shown}", one_line(&input.name))
        }),
    );
    section(&mut text, "Outputs", outputs(task));
    section(
        &mut text,
        "Comments",
        task.comments.iter().map(|comment| {
            format!("{}  {}", time::relative(comment.at, now).dimmed(), block(&comment.text).replace('\n', "\n    "))
        }),
    );
    section(&mut text, "Attempts", task.attempts.iter().map(|attempt| attempt_line(attempt, now)));
    text
}

/// What a task ended with, after it was followed.
pub(crate) fn ending(task: &Task) -> String {
    let summary = &task.summary;
    let took = taken(summary, summary.finished.unwrap_or(summary.created)).map(|took| format!(" in {}", time::span(took)));
    let mut text = format!("{}{}\n", status(summary.status, summary.class).bold(), took.unwrap_or_default());
    if let Some(message) = &task.message {
        for line in lines(message) {
            let _ = writeln!(text, "  {line}");
        }
    }
    for output in outputs(task) {
        let _ = writeln!(text, "  {output}");
    }
    if let Some(attempt) = task.attempts.last()
        && let Some(steps) = steps(attempt)
    {
        let _ = writeln!(text, "  {}", steps.dimmed());
    }
    text
}

/// The outputs as `name = value`.
fn outputs(task: &Task) -> Vec<String> {
    match &task.outputs {
        Some(outputs) => outputs.iter().map(|(name, output)| format!("{} = {}", one_line(name).bold(), value(output))).collect(),
        None if task.result_bytes > 0 => {
            let size = ByteSize(task.result_bytes);
            vec![format!("the result has {size}: legwork task result {}", short_id(task.summary.id))]
        }
        None => Vec::new(),
    }
}

fn section(text: &mut String, title: &str, entries: impl IntoIterator<Item = String>) {
    let mut entries = entries.into_iter().peekable();
    if entries.peek().is_some() {
        let _ = writeln!(text, "\n{}", title.bold());
        for entry in entries {
            let _ = writeln!(text, "  {entry}");
        }
    }
}

fn block(text: &str) -> String {
    lines(text.trim_end()).collect::<Vec<_>>().join("\n")
}

/// A property's value on one line: texts as they are, cut if they are long, everything else as JSON.
fn value(value: &Value) -> String {
    const LONGEST: usize = 200;
    let text = match value {
        Value::String(text) => one_line(text),
        other => other.to_string(),
    };
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}… ({})", &text[..end], ByteSize(text.len() as u64)),
        None => text,
    }
}

fn attempt_line(attempt: &Attempt, now: Timestamp) -> String {
    let state = match (&attempt.outcome, attempt.phase) {
        (Some(outcome), _) => outcome.clone(),
        (None, Some(phase)) => phase.to_string(),
        (None, None) => "offered".to_owned(),
    };
    let mut line = format!("{}  {state} on {}", attempt.number, one_line(&attempt.runner.title));
    let _ = write!(line, ", {}", time::relative(attempt.confirmed.unwrap_or(attempt.offered), now));
    if let Some(steps) = steps(attempt) {
        let _ = write!(line, "; {steps}");
    }
    if let Some(log) = attempt.log {
        let _ = write!(line, "; log {}", ByteSize(log.stdout_bytes + log.stderr_bytes));
        if log.dropped_bytes > 0 {
            let _ = write!(line, ", of which {} dropped", ByteSize(log.dropped_bytes));
        }
        match log.gaps {
            0 => {}
            1 => line.push_str(", with a gap"),
            gaps => {
                let _ = write!(line, ", with {gaps} gaps");
            }
        }
    }
    line
}

/// Where the time went: `image 3 ms, start 120 ms, run 2.1 s`.
fn steps(attempt: &Attempt) -> Option<String> {
    let step = |timing: &legwork_protocol::api::Timing| {
        format!("{} {}", one_line(&timing.step), time::span(Duration::from_millis(timing.millis)))
    };
    (!attempt.timings.is_empty()).then(|| attempt.timings.iter().map(step).collect::<Vec<_>>().join(", "))
}

#[cfg(test)]
mod tests;
