//! Finding the task or runner that somebody means by a part of its id, or by its title.

use legwork_client::Client;
use legwork_core::{RunnerId, TaskId};
use legwork_protocol::api::ListTasks;

use crate::failure::Complaint;

/// Parts of an id must be at least this long.
const SHORTEST: usize = 4;
/// So many of the newest tasks are looked at, in pages.
const PAGES: usize = 20;
const PAGE: u32 = 500;

/// The task that `text` means.
pub(crate) async fn task(client: &Client, text: &str) -> anyhow::Result<TaskId> {
    if let Ok(id) = text.parse() {
        return Ok(id);
    }
    check(text, "task")?;
    let mut found: Vec<TaskId> = Vec::new();
    let mut filter = ListTasks { limit: Some(PAGE), ..ListTasks::default() };
    for _ in 0..PAGES {
        let page = client.tasks(&filter).await?;
        found.extend(page.items.iter().map(|task| task.id).filter(|id| means(text, &id.to_string())));
        filter.after = page.next;
        if filter.after.is_none() {
            break;
        }
    }
    match found[..] {
        [id] => Ok(id),
        [] => {
            let searched = if filter.after.is_some() { " among the newest 10000" } else { "" };
            Err(Complaint::usage(format!("no task{searched} has an id with {text:?}"))
                .hint("`legwork task list` shows them")
                .into())
        }
        _ => Err(ambiguous("tasks", text, found.iter().map(ToString::to_string))),
    }
}

/// The runner that `text` means. A title counts before a part of an id.
pub(crate) async fn runner(client: &Client, text: &str) -> anyhow::Result<RunnerId> {
    if let Ok(id) = text.parse() {
        return Ok(id);
    }
    let runners = client.runners().await?;
    let titled: Vec<_> = runners.iter().filter(|runner| runner.title == text).collect();
    let found: Vec<_> = if titled.is_empty() {
        check(text, "runner")?;
        runners.iter().filter(|runner| means(text, &runner.id.to_string())).collect()
    } else {
        titled
    };
    match found[..] {
        [runner] => Ok(runner.id),
        [] => Err(Complaint::usage(format!("no runner is called {text:?} or has such an id"))
            .hint("`legwork runner list` shows them")
            .into()),
        _ => Err(ambiguous("runners", text, found.iter().map(|runner| format!("{} ({})", runner.id, runner.title)))),
    }
}

fn check(text: &str, what: &str) -> Result<(), Complaint> {
    let possible = text.len() >= SHORTEST && text.chars().all(|c| c.is_ascii_hexdigit() || c == '-');
    if possible {
        return Ok(());
    }
    Err(Complaint::usage(format!("{text:?} is no {what}: give its id, or {SHORTEST} or more characters of its beginning or end"))
        .hint(format!("`legwork {what} list` shows them")))
}

fn means(text: &str, id: &str) -> bool {
    let text = text.to_ascii_lowercase();
    id.starts_with(&text) || id.ends_with(&text)
}

fn ambiguous(what: &str, text: &str, found: impl Iterator<Item = String>) -> anyhow::Error {
    let found: Vec<String> = found.take(5).collect();
    Complaint::usage(format!("several {what} match {text:?}: {}", found.join(", "))).hint("give more characters of the id").into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beginnings_and_ends_are_meant() {
        let id = "01936000-0000-7000-8000-0000cafe0001";
        for (text, meant) in [("0193", true), ("cafe0001", true), ("CAFE0001", true), ("cafe", false), ("0001", true)] {
            assert_eq!(means(text, id), meant, "{text}");
        }
        assert!(check("abc", "task").is_err());
        assert!(check("greet", "task").is_err());
        assert!(check("beef-1", "task").is_ok());
    }
}
