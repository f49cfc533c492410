//! Parked executors. An engine that cannot park says so, and refuses.

use std::sync::Arc;

use futures::FutureExt;
use legwork_core::attempt::ExecutorSeen;
use serde_json::{Value, json};

use super::super::{Bench, Placed, encrypted, within};
use super::ended;
use crate::{HandOverFault, Pooling};

/// A parked executor; none if the engine cannot.
async fn parked(bench: &Bench) -> Option<Placed> {
    if bench.engine().can_park() {
        return Some(bench.place_with(&json!({}), park).await);
    }
    let (mut spec, _) = bench.spec(&json!({}));
    park(&mut spec);
    assert!(bench.engine().create(&spec).await.is_err(), "an engine that cannot park refuses to");
    None
}

fn park(spec: &mut crate::ExecutorSpec) {
    spec.name = format!("legwork-parked-{}", legwork_core::TaskId::new());
    spec.attempt = None;
    spec.pooling = Pooling::Parked;
}

/// Parked, given its input, and used like any other.
pub async fn parked_then_used(bench: Arc<Bench>) {
    for inputs in [json!({"outputs": {"a": "b"}}), json!({"outputs": {"a": "x".repeat(1_000_000)}})] {
        let Some(placed) = parked(&bench).await else { return };
        assert_eq!(bench.engine().look(&placed.handle).await.unwrap(), ExecutorSeen::Running);
        let input = encrypted(&inputs, &placed.key);
        let handed = bench.engine().hand_over(&placed.handle, input.as_bytes(), Box::new(|| async { Ok(()) }.boxed()));
        within(handed).await.unwrap();
        let result: Value = bench.result(&placed).await;
        assert_eq!(result["outputProperties"], inputs["outputs"]);
        assert_eq!(within(bench.engine().wait(&placed.handle)).await.unwrap(), ended(0));
        bench.engine().remove(&placed.handle).await.unwrap();
    }
}

/// If the hand-over is not committed, the task is not run.
pub async fn parked_and_not_committed(bench: Arc<Bench>) {
    let Some(placed) = parked(&bench).await else { return };
    let input = encrypted(&json!({"outputs": {"ran": "yes"}}), &placed.key);
    let refused = Box::new(|| async { Err("the journal is full".to_owned()) }.boxed());
    let fault = within(bench.engine().hand_over(&placed.handle, input.as_bytes(), refused)).await.unwrap_err();
    assert!(matches!(fault, HandOverFault::BeforeCommit(_)), "{fault}");
    within(bench.engine().wait(&placed.handle)).await.unwrap();
    let result = bench.result(&placed).await;
    assert_ne!(result["exitCode"], 0);
    assert!(result["outputProperties"].get("ran").is_none(), "{result}");
}

/// An idle parked executor is removed like any other.
pub async fn parked_and_evicted(bench: Arc<Bench>) {
    let Some(placed) = parked(&bench).await else { return };
    within(bench.engine().remove(&placed.handle)).await.unwrap();
    assert_eq!(bench.engine().look(&placed.handle).await.unwrap(), ExecutorSeen::Missing);
    let late = bench.engine().hand_over(&placed.handle, b"late", Box::new(|| async { Ok(()) }.boxed()));
    assert!(matches!(within(late).await, Err(HandOverFault::BeforeCommit(_))));
}
