//! The protocol in simulated time: what real time makes rare, thousands of times a minute, each from one number.
//!
//! The server's decisions are the real ones: the real store on SQLite, asked with a clock of our own. The runner's are the
//! real ones too where they are pure (`recover`, `may_become`); around them stands a small model of the runner, whose every
//! journal write is an event of its own, so that a crash falls between any two. The network loses, delays (up to a day),
//! repeats and reorders requests and answers. Both clocks jump.
//!
//! When the faults are over everything must come to its end. Then the oracle looks: every task has finished, with the result
//! of the attempt that was accepted; no attempt was executed twice; nothing is left at any runner.
//!
//! `SEEDS=5000 cargo test -p legwork-e2e --test simulation` runs more, `SEED=17` one of them.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod course;
mod dice;
mod oracle;
mod runner;
mod server;
mod tally;
mod world;

use std::time::Instant;

use legwork_sealing::SealingKey;
use legwork_store::{Location, Store, StoreConfig};

/// How many are run if nobody says otherwise.
const SEEDS: u64 = 400;
/// Seeds that share a database: a long queue of old tasks costs, and a fresh database too.
const TOGETHER: u64 = 25;

fn number(variable: &str) -> Option<u64> {
    std::env::vars().find(|(name, _)| name == variable).map(|(_, text)| text.parse().expect("a seed is a number"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_ends_once() {
    let seeds: Vec<u64> = match number("SEED") {
        Some(seed) => vec![seed],
        None => (0..number("SEEDS").unwrap_or(SEEDS)).collect(),
    };
    let start = Instant::now();
    let mut tally = tally::Tally::default();
    for seeds in seeds.chunks(usize::try_from(TOGETHER).unwrap()) {
        let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        let location = Location::file(folder.path().join("server.sqlite"));
        let config = StoreConfig { location, sealing_key: SealingKey::from_bytes([7; 32]) };
        let (store, writer) = Store::open(config).await.unwrap();
        let mut running = tokio::task::JoinSet::new();
        running.spawn(writer.run());
        for &seed in seeds {
            match world::run(&store, seed).await {
                Ok(of_seed) => tally.add(&of_seed),
                Err(problem) => panic!("seed {seed}: {problem}\nSEED={seed} cargo test -p legwork-e2e --test simulation runs it"),
            }
        }
        store.close().await;
        running.join_all().await;
    }
    let minutes = start.elapsed().as_secs_f64() / 60.0;
    let (count, rate) = (seeds.len(), seeds.len() as f64 / minutes);
    tally.print(&format!("{count} seeds, {rate:.0} a minute"));
    // A fault that never happens shows nothing. A few seeds cannot have them all.
    if seeds.len() as u64 >= SEEDS {
        assert_eq!(tally.missing(), Vec::<&str>::new(), "these never happened");
    }
}
