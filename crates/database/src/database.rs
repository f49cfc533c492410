//! Opening a database, reading it, and handing writes to its writer.

use std::borrow::Cow;
use std::fs::{DirBuilder, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgPool, PgPoolOptions};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{ConnectOptions as _, Connection as _, Executor as _, query_with};
use tokio::sync::{mpsc, oneshot};

use crate::error::{Error, OpenError};
use crate::location::Location;
use crate::migration::{Migration, migrate};
use crate::row::Row;
use crate::tx::{Dialect, Link, Tx, sql_text};
use crate::value::{Value, for_postgres, for_sqlite};
use crate::writer::{Joined, Message, Pending, QUEUE, Together, Write, Writer};

const STATEMENTS: usize = 256;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How a database is opened.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where it is.
    pub location: Location,
    /// Its schema's history, in order.
    pub migrations: &'static [Migration],
    /// Connections for reading.
    pub readers: u32,
}

/// An open database. Clones share it.
#[derive(Clone)]
pub struct Database {
    readers: Readers,
    queue: mpsc::Sender<Message>,
}

#[derive(Clone)]
enum Readers {
    Sqlite(SqlitePool),
    Postgres(PgPool),
}

/// Makes the writer's connection, and makes it again after it broke.
pub(crate) enum Connector {
    Sqlite(SqliteConnectOptions),
    Postgres(PgConnectOptions),
}

impl Connector {
    fn of(location: &Location) -> Self {
        match location {
            Location::Sqlite(path) => Self::Sqlite(
                SqliteConnectOptions::new()
                    .filename(path)
                    .create_if_missing(false)
                    .journal_mode(SqliteJournalMode::Wal)
                    // What we have answered must be on disk, also after a loss of power.
                    .synchronous(SqliteSynchronous::Full)
                    .foreign_keys(true)
                    .busy_timeout(Duration::from_secs(10))
                    .pragma("wal_autocheckpoint", "4000")
                    .pragma("journal_size_limit", "67108864")
                    .pragma("temp_store", "memory")
                    .statement_cache_capacity(STATEMENTS)
                    .disable_statement_logging(),
            ),
            Location::Postgres(options) => Self::Postgres(
                options
                    .as_ref()
                    .clone()
                    .application_name("legwork")
                    .statement_cache_capacity(STATEMENTS)
                    .disable_statement_logging(),
            ),
        }
    }

    pub(crate) async fn connect(&self) -> Result<Link, sqlx::Error> {
        let connecting = async {
            Ok(match self {
                Self::Sqlite(options) => Link::Sqlite(Box::new(SqliteConnection::connect_with(options).await?)),
                Self::Postgres(options) => {
                    let mut connection = PgConnection::connect_with(options).await?;
                    prepare_postgres(&mut connection).await?;
                    Link::Postgres(Box::new(connection))
                }
            })
        };
        tokio::time::timeout(CONNECT_TIMEOUT, connecting).await.unwrap_or(Err(sqlx::Error::PoolTimedOut))
    }
}

/// The writer's connection. A server may be configured to answer before data is durable; ours must not.
///
/// Its statements are few, look rows up by their keys and run thousands of times: each is planned once, and always to go
/// through the indexes. Left to itself PostgreSQL plans again and again, and for tables that were small when it last
/// looked it reads them as a whole; both cost more than the statements.
const WRITER: &str = "SET synchronous_commit = on; SET plan_cache_mode = force_generic_plan; SET enable_seqscan = off; \
                      SET enable_hashjoin = off; SET enable_mergejoin = off; SET jit = off";

async fn prepare_postgres(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    connection.execute(sqlx::raw_sql(WRITER)).await.map(drop)
}

impl Database {
    /// Opens the database, makes it first if it is a file that does not exist, and brings its schema up to date.
    ///
    /// Nothing is written until the [`Writer`] runs.
    pub async fn open(options: &Options) -> Result<(Self, Writer), OpenError> {
        let name = options.location.to_string();
        let failed = |source| OpenError::Connect { database: name.clone(), source };
        if let Location::Sqlite(path) = &options.location {
            make_file(path).map_err(|source| OpenError::File { path: path.display().to_string(), source })?;
        }
        let connector = Arc::new(Connector::of(&options.location));
        let mut tx = Tx::new(connector.connect().await.map_err(failed)?);
        migrate(&mut tx, &name, options.migrations).await?;
        let readers = match &*connector {
            Connector::Sqlite(connect) => Readers::Sqlite(
                SqlitePoolOptions::new()
                    .max_connections(options.readers)
                    .test_before_acquire(false)
                    .connect_lazy_with(connect.clone().pragma("query_only", "on")),
            ),
            Connector::Postgres(connect) => Readers::Postgres(
                PgPoolOptions::new()
                    .max_connections(options.readers)
                    .acquire_timeout(CONNECT_TIMEOUT)
                    .connect_lazy_with(connect.clone().options([("default_transaction_read_only", "on")])),
            ),
        };
        let (queue, waiting) = mpsc::channel(QUEUE);
        Ok((Self { readers, queue }, Writer { queue: waiting, connector, tx: Some(tx) }))
    }

    /// Which database it is.
    pub fn dialect(&self) -> Dialect {
        match self.readers {
            Readers::Sqlite(_) => Dialect::Sqlite,
            Readers::Postgres(_) => Dialect::Postgres,
        }
    }

    /// Runs `run` on `input` inside a transaction and returns its answer once that is durable.
    ///
    /// `run` may be called several times, each time on an untouched database; it must have no other effects. If it
    /// returns an error, nothing that it did stays; a refusal that should leave traces is an `Ok`. The write is made
    /// also if the caller stops waiting for the answer.
    pub async fn write<I, T, E, F>(&self, input: I, run: F) -> Result<T, E>
    where
        I: Send + Sync + 'static,
        T: Send + 'static,
        E: From<Error> + Send + 'static,
        F: for<'a> Fn(&'a I, &'a mut Tx) -> BoxFuture<'a, Result<T, E>> + Send + Sync + 'static,
    {
        let (reply, answer) = oneshot::channel();
        self.wait(Box::new(Write { input, run, outcome: None, reply }), answer).await
    }

    /// As [`Database::write`], together with other writes of this kind that wait.
    pub async fn write_together<W: Together>(&self, write: W) -> Result<W::Answer, W::Error> {
        let (reply, answer) = oneshot::channel();
        self.wait(Box::new(Joined::new(write, reply)), answer).await
    }

    async fn wait<T, E: From<Error>>(&self, write: Box<dyn Pending>, answer: oneshot::Receiver<Result<T, E>>) -> Result<T, E> {
        if self.queue.send(Message::Write(write)).await.is_err() {
            return Err(Error::WriterEnded.into());
        }
        answer.await.unwrap_or_else(|_| Err(Error::WriterEnded.into()))
    }

    /// Runs `run` inside a transaction that sees one state of the database and changes nothing.
    pub async fn read<I, T, E, F>(&self, input: I, run: F) -> Result<T, E>
    where
        E: From<Error>,
        F: for<'a> FnOnce(&'a I, &'a mut Tx) -> BoxFuture<'a, Result<T, E>>,
    {
        let failed = |error| E::from(Error::statement("BEGIN", error));
        let link = match &self.readers {
            Readers::Sqlite(pool) => Link::SqliteReader(pool.begin().await.map_err(failed)?),
            Readers::Postgres(pool) => {
                Link::PostgresReader(pool.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ").await.map_err(failed)?)
            }
        };
        let mut tx = Tx::new(link);
        let answer = run(&input, &mut tx).await;
        tx.close().await;
        answer
    }

    /// Reads with a single statement.
    pub async fn fetch_all(&self, sql: impl Into<Cow<'static, str>>, values: Vec<Value>) -> Result<Vec<Row>, Error> {
        let sql = sql.into();
        let text = sql_text(sql.clone());
        let rows = match &self.readers {
            Readers::Sqlite(pool) => match for_sqlite(values) {
                Ok(arguments) => {
                    query_with(text, arguments).fetch_all(pool).await.map(|rows| rows.into_iter().map(Row::Sqlite).collect())
                }
                Err(error) => Err(error),
            },
            Readers::Postgres(pool) => match for_postgres(values) {
                Ok(arguments) => {
                    query_with(text, arguments).fetch_all(pool).await.map(|rows| rows.into_iter().map(Row::Postgres).collect())
                }
                Err(error) => Err(error),
            },
        };
        rows.map_err(|error| Error::statement(&sql, error))
    }

    /// Reads at most one row with a single statement.
    pub async fn fetch_optional(&self, sql: impl Into<Cow<'static, str>>, values: Vec<Value>) -> Result<Option<Row>, Error> {
        Ok(self.fetch_all(sql, values).await?.into_iter().next())
    }

    /// Lets the writer finish what waits, and end; later writes are refused.
    pub async fn close(&self) {
        // A writer that has ended already needs no telling.
        let _ = self.queue.send(Message::Close).await;
    }
}

/// Makes the file and its directory so that only their owner can use them; SQLite gives its other files the same mode.
fn make_file(path: &Path) -> io::Result<()> {
    if let Some(directory) = path.parent().filter(|parent| !parent.as_os_str().is_empty())
        && !directory.exists()
    {
        DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    }
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let mode = std::fs::metadata(path)?.permissions().mode();
            let private = mode & !0o077;
            if mode == private { Ok(()) } else { std::fs::set_permissions(path, Permissions::from_mode(private)) }
        }
        Err(error) => Err(error),
    }
}
