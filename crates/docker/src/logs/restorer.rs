//! From the entries of the `local` log driver back to the plugin's bytes.

use bollard::container::LogOutput;
use bytes::Bytes;
use legwork_core::Timestamp;
use legwork_engine::{LogItem, LogOffsets, LogStream};

/// The length at which the driver cuts a line.
const PIECE: usize = 16 * 1024;
/// By how many seconds the times of the two streams may be out of order.
const STRAGGLERS: i64 = 2;

/// More than the driver writes around an entry.
const AROUND: u64 = 32;
/// More than the driver writes around a piece of a line that it has cut.
const AROUND_PIECE: u64 = 128;

/// Puts the plugin's bytes together again.
pub(crate) struct Restorer {
    /// What is to be delivered next.
    from: LogOffsets,
    /// Where the next entry begins.
    at: LogOffsets,
    /// Per stream: the last entry was a piece in the middle of a line.
    cut: [bool; 2],
    /// Per stream: where the entries of its latest second begin.
    latest: [Latest; 2],
    /// Per stream: the time of its latest line, in milliseconds.
    newest: [Option<i64>; 2],
    /// The latest second is being read again.
    again: bool,
    /// What is left out of a log whose beginning is gone.
    part: Option<Part>,
    /// Bytes of one stream that were not given on yet, and where they begin.
    held: Option<(LogStream, u64, Vec<u8>)>,
}

/// The latest second of a stream. The pieces of a line carry the time of its first, so a second begins with a whole line.
#[derive(Clone, Copy, Default)]
struct Latest {
    second: i64,
    begin: u64,
    /// The machine's clock was set back in between: seconds cannot be told apart.
    confused: bool,
}

impl Restorer {
    pub(crate) fn new(from: LogOffsets) -> Self {
        Self {
            from,
            at: LogOffsets::default(),
            cut: [false; 2],
            latest: [Latest::default(); 2],
            newest: [None; 2],
            again: false,
            part: None,
            held: None,
        }
    }

    /// Goes on behind a gap: the beginning of the log is gone, and of the rest only this part is wanted.
    ///
    /// What comes first may be the end of a line that was cut.
    pub(crate) fn behind_a_gap(at: LogOffsets, part: Part) -> Self {
        Self { at, cut: [true; 2], part: Some(part), ..Self::new(at) }
    }

    /// Where it has come to.
    pub(crate) fn reached(&self) -> LogOffsets {
        self.from
    }

    /// Per stream: the time of its latest line, in milliseconds.
    pub(crate) fn newest(&self) -> [Option<i64>; 2] {
        self.newest
    }

    /// Gets ready to read the latest second again; tells the second from which on, or nothing if that is of no use.
    pub(crate) fn begin_again(&mut self) -> Option<i32> {
        self.again = true;
        if self.latest.iter().any(|latest| latest.confused) {
            self.latest = [Latest::default(); 2];
        }
        let newest = self.latest.iter().map(|latest| latest.second).max().unwrap_or(0);
        let mut since = newest;
        let mut again = [self.at.stdout, self.at.stderr];
        for (latest, stream) in self.latest.iter().zip([LogStream::Stdout, LogStream::Stderr]) {
            // What is missing is younger than what was read. A stream that was silent lately, and is in the middle of no line,
            // has nothing to be read again, only something to come.
            if latest.second + STRAGGLERS >= newest || self.cut[stream as usize] {
                since = since.min(latest.second);
                again[stream as usize] = latest.begin;
            }
        }
        self.cut = [false; 2];
        self.at = LogOffsets { stdout: again[0], stderr: again[1] };
        i32::try_from(since).ok()
    }

    pub(crate) fn push(&mut self, entry: LogOutput, items: &mut Vec<LogItem>) {
        let (stream, message) = match entry {
            LogOutput::StdOut { message } => (LogStream::Stdout, message),
            LogOutput::StdErr { message } => (LogStream::Stderr, message),
            // Executors have neither a terminal nor standard input.
            LogOutput::StdIn { .. } | LogOutput::Console { .. } => return,
        };
        let (millis, content) = split_time(&message);
        if self.part.as_mut().is_some_and(|part| !part.has(stream, millis)) {
            return;
        }
        self.newest[stream as usize] = Some(millis);
        let time = millis.div_euclid(1000);
        let latest = &mut self.latest[stream as usize];
        if time < latest.second {
            // Either from before the second that is read again, or the clock was set back.
            if self.again && self.at.of(stream) == latest.begin {
                return;
            }
            latest.confused = true;
        } else if time > latest.second {
            latest.second = time;
            latest.begin = self.at.of(stream);
        }
        let cut = &mut self.cut[stream as usize];
        let ends_cut_line = *cut && content.len() < PIECE && !content.ends_with(b"\n");
        *cut = content.len() == PIECE && !content.ends_with(b"\n");
        self.add(stream, content, items);
        if ends_cut_line {
            self.add(stream, b"\n", items);
        }
    }

    fn add(&mut self, stream: LogStream, bytes: &[u8], items: &mut Vec<LogItem>) {
        let begin = self.at.of(stream);
        self.at.advance(stream, bytes.len() as u64);
        let known = self.from.of(stream).saturating_sub(begin);
        let Some(news) = usize::try_from(known).ok().and_then(|known| bytes.get(known..)) else { return };
        if news.is_empty() {
            return;
        }
        self.from.advance(stream, news.len() as u64);
        match &mut self.held {
            Some((held, _, together)) if *held == stream => together.extend_from_slice(news),
            _ => {
                self.flush(items);
                self.held = Some((stream, begin + known, news.to_vec()));
            }
        }
    }

    pub(crate) fn flush(&mut self, items: &mut Vec<LogItem>) {
        if let Some((stream, offset, bytes)) = self.held.take() {
            items.push(LogItem::Bytes { stream, offset, bytes: Bytes::from(bytes) });
        }
    }
}

/// The part of a log that is wanted.
#[derive(Clone, Copy)]
pub(crate) struct Part {
    /// Per stream: only lines that are younger, in milliseconds.
    pub(crate) after: [i64; 2],
    /// Per stream: the first line that is younger may be known in part and is left out, too.
    pub(crate) without_first: [bool; 2],
    /// Per stream: the line that is left out.
    pub(crate) first: [Option<i64>; 2],
    /// Only lines that are older.
    pub(crate) before: i64,
}

impl Part {
    fn has(&mut self, stream: LogStream, millis: i64) -> bool {
        let index = stream as usize;
        if millis <= self.after[index] || millis >= self.before {
            return false;
        }
        // The pieces of a line have its time. Another line of that millisecond is left out with it.
        !self.without_first[index] || *self.first[index].get_or_insert(millis) != millis
    }
}

/// No less than the bytes that the driver has written for an entry.
pub(crate) fn stored(entry: &LogOutput) -> u64 {
    let (_, content) = split_time(entry.as_ref());
    content.len() as u64 + if content.ends_with(b"\n") { AROUND } else { AROUND_PIECE }
}

/// The time that Docker puts before an entry, in milliseconds, and the entry.
fn split_time(entry: &[u8]) -> (i64, &[u8]) {
    let (time, content) = entry.split_at(entry.iter().position(|byte| *byte == b' ').map_or(0, |at| at + 1));
    let text = std::str::from_utf8(time).unwrap_or_default().trim_end();
    (text.parse::<Timestamp>().map_or(0, Timestamp::as_millis), content)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIME: &str = "2026-11-23T19:07:38.171567969Z ";

    fn entry(content: &[u8]) -> LogOutput {
        LogOutput::StdOut { message: Bytes::from([TIME.as_bytes(), content].concat()) }
    }

    fn restored(from: u64, entries: &[&[u8]]) -> Vec<u8> {
        let mut restorer = Restorer::new(LogOffsets { stdout: from, stderr: 0 });
        let mut items = Vec::new();
        for content in entries {
            restorer.push(entry(content), &mut items);
        }
        restorer.flush(&mut items);
        let mut all = Vec::new();
        for item in items {
            let LogItem::Bytes { offset, bytes, .. } = item else { panic!("a gap") };
            assert_eq!(offset, from + all.len() as u64);
            all.extend_from_slice(&bytes);
        }
        all
    }

    #[test]
    fn the_newline_after_a_cut_line_comes_back() {
        let piece = [b'a'; PIECE];
        let line_of = |len: usize| [vec![b'a'; len], b"\n".to_vec()].concat();
        assert_eq!(restored(0, &[&line_of(PIECE - 1)]), line_of(PIECE - 1));
        assert_eq!(restored(0, &[&piece, b"", b"x\n"]), [line_of(PIECE), b"x\n".to_vec()].concat());
        assert_eq!(restored(0, &[&piece, b"a", b"x\n"]), [line_of(PIECE + 1), b"x\n".to_vec()].concat());
        assert_eq!(restored(0, &[&piece, &piece, b""]), line_of(2 * PIECE));
        assert_eq!(restored(0, &[&piece]), piece, "the end of a stream, without a newline");
        assert_eq!(restored(0, &[b"x\n", b"y"]), b"x\ny");
        assert_eq!(restored(0, &[b"\n", b"\n", b" a \r\n"]), b"\n\n a \r\n");
    }

    #[test]
    fn a_log_goes_on_at_any_byte() {
        let piece = [b'a'; PIECE];
        let entries: [&[u8]; 4] = [&piece, b"bc", b"next\n", b"end"];
        let all = restored(0, &entries);
        for from in [0, 1, PIECE, PIECE + 1, PIECE + 2, PIECE + 3, PIECE + 4, all.len()] {
            assert_eq!(restored(from as u64, &entries), all[from..], "from {from}");
        }
    }
}
