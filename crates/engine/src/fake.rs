//! An engine that does nothing: executors are entries of a map, and what a plugin "does" follows from its input.
//!
//! It is made to measure and to test everything around an engine. It costs microseconds for a task, and it keeps the
//! whole contract of [`Engine`], parking and its commit point included. What an input can ask for is listed at
//! [`Script`]. Images need not exist: `…:missing` cannot be prepared, `…:pull-<ms>` takes that long.
//!
//! The executors live in this process and die with it. Clones of a [`FakeEngine`] share them, so a test can drop a
//! runner and start another one that finds what the first has left.

mod executor;
mod script;

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::{self, BoxStream};
use legwork_contract::abort::Signal;
use legwork_core::FailureClass;
use legwork_core::attempt::ExecutorSeen;

use crate::{
    Ended, Engine, EngineInfo, ExecutorSpec, Fault, HAND_OVER_TAIL, HandOverFault, Handle, LogItem, LogOffsets, Owned, Owner,
    Pooling, PreparedImage, ResultTaken,
};
use executor::{Executor, gone_by_others};
pub use script::Script;

/// Bytes of log in one [`LogItem`].
const LOG_PIECE: usize = 64 * 1024;

/// The engine that does nothing. Clones share their executors.
#[derive(Clone, Default)]
pub struct FakeEngine {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    executors: Mutex<HashMap<String, Arc<Executor>>>,
    away: AtomicBool,
}

impl FakeEngine {
    /// An engine without executors.
    pub fn new() -> Self {
        Self::default()
    }

    /// Lets every call fail as if the engine could not be reached, or lets them work again.
    pub fn set_away(&self, away: bool) {
        self.shared.away.store(away, Ordering::Relaxed);
    }

    /// Removes an executor as somebody other than the runner would.
    pub fn remove_by_others(&self, handle: &Handle) {
        if let Some(executor) = self.lock().remove(&handle.0) {
            executor.lose();
        }
    }

    /// Stops an executor as somebody other than the runner would with `docker stop`.
    pub fn stop_by_others(&self, handle: &Handle) {
        if let Some(executor) = self.find(handle) {
            executor.stop_by_others();
        }
    }

    /// How many executors exist.
    pub fn count(&self) -> usize {
        self.lock().len()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Arc<Executor>>> {
        // The map is changed in single calls, so it is whole even if a holder panicked.
        self.shared.executors.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The executor, unless it is gone or lost.
    fn find(&self, handle: &Handle) -> Option<Arc<Executor>> {
        let found = self.lock().get(&handle.0).cloned()?;
        if found.is_lost() {
            self.lock().remove(&handle.0);
            return None;
        }
        Some(found)
    }

    fn reach(&self) -> Result<(), Fault> {
        if self.shared.away.load(Ordering::Relaxed) {
            return Err(Fault::passing(FailureClass::EngineLost, "the fake engine was told to be away"));
        }
        Ok(())
    }

    fn find_or_fault(&self, handle: &Handle) -> Result<Arc<Executor>, Fault> {
        self.reach()?;
        self.find(handle)
            .ok_or_else(|| Fault::lasting(FailureClass::RemovedByOthers, format!("there is no executor {}", handle.0)))
    }
}

#[async_trait]
impl Engine for FakeEngine {
    fn name(&self) -> &'static str {
        "fake"
    }

    fn can_park(&self) -> bool {
        true
    }

    async fn check(&self) -> Result<EngineInfo, Fault> {
        self.reach()?;
        let note = "nothing is really run, and executors end with this process".to_owned();
        Ok(EngineInfo { version: "fake".to_owned(), notes: vec![note] })
    }

    async fn prepare(&self, image: &str, progress: &(dyn Fn(String) + Send + Sync)) -> Result<PreparedImage, Fault> {
        self.reach()?;
        let tag = image.rsplit_once(':').map_or("", |(_, tag)| tag);
        if tag == "missing" {
            return Err(Fault::lasting(FailureClass::Image, format!("{image}: manifest unknown, says the fake registry")));
        }
        if let Some(millis) = tag.strip_prefix("pull-").and_then(|text| text.parse().ok()) {
            progress(format!("pulling {image}"));
            tokio::time::sleep(Duration::from_millis(millis)).await;
        }
        Ok(PreparedImage { digest: format!("fake:{image}") })
    }

    async fn create(&self, spec: &ExecutorSpec) -> Result<Handle, Fault> {
        self.reach()?;
        let handle = Handle(spec.name.clone());
        if self.find(&handle).is_some() {
            return Ok(handle);
        }
        let script = match &spec.pooling {
            Pooling::Single { input } => Some(Script::read(input, &spec.session_key)),
            Pooling::Parked => None,
        };
        if let Some(words) = script.as_ref().and_then(|script| script.fail_create.clone()) {
            return Err(Fault::lasting(FailureClass::CouldNotStart, words));
        }
        let executor = Arc::new(Executor::new(spec, script));
        self.lock().entry(spec.name.clone()).or_insert(executor);
        Ok(handle)
    }

    async fn start(&self, handle: &Handle) -> Result<(), Fault> {
        self.find_or_fault(handle)?.start()
    }

    async fn hand_over(
        &self,
        handle: &Handle,
        input: &[u8],
        commit: Box<dyn FnOnce() -> BoxFuture<'static, Result<(), String>> + Send>,
    ) -> Result<(), HandOverFault> {
        let executor = self.find_or_fault(handle).map_err(HandOverFault::BeforeCommit)?;
        let tail = input.len().saturating_sub(HAND_OVER_TAIL);
        let mut pipe = executor.open_pipe().map_err(HandOverFault::BeforeCommit)?;
        pipe.write(input.get(..tail).unwrap_or_default());
        if let Err(words) = commit().await {
            let fault = Fault::passing(FailureClass::CouldNotStart, format!("the hand-over was not journaled: {words}"));
            return Err(HandOverFault::BeforeCommit(fault));
        }
        pipe.write(input.get(tail..).unwrap_or_default());
        pipe.close().map_err(HandOverFault::AfterCommit)
    }

    async fn take_result(
        &self,
        handle: &Handle,
        into: &Path,
        limit: u64,
        is_complete: &(dyn for<'p> Fn(&'p Path) -> bool + Send + Sync),
    ) -> Result<ResultTaken, Fault> {
        self.reach()?;
        let Some(executor) = self.find(handle) else { return Ok(ResultTaken::Missing) };
        let Some(result) = executor.result().await else { return Ok(ResultTaken::Missing) };
        if result.len() as u64 > limit {
            return Ok(ResultTaken::TooLarge { bytes: result.len() as u64 });
        }
        tokio::fs::write(into, &result).await.map_err(|error| {
            Fault::passing(FailureClass::RunnerFull, format!("cannot write the result to {}: {error}", into.display()))
        })?;
        Ok(if is_complete(into) { ResultTaken::Complete } else { ResultTaken::Incomplete })
    }

    async fn logs(&self, handle: &Handle, from: LogOffsets) -> Result<BoxStream<'static, Result<LogItem, Fault>>, Fault> {
        self.reach()?;
        let Some(executor) = self.find(handle) else { return Ok(stream::empty().boxed()) };
        let waiting = async move {
            let written = executor.log_when_running().await;
            let pieces = stream::iter(written.pieces(from, LOG_PIECE).map(Ok));
            // The stream ends when the executor does, not when there is nothing more to say.
            pieces.chain(stream::once(async move { executor.ended().await }).filter_map(|_| async { None }))
        };
        Ok(stream::once(waiting).flatten().boxed())
    }

    async fn signal(&self, handle: &Handle, signal: Signal) -> Result<(), Fault> {
        self.reach()?;
        if let Some(executor) = self.find(handle) {
            executor.signal(signal);
        }
        Ok(())
    }

    async fn wait(&self, handle: &Handle) -> Result<Ended, Fault> {
        self.reach()?;
        let Some(executor) = self.find(handle) else { return Ok(gone_by_others()) };
        let ended = executor.ended().await;
        // A lost executor leaves the map when it is looked for.
        drop(self.find(handle));
        Ok(ended)
    }

    async fn memory_used(&self, handle: &Handle) -> Result<Option<u64>, Fault> {
        self.reach()?;
        Ok(self.find(handle).filter(|executor| executor.seen() == ExecutorSeen::Running).map(|_| 1024 * 1024))
    }

    async fn remove(&self, handle: &Handle) -> Result<(), Fault> {
        self.reach()?;
        let removed = self.lock().remove(&handle.0);
        if let Some(executor) = removed {
            executor.signal(Signal::Kill);
        }
        Ok(())
    }

    async fn list_owned(&self, owner: Owner) -> Result<Vec<Owned>, Fault> {
        self.reach()?;
        let mut executors = self.lock();
        executors.retain(|_, executor| !executor.is_lost());
        let owned = executors.iter().filter(|(_, executor)| executor.owner == owner).map(|(name, executor)| Owned {
            handle: Handle(name.clone()),
            attempt: executor.attempt,
            seen: executor.seen(),
        });
        Ok(owned.collect())
    }

    async fn look(&self, handle: &Handle) -> Result<ExecutorSeen, Fault> {
        self.reach()?;
        Ok(self.find(handle).map_or(ExecutorSeen::Missing, |executor| executor.seen()))
    }
}
