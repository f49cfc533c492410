//! The one program `legwork`: server, runner, and the command line to both.
//!
//! It reads configuration (only this crate does), starts what the other crates offer, and shows results; it decides
//! nothing about tasks. Start reading at `args::Cli`, then `commands`.

mod args;
mod commands;
mod context;
mod documentation;
mod environment;
mod failure;
mod find;
mod inputs;
mod original;
mod output;
mod parsing;
mod saved;
mod size;

use std::future::Future;
use std::process::ExitCode;

use anyhow::Context as _;
use legwork_core::Clock;

use crate::args::Command;
use crate::args::runner::RunnerCommand;
use crate::args::server::ServerCommand;
use crate::context::Context;
use crate::environment::Environment;
use crate::failure::Ending;

fn main() -> ExitCode {
    let cli = match parsing::parse(std::env::args_os()) {
        Ok(cli) => cli,
        Err(ending) => return ending.into(),
    };
    let context = Context { environment: Environment::of_process(), format: cli.format, clock: Clock::system() };
    execute(&context, cli.command).unwrap_or_else(|error| failure::report(&error)).into()
}

fn execute(context: &Context, command: Command) -> anyhow::Result<Ending> {
    match command {
        Command::Dev(args) => commands::dev::execute(context, &args),
        Command::Server(ServerCommand::Start(args)) => commands::server::execute(context, *args),
        Command::Runner(RunnerCommand::Start(args)) => commands::runner_start::execute(context, *args),
        Command::Runner(command) => in_one_thread(commands::runners::execute(context, command)),
        Command::Task(command) => in_one_thread(commands::tasks::execute(context, command)),
        Command::Token(command) => in_one_thread(commands::tokens::execute(context, command)),
        Command::Login(args) => in_one_thread(commands::login::execute(context, args)),
        Command::Completion(args) => documentation::completion(args.shell),
        Command::Documentation { page } => documentation::print(page),
    }
}

/// A command that only asks a server needs no more than this thread.
fn in_one_thread(command: impl Future<Output = anyhow::Result<Ending>>) -> anyhow::Result<Ending> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().context("the runtime cannot be started")?.block_on(command)
}
