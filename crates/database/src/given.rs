//! Many rows in one statement: the statement sees them as a table called `given`.

use std::borrow::Cow;

use sqlx::Arguments as _;
use sqlx::postgres::PgArguments;
use sqlx::sqlite::SqliteArguments;

use crate::tx::Dialect;
use crate::value::{Value, for_postgres, for_sqlite};

/// Rows that go into one statement at most, so that neither its text nor its plan grows without end.
const ROWS_SQLITE: usize = 64;
const ROWS_POSTGRES: usize = 1024;
/// Bytes after which no further row goes into the same statement.
const BYTES: usize = 4 << 20;

/// A column of `given`, with its name.
#[derive(Clone, Copy, Debug)]
pub enum Given {
    /// Numbers.
    Integer(&'static str),
    /// Texts.
    Text(&'static str),
    /// Bytes.
    Blob(&'static str),
}

impl Given {
    fn name(self) -> &'static str {
        match self {
            Self::Integer(name) | Self::Text(name) | Self::Blob(name) => name,
        }
    }
}

/// What goes into a statement.
pub(crate) enum Parameters {
    /// One value for each placeholder.
    Values(Vec<Value>),
    /// The rows of `given`.
    Rows(&'static [Given], Vec<Vec<Value>>),
}

impl Parameters {
    pub(crate) fn for_sqlite(self) -> Result<SqliteArguments, sqlx::Error> {
        match self {
            Self::Values(values) => for_sqlite(values),
            Self::Rows(_, rows) => for_sqlite(rows.into_iter().flatten().collect()),
        }
    }

    pub(crate) fn for_postgres(self) -> Result<PgArguments, sqlx::Error> {
        match self {
            Self::Values(values) => for_postgres(values),
            Self::Rows(columns, rows) => arrays(columns, rows),
        }
    }
}

/// The statements that take all rows in, one after another.
///
/// SQLite's statements differ in their text by the number of rows, so that number is a power of two: few texts, and
/// each is prepared once.
pub(crate) fn statements(
    dialect: Dialect,
    sql: &str,
    columns: &'static [Given],
    rows: impl Iterator<Item = Vec<Value>>,
) -> impl Iterator<Item = (Cow<'static, str>, Parameters)> {
    let mut rows = rows.fuse();
    let mut waiting: Vec<Vec<Value>> = Vec::new();
    std::iter::from_fn(move || {
        let mut bytes: usize = waiting.iter().map(|row| size(row)).sum();
        while waiting.len() < dialect.choose(ROWS_SQLITE, ROWS_POSTGRES) && bytes < BYTES {
            let Some(row) = rows.next() else { break };
            bytes += size(&row);
            waiting.push(row);
        }
        let count = dialect.choose(1 << waiting.len().checked_ilog2()?, waiting.len());
        let rest = waiting.split_off(count);
        let now = std::mem::replace(&mut waiting, rest);
        Some((text(dialect, sql, columns, count).into(), Parameters::Rows(columns, now)))
    })
}

fn size(row: &[Value]) -> usize {
    let sizes = row.iter().map(|value| match value {
        Value::Null | Value::Integer(_) => 8,
        Value::Text(text) => text.len(),
        Value::Blob(bytes) => bytes.len(),
    });
    sizes.sum()
}

/// The statement's text, with `given` before it.
fn text(dialect: Dialect, sql: &str, columns: &[Given], rows: usize) -> String {
    let names: Vec<&str> = columns.iter().map(|column| column.name()).collect();
    let names = names.join(", ");
    let source = match dialect {
        Dialect::Sqlite => {
            let row = format!("({})", vec!["?"; columns.len()].join(", "));
            format!("VALUES {}", vec![row.as_str(); rows].join(", "))
        }
        Dialect::Postgres => {
            let arrays: Vec<String> =
                (1..).zip(columns).map(|(place, column)| format!("${place}::{}", array_type(*column))).collect();
            format!("SELECT * FROM UNNEST({})", arrays.join(", "))
        }
    };
    format!("WITH given ({names}) AS ({source}) {sql}")
}

fn array_type(column: Given) -> &'static str {
    match column {
        Given::Integer(_) => "BIGINT[]",
        Given::Text(_) => "TEXT[]",
        Given::Blob(_) => "BYTEA[]",
    }
}

/// One array for each column.
fn arrays(columns: &[Given], rows: Vec<Vec<Value>>) -> Result<PgArguments, sqlx::Error> {
    let count = rows.len();
    let mut by_column: Vec<Vec<Value>> = columns.iter().map(|_| Vec::with_capacity(count)).collect();
    for row in rows {
        for (column, value) in by_column.iter_mut().zip(row) {
            column.push(value);
        }
    }
    let mut arguments = PgArguments::default();
    for (column, values) in columns.iter().zip(by_column) {
        let added = match column {
            Given::Integer(name) => {
                arguments.add(each(name, values, |value| if let Value::Integer(number) = value { Some(number) } else { None })?)
            }
            Given::Text(name) => {
                let texts: Vec<Option<Cow<'static, str>>> =
                    each(name, values, |value| if let Value::Text(text) = value { Some(text) } else { None })?;
                arguments.add(texts)
            }
            Given::Blob(name) => {
                arguments.add(each(name, values, |value| if let Value::Blob(bytes) = value { Some(bytes) } else { None })?)
            }
        };
        added.map_err(sqlx::Error::Encode)?;
    }
    Ok(arguments)
}

/// The values as what the column holds; nothing stays nothing.
fn each<T>(name: &str, values: Vec<Value>, of: impl Fn(Value) -> Option<T>) -> Result<Vec<Option<T>>, sqlx::Error> {
    let of = |value| match value {
        Value::Null => Ok(None),
        value => match of(value) {
            Some(value) => Ok(Some(value)),
            None => Err(sqlx::Error::Encode(format!("a value of the column {name} has another type").into())),
        },
    };
    values.into_iter().map(of).collect()
}
