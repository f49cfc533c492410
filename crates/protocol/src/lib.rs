//! The wire types of Legwork's two APIs, and nothing that acts.
//!
//! [`api`] is the public REST API under `/api/v1`; [`channel`] is what a runner and the server say to each other
//! under `/runner/v1` (described in `docs/protocol.md`). [`error`] is the body of every refusal of both. Server,
//! runner, client and CLI meet only here. Start reading at [`channel`].

pub mod api;
pub mod channel;
pub mod duration;
pub mod envelope;
pub mod error;
pub mod frames;

/// The version of the channel. Raised when an older runner could not understand the server, or the reverse.
pub const CHANNEL_VERSION: u32 = 1;

/// The version of this build, for people.
pub const BUILD_VERSION: &str = env!("CARGO_PKG_VERSION");
