//! The outbox's way to the server: events of all attempts, many in a request, until each is acknowledged.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use legwork_core::{AttemptId, EventNumber};
use legwork_protocol::channel::{Event, Events};
use legwork_protocol::envelope::Envelope;
use tokio::sync::Notify;

use crate::backoff::Backoff;
use crate::channel::ChannelError;
use crate::context::Context;
use crate::journal::{EventKind, JournalError, OutboxEvent};

/// Events that are read from the journal at once.
const PAGE: u32 = 256;
/// Bytes of events in one request.
const BATCH_BYTES: usize = 2 * 1024 * 1024;
/// How often the outbox is looked through although nobody said that there is news.
const TICK: Duration = Duration::from_secs(10);

/// What events of an attempt wait for besides the server.
#[derive(Clone, Copy, Debug, Default)]
struct Holds {
    /// `finished` waits until the result's chunks are kept.
    result: bool,
    /// `log_complete` waits until the log is kept.
    log: bool,
}

/// What is known of the outbox beside the journal.
pub(crate) struct Outbox {
    news: Notify,
    holds: Mutex<HashMap<AttemptId, Holds>>,
}

impl Outbox {
    pub(crate) fn new() -> Self {
        Self { news: Notify::new(), holds: Mutex::default() }
    }

    /// Says that an event was journaled.
    pub(crate) fn news(&self) {
        self.news.notify_one();
    }

    /// Lets `finished` wait for the result's chunks. Call it before that event is journaled.
    pub(crate) fn hold_result(&self, attempt: AttemptId) {
        self.with(|holds| holds.entry(attempt).or_default().result = true);
    }

    /// Lets `log_complete` wait for the log.
    pub(crate) fn hold_log(&self, attempt: AttemptId) {
        self.with(|holds| holds.entry(attempt).or_default().log = true);
    }

    pub(crate) fn release_result(&self, attempt: AttemptId) {
        self.with(|holds| holds.entry(attempt).or_default().result = false);
        self.news();
    }

    pub(crate) fn release_log(&self, attempt: AttemptId) {
        self.with(|holds| holds.entry(attempt).or_default().log = false);
        self.news();
    }

    pub(crate) fn forget(&self, attempt: AttemptId) {
        self.with(|holds| holds.remove(&attempt));
    }

    fn held(&self, attempt: AttemptId, kind: EventKind) -> bool {
        let holds = self.with(|holds| holds.get(&attempt).copied().unwrap_or_default());
        match kind {
            EventKind::Finished => holds.result,
            EventKind::LogComplete => holds.log,
            EventKind::Other => false,
        }
    }

    fn with<T>(&self, change: impl FnOnce(&mut HashMap<AttemptId, Holds>) -> T) -> T {
        // The map is changed in single calls, so it is whole even if a holder panicked.
        change(&mut self.holds.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Sends what waits, for ever.
pub(crate) async fn run(context: Arc<Context>) {
    let mut backoff = Backoff::new();
    loop {
        // Registered before the look, so that no news is missed.
        let news = context.outbox.news.notified();
        match send_all(&context).await {
            Ok(()) => {
                backoff.reset();
                // Both mean the same: look again.
                let _ = tokio::time::timeout(TICK, news).await;
            }
            Err(Trouble::Journal(error)) => {
                tracing::error!(%error, "the outbox cannot be read: trying again");
                tokio::time::sleep(backoff.next()).await;
            }
            Err(Trouble::Channel(ChannelError::Refused(why))) => {
                tracing::error!(why, "the server refuses events: trying again");
                context.pause(Duration::from_secs(5)).await;
            }
            Err(Trouble::Channel(error)) => {
                tracing::debug!(%error, "events could not be sent: trying again");
                context.pause(backoff.next()).await;
            }
        }
    }
}

enum Trouble {
    Journal(JournalError),
    Channel(ChannelError),
}

impl From<JournalError> for Trouble {
    fn from(error: JournalError) -> Self {
        Self::Journal(error)
    }
}

/// Goes through the outbox from its beginning to its end.
async fn send_all(context: &Arc<Context>) -> Result<(), Trouble> {
    let mut after = 0;
    // Of these something earlier is held back, so nothing later may go either.
    let mut blocked = HashSet::new();
    loop {
        let page = context.journal.waiting(after, PAGE).await?;
        context.metrics.outbox_depth.set(page.len() as f64);
        let whole = page.len() == PAGE as usize;
        let mut batch: Vec<OutboxEvent> = Vec::new();
        let mut bytes = 0;
        let mut full = false;
        for (id, event) in page {
            if blocked.contains(&event.attempt) {
                after = id;
                continue;
            }
            if context.outbox.held(event.attempt, event.kind) {
                blocked.insert(event.attempt);
                after = id;
                continue;
            }
            if !batch.is_empty() && bytes + event.body.len() > BATCH_BYTES {
                full = true;
                break;
            }
            bytes += event.body.len();
            after = id;
            batch.push(event);
        }
        if batch.is_empty() {
            if whole {
                continue;
            }
            return Ok(());
        }
        blocked.extend(send(context, batch).await?);
        if !whole && !full {
            return Ok(());
        }
    }
}

/// Sends one batch and draws the conclusions. Gives the attempts of which the server did not apply everything.
async fn send(context: &Arc<Context>, batch: Vec<OutboxEvent>) -> Result<Vec<AttemptId>, Trouble> {
    let mut last: HashMap<AttemptId, (EventNumber, Option<EventNumber>)> = HashMap::new();
    let mut events = Vec::with_capacity(batch.len());
    for event in batch {
        let (highest, complete) = last.entry(event.attempt).or_insert((event.number, None));
        *highest = event.number;
        if event.kind == EventKind::LogComplete {
            *complete = Some(event.number);
        }
        events.push(Event { attempt: event.attempt, number: event.number, body: Envelope::clear(event.body) });
    }
    let answer = context.channel.events(&Events { events }).await.map_err(Trouble::Channel)?;
    let mut acknowledged = Vec::new();
    let mut delivered = Vec::new();
    let mut behind = Vec::new();
    for applied in answer.attempts {
        let Some((highest, complete)) = last.remove(&applied.attempt) else { continue };
        if let Some(why) = applied.refused {
            context.live.refuse(context, applied.attempt, &why).await;
            continue;
        }
        // The server may have more, from a request of an earlier process that came late; what was not sent yet is not dropped
        // yet, or its conclusions would never be drawn.
        acknowledged.push((applied.attempt, applied.through.min(highest)));
        if complete.is_some_and(|complete| complete <= applied.through) {
            delivered.push(applied.attempt);
        }
        if applied.through < highest {
            tracing::warn!(attempt = %applied.attempt, sent = %highest, applied = %applied.through, "the server applied less than was sent");
            behind.push(applied.attempt);
        }
    }
    // What is wholly delivered is forgotten altogether: both in one sync.
    let (acknowledged, ()) = tokio::join!(context.journal.acknowledge(acknowledged), context.live.delivered(context, delivered));
    acknowledged?;
    behind.extend(last.into_keys());
    Ok(behind)
}
