//! The cases. Each says in its name what must hold.

mod logs;
mod parking;
mod stopping;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use legwork_core::FailureClass;
use legwork_core::attempt::ExecutorSeen;
use legwork_core::verdict::Exit;
use serde_json::json;

use super::{Bench, within};
use crate::{Ended, LogOffsets, ResultTaken};

pub use logs::*;
pub use parking::*;
pub use stopping::*;

/// Creating twice with one spec gives the same handle and one executor.
pub async fn create_twice(bench: Arc<Bench>) {
    let (spec, _) = bench.spec(&json!({}));
    let first = bench.engine().create(&spec).await.unwrap();
    let second = bench.engine().create(&spec).await.unwrap();
    assert_eq!(first, second);
    assert_eq!(bench.engine().list_owned(bench.owner).await.unwrap().len(), 1);
    bench.engine().start(&first).await.unwrap();
    assert_eq!(bench.engine().create(&spec).await.unwrap(), first, "also when it has been started");
    assert_eq!(within(bench.engine().wait(&first)).await.unwrap(), ended(0));
}

/// Starting twice starts once.
pub async fn start_twice(bench: Arc<Bench>) {
    let placed = bench.place(&json!({"log_lines": 1, "sleep_ms": 300})).await;
    bench.engine().start(&placed.handle).await.unwrap();
    assert_eq!(within(bench.engine().wait(&placed.handle)).await.unwrap(), ended(0));
    let log = bench.log(&placed.handle, LogOffsets::default()).await;
    assert_eq!(log.stdout, bench.expected(&json!({"log_lines": 1})).0);
}

/// What was created is found by its owner, and only by it.
pub async fn labels_and_listing(bench: Arc<Bench>) {
    let (one, _) = bench.spec(&json!({}));
    let running = bench.place(&json!({"sleep_ms": 30_000})).await;
    let created = bench.engine().create(&one).await.unwrap();
    let listed: HashSet<_> = bench
        .engine()
        .list_owned(bench.owner)
        .await
        .unwrap()
        .into_iter()
        .map(|owned| (owned.handle, owned.attempt, format!("{:?}", owned.seen)))
        .collect();
    let expected =
        [(created, one.attempt, "Created".to_owned()), (running.handle.clone(), running.spec.attempt, "Running".to_owned())];
    assert_eq!(listed, expected.into());
    let stranger = crate::Owner(legwork_core::RunnerId::new());
    assert_eq!(bench.engine().list_owned(stranger).await.unwrap(), []);
}

/// Removing is safe to repeat and leaves nothing.
pub async fn remove_twice_and_everything_is_gone(bench: Arc<Bench>) {
    let placed = bench.place(&json!({})).await;
    bench.result(&placed).await;
    bench.engine().remove(&placed.handle).await.unwrap();
    bench.engine().remove(&placed.handle).await.unwrap();
    assert_eq!(bench.engine().look(&placed.handle).await.unwrap(), ExecutorSeen::Missing);
    assert_eq!(bench.engine().list_owned(bench.owner).await.unwrap(), []);
    bench.engine().signal(&placed.handle, legwork_contract::abort::Signal::Terminate).await.unwrap();
}

/// An executor is seen as it is, from the beginning to the end.
pub async fn states(bench: Arc<Bench>) {
    let (spec, _) = bench.spec(&json!({"sleep_ms": 500}));
    let handle = bench.engine().create(&spec).await.unwrap();
    assert_eq!(bench.engine().look(&handle).await.unwrap(), ExecutorSeen::Created);
    assert_eq!(bench.engine().memory_used(&handle).await.unwrap(), None);
    bench.engine().start(&handle).await.unwrap();
    assert_eq!(bench.engine().look(&handle).await.unwrap(), ExecutorSeen::Running);
    assert!(bench.engine().memory_used(&handle).await.unwrap().is_some_and(|bytes| bytes > 0));
    within(bench.engine().wait(&handle)).await.unwrap();
    assert_eq!(bench.engine().look(&handle).await.unwrap(), ExecutorSeen::Exited);
    assert_eq!(bench.engine().memory_used(&handle).await.unwrap(), None);
}

/// The result comes no later than the end, and outputs come back as they were given.
pub async fn result_before_the_end(bench: Arc<Bench>) {
    let placed = bench.place(&json!({"sleep_ms": 100, "outputs": {"answer": "42", "sonderzeichen": "ä€😀"}})).await;
    let result = bench.result(&placed).await;
    assert_eq!(result["exitCode"], 0);
    assert_eq!(result["outputProperties"], json!({"answer": "42", "sonderzeichen": "ä€😀"}));
    assert_eq!(within(bench.engine().wait(&placed.handle)).await.unwrap(), ended(0));
}

/// Results from nothing to 8 MiB arrive whole.
pub async fn results_of_all_sizes(bench: Arc<Bench>) {
    for bytes in [0_usize, 1, 65_536, 8 * 1024 * 1024] {
        let placed = bench.place(&json!({"result_bytes": bytes})).await;
        let result = bench.result(&placed).await;
        let data = &result["outputProperties"]["data"];
        assert_eq!(data.as_str().unwrap_or_default().len(), bytes);
        bench.engine().remove(&placed.handle).await.unwrap();
    }
}

/// A result over the limit is told, and not kept.
pub async fn result_too_large(bench: Arc<Bench>) {
    let placed = bench.place(&json!({"result_bytes": 1_000_000})).await;
    let (taken, into) = bench.take(&placed, 100_000).await;
    let ResultTaken::TooLarge { bytes } = taken else { panic!("{taken:?}") };
    assert!(bytes > 100_000, "{bytes}");
    assert_eq!(std::fs::metadata(into).map_or(0, |about| about.len()), 0);
}

/// An executor that ends without a result is told from one that still may have one.
pub async fn no_result(bench: Arc<Bench>) {
    let placed = bench.place(&json!({"crash": "no_result", "sleep_ms": 100})).await;
    assert_eq!(bench.take(&placed, u64::MAX).await.0, ResultTaken::Missing);
}

/// A result that is cut off is not complete.
pub async fn truncated_result(bench: Arc<Bench>) {
    let placed = bench.place(&json!({"crash": "truncated_result", "result_bytes": 10_000})).await;
    let (taken, into) = bench.take(&placed, u64::MAX).await;
    assert_eq!(taken, ResultTaken::Incomplete);
    assert!(std::fs::metadata(into).unwrap().len() > 1_000, "the evidence is kept");
}

/// What is no result is not complete.
pub async fn garbage_result(bench: Arc<Bench>) {
    let placed = bench.place(&json!({"crash": "garbage_result"})).await;
    let (taken, into) = bench.take(&placed, u64::MAX).await;
    assert_eq!(taken, ResultTaken::Incomplete);
    assert!(std::fs::metadata(into).unwrap().len() > 0, "the evidence is kept");
}

/// Exit statuses are values.
pub async fn exit_statuses(bench: Arc<Bench>) {
    for status in [0, 1, 7, 255] {
        let placed = bench.place(&json!({"process_exit": status})).await;
        assert_eq!(within(bench.engine().wait(&placed.handle)).await.unwrap(), ended(status));
        assert_eq!(bench.result(&placed).await["exitCode"], 0);
    }
}

/// After the end, result, end and log can be had again, as a runner does after a restart.
pub async fn taken_again_after_the_end(bench: Arc<Bench>) {
    let inputs = json!({"log_lines": 10, "exit_code": 3, "outputs": {"a": "b"}});
    let placed = bench.place(&inputs).await;
    for _ in 0..2 {
        assert_eq!(within(bench.engine().wait(&placed.handle)).await.unwrap(), ended(0));
        assert_eq!(bench.result(&placed).await["exitCode"], 3);
        assert_eq!(bench.log(&placed.handle, LogOffsets::default()).await.stdout, bench.expected(&inputs).0);
    }
}

/// An image that does not exist is an image failure, and soon.
pub async fn unknown_image(bench: Arc<Bench>) {
    let begun = Instant::now();
    let image = "127.0.0.1:1/legwork/nowhere:missing";
    let fault = within(bench.engine().prepare(image, &|_| ())).await.unwrap_err();
    assert_eq!(fault.failure.class, FailureClass::Image, "{fault}");
    assert!(fault.failure.message.contains("nowhere"), "{fault}");
    assert!(begun.elapsed() < Duration::from_secs(15));
}

/// Many may wait for one executor at the same time.
pub async fn waits_and_results_together(bench: Arc<Bench>) {
    let placed = bench.place(&json!({"sleep_ms": 200})).await;
    let engine = bench.engine();
    let (one, two, result, log) = tokio::join!(
        within(engine.wait(&placed.handle)),
        within(engine.wait(&placed.handle)),
        bench.result(&placed),
        bench.log(&placed.handle, LogOffsets::default()),
    );
    assert_eq!((one.unwrap(), two.unwrap()), (ended(0), ended(0)));
    assert_eq!((&result["exitCode"], log.gaps.len()), (&json!(0), 0));
}

/// An ordinary end with this status.
pub fn ended(status: i32) -> Ended {
    Ended { exit: Some(Exit::Status(status)), evidence: None }
}
