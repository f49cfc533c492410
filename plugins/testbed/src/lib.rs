//! A plugin whose inputs steer it, for tests.
//!
//! It keeps the container contract in file mode like any plugin, and does what its inputs say: sleep, log, fail, crash,
//! ignore signals, return large results. Everything that it writes follows from its inputs, so a test can compute
//! byte for byte what must arrive: [`line()`], [`data()`] and [`raw()`] for the pieces, [`log::write`] for all of it.
//!
//! It must not know Legwork beyond the contract's encryption. Start at [`run`]; the inputs are in [`steering`] and in
//! the README.

mod content;
mod exchange;
mod ledger;
pub mod log;
mod marks;
mod run;
mod signals;
pub mod steering;

pub use content::{data, line, raw};
pub use run::{CHILD_ARGUMENT, child, run};
