//! Who ended an executor: we, it itself, somebody else, or the daemon.
//!
//! Docker's answers about a container do not say who stopped it; its events do. One stream of events is kept open for the
//! whole engine. What we do ourselves is noted in the container's [`Record`] before it is done, so whatever signal
//! is left over in the events was somebody else's.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bollard::Docker;
use bollard::models::EventMessage;
use bollard::query_parameters::EventsOptionsBuilder;
use futures::StreamExt;
use futures::future::{BoxFuture, Shared};
use legwork_engine::{Ended, Fault};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::blueprint::OWNER_LABEL;
use crate::logs::live::Live;

/// Between two tries to get the events again.
const AGAIN: Duration = Duration::from_millis(200);
/// How long the news of an end may be behind the end.
const NEWS: Duration = Duration::from_secs(1);
/// How far back the daemon is asked for events that it still knows, in seconds. It keeps a few hundred.
const BACKWARDS: u64 = 3600;

/// The future that [`Record::end`] shares between all who wait for it.
pub(crate) type End = Shared<BoxFuture<'static, Result<Ended, Fault>>>;

/// What is known of one container besides what Docker tells when asked.
pub(crate) struct Record {
    /// Signals that we have sent and not yet seen in the events.
    ours: Mutex<Vec<i32>>,
    /// We have begun to remove it.
    pub(crate) removed: AtomicBool,
    /// It was created and not started: its log can be had from the first byte.
    pub(crate) fresh: AtomicBool,
    /// Its log from the first byte, until somebody reads it.
    pub(crate) live: Mutex<Option<Live>>,
    /// Somebody reads that.
    pub(crate) wanted: watch::Sender<bool>,
    /// The connection of the events when this record was made.
    connection: u64,
    pub(crate) end: Mutex<Option<End>>,
    news: watch::Sender<News>,
}

#[derive(Clone, Debug, Default)]
struct News {
    /// What somebody else did, in words.
    others: Option<String>,
    died: bool,
}

impl Record {
    /// Notes that we are about to send a signal.
    pub(crate) fn expect(&self, signal: i32) {
        lock(&self.ours).push(signal);
    }

    /// Notes that we have not sent it after all.
    pub(crate) fn unexpect(&self, signal: i32) {
        self.take_ours(signal);
    }

    fn take_ours(&self, signal: i32) -> bool {
        let mut ours = lock(&self.ours);
        let found = ours.iter().position(|ours| *ours == signal);
        found.map(|at| ours.swap_remove(at)).is_some()
    }

    fn others(&self, words: String) {
        self.news.send_modify(|news| {
            news.others.get_or_insert(words);
        });
    }
}

/// What the events say about an end.
pub(crate) enum Said {
    /// Nothing special: it ended by itself, or because we wanted it.
    Nothing,
    /// Somebody else wanted it, in words.
    Others(String),
    /// It ended while the daemon could not tell us.
    Unseen,
}

/// The events, and the records that they are written to.
pub(crate) struct Watch {
    known: Arc<Known>,
    /// The one task that follows the events; it ends with the engine.
    following: Mutex<JoinSet<()>>,
}

#[derive(Default)]
struct Known {
    records: Mutex<HashMap<String, Arc<Record>>>,
    /// How many streams of events there were. Odd while one is open.
    connection: AtomicU64,
}

impl Watch {
    pub(crate) fn new() -> Self {
        Self { known: Arc::default(), following: Mutex::new(JoinSet::new()) }
    }

    /// Begins to follow the events, if that was not done before.
    pub(crate) fn follow(&self, docker: &Docker) {
        let mut following = lock(&self.following);
        if following.is_empty() {
            following.spawn(follow(docker.clone(), self.known.clone()));
        }
    }

    /// The record of a container; a new one if there is none.
    pub(crate) fn record(&self, name: &str) -> Arc<Record> {
        self.known.record(name)
    }

    /// Forgets a container that is gone.
    pub(crate) fn forget(&self, name: &str) {
        lock(&self.known.records).remove(name);
    }

    /// What the events say about the end of a container that has ended.
    pub(crate) async fn said(&self, record: &Record) -> Said {
        let mut news = record.news.subscribe();
        let seen = async { news.wait_for(|news| news.died).await.is_ok_and(|news| news.died) };
        // Only events that are on their way are waited for.
        let patience = if self.known.is_open() && record.connection == self.known.number() { NEWS } else { Duration::ZERO };
        let died = tokio::time::timeout(patience, seen).await.unwrap_or(false);
        let others = record.news.borrow().others.clone();
        match others {
            _ if !died && record.connection != self.known.number() && record.connection > 0 => Said::Unseen,
            Some(words) => Said::Others(words),
            None => Said::Nothing,
        }
    }
}

impl Known {
    fn record(&self, name: &str) -> Arc<Record> {
        let connection = self.number();
        let mut records = lock(&self.records);
        let made = || {
            Arc::new(Record {
                ours: Mutex::default(),
                removed: AtomicBool::new(false),
                fresh: AtomicBool::new(false),
                live: Mutex::default(),
                wanted: watch::Sender::new(false),
                connection,
                end: Mutex::default(),
                news: watch::Sender::default(),
            })
        };
        records.entry(name.to_owned()).or_insert_with(made).clone()
    }

    fn number(&self) -> u64 {
        self.connection.load(Ordering::Acquire).div_ceil(2)
    }

    fn is_open(&self) -> bool {
        self.connection.load(Ordering::Acquire) % 2 == 1
    }

    fn apply(&self, event: &EventMessage) {
        let (Some(action), Some(actor)) = (event.action.as_deref(), &event.actor) else { return };
        let attribute = |name: &str| actor.attributes.as_ref().and_then(|attributes| attributes.get(name));
        let Some(name) = attribute("name") else { return };
        match action {
            "kill" => {
                let signal = attribute("signal").and_then(|signal| signal.parse().ok()).unwrap_or(0);
                let record = self.record(name);
                if !record.take_ours(signal) && asks_to_end(signal) {
                    record.others(format!("signal {signal} was sent to it, as `docker stop` or `docker kill` do"));
                }
            }
            "die" => self.record(name).news.send_modify(|news| news.died = true),
            "destroy" => {
                let record = self.record(name);
                if !record.removed.load(Ordering::Acquire) {
                    record.others("it was removed, as `docker rm` does".to_owned());
                }
                // Those who still wait hold the record themselves.
                lock(&self.records).remove(name);
            }
            _ => {}
        }
    }
}

/// True for the signals by which somebody may want a program to end: HUP, INT, QUIT, ABRT, KILL and TERM.
fn asks_to_end(signal: i32) -> bool {
    matches!(signal, 1 | 2 | 3 | 6 | 9 | 15)
}

async fn follow(docker: Docker, known: Arc<Known>) {
    let mut last: i64 = 0;
    loop {
        let since = match last {
            0 => legwork_core::Clock::system().now().as_millis() / 1000 - BACKWARDS as i64,
            nanos => nanos / 1_000_000_000,
        };
        let filters =
            HashMap::from([("type", vec!["container"]), ("label", vec![OWNER_LABEL]), ("event", vec!["kill", "die", "destroy"])]);
        let options = EventsOptionsBuilder::default().since(&since.to_string()).filters(&filters).build();
        let mut events = docker.events(Some(options)).boxed();
        known.connection.fetch_add(1, Ordering::AcqRel);
        while let Some(Ok(event)) = events.next().await {
            let at = event.time_nano.unwrap_or(0);
            if at > last {
                last = at;
                known.apply(&event);
            }
        }
        known.connection.fetch_add(1, Ordering::AcqRel);
        tracing::debug!("the events of the Docker daemon have ended, asking for them again");
        tokio::time::sleep(AGAIN).await;
    }
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    // What these locks guard is changed in single steps, so it is whole even if a holder panicked.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
