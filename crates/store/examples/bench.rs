//! Prints task lives per second: made, offered, confirmed, finished, every step durable.
//! `cargo run --release -p legwork-store --example bench [URL]`
#![expect(clippy::print_stdout, clippy::disallowed_methods, reason = "a program that prints numbers, and joins what it spawns")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use legwork_core::event::{AttemptEvent, LogSummary, Phase, Report, ResultBytes};
use legwork_core::task::Outcome;
use legwork_core::{Capabilities, Clock, EventNumber, InstanceId, RunnerId, TaskId, TaskSpec};
use legwork_sealing::SealingKey;
use legwork_store::sessions::{Registered, Registration};
use legwork_store::tasks::NewTask;
use legwork_store::{Store, StoreConfig};
use tokio::sync::{Notify, Semaphore};

const SUBMITTERS: usize = 64;
const RUNNERS: usize = 4;
const AT_ONCE: u32 = 16;
const TIME: Duration = Duration::from_secs(5);

#[tokio::main]
async fn main() {
    let directory = tempfile::tempdir().expect("a directory can be made");
    let url = std::env::args().nth(1).unwrap_or_else(|| directory.path().join("bench.sqlite").display().to_string());
    let location = url.parse().expect("the URL can be read");
    let config = StoreConfig { location, sealing_key: SealingKey::from_bytes([1; 32]) };
    let (store, writer) = Store::open(config).await.expect("the store opens");
    let writer = tokio::spawn(writer.run());
    let clock = Clock::system();
    // Each submitter waits for its task's end, as a caller that waits for its result.
    let (open, finished) = (Arc::new(Semaphore::new(SUBMITTERS)), Arc::new(AtomicU64::new(0)));
    let made = Arc::new(Notify::new());
    let start = Instant::now();
    let mut loops = Vec::new();
    for _ in 0..SUBMITTERS {
        let (store, clock, open, made) = (store.clone(), clock.clone(), open.clone(), made.clone());
        loops.push(tokio::spawn(async move {
            while start.elapsed() < TIME {
                let Ok(permit) = open.acquire().await else { break };
                permit.forget();
                let task = NewTask {
                    id: TaskId::new(),
                    spec: TaskSpec::new("image", "bench.Task"),
                    input: b"{\"properties\":[]}".to_vec(),
                    created_by: "bench".to_owned(),
                    idempotency: None,
                };
                store.create_task(task, clock.now()).await.expect("it is stored");
                made.notify_one();
            }
        }));
    }
    for _ in 0..RUNNERS {
        let (store, clock, open, finished) = (store.clone(), clock.clone(), open.clone(), finished.clone());
        let made = made.clone();
        loops.push(tokio::spawn(async move { run(&store, &clock, start, &open, &finished, &made).await }));
    }
    for running in loops {
        running.await.expect("no loop panics");
    }
    let lives = finished.load(Ordering::Relaxed) as f64 / start.elapsed().as_secs_f64();
    println!("{SUBMITTERS} submitters, {RUNNERS} runners: {lives:>6.0} task lives/s");
    store.close().await;
    writer.await.expect("the writer does not panic");
}

async fn run(store: &Store, clock: &Clock, start: Instant, open: &Semaphore, finished: &AtomicU64, made: &Notify) {
    let instance = InstanceId::new();
    let mut credential = [0; 32];
    credential[..16].copy_from_slice(instance.0.as_bytes());
    let registration = Registration {
        id: RunnerId::new(),
        public_key: "ed25519:bench".to_owned(),
        token: None,
        instance,
        last_epoch: None,
        credential,
        title: "bench".to_owned(),
        capabilities: Capabilities::default(),
        capacity: 1000,
        eviction_time: Duration::ZERO,
        version: "0".to_owned(),
        protocol: 1,
        engine: "none".to_owned(),
        metadata: BTreeMap::new(),
    };
    let Registered::As(runner) = store.register_runner(registration, clock.now()).await.expect("it is stored") else { return };
    let (id, epoch) = (runner.id, runner.epoch);
    while start.elapsed() < TIME {
        let now = clock.now();
        let until = now.plus(Duration::from_secs(30));
        let groups = [Capabilities::default()];
        let offers = store.offer_tasks(id, epoch, &groups, AT_ONCE, now, until).await.expect("it is stored");
        if offers.is_empty() {
            // A task may have been made between the look and the wait; the time limit ends the wait then.
            let _ = tokio::time::timeout(Duration::from_millis(50), made.notified()).await;
            continue;
        }
        let attempts: Vec<_> = offers.iter().map(|offer| offer.attempt).collect();
        let confirmed = store.confirm(&attempts, id, epoch, clock.now()).await.expect("it is stored");
        assert!(confirmed.iter().all(|(_, answer)| answer.is_ok()));
        let events = attempts
            .iter()
            .flat_map(|attempt| {
                let report = Report {
                    outcome: Outcome::Completed,
                    message: String::new(),
                    exit: None,
                    result_exit_code: Some(0),
                    result: ResultBytes::Inline { json: "{}".to_owned() },
                    evidence: None,
                    timings: Vec::new(),
                };
                let events = [
                    AttemptEvent::Phase { phase: Phase::Running, detail: String::new() },
                    AttemptEvent::Finished(report),
                    AttemptEvent::LogComplete(LogSummary::default()),
                ];
                (1..).zip(events).map(|(number, event)| (*attempt, EventNumber(number), event)).collect::<Vec<_>>()
            })
            .collect();
        let answers = store.apply_events(id, epoch, events, clock.now()).await.expect("it is stored");
        assert!(answers.iter().all(|answer| answer.refused.is_none()));
        finished.fetch_add(answers.len() as u64, Ordering::Relaxed);
        open.add_permits(answers.len());
    }
    // Submitters that wait for ends that nobody will report go home.
    open.close();
}
