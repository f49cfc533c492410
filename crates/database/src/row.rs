//! The rows that come out of a statement.

use std::fmt::Display;
use std::str::FromStr;

use sqlx::postgres::PgRow;
use sqlx::sqlite::SqliteRow;
use sqlx::{Decode, Postgres, Row as _, Sqlite, Type};

/// A row of either database. Columns are asked for by name.
pub enum Row {
    /// Of SQLite.
    Sqlite(SqliteRow),
    /// Of PostgreSQL.
    Postgres(PgRow),
}

/// A column does not hold what it should.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the column {column} does not hold what it should: {problem}")]
pub struct ColumnError {
    /// Which column.
    pub column: &'static str,
    /// What is wrong.
    pub problem: String,
}

/// A type that a column can be read as: `i64`, `String`, `Vec<u8>`, and the `Option` of each.
pub trait Column: for<'r> Decode<'r, Sqlite> + Type<Sqlite> + for<'r> Decode<'r, Postgres> + Type<Postgres> {}

impl<T> Column for T where T: for<'r> Decode<'r, Sqlite> + Type<Sqlite> + for<'r> Decode<'r, Postgres> + Type<Postgres> {}

impl Row {
    /// The column as it is stored.
    pub fn get<T: Column>(&self, column: &'static str) -> Result<T, ColumnError> {
        match self {
            Self::Sqlite(row) => row.try_get(column),
            Self::Postgres(row) => row.try_get(column),
        }
        .map_err(|error| ColumnError { column, problem: error.to_string() })
    }

    /// A number that is never negative.
    pub fn count<T: TryFrom<i64>>(&self, column: &'static str) -> Result<T, ColumnError> {
        let number: i64 = self.get(column)?;
        T::try_from(number).map_err(|_| ColumnError { column, problem: format!("{number} is out of range") })
    }

    /// A number that is never negative, or nothing.
    pub fn optional_count<T: TryFrom<i64>>(&self, column: &'static str) -> Result<Option<T>, ColumnError> {
        let number: Option<i64> = self.get(column)?;
        number
            .map(|number| T::try_from(number).map_err(|_| ColumnError { column, problem: format!("{number} is out of range") }))
            .transpose()
    }

    /// A number that is 0 or 1.
    pub fn flag(&self, column: &'static str) -> Result<bool, ColumnError> {
        match self.get::<i64>(column)? {
            0 => Ok(false),
            1 => Ok(true),
            number => Err(ColumnError { column, problem: format!("{number} is neither 0 nor 1") }),
        }
    }

    /// A text that means something.
    pub fn parse<T: FromStr<Err: Display>>(&self, column: &'static str) -> Result<T, ColumnError> {
        let text: String = self.get(column)?;
        text.parse().map_err(|error: T::Err| ColumnError { column, problem: error.to_string() })
    }

    /// A text that means something, or nothing.
    pub fn parse_optional<T: FromStr<Err: Display>>(&self, column: &'static str) -> Result<Option<T>, ColumnError> {
        let text: Option<String> = self.get(column)?;
        text.map(|text| text.parse().map_err(|error: T::Err| ColumnError { column, problem: error.to_string() })).transpose()
    }
}
