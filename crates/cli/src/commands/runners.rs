//! `legwork runner …`, but for `start`.

use legwork_client::Client;
use legwork_core::RunnerId;
use legwork_protocol::api::EditRunner;

use crate::args::connection::ConnectionArgs;
use crate::args::runner::{EditRunnerArgs, OneRunner, RunnerCommand};
use crate::context::Context;
use crate::failure::{Complaint, Ending};
use crate::find;
use crate::output::{self, runner};

/// Does what the command says; `start` is not for here.
pub(crate) async fn execute(context: &Context, command: RunnerCommand) -> anyhow::Result<Ending> {
    match command {
        RunnerCommand::Start(_) => Err(Complaint::usage("a runner is started by another way").into()),
        RunnerCommand::List { connection } => list(context, &connection).await,
        RunnerCommand::Show(args) => {
            let (client, id) = meant(context, &args).await?;
            show(context, &client, id).await
        }
        RunnerCommand::Edit(args) => edit(context, args).await,
        RunnerCommand::Enable(args) => {
            let (client, id) = meant(context, &args).await?;
            client.enable_runner(id).await?;
            show(context, &client, id).await
        }
        RunnerCommand::Disable(args) => {
            let (client, id) = meant(context, &args).await?;
            client.disable_runner(id).await?;
            show(context, &client, id).await
        }
        RunnerCommand::Drain(args) => {
            let (client, id) = meant(context, &args).await?;
            client.drain_runner(id).await?;
            show(context, &client, id).await
        }
        RunnerCommand::Accept(args) => {
            let (client, id) = meant(context, &args).await?;
            client.accept_runner(id).await?;
            show(context, &client, id).await
        }
        RunnerCommand::Delete(args) => {
            let (client, id) = meant(context, &args).await?;
            client.delete_runner(id).await?;
            if context.json() {
                output::print_json(&serde_json::json!({ "id": id, "deleted": true }))?;
            } else {
                output::print_text(&format!("{id}: deleted; it finishes what it has, wipes its store and exits\n"))?;
            }
            Ok(Ending::Success)
        }
    }
}

async fn meant(context: &Context, args: &OneRunner) -> anyhow::Result<(Client, RunnerId)> {
    let client = context.client(&args.connection)?;
    let id = find::runner(&client, &args.runner).await?;
    Ok((client, id))
}

async fn list(context: &Context, connection: &ConnectionArgs) -> anyhow::Result<Ending> {
    let page = context.client(connection)?.runners().await?;
    if context.json() {
        output::print_json(&page)?;
    } else {
        output::print_text(&runner::list(&page, context.now()))?;
    }
    Ok(Ending::Success)
}

async fn show(context: &Context, client: &Client, id: RunnerId) -> anyhow::Result<Ending> {
    let found = client.runner(id).await?;
    if context.json() {
        output::print_json(&found)?;
    } else {
        output::print_text(&runner::show(&found, context.now()))?;
    }
    Ok(Ending::Success)
}

async fn edit(context: &Context, args: EditRunnerArgs) -> anyhow::Result<Ending> {
    let edit = EditRunner {
        title: args.title,
        capabilities: args.capabilities,
        capacity: args.capacity,
        eviction_time: args.eviction_time,
    };
    if edit.title.is_none() && edit.capabilities.is_none() && edit.capacity.is_none() && edit.eviction_time.is_none() {
        return Err(Complaint::usage("nothing to change")
            .hint("give --title, --capabilities, --capacity or --eviction-time")
            .into());
    }
    let client = context.client(&args.connection)?;
    let id = find::runner(&client, &args.runner).await?;
    client.edit_runner(id, &edit).await?;
    show(context, &client, id).await
}
