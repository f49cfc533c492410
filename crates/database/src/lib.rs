//! One seam over the two databases that Legwork keeps its state in: SQLite and PostgreSQL.
//!
//! What is here: opening by URL ([`Location`]), forward-only migrations ([`Migration`]), one SQL text for both
//! databases with `$1` placeholders ([`Tx`]), and a writer with group commit ([`Writer`]): all writes that wait are
//! made in one transaction, and a caller hears of its write only after that transaction is durable. Writes of one kind
//! ([`Together`]) are also made with the same few statements, which take their values from many rows ([`Given`]).
//!
//! This crate knows no table of ours. The server's store and the runner's journal are built on it.
//! Start reading at [`Database::open`], then [`Database::write`].

pub mod database;
pub mod error;
pub mod given;
pub mod location;
pub mod migration;
pub mod row;
#[cfg(feature = "testing")]
pub mod testing;
pub mod tx;
pub mod value;
pub mod writer;

pub use database::{Database, Options};
pub use error::{Error, OpenError};
pub use futures::future::BoxFuture;
pub use given::Given;
pub use location::Location;
pub use migration::Migration;
pub use row::{ColumnError, Row};
pub use tx::{Dialect, Tx};
pub use value::Value;
pub use writer::{Together, Writer};
