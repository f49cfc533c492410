//! What a runner tells the server about an attempt.
//!
//! Every event gets its number when the runner journals it; the server applies each number once, in order.
//! Log bytes are no events: they carry their own place in their stream.

use serde::{Deserialize, Serialize};

use crate::failure::text_enum;
use crate::task::Outcome;
use crate::verdict::Exit;

/// One event of an attempt.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum AttemptEvent {
    /// What the runner is doing with it.
    Phase {
        /// The phase.
        phase: Phase,
        /// More about it, for people: "pulling: 12 of 40 MiB", "the registry answered 429, trying again in 8 s".
        detail: String,
    },
    /// The plugin has set its status line.
    StatusLine {
        /// The line, masked.
        text: String,
    },
    /// The plugin has added a comment.
    Comment {
        /// Where its marker was: with `offset` the comment's identity, so that a replay cannot double it.
        stream: LogStream,
        /// The offset of its marker in the masked stream, which is the same whenever the log is read again.
        offset: u64,
        /// The comment, masked.
        text: String,
    },
    /// The attempt has ended. A result that is not inline has been sent in chunks before.
    Finished(Report),
    /// All of the log was sent.
    LogComplete(LogSummary),
}

text_enum!(
    /// What a runner is doing with an attempt.
    Phase {
        /// It makes sure that the image is there.
        Image = "image",
        /// It creates and starts the executor, or hands the task to a parked one.
        Starting = "starting",
        /// The plugin runs.
        Running = "running",
        /// The plugin was told to stop.
        Stopping = "stopping",
        /// The verdict is there; result and log are being sent.
        Reporting = "reporting",
    }
);

/// How an attempt ended, by its runner's verdict.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// The outcome.
    pub outcome: Outcome,
    /// What went wrong, or a note; masked.
    pub message: String,
    /// How the plugin's process ended, if that was known when the result was taken.
    pub exit: Option<Exit>,
    /// The `exitCode` of the plugin's result.
    pub result_exit_code: Option<i64>,
    /// The plugin's result, as JSON.
    pub result: ResultBytes,
    /// What the engine said, or the masked first bytes of what cannot be read.
    pub evidence: Option<String>,
    /// Where the time went, in milliseconds, in the order it was spent: `("image", 3)`.
    pub timings: Vec<(String, u64)>,
}

/// Where a plugin's result is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kept", rename_all = "snake_case")]
pub enum ResultBytes {
    /// There is none.
    Missing,
    /// Here, as JSON text.
    Inline {
        /// The text.
        json: String,
    },
    /// In chunks of the stream `result` that were sent before.
    Chunked {
        /// Bytes of all chunks.
        bytes: u64,
        /// How many chunks.
        chunks: u32,
    },
}

/// What became of an attempt's log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogSummary {
    /// Bytes of standard output, masked, dropped ones included.
    pub stdout_bytes: u64,
    /// Bytes of standard error, masked, dropped ones included.
    pub stderr_bytes: u64,
    /// Bytes dropped between head and tail because of the task's log limit.
    pub dropped_bytes: u64,
    /// Places at which the engine had thrown something away.
    pub gaps: u32,
}

text_enum!(
    /// A stream of a plugin's log.
    LogStream {
        /// Standard output.
        Stdout = "stdout",
        /// Standard error.
        Stderr = "stderr",
    }
);

/// A piece of an attempt's log, masked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogPiece {
    /// Which stream.
    pub stream: LogStream,
    /// Its place in the stream, in bytes of the masked stream.
    pub offset: u64,
    /// What is there.
    pub content: LogContent,
}

/// What is at a place of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogContent {
    /// Bytes of the plugin.
    Bytes(Vec<u8>),
    /// Bytes that are missing: thrown away by the engine, or dropped between head and tail.
    Gap {
        /// How many, if known.
        bytes: Option<u64>,
    },
}

impl LogPiece {
    /// The offset after this piece.
    pub fn end(&self) -> u64 {
        self.offset
            + match &self.content {
                LogContent::Bytes(bytes) => bytes.len() as u64,
                LogContent::Gap { bytes } => bytes.unwrap_or(0),
            }
    }

    /// What is left of this piece if the receiver already has the stream up to `have`: nothing, or its rest.
    ///
    /// A gap of unknown length counts as had when its offset is before `have`.
    #[must_use]
    pub fn after(self, have: u64) -> Option<Self> {
        if self.offset >= have {
            return Some(self);
        }
        let end = self.end();
        if end <= have {
            return None;
        }
        let skip = have - self.offset;
        let content = match self.content {
            LogContent::Bytes(mut bytes) => LogContent::Bytes(bytes.split_off(usize::try_from(skip).unwrap_or(usize::MAX))),
            LogContent::Gap { bytes } => LogContent::Gap { bytes: bytes.map(|bytes| bytes - skip) },
        };
        Some(Self { stream: self.stream, offset: have, content })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_had_is_cut_off() {
        let piece = LogPiece { stream: LogStream::Stdout, offset: 10, content: LogContent::Bytes(b"abcdef".to_vec()) };
        assert_eq!(piece.end(), 16);
        assert_eq!(piece.clone().after(10), Some(piece.clone()));
        let rest = piece.clone().after(14).unwrap();
        assert_eq!((rest.offset, rest.content), (14, LogContent::Bytes(b"ef".to_vec())));
        assert_eq!(piece.after(16), None);
    }
}
