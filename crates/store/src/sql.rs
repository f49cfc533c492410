//! The few places where the two databases need other words.

use legwork_core::{RunnerId, TaskId, Timestamp, TokenId};
use legwork_database::{Dialect, Value};

/// True for queued tasks, in the words of their indexes, which do not name the state.
macro_rules! queued {
    () => {
        "tasks.runner IS NULL AND tasks.finished_at IS NULL"
    };
}

/// A SELECT whose rows nobody else may change until the transaction ends. SQLite has one writer anyway.
macro_rules! locked {
    ($tx:expr, $($text:expr),+) => { $tx.dialect().choose(concat!($($text),+), concat!($($text),+, " FOR UPDATE")) };
}

/// A statement with the condition that what stands before it is in the list given as `$1` by [`list`].
macro_rules! listed {
    ($tx:expr, [$($before:expr),+], $sqlite_after:expr, $postgres_after:expr) => {
        $tx.dialect().choose(
            concat!($($before),+, " IN (SELECT value FROM json_each($1))", $sqlite_after),
            concat!($($before),+, " = ANY (string_to_array($1, ','))", $postgres_after),
        )
    };
    ($tx:expr, [$($before:expr),+], $after:expr) => { listed!($tx, [$($before),+], $after, $after) };
}
pub(crate) use {listed, locked, queued};

/// A list of identities as one value, for [`listed!`].
pub(crate) fn list<T: ToString>(dialect: Dialect, ids: impl IntoIterator<Item = T>) -> Value {
    let ids: Vec<String> = ids.into_iter().map(|id| id.to_string()).collect();
    let text = match dialect {
        Dialect::Sqlite if ids.is_empty() => "[]".to_owned(),
        Dialect::Sqlite => format!("[\"{}\"]", ids.join("\",\"")),
        Dialect::Postgres => ids.join(","),
    };
    Value::from(text)
}

/// What our own types are in the database.
pub(crate) trait Stored {
    fn stored(&self) -> Value;
}

impl Stored for TaskId {
    fn stored(&self) -> Value {
        self.to_string().into()
    }
}

impl Stored for RunnerId {
    fn stored(&self) -> Value {
        self.to_string().into()
    }
}

impl Stored for TokenId {
    fn stored(&self) -> Value {
        self.to_string().into()
    }
}

impl Stored for Timestamp {
    fn stored(&self) -> Value {
        self.as_millis().into()
    }
}

impl<T: Stored> Stored for Option<T> {
    fn stored(&self) -> Value {
        self.as_ref().map_or(Value::Null, Stored::stored)
    }
}

/// A text's pattern for LIKE with `ESCAPE '!'`, anywhere in the value.
pub(crate) fn contains_pattern(text: &str) -> String {
    let mut pattern = String::from("%");
    for letter in text.chars() {
        if matches!(letter, '%' | '_' | '!') {
            pattern.push('!');
        }
        pattern.push(letter);
    }
    pattern.push('%');
    pattern
}
