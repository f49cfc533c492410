//! Signals, removal, and who has stopped an executor.

use std::sync::Arc;

use legwork_contract::abort::Signal;
use legwork_core::attempt::ExecutorSeen;
use legwork_core::verdict::{Evidence, Exit};
use serde_json::json;

use super::super::{Bench, Placed, within};
use crate::{Ended, LogOffsets, ResultTaken};

/// A plugin that runs and has already written a line, so that its signal handlers are there.
async fn at_work(bench: &Bench, inputs: serde_json::Value) -> Placed {
    let mut inputs = inputs;
    inputs["log_lines"] = json!(1);
    inputs["sleep_ms"] = json!(60_000);
    let placed = bench.place(&inputs).await;
    let mut items = bench.engine().logs(&placed.handle, LogOffsets::default()).await.unwrap();
    within(futures::StreamExt::next(&mut items)).await.unwrap().unwrap();
    placed
}

/// A plugin that is asked to end leaves a result, and nobody else is blamed for it.
pub async fn terminate(bench: Arc<Bench>) {
    let placed = at_work(&bench, json!({})).await;
    bench.engine().signal(&placed.handle, Signal::Terminate).await.unwrap();
    assert_ne!(bench.result(&placed).await["exitCode"], 0);
    let ended = within(bench.engine().wait(&placed.handle)).await.unwrap();
    assert_eq!(ended.evidence, None);
    bench.engine().signal(&placed.handle, Signal::Terminate).await.unwrap();
}

/// A plugin that ignores signals is ended by a kill.
pub async fn ignored_signals_then_kill(bench: Arc<Bench>) {
    let placed = at_work(&bench, json!({"ignore_signals": true})).await;
    bench.engine().signal(&placed.handle, Signal::Abort).await.unwrap();
    bench.engine().signal(&placed.handle, Signal::Terminate).await.unwrap();
    assert_eq!(bench.engine().look(&placed.handle).await.unwrap(), ExecutorSeen::Running);
    bench.engine().signal(&placed.handle, Signal::Kill).await.unwrap();
    let ended = within(bench.engine().wait(&placed.handle)).await.unwrap();
    assert_eq!(ended, Ended { exit: Some(Exit::Signal(9)), evidence: None });
    assert_eq!(bench.take(&placed, u64::MAX).await.0, ResultTaken::Missing);
}

/// Removing ends whatever runs; who waits for it is told, and nobody else is blamed.
pub async fn remove_while_it_runs(bench: Arc<Bench>) {
    let placed = at_work(&bench, json!({"ignore_signals": true})).await;
    let (ended, removed) =
        tokio::join!(within(bench.engine().wait(&placed.handle)), within(bench.engine().remove(&placed.handle)));
    removed.unwrap();
    assert_eq!(ended.unwrap().evidence, None);
    assert_eq!(bench.engine().look(&placed.handle).await.unwrap(), ExecutorSeen::Missing);
}

/// Somebody else has removed a running executor: that is evidence.
pub async fn removed_by_others(bench: Arc<Bench>) {
    let placed = at_work(&bench, json!({})).await;
    let engine = bench.engine();
    let others = (bench.fixture.remove_by_others)(placed.handle.clone());
    let (ended, taken, ()) = tokio::join!(within(engine.wait(&placed.handle)), bench.take(&placed, u64::MAX), others);
    let evidence = ended.unwrap().evidence;
    assert!(matches!(evidence, Some(Evidence::RemovedByOthers { .. })), "{evidence:?}");
    assert_eq!(taken.0, ResultTaken::Missing);
}

/// Somebody else has stopped it: evidence, although the plugin has left a result.
pub async fn stopped_by_others(bench: Arc<Bench>) {
    let placed = at_work(&bench, json!({})).await;
    let engine = bench.engine();
    let others = (bench.fixture.stop_by_others)(placed.handle.clone());
    let (ended, result, ()) = tokio::join!(within(engine.wait(&placed.handle)), bench.result(&placed), others);
    assert_ne!(result["exitCode"], 0);
    let evidence = ended.unwrap().evidence;
    assert!(matches!(evidence, Some(Evidence::RemovedByOthers { .. })), "{evidence:?}");
}

/// What is not there has been removed by others; its log is over.
pub async fn wait_for_one_that_is_not_there(bench: Arc<Bench>) {
    let (spec, _) = bench.spec(&json!({}));
    let handle = crate::Handle(spec.name);
    let ended = within(bench.engine().wait(&handle)).await.unwrap();
    assert!(matches!(ended.evidence, Some(Evidence::RemovedByOthers { .. })), "{ended:?}");
    let log = bench.log(&handle, LogOffsets::default()).await;
    assert_eq!((log.stdout, log.stderr), (Vec::new(), Vec::new()));
}
