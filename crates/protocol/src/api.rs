//! The public REST API under `/api/v1`. Times are RFC 3339 texts, durations texts such as `30s`.

use std::collections::{BTreeMap, BTreeSet};

use legwork_core::event::{LogStream, LogSummary, Phase};
use legwork_core::spec::Network;
use legwork_core::waiting::WaitingReason;
use legwork_core::{Capabilities, FailureClass, RunnerId, TaskId, TaskStatus, Timestamp, TokenId};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use crate::duration::HumanDuration;

/// Header that makes a request safe to send twice.
pub const IDEMPOTENCY_HEADER: &str = "idempotency-key";
/// The original's header for a personal access token.
pub const TOKEN_HEADER: &str = "x-release-personal-token";

/// A task to run. Only `image` and `type` must be given.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateTask {
    /// The plugin image.
    #[schema(example = "legwork/hello-python:dev", min_length = 1, max_length = 512)]
    pub image: String,
    /// The task's type, `<prefix>.<Name>`.
    #[serde(rename = "type")]
    #[schema(example = "hello.Greet", min_length = 3, max_length = 256)]
    pub task_type: String,
    /// What people call it; the type if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 256)]
    pub title: Option<String>,
    /// The input properties.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub inputs: Vec<TaskInput>,
    /// Names of output properties that the plugin is told about.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub outputs: BTreeSet<String>,
    /// What the runner must offer.
    #[serde(default, skip_serializing_if = "no_capabilities")]
    #[schema(value_type = Vec<String>, example = json!(["remote"]))]
    pub capabilities: Capabilities,
    /// Higher ones are handed out first; 0 if not given.
    #[serde(default)]
    #[schema(minimum = -1000, maximum = 1000)]
    pub priority: i32,
    /// How long the plugin may take to end by itself after an abort; 30s if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub abort_timeout: Option<HumanDuration>,
    /// How long the plugin may run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_timeout: Option<HumanDuration>,
    /// How long the task may wait for a runner.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue_timeout: Option<HumanDuration>,
    /// How often it is retried without being asked after failures of the infrastructure.
    #[serde(default)]
    #[schema(maximum = 100)]
    pub retries: u32,
    /// What to do when its runner falls silent; wait if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lost_runner: Option<LostRunner>,
    /// Bytes of memory that the plugin may use; 512 MiB if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 6_291_456)]
    pub memory_bytes: Option<u64>,
    /// Processors that the plugin may use, such as 0.5; all if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpus: Option<f64>,
    /// Processes and threads that the plugin may have; 64 if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pids: Option<u32>,
    /// How the plugin reaches the network: `outbound` (if not given) or `none`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, example = "outbound")]
    pub network: Option<Network>,
    /// True if the plugin's root file system is not to be written to.
    #[serde(default)]
    pub read_only_root: bool,
    /// Bytes of log that are kept; 256 MiB if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_limit_bytes: Option<u64>,
}

fn no_capabilities(capabilities: &Capabilities) -> bool {
    capabilities.0.is_empty()
}

/// An input property.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TaskInput {
    /// Its name.
    #[schema(min_length = 1, max_length = 256)]
    pub name: String,
    /// Its value. Secrets come back as `null`.
    #[serde(default)]
    pub value: Value,
    /// The contract's kind, such as `STRING`; made from the value if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "STRING")]
    pub kind: Option<String>,
    /// True if the value is a secret.
    #[serde(default)]
    pub secret: bool,
}

/// What to do when a task's runner falls silent.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, ToSchema)]
#[serde(tag = "policy", rename_all = "snake_case", deny_unknown_fields)]
pub enum LostRunner {
    /// Wait for it, for ever.
    Wait,
    /// Fail the task, class `runner-lost`.
    Fail {
        /// After so long a silence.
        after: HumanDuration,
    },
    /// Give it to another runner: at most one accepted result, but maybe two executions.
    RunElsewhere {
        /// After so long a silence.
        after: HumanDuration,
    },
}

/// A task in a list.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct TaskSummary {
    /// Its identity.
    #[schema(value_type = uuid::Uuid)]
    pub id: TaskId,
    /// What people call it.
    pub title: String,
    /// The plugin image.
    pub image: String,
    /// The task's type.
    #[serde(rename = "type")]
    pub task_type: String,
    /// How it stands.
    #[schema(value_type = String, example = "in_progress")]
    pub status: TaskStatus,
    /// Of a failed task: why.
    #[schema(value_type = Option<String>, example = "plugin-failed")]
    pub class: Option<FailureClass>,
    /// The status line that the plugin has set last.
    pub status_line: Option<String>,
    /// The runner that has or had it.
    pub runner: Option<RunnerName>,
    /// The number of its last attempt; 0 if it was never handed out.
    pub attempt: u32,
    /// When it was created.
    #[schema(value_type = String, format = DateTime)]
    pub created: Timestamp,
    /// When the runner confirmed its last attempt.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub started: Option<Timestamp>,
    /// When it ended.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub finished: Option<Timestamp>,
}

/// A runner, named.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RunnerName {
    /// Its identity.
    #[schema(value_type = uuid::Uuid)]
    pub id: RunnerId,
    /// Its title.
    pub title: String,
}

/// A task with everything about it.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Task {
    /// What lists show too.
    #[serde(flatten)]
    pub summary: TaskSummary,
    /// Who created it.
    pub created_by: String,
    /// Why it waits, for programs.
    #[schema(value_type = Option<Object>)]
    pub waiting: Option<WaitingReason>,
    /// Why it waits or what is being done, for people: "no registered runner offers gpu", "pulling the image: 12 of 40 MiB".
    pub explanation: Option<String>,
    /// What went wrong, or a note on a success.
    pub message: Option<String>,
    /// What the engine said about a failure.
    pub evidence: Option<String>,
    /// Who asked for an abort, when and why.
    pub abort: Option<AbortInfo>,
    /// The output properties; null while there are none or if they are over 64 KiB ([`Task::result_bytes`] tells).
    #[schema(value_type = Option<Object>)]
    pub outputs: Option<serde_json::Map<String, Value>>,
    /// Reporting records of the plugin, as it gave them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reporting_records: Vec<Value>,
    /// Bytes of the plugin's result; `GET /tasks/{id}/result` gives all of it.
    pub result_bytes: u64,
    /// What it was run with; secrets without their values.
    pub inputs: Vec<TaskInput>,
    /// What the runner must offer.
    #[schema(value_type = Vec<String>)]
    pub capabilities: Capabilities,
    /// Its priority.
    pub priority: i32,
    /// How long the plugin may take to end by itself after an abort.
    pub abort_timeout: HumanDuration,
    /// How long the plugin may run.
    pub run_timeout: Option<HumanDuration>,
    /// How long it may wait for a runner.
    pub queue_timeout: Option<HumanDuration>,
    /// How often it may be retried without being asked.
    pub retries: u32,
    /// What to do when its runner falls silent.
    pub lost_runner: LostRunner,
    /// The attempts, oldest first.
    pub attempts: Vec<Attempt>,
    /// The comments of the last attempt, oldest first.
    pub comments: Vec<Comment>,
}

/// Who asked for an abort.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct AbortInfo {
    /// Who.
    pub by: String,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// Why, if they said.
    pub reason: Option<String>,
}

/// One try of a task.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Attempt {
    /// Its number.
    pub number: u32,
    /// Where it ran.
    pub runner: RunnerName,
    /// What its runner last said it was doing.
    #[schema(value_type = Option<String>)]
    pub phase: Option<Phase>,
    /// When it was offered.
    #[schema(value_type = String, format = DateTime)]
    pub offered: Timestamp,
    /// When the runner confirmed it.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub confirmed: Option<Timestamp>,
    /// When its result was accepted, or it was replaced.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub finished: Option<Timestamp>,
    /// `completed`, a failure class, or null while it goes on.
    pub outcome: Option<String>,
    /// What went wrong, or a note.
    pub message: Option<String>,
    /// Where the time went, in milliseconds.
    pub timings: Vec<Timing>,
    /// What became of its log; null until all of it has arrived.
    pub log: Option<LogInfo>,
}

/// A span of time.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Timing {
    /// What was done.
    pub step: String,
    /// How long it took.
    pub millis: u64,
}

/// What became of an attempt's log.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, ToSchema)]
pub struct LogInfo {
    /// Bytes of standard output.
    pub stdout_bytes: u64,
    /// Bytes of standard error.
    pub stderr_bytes: u64,
    /// Bytes dropped between head and tail because of the log limit.
    pub dropped_bytes: u64,
    /// Places at which the engine had thrown something away.
    pub gaps: u32,
}

impl From<LogSummary> for LogInfo {
    fn from(summary: LogSummary) -> Self {
        let LogSummary { stdout_bytes, stderr_bytes, dropped_bytes, gaps } = summary;
        Self { stdout_bytes, stderr_bytes, dropped_bytes, gaps }
    }
}

/// A comment of a plugin.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Comment {
    /// Which attempt's.
    pub attempt: u32,
    /// When it arrived.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// What it says.
    pub text: String,
}

/// Which tasks to list.
#[derive(Clone, Debug, Default, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ListTasks {
    /// Only of these statuses, separated by commas.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(example = "pending,in_progress")]
    pub status: Option<String>,
    /// Only on this runner: identity or title.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runner: Option<String>,
    /// Only of this type.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    pub task_type: Option<String>,
    /// Only with this text in title, type or image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub search: Option<String>,
    /// At most so many, 1 to 500; 50 if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(minimum = 1, maximum = 500)]
    pub limit: Option<u32>,
    /// From here on: [`Page::next`] of the page before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
}

/// A page of a list.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Page<T> {
    /// What is on it, newest first.
    pub items: Vec<T>,
    /// Where the next page begins; null on the last one.
    pub next: Option<String>,
}

/// An abort.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AbortTask {
    /// Why; shown with the task.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 1024)]
    pub reason: Option<String>,
}

/// Which part of a log to give. The answer's bytes are the log's own; where it ends is in headers.
#[derive(Clone, Debug, Default, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ReadLog {
    /// Which attempt; the last one if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt: Option<u32>,
    /// `stdout` or `stderr`; both as they arrived if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(value_type = Option<String>)]
    pub stream: Option<LogStream>,
    /// From this byte of the chosen stream, or of both as they arrived.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offset: Option<u64>,
    /// At most so many bytes; everything if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
}

/// Header of a log answer: the offset after its last byte; ask for more from here.
pub const LOG_NEXT_HEADER: &str = "legwork-log-next";
/// Header of a log answer: `true` if the log is complete and this answer reaches its end.
pub const LOG_COMPLETE_HEADER: &str = "legwork-log-complete";

/// What follows a task live, as Server-Sent Events of `GET /tasks/{id}/follow`. The event's name is the tag's value.
///
/// The id of a `log` event is `<attempt>:<offset after it>`, so `Last-Event-ID` resumes a broken connection exactly.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Follow {
    /// The task as it is now: sent first, and whenever something but its log changed.
    Task(Box<Task>),
    /// A piece of log.
    Log(FollowLog),
    /// Nothing more will come: the task has finished and its log is complete, or did not complete in time.
    End {
        /// False if the log did not complete within the server's patience.
        log_complete: bool,
    },
}

/// A piece of log, live.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct FollowLog {
    /// Which attempt's.
    pub attempt: u32,
    /// Which stream.
    #[schema(value_type = String)]
    pub stream: LogStream,
    /// The place of its first byte in both streams as they arrived.
    pub offset: u64,
    /// The bytes, in base64, since a plugin may write anything.
    #[serde(with = "crate::envelope::base64_bytes")]
    #[schema(value_type = String, format = Byte)]
    pub bytes: Vec<u8>,
    /// Bytes that are missing before this piece; 0 if none, null if nobody knows how many.
    pub missing: Option<u64>,
}

/// A runner.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Runner {
    /// Its identity.
    #[schema(value_type = uuid::Uuid)]
    pub id: RunnerId,
    /// What people call it.
    pub title: String,
    /// What it offers.
    #[schema(value_type = Vec<String>)]
    pub capabilities: Capabilities,
    /// Executors it may have.
    pub capacity: u32,
    /// Slots taken now.
    pub used: u32,
    /// How long idle executors are kept; 0s = none are.
    pub eviction_time: HumanDuration,
    /// `online`, `offline`, `disabled`, `draining`, `outdated`, `conflict` or `deleting`.
    pub status: String,
    /// More about it, for people.
    pub explanation: Option<String>,
    /// How often it has registered.
    pub epoch: u64,
    /// When it was last heard of.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub last_seen: Option<Timestamp>,
    /// When it registered first.
    #[schema(value_type = String, format = DateTime)]
    pub created: Timestamp,
    /// When the token that it registered with expires.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub token_expires: Option<Timestamp>,
    /// Its clock minus the server's, in milliseconds, at its last registration.
    pub clock_skew_millis: i64,
    /// Its build.
    pub version: String,
    /// Facts about it.
    pub metadata: BTreeMap<String, String>,
}

/// Changes to a runner; what is not given stays.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EditRunner {
    /// What people call it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(min_length = 1, max_length = 128)]
    pub title: Option<String>,
    /// What it offers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<String>>)]
    pub capabilities: Option<Capabilities>,
    /// Executors it may have, 0 to 1000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(maximum = 1000)]
    pub capacity: Option<u32>,
    /// How long idle executors are kept; 0s = none are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub eviction_time: Option<HumanDuration>,
}

/// A token to make: `POST /api/v1/personal-access-tokens`, in the form that the original's scripts send.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CreateToken {
    /// What it is for.
    #[schema(min_length = 1, max_length = 256)]
    pub token_note: String,
    /// What it allows, such as `runner#registration`; everything that its owner may if not given.
    #[serde(default)]
    pub global_permissions: Vec<String>,
    /// When it expires; never if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub expiry_date: Option<Timestamp>,
}

/// A token that was just made: the only time that its text is shown.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct CreatedToken {
    /// The token.
    #[schema(example = "rpa_…")]
    pub token: String,
    /// The rest of it.
    #[serde(flatten)]
    pub info: Token,
}

/// A token, without its text.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Token {
    /// Its identity.
    #[schema(value_type = uuid::Uuid)]
    pub id: TokenId,
    /// What it is for.
    pub token_note: String,
    /// Whose it is.
    pub owner: String,
    /// What it allows.
    pub global_permissions: Vec<String>,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    pub created: Timestamp,
    /// When it expires.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub expiry_date: Option<Timestamp>,
    /// When it was revoked.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub revoked: Option<Timestamp>,
    /// When it was used last, to the minute.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub last_used: Option<Timestamp>,
}

/// What a task that was created or retried is called, and whether it was there already.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct TaskCreated {
    /// Its identity.
    #[schema(value_type = uuid::Uuid)]
    pub id: TaskId,
    /// True if the `Idempotency-Key` was seen before: this is the task of then.
    pub repeated: bool,
}

/// The server, as anybody may see it: `GET /api/v1/server`.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct ServerInfo {
    /// The product.
    pub name: String,
    /// Its build.
    pub version: String,
    /// The version of the channel to its runners.
    pub channel_version: u32,
}

/// Who is asking: `GET /api/v1/me`.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Me {
    /// The user.
    pub user: String,
    /// What they may do.
    pub permissions: Vec<String>,
}
