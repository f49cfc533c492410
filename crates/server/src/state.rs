//! What every request and every loop shares.

use std::ops::Deref;
use std::sync::Arc;

use legwork_core::{Clock, TaskId, Timestamp};
use legwork_lifecycle::Lifecycle;
use legwork_store::Store;
use legwork_store::queue::Offer;

use crate::channel::challenges::Challenges;
use crate::live::Live;
use crate::metrics::Metrics;
use crate::passwords::Passwords;
use crate::wake::TaskWakes;

/// What every request and every loop shares. Clones are the same.
#[derive(Clone)]
pub(crate) struct AppState(Arc<Shared>);

/// The parts.
pub(crate) struct Shared {
    pub(crate) store: Store,
    pub(crate) clock: Clock,
    pub(crate) lifecycle: Lifecycle,
    pub(crate) live: Live,
    pub(crate) wakes: TaskWakes,
    pub(crate) passwords: Passwords,
    pub(crate) challenges: Challenges,
    pub(crate) metrics: Metrics,
    /// Wakes what looks after deadlines, when there may be a nearer one.
    pub(crate) deadlines: tokio::sync::Notify,
    /// The `OpenAPI` document, as JSON.
    pub(crate) openapi: std::sync::OnceLock<String>,
}

impl AppState {
    pub(crate) fn new(store: Store, clock: Clock, lifecycle: Lifecycle) -> Result<Self, getrandom::Error> {
        Ok(Self(Arc::new(Shared {
            live: Live::new(clock.now()),
            store,
            clock,
            lifecycle,
            wakes: TaskWakes::default(),
            passwords: Passwords::new()?,
            challenges: Challenges::default(),
            metrics: Metrics::new(),
            deadlines: tokio::sync::Notify::new(),
            openapi: std::sync::OnceLock::new(),
        })))
    }

    /// Now, by the server's clock.
    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Says that tasks were offered: there is a deadline, and those who follow them see it.
    pub(crate) fn tasks_offered(&self, offers: &[Offer]) {
        for offer in offers {
            self.wakes.wake(offer.attempt.task);
        }
        self.deadlines.notify_one();
    }

    /// Says that tasks have changed, and that there may be work or room for it now.
    pub(crate) fn tasks_changed(&self, tasks: impl IntoIterator<Item = TaskId>) {
        for task in tasks {
            self.wakes.wake(task);
        }
        self.live.nudge();
        self.deadlines.notify_one();
    }
}

impl Deref for AppState {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.0
    }
}
