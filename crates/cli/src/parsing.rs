//! From words to [`Cli`], and what is said about words that make no sense.
//!
//! A server or runner that is configured wrongly says so on one line and ends with status 64, so that whoever starts
//! it by a script can tell. Every other command gets clap's own words and status 2.

use std::ffi::OsString;
use std::io::Write as _;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{CommandFactory as _, Parser as _};
use owo_colors::OwoColorize as _;

use crate::args::Cli;
use crate::failure::Ending;

/// The commands that start a process.
const PROCESSES: [&[&str]; 3] = [&["dev"], &["server", "start"], &["runner", "start"]];

/// Reads the command line; help and complaints are printed here.
pub(crate) fn parse(words: impl Iterator<Item = OsString>) -> Result<Cli, Ending> {
    let words: Vec<OsString> = words.collect();
    let error = match Cli::try_parse_from(&words) {
        Ok(cli) => return Ok(cli),
        Err(error) => error,
    };
    if !error.use_stderr() {
        // Help and version are what was asked for.
        let _ = error.print();
        return Err(Ending::Success);
    }
    let process = if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand { None } else { process(&words) };
    if let Some(message) = about_a_secret(&error) {
        let _ = writeln!(anstream::stderr().lock(), "{} {message}", "error:".red().bold());
        return Err(Ending::Error);
    }
    if let Some(path) = process {
        let _ = writeln!(anstream::stderr().lock(), "{} {}", "error:".red().bold(), on_one_line(&error, path));
        return Err(Ending::Configuration);
    }
    let _ = error.print();
    Err(Ending::Error)
}

/// A complaint about `--secret` without the words that were given: they may hold the secret, and what is printed may be
/// kept, such as in the log of a build.
fn about_a_secret(error: &clap::Error) -> Option<String> {
    match error.get(ContextKind::InvalidArg) {
        Some(ContextValue::String(arg)) if arg.starts_with("--secret ") => {
            let why = std::error::Error::source(error).map(|why| format!(": {why}")).unwrap_or_default();
            Some(format!("{arg} cannot be used{why}"))
        }
        _ => None,
    }
}

/// The command that starts a process, if the words name one.
fn process(words: &[OsString]) -> Option<&'static [&'static str]> {
    let mut words = words.iter().skip(1).filter_map(|word| word.to_str());
    let mut named: Vec<&str> = Vec::new();
    while let Some(word) = words.next() {
        match word {
            // The only flag that may stand before a command, and its value.
            "-o" | "--output-format" => drop(words.next()),
            _ if word.starts_with('-') => {}
            _ => named.push(word),
        }
    }
    PROCESSES.into_iter().find(|path| named.starts_with(path))
}

/// The first paragraph of clap's message on one line, with the variable that the value may have come from.
fn on_one_line(error: &clap::Error, path: &[&str]) -> String {
    let text = error.render().to_string();
    let paragraph: Vec<&str> = text.lines().map(str::trim).take_while(|line| !line.is_empty()).collect();
    let mut line = paragraph.join(" ");
    if let Some(rest) = line.strip_prefix("error: ") {
        line = rest.to_owned();
    }
    if let Some(ContextValue::String(arg)) = error.get(ContextKind::InvalidArg)
        && let Some(variable) = variable_of(arg, path)
    {
        line.push_str(&format!(" (set by the flag or by {variable})"));
    }
    line
}

/// The environment variable of an argument that clap calls `--flag <VALUE>`.
fn variable_of(arg: &str, path: &[&str]) -> Option<String> {
    let flag = arg.split_whitespace().next()?.trim_start_matches('-');
    let mut command = Cli::command();
    for name in path {
        command = command.find_subcommand(name)?.clone();
    }
    let found = command.get_arguments().find(|argument| argument.get_long() == Some(flag))?;
    Some(found.get_env()?.to_str()?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<OsString> {
        text.split_whitespace().map(OsString::from).collect()
    }

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn processes_end_with_64_and_commands_with_2() {
        for (text, ending) in [
            ("legwork server start --port nonsense", Ending::Configuration),
            ("legwork -o json runner start --capabilities UPPER", Ending::Configuration),
            ("legwork dev --engine podman", Ending::Configuration),
            ("legwork task run --image x", Ending::Error),
            ("legwork task run --image x --type a.B --secret p=hunter2", Ending::Error),
            ("legwork task run --image x --type a.B --follow --detach", Ending::Error),
            ("legwork nonsense", Ending::Error),
            ("legwork --help", Ending::Success),
            ("legwork runner start --help", Ending::Success),
        ] {
            assert_eq!(parse(words(text).into_iter()).err(), Some(ending), "{text}");
        }
    }

    #[test]
    fn a_secret_is_not_repeated() {
        let error = Cli::try_parse_from(words("legwork task run --image x --type a.B --secret p=hunter2")).unwrap_err();
        let message = about_a_secret(&error).unwrap();
        assert!(message.starts_with("--secret <NAME=SOURCE> cannot be used: a secret's text does not belong"), "{message}");
        assert!(!message.contains("hunter2"));
    }

    #[test]
    fn a_process_complains_on_one_line() {
        let words = words("legwork dev --engine podman");
        let error = Cli::try_parse_from(&words).unwrap_err();
        assert_eq!(
            on_one_line(&error, process(&words).unwrap()),
            "invalid value 'podman' for '--engine <ENGINE>' [possible values: docker] (set by the flag or by LEGWORK_DEV_ENGINE)"
        );
    }
}
