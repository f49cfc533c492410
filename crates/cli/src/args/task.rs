//! `legwork task …`.

use legwork_core::Capability;
use legwork_core::event::LogStream;
use legwork_protocol::duration::HumanDuration;

use crate::args::connection::ConnectionArgs;
use crate::inputs::{InputArg, LostRunnerArg, SecretArg};
use crate::size::ByteSize;

/// What to do with tasks.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum TaskCommand {
    /// Run a task
    Run(Box<RunTaskArgs>),
    /// List tasks, newest first
    List(ListTasksArgs),
    /// Show everything about a task
    Show(OneTask),
    /// Print a task's log, byte for byte
    Logs(TaskLogsArgs),
    /// Abort a task
    Abort(AbortTaskArgs),
    /// Try a finished task again
    Retry(RetryTaskArgs),
    /// Print the whole result that the plugin gave, as JSON
    Result(OneTask),
}

/// One task.
#[derive(Debug, clap::Args)]
pub(crate) struct OneTask {
    /// The task's id, or four or more characters of its beginning or end
    #[arg(value_name = "TASK")]
    pub(crate) task: String,
    #[command(flatten)]
    pub(crate) connection: ConnectionArgs,
}

/// Run a task
///
/// Prints the task's id and returns. With --follow it stays, shows the log, status and comments live, and ends with
/// a summary; the exit status then is 0 if the task completed and 1 if it failed. Ctrl-C stops the following, not
/// the task.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  legwork task run --image legwork/hello-python:dev --type hello.Greet -i yourName=World --follow\n  legwork task run --image example/deploy:1 --type example.Deploy -i manifest=@app.yaml -i 'replicas:=3' --secret password=env:DEPLOY_PASSWORD"
)]
pub(crate) struct RunTaskArgs {
    /// The plugin image
    #[arg(long, value_name = "IMAGE")]
    pub(crate) image: String,
    /// The task's type, such as hello.Greet
    #[arg(long = "type", value_name = "TYPE")]
    pub(crate) task_type: String,
    /// An input (can be repeated): name=text, name=@file (the file's text), or name:=json
    #[arg(short = 'i', long = "input", value_name = "NAME=VALUE")]
    pub(crate) inputs: Vec<InputArg>,
    /// A secret input (can be repeated): name=env:VARIABLE, name=@file, or name=- for standard input
    ///
    /// Never its text itself, which other users of this machine could see. Of a file and of standard input, one line
    /// feed at the end is dropped.
    #[arg(long = "secret", value_name = "NAME=SOURCE")]
    pub(crate) secrets: Vec<SecretArg>,
    /// The name of an output that the plugin is told about (can be repeated)
    #[arg(long = "output", value_name = "NAME")]
    pub(crate) outputs: Vec<String>,
    /// What the runner must offer (can be repeated, or separated by commas)
    #[arg(long = "capability", value_name = "CAPABILITY", value_delimiter = ',')]
    pub(crate) capabilities: Vec<Capability>,
    /// What people call the task; its type if not given
    #[arg(long, value_name = "TEXT")]
    pub(crate) title: Option<String>,
    /// Tasks with higher ones are handed out first
    #[arg(long, value_name = "N", default_value_t = 0, allow_negative_numbers = true, value_parser = clap::value_parser!(i32).range(-1000..=1000))]
    pub(crate) priority: i32,
    /// Show it live until it has finished
    #[arg(short = 'f', long, conflicts_with = "detach")]
    pub(crate) follow: bool,
    /// Print its id and return (this is what happens without --follow)
    #[arg(long)]
    pub(crate) detach: bool,
    /// A text that makes it safe to run this command twice: the same key and task give the same task; random if not given
    #[arg(long, value_name = "KEY")]
    pub(crate) idempotency_key: Option<String>,

    /// How long the plugin may take to end by itself after an abort; the server's default is 30s
    #[arg(long, value_name = "DURATION", help_heading = "Time and failures")]
    pub(crate) abort_timeout: Option<HumanDuration>,
    /// How long the plugin may run, such as 1h30m; for ever if not given
    #[arg(long, value_name = "DURATION", help_heading = "Time and failures")]
    pub(crate) run_timeout: Option<HumanDuration>,
    /// How long the task may wait for a runner; for ever if not given
    #[arg(long, value_name = "DURATION", help_heading = "Time and failures")]
    pub(crate) queue_timeout: Option<HumanDuration>,
    /// How often it is tried again by itself after failures of the infrastructure; never after the plugin's own
    #[arg(long, value_name = "N", default_value_t = 0, help_heading = "Time and failures", value_parser = clap::value_parser!(u32).range(0..=100))]
    pub(crate) retries: u32,
    /// What to do when its runner falls silent: wait, fail:DURATION or elsewhere:DURATION
    ///
    /// `wait` (the default) waits for the runner for ever. `fail:1h` fails the task after an hour of silence.
    /// `elsewhere:1h` gives it to another runner then. That promises at most one accepted result, not at most one
    /// execution: the silent runner may still be at it.
    #[arg(long, value_name = "POLICY", help_heading = "Time and failures")]
    pub(crate) on_lost_runner: Option<LostRunnerArg>,

    /// Memory that the plugin may use, such as 512MiB (the server's default)
    #[arg(long, value_name = "SIZE", help_heading = "Limits")]
    pub(crate) memory: Option<ByteSize>,
    /// Processors that the plugin may use, such as 0.5; all if not given
    #[arg(long, value_name = "N", help_heading = "Limits", value_parser = processors)]
    pub(crate) cpus: Option<f64>,
    /// Processes and threads that the plugin may have; the server's default is 64
    #[arg(long, value_name = "N", help_heading = "Limits", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) pids: Option<u32>,
    /// How the plugin reaches the network
    #[arg(long, value_enum, value_name = "NETWORK", help_heading = "Limits")]
    pub(crate) network: Option<NetworkArg>,
    /// Make the plugin's root file system read-only
    #[arg(long, help_heading = "Limits")]
    pub(crate) read_only_root: bool,
    /// How much log is kept, head and tail, such as 256MiB (the server's default)
    #[arg(long, value_name = "SIZE", help_heading = "Limits")]
    pub(crate) log_limit: Option<ByteSize>,
    #[command(flatten)]
    pub(crate) connection: ConnectionArgs,
}

/// How the plugin reaches the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum NetworkArg {
    /// Connections outwards (the server's default)
    Outbound,
    /// No network at all
    None,
}

/// List tasks, newest first
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  legwork task list --status pending,in_progress --search deploy")]
pub(crate) struct ListTasksArgs {
    /// Only of these statuses: pending, `in_progress`, aborting, completed, failed
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    pub(crate) status: Vec<legwork_core::TaskStatus>,
    /// Only on this runner: title or id
    #[arg(long, value_name = "RUNNER")]
    pub(crate) runner: Option<String>,
    /// Only of this type
    #[arg(long = "type", value_name = "TYPE")]
    pub(crate) task_type: Option<String>,
    /// Only with this text in title, type or image
    #[arg(long, value_name = "TEXT")]
    pub(crate) search: Option<String>,
    /// At most so many
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=500))]
    pub(crate) limit: u32,
    /// From here on: what `next` of the page before says (-o json)
    #[arg(long, value_name = "PLACE")]
    pub(crate) after: Option<String>,
    #[command(flatten)]
    pub(crate) connection: ConnectionArgs,
}

/// Print a task's log, byte for byte
///
/// Standard output gets exactly the bytes that the plugin wrote, but for masked secrets.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  legwork task logs 3f9a11c2 --follow\n  legwork task logs 3f9a11c2 --attempt 1 --stream stderr > errors.txt"
)]
pub(crate) struct TaskLogsArgs {
    /// The task's id, or four or more characters of its beginning or end
    #[arg(value_name = "TASK")]
    pub(crate) task: String,
    /// Stay until the log is complete
    #[arg(short = 'f', long)]
    pub(crate) follow: bool,
    /// Which attempt's; the last one's if not given
    #[arg(long, value_name = "N")]
    pub(crate) attempt: Option<u32>,
    /// Only this stream: stdout or stderr; both as they arrived if not given
    #[arg(long, value_name = "STREAM")]
    pub(crate) stream: Option<LogStream>,
    /// From this byte on
    #[arg(long, value_name = "BYTE", default_value_t = 0)]
    pub(crate) offset: u64,
    #[command(flatten)]
    pub(crate) connection: ConnectionArgs,
}

/// Abort a task
///
/// A task that waits ends at once. One that runs is told to stop and gets its abort timeout to do so by itself; until
/// its container is gone it is Aborting.
#[derive(Debug, clap::Args)]
pub(crate) struct AbortTaskArgs {
    /// The task's id, or four or more characters of its beginning or end
    #[arg(value_name = "TASK")]
    pub(crate) task: String,
    /// Why; shown with the task
    #[arg(long, value_name = "TEXT")]
    pub(crate) reason: Option<String>,
    #[command(flatten)]
    pub(crate) connection: ConnectionArgs,
}

/// Try a finished task again
///
/// It is the same task with the same inputs, and a new attempt with its own log and outputs.
#[derive(Debug, clap::Args)]
pub(crate) struct RetryTaskArgs {
    /// The task's id, or four or more characters of its beginning or end
    #[arg(value_name = "TASK")]
    pub(crate) task: String,
    /// Show it live until it has finished
    #[arg(short = 'f', long)]
    pub(crate) follow: bool,
    /// A text that makes it safe to run this command twice; random if not given
    #[arg(long, value_name = "KEY")]
    pub(crate) idempotency_key: Option<String>,
    #[command(flatten)]
    pub(crate) connection: ConnectionArgs,
}

fn processors(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(number) if number.is_finite() && number >= 0.01 => Ok(number),
        _ => Err("write a number of at least 0.01, such as 0.5".to_owned()),
    }
}
