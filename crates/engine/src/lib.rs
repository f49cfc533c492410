//! The engine contract: what a container engine does for a runner, whichever engine it is.
//!
//! [`Engine`] is the one trait of Legwork with several real implementations: Docker, the embedded
//! engine, Kubernetes, and the [`fake`] one, which does nothing and is used to measure and test the rest.
//! All of them pass `conformance`, the suite that says in code what this file says in words.
//!
//! This crate knows neither the server nor any real engine. Start reading at [`Engine`].

#[cfg(feature = "conformance")]
#[expect(clippy::unwrap_used, clippy::missing_panics_doc, reason = "these are tests: a panic is how they fail")]
pub mod conformance;
pub mod fake;
mod spec;

use std::path::Path;

use async_trait::async_trait;
use futures::stream::BoxStream;
use legwork_contract::abort::Signal;
use legwork_core::attempt::ExecutorSeen;
pub use legwork_core::event::LogStream;
use legwork_core::verdict::{Evidence, Exit};
use legwork_core::{AttemptId, Failure, Timestamp};

pub use spec::{ExecutorSpec, Owner, Pooling, RunSettings};

/// Starts, watches and removes executors.
///
/// # Order of the calls for one executor
///
/// `prepare` (once per image) → `create` → `start` → `logs`, `take_result`, `wait`, `signal` in any order and
/// at the same time → `remove`. A parked executor is created with [`Pooling::Parked`]: after `start` it has paid its
/// start-up and waits; `hand_over` gives it its one input.
///
/// # Concurrency
///
/// All methods take `&self` and may run at the same time, for one executor too. Dropping a future that one of
/// them returned must leave nothing half-done that `remove` does not clean up.
///
/// # Safe to call twice
///
/// `create` with the same spec gives the same handle and leaves one executor; `start` of a started one, `signal` to
/// an ended one and `remove` of a removed one succeed and do nothing. `take_result`, `wait` and `logs` may be called again,
/// also by another process after a restart: a handle is text that the runner keeps in its journal.
///
/// # What is an error and what is not
///
/// How a plugin ends is a value ([`Ended`]), never an error. A [`Fault`] says that the engine could not do what it was
/// asked; it carries the failure class that the attempt gets if the runner gives up, and whether trying again may help.
#[async_trait]
pub trait Engine: Send + Sync + 'static {
    /// The engine's name: `docker`, `embedded`, `k8s`, `fake`. It is also the capability that its runner offers.
    fn name(&self) -> &'static str;

    /// Whether this engine can keep executors parked, as it is set up.
    fn can_park(&self) -> bool;

    /// Looks whether the engine can be reached and used. Called at start and by `/ready`.
    async fn check(&self) -> Result<EngineInfo, Fault>;

    /// Makes sure that the image is there, reporting progress in words for people, and tells what it stands for.
    ///
    /// Registries that answer 429 or 5xx are waited for inside, with back-off, and shown as progress.
    async fn prepare(&self, image: &str, progress: &(dyn Fn(String) + Send + Sync)) -> Result<PreparedImage, Fault>;

    /// Creates an executor and does not start it. All that it needs lies in places that belong to it alone.
    ///
    /// With [`Pooling::Single`] the encrypted input is delivered here, before the start.
    async fn create(&self, spec: &ExecutorSpec) -> Result<Handle, Fault>;

    /// Starts an executor. Returns when its first process has been started.
    async fn start(&self, handle: &Handle) -> Result<(), Fault>;

    /// Gives a parked executor its one input, the encrypted text of the contract.
    ///
    /// Writes all but the last [`HAND_OVER_TAIL`] bytes; calls `commit`, which returns when the runner has journaled the
    /// hand-over durably; writes the rest and closes. If it fails before `commit` was called the task has not run.
    async fn hand_over(
        &self,
        handle: &Handle,
        input: &[u8],
        commit: Box<dyn FnOnce() -> futures::future::BoxFuture<'static, Result<(), String>> + Send>,
    ) -> Result<(), HandOverFault>;

    /// Waits for the result and copies it, still encrypted, into the file `into`.
    ///
    /// Returns [`ResultTaken::Complete`] the moment the result is complete by `is_complete`, which looks at the copied
    /// file (a result is not written atomically, so a look may come too early); engines that cannot see the file before
    /// the executor has ended call it then. Returns [`ResultTaken::Missing`] when the executor has ended without one,
    /// and [`ResultTaken::Incomplete`] when it has ended with one that `is_complete` does not accept.
    async fn take_result(
        &self,
        handle: &Handle,
        into: &Path,
        limit: u64,
        is_complete: &(dyn for<'p> Fn(&'p Path) -> bool + Send + Sync),
    ) -> Result<ResultTaken, Fault>;

    /// What the executor has written, from these offsets on, until it has ended and everything was delivered.
    ///
    /// Byte-exact per stream. What the engine has thrown away comes as [`LogItem::Gap`].
    async fn logs(&self, handle: &Handle, from: LogOffsets) -> Result<BoxStream<'static, Result<LogItem, Fault>>, Fault>;

    /// The same for a reader that comes back, such as a runner that was restarted: it had everything before `from` no later
    /// than at `read_at`. By that an engine that has thrown the beginning away can tell what is new.
    async fn resume_logs(
        &self,
        handle: &Handle,
        from: LogOffsets,
        _read_at: Timestamp,
    ) -> Result<BoxStream<'static, Result<LogItem, Fault>>, Fault> {
        self.logs(handle, from).await
    }

    /// Sends a signal to the executor's first process.
    async fn signal(&self, handle: &Handle, signal: Signal) -> Result<(), Fault>;

    /// Waits until the executor has ended and says how.
    ///
    /// An executor that is not there any more has ended too, with evidence that others removed it.
    async fn wait(&self, handle: &Handle) -> Result<Ended, Fault>;

    /// Bytes of memory that the executor uses now; `None` if it does not run.
    async fn memory_used(&self, handle: &Handle) -> Result<Option<u64>, Fault>;

    /// Kills the executor if it runs, removes it and everything made for it, and returns when all of that is gone.
    async fn remove(&self, handle: &Handle) -> Result<(), Fault>;

    /// Every executor that carries this owner's label, whatever process made it, leftovers of broken creations included.
    async fn list_owned(&self, owner: Owner) -> Result<Vec<Owned>, Fault>;

    /// How the executor is now. The counterpart of [`legwork_core::attempt::recover`].
    async fn look(&self, handle: &Handle) -> Result<ExecutorSeen, Fault>;
}

/// How many bytes of the input are held back until the hand-over is committed.
///
/// The SDKs refuse a truncated input without running the task.
pub const HAND_OVER_TAIL: usize = 24;

/// An executor, as its engine finds it again. Text that the runner keeps and does not read.
#[derive(Clone, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct Handle(pub String);

/// What an engine says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineInfo {
    /// Name and version, for people.
    pub version: String,
    /// Things a user should know, such as "remote: executors cannot be parked".
    pub notes: Vec<String>,
}

/// An image that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PreparedImage {
    /// What its name stands for now: a digest or an id that changes when the image does.
    pub digest: String,
}

/// What [`Engine::take_result`] found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ResultTaken {
    /// A complete result lies in the file.
    Complete,
    /// The executor has ended and left none.
    Missing,
    /// The executor has ended and left bytes that are no complete result; they lie in the file.
    Incomplete,
    /// The result is over the limit; nothing was copied.
    TooLarge {
        /// Its bytes, as far as they were counted.
        bytes: u64,
    },
}

/// How an executor ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// How its first process ended; none if nobody knows.
    pub exit: Option<Exit>,
    /// What the engine knows besides. An engine does not know which signals the runner asked for: a stop or kill that
    /// was sent through [`Engine::signal`] or [`Engine::remove`] of this process is not reported as somebody else's.
    pub evidence: Option<Evidence>,
}

/// A place in each stream, in bytes as the plugin wrote them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct LogOffsets {
    /// Bytes of standard output before this place.
    pub stdout: u64,
    /// Bytes of standard error before this place.
    pub stderr: u64,
}

impl LogOffsets {
    /// The offset of one stream.
    pub fn of(self, stream: LogStream) -> u64 {
        match stream {
            LogStream::Stdout => self.stdout,
            LogStream::Stderr => self.stderr,
        }
    }

    /// Moves the offset of one stream on.
    pub fn advance(&mut self, stream: LogStream, bytes: u64) {
        match stream {
            LogStream::Stdout => self.stdout += bytes,
            LogStream::Stderr => self.stderr += bytes,
        }
    }
}

/// A piece of log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogItem {
    /// Bytes that the plugin wrote.
    Bytes {
        /// Where.
        stream: LogStream,
        /// The offset of the first of them in the stream.
        offset: u64,
        /// The bytes.
        bytes: bytes::Bytes,
    },
    /// Bytes that the plugin wrote and the engine no longer has.
    Gap {
        /// Where.
        stream: LogStream,
        /// The offset at which they are missing.
        offset: u64,
        /// How many, if known.
        bytes: Option<u64>,
    },
}

/// An executor that a runner owns by its label.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owned {
    /// The executor.
    pub handle: Handle,
    /// The attempt it was made for; none if it was parked and never used, or its labels cannot be read.
    pub attempt: Option<AttemptId>,
    /// How it is.
    pub seen: ExecutorSeen,
}

/// An engine could not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{failure}")]
pub struct Fault {
    /// What the attempt's failure is if the runner gives up.
    pub failure: Failure,
    /// What to do about it.
    pub remedy: Remedy,
}

/// What to do about a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remedy {
    /// The engine is away or busy: try again with back-off.
    Retry,
    /// It will not get better by itself.
    GiveUp,
}

impl Fault {
    /// A fault that may pass.
    pub fn passing(class: legwork_core::FailureClass, message: impl Into<String>) -> Self {
        Self { failure: Failure::new(class, message), remedy: Remedy::Retry }
    }

    /// A fault that stays.
    pub fn lasting(class: legwork_core::FailureClass, message: impl Into<String>) -> Self {
        Self { failure: Failure::new(class, message), remedy: Remedy::GiveUp }
    }
}

/// A hand-over did not succeed. In both cases the executor is spent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HandOverFault {
    /// Before the commit: the task has not run and can go to another executor.
    #[error("the executor could not be given its input: {0}")]
    BeforeCommit(Fault),
    /// After the commit: the task may have run.
    #[error("the executor was lost while it was given its input: {0}")]
    AfterCommit(Fault),
}
