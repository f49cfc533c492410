//! `legwork task run` and `legwork task retry`.

use legwork_client::Client;
use legwork_core::spec::Network;
use legwork_core::{Capabilities, TaskId};
use legwork_protocol::api::{CreateTask, TaskCreated};
use uuid::Uuid;

use crate::args::task::{NetworkArg, RetryTaskArgs, RunTaskArgs};
use crate::commands::follow;
use crate::context::Context;
use crate::failure::Ending;
use crate::output;
use crate::{find, inputs};

/// Runs a task.
pub(crate) async fn run(context: &Context, args: RunTaskArgs) -> anyhow::Result<Ending> {
    let client = context.client(&args.connection)?;
    let key = key(args.idempotency_key.clone());
    let follow = args.follow;
    let task = request(args, context)?;
    let created = client.create_task(&task, &key).await?;
    after(context, &client, created, follow).await
}

/// Tries a finished task again.
pub(crate) async fn retry(context: &Context, args: RetryTaskArgs) -> anyhow::Result<Ending> {
    let client = context.client(&args.connection)?;
    let task = find::task(&client, &args.task).await?;
    let created = client.retry_task(task, &key(args.idempotency_key)).await?;
    after(context, &client, created, args.follow).await
}

async fn after(context: &Context, client: &Client, created: TaskCreated, follow: bool) -> anyhow::Result<Ending> {
    if follow {
        announce(context, created.id)?;
        return follow::to_its_end(context, client, created.id).await;
    }
    if context.json() {
        output::print_json(&created)?;
    } else {
        output::print_text(&format!("{}\n", created.id))?;
    }
    Ok(Ending::Success)
}

fn announce(context: &Context, task: TaskId) -> std::io::Result<()> {
    if context.json() { Ok(()) } else { output::print_note(&format!("task {task}")) }
}

fn key(given: Option<String>) -> String {
    given.unwrap_or_else(|| Uuid::new_v4().to_string())
}

fn request(args: RunTaskArgs, context: &Context) -> anyhow::Result<CreateTask> {
    Ok(CreateTask {
        image: args.image,
        task_type: args.task_type,
        title: args.title,
        inputs: inputs::resolve(args.inputs, args.secrets, &context.environment)?,
        outputs: args.outputs.into_iter().collect(),
        capabilities: args.capabilities.into_iter().collect::<Capabilities>(),
        priority: args.priority,
        abort_timeout: args.abort_timeout,
        run_timeout: args.run_timeout,
        queue_timeout: args.queue_timeout,
        retries: args.retries,
        lost_runner: args.on_lost_runner.map(|policy| policy.0),
        memory_bytes: args.memory.map(|size| size.0),
        cpus: args.cpus,
        pids: args.pids,
        network: args.network.map(|network| match network {
            NetworkArg::Outbound => Network::Outbound,
            NetworkArg::None => Network::None,
        }),
        read_only_root: args.read_only_root,
        log_limit_bytes: args.log_limit.map(|size| size.0),
    })
}
