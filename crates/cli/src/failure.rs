//! How the program ends, and the one place that tells people why.

use std::io::Write as _;

use legwork_client::ClientError;
use owo_colors::OwoColorize as _;

/// How the program ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// All is well.
    Success,
    /// The task failed.
    TaskFailed,
    /// Usage, connection or bug.
    Error,
    /// A server or runner was configured wrongly; nothing was opened.
    Configuration,
}

impl From<Ending> for std::process::ExitCode {
    fn from(ending: Ending) -> Self {
        Self::from(match ending {
            Ending::Success => 0,
            Ending::TaskFailed => 1,
            Ending::Error => 2,
            Ending::Configuration => 64,
        })
    }
}

/// Something that the user did not get right.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub(crate) struct Complaint {
    message: String,
    hint: Option<String>,
    ending: Ending,
}

impl Complaint {
    /// About how a command was used.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self { message: message.into(), hint: None, ending: Ending::Error }
    }

    /// About how a server or runner was configured.
    pub(crate) fn configuration(message: impl Into<String>) -> Self {
        Self { message: message.into(), hint: None, ending: Ending::Configuration }
    }

    /// And what to do about it.
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// Says what went wrong on standard error, and with what status to end.
pub(crate) fn report(error: &anyhow::Error) -> Ending {
    if is_broken_pipe(error) {
        return Ending::Success;
    }
    let (message, hint, ending) = explain(error);
    let mut stderr = anstream::stderr().lock();
    // Nobody is left to be told if this fails.
    let _ = writeln!(stderr, "{} {message}", "error:".red().bold());
    if let Some(hint) = hint {
        let _ = writeln!(stderr, "{} {hint}", "hint:".cyan().bold());
    }
    ending
}

fn explain(error: &anyhow::Error) -> (String, Option<String>, Ending) {
    let mut message = String::new();
    let mut hint = None;
    let mut ending = Ending::Error;
    for cause in error.chain() {
        if let Some(complaint) = cause.downcast_ref::<Complaint>() {
            hint = hint.or_else(|| complaint.hint.clone());
            ending = complaint.ending;
        }
        // Libraries repeat the text of what lies below.
        let text = cause.to_string();
        if !message.contains(&text) {
            if !message.is_empty() {
                message.push_str(": ");
            }
            message.push_str(&text);
        }
        if let Some(client) = cause.downcast_ref::<ClientError>() {
            hint = hint.or_else(|| client.hint().map(str::to_owned));
            // What lies below are the HTTP library's layers; only the innermost says more.
            if let Some(innermost) = error.chain().last().filter(|last| !last.is::<ClientError>()) {
                message = format!("{message} ({innermost})");
            }
            break;
        }
    }
    (message, hint, ending)
}

/// True if somebody who read our output has seen enough of it.
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<std::io::Error>())
        .any(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
        && !error.chain().any(<dyn std::error::Error>::is::<ClientError>)
}

#[cfg(test)]
mod tests {
    use anyhow::Context as _;

    use super::*;

    #[test]
    fn every_complaint_has_its_status_and_hint() {
        let usage = anyhow::Error::from(Complaint::usage("no").hint("do this"));
        assert_eq!(explain(&usage), ("no".to_owned(), Some("do this".to_owned()), Ending::Error));
        let configuration = anyhow::Error::from(Complaint::configuration("no such engine")).context("the runner cannot start");
        assert_eq!(explain(&configuration), ("the runner cannot start: no such engine".to_owned(), None, Ending::Configuration));
        assert_eq!(explain(&anyhow::anyhow!("a bug")).2, Ending::Error);
    }

    #[test]
    fn a_reader_who_leaves_is_no_error() {
        let left = Err::<(), _>(std::io::Error::from(std::io::ErrorKind::BrokenPipe)).context("writing").unwrap_err();
        assert_eq!(report(&left), Ending::Success);
        assert_eq!(report(&anyhow::Error::from(std::io::Error::from(std::io::ErrorKind::NotFound))), Ending::Error);
    }
}
