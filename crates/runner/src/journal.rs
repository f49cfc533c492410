//! The journal: what this runner has accepted, started, seen, and not yet had acknowledged.
//!
//! One method is one transaction, and it returns when that is durable; the writes of many attempts share one sync.
//! What may hold task data is sealed with the runner's key, bound to its place.

mod outbox;
mod record;

use std::path::Path;
use std::sync::Arc;

use legwork_core::attempt::AttemptState;
use legwork_core::event::{AttemptEvent, LogStream};
use legwork_core::verdict::StopCause;
use legwork_core::{AttemptId, Epoch, RunnerId, Timestamp, limits};
use legwork_database::{Database, Location, Migration, Options, Tx, Writer, args};
use legwork_engine::Handle;
use legwork_sealing::{Identity, SealingKey};

pub(crate) use outbox::{EventKind, OutboxEvent};
pub(crate) use record::{InputPlace, LogPoint, Record, Work};

const MIGRATIONS: &[Migration] =
    &[Migration { number: 1, name: "0001_first", sqlite: include_str!("../migrations/0001_first.sql"), postgres: "" }];

/// Why the journal did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The database failed.
    #[error(transparent)]
    Database(#[from] legwork_database::Error),
    /// What is sealed does not open.
    #[error(transparent)]
    Sealed(#[from] legwork_sealing::OpenError),
    /// What is stored does not make sense.
    #[error("the journal's {what} is not what this program writes: {problem}")]
    Malformed {
        /// What.
        what: String,
        /// What is wrong.
        problem: String,
    },
    /// The attempt is not in a state that allows this.
    #[error("the attempt {attempt} is {found} in the journal and cannot become {wanted}")]
    Refused {
        /// Which attempt.
        attempt: AttemptId,
        /// Its state, or that there is none.
        found: String,
        /// The state asked for.
        wanted: AttemptState,
    },
}

impl From<legwork_database::ColumnError> for JournalError {
    fn from(error: legwork_database::ColumnError) -> Self {
        Self::Database(error.into())
    }
}

/// Who this runner is.
pub(crate) struct Myself {
    pub(crate) runner: RunnerId,
    pub(crate) identity: Identity,
    pub(crate) last_epoch: Epoch,
}

/// A change of an attempt's state, with everything that becomes true with it.
pub(crate) enum Change {
    /// The server has agreed.
    Creating,
    /// The executor is about to start.
    Running { handle: Handle, started_at: Timestamp },
    /// Signals are about to be sent.
    Stopping { cause: StopCause },
    /// The verdict is there.
    ResultTaken { result_chunks: u32 },
    /// The server has everything.
    Acknowledged,
}

impl Change {
    fn state(&self) -> AttemptState {
        match self {
            Self::Creating => AttemptState::Creating,
            Self::Running { .. } => AttemptState::Running,
            Self::Stopping { .. } => AttemptState::Stopping,
            Self::ResultTaken { .. } => AttemptState::ResultTaken,
            Self::Acknowledged => AttemptState::Acknowledged,
        }
    }
}

/// The runner's journal. Clones share it.
#[derive(Clone)]
pub(crate) struct Journal {
    database: Database,
    key: Arc<SealingKey>,
}

impl Journal {
    /// Opens the journal; nothing is written until the writer runs.
    pub(crate) async fn open(file: &Path, key: Arc<SealingKey>) -> Result<(Self, Writer), legwork_database::OpenError> {
        let options = Options { location: Location::file(file), migrations: MIGRATIONS, readers: 2 };
        let (database, writer) = Database::open(&options).await?;
        Ok((Self { database, key }, writer))
    }

    /// Lets the writer end.
    pub(crate) async fn close(&self) {
        self.database.close().await;
    }

    /// Who this runner is; made at the first call.
    pub(crate) async fn identity(&self) -> Result<Myself, JournalError> {
        if let Some(row) =
            self.database.fetch_optional("SELECT runner, sealed_key, last_epoch FROM identity WHERE one = 1", args![]).await?
        {
            let runner: RunnerId = row.parse("runner")?;
            let secret = self.key.open(&identity_context(runner), &row.get::<Vec<u8>>("sealed_key")?)?;
            let secret: [u8; 32] = secret.try_into().map_err(|_| malformed("identity", &"its key has not 32 bytes"))?;
            return Ok(Myself { runner, identity: Identity::from_bytes(&secret), last_epoch: Epoch(row.count("last_epoch")?) });
        }
        let runner = RunnerId::new();
        let identity = Identity::generate().map_err(|error| malformed("identity", &error))?;
        let sealed = self.key.seal(&identity_context(runner), identity.to_bytes().as_slice());
        self.write((runner.to_string(), sealed), |(runner, sealed), tx| {
            Box::pin(async move {
                let text = "INSERT INTO identity (one, runner, sealed_key, last_epoch) VALUES (1, $1, $2, 0)";
                tx.execute(text, args![runner, sealed.clone()]).await?;
                Ok(())
            })
        })
        .await?;
        Ok(Myself { runner, identity, last_epoch: Epoch(0) })
    }

    /// Keeps the epoch that the server has given.
    pub(crate) async fn set_epoch(&self, epoch: Epoch) -> Result<(), JournalError> {
        self.write(epoch.0, |epoch, tx| {
            Box::pin(async move {
                tx.execute("UPDATE identity SET last_epoch = $1", args![*epoch]).await?;
                Ok(())
            })
        })
        .await
    }

    /// Accepts offers, all at once. Those that are there already stay as they are.
    pub(crate) async fn accept(&self, work: &[(AttemptId, &Work)], at: Timestamp) -> Result<(), JournalError> {
        let rows: Vec<(AttemptId, Vec<u8>)> =
            work.iter().map(|(attempt, work)| (*attempt, self.key.seal(&work_context(*attempt), &work.to_json()))).collect();
        self.write((rows, at.as_millis()), |(rows, at), tx| {
            Box::pin(async move {
                for (attempt, sealed) in rows {
                    let text = "INSERT INTO attempts (task, attempt, state, sealed_work, accepted_at) \
                                VALUES ($1, $2, 'accepted', $3, $4) ON CONFLICT DO NOTHING";
                    tx.execute(text, args![attempt.task.to_string(), attempt.attempt.0, sealed.clone(), *at]).await?;
                }
                Ok(())
            })
        })
        .await
    }

    /// Changes an attempt's state and adds events, in one transaction. A change that was made before is made.
    ///
    /// Gives the number of the first event added.
    pub(crate) async fn change(&self, attempt: AttemptId, change: Change, events: &[AttemptEvent]) -> Result<u64, JournalError> {
        let sealed_stop = match &change {
            Change::Stopping { cause } => Some(self.key.seal(&stop_context(attempt), &to_json(cause))),
            _ => None,
        };
        let events = self.seal_events(attempt, events);
        self.write((attempt, change, sealed_stop, events), |(attempt, change, sealed_stop, events), tx| {
            Box::pin(async move {
                let (task, number) = (attempt.task.to_string(), attempt.attempt.0);
                let wanted = change.state();
                let found = tx
                    .fetch_optional("SELECT state FROM attempts WHERE task = $1 AND attempt = $2", args![&task, number])
                    .await?;
                let refused = |found: String| JournalError::Refused { attempt: *attempt, found, wanted };
                let found: AttemptState = found.ok_or_else(|| refused("not there".to_owned()))?.parse("state")?;
                if found == wanted {
                    return Ok(0);
                }
                if !found.may_become(wanted) {
                    return Err(refused(found.to_string()));
                }
                let (text, mut values) = match change {
                    Change::Creating | Change::Acknowledged => {
                        ("UPDATE attempts SET state = $3 WHERE task = $1 AND attempt = $2", args![])
                    }
                    Change::Running { handle, started_at } => (
                        "UPDATE attempts SET state = $3, handle = $4, started_at = $5 WHERE task = $1 AND attempt = $2",
                        args![&handle.0, started_at.as_millis()],
                    ),
                    Change::Stopping { .. } => (
                        "UPDATE attempts SET state = $3, sealed_stop = $4 WHERE task = $1 AND attempt = $2",
                        args![sealed_stop.clone()],
                    ),
                    Change::ResultTaken { result_chunks } => (
                        "UPDATE attempts SET state = $3, result_chunks = $4 WHERE task = $1 AND attempt = $2",
                        args![*result_chunks],
                    ),
                };
                let mut all = args![task, number, wanted.as_str()];
                all.append(&mut values);
                tx.execute(text, all).await?;
                outbox::append(tx, *attempt, events).await
            })
        })
        .await
    }

    /// Adds events to the outbox. Gives the number of the first one; nothing is added for an attempt that is gone.
    pub(crate) async fn add_events(&self, attempt: AttemptId, events: &[AttemptEvent]) -> Result<u64, JournalError> {
        let events = self.seal_events(attempt, events);
        self.write((attempt, events), |(attempt, events), tx| Box::pin(outbox::append(tx, *attempt, events))).await
    }

    /// Adds the event of a comment unless the comment at this place has one, or there are too many. True if it was added.
    pub(crate) async fn add_comment(
        &self,
        attempt: AttemptId,
        stream: LogStream,
        place: u64,
        text: &str,
    ) -> Result<bool, JournalError> {
        let event = AttemptEvent::Comment { stream, offset: place, text: text.to_owned() };
        let events = self.seal_events(attempt, &[event]);
        self.write((attempt, stream, place, events), |(attempt, stream, place, events), tx| {
            Box::pin(async move {
                let (task, number) = (attempt.task.to_string(), attempt.attempt.0);
                let text = "UPDATE attempts SET comments = comments + 1 WHERE task = $1 AND attempt = $2 AND comments < $3 AND NOT EXISTS \
                            (SELECT 1 FROM comments WHERE task = $1 AND attempt = $2 AND stream = $4 AND place = $5)";
                if tx.execute(text, args![&task, number, limits::COMMENTS, stream.as_str(), *place]).await? == 0 {
                    return Ok(false);
                }
                let text = "INSERT INTO comments (task, attempt, stream, place) VALUES ($1, $2, $3, $4)";
                tx.execute(text, args![&task, number, stream.as_str(), *place]).await?;
                outbox::append(tx, *attempt, events).await?;
                Ok(true)
            })
        })
        .await
    }

    /// Keeps the place at which the log can be taken up again, and adds events that became true with it.
    pub(crate) async fn set_log_point(
        &self,
        attempt: AttemptId,
        point: LogPoint,
        events: &[AttemptEvent],
    ) -> Result<u64, JournalError> {
        let events = self.seal_events(attempt, events);
        let point = String::from_utf8(to_json(&point)).expect("JSON is UTF-8");
        self.write((attempt, point, events), |(attempt, point, events), tx| {
            Box::pin(async move {
                let text = "UPDATE attempts SET log_point = $3 WHERE task = $1 AND attempt = $2";
                tx.execute(text, args![attempt.task.to_string(), attempt.attempt.0, point]).await?;
                outbox::append(tx, *attempt, events).await
            })
        })
        .await
    }

    /// Forgets attempts and everything of them.
    pub(crate) async fn forget(&self, attempts: Vec<AttemptId>) -> Result<(), JournalError> {
        self.write(attempts, |attempts, tx| {
            Box::pin(async move {
                for attempt in attempts {
                    let text = "DELETE FROM attempts WHERE task = $1 AND attempt = $2";
                    tx.execute(text, args![attempt.task.to_string(), attempt.attempt.0]).await?;
                }
                Ok(())
            })
        })
        .await
    }

    async fn write<I, T, F>(&self, input: I, run: F) -> Result<T, JournalError>
    where
        I: Send + Sync + 'static,
        T: Send + 'static,
        F: for<'a> Fn(&'a I, &'a mut Tx) -> legwork_database::BoxFuture<'a, Result<T, JournalError>> + Send + Sync + 'static,
    {
        self.database.write(input, run).await
    }
}

fn identity_context(runner: RunnerId) -> String {
    format!("runner-identity/{runner}")
}

fn work_context(attempt: AttemptId) -> String {
    format!("work/{attempt}")
}

fn stop_context(attempt: AttemptId) -> String {
    format!("stop/{attempt}")
}

fn malformed(what: &str, problem: &dyn std::fmt::Display) -> JournalError {
    JournalError::Malformed { what: what.to_owned(), problem: problem.to_string() }
}

fn to_json(value: &impl serde::Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("our types have only text keys")
}

#[cfg(test)]
mod tests;
