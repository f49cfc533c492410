//! Logs: every byte once.

use legwork_core::event::{LogContent, LogPiece, LogStream};
use legwork_core::task::{Outcome, Refusal};
use legwork_core::{AttemptId, RunnerId};
use legwork_store::confirm::Denied;
use legwork_store::logs::LogAnswer;

use crate::support::{Bed, finished};

on_both!(bytes_are_stored_once, gaps_are_kept, logs_are_read_in_pages, logs_are_fenced);

const OUT: LogStream = LogStream::Stdout;
const ERR: LogStream = LogStream::Stderr;

fn piece(stream: LogStream, offset: u64, text: &str) -> LogPiece {
    LogPiece { stream, offset, content: LogContent::Bytes(text.as_bytes().to_vec()) }
}

fn gap(stream: LogStream, offset: u64, bytes: Option<u64>) -> LogPiece {
    LogPiece { stream, offset, content: LogContent::Gap { bytes } }
}

fn through(stdout: u64, stderr: u64) -> LogAnswer {
    LogAnswer::AppendedThrough { stdout, stderr }
}

impl Bed {
    async fn append(&self, runner: RunnerId, id: AttemptId, pieces: &[LogPiece]) -> LogAnswer {
        self.store.append_log(id, runner, pieces.to_vec()).await.unwrap()
    }

    /// The log as text; each gap as `<bytes>`.
    async fn text(&self, id: AttemptId, stream: Option<LogStream>, from: u64, max: usize) -> String {
        let pieces = self.store.read_log(id, stream, from, max).await.unwrap();
        let words = pieces.iter().map(|placed| match &placed.piece.content {
            LogContent::Bytes(bytes) => String::from_utf8_lossy(bytes).into_owned(),
            LogContent::Gap { bytes } => format!("<{}>", bytes.map_or("?".to_owned(), |bytes| bytes.to_string())),
        });
        words.collect()
    }
}

async fn bytes_are_stored_once(bed: Bed) {
    let runner = bed.runner("remote").await;
    let id = bed.running(runner, |_| {}).await;
    let first = [piece(OUT, 0, "abc"), piece(ERR, 0, "XY"), piece(OUT, 3, "def")];
    assert_eq!(bed.append(runner.0, id, &first).await, through(6, 2));
    assert_eq!(bed.append(runner.0, id, &first).await, through(6, 2), "sent again");
    assert_eq!(bed.append(runner.0, id, &[piece(OUT, 4, "efgh"), piece(ERR, 2, "Z")]).await, through(8, 3), "overlapping");
    let missing = bed.append(runner.0, id, &[piece(ERR, 3, "!"), piece(OUT, 9, "j")]).await;
    assert_eq!(missing, LogAnswer::Expected { stream: OUT, offset: 8 });
    assert_eq!(bed.append(runner.0, id, &[]).await, through(8, 3), "nothing of the refused call was stored");
    assert_eq!(bed.text(id, None, 0, 1000).await, "abcXYdefghZ");
    assert_eq!(bed.text(id, Some(OUT), 0, 1000).await, "abcdefgh");
    assert_eq!(bed.text(id, Some(ERR), 0, 1000).await, "XYZ");
    let record = bed.store.attempt(id).await.unwrap().unwrap();
    assert_eq!((record.stdout_end, record.stderr_end, record.log_position, record.log), (8, 3, 11, None));
}

async fn gaps_are_kept(bed: Bed) {
    let runner = bed.runner("remote").await;
    let id = bed.running(runner, |_| {}).await;
    let log = [piece(OUT, 0, "a"), gap(OUT, 1, Some(10)), piece(OUT, 11, "b"), gap(OUT, 12, None), piece(OUT, 12, "c")];
    assert_eq!(bed.append(runner.0, id, &log[..4]).await, through(12, 0));
    assert_eq!(bed.append(runner.0, id, &log).await, through(13, 0), "a gap of unknown length is not doubled");
    assert_eq!(bed.append(runner.0, id, &[gap(OUT, 5, Some(20))]).await, through(25, 0), "the rest of a gap");
    assert_eq!(bed.text(id, None, 0, 1000).await, "a<10>b<?>c<12>");
}

async fn logs_are_read_in_pages(bed: Bed) {
    let runner = bed.runner("remote").await;
    let id = bed.running(runner, |_| {}).await;
    let mut expected = String::new();
    let (mut out, mut err) = (0, 0);
    for n in 0..40u64 {
        let text = format!("line {n}\n");
        let (stream, offset) = if n % 3 == 0 { (ERR, &mut err) } else { (OUT, &mut out) };
        bed.append(runner.0, id, &[piece(stream, *offset, &text)]).await;
        *offset += text.len() as u64;
        expected.push_str(&text);
    }
    assert_eq!(bed.text(id, None, 0, usize::MAX).await, expected);
    // By position: from every byte on, the rest is there.
    for from in 0..expected.len() {
        assert_eq!(bed.text(id, None, from as u64, usize::MAX).await, &expected[from..], "from {from}");
    }
    let (mut position, mut read) = (0, String::new());
    loop {
        let page = bed.store.read_log(id, None, position, 20).await.unwrap();
        let Some(last) = page.last() else { break };
        position = last.next();
        for placed in page {
            let LogContent::Bytes(bytes) = placed.piece.content else { panic!("there are no gaps") };
            read.push_str(std::str::from_utf8(&bytes).unwrap());
        }
    }
    assert_eq!(read, expected);
    let only: String = expected.split_inclusive('\n').enumerate().filter(|(n, _)| n % 3 == 0).map(|(_, line)| line).collect();
    assert_eq!(bed.text(id, Some(ERR), 0, usize::MAX).await, only);
    // A piece of one call is one row, up to a mebibyte.
    let large = vec![b'x'; 3 << 20];
    let pieces: Vec<_> = (0..)
        .zip(large.chunks(1 << 16))
        .map(|(n, bytes)| LogPiece { stream: OUT, offset: out + (n << 16), content: LogContent::Bytes(bytes.to_vec()) })
        .collect();
    bed.append(runner.0, id, &pieces).await;
    let read = bed.store.read_log(id, None, position, usize::MAX).await.unwrap();
    assert_eq!(read.len(), 3);
}

async fn logs_are_fenced(bed: Bed) {
    let (runner, other) = (bed.runner("remote").await, bed.runner("remote").await);
    let id = bed.running(runner, |_| {}).await;
    let superseded = LogAnswer::Denied(Denied::Refused(Refusal::Superseded));
    assert_eq!(bed.append(other.0, id, &[piece(OUT, 0, "a")]).await, superseded);
    let mut missing = id;
    missing.attempt.0 = 9;
    assert_eq!(bed.append(runner.0, missing, &[piece(OUT, 0, "a")]).await, LogAnswer::Denied(Denied::Missing));
    bed.send(runner, id, 1, vec![finished(Outcome::Completed)]).await;
    assert_eq!(bed.append(runner.0, id, &[piece(OUT, 0, "a")]).await, through(1, 0), "the log may end after the result");
    bed.queued(|_| {}).await;
    let expired = bed.offer(runner, &[""], 1).await.remove(0).attempt;
    bed.store.expire_offers(crate::support::at(99_999)).await.unwrap();
    assert_eq!(bed.append(runner.0, expired, &[piece(OUT, 0, "a")]).await, superseded);
}
