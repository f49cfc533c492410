//! What a runner and the server say to each other. `docs/protocol.md` tells the whole story.
//!
//! All requests go from runner to server, over HTTPS, below [`PATH`]:
//!
//! | request | when | answer |
//! |---|---|---|
//! | `POST challenge` | before registering | [`Challenge`] |
//! | `POST register` with a personal access token | at every start, and after `unknown_runner` | [`Registered`] |
//! | `POST poll` | always one under way | [`PollAnswer`], as soon as there is something |
//! | `POST confirm` | offers are journaled | [`ConfirmAnswer`] |
//! | `GET attempts/{task}/{attempt}/chunks/input/{sequence}` | an input is not inline | the chunk's bytes |
//! | `PUT attempts/{task}/{attempt}/chunks/{result,log}/{sequence}` | there is result or log | [`ChunkAnswer`] |
//! | `POST events` | events are journaled | [`EventsAnswer`] |
//! | `POST goodbye` | the runner stops, or has wiped its store after a deletion | nothing |
//!
//! All but the first two carry `Authorization: Bearer <credential>` of [`Registered`]. Every request carries the header
//! [`VERSION_HEADER`]. An older epoch's credential gets `superseded`, an unknown one `unknown_runner`.

use std::collections::BTreeMap;

use legwork_core::{AttemptId, Capabilities, Epoch, EventNumber, InstanceId, RunnerId, TaskSpec, Timestamp};
use serde::{Deserialize, Serialize};

use crate::envelope::Envelope;

/// Where the channel lives on the server.
pub const PATH: &str = "/runner/v1";
/// Header with the sender's [`crate::CHANNEL_VERSION`].
pub const VERSION_HEADER: &str = "legwork-channel-version";

/// A text that the runner signs to prove its key. It is good for one registration within a minute.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Challenge {
    /// The text.
    pub nonce: String,
}

/// Asks to be this runner from now on.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Register {
    /// Who it is; made by the runner at its first start.
    pub runner: RunnerId,
    /// The runner's Ed25519 public key, in base64. The first registration fixes it.
    pub public_key: String,
    /// This start of the process.
    pub instance: InstanceId,
    /// The epoch it had last; 0 if none. Lower than the server's: its store is a copy or an old backup.
    pub last_epoch: Epoch,
    /// The challenge's text.
    pub nonce: String,
    /// Ed25519 signature of [`signed_text`], in base64.
    pub signature: String,
    /// What it is called, unless the server's settings already say otherwise.
    pub title: String,
    /// What it offers, likewise.
    pub capabilities: Capabilities,
    /// Executors it may have, likewise.
    pub capacity: u32,
    /// Facts about it, shown and filterable: cluster, environment, namespace, engine, labels.
    pub metadata: BTreeMap<String, String>,
    /// Its build's version, for people.
    pub build_version: String,
    /// The attempts it holds, so that the server sees at once what is alive.
    pub holding: Vec<AttemptId>,
    /// The runner's wall clock, to show skew; nothing is decided by it.
    pub clock: Timestamp,
}

/// The text whose signature proves a runner's key.
pub fn signed_text(nonce: &str, runner: RunnerId, instance: InstanceId) -> String {
    format!("legwork runner registration\n{nonce}\n{runner}\n{instance}\n")
}

/// The runner is registered.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Registered {
    /// Its epoch from now on.
    pub epoch: Epoch,
    /// What it shows with every request of this epoch.
    pub credential: String,
    /// Its settings.
    pub settings: RunnerSettings,
    /// Set if the server will give it no work until somebody decides, and why.
    pub held: Option<String>,
    /// When the token that it registered with expires.
    pub token_expires: Option<Timestamp>,
    /// The server's wall clock, to show skew.
    pub clock: Timestamp,
}

/// What the server decides about a runner.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunnerSettings {
    /// Raised with each change.
    pub revision: u64,
    /// Its name for people.
    pub title: String,
    /// What it offers.
    pub capabilities: Capabilities,
    /// Executors it may have.
    pub capacity: u32,
    /// How long idle executors are kept, in seconds; 0 = none are.
    pub eviction_seconds: u64,
    /// What it is to do.
    pub duty: Duty,
}

/// What a runner is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Duty {
    /// Take work.
    Enabled,
    /// Take no work; go on with what it has.
    Disabled,
    /// Take no work and stop when nothing is left.
    Draining,
    /// Finish what it has, wipe its store, say goodbye, stop for good.
    Deleted,
}

/// Asks for work and news.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Poll {
    /// Executors it could start now beside those the server knows of; 0 = no work wanted now.
    pub free_slots: u32,
    /// The revision of the settings it has.
    pub settings_revision: u64,
    /// Aborts it knows of, so that the poll waits for others.
    pub aborting: Vec<AttemptId>,
    /// Attempts that it holds and that have no verdict yet.
    pub holding: Vec<AttemptId>,
    /// How long the answer may take when there is nothing, in milliseconds.
    pub wait_millis: u64,
}

/// News. Empty when the wait was over.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct PollAnswer {
    /// Work.
    #[serde(default)]
    pub offers: Vec<Offer>,
    /// Attempts to stop, with the reason in words: "by admin: wrong cluster".
    #[serde(default)]
    pub aborts: Vec<Abort>,
    /// Attempts that the runner holds and that were replaced: stop and remove them, their results are not wanted.
    #[serde(default)]
    pub superseded: Vec<AttemptId>,
    /// Settings, if they differ from the runner's.
    #[serde(default)]
    pub settings: Option<RunnerSettings>,
}

/// Work that a runner may take. It counts when the confirmation was answered.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Offer {
    /// The attempt.
    pub attempt: AttemptId,
    /// What to run.
    pub spec: TaskSpec,
    /// The input's JSON ([`legwork_core::spec::Input`]) if it is small.
    pub input: Option<Envelope>,
    /// How many chunks the input has, to be fetched if it is not inline.
    pub input_chunks: u32,
}

/// An attempt to stop.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Abort {
    /// The attempt.
    pub attempt: AttemptId,
    /// Who asked and why.
    pub by: String,
}

/// Says that offers are journaled.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Confirm {
    /// The attempts.
    pub attempts: Vec<AttemptId>,
}

/// Which confirmations count, in the order of the request.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ConfirmAnswer {
    /// One for each attempt.
    pub attempts: Vec<Confirmed>,
}

/// Whether a confirmation counts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "confirmed", rename_all = "snake_case")]
pub enum Confirmed {
    /// It does: go.
    Yes,
    /// It does not: create nothing, forget it.
    No {
        /// Why, in words.
        why: String,
    },
}

/// Events of any attempts. Those of one attempt stand in their order.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Events {
    /// The events.
    pub events: Vec<Event>,
}

/// One event.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Event {
    /// Whose.
    pub attempt: AttemptId,
    /// Its number within the attempt.
    pub number: EventNumber,
    /// A [`legwork_core::event::AttemptEvent`] as JSON.
    pub body: Envelope,
}

/// What became of the events, once for each attempt of the request.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct EventsAnswer {
    /// One for each attempt.
    pub attempts: Vec<EventsApplied>,
}

/// What became of an attempt's events.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventsApplied {
    /// Whose.
    pub attempt: AttemptId,
    /// The highest number applied, all lower ones included; 0 if none.
    pub through: EventNumber,
    /// Set if the attempt is not wanted any more: drop its events, log and result, stop and remove its executor.
    pub refused: Option<String>,
}

/// What became of a chunk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "chunk", rename_all = "snake_case")]
pub enum ChunkAnswer {
    /// It is durable (maybe since an earlier try). For a log: all of these bytes are.
    Kept {
        /// Of a log: the length of standard output so far.
        stdout: u64,
        /// Of a log: the length of standard error so far.
        stderr: u64,
    },
    /// Something before it is missing. For a log: send from these offsets.
    Missing {
        /// Of a result: the sequence that is expected.
        sequence: u64,
        /// Of a log: the length of standard output so far.
        stdout: u64,
        /// Of a log: the length of standard error so far.
        stderr: u64,
    },
    /// The attempt is not wanted any more.
    Refused {
        /// Why, in words.
        why: String,
    },
}

/// The runner's last words of this epoch.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Goodbye {
    /// True if it was deleted and has wiped its store; false if it only stops for now.
    pub wiped: bool,
}
