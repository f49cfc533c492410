//! The typed client of the public API: what the CLI, the tests and other programs talk to a server with.
//!
//! It knows the wire types ([`legwork_protocol::api`]) and how to reach a server; it must not know how anything is
//! shown to people, nor read any configuration. Every method is one request, except those that say otherwise. Start
//! reading at [`Client`].

mod connection;
mod error;
mod follow;
mod runners;
mod server_sent_events;
mod tasks;
mod tokens;

pub use connection::{Client, Connection, Credentials};
pub use error::{ClientError, Obstacle};
pub use follow::{Follower, News};
pub use tasks::{LogPart, ResultBody};
