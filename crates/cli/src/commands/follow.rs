//! Following a task live.

use std::time::Duration;

use legwork_client::{Client, Follower, News};
use legwork_core::event::LogStream;
use legwork_core::{TaskId, TaskStatus};
use legwork_protocol::api::{Follow, FollowLog, Task};

use crate::context::Context;
use crate::failure::Ending;
use crate::output::live::Live;
use crate::output::{self, short_id, task};

/// Shows a task live until it has finished. Ctrl-C ends the following and leaves the task running.
pub(crate) async fn to_its_end(context: &Context, client: &Client, id: TaskId) -> anyhow::Result<Ending> {
    let mut follower = client.follow(id).await?;
    let shown = async { if context.json() { as_json(&mut follower).await } else { as_text(context, &mut follower).await } };
    tokio::select! {
        last = shown => match last? {
            Some(task) if task.summary.status.is_final() => finish(context, &task),
            _ => {
                let task = client.task(id).await?;
                finish(context, &task)
            }
        },
        _ = tokio::signal::ctrl_c() => left_running(id),
    }
}

fn finish(context: &Context, task: &Task) -> anyhow::Result<Ending> {
    if !context.json() {
        output::print_text(&task::ending(task))?;
    }
    Ok(ending_of(task))
}

/// How a command ends that waited for the task.
fn ending_of(task: &Task) -> Ending {
    match task.summary.status {
        TaskStatus::Completed => Ending::Success,
        TaskStatus::Failed => Ending::TaskFailed,
        // The live view has ended, the task has not: whoever asked for the result did not get it.
        TaskStatus::Pending | TaskStatus::InProgress | TaskStatus::Aborting => Ending::Error,
    }
}

fn left_running(id: TaskId) -> anyhow::Result<Ending> {
    let short = short_id(id);
    output::print_note(&format!(
        "\nThe task goes on. See it:  legwork task logs -f {short}\n              Abort it:  legwork task abort {short}"
    ))?;
    Ok(Ending::Error)
}

async fn as_json(follower: &mut Follower) -> anyhow::Result<Option<Box<Task>>> {
    let mut last = None;
    while let Some(news) = follower.next().await? {
        match news {
            News::Task(task) => {
                output::print_json_line(&Follow::Task(task.clone()))?;
                last = Some(task);
            }
            News::Log(log) => output::print_json_line(&Follow::Log(log))?,
            News::End { log_complete } => output::print_json_line(&Follow::End { log_complete })?,
            News::Interrupted(error) => output::print_note(&format!("{error}; trying again"))?,
        }
    }
    Ok(last)
}

async fn as_text(context: &Context, follower: &mut Follower) -> anyhow::Result<Option<Box<Task>>> {
    let mut live = Live::new();
    let mut last: Option<Box<Task>> = None;
    let mut second = tokio::time::interval(Duration::from_secs(1));
    let mut interrupted = false;
    loop {
        let news = tokio::select! {
            news = follower.next() => news?,
            _ = second.tick() => {
                live.tick(context.now())?;
                continue;
            }
        };
        if interrupted && !matches!(news, Some(News::Interrupted(_))) {
            interrupted = false;
            live.note("the server is back")?;
        }
        match news {
            Some(News::Task(task)) => {
                live.task(&task, context.now())?;
                last = Some(task);
            }
            Some(News::Log(log)) => {
                if let Some(gap) = gap(&log) {
                    live.note(&gap)?;
                }
                live.log(&log.bytes, context.now())?;
            }
            Some(News::End { log_complete }) => {
                live.finish()?;
                if !log_complete {
                    output::print_note("the log is not complete: its runner has not sent the rest yet")?;
                }
            }
            Some(News::Interrupted(error)) => {
                if !std::mem::replace(&mut interrupted, true) {
                    live.note(&format!("{error}; the task is not affected, trying again"))?;
                }
            }
            None => return Ok(last),
        }
    }
}

/// What is said about bytes that are missing before a piece of log.
fn gap(log: &FollowLog) -> Option<String> {
    match log.missing {
        Some(0) => None,
        Some(bytes) => Some(format!("[{} of log are missing here]", crate::size::ByteSize(bytes))),
        None => Some("[log is missing here, nobody knows how much]".to_owned()),
    }
}

/// Prints a task's log live, from `offset` on, and nothing else but notes.
pub(crate) async fn log(
    context: &Context,
    client: &Client,
    id: TaskId,
    stream: Option<LogStream>,
    offset: u64,
) -> anyhow::Result<Ending> {
    let mut follower = client.follow(id).await?;
    let mut place = 0;
    let mut attempt = 0;
    loop {
        let news = tokio::select! {
            news = follower.next() => news?,
            _ = tokio::signal::ctrl_c() => return left_running(id),
        };
        match news {
            Some(News::Log(mut log)) if stream.is_none_or(|stream| stream == log.stream) => {
                // Another attempt has another log.
                if std::mem::replace(&mut attempt, log.attempt) != log.attempt {
                    place = 0;
                }
                place += log.missing.unwrap_or(0);
                let skip = usize::try_from(offset.saturating_sub(place)).unwrap_or(usize::MAX).min(log.bytes.len());
                place += log.bytes.len() as u64;
                log.bytes.drain(..skip);
                if log.bytes.is_empty() {
                    continue;
                }
                if context.json() {
                    log.offset += skip as u64;
                    output::print_json_line(&Follow::Log(log))?;
                } else {
                    if let Some(gap) = gap(&log) {
                        output::print_note(&gap)?;
                    }
                    output::print_bytes(&log.bytes)?;
                }
            }
            Some(News::Log(_) | News::Task(_)) => {}
            Some(News::End { log_complete }) => {
                if !log_complete {
                    output::print_note("the log is not complete: its runner has not sent the rest yet")?;
                }
            }
            Some(News::Interrupted(error)) => output::print_note(&format!("{error}; trying again"))?,
            None => return Ok(Ending::Success),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_said() {
        let log = |missing| FollowLog { attempt: 1, stream: LogStream::Stdout, offset: 0, bytes: Vec::new(), missing };
        assert_eq!(gap(&log(Some(0))), None);
        assert_eq!(gap(&log(Some(2_048))).unwrap(), "[2 KiB of log are missing here]");
        assert!(gap(&log(None)).is_some());
    }
}
