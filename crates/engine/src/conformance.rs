//! The suite that every engine must pass: what the comments of [`Engine`] say, as tests.
//!
//! [`conformance!`](crate::conformance!) makes one test of each case for one engine. The cases are in [`cases`]; each gets
//! a [`Bench`] of its own: an engine, and a runner identity that nobody else has, so that all of them can run at once. When
//! a case is over, well or not, everything with that identity is removed, and nothing may be left.

pub mod cases;

use std::panic::{AssertUnwindSafe, resume_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::{FutureExt, StreamExt};
use legwork_contract::session::{self, SessionKey};
use legwork_core::spec::{ExecutorLimits, Network};
use legwork_core::{AttemptId, AttemptNumber, Epoch, RunnerId, TaskId};
use serde_json::{Map, Value, json};

use crate::{Engine, ExecutorSpec, Fault, Handle, LogItem, LogOffsets, LogStream, Owner, Pooling, ResultTaken, RunSettings};

/// How long anything may take before a case fails.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// What a plugin with these inputs writes to standard output and standard error.
pub type ExpectedLog = fn(&Map<String, Value>) -> (Vec<u8>, Vec<u8>);

/// What the suite has to know of the engine that it tries.
pub struct Fixture {
    /// The engine.
    pub engine: Arc<dyn Engine>,
    /// An image whose plugin understands the inputs of `plugins/testbed`.
    pub image: String,
    /// What that plugin writes.
    pub expected_log: ExpectedLog,
    /// Removes an executor as somebody other than the runner would.
    pub remove_by_others: ByOthers,
    /// Stops an executor as somebody other than the runner would, first with TERM.
    pub stop_by_others: ByOthers,
}

/// Something that somebody other than the runner does to an executor.
pub type ByOthers = Box<dyn Fn(Handle) -> futures::future::BoxFuture<'static, ()> + Send + Sync>;

/// The place where one case is tried.
pub struct Bench {
    /// What is tried.
    pub fixture: Fixture,
    /// Whose executors they are.
    pub owner: Owner,
    /// For copies of results.
    pub folder: tempfile::TempDir,
}

/// An executor, and what is needed to talk to it.
pub struct Placed {
    /// Its handle.
    pub handle: Handle,
    /// The key of its input and result.
    pub key: SessionKey,
    /// What it was made from.
    pub spec: ExecutorSpec,
}

/// Runs one case, cleans up, and looks that nothing is left.
pub async fn run<F: Future<Output = ()>>(fixture: Fixture, case: impl FnOnce(Arc<Bench>) -> F) {
    let folder = tempfile::tempdir().expect("a case needs a folder for results");
    let bench = Arc::new(Bench { fixture, owner: Owner(RunnerId::new()), folder });
    bench.engine().check().await.expect("the engine must be there to be tried");
    let outcome = AssertUnwindSafe(case(bench.clone())).catch_unwind().await;
    for owned in bench.engine().list_owned(bench.owner).await.expect("what a case leaves must be found") {
        bench.engine().remove(&owned.handle).await.expect("what a case leaves must be removed");
    }
    let left = bench.engine().list_owned(bench.owner).await.expect("what is left must be seen");
    if let Err(panic) = outcome {
        resume_unwind(panic);
    }
    assert_eq!(left, [], "what was removed is still there");
}

impl Bench {
    /// The engine.
    pub fn engine(&self) -> &dyn Engine {
        &*self.fixture.engine
    }

    /// A spec for a plugin with these inputs, and its key.
    pub fn spec(&self, inputs: &Value) -> (ExecutorSpec, SessionKey) {
        let key = SessionKey::generate().expect("the system gives random numbers");
        let input = Bytes::from(encrypted(inputs, &key));
        let attempt = AttemptId { task: TaskId::new(), attempt: AttemptNumber::FIRST };
        let spec = ExecutorSpec {
            name: attempt.executor_name(),
            owner: self.owner,
            epoch: Epoch(3),
            attempt: Some(attempt),
            image: self.fixture.image.clone(),
            settings: RunSettings {
                limits: ExecutorLimits::default(),
                network: Network::None,
                read_only_root: false,
                log_limit: legwork_core::limits::LOG_BYTES,
            },
            session_key: key.clone(),
            release_url: "http://release.example".to_owned(),
            pooling: Pooling::Single { input },
        };
        (spec, key)
    }

    /// Creates and starts a plugin with these inputs.
    pub async fn place(&self, inputs: &Value) -> Placed {
        self.place_with(inputs, |_| ()).await
    }

    /// The same with other settings.
    pub async fn place_with(&self, inputs: &Value, change: impl FnOnce(&mut ExecutorSpec)) -> Placed {
        let (mut spec, key) = self.spec(inputs);
        change(&mut spec);
        self.engine().prepare(&spec.image, &|_| ()).await.expect("the image is there");
        let handle = self.engine().create(&spec).await.expect("it can be created");
        self.engine().start(&handle).await.expect("it can be started");
        Placed { handle, key, spec }
    }

    /// Takes the result of an executor; complete is what decrypts with its key.
    pub async fn take(&self, placed: &Placed, limit: u64) -> (ResultTaken, PathBuf) {
        let into = self.folder.path().join(&placed.handle.0);
        let key = placed.key.clone();
        let is_complete = move |path: &std::path::Path| {
            std::fs::File::open(path).is_ok_and(|file| session::verify_stream(&key, std::io::BufReader::new(file)).is_ok())
        };
        let taken = within(self.engine().take_result(&placed.handle, &into, limit, &is_complete)).await;
        (taken.expect("a result can be taken"), into)
    }

    /// Takes a result that must be complete and reads it.
    pub async fn result(&self, placed: &Placed) -> Value {
        let (taken, into) = self.take(placed, u64::MAX).await;
        assert_eq!(taken, ResultTaken::Complete);
        let text = std::fs::read(into).expect("a complete result lies in the file");
        let plain = session::decrypt(&placed.key, &text).expect("a complete result decrypts");
        serde_json::from_slice(&plain).expect("a complete result is JSON")
    }

    /// Reads the log from there to its end.
    pub async fn log(&self, handle: &Handle, from: LogOffsets) -> ReadLog {
        let items = within(self.engine().logs(handle, from)).await.expect("the log can be read");
        within(collect(items, from)).await
    }

    /// What a plugin with these inputs writes.
    pub fn expected(&self, inputs: &Value) -> (Vec<u8>, Vec<u8>) {
        (self.fixture.expected_log)(inputs.as_object().expect("inputs are a map"))
    }
}

/// A log, put together.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct ReadLog {
    /// Standard output.
    pub stdout: Vec<u8>,
    /// Standard error.
    pub stderr: Vec<u8>,
    /// The places at which something is missing.
    pub gaps: Vec<(LogStream, u64)>,
}

/// Puts a log together and looks that each item begins where the one before it has ended.
async fn collect(items: impl futures::Stream<Item = Result<LogItem, Fault>>, from: LogOffsets) -> ReadLog {
    let mut log = ReadLog::default();
    let mut at = from;
    let mut items = std::pin::pin!(items);
    while let Some(item) = items.next().await {
        match item.expect("the log can be read to its end") {
            LogItem::Bytes { stream, offset, bytes } => {
                assert_eq!(offset, at.of(stream), "an item of {stream} begins where the one before it ended");
                at.advance(stream, bytes.len() as u64);
                let place = if stream == LogStream::Stdout { &mut log.stdout } else { &mut log.stderr };
                place.extend_from_slice(&bytes);
            }
            LogItem::Gap { stream, offset, bytes } => {
                at.advance(stream, bytes.unwrap_or(0));
                log.gaps.push((stream, offset));
            }
        }
    }
    log
}

/// The contract's text of an input with these properties.
pub fn encrypted(inputs: &Value, key: &SessionKey) -> String {
    let properties: Vec<Value> = inputs
        .as_object()
        .expect("inputs are a map")
        .iter()
        .map(|(name, value)| json!({"name": name, "value": value, "kind": "STRING", "category": "input", "password": false}))
        .collect();
    let context = json!({
        "release": {"id": "Applications/Release1", "automatedTaskAsUser": {"username": null, "password": null}},
        "task": {"id": "Applications/Release1/Phase1/Task1", "type": "testbed.Run", "properties": properties},
    });
    session::encrypt(key, context.to_string().as_bytes()).expect("the system gives random numbers")
}

/// Waits, but not for ever.
pub async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.expect("it must not take so long")
}

/// Makes a test of every case. `$fixture` is an expression that gives a new [`Fixture`].
#[macro_export]
macro_rules! conformance {
    ($fixture:expr) => {
        $crate::conformance!($fixture; create_twice, start_twice, labels_and_listing, remove_twice_and_everything_is_gone,
            states, result_before_the_end, results_of_all_sizes, result_too_large, no_result, truncated_result,
            garbage_result, exit_statuses, taken_again_after_the_end, log_of_both_streams, log_lines_around_16_kib, log_invalid_utf8,
            log_characters_across_pieces, log_without_final_newline, log_of_one_long_line, log_resumed_anywhere,
            log_complete_after_instant_exit, log_thrown_away, log_read_slowly, log_followed_while_it_runs, terminate, ignored_signals_then_kill, remove_while_it_runs,
            removed_by_others, stopped_by_others, wait_for_one_that_is_not_there, unknown_image, parked_then_used,
            parked_and_not_committed, parked_and_evicted, waits_and_results_together);
    };
    ($fixture:expr; $($case:ident),+ $(,)?) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                $crate::conformance::run($fixture, $crate::conformance::cases::$case).await;
            }
        )+
    };
}
