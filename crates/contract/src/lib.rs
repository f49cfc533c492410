//! The plugin contract: what a container plugin is given, what it gives back, and nothing about how.
//!
//! The reference is `CONTRACT.md`; the section numbers in this crate's comments are its. The parts are
//! independent of each other, so each can be read alone:
//!
//! - into the container: [`input`] (the JSON), [`session`] (its encryption), [`environment`] (where it lies);
//! - out of the container: [`output`] (the result), [`markers`] (comments and status lines in the log);
//! - around it: [`secrets`] and [`mask`] (nothing secret leaves through the log), [`abort`] (how it is asked to end).
//!
//! This crate must not know engines, runners or servers: no files, no network, no runtime, no clock. Bytes
//! come through `std::io` traits or slices, time is an argument.
//! Start reading at [`input::InputContext`], then [`output::read_result`].

pub mod abort;
pub mod environment;
pub mod input;
pub mod markers;
pub mod mask;
pub mod output;
pub mod secrets;
pub mod session;
