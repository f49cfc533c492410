//! Does one write after another on SQLite and prints a line after each, for `tests/durability.rs` to watch.
//! `cargo run -p legwork-store --example durable FILE`
#![expect(clippy::print_stdout, clippy::disallowed_methods, reason = "its output is what the test looks for")]

use std::collections::BTreeMap;
use std::time::Duration;

use legwork_core::event::{AttemptEvent, LogContent, LogPiece, LogStream, Report, ResultBytes};
use legwork_core::task::Outcome;
use legwork_core::{Capabilities, EventNumber, InstanceId, RunnerId, TaskId, TaskSpec, Timestamp};
use legwork_sealing::SealingKey;
use legwork_store::sessions::{Registered, Registration};
use legwork_store::tasks::NewTask;
use legwork_store::{Location, Store, StoreConfig};

#[tokio::main]
async fn main() {
    let path = std::env::args().nth(1).expect("the file's path is given");
    let config = StoreConfig { location: Location::file(path), sealing_key: SealingKey::from_bytes([1; 32]) };
    let (store, writer) = Store::open(config).await.expect("the store opens");
    let writer = tokio::spawn(writer.run());
    let now = Timestamp::from_millis(1_800_000_000_000);
    println!("answered open");
    let registration = Registration {
        id: RunnerId::new(),
        public_key: "ed25519:key".to_owned(),
        token: None,
        instance: InstanceId::new(),
        last_epoch: None,
        credential: [2; 32],
        title: "runner".to_owned(),
        capabilities: Capabilities::default(),
        capacity: 1,
        eviction_time: Duration::ZERO,
        version: "0".to_owned(),
        protocol: 1,
        engine: "none".to_owned(),
        metadata: BTreeMap::new(),
    };
    let Registered::As(runner) = store.register_runner(registration, now).await.expect("it is stored") else { return };
    let (id, epoch) = (runner.id, runner.epoch);
    println!("answered register_runner");
    let task = NewTask {
        id: TaskId::new(),
        spec: TaskSpec::new("image", "test.Task"),
        input: b"{}".to_vec(),
        created_by: "anna".to_owned(),
        idempotency: None,
    };
    store.create_task(task, now).await.expect("it is stored");
    println!("answered create_task");
    let until = now.plus(Duration::from_secs(30));
    let offers = store.offer_tasks(id, epoch, &[Capabilities::default()], 1, now, until).await.expect("it is stored");
    println!("answered offer_tasks");
    let attempt = offers[0].attempt;
    store.confirm(&[attempt], id, epoch, now).await.expect("it is stored");
    println!("answered confirm");
    let piece = LogPiece { stream: LogStream::Stdout, offset: 0, content: LogContent::Bytes(b"hello".to_vec()) };
    store.append_log(attempt, id, vec![piece]).await.expect("it is stored");
    println!("answered append_log");
    let report = Report {
        outcome: Outcome::Completed,
        message: String::new(),
        exit: None,
        result_exit_code: Some(0),
        result: ResultBytes::Inline { json: "{}".to_owned() },
        evidence: None,
        timings: Vec::new(),
    };
    let events = vec![(attempt, EventNumber(1), AttemptEvent::Finished(report))];
    store.apply_events(id, epoch, events, now).await.expect("it is stored");
    println!("answered apply_events");
    store.close().await;
    writer.await.expect("the writer does not panic");
}
