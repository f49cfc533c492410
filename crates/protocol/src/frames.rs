//! Log pieces as bytes: the inside of a chunk of the stream `log`.
//!
//! A frame is: kind (1 byte: 0 stdout, 1 stderr, 2 gap in stdout, 3 gap in stderr) · offset (8 bytes, big-endian) ·
//! length (4 bytes, big-endian) · that many bytes. A gap's bytes are its length in 8 bytes, or nothing if unknown.

use legwork_core::event::{LogContent, LogPiece, LogStream};

const HEADER: usize = 13;

/// Why bytes are no list of frames.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The bytes end inside a frame.
    #[error("a log chunk ends inside a frame, at byte {0}")]
    Truncated(usize),
    /// A frame of a kind that does not exist.
    #[error("a log chunk has a frame of the unknown kind {kind} at byte {at}")]
    UnknownKind {
        /// The kind.
        kind: u8,
        /// Where.
        at: usize,
    },
    /// A gap whose length is not 0 or 8 bytes.
    #[error("a log chunk has a malformed gap at byte {0}")]
    MalformedGap(usize),
}

/// Adds one piece to a chunk.
pub fn encode(piece: &LogPiece, chunk: &mut Vec<u8>) {
    let stream = u8::from(piece.stream == LogStream::Stderr);
    let mut frame = |kind: u8, bytes: &[u8]| {
        chunk.push(kind);
        chunk.extend_from_slice(&piece.offset.to_be_bytes());
        chunk.extend_from_slice(&u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes());
        chunk.extend_from_slice(bytes);
    };
    match &piece.content {
        LogContent::Bytes(bytes) => frame(stream, bytes),
        LogContent::Gap { bytes: Some(missing) } => frame(stream + 2, &missing.to_be_bytes()),
        LogContent::Gap { bytes: None } => frame(stream + 2, &[]),
    }
}

/// How many bytes a piece takes in a chunk.
pub fn encoded_len(piece: &LogPiece) -> usize {
    HEADER
        + match &piece.content {
            LogContent::Bytes(bytes) => bytes.len(),
            LogContent::Gap { bytes: Some(_) } => 8,
            LogContent::Gap { bytes: None } => 0,
        }
}

/// The pieces of a chunk.
pub fn decode(chunk: &[u8]) -> Result<Vec<LogPiece>, FrameError> {
    let mut pieces = Vec::new();
    let mut at = 0;
    while at < chunk.len() {
        let rest = &chunk[at..];
        let (Some(kind), Some(offset), Some(length)) =
            (rest.first().copied(), fixed::<8>(rest, 1).map(u64::from_be_bytes), fixed::<4>(rest, 9).map(u32::from_be_bytes))
        else {
            return Err(FrameError::Truncated(at));
        };
        let body = rest.get(HEADER..).and_then(|body| body.get(..length as usize)).ok_or(FrameError::Truncated(at))?;
        let stream = if kind % 2 == 0 { LogStream::Stdout } else { LogStream::Stderr };
        let content = match (kind, body.len()) {
            (0 | 1, _) => LogContent::Bytes(body.to_vec()),
            (2 | 3, 0) => LogContent::Gap { bytes: None },
            (2 | 3, 8) => LogContent::Gap { bytes: fixed::<8>(body, 0).map(u64::from_be_bytes) },
            (2 | 3, _) => return Err(FrameError::MalformedGap(at)),
            _ => return Err(FrameError::UnknownKind { kind, at }),
        };
        pieces.push(LogPiece { stream, offset, content });
        at += HEADER + body.len();
    }
    Ok(pieces)
}

fn fixed<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at.checked_add(N)?)?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_come_back() {
        let pieces = vec![
            LogPiece { stream: LogStream::Stdout, offset: 0, content: LogContent::Bytes(b"hello\n".to_vec()) },
            LogPiece { stream: LogStream::Stderr, offset: u64::MAX - 9, content: LogContent::Bytes(vec![0xff; 3]) },
            LogPiece { stream: LogStream::Stdout, offset: 6, content: LogContent::Gap { bytes: Some(1 << 40) } },
            LogPiece { stream: LogStream::Stderr, offset: 0, content: LogContent::Gap { bytes: None } },
        ];
        let mut chunk = Vec::new();
        for piece in &pieces {
            let before = chunk.len();
            encode(piece, &mut chunk);
            assert_eq!(chunk.len() - before, encoded_len(piece));
        }
        assert_eq!(decode(&chunk).unwrap(), pieces);
        assert_eq!(decode(&[]).unwrap(), Vec::new());
    }

    #[test]
    fn foreign_bytes_are_refused() {
        let mut chunk = Vec::new();
        encode(&LogPiece { stream: LogStream::Stdout, offset: 0, content: LogContent::Bytes(b"hello".to_vec()) }, &mut chunk);
        for cut in 1..chunk.len() {
            assert_eq!(decode(&chunk[..cut]), Err(FrameError::Truncated(0)), "{cut}");
        }
        chunk[0] = 9;
        assert_eq!(decode(&chunk), Err(FrameError::UnknownKind { kind: 9, at: 0 }));
        let huge = [0u8, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 1];
        assert_eq!(decode(&huge), Err(FrameError::Truncated(0)));
    }
}
