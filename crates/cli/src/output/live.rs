//! What is shown beside a log while a task is followed: one line on a terminal, redrawn; notes elsewhere.
//!
//! It stands on standard error. Before anything else is printed it is wiped away, and it is drawn only when the
//! cursor is at the beginning of a line, so that the log's bytes stay as they are.

use std::io::{IsTerminal as _, Write as _};

use legwork_core::{TaskStatus, Timestamp};
use legwork_protocol::api::Task;
use owo_colors::OwoColorize as _;

use crate::output::{one_line, print_bytes, print_note, task, time};

/// The line, or the notes.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "four independent facts about the terminal, each looked at by itself")]
pub(crate) struct Live {
    terminal: bool,
    /// True if standard output is seen on the same terminal.
    shared: bool,
    drawn: bool,
    at_line_start: bool,
    line: Option<String>,
    since: Option<Timestamp>,
    last_note: String,
    last_status_line: String,
    /// The attempt whose comments were shown, and how many.
    comments: (u32, usize),
}

impl Live {
    /// For this process's standard error.
    pub(crate) fn new() -> Self {
        let terminal = std::io::stderr().is_terminal();
        Self {
            terminal,
            shared: terminal && std::io::stdout().is_terminal(),
            drawn: false,
            at_line_start: true,
            line: None,
            since: None,
            last_note: String::new(),
            last_status_line: String::new(),
            comments: (0, 0),
        }
    }

    /// Shows a task as it is now.
    pub(crate) fn task(&mut self, task: &Task, now: Timestamp) -> std::io::Result<()> {
        self.new_comments(task)?;
        let summary = &task.summary;
        let why = task.explanation.as_deref().map(one_line).unwrap_or_default();
        let status_line = summary.status_line.as_deref().map(one_line).unwrap_or_default();
        let shown_status = task::status(summary.status, summary.class);
        if self.terminal {
            let more = if status_line.is_empty() || summary.status == TaskStatus::Pending { &why } else { &status_line };
            self.line = Some(if more.is_empty() { shown_status } else { format!("{shown_status}  {more}") });
            self.since = Some(summary.started.unwrap_or(summary.created));
            return self.tick(now);
        }
        let note = if why.is_empty() { shown_status } else { format!("{shown_status}: {why}") };
        if note != self.last_note {
            print_note(&note)?;
            self.last_note = note;
        }
        if !status_line.is_empty() && status_line != self.last_status_line {
            print_note(&format!("{} {status_line}", "status:".cyan()))?;
            self.last_status_line = status_line;
        }
        Ok(())
    }

    fn new_comments(&mut self, task: &Task) -> std::io::Result<()> {
        let (attempt, shown) = self.comments;
        let shown = if attempt == task.summary.attempt { shown } else { 0 };
        for comment in task.comments.iter().skip(shown) {
            let text: Vec<String> = crate::output::lines(comment.text.trim_end()).collect();
            self.note(&format!("{} {}", "comment:".magenta().bold(), text.join("\n         ")))?;
        }
        self.comments = (task.summary.attempt, task.comments.len());
        Ok(())
    }

    /// Draws the line again, since time goes on.
    pub(crate) fn tick(&mut self, now: Timestamp) -> std::io::Result<()> {
        let (true, Some(line), Some(since)) = (self.terminal && self.at_line_start, &self.line, self.since) else {
            return Ok(());
        };
        let text = format!("{line}  {}", time::ticking(now.since(since)).dimmed());
        let width = terminal_width().saturating_sub(1);
        let mut stderr = anstream::stderr().lock();
        write!(stderr, "\r\x1b[2K{}", cut(&text, width))?;
        stderr.flush()?;
        self.drawn = true;
        Ok(())
    }

    /// Says something that is no part of the log.
    pub(crate) fn note(&mut self, text: &str) -> std::io::Result<()> {
        self.wipe()?;
        if self.shared && !self.at_line_start {
            print_bytes(b"\n")?;
            self.at_line_start = true;
        }
        print_note(text)
    }

    /// Passes a piece of log on, byte for byte.
    pub(crate) fn log(&mut self, bytes: &[u8], now: Timestamp) -> std::io::Result<()> {
        self.wipe()?;
        print_bytes(bytes)?;
        self.at_line_start = bytes.last().is_none_or(|last| *last == b'\n');
        self.tick(now)
    }

    /// Nothing more comes: wipes the line, and ends a line of log that has no end.
    pub(crate) fn finish(&mut self) -> std::io::Result<()> {
        self.wipe()?;
        self.line = None;
        if !self.at_line_start {
            print_bytes(b"\n")?;
            self.at_line_start = true;
        }
        Ok(())
    }

    fn wipe(&mut self) -> std::io::Result<()> {
        if std::mem::take(&mut self.drawn) {
            let mut stderr = std::io::stderr().lock();
            stderr.write_all(b"\r\x1b[2K")?;
            stderr.flush()?;
        }
        Ok(())
    }
}

fn terminal_width() -> usize {
    rustix::termios::tcgetwinsize(std::io::stderr())
        .map_or(80, |size| if size.ws_col == 0 { 80 } else { usize::from(size.ws_col) })
}

/// Cuts a text to so many characters. Styles count nothing; a text that must be cut loses them.
fn cut(text: &str, width: usize) -> String {
    let plain = anstream::adapter::strip_str(text).to_string();
    if plain.chars().count() <= width {
        return text.to_owned();
    }
    plain.chars().take(width.saturating_sub(1)).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_never_wraps() {
        let text = format!("{}{}", "ab".red(), "cdefgh");
        assert_eq!(cut(&text, 8), text);
        assert_eq!(cut(&text, 5), "abcd…");
    }
}
