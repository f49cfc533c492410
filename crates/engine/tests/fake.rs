//! The engine contract, kept by the fake engine.

use std::sync::Arc;

use futures::FutureExt;
use legwork_engine::conformance::Fixture;
use legwork_engine::fake::{FakeEngine, Script};

fn fixture() -> Fixture {
    let engine = FakeEngine::new();
    let (remover, stopper) = (engine.clone(), engine.clone());
    Fixture {
        engine: Arc::new(engine),
        image: "fake:dev".to_owned(),
        expected_log: Script::expected_log,
        remove_by_others: Box::new(move |handle| {
            let engine = remover.clone();
            async move { engine.remove_by_others(&handle) }.boxed()
        }),
        stop_by_others: Box::new(move |handle| {
            let engine = stopper.clone();
            async move { engine.stop_by_others(&handle) }.boxed()
        }),
    }
}

legwork_engine::conformance!(fixture());
