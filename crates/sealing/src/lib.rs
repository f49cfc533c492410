//! Sealing at rest, and the proofs of who somebody is: bearer tokens and a runner's key pair.
//!
//! Everything secret that Legwork stores goes through [`SealingKey::seal`] first. The key is kept outside of the
//! database, in a file that only its owner can read, or in the environment.
//!
//! This crate knows no network and no database; the only file that it touches is the key file.
//! Start reading at [`key`].

pub mod identity;
pub mod key;
pub mod token;

pub use identity::{Identity, PublicKey};
pub use key::{KeyError, OpenError, SealingKey};
