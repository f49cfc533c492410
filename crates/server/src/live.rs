//! What the server knows of its runners by hearing from them: when last, and which of them wait for work.
//!
//! All of it is memory, and after a restart it fills up again. What counts is in the store.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use legwork_core::matching::RunnerView;
use legwork_core::{Epoch, RunnerId, Timestamp};
use legwork_protocol::channel::Offer;
use tokio::sync::{Notify, oneshot, watch};

const REDELIVERY: Duration = Duration::from_secs(5);

/// The runners that this process has heard of.
#[derive(Debug)]
pub(crate) struct Live {
    started: Timestamp,
    runners: Mutex<HashMap<RunnerId, Entry>>,
    work: Notify,
}

#[derive(Debug, Default)]
struct Entry {
    last_seen: Option<Timestamp>,
    outdated: bool,
    /// It has said goodbye and not come back.
    left: bool,
    clock_skew_millis: i64,
    /// When offers were last given to it once more.
    redelivered: Option<Instant>,
    news: watch::Sender<()>,
    waiter: Option<Waiter>,
    /// The number of the runner's last poll.
    last_poll: u64,
}

/// A poll that waits for work.
#[derive(Debug)]
pub(crate) struct Waiter {
    poll: u64,
    /// The runner as the store and its poll describe it; slots in use are not filled in.
    pub(crate) view: RunnerView,
    /// The epoch of its poll.
    pub(crate) epoch: Epoch,
    /// Executors it could start now.
    pub(crate) free_slots: u32,
    /// Where its offers go.
    pub(crate) offers: oneshot::Sender<Vec<Offer>>,
}

impl Live {
    pub(crate) fn new(started: Timestamp) -> Self {
        Self { started, runners: Mutex::default(), work: Notify::new() }
    }

    /// Notes that a runner was heard of.
    pub(crate) fn seen(&self, runner: RunnerId, now: Timestamp) {
        let mut runners = self.runners();
        let entry = runners.entry(runner).or_default();
        entry.last_seen = Some(now);
        entry.outdated = false;
        entry.left = false;
    }

    /// Notes that a runner speaks a version of the channel that the server does not.
    pub(crate) fn outdated(&self, runner: RunnerId, now: Timestamp) {
        self.seen(runner, now);
        self.runners().entry(runner).or_default().outdated = true;
    }

    /// True if this process has heard a runner speak another version of the channel.
    pub(crate) fn is_outdated(&self, runner: RunnerId) -> bool {
        self.runners().get(&runner).is_some_and(|entry| entry.outdated)
    }

    /// When this process has last heard of a runner.
    pub(crate) fn last_seen(&self, runner: RunnerId) -> Option<Timestamp> {
        self.runners().get(&runner).and_then(|entry| entry.last_seen)
    }

    /// Since when a runner has been silent while this process was there to listen.
    pub(crate) fn silent_since(&self, runner: RunnerId) -> Timestamp {
        self.last_seen(runner).unwrap_or(self.started)
    }

    /// Notes that a runner has registered, and how far its clock is off.
    pub(crate) fn registered(&self, runner: RunnerId, now: Timestamp, clock_skew_millis: i64) {
        self.seen(runner, now);
        self.runners().entry(runner).or_default().clock_skew_millis = clock_skew_millis;
    }

    /// A runner's clock minus ours, as it was when it last registered with this process.
    pub(crate) fn clock_skew_millis(&self, runner: RunnerId) -> i64 {
        self.runners().get(&runner).map_or(0, |entry| entry.clock_skew_millis)
    }

    /// True if offers may be given to a runner once more now. A runner that cannot take an offer does not get it
    /// again and again, as fast as it can ask.
    pub(crate) fn may_redeliver(&self, runner: RunnerId) -> bool {
        let mut runners = self.runners();
        let entry = runners.entry(runner).or_default();
        let may = entry.redelivered.is_none_or(|at| at.elapsed() >= REDELIVERY);
        if may {
            entry.redelivered = Some(Instant::now());
        }
        may
    }

    /// Notes that a runner has said goodbye.
    pub(crate) fn left(&self, runner: RunnerId) {
        self.wake(runner);
        self.runners().entry(runner).or_default().left = true;
    }

    /// True if the last thing that was heard of a runner was its goodbye.
    pub(crate) fn has_left(&self, runner: RunnerId) -> bool {
        self.runners().get(&runner).is_some_and(|entry| entry.left)
    }

    /// Runners that have a poll under way.
    pub(crate) fn waiting(&self) -> usize {
        self.runners().values().filter(|entry| entry.waiter.is_some()).count()
    }

    /// What wakes when there is an abort, another epoch, or changed settings for a runner.
    pub(crate) fn news(&self, runner: RunnerId) -> watch::Receiver<()> {
        self.runners().entry(runner).or_default().news.subscribe()
    }

    /// Wakes the poll of a runner. It is given no work before it has looked.
    pub(crate) fn wake(&self, runner: RunnerId) {
        if let Some(entry) = self.runners().get_mut(&runner) {
            entry.waiter = None;
            entry.news.send_replace(());
        }
    }

    /// Forgets a runner that was deleted.
    pub(crate) fn forget(&self, runner: RunnerId) {
        self.wake(runner);
        self.runners().remove(&runner);
    }

    /// Begins a poll. An older poll of the same runner gets no work any more.
    pub(crate) fn begin_poll(&self, runner: RunnerId) -> u64 {
        let mut runners = self.runners();
        let entry = runners.entry(runner).or_default();
        entry.waiter = None;
        entry.last_poll += 1;
        entry.news.send_replace(());
        entry.last_poll
    }

    /// True if no newer poll of the runner has begun.
    pub(crate) fn is_latest_poll(&self, runner: RunnerId, poll: u64) -> bool {
        self.runners().get(&runner).is_some_and(|entry| entry.last_poll == poll)
    }

    /// Lets a poll wait for work, unless a newer one has begun.
    pub(crate) fn park(&self, poll: u64, view: RunnerView, epoch: Epoch, free_slots: u32) -> Option<Parked<'_>> {
        let (offers, receiver) = oneshot::channel();
        let runner = view.id;
        let mut runners = self.runners();
        let entry = runners.get_mut(&runner).filter(|entry| entry.last_poll == poll)?;
        entry.waiter = Some(Waiter { poll, view, epoch, free_slots, offers });
        drop(runners);
        self.nudge();
        Some(Parked { live: self, runner, poll, offers: Some(receiver) })
    }

    /// Looks at the polls that wait.
    pub(crate) fn with_waiting<T>(&self, look: impl FnOnce(&mut dyn Iterator<Item = &Waiter>) -> T) -> T {
        let runners = self.runners();
        look(&mut runners.values().filter_map(|entry| entry.waiter.as_ref()))
    }

    /// Takes the poll of a runner away, to answer it.
    pub(crate) fn take(&self, runner: RunnerId) -> Option<Waiter> {
        self.runners().get_mut(&runner).and_then(|entry| entry.waiter.take())
    }

    /// Lets a poll that was taken wait on, if no newer one came meanwhile.
    pub(crate) fn put_back(&self, waiter: Waiter) {
        if let Some(entry) = self.runners().get_mut(&waiter.view.id)
            && entry.waiter.is_none()
            && entry.last_poll == waiter.poll
        {
            entry.waiter = Some(waiter);
        }
    }

    /// Says that there may be work to hand out.
    pub(crate) fn nudge(&self) {
        self.work.notify_one();
    }

    /// Waits until somebody has said so since the last time.
    pub(crate) async fn nudged(&self) {
        self.work.notified().await;
    }

    fn runners(&self) -> MutexGuard<'_, HashMap<RunnerId, Entry>> {
        self.runners.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A poll that waits for work. Dropping it ends the waiting.
#[derive(Debug)]
pub(crate) struct Parked<'a> {
    live: &'a Live,
    runner: RunnerId,
    poll: u64,
    /// Nothing once it has given what it can.
    offers: Option<oneshot::Receiver<Vec<Offer>>>,
}

impl Parked<'_> {
    /// The offers, once there are any. `None` if this poll gets none any more.
    pub(crate) async fn offers(&mut self) -> Option<Vec<Offer>> {
        let offers = self.offers.as_mut()?.await.ok();
        self.offers = None;
        offers
    }

    /// Ends the waiting. Offers that are being made at this moment are waited for, so that none gets lost.
    pub(crate) async fn leave(mut self) -> Vec<Offer> {
        self.unpark();
        self.offers().await.unwrap_or_default()
    }

    fn unpark(&self) {
        if let Some(entry) = self.live.runners().get_mut(&self.runner)
            && entry.waiter.as_ref().is_some_and(|waiter| waiter.poll == self.poll)
        {
            entry.waiter = None;
        }
    }
}

impl Drop for Parked<'_> {
    fn drop(&mut self) {
        self.unpark();
    }
}
