//! What the tests play with: a server that keeps a ledger in memory, an engine, a store on disk, runners.

mod ledger;
mod server;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use legwork_core::spec::{Input, InputProperty};
use legwork_core::{Capabilities, Clock, TaskSpec};
use legwork_engine::fake::FakeEngine;
use legwork_lifecycle::{Lifecycle, Stopped};
use legwork_runner::{EngineChoice, RunnerConfig, RunningRunner, StartError, Token};

pub(crate) use ledger::Ledger;
pub(crate) use server::FakeServer;

/// How long a condition may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) struct Scene {
    pub(crate) server: FakeServer,
    pub(crate) engine: FakeEngine,
    capacity: u32,
    directory: tempfile::TempDir,
}

pub(crate) struct Running {
    pub(crate) runner: RunningRunner,
    life: Lifecycle,
}

impl Running {
    /// Waits until it has ended.
    pub(crate) async fn ended(self) -> Stopped {
        self.life.run_until_stopped(false, PATIENCE).await
    }
}

impl Scene {
    pub(crate) async fn new() -> Self {
        Self::with_capacity(4).await
    }

    pub(crate) async fn with_capacity(capacity: u32) -> Self {
        let server = FakeServer::start(capacity).await;
        Self { server, engine: FakeEngine::new(), capacity, directory: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn data_dir(&self) -> PathBuf {
        self.directory.path().join("runner")
    }

    pub(crate) fn config(&self) -> RunnerConfig {
        RunnerConfig {
            server_url: self.server.url(),
            token: Token::new("rpa_test"),
            ca_pem: None,
            plain_http: true,
            data_dir: self.data_dir(),
            title: "test".to_owned(),
            capabilities: Capabilities::parse_list("remote,container").unwrap(),
            capacity: self.capacity,
            metadata: std::collections::BTreeMap::new(),
            engine: EngineChoice::Made(std::sync::Arc::new(self.engine.clone())),
            release_url: None,
            health: Some("127.0.0.1:0".parse().unwrap()),
            drain: false,
            clock: Clock::system(),
        }
    }

    pub(crate) async fn try_start(&self) -> Result<Running, StartError> {
        let life = Lifecycle::new();
        Ok(Running { runner: legwork_runner::start(self.config(), life.clone()).await?, life })
    }

    pub(crate) async fn start_runner(&self) -> Running {
        self.try_start().await.unwrap_or_else(|error| panic!("{error}"))
    }

    /// Stops a runner in good order.
    pub(crate) async fn stop(&self, running: Running) {
        running.life.stop();
        assert_eq!(running.ended().await, Stopped::Asked);
    }

    /// Drops everything of a runner where it stands, as `kill -9` would.
    pub(crate) async fn kill(&self, running: Running) {
        running.life.stop();
        running.life.run_until_stopped(false, Duration::ZERO).await;
    }

    /// Waits until nothing of any attempt is left with the engine, in the journal or in the spool.
    pub(crate) async fn nothing_left(&self, running: &Running) {
        let deadline = Instant::now() + PATIENCE;
        while !running.runner.is_idle() || self.engine.count() > 0 {
            assert!(Instant::now() < deadline, "{} executors, {:#?}", self.engine.count(), running.runner);
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        assert_eq!(std::fs::read_dir(self.data_dir().join("spool")).unwrap().count(), 0, "the spool is empty");
    }

    pub(crate) async fn until(&self, mut condition: impl FnMut() -> bool) {
        self.until_async(async || condition()).await;
    }

    pub(crate) async fn until_async(&self, mut condition: impl AsyncFnMut() -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !condition().await {
            assert!(Instant::now() < deadline, "it did not come true in time");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}

/// An input of these properties.
pub(crate) fn json_input(properties: &[(&str, serde_json::Value)]) -> Input {
    let property = |(name, value): &(&str, serde_json::Value)| InputProperty {
        name: (*name).to_owned(),
        kind: InputProperty::kind_of(value).to_owned(),
        value: value.clone(),
        password: false,
    };
    Input { properties: properties.iter().map(property).collect() }
}

pub(crate) fn secret(name: &str, value: &str) -> InputProperty {
    InputProperty { name: name.to_owned(), value: value.into(), kind: "STRING".to_owned(), password: true }
}

/// A task with an input and the outputs that it asks for.
pub(crate) fn task(input: Input, outputs: &[&str]) -> (TaskSpec, Input) {
    let mut spec = TaskSpec::new("fake:latest", "test.Fake");
    spec.outputs = outputs.iter().map(|name| (*name).to_owned()).collect();
    (spec, input)
}
