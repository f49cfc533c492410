//! What an executor is made from.

use legwork_contract::session::SessionKey;
use legwork_core::spec::{ExecutorLimits, Network};
use legwork_core::{AttemptId, Epoch, RunnerId};

/// Everything that an engine must know to create an executor.
#[derive(Clone, Debug)]
pub struct ExecutorSpec {
    /// The executor's name: `legwork-<task>-<attempt>`, or `legwork-parked-<id>`. Creating it twice gives one executor.
    pub name: String,
    /// Whose it is; every engine writes this into labels.
    pub owner: Owner,
    /// The epoch in which it was made; a label.
    pub epoch: Epoch,
    /// The attempt that it carries out; none for a parked executor.
    pub attempt: Option<AttemptId>,
    /// The image, as the user named it.
    pub image: String,
    /// How it is run.
    pub settings: RunSettings,
    /// The key of input and result, made for this executor and used once.
    pub session_key: SessionKey,
    /// The server's address as plugins may use it.
    pub release_url: String,
    /// Whether its input is known.
    pub pooling: Pooling,
}

/// The runner that owns executors, by the label `legwork=<runner id>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Owner(pub RunnerId);

/// How an executor is run. Two attempts can use the same parked executors only if image and settings are equal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RunSettings {
    /// What it may use.
    pub limits: ExecutorLimits,
    /// How it reaches the network.
    pub network: Network,
    /// True if its root file system cannot be written to.
    pub read_only_root: bool,
    /// Bytes of log that the engine should keep until they are read, if it keeps any.
    pub log_limit: u64,
}

/// Whether an executor's input is known when it is created.
#[derive(Clone, Debug)]
pub enum Pooling {
    /// It is made for one attempt; here is the encrypted input.
    Single {
        /// The contract's text.
        input: bytes::Bytes,
    },
    /// It is started before its task is known and waits for [`crate::Engine::hand_over`].
    Parked,
}
