//! Runners: what they said when they registered, and what people set.

use std::collections::BTreeMap;
use std::time::Duration;

use legwork_core::{Capabilities, Epoch, InstanceId, RunnerId, Timestamp, TokenId};
use legwork_database::{Row, Tx, args};

use crate::error::{InRow, StoreError};
use crate::rows::{capabilities, json, time};
use crate::sql::{Stored, locked};
use crate::store::Store;

/// What somebody wants of a runner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DesiredState {
    /// It takes work.
    Enabled,
    /// It takes no work.
    Disabled,
    /// It finishes what it has and takes no work.
    Draining,
    /// It finishes what it has, wipes its store and ends.
    Deleting,
}

impl DesiredState {
    /// Every value.
    pub const ALL: [Self; 4] = [Self::Enabled, Self::Disabled, Self::Draining, Self::Deleting];

    /// The text in the database and the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Enabled => "enabled",
            Self::Disabled => "disabled",
            Self::Draining => "draining",
            Self::Deleting => "deleting",
        }
    }
}

impl std::str::FromStr for DesiredState {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|state| state.as_str() == text).ok_or_else(|| format!("{text:?} is no state of a runner"))
    }
}

/// What somebody has set for a runner, and the runner has to follow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunnerSettings {
    /// Raised by every change.
    pub revision: u64,
    /// What is wanted of it.
    pub state: DesiredState,
    /// What people call it.
    pub title: String,
    /// What it offers.
    pub capabilities: Capabilities,
    /// Executors that it may have.
    pub capacity: u32,
    /// How long it keeps an idle executor.
    pub eviction_time: Duration,
}

/// A runner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Runner {
    /// Which runner.
    pub id: RunnerId,
    /// What is set for it.
    pub settings: RunnerSettings,
    /// The capabilities that it reported itself.
    pub reported_capabilities: Capabilities,
    /// The text of its public key.
    pub public_key: String,
    /// The token that it last registered with.
    pub token: Option<TokenId>,
    /// How often it has registered.
    pub epoch: Epoch,
    /// Its newest process.
    pub instance: InstanceId,
    /// Why two processes seem to be this runner, if so; it gets no work until somebody decides.
    pub conflict: Option<String>,
    /// Its program's version.
    pub version: String,
    /// The version of the protocol that it speaks.
    pub protocol: u32,
    /// The engine that it runs tasks with.
    pub engine: String,
    /// What else it said about itself.
    pub metadata: BTreeMap<String, String>,
    /// When it first registered.
    pub first_registered_at: Timestamp,
    /// When it last registered.
    pub registered_at: Timestamp,
}

/// A change of a runner's settings; what is not given stays.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunnerEdit {
    /// What people call it.
    pub title: Option<String>,
    /// What it offers, instead of what it reports.
    pub capabilities: Option<Capabilities>,
    /// Executors that it may have.
    pub capacity: Option<u32>,
    /// How long it keeps an idle executor.
    pub eviction_time: Option<Duration>,
    /// What is wanted of it.
    pub state: Option<DesiredState>,
}

/// What came of removing a runner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Removal {
    /// It is gone.
    Removed,
    /// Nobody has asked for its deletion.
    NotDeleting,
    /// It still has tasks.
    HasTasks,
    /// There is no such runner.
    Missing,
}

/// The columns that [`Runner`] is read from.
macro_rules! runner_columns {
    () => {
        "SELECT id, public_key, token, title, reported_capabilities, \
         COALESCE(edited_capabilities, reported_capabilities) AS capabilities, capacity, eviction_millis, state, \
         settings_revision, epoch, instance, conflict, version, protocol, engine, metadata, first_registered_at, registered_at \
         FROM runners"
    };
}

impl Store {
    /// All runners, by title.
    pub async fn runners(&self) -> Result<Vec<Runner>, StoreError> {
        let sql = concat!(runner_columns!(), " ORDER BY title, id");
        self.database.fetch_all(sql, args![]).await?.iter().map(read_runner).collect()
    }

    /// The runner with this identity.
    pub async fn runner(&self, id: RunnerId) -> Result<Option<Runner>, StoreError> {
        let sql = concat!(runner_columns!(), " WHERE id = $1");
        self.database.fetch_optional(sql, args![id.stored()]).await?.as_ref().map(read_runner).transpose()
    }

    /// Changes what is set for a runner; gives it as it is then, or none if there is no such runner.
    pub async fn edit_runner(&self, id: RunnerId, edit: RunnerEdit) -> Result<Option<Runner>, StoreError> {
        self.database
            .write((id, edit), |(id, edit), tx| {
                let sql = "UPDATE runners SET title = COALESCE($2, title), edited_capabilities = COALESCE($3, edited_capabilities), \
                           capacity = COALESCE($4, capacity), eviction_millis = COALESCE($5, eviction_millis), \
                           state = COALESCE($6, state), settings_revision = settings_revision + 1 WHERE id = $1";
                let values = args![
                    id.stored(),
                    edit.title.clone(),
                    edit.capabilities.as_ref().map(ToString::to_string),
                    edit.capacity,
                    edit.eviction_time.map(millis),
                    edit.state.map(DesiredState::as_str),
                ];
                Box::pin(async move {
                    tx.execute(sql, values).await?;
                    find_runner(tx, *id).await
                })
            })
            .await
    }

    /// Notes that two processes seem to be this runner, and why we think so. The first reason stays.
    pub async fn mark_conflict(&self, id: RunnerId, reason: &str) -> Result<(), StoreError> {
        self.database
            .write((id, reason.to_owned()), |(id, reason), tx| {
                let sql = "UPDATE runners SET conflict = $2 WHERE id = $1 AND conflict IS NULL";
                let values = args![id.stored(), reason];
                Box::pin(async move { Ok(tx.execute(sql, values).await.map(drop)?) })
            })
            .await
    }

    /// Somebody has decided that the newest process is the runner; true if there was a conflict.
    pub async fn resolve_conflict(&self, id: RunnerId) -> Result<bool, StoreError> {
        self.database
            .write(id, |id, tx| {
                let sql = "UPDATE runners SET conflict = NULL, settings_revision = settings_revision + 1 \
                           WHERE id = $1 AND conflict IS NOT NULL";
                Box::pin(async move { Ok(tx.execute(sql, args![id.stored()]).await? == 1) })
            })
            .await
    }

    /// Forgets a runner that is being deleted and has no task left. Its attempts stay in the tasks' history.
    pub async fn remove_runner(&self, id: RunnerId) -> Result<Removal, StoreError> {
        self.database
            .write(id, |id, tx| {
                Box::pin(async move {
                    let Some(runner) = find_runner(tx, *id).await? else { return Ok(Removal::Missing) };
                    if runner.settings.state != DesiredState::Deleting {
                        return Ok(Removal::NotDeleting);
                    }
                    let sql = "DELETE FROM runners WHERE id = $1 AND state = 'deleting' AND NOT EXISTS \
                               (SELECT 1 FROM tasks WHERE tasks.runner = runners.id)";
                    let removed = tx.execute(sql, args![id.stored()]).await?;
                    Ok(if removed == 1 { Removal::Removed } else { Removal::HasTasks })
                })
            })
            .await
    }
}

pub(crate) async fn find_runner(tx: &mut Tx, id: RunnerId) -> Result<Option<Runner>, StoreError> {
    let sql = locked!(tx, runner_columns!(), " WHERE id = $1");
    tx.fetch_optional(sql, args![id.stored()]).await?.as_ref().map(read_runner).transpose()
}

pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn read_runner(row: &Row) -> Result<Runner, StoreError> {
    let id: RunnerId = row.parse("id").in_row("runners", "?")?;
    let read = || {
        Ok(Runner {
            id,
            settings: RunnerSettings {
                revision: row.count("settings_revision")?,
                state: row.parse("state")?,
                title: row.get("title")?,
                capabilities: capabilities(row, "capabilities")?,
                capacity: row.count("capacity")?,
                eviction_time: Duration::from_millis(row.count("eviction_millis")?),
            },
            reported_capabilities: capabilities(row, "reported_capabilities")?,
            public_key: row.get("public_key")?,
            token: row.parse_optional("token")?,
            epoch: Epoch(row.count("epoch")?),
            instance: row.parse("instance")?,
            conflict: row.get("conflict")?,
            version: row.get("version")?,
            protocol: row.count("protocol")?,
            engine: row.get("engine")?,
            metadata: json(row, "metadata")?,
            first_registered_at: time(row, "first_registered_at")?,
            registered_at: time(row, "registered_at")?,
        })
    };
    read().in_row("runners", id)
}
