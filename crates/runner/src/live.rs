//! The attempts that this process has to do with, from the offer until the server has everything and the executor is gone.
//!
//! Memory only: the journal is what counts. An attempt has two ends here, its course (what happens to the executor) and
//! its delivery (what goes to the server); whoever is last forgets it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use legwork_core::AttemptId;
use legwork_core::verdict::StopCause;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::context::Context;
use crate::journal::Change;
use crate::log::{Progress, ProgressSender};

/// The table of attempts.
pub(crate) struct Live {
    entries: Mutex<HashMap<AttemptId, Entry>>,
    /// How many may have an executor.
    capacity: watch::Sender<u32>,
    /// How many take a slot.
    busy: watch::Sender<u32>,
}

#[expect(clippy::struct_excessive_bools, reason = "five independent facts, not one state: any of them may come first")]
#[derive(Debug)]
struct Entry {
    stop: watch::Sender<Option<StopCause>>,
    progress: Arc<ProgressSender>,
    delivery: CancellationToken,
    /// It has, will have or may have an executor.
    busy: bool,
    /// The server has confirmed it.
    confirmed: bool,
    /// Its verdict is journaled.
    judged: bool,
    /// The server has everything.
    delivered: bool,
    /// The server does not want it any more.
    refused: bool,
    /// Nothing happens to its executor any more.
    over: bool,
}

/// What an attempt's course and delivery get of the table.
#[derive(Clone)]
pub(crate) struct Ticket {
    pub(crate) stop: watch::Receiver<Option<StopCause>>,
    pub(crate) progress: Arc<ProgressSender>,
    pub(crate) delivery: CancellationToken,
}

impl Live {
    pub(crate) fn new(capacity: u32) -> Self {
        Self { entries: Mutex::default(), capacity: watch::Sender::new(capacity), busy: watch::Sender::new(0) }
    }

    /// Takes an attempt in, and a slot for it; none if it is here already.
    pub(crate) fn take_in(&self, attempt: AttemptId, progress: Progress, stop: Option<StopCause>) -> Option<Ticket> {
        let ticket = self.with(|entries| {
            if entries.contains_key(&attempt) {
                return None;
            }
            let (stop, stopped) = watch::channel(stop);
            let entry = Entry {
                stop,
                progress: Arc::new(watch::Sender::new(progress)),
                delivery: CancellationToken::new(),
                busy: true,
                confirmed: false,
                judged: false,
                delivered: false,
                refused: false,
                over: false,
            };
            let ticket = Ticket { stop: stopped, progress: entry.progress.clone(), delivery: entry.delivery.clone() };
            entries.insert(attempt, entry);
            Some(ticket)
        });
        self.count();
        ticket
    }

    pub(crate) fn set_capacity(&self, capacity: u32) {
        self.capacity.send_replace(capacity);
    }

    pub(crate) fn free_slots(&self) -> u32 {
        self.capacity.borrow().saturating_sub(*self.busy.borrow())
    }

    /// How many attempts take a slot.
    pub(crate) fn busy(&self) -> watch::Receiver<u32> {
        self.busy.subscribe()
    }

    /// Waits until fewer attempts have an executor than may have one, not counting this one, which wants one.
    pub(crate) async fn within_capacity(&self, attempt: AttemptId) {
        let (mut busy, mut capacity) = (self.busy.subscribe(), self.capacity.subscribe());
        loop {
            busy.borrow_and_update();
            let allowed = *capacity.borrow_and_update() as usize;
            // Of those that take a slot, the ones that were taken in first may go.
            let earlier = self.with(|entries| entries.iter().filter(|(id, entry)| entry.busy && **id < attempt).count());
            if earlier < allowed.max(1) {
                return;
            }
            tokio::select! {
                _ = busy.changed() => {}
                _ = capacity.changed() => {}
            }
        }
    }

    /// True if the attempt may have an executor.
    pub(crate) fn is_busy(&self, attempt: AttemptId) -> bool {
        self.with(|entries| entries.get(&attempt).is_some_and(|entry| entry.busy))
    }

    /// The attempts that have no verdict yet.
    pub(crate) fn holding(&self) -> Vec<AttemptId> {
        self.select(|entry| entry.confirmed && !entry.judged && !entry.refused)
    }

    /// The attempts that were asked to stop.
    pub(crate) fn stopping(&self) -> Vec<AttemptId> {
        self.select(|entry| entry.stop.borrow().is_some())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.with(|entries| entries.is_empty())
    }

    /// Asks an attempt's course to stop. The first cause counts, except that a replaced attempt is always dropped.
    /// False if the attempt is not here.
    pub(crate) fn stop(&self, attempt: AttemptId, cause: StopCause) -> bool {
        self.with(|entries| {
            let Some(entry) = entries.get(&attempt) else { return false };
            entry.stop.send_if_modified(|stop| {
                let news = stop.is_none() || (cause == StopCause::Superseded && *stop != Some(StopCause::Superseded));
                if news {
                    *stop = Some(cause);
                }
                news
            });
            true
        })
    }

    /// Gives an attempt up of which nothing was journaled.
    pub(crate) fn abandon(&self, attempt: AttemptId) {
        self.with(|entries| entries.remove(&attempt));
        self.count();
    }

    pub(crate) fn confirmed(&self, attempt: AttemptId) {
        self.change(attempt, |entry| entry.confirmed = true);
    }

    pub(crate) fn judged(&self, attempt: AttemptId) {
        self.change(attempt, |entry| entry.judged = true);
    }

    /// The executor is gone: its slot is free.
    pub(crate) fn gone(&self, attempt: AttemptId) {
        self.change(attempt, |entry| entry.busy = false);
        self.count();
    }

    /// The attempt's course is over.
    pub(crate) async fn over(&self, context: &Context, attempt: AttemptId) {
        let forget = self.with(|entries| {
            let Some(entry) = entries.get_mut(&attempt) else { return false };
            (entry.busy, entry.over) = (false, true);
            entry.delivered || entry.refused
        });
        self.count();
        if forget {
            self.forget(context, vec![attempt]).await;
        }
    }

    /// The server has everything of these attempts.
    pub(crate) async fn delivered(&self, context: &Context, attempts: Vec<AttemptId>) {
        let (over, going_on): (Vec<_>, Vec<_>) = self.with(|entries| {
            attempts.into_iter().partition(|attempt| {
                let Some(entry) = entries.get_mut(attempt) else { return true };
                entry.delivered = true;
                entry.over
            })
        });
        self.forget(context, over).await;
        for attempt in going_on {
            // It may be forgotten at this moment, by its course: then there is nothing to write.
            if let Err(error) = context.journal.change(attempt, Change::Acknowledged, &[]).await {
                tracing::debug!(%attempt, %error, "the acknowledgement is not journaled: it will be asked for again");
            }
        }
    }

    /// The server does not want these attempts any more: they are stopped and forgotten, and nothing of them is sent.
    pub(crate) async fn refuse(&self, context: &Context, attempt: AttemptId, why: &str) {
        tracing::warn!(%attempt, why, "the server does not want this attempt any more: dropping it");
        self.stop(attempt, StopCause::Superseded);
        let forget = self.with(|entries| {
            let Some(entry) = entries.get_mut(&attempt) else { return true };
            entry.refused = true;
            entry.delivery.cancel();
            entry.over
        });
        if forget {
            self.forget(context, vec![attempt]).await;
        }
    }

    /// Forgets attempts, in memory, in the journal and on disk.
    pub(crate) async fn forget(&self, context: &Context, attempts: Vec<AttemptId>) {
        if attempts.is_empty() {
            return;
        }
        let forgotten = context.durable("forgetting attempts", || context.journal.forget(attempts.clone())).await;
        if let Err(error) = forgotten {
            tracing::error!(%error, "attempts that are over stay in the journal");
        }
        for attempt in attempts {
            let segments = self.with(|entries| {
                entries.get(&attempt).map(|entry| {
                    entry.delivery.cancel();
                    entry.progress.borrow().segment + 1
                })
            });
            context.outbox.forget(attempt);
            match segments {
                Some(segments) => context.spool.remove(attempt, segments),
                None => context.spool.remove_all(attempt),
            }
            self.with(|entries| entries.remove(&attempt));
        }
        self.count();
    }

    /// Every attempt and how it stands, for people.
    pub(crate) fn describe(&self) -> Vec<String> {
        self.with(|entries| entries.iter().map(|(attempt, entry)| format!("{attempt}: {entry:?}")).collect())
    }

    fn change(&self, attempt: AttemptId, change: impl FnOnce(&mut Entry)) {
        self.with(|entries| entries.get_mut(&attempt).map(change));
    }

    fn select(&self, wanted: impl Fn(&Entry) -> bool) -> Vec<AttemptId> {
        self.with(|entries| entries.iter().filter(|(_, entry)| wanted(entry)).map(|(attempt, _)| *attempt).collect())
    }

    fn count(&self) {
        // Counted inside the lock of the channel, so that an older count cannot overwrite a newer one.
        self.busy.send_if_modified(|busy| {
            let now = self.with(|entries| entries.values().filter(|entry| entry.busy).count());
            let now = u32::try_from(now).unwrap_or(u32::MAX);
            std::mem::replace(busy, now) != now
        });
    }

    fn with<T>(&self, run: impl FnOnce(&mut HashMap<AttemptId, Entry>) -> T) -> T {
        // The table is changed in single calls, so it is whole even if a holder panicked.
        run(&mut self.entries.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
