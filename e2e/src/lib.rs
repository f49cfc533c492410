//! What the end-to-end tests and the benchmark stand on: real processes of the real binary, driven through the
//! public CLI and API only, and a ledger outside Legwork. Start reading at [`world::World`].

#![expect(clippy::missing_panics_doc, reason = "a harness of tests panics when something is not as it should be")]

pub mod bench;
pub mod ledger;
pub mod world;
