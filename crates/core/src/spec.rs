//! What a user asks for.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::capability::Capabilities;
use crate::limits;

/// A task as asked for. Its inputs are kept apart, sealed ([`Input`]).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TaskSpec {
    /// The plugin image, as a container engine reads it: `registry/name:tag`.
    pub image: String,
    /// The task's type, `<prefix>.<Name>`; the plugin chooses its code by it.
    pub task_type: String,
    /// What a person calls it.
    pub title: String,
    /// What the runner must offer.
    pub capabilities: Capabilities,
    /// Higher ones are handed out first.
    pub priority: i32,
    /// How long the plugin may take to end by itself after an abort.
    #[serde(with = "millis")]
    pub abort_timeout: Duration,
    /// How long the plugin may run.
    #[serde(with = "optional_millis")]
    pub run_timeout: Option<Duration>,
    /// How long the task may wait for a runner.
    #[serde(with = "optional_millis")]
    pub queue_timeout: Option<Duration>,
    /// How often it is retried without being asked, after failures whose class allows it.
    pub retries: u32,
    /// What to do when its runner falls silent.
    pub lost_runner: LostRunnerPolicy,
    /// What the executor may use.
    pub limits: ExecutorLimits,
    /// How the executor reaches the network.
    pub network: Network,
    /// True if the executor's root file system cannot be written to.
    pub read_only_root: bool,
    /// Bytes of log that are kept; beyond it head and tail stay and the rest is counted.
    pub log_limit: u64,
    /// The names of the output properties that the plugin is told about.
    pub outputs: BTreeSet<String>,
}

impl TaskSpec {
    /// A task with every setting at its default.
    pub fn new(image: impl Into<String>, task_type: impl Into<String>) -> Self {
        let task_type = task_type.into();
        Self {
            image: image.into(),
            title: task_type.clone(),
            task_type,
            capabilities: Capabilities::default(),
            priority: 0,
            abort_timeout: limits::ABORT_TIMEOUT,
            run_timeout: None,
            queue_timeout: None,
            retries: 0,
            lost_runner: LostRunnerPolicy::Wait,
            limits: ExecutorLimits::default(),
            network: Network::Outbound,
            read_only_root: false,
            log_limit: limits::LOG_BYTES,
            outputs: BTreeSet::new(),
        }
    }
}

/// What happens to a running task whose runner is silent.
///
/// `RunElsewhere` promises at most one accepted result, not at most one execution: the silent runner may still be at it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "policy", rename_all = "snake_case")]
pub enum LostRunnerPolicy {
    /// Wait for it, for ever.
    Wait,
    /// Fail the task, class `runner-lost`, after so long a silence.
    Fail {
        /// The silence, in milliseconds in JSON.
        #[serde(with = "millis")]
        after: Duration,
    },
    /// Hand the task to another runner after so long a silence.
    RunElsewhere {
        /// The silence, in milliseconds in JSON.
        #[serde(with = "millis")]
        after: Duration,
    },
}

/// What an executor may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ExecutorLimits {
    /// Bytes of memory, swap included.
    pub memory_bytes: u64,
    /// Thousandths of a processor; none = no limit.
    pub milli_cpus: Option<u32>,
    /// Processes and threads.
    pub pids: u32,
}

impl Default for ExecutorLimits {
    fn default() -> Self {
        Self { memory_bytes: limits::MEMORY_BYTES, milli_cpus: None, pids: limits::PIDS }
    }
}

/// How an executor reaches the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Network {
    /// Outbound connections are possible: plugins exist to reach systems.
    Outbound,
    /// No network at all.
    None,
}

/// The values that a task is run with. Sealed wherever it is stored.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Input {
    /// The input properties, in the order they were given.
    pub properties: Vec<InputProperty>,
}

/// One input property.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct InputProperty {
    /// Its name.
    pub name: String,
    /// Its value, any JSON.
    pub value: serde_json::Value,
    /// Its kind as the plugin contract names it, such as `STRING` or `CI`.
    pub kind: String,
    /// True if the value is a secret.
    pub password: bool,
}

/// Shows no value: a value may be a secret although nobody marked it.
impl std::fmt::Debug for InputProperty {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("InputProperty")
            .field("name", &self.name)
            .field("kind", &self.kind)
            .field("password", &self.password)
            .finish_non_exhaustive()
    }
}

impl InputProperty {
    /// The contract's kind that fits a JSON value.
    pub fn kind_of(value: &serde_json::Value) -> &'static str {
        match value {
            serde_json::Value::Bool(_) => "BOOLEAN",
            serde_json::Value::Number(_) => "INTEGER",
            serde_json::Value::Array(_) => "LIST_OF_STRING",
            serde_json::Value::Object(map) if map.contains_key("properties") && map.contains_key("type") => "CI",
            serde_json::Value::Object(_) => "MAP_STRING_STRING",
            serde_json::Value::Null | serde_json::Value::String(_) => "STRING",
        }
    }
}

/// Durations as whole milliseconds in JSON.
pub mod millis {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    /// Writes milliseconds.
    pub fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
    }

    /// Reads milliseconds.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        u64::deserialize(deserializer).map(Duration::from_millis)
    }
}

/// Optional durations as whole milliseconds, or null, in JSON.
pub mod optional_millis {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    /// Writes milliseconds or null.
    pub fn serialize<S: Serializer>(duration: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
        duration.map(|duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)).serialize(serializer)
    }

    /// Reads milliseconds or null.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
        Ok(Option::<u64>::deserialize(deserializer)?.map(Duration::from_millis))
    }
}
