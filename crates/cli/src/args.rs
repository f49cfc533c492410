//! The command line, group by group. Every setting is declared here once: help texts, shell completion,
//! `docs/cli.md` and `docs/configuration.md` are made from these definitions.

pub(crate) mod connection;
pub(crate) mod dev;
pub(crate) mod login;
pub(crate) mod process;
pub(crate) mod runner;
pub(crate) mod runner_start;
pub(crate) mod server;
pub(crate) mod task;
pub(crate) mod token;

use clap::{Parser, Subcommand, ValueEnum};

/// Runs container tasks on remote runners.
///
/// A server keeps tasks; runners connect to it, take tasks, and run each in a fresh container made from a plugin
/// image. This one program is the server, the runner, and the command line to both.
#[derive(Debug, Parser)]
#[command(
    name = "legwork",
    version,
    max_term_width = 100,
    after_help = "Try it on this machine:\n  legwork dev                      server and runner, data in ./.legwork\n  legwork task run --image legwork/hello-python:dev --type hello.Greet -i yourName=World --follow\n\nExit status: 0 success, 1 the task failed, 2 usage, connection or bug, 64 bad configuration."
)]
pub(crate) struct Cli {
    /// How results are written: `text` for people, `json` (one document; one a line while following) for programs
    #[arg(
        short = 'o',
        long = "output-format",
        global = true,
        value_enum,
        default_value_t,
        value_name = "FORMAT",
        hide_possible_values = true
    )]
    pub(crate) format: Format,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// How results are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people
    #[default]
    Text,
    /// For programs
    Json,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Start a server and a runner on this machine, for trying things out
    Dev(dev::DevArgs),
    /// Start a server
    #[command(subcommand)]
    Server(server::ServerCommand),
    /// Start a runner, or see and change the runners of a server
    #[command(subcommand)]
    Runner(runner::RunnerCommand),
    /// Run tasks and see what became of them
    #[command(subcommand)]
    Task(task::TaskCommand),
    /// Make, list and revoke personal access tokens
    #[command(subcommand)]
    Token(token::TokenCommand),
    /// Log in to a server and remember it
    Login(login::LoginArgs),
    /// Print a script that teaches a shell to complete legwork's commands
    Completion(CompletionArgs),
    /// Print the pages of docs/ that are made from the command line's definition
    #[command(hide = true)]
    Documentation {
        /// Which page
        page: Page,
    },
}

/// A page of docs/.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Page {
    /// docs/cli.md
    Cli,
    /// docs/configuration.md
    Configuration,
}

/// Which shell.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  legwork completion bash > /etc/bash_completion.d/legwork")]
pub(crate) struct CompletionArgs {
    /// The shell
    pub(crate) shell: clap_complete::Shell,
}
