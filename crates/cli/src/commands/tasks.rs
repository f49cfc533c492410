//! `legwork task list`, `show`, `logs`, `abort` and `result`.

use std::io::IsTerminal as _;

use legwork_protocol::api::{AbortTask, ListTasks, ReadLog};
use serde::Serialize;

use crate::args::task::{AbortTaskArgs, ListTasksArgs, OneTask, TaskCommand, TaskLogsArgs};
use crate::commands::{follow, task_run};
use crate::context::Context;
use crate::failure::Ending;
use crate::find;
use crate::output::{self, short_id, task};

/// Does what the command says.
pub(crate) async fn execute(context: &Context, command: TaskCommand) -> anyhow::Result<Ending> {
    match command {
        TaskCommand::Run(args) => task_run::run(context, *args).await,
        TaskCommand::List(args) => list(context, args).await,
        TaskCommand::Show(args) => show(context, args).await,
        TaskCommand::Logs(args) => logs(context, args).await,
        TaskCommand::Abort(args) => abort(context, args).await,
        TaskCommand::Retry(args) => task_run::retry(context, args).await,
        TaskCommand::Result(args) => result(context, args).await,
    }
}

async fn list(context: &Context, args: ListTasksArgs) -> anyhow::Result<Ending> {
    let client = context.client(&args.connection)?;
    let statuses: Vec<&str> = args.status.iter().map(|status| status.as_str()).collect();
    let filter = ListTasks {
        status: (!statuses.is_empty()).then(|| statuses.join(",")),
        runner: args.runner,
        task_type: args.task_type,
        search: args.search,
        limit: Some(args.limit),
        after: args.after,
    };
    let page = client.tasks(&filter).await?;
    if context.json() {
        output::print_json(&page)?;
    } else {
        output::print_text(&task::list(&page, context.now()))?;
    }
    Ok(Ending::Success)
}

async fn show(context: &Context, args: OneTask) -> anyhow::Result<Ending> {
    let client = context.client(&args.connection)?;
    let found = client.task(find::task(&client, &args.task).await?).await?;
    if context.json() {
        output::print_json(&found)?;
    } else {
        output::print_text(&task::show(&found, context.now()))?;
    }
    Ok(Ending::Success)
}

/// A log as a JSON document.
#[derive(Serialize)]
struct LogDocument {
    /// The bytes, in base64, since a plugin may write anything.
    #[serde(with = "legwork_protocol::envelope::base64_bytes")]
    bytes: Vec<u8>,
    next: u64,
    complete: bool,
}

async fn logs(context: &Context, args: TaskLogsArgs) -> anyhow::Result<Ending> {
    let client = context.client(&args.connection)?;
    let id = find::task(&client, &args.task).await?;
    // An attempt that is not the last one says nothing more: there is nothing to follow.
    let follows = match args.attempt {
        Some(attempt) => args.follow && client.task(id).await?.summary.attempt <= attempt,
        None => args.follow,
    };
    if follows {
        return follow::log(context, &client, id, args.stream, args.offset).await;
    }
    let part = ReadLog { attempt: args.attempt, stream: args.stream, offset: Some(args.offset), limit: None };
    let mut log = client.task_log(id, &part).await?;
    let mut bytes = Vec::new();
    while let Some(chunk) = log.chunk().await? {
        if context.json() {
            bytes.extend_from_slice(&chunk);
        } else {
            output::print_bytes(&chunk)?;
        }
    }
    if context.json() {
        output::print_json(&LogDocument { bytes, next: log.next, complete: log.complete })?;
    }
    Ok(Ending::Success)
}

async fn abort(context: &Context, args: AbortTaskArgs) -> anyhow::Result<Ending> {
    let client = context.client(&args.connection)?;
    let id = find::task(&client, &args.task).await?;
    client.abort_task(id, &AbortTask { reason: args.reason }).await?;
    let found = client.task(id).await?;
    if context.json() {
        output::print_json(&found)?;
    } else {
        let status = task::status(found.summary.status, found.summary.class);
        output::print_text(&format!("{}: {status}\n", short_id(id)))?;
    }
    Ok(Ending::Success)
}

async fn result(context: &Context, args: OneTask) -> anyhow::Result<Ending> {
    let client = context.client(&args.connection)?;
    let mut body = client.task_result(find::task(&client, &args.task).await?).await?;
    // The result is a JSON document already, whatever the format.
    while let Some(chunk) = body.chunk().await? {
        output::print_bytes(&chunk)?;
    }
    // A shell's prompt would follow on the same line.
    if std::io::stdout().is_terminal() {
        output::print_bytes(b"\n")?;
    }
    Ok(Ending::Success)
}
