//! Why the store could not do what it was asked.

use legwork_database::row::ColumnError;

/// Why a method of the store failed. What a caller can expect to happen is never here but in the method's answer.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database failed.
    #[error(transparent)]
    Database(#[from] legwork_database::Error),
    /// A row holds what we never write.
    #[error("the row {id} of {table} is inconsistent: {problem}")]
    Inconsistent {
        /// The table.
        table: &'static str,
        /// Which row.
        id: String,
        /// What is wrong, with the column's name.
        problem: String,
    },
    /// Something stored does not open with the key that we were given.
    #[error(transparent)]
    Sealed(#[from] legwork_sealing::OpenError),
    /// A value cannot be written as JSON.
    #[error("a value cannot be written as JSON")]
    Json(#[from] serde_json::Error),
}

impl StoreError {
    /// True if the database is away, so that the same may work later.
    pub fn is_unavailable(&self) -> bool {
        use legwork_database::Error as Database;
        matches!(self, Self::Database(Database::Unavailable { .. } | Database::CommitUnknown { .. } | Database::WriterEnded))
    }

    #[expect(clippy::needless_pass_by_value, reason = "identities are copied and messages are made at the call")]
    pub(crate) fn inconsistent(table: &'static str, id: impl ToString, problem: impl ToString) -> Self {
        Self::Inconsistent { table, id: id.to_string(), problem: problem.to_string() }
    }
}

/// Names the row in the errors of its columns.
pub(crate) trait InRow<T> {
    fn in_row(self, table: &'static str, id: impl ToString) -> Result<T, StoreError>;
}

impl<T> InRow<T> for Result<T, ColumnError> {
    fn in_row(self, table: &'static str, id: impl ToString) -> Result<T, StoreError> {
        self.map_err(|error| StoreError::inconsistent(table, id, error))
    }
}
