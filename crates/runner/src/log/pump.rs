//! From the engine into the spool.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use legwork_contract::abort::TermWatch;
use legwork_contract::markers::{MarkerKind, MarkerScanner};
use legwork_contract::mask::{Masker, Patterns};
use legwork_core::AttemptId;
use legwork_core::event::{AttemptEvent, LogContent, LogPiece, LogStream, LogSummary};
use legwork_engine::{Engine, Handle, LogItem};
use tokio::sync::watch;

use super::ProgressSender;
use super::spool::{LogPlace, LogWriter, RECORD};
use crate::backoff::Backoff;
use crate::context::Context;
use crate::journal::LogPoint;

/// How often a point to resume at is journaled while there is log.
const POINT_EVERY: Duration = Duration::from_secs(1);
/// After so many bytes too.
const POINT_BYTES: u64 = 1024 * 1024;

/// Bytes of each stream that are kept as the last lines.
const LAST_BYTES: usize = 2 * 1024;

/// What a pump works with.
pub(crate) struct Pump {
    place: LogPlace,
    context: Arc<Context>,
    progress: Arc<ProgressSender>,
    /// True once the plugin has said that SIGTERM has arrived.
    terminating: watch::Sender<bool>,
    patterns: Arc<Patterns>,
    writer: Option<LogWriter>,
    streams: [Stream; 2],
    point: LogPoint,
    last_point: Instant,
    since_point: u64,
    status_line: Option<String>,
    last_lines: LastLines,
}

/// The last masked bytes of both streams, as evidence of a crash. Clones share them.
#[derive(Clone, Default)]
pub(crate) struct LastLines(Arc<Mutex<[Vec<u8>; 2]>>);

impl LastLines {
    fn push(&self, index: usize, masked: &[u8]) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let last = &mut all[index];
        last.extend_from_slice(&masked[masked.len().saturating_sub(LAST_BYTES)..]);
        let surplus = last.len().saturating_sub(LAST_BYTES);
        last.drain(..surplus);
    }

    /// Both streams' last lines as text.
    pub(crate) fn text(&self) -> String {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let lines = all.iter().map(|last| String::from_utf8_lossy(last).trim_end().to_owned());
        lines.filter(|lines| !lines.is_empty()).collect::<Vec<_>>().join("\n")
    }
}

struct Stream {
    name: LogStream,
    masker: Masker,
    scanner: MarkerScanner,
    term: TermWatch,
    raw: u64,
    delivered: u64,
}

impl Stream {
    fn at(stream: LogStream, patterns: &Arc<Patterns>, raw: u64, delivered: u64) -> Self {
        Self {
            name: stream,
            masker: Masker::new(patterns),
            scanner: MarkerScanner::new(delivered),
            term: TermWatch::default(),
            raw,
            delivered,
        }
    }

    fn holds_nothing(&self) -> bool {
        self.masker.holds_nothing() && self.scanner.holds_nothing()
    }
}

impl Pump {
    /// A pump that goes on at this point.
    pub(crate) fn resume(
        place: LogPlace,
        limit: u64,
        point: LogPoint,
        patterns: Arc<Patterns>,
        context: Arc<Context>,
        progress: Arc<ProgressSender>,
    ) -> Self {
        let writer = match LogWriter::resume(place.clone(), limit, &point) {
            Ok(writer) => Some(writer),
            Err(error) => {
                tracing::error!(attempt = %place.attempt, %error, "the log cannot be spooled: it is not kept");
                None
            }
        };
        let streams = [
            Stream::at(LogStream::Stdout, &patterns, point.raw.stdout, point.delivered.stdout),
            Stream::at(LogStream::Stderr, &patterns, point.raw.stderr, point.delivered.stderr),
        ];
        Self {
            place,
            context,
            progress,
            terminating: watch::Sender::new(false),
            patterns,
            writer,
            streams,
            point,
            last_point: Instant::now(),
            since_point: 0,
            status_line: None,
            last_lines: LastLines::default(),
        }
    }

    /// Becomes true once the plugin has said that SIGTERM has arrived.
    pub(crate) fn terminating(&self) -> watch::Receiver<bool> {
        self.terminating.subscribe()
    }

    /// Follows the log until the executor has ended and everything is spooled. Engine trouble is waited for.
    pub(crate) async fn run(&mut self, engine: &dyn Engine, handle: &Handle) {
        if self.point.ended {
            return;
        }
        let mut backoff = Backoff::between(Duration::from_millis(200), Duration::from_secs(5));
        let mut read_at = self.point.read_at;
        loop {
            let from = legwork_engine::LogOffsets { stdout: self.streams[0].raw, stderr: self.streams[1].raw };
            let log = match read_at {
                Some(read_at) => engine.resume_logs(handle, from, read_at).await,
                None => engine.logs(handle, from).await,
            };
            let fault = match log {
                Err(fault) => fault,
                Ok(mut items) => loop {
                    match items.next().await {
                        Some(Ok(item)) => {
                            backoff.reset();
                            self.take(item).await;
                            read_at = Some(self.context.clock.now());
                        }
                        Some(Err(fault)) => break fault,
                        None => return,
                    }
                },
            };
            tracing::warn!(attempt = %self.place.attempt, %fault, "the log cannot be followed now: trying again");
            tokio::time::sleep(backoff.next()).await;
        }
    }

    /// Ends the log: what is held is given out, everything is made durable and journaled as ended.
    pub(crate) async fn finish(&mut self) -> LogSummary {
        if !self.point.ended {
            for index in 0..2 {
                self.flush_masker(index).await;
            }
        }
        let mut dropped = 0;
        if let Some(writer) = &self.writer
            && self.point.tail_from.or(writer.position().2).is_some()
        {
            let head = self.head_bytes();
            let total = self.streams.iter().map(|stream| stream.delivered).sum::<u64>();
            dropped = writer.kept_in_tail().map_or(0, |kept| total.saturating_sub(head + kept));
        }
        let summary = LogSummary {
            stdout_bytes: self.streams[0].delivered,
            stderr_bytes: self.streams[1].delivered,
            dropped_bytes: dropped,
            gaps: self.point.gaps,
        };
        self.sync().await;
        self.point.ended = true;
        self.report(Some(summary));
        summary
    }

    /// The point at which the log stands now; after [`Self::finish`] its end.
    pub(crate) fn point(&self) -> LogPoint {
        self.point
    }

    /// The last lines, for as long as anybody wants them.
    pub(crate) fn last_lines(&self) -> LastLines {
        self.last_lines.clone()
    }

    fn head_bytes(&self) -> u64 {
        self.writer.as_ref().map_or(0, LogWriter::head_bytes)
    }

    async fn take(&mut self, item: LogItem) {
        match item {
            LogItem::Gap { stream, offset, bytes } => {
                let index = usize::from(stream == LogStream::Stderr);
                let missing = bytes.map(|bytes| (offset + bytes).saturating_sub(self.streams[index].raw));
                if missing != Some(0) {
                    self.gap(index, missing).await;
                }
            }
            LogItem::Bytes { stream, offset, bytes } => {
                let index = usize::from(stream == LogStream::Stderr);
                let raw = self.streams[index].raw;
                if offset > raw {
                    self.gap(index, Some(offset - raw)).await;
                }
                let had = usize::try_from(self.streams[index].raw.saturating_sub(offset)).unwrap_or(usize::MAX);
                for piece in bytes.get(had..).unwrap_or_default().chunks(RECORD) {
                    self.push(index, piece).await;
                }
            }
        }
        if self.last_point.elapsed() >= POINT_EVERY || self.since_point >= POINT_BYTES {
            self.keep_point().await;
        }
    }

    async fn push(&mut self, index: usize, bytes: &[u8]) {
        let stream = &mut self.streams[index];
        stream.raw += bytes.len() as u64;
        self.since_point += bytes.len() as u64;
        self.context.metrics.log_bytes.increment(bytes.len() as u64);
        if stream.term.push(bytes) {
            self.terminating.send_if_modified(|seen| !std::mem::replace(seen, true));
        }
        let mut masked = Vec::with_capacity(bytes.len());
        stream.masker.push(bytes, &mut masked);
        self.deliver(index, masked).await;
        self.report(None);
    }

    async fn gap(&mut self, index: usize, missing: Option<u64>) {
        self.flush_masker(index).await;
        let stream = &mut self.streams[index];
        let piece = LogPiece { stream: stream.name, offset: stream.delivered, content: LogContent::Gap { bytes: missing } };
        stream.raw += missing.unwrap_or(0);
        stream.delivered += missing.unwrap_or(0);
        stream.scanner = MarkerScanner::new(stream.delivered);
        self.point.gaps += 1;
        self.spool(piece);
        self.report(None);
    }

    async fn flush_masker(&mut self, index: usize) {
        let stream = &mut self.streams[index];
        let mut masked = Vec::new();
        stream.masker.finish(&mut masked);
        stream.masker = Masker::new(&self.patterns);
        self.deliver(index, masked).await;
    }

    async fn deliver(&mut self, index: usize, masked: Vec<u8>) {
        let stream = &mut self.streams[index];
        let (name, offset) = (stream.name, stream.delivered);
        stream.delivered += masked.len() as u64;
        let markers = stream.scanner.push(&masked);
        self.last_lines.push(index, &masked);
        for (start, bytes) in (0..).step_by(RECORD).zip(masked.chunks(RECORD)) {
            self.spool(LogPiece { stream: name, offset: offset + start, content: LogContent::Bytes(bytes.to_vec()) });
        }
        for marker in markers {
            let text = if marker.truncated { format!("{} [cut]", marker.text) } else { marker.text };
            let written = match marker.kind {
                MarkerKind::Comment => {
                    self.context.journal.add_comment(self.place.attempt, name, marker.offset, &text).await.map(drop)
                }
                MarkerKind::Status if self.status_line.as_ref() == Some(&text) => Ok(()),
                MarkerKind::Status => {
                    self.status_line = Some(text.clone());
                    self.context.journal.add_events(self.place.attempt, &[AttemptEvent::StatusLine { text }]).await.map(drop)
                }
            };
            if let Err(error) = written {
                tracing::error!(attempt = %self.place.attempt, %error, "a comment or status line is lost");
            }
            self.context.outbox.news();
        }
    }

    /// What cannot be spooled is missing; the jump of the offsets shows it.
    fn spool(&mut self, piece: LogPiece) {
        if let Some(Err(error)) = self.writer.as_mut().map(|writer| writer.append(piece)) {
            tracing::error!(attempt = %self.place.attempt, %error, "a piece of the log cannot be spooled: it will be missing");
            self.point.gaps += 1;
        }
    }

    fn report(&mut self, ended: Option<LogSummary>) {
        let delivered = legwork_engine::LogOffsets { stdout: self.streams[0].delivered, stderr: self.streams[1].delivered };
        let (segment, length, tail_from) = self.writer.as_ref().map_or((0, 0, None), LogWriter::position);
        let keep_from = self.point.segment;
        self.progress.send_modify(|progress| {
            *progress = super::Progress { segment, length, tail_from, keep_from, delivered, ended: ended.or(progress.ended) };
        });
    }

    /// Journals where the log can be taken up again, if it can be here.
    async fn keep_point(&mut self) {
        if !self.streams.iter().all(Stream::holds_nothing) {
            return;
        }
        self.sync().await;
        self.last_point = Instant::now();
        self.since_point = 0;
        if let Err(error) = self.context.journal.set_log_point(self.place.attempt, self.point, &[]).await {
            tracing::warn!(attempt = %self.place.attempt, %error, "the point to resume the log at is not kept");
        }
    }

    /// Makes the spool durable and moves the point here.
    async fn sync(&mut self) {
        let synced = match self.writer.as_mut().map_or(Ok(Vec::new()), LogWriter::unsynced) {
            Ok(files) if files.is_empty() => Ok(()),
            Ok(files) => tokio::task::spawn_blocking(move || files.iter().try_for_each(std::fs::File::sync_data))
                .await
                .unwrap_or_else(|error| Err(io::Error::other(error))),
            Err(error) => Err(error),
        };
        if let Err(error) = synced {
            tracing::warn!(attempt = %self.place.attempt, %error, "the spooled log is not durable");
            return;
        }
        let (segment, length, tail_from) = self.writer.as_ref().map_or((0, 0, None), LogWriter::position);
        self.point.raw = legwork_engine::LogOffsets { stdout: self.streams[0].raw, stderr: self.streams[1].raw };
        self.point.read_at = Some(self.context.clock.now());
        self.point.delivered =
            legwork_engine::LogOffsets { stdout: self.streams[0].delivered, stderr: self.streams[1].delivered };
        self.point.segment = segment;
        self.point.length = length;
        self.point.tail_from = tail_from;
        self.point.head = self.head_bytes();
    }
}

/// The attempt whose log it is.
impl std::fmt::Debug for Pump {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let attempt: AttemptId = self.place.attempt;
        f.debug_struct("Pump").field("attempt", &attempt).finish_non_exhaustive()
    }
}
