//! Registering: a runner's epochs and the credential of each.

use std::collections::BTreeMap;
use std::time::Duration;

use legwork_core::{Capabilities, Epoch, InstanceId, RunnerId, Timestamp, TokenId};
use legwork_database::{Tx, args};
use legwork_sealing::token::TokenHash;

use crate::error::{InRow, StoreError};
use crate::runners::{Runner, find_runner, millis};
use crate::sql::Stored;
use crate::store::Store;

/// Epochs whose credentials are still told apart from unknown ones.
const REMEMBERED_EPOCHS: u64 = 32;

/// What a runner says when it registers. The caller has checked its token and that it has the key pair.
#[derive(Clone, Debug)]
pub struct Registration {
    /// Its identity, made by itself.
    pub id: RunnerId,
    /// The text of its public key.
    pub public_key: String,
    /// The token that it registers with.
    pub token: Option<TokenId>,
    /// This start of its process.
    pub instance: InstanceId,
    /// The epoch of its last registration, if it knows one.
    pub last_epoch: Option<Epoch>,
    /// The hash of the credential that it is given now.
    pub credential: TokenHash,
    /// What it wants to be called; counts at its first registration.
    pub title: String,
    /// What it offers.
    pub capabilities: Capabilities,
    /// Executors that it may have; counts at its first registration.
    pub capacity: u32,
    /// How long it keeps an idle executor; counts at its first registration.
    pub eviction_time: Duration,
    /// Its program's version.
    pub version: String,
    /// The version of the protocol that it speaks.
    pub protocol: u32,
    /// The engine that it runs tasks with.
    pub engine: String,
    /// What else it says about itself.
    pub metadata: BTreeMap<String, String>,
}

/// What came of a registration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Registered {
    /// It is registered; [`Runner::epoch`] is its new epoch.
    As(Box<Runner>),
    /// A runner of this identity with another key pair is registered.
    OtherKey,
}

/// Who a credential belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Session {
    /// Which runner.
    pub runner: RunnerId,
    /// The epoch that the credential was given for.
    pub epoch: Epoch,
    /// The process that it was given to.
    pub instance: InstanceId,
    /// False if the runner has registered again since.
    pub current: bool,
}

impl Store {
    /// Registers a runner: raises its epoch, so that whatever an older process of it sends is superseded.
    ///
    /// If its store is older than what we know of it, it was copied or restored: the runner is in conflict.
    pub async fn register_runner(&self, registration: Registration, now: Timestamp) -> Result<Registered, StoreError> {
        self.database.write((registration, now), |(registration, now), tx| Box::pin(register(tx, registration, *now))).await
    }

    /// Who this credential belongs to; none if we never gave it, or so long ago that it is forgotten.
    pub async fn session(&self, credential: TokenHash, now: Timestamp) -> Result<Option<Session>, StoreError> {
        let sql = "SELECT runner_sessions.runner, runner_sessions.epoch, runner_sessions.instance, runner_sessions.used_at, \
                   runners.epoch AS current_epoch FROM runner_sessions JOIN runners ON runners.id = runner_sessions.runner \
                   WHERE runner_sessions.credential = $1";
        let Some(row) = self.database.fetch_optional(sql, args![credential]).await? else { return Ok(None) };
        let read = || {
            let epoch = Epoch(row.count("epoch")?);
            let current = epoch == Epoch(row.count("current_epoch")?);
            let session = Session { runner: row.parse("runner")?, epoch, instance: row.parse("instance")?, current };
            Ok((session, row.get::<Option<i64>>("used_at")?.is_some()))
        };
        let (session, used) = read().in_row("runner_sessions", "?")?;
        if !used {
            let noted: Result<u64, StoreError> = self
                .database
                .write((credential, now), |(credential, now), tx| {
                    let sql = "UPDATE runner_sessions SET used_at = $2 WHERE credential = $1 AND used_at IS NULL";
                    Box::pin(async move { Ok(tx.execute(sql, args![*credential, now.stored()]).await?) })
                })
                .await;
            noted?;
        }
        Ok(Some(session))
    }
}

async fn register(tx: &mut Tx, new: &Registration, now: Timestamp) -> Result<Registered, StoreError> {
    let id = new.id;
    let epoch = match find_runner(tx, id).await? {
        Some(known) if known.public_key != new.public_key => return Ok(Registered::OtherKey),
        Some(known) => {
            let conflict = conflict(tx, new, &known).await?;
            // A server that was restored from a backup knows an older epoch than the runner does.
            let epoch = known.epoch.max(new.last_epoch.unwrap_or(Epoch(0))).0 + 1;
            let sql = "UPDATE runners SET token = $2, reported_capabilities = $3, epoch = $4, instance = $5, \
                       conflict = COALESCE(conflict, $6), version = $7, protocol = $8, engine = $9, metadata = $10, registered_at = $11 \
                       WHERE id = $1 AND epoch < $4";
            let values = args![
                id.stored(),
                new.token.stored(),
                new.capabilities.to_string(),
                epoch,
                new.instance.to_string(),
                conflict,
                &new.version,
                new.protocol,
                &new.engine,
                serde_json::to_string(&new.metadata)?,
                now.stored(),
            ];
            if tx.execute(sql, values).await? != 1 {
                return Err(StoreError::inconsistent("runners", id, "its epoch changed under a lock"));
            }
            epoch
        }
        None => {
            let epoch = new.last_epoch.map_or(1, |last| last.0 + 1);
            let sql = "INSERT INTO runners (id, public_key, token, title, reported_capabilities, capacity, eviction_millis, state, \
                       settings_revision, epoch, instance, version, protocol, engine, metadata, first_registered_at, registered_at) \
                       VALUES ($1, $2, $3, $4, $5, $6, $7, 'enabled', 1, $8, $9, $10, $11, $12, $13, $14, $14)";
            let values = args![
                id.stored(),
                &new.public_key,
                new.token.stored(),
                &new.title,
                new.capabilities.to_string(),
                new.capacity,
                millis(new.eviction_time),
                epoch,
                new.instance.to_string(),
                &new.version,
                new.protocol,
                &new.engine,
                serde_json::to_string(&new.metadata)?,
                now.stored(),
            ];
            tx.execute(sql, values).await?;
            epoch
        }
    };
    let sql = "INSERT INTO runner_sessions (credential, runner, epoch, instance, created_at) VALUES ($1, $2, $3, $4, $5)";
    tx.execute(sql, args![new.credential, id.stored(), epoch, new.instance.to_string(), now.stored()]).await?;
    let sql = "DELETE FROM runner_sessions WHERE runner = $1 AND epoch < $2";
    tx.execute(sql, args![id.stored(), epoch.saturating_sub(REMEMBERED_EPOCHS)]).await?;
    match find_runner(tx, id).await? {
        Some(runner) => Ok(Registered::As(Box::new(runner))),
        None => Err(StoreError::inconsistent("runners", id, "it vanished under a lock")),
    }
}

/// Why a registration shows that there are two stores of one runner, if it does.
///
/// An epoch counts as known to the runner only when its credential was used: the answer to a registration may be lost.
async fn conflict(tx: &mut Tx, new: &Registration, known: &Runner) -> Result<Option<String>, StoreError> {
    if known.instance == new.instance {
        return Ok(None);
    }
    let sql = "SELECT COALESCE(MAX(epoch), 0) AS epoch FROM runner_sessions WHERE runner = $1 AND used_at IS NOT NULL";
    let row = tx.fetch_optional(sql, args![known.id.stored()]).await?;
    let used: u64 = row.map_or(Ok(0), |row| row.count("epoch")).in_row("runner_sessions", known.id)?;
    let last = new.last_epoch.unwrap_or(Epoch(0));
    Ok((last.0 < used).then(|| {
        format!(
            "its store is of epoch {last}, and epoch {used} was seen at work: the store was copied, or restored from a backup"
        )
    }))
}
