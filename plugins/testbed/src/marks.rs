//! The markers that a log may contain (§4 of the contract).

/// A comment on the task.
pub(crate) fn comment(text: &str) -> String {
    format!("testbed ##[start: comment]{text}##[end: comment]")
}

/// The task's status line.
pub(crate) fn status(text: &str) -> String {
    format!("testbed ##[start: status]{text}##[end: status]")
}
