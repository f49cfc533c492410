//! Every meaning of the store, on SQLite and on PostgreSQL. Each test has a database of its own.
//!
//! PostgreSQL is taken from `LEGWORK_TEST_POSTGRES_URL`, which `make test` sets; without it these tests fail.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[macro_use]
mod support;

mod checks;
mod events;
mod held;
mod logs;
mod look;
mod queue;
mod random;
mod results;
mod runners;
mod schema;
mod tasks;
mod users;
