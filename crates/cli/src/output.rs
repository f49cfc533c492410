//! How results look. The rendering is pure: values and the present time in, text with styles out. What is printed to
//! something that is no terminal loses its styles on the way (`anstream`), also if `NO_COLOR` is set.

pub(crate) mod live;
pub(crate) mod runner;
pub(crate) mod table;
pub(crate) mod task;
pub(crate) mod time;
pub(crate) mod token;

use std::io::Write as _;

use serde::Serialize;

/// Prints text for people to standard output.
pub(crate) fn print_text(text: &str) -> std::io::Result<()> {
    let mut stdout = anstream::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    stdout.flush()
}

/// Prints a line for people to standard error: what is no result.
pub(crate) fn print_note(text: &str) -> std::io::Result<()> {
    writeln!(anstream::stderr().lock(), "{text}")
}

/// Prints a JSON document to standard output, on lines of its own.
pub(crate) fn print_json(value: &impl Serialize) -> std::io::Result<()> {
    let mut stdout = std::io::stdout().lock();
    serde_json::to_writer_pretty(&mut stdout, value)?;
    stdout.write_all(b"\n")?;
    stdout.flush()
}

/// Prints a JSON document to standard output, on one line.
pub(crate) fn print_json_line(value: &impl Serialize) -> std::io::Result<()> {
    let mut stdout = std::io::stdout().lock();
    serde_json::to_writer(&mut stdout, value)?;
    stdout.write_all(b"\n")?;
    stdout.flush()
}

/// Prints a plugin's bytes to standard output as they are.
pub(crate) fn print_bytes(bytes: &[u8]) -> std::io::Result<()> {
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(bytes)?;
    stdout.flush()
}

/// Text of others on one line, without anything that could steer a terminal.
pub(crate) fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect::<String>().trim().to_owned()
}

/// Text of others on as many lines as it has, without anything that could steer a terminal.
pub(crate) fn lines(text: &str) -> impl Iterator<Item = String> {
    text.lines().map(|line| line.chars().map(|c| if c.is_control() && c != '\t' { ' ' } else { c }).collect())
}

/// The last characters of an id, which tell ids apart; its first ones only say when it was made.
pub(crate) fn short_id(id: impl std::fmt::Display) -> String {
    let text = id.to_string();
    text[text.len().saturating_sub(8)..].to_owned()
}
