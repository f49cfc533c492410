//! What all parts of a running runner share.

use std::sync::Arc;

use bytes::Bytes;
use legwork_core::{AttemptId, Clock, Epoch, RunnerId};
use legwork_engine::{Engine, Owner};
use legwork_lifecycle::Lifecycle;
use legwork_protocol::channel::{ChunkAnswer, RunnerSettings};
use legwork_protocol::envelope::ChunkHeader;
use legwork_sealing::SealingKey;
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;

use crate::backoff::Backoff;
use crate::channel::{Channel, ChannelError};
use crate::delivery::Refused;
use crate::journal::{Journal, JournalError};
use crate::live::Live;
use crate::log::spool::LogPlace;
use crate::metrics::Metrics;
use crate::outbox::Outbox;
use crate::store::Spool;

/// Chunks that are under way at the same time, of all attempts: this bounds memory, and a queue keeps it fair.
const UPLOADS: usize = 4;

/// What all parts of a running runner share.
pub(crate) struct Context {
    pub(crate) runner: RunnerId,
    pub(crate) engine: Arc<dyn Engine>,
    pub(crate) journal: Journal,
    pub(crate) spool: Spool,
    pub(crate) key: Arc<SealingKey>,
    pub(crate) channel: Channel,
    pub(crate) outbox: Outbox,
    pub(crate) live: Live,
    pub(crate) metrics: Metrics,
    pub(crate) clock: Clock,
    pub(crate) lifecycle: Lifecycle,
    pub(crate) release_url: String,
    pub(crate) settings: watch::Sender<RunnerSettings>,
    /// The last failure of the journal, for `/ready`.
    pub(crate) journal_trouble: watch::Sender<Option<String>>,
    /// Cancelled when everything of this runner is to end, after what `stopping` asks for was done.
    pub(crate) halt: CancellationToken,
    uploads: Semaphore,
}

/// The parts that [`Context::new`] puts together.
pub(crate) struct Parts {
    pub(crate) runner: RunnerId,
    pub(crate) engine: Arc<dyn Engine>,
    pub(crate) journal: Journal,
    pub(crate) spool: Spool,
    pub(crate) key: Arc<SealingKey>,
    pub(crate) channel: Channel,
    pub(crate) metrics: Metrics,
    pub(crate) clock: Clock,
    pub(crate) lifecycle: Lifecycle,
    pub(crate) release_url: String,
    pub(crate) settings: RunnerSettings,
}

impl Context {
    pub(crate) fn new(parts: Parts) -> Arc<Self> {
        let Parts { runner, engine, journal, spool, key, channel, metrics, clock, lifecycle, release_url, settings } = parts;
        Arc::new(Self {
            runner,
            engine,
            journal,
            spool,
            key,
            channel,
            outbox: Outbox::new(),
            live: Live::new(settings.capacity),
            metrics,
            clock,
            lifecycle,
            release_url,
            settings: watch::Sender::new(settings),
            journal_trouble: watch::Sender::new(None),
            halt: CancellationToken::new(),
            uploads: Semaphore::new(UPLOADS),
        })
    }

    /// Runs something that ends by itself, or with this runner.
    pub(crate) fn spawn(&self, name: &'static str, future: impl Future<Output = ()> + Send + 'static) {
        let halt = self.halt.clone();
        self.lifecycle.spawn_once(name, async move {
            // It does not matter which of the two came first.
            let _ = halt.run_until_cancelled(future).await;
        });
    }

    /// Runs something that goes on for as long as this runner does.
    pub(crate) fn spawn_loop(&self, name: &'static str, future: impl Future<Output = ()> + Send + 'static) {
        let halt = self.halt.clone();
        self.lifecycle.spawn(name, async move {
            // It does not matter which of the two came first.
            let _ = halt.run_until_cancelled(future).await;
        });
    }

    /// Follows what the server has decided about this runner.
    pub(crate) fn apply_settings(&self, settings: RunnerSettings) {
        self.live.set_capacity(settings.capacity);
        self.settings.send_replace(settings);
    }

    /// By what label the engine knows what is ours.
    pub(crate) fn owner(&self) -> Owner {
        Owner(self.runner)
    }

    /// The epoch that new executors are labelled with.
    pub(crate) fn epoch(&self) -> Epoch {
        self.channel.links().session().map_or(Epoch(0), |session| session.epoch)
    }

    pub(crate) fn log_place(&self, attempt: AttemptId) -> LogPlace {
        LogPlace { spool: self.spool.clone(), key: self.key.clone(), attempt }
    }

    /// Puts a chunk, again and again until the server has answered.
    pub(crate) async fn put_chunk(&self, header: &ChunkHeader, body: Bytes) -> Result<ChunkAnswer, Refused> {
        let mut backoff = Backoff::new();
        loop {
            let answer = {
                // It is never closed.
                let _turn = self.uploads.acquire().await;
                self.channel.put_chunk(header, body.clone()).await
            };
            match answer {
                Ok(answer) => return Ok(answer),
                Err(ChannelError::Refused(why)) => {
                    tracing::error!(attempt = %header.attempt, stream = header.stream.as_str(), why, "the server refuses a chunk");
                    self.pause(Backoff::between(std::time::Duration::from_secs(30), std::time::Duration::from_secs(30)).next())
                        .await;
                }
                Err(error) => {
                    tracing::debug!(attempt = %header.attempt, %error, "a chunk could not be sent: trying again");
                    self.pause(backoff.next()).await;
                }
            }
        }
    }

    /// Waits before the next request: for so long, or until the server was reached; and until this runner is registered.
    pub(crate) async fn pause(&self, time: std::time::Duration) {
        self.channel.links().pause(time).await;
        if self.channel.links().registered().await.is_none() {
            // Another process has this runner's place: it delivers nothing any more.
            std::future::pending::<()>().await;
        }
    }

    /// Repeats a write to the journal until it is durable: nothing can go on without it. A refusal by a state's guard is final.
    pub(crate) async fn durable<T, F>(&self, what: &str, mut write: impl FnMut() -> F) -> Result<T, JournalError>
    where
        F: Future<Output = Result<T, JournalError>>,
    {
        let mut backoff = Backoff::new();
        loop {
            let began = std::time::Instant::now();
            match write().await {
                Ok(answer) => {
                    self.metrics.journal_seconds.record(began.elapsed().as_secs_f64());
                    self.journal_trouble.send_if_modified(|trouble| trouble.take().is_some());
                    return Ok(answer);
                }
                Err(error @ JournalError::Refused { .. }) => return Err(error),
                Err(JournalError::Database(legwork_database::Error::WriterEnded)) => {
                    // The process is stopping: the next start goes on from what is durable.
                    return std::future::pending().await;
                }
                Err(error) => {
                    tracing::error!(%error, what, "the journal cannot be written: trying again");
                    self.journal_trouble.send_replace(Some(error.to_string()));
                    tokio::time::sleep(backoff.next()).await;
                }
            }
        }
    }
}
