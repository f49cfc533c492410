//! The pages of docs/ that are made from the command line's definition, and shell completion.

use std::fmt::Write as _;

use clap::{Arg, ArgAction, Command, CommandFactory as _};

use crate::args::{Cli, Page};
use crate::failure::Ending;
use crate::{original, output};

/// Prints a page.
pub(crate) fn print(page: Page) -> anyhow::Result<Ending> {
    let text = match page {
        Page::Cli => cli(),
        Page::Configuration => configuration(),
    };
    output::print_bytes(text.as_bytes())?;
    Ok(Ending::Success)
}

/// Prints a shell's completion script.
pub(crate) fn completion(shell: clap_complete::Shell) -> anyhow::Result<Ending> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "legwork", &mut script);
    output::print_bytes(&script)?;
    Ok(Ending::Success)
}

/// The definition as help is printed from it: at a fixed width, with what clap adds by itself.
fn built() -> Command {
    // What happens to be set where the pages are made is no part of them.
    fn without_values(command: Command) -> Command {
        let command = command.mut_args(|arg| if arg.get_env().is_some() { arg.hide_env_values(true) } else { arg });
        command.mut_subcommands(without_values)
    }
    let mut command = without_values(Cli::command().term_width(100));
    command.build();
    command
}

/// docs/cli.md: every help text.
fn cli() -> String {
    let mut text = "# The command line\n\nMade by `legwork documentation cli`; a test compares it with the program.\n".to_owned();
    let mut command = built();
    help_of(&mut command, "legwork", &mut text);
    text
}

fn help_of(command: &mut Command, path: &str, text: &mut String) {
    let help = command.render_long_help().to_string();
    let _ = write!(text, "\n## `{path}`\n\n```text\n");
    for line in help.lines() {
        let _ = writeln!(text, "{}", line.trim_end());
    }
    text.push_str("```\n");
    for child in command.get_subcommands_mut().filter(|child| !child.is_hide_set() && child.get_name() != "help") {
        let path = format!("{path} {}", child.get_name());
        help_of(child, &path, text);
    }
}

/// docs/configuration.md: every flag that has a variable.
fn configuration() -> String {
    let mut text = "# Configuration\n\n\
        Made by `legwork documentation configuration`; a test compares it with the program.\n\n\
        Every setting is a flag and an environment variable; the flag wins.\n\
        What is set is checked before any port or database is opened; a mistake ends the process with status 64.\n"
        .to_owned();
    let command = built();
    let mut sections: Vec<(Vec<String>, Vec<String>)> = Vec::new();
    settings_of(&command, "legwork", &mut sections);
    for (commands, rows) in sections {
        let _ = write!(text, "\n## {}\n\n| flag | variable | default | meaning |\n|---|---|---|---|\n", commands.join(", "));
        for row in rows {
            let _ = writeln!(text, "{row}");
        }
    }
    text.push_str(
        "\n## The original's variables\n\n\
        `legwork runner start` knows these too; a flag or a variable of our own wins.\n\
        Others that begin with `RELEASE_RUNNER_` are named in a warning and have no effect.\n\n\
        | variable | stands for |\n|---|---|\n",
    );
    for (name, flag) in original::NAMES {
        let _ = writeln!(text, "| `{name}` | `{flag}` |");
    }
    text
}

/// Adds the commands' settings; commands with the same ones share a section.
fn settings_of(command: &Command, path: &str, sections: &mut Vec<(Vec<String>, Vec<String>)>) {
    let rows: Vec<String> =
        command.get_arguments().filter(|arg| arg.get_env().is_some() && !arg.is_hide_set()).map(row_of).collect();
    if !rows.is_empty() {
        let name = format!("`{path}`");
        match sections.iter_mut().find(|(_, known)| *known == rows) {
            Some((commands, _)) => commands.push(name),
            None => sections.push((vec![name], rows)),
        }
    }
    for child in command.get_subcommands().filter(|child| !child.is_hide_set() && child.get_name() != "help") {
        settings_of(child, &format!("{path} {}", child.get_name()), sections);
    }
}

fn row_of(arg: &Arg) -> String {
    let flag = format!("--{}", arg.get_long().unwrap_or_default());
    let value = match arg.get_action() {
        ArgAction::SetTrue => String::new(),
        _ => arg.get_value_names().unwrap_or_default().first().map(|name| format!(" {name}")).unwrap_or_default(),
    };
    let variable = arg.get_env().and_then(|name| name.to_str()).unwrap_or_default();
    let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
    // Settings that the original's names may fill have their default in their help.
    let (meaning, written) = match help.split_once(" [default: ") {
        Some((meaning, default)) => (meaning.to_owned(), default.trim_end_matches(']').to_owned()),
        None => (help, String::new()),
    };
    let declared: Vec<&str> = arg.get_default_values().iter().filter_map(|value| value.to_str()).collect();
    let default = match (declared.join(","), written) {
        (declared, written) if declared.is_empty() => written,
        (declared, _) => declared,
    };
    let default = if default.is_empty() || default == "false" { String::new() } else { format!("`{default}`") };
    format!("| `{flag}{}` | `{variable}` | {default} | {} |", value.replace('|', "\\|"), meaning.replace('|', "\\|"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compare(page: &str, text: &str) {
        let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs").join(format!("{page}.md"));
        let committed = std::fs::read_to_string(&file).unwrap_or_default();
        assert!(
            committed == text,
            "docs/{page}.md is old: run `legwork documentation {page} > docs/{page}.md` and read the difference"
        );
    }

    #[test]
    fn the_page_of_commands_is_up_to_date() {
        compare("cli", &cli());
    }

    #[test]
    fn the_page_of_settings_is_up_to_date() {
        compare("configuration", &configuration());
    }

    #[test]
    fn every_flag_and_command_is_explained() {
        fn check(command: &Command) {
            assert!(command.get_about().is_some(), "{} says nothing about itself", command.get_name());
            for arg in command.get_arguments().filter(|arg| !arg.is_hide_set()) {
                assert!(arg.get_help().is_some(), "{} {} is not explained", command.get_name(), arg.get_id());
            }
            command.get_subcommands().for_each(check);
        }
        check(&Cli::command());
    }

    #[test]
    fn completion_knows_the_commands() {
        for shell in [clap_complete::Shell::Bash, clap_complete::Shell::Zsh, clap_complete::Shell::Fish] {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "legwork", &mut script);
            assert!(String::from_utf8(script).unwrap().contains("idempotency-key"));
        }
    }
}
