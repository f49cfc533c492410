//! An attempt's log on its way: from the engine, masked and scanned, into the spool, and from there to the server.
//!
//! [`pump`] writes, [`upload`] reads; they meet in [`spool`] and in a [`Progress`] that wakes the reader up.
//! Nothing here changes the outcome of an attempt.

pub(crate) mod pump;
pub(crate) mod spool;
pub(crate) mod upload;

use legwork_core::event::LogSummary;
use legwork_engine::LogOffsets;
use tokio::sync::watch;

/// How far a log has come on this side.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Progress {
    /// The segment that is being written.
    pub(crate) segment: u32,
    /// How long it is.
    pub(crate) length: u64,
    /// The first segment of the tail, once the head is full; from there on nothing is sent before the end.
    pub(crate) tail_from: Option<u32>,
    /// Segments before this one are not needed to take the log up again.
    pub(crate) keep_from: u32,
    /// Delivered bytes so far, dropped ones included.
    pub(crate) delivered: LogOffsets,
    /// What became of the log, once it has ended.
    pub(crate) ended: Option<LogSummary>,
}

/// The two ends of a log's progress.
pub(crate) type ProgressSender = watch::Sender<Progress>;
