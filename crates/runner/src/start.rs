//! Starting a runner.

use std::net::SocketAddr;
use std::sync::Arc;

use legwork_core::{InstanceId, RunnerId};
use legwork_lifecycle::Lifecycle;
use legwork_protocol::channel::{Duty, RunnerSettings};
use legwork_sealing::SealingKey;
use tokio::net::TcpListener;

use crate::channel::Channel;
use crate::config::RunnerConfig;
use crate::context::{Context, Parts};
use crate::error::StartError;
use crate::journal::{Journal, Record};
use crate::metrics::Metrics;
use crate::registration::Registrar;
use crate::store::Store;
use crate::{duty, health, offers, outbox, poll, registration, sweeper};

/// A runner that runs. Dropping this does not stop it: its life does.
pub struct RunningRunner {
    context: Arc<Context>,
    health: Option<SocketAddr>,
}

impl std::fmt::Debug for RunningRunner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RunningRunner")
            .field("id", &self.id())
            .field("live", &self.context.live.describe())
            .finish_non_exhaustive()
    }
}

impl RunningRunner {
    /// Who it is.
    pub fn id(&self) -> RunnerId {
        self.context.runner
    }

    /// Where its health endpoints listen.
    pub fn health_address(&self) -> Option<SocketAddr> {
        self.health
    }

    /// Why it is not ready for work, as `/ready` says it; none if it is.
    pub async fn trouble(&self) -> Option<String> {
        health::trouble(&self.context).await
    }

    /// How many attempts have or may have an executor.
    pub fn busy_slots(&self) -> u32 {
        *self.context.live.busy().borrow()
    }

    /// True if nothing is left to be carried out or delivered.
    pub fn is_idle(&self) -> bool {
        self.context.live.is_empty()
    }
}

/// Starts a runner inside this life. It goes on until the life is stopped, or the server has deleted the runner.
///
/// All that is wrong with the configuration is found here, before anything is sent or created.
pub async fn start(config: RunnerConfig, lifecycle: Lifecycle) -> Result<RunningRunner, StartError> {
    let address = config.check()?;
    let engine = config.engine.make()?;
    let channel = Channel::new(&config, address)?;
    let store = Store::lock(&config.data_dir)?;
    let listener = match config.health {
        None => None,
        Some(address) => Some(TcpListener::bind(address).await.map_err(|source| StartError::Health { address, source })?),
    };
    let health_address = listener.as_ref().and_then(|listener| listener.local_addr().ok());
    let key = Arc::new(SealingKey::from_file_or_create(&store.key_file())?);
    let (journal, writer) = Journal::open(&store.journal_file(), key.clone()).await?;
    lifecycle.spawn_once("the journal's writer", writer.run());
    let opened = async {
        let myself = journal.identity().await?;
        let records = journal.records().await?;
        Ok::<_, StartError>((myself, records))
    };
    let (myself, records) = match opened.await {
        Ok(opened) => opened,
        Err(error) => {
            journal.close().await;
            return Err(error);
        }
    };
    let spool = store.spool();
    let known: std::collections::HashSet<_> = records.iter().map(|record| record.id).collect();
    spool
        .sweep(|attempt| known.contains(&attempt))
        .map_err(|source| StartError::DataDir { path: config.data_dir.clone(), source })?;

    let settings = RunnerSettings {
        revision: 0,
        title: config.title.clone(),
        capabilities: config.capabilities.clone(),
        capacity: config.capacity,
        eviction_seconds: legwork_core::limits::EVICTION_TIME.as_secs(),
        duty: Duty::Enabled,
    };
    let release_url = config.release_url.clone().unwrap_or_else(|| config.server_url.clone());
    let context = Context::new(Parts {
        runner: myself.runner,
        engine,
        journal,
        spool,
        key,
        channel,
        metrics: Metrics::new(),
        clock: config.clock.clone(),
        lifecycle,
        release_url,
        settings,
    });
    let mut metadata = config.metadata;
    metadata.entry("engine".to_owned()).or_insert_with(|| context.engine.name().to_owned());
    let registrar = Registrar {
        identity: myself.identity,
        instance: InstanceId::new(),
        last_epoch: myself.last_epoch,
        title: config.title,
        capabilities: config.capabilities,
        capacity: config.capacity,
        metadata,
        left: records.iter().filter(|record| record.state.is_live()).map(|record| record.id).collect(),
    };
    tracing::info!(runner = %context.runner, engine = context.engine.name(), left = records.len(), "the runner starts");
    if let Some(listener) = listener {
        context.spawn_loop("the health endpoints", health::run(context.clone(), listener));
    }
    context.spawn_loop("the registration", registration::run(context.clone(), registrar));
    context.spawn_loop("the outbox", outbox::run(context.clone()));
    context.spawn_loop("taking work", take_work(context.clone(), records));
    context.lifecycle.spawn("the runner's end", duty::run(context.clone(), store, config.drain));
    Ok(RunningRunner { context, health: health_address })
}

/// New work is taken only after what an earlier process has left was taken over.
async fn take_work(context: Arc<Context>, records: Vec<Record>) {
    offers::take_over(&context, records).await;
    tokio::join!(poll::run(context.clone()), sweeper::run(context.clone()));
}
