//! The runner: takes tasks from a server, carries each out in a fresh container, brings results and logs back.
//!
//! It connects outbound only. Whatever it has accepted is in its journal before it acts, so a `kill -9` loses nothing: the
//! next start takes its executors over. Its parts, in the order of a task's life:
//!
//! - `registration`, `poll`, `offers`: from the server to the journal, and the way back into the journal's attempts after a
//!   restart;
//! - `attempt`: one function for each attempt, from the image to the verdict and the removal;
//! - `log`, `delivery`, `outbox`: from the spool and the journal to the server;
//! - `sweeper`, `duty`, `health`: what goes on beside it.
//!
//! It must not know which engine it has (only `config` names them), nor anything of the server but the channel.
//! Start reading at [`start`], then `attempt::run`.

mod attempt;
mod backoff;
mod channel;
mod config;
mod context;
mod delivery;
mod duty;
mod error;
mod health;
mod input_spool;
mod journal;
mod live;
mod log;
mod metrics;
mod offers;
mod outbox;
mod poll;
mod registration;
mod start;
mod store;
mod sweeper;

pub use config::{ENGINE_NAMES, EngineChoice, HEALTH_ADDRESS, RunnerConfig, Token};
pub use error::StartError;
pub use journal::JournalError;
pub use legwork_docker::DockerConfig;
pub use start::{RunningRunner, start};
