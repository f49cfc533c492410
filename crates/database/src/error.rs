//! What can go wrong with a database.

use std::borrow::Cow;

use crate::row::ColumnError;

/// Why a database cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The URL names a database that is not supported.
    #[error("{scheme:?} databases are not supported; use `sqlite:<path>` or `postgres://<user>@<host>/<name>`")]
    Unsupported {
        /// The URL's scheme.
        scheme: String,
    },
    /// The URL names a supported database and cannot be read.
    #[error("the database URL cannot be used: {problem}")]
    InvalidUrl {
        /// What is wrong; never the URL itself, it may hold a password.
        problem: String,
    },
    /// The database's file or directory cannot be made.
    #[error("cannot make the database file {path}")]
    File {
        /// Which file.
        path: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// The database does not answer.
    #[error("cannot open {database}")]
    Connect {
        /// Which database.
        database: String,
        /// What it said.
        source: sqlx::Error,
    },
    /// The schema is newer than this program.
    #[error(
        "{database} has schema {found}, made by a newer version; this version knows schemas up to {known}: start a newer one"
    )]
    NewerSchema {
        /// Which database.
        database: String,
        /// The schema that was found.
        found: i64,
        /// The newest schema that this program knows.
        known: i64,
    },
    /// The database was made by something else.
    #[error("{database} is not ours: its schema {number} is called {found:?}, not {known:?}")]
    OtherSchema {
        /// Which database.
        database: String,
        /// The number of the schema.
        number: i64,
        /// The name that was found.
        found: String,
        /// The name that we gave it.
        known: &'static str,
    },
    /// A change of the schema failed; the schema is as it was before.
    #[error("cannot bring {database} to schema {number} ({name})")]
    Migrate {
        /// Which database.
        database: String,
        /// The schema's number.
        number: i64,
        /// The schema's name.
        name: &'static str,
        /// What the database said.
        source: sqlx::Error,
    },
}

/// Why a read or a write failed. After any of these except [`Error::CommitUnknown`], nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A statement failed.
    #[error("the database refused `{statement}`")]
    Statement {
        /// The statement's first words.
        statement: String,
        /// What the database said.
        source: sqlx::Error,
    },
    /// A row does not hold what it should.
    #[error(transparent)]
    Column(#[from] ColumnError),
    /// The database does not answer.
    #[error("the database does not answer: {detail}")]
    Unavailable {
        /// What was seen.
        detail: String,
    },
    /// The connection was lost while the database was making the write durable.
    #[error(
        "the connection was lost during the commit: the write may or may not have been made; look, or send it again ({detail})"
    )]
    CommitUnknown {
        /// What was seen.
        detail: String,
    },
    /// The writer has ended: the process is stopping.
    #[error("the database's writer has ended")]
    WriterEnded,
}

impl Error {
    pub(crate) fn statement(sql: &str, source: sqlx::Error) -> Self {
        if connection_lost(&source) {
            return Self::Unavailable { detail: source.to_string() };
        }
        let statement = sql.split_whitespace().take(6).collect::<Vec<_>>().join(" ");
        Self::Statement { statement, source }
    }

    /// True if the write would have doubled something that there may be only one of.
    pub fn is_unique_violation(&self) -> bool {
        self.of_database().is_some_and(sqlx::error::DatabaseError::is_unique_violation)
    }

    /// True if a CHECK refused the row.
    pub fn is_check_violation(&self) -> bool {
        self.of_database().is_some_and(sqlx::error::DatabaseError::is_check_violation)
    }

    fn of_database(&self) -> Option<&dyn sqlx::error::DatabaseError> {
        match self {
            Self::Statement { source, .. } => source.as_database_error(),
            _ => None,
        }
    }
}

/// True if the connection that gave this error is of no more use.
pub(crate) fn connection_lost(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::Protocol(_)
        | sqlx::Error::WorkerCrashed
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed => true,
        // PostgreSQL: the server is shutting down (57P..), or says that the connection is broken (08...).
        sqlx::Error::Database(error) => {
            let code = error.code().unwrap_or(Cow::Borrowed(""));
            code.len() == 5 && (code.starts_with("57P") || code.starts_with("08"))
        }
        _ => false,
    }
}
