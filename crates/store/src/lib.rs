//! The server's memory: users, tokens, tasks with their attempts, logs and results, runners, the audit trail.
//!
//! [`Store`] is concrete; behind it are SQLite or PostgreSQL. One method is one transaction, durable when it returns.
//! The caller says what time it is. A change of a task's state is decided by
//! [`TaskState::apply`](legwork_core::task::TaskState::apply) on the row as it is inside that transaction, and written by one
//! statement that names the state and the attempt it expects.
//!
//! This crate knows no HTTP, no protocol and no network. Inputs and results are sealed before they are stored.
//! Start reading at [`Store::open`], then follow a task: [`tasks`], [`queue`], [`confirm`], [`events`].

mod attempts;
pub mod audit;
pub mod confirm;
pub mod control;
pub mod error;
pub mod events;
pub mod held;
pub mod list;
pub mod logs;
mod look;
pub mod lost;
pub mod queue;
pub mod results;
mod rows;
pub mod runners;
pub mod sessions;
mod sql;
mod store;
pub mod tasks;
pub mod tokens;
pub mod users;

pub use attempts::{AttemptRecord, Comment, Ending, KeptResult};
pub use error::StoreError;
pub use legwork_database::{Location, OpenError, Writer};
pub use rows::{AbortMark, Task};
pub use store::{Store, StoreConfig};
