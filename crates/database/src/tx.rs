//! Statements inside a transaction, the same for both databases.

use std::borrow::Cow;

use futures::future::BoxFuture;
use sqlx::postgres::PgConnection;
use sqlx::sqlite::SqliteConnection;
use sqlx::{AssertSqlSafe, Connection as _, Postgres, SqlSafeStr, SqlStr, Sqlite, Transaction, query_with};

use crate::error::{Error, connection_lost};
use crate::given::{Given, Parameters, statements};
use crate::row::Row;
use crate::value::Value;

/// Which of the two databases it is, for the few statements that cannot be the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// SQLite.
    Sqlite,
    /// PostgreSQL.
    Postgres,
}

impl Dialect {
    /// The first for SQLite, the second for PostgreSQL.
    pub fn choose<T>(self, sqlite: T, postgres: T) -> T {
        match self {
            Self::Sqlite => sqlite,
            Self::Postgres => postgres,
        }
    }
}

/// An open transaction. Statements take `$1`, `$2`, … and a list of values made by [`crate::args!`].
///
/// A statement's text should be constant: it is prepared once per connection and found again by its text.
pub struct Tx {
    link: Link,
    lost: bool,
}

pub(crate) enum Link {
    Sqlite(Box<SqliteConnection>),
    Postgres(Box<PgConnection>),
    SqliteReader(Transaction<'static, Sqlite>),
    PostgresReader(Transaction<'static, Postgres>),
}

/// Runs one sqlx call on whichever connection there is.
macro_rules! on_link {
    ($self:ident, $sql:ident, $values:ident, $call:ident, $answer:expr) => {{
        let text = sql_text($sql.clone());
        let answer = match &mut $self.link {
            Link::Sqlite(connection) => match $values.for_sqlite() {
                Ok(arguments) => query_with(text, arguments).$call(&mut **connection).await.map($answer.sqlite),
                Err(error) => Err(error),
            },
            Link::SqliteReader(transaction) => match $values.for_sqlite() {
                Ok(arguments) => query_with(text, arguments).$call(&mut **transaction).await.map($answer.sqlite),
                Err(error) => Err(error),
            },
            Link::Postgres(connection) => match $values.for_postgres() {
                Ok(arguments) => query_with(text, arguments).$call(&mut **connection).await.map($answer.postgres),
                Err(error) => Err(error),
            },
            Link::PostgresReader(transaction) => match $values.for_postgres() {
                Ok(arguments) => query_with(text, arguments).$call(&mut **transaction).await.map($answer.postgres),
                Err(error) => Err(error),
            },
        };
        answer.map_err(|error| {
            $self.lost |= connection_lost(&error);
            Error::statement(&$sql, error)
        })
    }};
}

/// How an answer of each database is turned into ours.
struct Answer<S, P> {
    sqlite: S,
    postgres: P,
}

impl Tx {
    pub(crate) fn new(link: Link) -> Self {
        Self { link, lost: false }
    }

    /// Which database it is.
    pub fn dialect(&self) -> Dialect {
        match self.link {
            Link::Sqlite(_) | Link::SqliteReader(_) => Dialect::Sqlite,
            Link::Postgres(_) | Link::PostgresReader(_) => Dialect::Postgres,
        }
    }

    /// Runs a statement; gives the number of rows that it changed.
    pub async fn execute(&mut self, sql: impl Into<Cow<'static, str>>, values: Vec<Value>) -> Result<u64, Error> {
        self.change(sql.into(), Parameters::Values(values)).await
    }

    /// Runs a statement; gives all its rows.
    pub async fn fetch_all(&mut self, sql: impl Into<Cow<'static, str>>, values: Vec<Value>) -> Result<Vec<Row>, Error> {
        self.fetch(sql.into(), Parameters::Values(values)).await
    }

    /// Runs a statement that takes its values from the table `given`, which has these columns and rows; gives the number
    /// of rows that it changed.
    ///
    /// Many rows are given in several turns, so the statement must mean the same for all at once and one after another.
    /// Without rows nothing is run.
    pub fn execute_given<'a>(
        &'a mut self,
        sql: &'a str,
        columns: &'static [Given],
        rows: impl IntoIterator<Item = Vec<Value>, IntoIter: Send + 'a>,
    ) -> BoxFuture<'a, Result<u64, Error>> {
        let statements = statements(self.dialect(), sql, columns, rows.into_iter());
        Box::pin(async move {
            let mut changed = 0;
            for (sql, parameters) in statements {
                changed += self.change(sql, parameters).await?;
            }
            Ok(changed)
        })
    }

    /// As [`Tx::execute_given`]; gives all rows of the statement's answer.
    pub fn fetch_given<'a>(
        &'a mut self,
        sql: &'a str,
        columns: &'static [Given],
        rows: impl IntoIterator<Item = Vec<Value>, IntoIter: Send + 'a>,
    ) -> BoxFuture<'a, Result<Vec<Row>, Error>> {
        let statements = statements(self.dialect(), sql, columns, rows.into_iter());
        Box::pin(async move {
            let mut answer = Vec::new();
            for (sql, parameters) in statements {
                answer.extend(self.fetch(sql, parameters).await?);
            }
            Ok(answer)
        })
    }

    async fn change(&mut self, sql: Cow<'static, str>, parameters: Parameters) -> Result<u64, Error> {
        let answer = Answer {
            sqlite: |done: sqlx::sqlite::SqliteQueryResult| done.rows_affected(),
            postgres: |done: sqlx::postgres::PgQueryResult| done.rows_affected(),
        };
        on_link!(self, sql, parameters, execute, answer)
    }

    async fn fetch(&mut self, sql: Cow<'static, str>, parameters: Parameters) -> Result<Vec<Row>, Error> {
        let answer = Answer {
            sqlite: |rows: Vec<_>| rows.into_iter().map(Row::Sqlite).collect(),
            postgres: |rows: Vec<_>| rows.into_iter().map(Row::Postgres).collect(),
        };
        on_link!(self, sql, parameters, fetch_all, answer)
    }

    /// Runs a statement that gives at most one row.
    pub async fn fetch_optional(&mut self, sql: impl Into<Cow<'static, str>>, values: Vec<Value>) -> Result<Option<Row>, Error> {
        // Not sqlx's `fetch_optional`: it stops SQLite after the first row, and a statement must run to its end.
        Ok(self.fetch_all(sql, values).await?.into_iter().next())
    }

    /// Starts a transaction that may write.
    pub(crate) async fn begin(&mut self) -> Result<(), Error> {
        // SQLite takes the lock at once: a transaction that starts by reading could otherwise not go on to write.
        let begin = self.dialect().choose("BEGIN IMMEDIATE", "BEGIN");
        self.execute(begin, Vec::new()).await.map(drop)
    }

    /// Makes the transaction durable.
    pub(crate) async fn commit(&mut self) -> Result<(), Error> {
        self.execute("COMMIT", Vec::new()).await.map(drop)
    }

    /// Gives the transaction up.
    pub(crate) async fn roll_back(&mut self) -> Result<(), Error> {
        self.execute("ROLLBACK", Vec::new()).await.map(drop)
    }

    /// Runs several statements without values, separated by semicolons.
    pub(crate) async fn script(&mut self, text: &'static str) -> Result<(), sqlx::Error> {
        match &mut self.link {
            Link::Sqlite(connection) => sqlx::raw_sql(text).execute(&mut **connection).await.map(drop),
            Link::Postgres(connection) => sqlx::raw_sql(text).execute(&mut **connection).await.map(drop),
            Link::SqliteReader(transaction) => sqlx::raw_sql(text).execute(&mut **transaction).await.map(drop),
            Link::PostgresReader(transaction) => sqlx::raw_sql(text).execute(&mut **transaction).await.map(drop),
        }
    }

    /// True if the connection broke.
    pub(crate) fn is_lost(&self) -> bool {
        self.lost
    }

    pub(crate) async fn close(self) {
        // A connection that does not close well is closed by the process's end; what was committed is durable.
        let _ = match self.link {
            Link::Sqlite(connection) => connection.close().await,
            Link::Postgres(connection) => connection.close().await,
            Link::SqliteReader(transaction) => transaction.rollback().await,
            Link::PostgresReader(transaction) => transaction.rollback().await,
        };
    }
}

/// Every text is written in this repository or made of such texts; values go in by placeholders only.
pub(crate) fn sql_text(sql: Cow<'static, str>) -> SqlStr {
    match sql {
        Cow::Borrowed(text) => text.into_sql_str(),
        Cow::Owned(text) => AssertSqlSafe(text).into_sql_str(),
    }
}
