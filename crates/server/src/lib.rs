//! The server: REST API, the channel to the runners, and the loops that hand out work and keep deadlines.
//!
//! Truth is in the store; what this crate holds in memory ([`live`], [`wake`]) only wakes things up. A handler reads as:
//! who is asking, what do they ask for, one method of the store, the answer. It knows runners only by what they send; it
//! must not know engines, and it reads no environment.
//! Start reading at [`start`], then `router`, then a task's way: `api::tasks`, `dispatcher`, `channel::poll`,
//! `channel::attempts`.

mod api;
mod auth;
mod background;
mod channel;
mod config;
mod dispatcher;
mod error;
mod extract;
mod fleet;
mod listener;
mod live;
mod metrics;
mod passwords;
mod request_id;
mod router;
mod startup;
mod state;
mod tls;
mod wake;

#[cfg(test)]
mod tests;

pub use config::{DEFAULT_PORT, MasterKey, ServerConfig, StartError, TlsConfig};
pub use startup::{ADMIN, RunningServer, start};
