//! A store of its own for each test, and short words for what tests do often.

use std::collections::BTreeMap;
use std::time::Duration;

use legwork_core::event::{AttemptEvent, Report, ResultBytes};
use legwork_core::task::Outcome;
use legwork_core::{
    AttemptId, AttemptNumber, Capabilities, Epoch, EventNumber, InstanceId, RunnerId, TaskId, TaskSpec, Timestamp,
};
use legwork_database::testing::fresh_postgres;
use legwork_database::{Database, Migration, Options, migration};
use legwork_sealing::SealingKey;
use legwork_store::events::EventsAnswer;
use legwork_store::queue::Offer;
use legwork_store::sessions::{Registered, Registration};
use legwork_store::tasks::{Creation, NewTask};
use legwork_store::{Location, Store, StoreConfig, Task};
use tokio::task::JoinHandle;

/// The store's schema, for tests that go around the store.
const SCHEMA: &[Migration] = &[migration!("../../migrations", 1, "0001_server")];

/// Runs each of these functions once per database.
macro_rules! on_both {
    ($($name:ident),+ $(,)?) => {
        mod sqlite {
            $(#[tokio::test] async fn $name() { super::$name($crate::support::Bed::sqlite().await).await; })+
        }
        mod postgres {
            $(#[tokio::test] async fn $name() { super::$name($crate::support::Bed::postgres().await).await; })+
        }
    };
}

/// A store and where it is.
pub(crate) struct Bed {
    pub(crate) store: Store,
    pub(crate) location: Location,
    writer: JoinHandle<()>,
    directory: tempfile::TempDir,
}

/// So many milliseconds after the day that all tests begin with.
pub(crate) fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(1_800_000_000_000 + millis)
}

pub(crate) fn capabilities(text: &str) -> Capabilities {
    Capabilities::parse_list(text).unwrap()
}

#[expect(clippy::disallowed_methods, reason = "it ends with the test's runtime")]
pub(crate) async fn open(location: &Location) -> (Store, JoinHandle<()>) {
    let sealing_key = SealingKey::from_bytes([5; 32]);
    let (store, writer) = Store::open(StoreConfig { location: location.clone(), sealing_key }).await.unwrap();
    (store, tokio::spawn(writer.run()))
}

impl Bed {
    pub(crate) async fn sqlite() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let location = Location::file(directory.path().join("server.sqlite"));
        let (store, writer) = open(&location).await;
        Self { store, location, writer, directory }
    }

    pub(crate) async fn postgres() -> Self {
        Self::at_url(&fresh_postgres().await).await
    }

    pub(crate) async fn at_url(url: &str) -> Self {
        let location: Location = url.parse().unwrap();
        let (store, writer) = open(&location).await;
        Self { store, location, writer, directory: tempfile::tempdir().unwrap() }
    }

    /// The database below the store, to do what the store would not.
    #[expect(clippy::disallowed_methods, reason = "it ends with the test's runtime")]
    pub(crate) async fn raw(&self) -> Database {
        let options = Options { location: self.location.clone(), migrations: SCHEMA, readers: 1 };
        let (database, writer) = Database::open(&options).await.unwrap();
        tokio::spawn(writer.run());
        database
    }

    /// Ends the store; when nobody has read, SQLite puts everything into its main file then.
    pub(crate) async fn end(self) -> (Location, tempfile::TempDir) {
        self.store.close().await;
        self.writer.await.unwrap();
        (self.location, self.directory)
    }

    /// A registered runner.
    pub(crate) async fn runner(&self, offers: &str) -> (RunnerId, Epoch) {
        let registration = registration(RunnerId::new(), offers);
        match self.store.register_runner(registration, at(0)).await.unwrap() {
            Registered::As(runner) => (runner.id, runner.epoch),
            Registered::OtherKey => panic!("a new runner has no other key"),
        }
    }

    /// A queued task.
    pub(crate) async fn queued(&self, change: impl FnOnce(&mut TaskSpec)) -> TaskId {
        let mut spec = TaskSpec::new("image", "test.Task");
        change(&mut spec);
        let task = new_task(spec, b"{}");
        let id = task.id;
        assert_eq!(self.store.create_task(task, at(0)).await.unwrap(), Creation::Created);
        id
    }

    /// Offers to a runner what fits, until one second after the start.
    pub(crate) async fn offer(&self, (runner, epoch): (RunnerId, Epoch), groups: &[&str], limit: u32) -> Vec<Offer> {
        let groups: Vec<Capabilities> = groups.iter().map(|group| capabilities(group)).collect();
        self.store.offer_tasks(runner, epoch, &groups, limit, at(1), at(1000)).await.unwrap()
    }

    /// A task that runs at this runner.
    pub(crate) async fn running(&self, runner: (RunnerId, Epoch), change: impl FnOnce(&mut TaskSpec)) -> AttemptId {
        let task = self.queued(change).await;
        let offers = self.offer(runner, &[""], 1).await;
        assert_eq!(offers.len(), 1);
        assert_eq!(offers[0].attempt.task, task);
        self.confirm(runner, offers[0].attempt).await;
        offers[0].attempt
    }

    pub(crate) async fn confirm(&self, (runner, epoch): (RunnerId, Epoch), attempt: AttemptId) {
        let answers = self.store.confirm(&[attempt], runner, epoch, at(2)).await.unwrap();
        assert_eq!(answers, [(attempt, Ok(()))]);
    }

    /// Sends events numbered from `first`.
    pub(crate) async fn send(
        &self,
        (runner, epoch): (RunnerId, Epoch),
        attempt: AttemptId,
        first: u64,
        events: Vec<AttemptEvent>,
    ) -> EventsAnswer {
        let numbered = (first..).zip(events).map(|(number, event)| (attempt, EventNumber(number), event)).collect();
        let mut answers = self.store.apply_events(runner, epoch, numbered, at(50)).await.unwrap();
        assert_eq!(answers.len(), 1);
        answers.remove(0)
    }

    pub(crate) async fn task(&self, id: TaskId) -> Task {
        self.store.task(id).await.unwrap().unwrap()
    }
}

pub(crate) fn new_task(spec: TaskSpec, input: &[u8]) -> NewTask {
    NewTask { id: TaskId::new(), spec, input: input.to_vec(), created_by: "anna".to_owned(), idempotency: None }
}

pub(crate) fn registration(id: RunnerId, offers: &str) -> Registration {
    let instance = InstanceId::new();
    let mut credential = [0; 32];
    credential[..16].copy_from_slice(instance.0.as_bytes());
    Registration {
        id,
        public_key: "ed25519:key".to_owned(),
        token: None,
        instance,
        last_epoch: None,
        credential,
        title: "runner".to_owned(),
        capabilities: capabilities(offers),
        capacity: 8,
        eviction_time: Duration::from_secs(60),
        version: "0.1.0".to_owned(),
        protocol: 1,
        engine: "docker".to_owned(),
        metadata: BTreeMap::from([("zone".to_owned(), "a".to_owned())]),
    }
}

/// A report with this outcome and a small result.
pub(crate) fn report(outcome: Outcome) -> Report {
    Report {
        outcome,
        message: if outcome == Outcome::Completed { String::new() } else { "it went wrong".to_owned() },
        exit: None,
        result_exit_code: Some(0),
        result: ResultBytes::Inline { json: "{\"a\":1}".to_owned() },
        evidence: None,
        timings: vec![("image".to_owned(), 3), ("run".to_owned(), 40)],
    }
}

pub(crate) fn finished(outcome: Outcome) -> AttemptEvent {
    AttemptEvent::Finished(report(outcome))
}

pub(crate) fn attempt(task: TaskId, number: u32) -> AttemptId {
    AttemptId { task, attempt: AttemptNumber(number) }
}
