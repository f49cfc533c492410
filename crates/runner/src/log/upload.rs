//! From the spool to the server.
//!
//! The server keeps what continues its copy and skips what it has, so sending something twice is harmless; after each answer
//! both sides agree on how far the log has come.

use std::io;
use std::time::Duration;

use legwork_core::AttemptId;
use legwork_core::event::{LogContent, LogPiece, LogStream};
use legwork_core::limits;
use legwork_engine::LogOffsets;
use legwork_protocol::channel::ChunkAnswer;
use legwork_protocol::envelope::{ChunkHeader, ChunkStream, KeyId};
use legwork_protocol::frames;
use tokio::sync::watch;

use super::Progress;
use super::spool::{LogPlace, LogReader};
use crate::context::Context;
use crate::delivery::Refused;
use crate::store::remove_file;

/// Bytes that a chunk is filled up to: one more record always fits.
const FULL: usize = limits::CHUNK_BYTES - 2 * super::spool::RECORD;

/// The wait after a chunk of which the server took nothing.
const RETRY: Duration = Duration::from_secs(1);

/// Sends a log.
pub(crate) struct Uploader<'a> {
    context: &'a Context,
    place: LogPlace,
    progress: watch::Receiver<Progress>,
    reader: LogReader,
    /// How far the server's copy goes; none if only the server knows.
    have: Option<LogOffsets>,
    sequence: u64,
    trimmed: u32,
}

impl<'a> Uploader<'a> {
    /// An uploader of everything that lies in the spool and is still to come.
    pub(crate) fn new(context: &'a Context, place: LogPlace, progress: watch::Receiver<Progress>, fresh: bool) -> Self {
        let first = place.first_segment(progress.borrow().segment);
        let have = fresh.then(LogOffsets::default);
        Self { context, reader: LogReader::new(place.clone(), first), place, progress, have, sequence: 0, trimmed: first }
    }

    /// Returns when the log has ended and the server has all of it.
    pub(crate) async fn run(mut self) -> Result<(), Refused> {
        loop {
            let progress = *self.progress.borrow_and_update();
            if self.have.is_none() {
                self.have = Some(self.send(Vec::new(), false).await?);
            }
            while let Some(chunk) = self.next_chunk(&progress) {
                let promised = chunk.have;
                let have = self.send(chunk.bytes, chunk.last).await?;
                if have.stdout < promised.stdout || have.stderr < promised.stderr {
                    // The server lacks something that it had: begin again with what is here.
                    let first = self.place.first_segment(progress.segment);
                    self.reader = LogReader::new(self.place.clone(), first);
                    if Some(have) == self.have {
                        // It took nothing of the chunk: that will not be better at once.
                        self.context.channel.links().pause(RETRY).await;
                    }
                }
                self.have = Some(have);
                self.trim(&progress);
            }
            if progress.ended.is_some() {
                return Ok(());
            }
            if self.progress.changed().await.is_err() {
                // The attempt was dropped before its log ended.
                return std::future::pending().await;
            }
        }
    }

    /// The next bytes to send, and how far the server's copy goes then.
    fn next_chunk(&mut self, progress: &Progress) -> Option<Chunk> {
        let mut have = self.have.unwrap_or_default();
        let before = have;
        let mut bytes = Vec::new();
        let (until, length) = match progress.tail_from {
            // What may still be dropped is not sent: a jump is only known at the end.
            Some(tail_from) if progress.ended.is_none() => (tail_from, 0),
            _ => (progress.segment, progress.length),
        };
        while bytes.len() < FULL {
            match self.reader.next(until, length) {
                Ok(Some(pieces)) => {
                    for piece in pieces {
                        add(piece, &mut have, &mut bytes);
                    }
                }
                Ok(None) => break,
                Err(error) => self.give_up_segment(&error),
            }
        }
        let mut last = false;
        if bytes.len() < FULL
            && let Some(summary) = progress.ended
        {
            for (stream, end) in [(LogStream::Stdout, summary.stdout_bytes), (LogStream::Stderr, summary.stderr_bytes)] {
                add(LogPiece { stream, offset: end, content: LogContent::Bytes(Vec::new()) }, &mut have, &mut bytes);
            }
            last = true;
        }
        let nothing = bytes.is_empty() && before == have;
        (!nothing).then_some(Chunk { bytes, have, last })
    }

    fn give_up_segment(&mut self, error: &io::Error) {
        tracing::error!(attempt = %self.place.attempt, %error, "a part of the spooled log cannot be read: it will be missing");
        self.reader.skip_segment();
    }

    /// Sends a chunk until the server has answered; gives how far its copy goes.
    async fn send(&mut self, bytes: Vec<u8>, last: bool) -> Result<LogOffsets, Refused> {
        let attempt: AttemptId = self.place.attempt;
        let header = ChunkHeader { attempt, stream: ChunkStream::Log, sequence: self.sequence, last, key_id: KeyId::clear() };
        self.sequence += 1;
        match self.context.put_chunk(&header, bytes.into()).await? {
            ChunkAnswer::Kept { stdout, stderr } | ChunkAnswer::Missing { stdout, stderr, .. } => {
                Ok(LogOffsets { stdout, stderr })
            }
            ChunkAnswer::Refused { why } => Err(Refused(why)),
        }
    }

    /// Removes segments that the server has and that are not needed to take the log up again.
    fn trim(&mut self, progress: &Progress) {
        for segment in self.trimmed..self.reader.segment().min(progress.keep_from) {
            remove_file(&self.place.spool.log(self.place.attempt, segment));
            self.trimmed = segment + 1;
        }
    }
}

struct Chunk {
    bytes: Vec<u8>,
    have: LogOffsets,
    last: bool,
}

/// Adds what the server lacks of a piece, and the gap before it if there is one.
fn add(piece: LogPiece, have: &mut LogOffsets, bytes: &mut Vec<u8>) {
    let stream = piece.stream;
    let at = have.of(stream);
    let Some(piece) = piece.after(at) else { return };
    if piece.offset > at {
        let gap = LogContent::Gap { bytes: Some(piece.offset - at) };
        frames::encode(&LogPiece { stream, offset: at, content: gap }, bytes);
    }
    let end = piece.end();
    if !matches!(&piece.content, LogContent::Bytes(bytes) if bytes.is_empty()) {
        frames::encode(&piece, bytes);
    }
    have.advance(stream, end - at);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_jump_is_sent_as_a_gap() {
        let mut have = LogOffsets { stdout: 3, stderr: 0 };
        let mut bytes = Vec::new();
        let piece =
            |offset, text: &[u8]| LogPiece { stream: LogStream::Stdout, offset, content: LogContent::Bytes(text.to_vec()) };
        add(piece(0, b"abcde"), &mut have, &mut bytes);
        add(piece(2, b"cd"), &mut have, &mut bytes);
        add(piece(9, b"j"), &mut have, &mut bytes);
        add(piece(12, b""), &mut have, &mut bytes);
        let sent: Vec<_> = frames::decode(&bytes).unwrap().into_iter().map(|piece| (piece.offset, piece.content)).collect();
        assert_eq!(
            sent,
            [
                (3, LogContent::Bytes(b"de".to_vec())),
                (5, LogContent::Gap { bytes: Some(4) }),
                (9, LogContent::Bytes(b"j".to_vec())),
                (10, LogContent::Gap { bytes: Some(2) }),
            ]
        );
        assert_eq!(have.stdout, 12);
    }
}
