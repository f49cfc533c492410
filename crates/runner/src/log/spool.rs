//! A log on disk: numbered segments of sealed records, each a list of frames.
//!
//! The segments up to the first half of the task's log limit are the head; they are sent as they come. What follows is the
//! tail: its oldest segments are dropped whenever it is longer than the other half, and it is sent when the log has ended.
//! What was dropped shows as a jump of the offsets.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::sync::Arc;

use legwork_core::AttemptId;
use legwork_core::event::{LogContent, LogPiece};
use legwork_protocol::frames;
use legwork_sealing::SealingKey;

use crate::journal::LogPoint;
use crate::store::{Spool, remove_file};

/// Bytes of log in one record.
pub(crate) const RECORD: usize = 128 * 1024;
/// The most bytes that a sealed record can have.
const SEALED_RECORD: u32 = 1024 * 1024;
const SEGMENT_MAX: u64 = 8 * 1024 * 1024;
const SEGMENT_MIN: u64 = 16;

/// Where an attempt's log lies.
#[derive(Clone)]
pub(crate) struct LogPlace {
    pub(crate) spool: Spool,
    pub(crate) key: Arc<SealingKey>,
    pub(crate) attempt: AttemptId,
}

impl LogPlace {
    fn context(&self, segment: u32, at: u64) -> String {
        format!("log/{}/{segment}/{at}", self.attempt)
    }

    /// The first segment that is there, up to `last`.
    pub(crate) fn first_segment(&self, last: u32) -> u32 {
        (0..last).find(|segment| self.spool.log(self.attempt, *segment).exists()).unwrap_or(last)
    }
}

/// Writes a log.
pub(crate) struct LogWriter {
    place: LogPlace,
    half: u64,
    segment_size: u64,
    file: Option<File>,
    /// Finished segments that may not be on disk yet.
    closed: Vec<File>,
    segment: u32,
    length: u64,
    /// Bytes of log in the segment that is being written.
    in_segment: u64,
    /// Bytes of log in the head.
    head: u64,
    /// The first segment of the tail, and the closed segments of it with their bytes of log.
    tail_from: Option<u32>,
    tail: VecDeque<(u32, u64)>,
}

impl LogWriter {
    /// Goes on at this point: what was written after it is cut off.
    pub(crate) fn resume(place: LogPlace, limit: u64, point: &LogPoint) -> io::Result<Self> {
        let half = limit / 2;
        let mut writer = Self {
            segment_size: (limit / 16).clamp(SEGMENT_MIN, SEGMENT_MAX),
            half,
            file: None,
            closed: Vec::new(),
            segment: point.segment,
            length: point.length,
            in_segment: point.length,
            head: point.head,
            tail_from: point.tail_from,
            tail: VecDeque::new(),
            place,
        };
        for later in point.segment + 1.. {
            let path = writer.place.spool.log(writer.place.attempt, later);
            if !path.exists() {
                break;
            }
            std::fs::remove_file(path)?;
        }
        if let Some(from) = point.tail_from {
            for segment in from..point.segment {
                if let Ok(metadata) = std::fs::metadata(writer.place.spool.log(writer.place.attempt, segment)) {
                    writer.tail.push_back((segment, metadata.len()));
                }
            }
        }
        let path = writer.place.spool.log(writer.place.attempt, point.segment);
        if path.exists() {
            OpenOptions::new().write(true).open(path)?.set_len(point.length)?;
        }
        Ok(writer)
    }

    pub(crate) fn position(&self) -> (u32, u64, Option<u32>) {
        (self.segment, self.length, self.tail_from)
    }

    /// Adds a piece of at most [`RECORD`] bytes.
    pub(crate) fn append(&mut self, piece: LogPiece) -> io::Result<()> {
        let bytes = match &piece.content {
            LogContent::Bytes(bytes) => bytes.len() as u64,
            LogContent::Gap { .. } => 0,
        };
        if self.tail_from.is_none() {
            let room = self.half.saturating_sub(self.head);
            if bytes > room {
                let (offset, end) = (piece.offset, piece.offset + room);
                if room > 0
                    && let LogContent::Bytes(bytes) = &piece.content
                {
                    let head = bytes[..usize::try_from(room).unwrap_or(bytes.len())].to_vec();
                    self.write(&LogPiece { stream: piece.stream, offset, content: LogContent::Bytes(head) }, room)?;
                    self.head += room;
                }
                self.next_segment();
                self.tail_from = Some(self.segment);
                return piece.after(end).map_or(Ok(()), |rest| self.append(rest));
            }
            self.head += bytes;
        }
        if self.in_segment >= self.segment_size {
            self.next_segment();
        }
        if bytes > self.segment_size
            && let LogContent::Bytes(whole) = &piece.content
        {
            // Segments are dropped as a whole, so none may be much longer than the others.
            let size = usize::try_from(self.segment_size).unwrap_or(RECORD);
            let parts: Vec<_> = whole.chunks(size).map(<[u8]>::to_vec).collect();
            let mut offset = piece.offset;
            for part in parts {
                if self.in_segment >= self.segment_size {
                    self.next_segment();
                }
                let bytes = part.len() as u64;
                self.write(&LogPiece { stream: piece.stream, offset, content: LogContent::Bytes(part) }, bytes)?;
                self.drop_oldest();
                offset += bytes;
            }
            return Ok(());
        }
        self.write(&piece, bytes)?;
        self.drop_oldest();
        Ok(())
    }

    /// Bytes of log in the head.
    pub(crate) fn head_bytes(&self) -> u64 {
        self.head
    }

    /// The files that were written to since the last call, to be synced.
    pub(crate) fn unsynced(&mut self) -> io::Result<Vec<File>> {
        let mut files = std::mem::take(&mut self.closed);
        if let Some(file) = &self.file {
            files.push(file.try_clone()?);
        }
        Ok(files)
    }

    /// Bytes of log that lie in the tail. Reads it.
    pub(crate) fn kept_in_tail(&self) -> io::Result<u64> {
        let Some(from) = self.tail_from else { return Ok(0) };
        let mut kept = 0;
        let mut reader =
            LogReader::new(self.place.clone(), self.tail.front().map_or(self.segment.max(from), |(first, _)| *first));
        while let Some(pieces) = reader.next(self.segment, self.length)? {
            for piece in pieces {
                if let LogContent::Bytes(bytes) = piece.content {
                    kept += bytes.len() as u64;
                }
            }
        }
        Ok(kept)
    }

    fn write(&mut self, piece: &LogPiece, bytes: u64) -> io::Result<()> {
        let mut record = Vec::with_capacity(frames::encoded_len(piece));
        frames::encode(piece, &mut record);
        let sealed = self.place.key.seal(&self.place.context(self.segment, self.length), &record);
        let mut framed = Vec::with_capacity(sealed.len() + 4);
        framed.extend_from_slice(&u32::try_from(sealed.len()).unwrap_or(u32::MAX).to_be_bytes());
        framed.extend_from_slice(&sealed);
        let length = self.length;
        let file = self.open()?;
        if let Err(error) = file.write_all(&framed) {
            // What was half written is cut off, so that the next record begins where it is looked for.
            let _ = file.set_len(length);
            let _ = file.seek(SeekFrom::Start(length));
            return Err(error);
        }
        self.length += framed.len() as u64;
        self.in_segment += bytes;
        Ok(())
    }

    fn open(&mut self) -> io::Result<&mut File> {
        if self.file.is_none() {
            let path = self.place.spool.log(self.place.attempt, self.segment);
            let mut file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path)?;
            file.seek(SeekFrom::Start(self.length))?;
            self.file = Some(file);
        }
        self.file.as_mut().ok_or_else(|| io::Error::other("the segment was closed"))
    }

    fn next_segment(&mut self) {
        if self.length == 0 {
            return;
        }
        if self.tail_from.is_some() {
            self.tail.push_back((self.segment, self.in_segment));
        }
        self.closed.extend(self.file.take());
        self.segment += 1;
        self.length = 0;
        self.in_segment = 0;
    }

    fn drop_oldest(&mut self) {
        let mut kept = self.in_segment + self.tail.iter().map(|(_, bytes)| bytes).sum::<u64>();
        while kept > self.half
            && let Some((oldest, bytes)) = self.tail.pop_front()
        {
            kept -= bytes;
            remove_file(&self.place.spool.log(self.place.attempt, oldest));
        }
    }
}

/// Reads a log.
pub(crate) struct LogReader {
    place: LogPlace,
    segment: u32,
    at: u64,
    file: Option<File>,
}

impl LogReader {
    /// A reader of everything from this segment on.
    pub(crate) fn new(place: LogPlace, segment: u32) -> Self {
        Self { place, segment, at: 0, file: None }
    }

    /// The segment that is read now.
    pub(crate) fn segment(&self) -> u32 {
        self.segment
    }

    /// The pieces of the next record before this position; none if there is no more.
    pub(crate) fn next(&mut self, segment: u32, length: u64) -> io::Result<Option<Vec<LogPiece>>> {
        loop {
            if self.segment > segment || (self.segment == segment && self.at >= length) {
                return Ok(None);
            }
            if self.file.is_none() {
                match File::open(self.place.spool.log(self.place.attempt, self.segment)) {
                    Ok(file) => self.file = Some(file),
                    // It was dropped: the next piece's offset tells how much is missing.
                    Err(error) if error.kind() == io::ErrorKind::NotFound && self.segment < segment => {
                        self.go_to(self.segment + 1);
                        continue;
                    }
                    Err(error) => return Err(error),
                }
            }
            let Some(file) = &mut self.file else { continue };
            let mut size = [0; 4];
            match file.read_exact(&mut size) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof && self.segment < segment => {
                    self.go_to(self.segment + 1);
                    continue;
                }
                Err(error) => return Err(error),
            }
            let size = u32::from_be_bytes(size);
            if size > SEALED_RECORD {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "a record of the spooled log has an impossible length"));
            }
            let mut sealed = vec![0; size as usize];
            file.read_exact(&mut sealed)?;
            let record = self.place.key.open(&self.place.context(self.segment, self.at), &sealed).map_err(io::Error::other)?;
            self.at += 4 + u64::from(size);
            return frames::decode(&record).map(Some).map_err(io::Error::other);
        }
    }

    /// Goes on with the next segment, for when the rest of this one cannot be read.
    pub(crate) fn skip_segment(&mut self) {
        self.go_to(self.segment + 1);
    }

    fn go_to(&mut self, segment: u32) {
        self.segment = segment;
        self.at = 0;
        self.file = None;
    }
}

#[cfg(test)]
mod tests {
    use legwork_core::event::LogStream;
    use legwork_core::{AttemptNumber, TaskId};

    use super::*;
    use crate::store::Store;

    fn place(directory: &std::path::Path) -> LogPlace {
        let spool = Store::lock(directory).unwrap().spool();
        let attempt = AttemptId { task: TaskId::new(), attempt: AttemptNumber(1) };
        LogPlace { spool, key: Arc::new(SealingKey::from_bytes([5; 32])), attempt }
    }

    fn piece(offset: u64, bytes: &[u8]) -> LogPiece {
        LogPiece { stream: LogStream::Stdout, offset, content: LogContent::Bytes(bytes.to_vec()) }
    }

    fn read(place: &LogPlace, writer: &LogWriter) -> Vec<(u64, Vec<u8>)> {
        let (segment, length, _) = writer.position();
        let mut reader = LogReader::new(place.clone(), place.first_segment(segment));
        let mut all = Vec::new();
        while let Some(pieces) = reader.next(segment, length).unwrap() {
            for piece in pieces {
                let LogContent::Bytes(bytes) = piece.content else { panic!("no gap was written") };
                all.push((piece.offset, bytes));
            }
        }
        all
    }

    #[test]
    fn head_and_tail_stay() {
        let directory = tempfile::tempdir().unwrap();
        let place = place(directory.path());
        let mut writer = LogWriter::resume(place.clone(), 3200, &LogPoint::default()).unwrap();
        for index in 0..1000_u64 {
            writer.append(piece(index * 10, format!("{index:>9}\n").as_bytes())).unwrap();
        }
        let all = read(&place, &writer);
        let (head, tail): (Vec<_>, Vec<_>) = all.iter().partition(|(offset, _)| *offset < 1600);
        assert_eq!(head.iter().map(|(_, bytes)| bytes.len()).sum::<usize>(), 1600);
        let kept: usize = tail.iter().map(|(_, bytes)| bytes.len()).sum();
        assert!((1200..=1600).contains(&kept), "{kept}");
        assert_eq!(writer.kept_in_tail().unwrap(), kept as u64);
        assert_eq!(all.last().unwrap(), &(9990, b"      999\n".to_vec()));
    }

    #[test]
    fn what_was_written_after_the_point_is_cut_off() {
        let directory = tempfile::tempdir().unwrap();
        let place = place(directory.path());
        let mut writer = LogWriter::resume(place.clone(), 1 << 20, &LogPoint::default()).unwrap();
        writer.append(piece(0, b"first ")).unwrap();
        let (segment, length, tail_from) = writer.position();
        let point = LogPoint { segment, length, tail_from, ..LogPoint::default() };
        writer.append(piece(6, b"lost")).unwrap();
        let mut writer = LogWriter::resume(place.clone(), 1 << 20, &point).unwrap();
        writer.append(piece(6, b"second")).unwrap();
        assert_eq!(read(&place, &writer), [(0, b"first ".to_vec()), (6, b"second".to_vec())]);
        let on_disk = std::fs::read(place.spool.log(place.attempt, 0)).unwrap();
        assert!(!on_disk.windows(5).any(|window| window == b"first"), "it is sealed");
    }
}
