//! The log of an executor, byte for byte.
//!
//! # Two ways to it
//!
//! `attach`, begun before the start, gives every byte as it was written, and holds the plugin up if we are slow; it keeps
//! nothing while nobody listens. So it is what a runner reads that has started the executor itself ([`live`]). Whoever
//! comes later, after a restart, reads what the log driver has kept.
//!
//! # What the driver does to the bytes
//!
//! `json-file` replaces invalid UTF-8. `local` keeps the bytes and stores one entry per line, but cuts lines into
//! pieces of 16,384 bytes and leaves out the newline after a line that it has cut. [`restorer`] puts it back:
//!
//! - An entry that ends with a newline is a whole line.
//! - An entry of 16,384 bytes without one is a piece in the middle of a line (or the end of the stream).
//! - A shorter one that follows such a piece is the end of that line, maybe empty: a newline is due.
//! - A shorter one that follows no such piece is the end of the stream: the plugin wrote no newline.
//!
//! The empty end of a line is only delivered if timestamps are asked for, so they are, and cut off again. One case
//! cannot be told from what is kept: whether a line of more than 16,384 bytes that ends the whole stream was ended by a
//! newline. It is taken for ended by one, because lines mostly are. So after a restart of the runner one byte may be too many.
//!
//! # What the driver throws away
//!
//! It keeps two files of `max-size` and throws the older one away when both are full. It does not tell, and while it does so
//! a reader that follows gets pieces twice or not at all (Docker 20.10). So what is kept is trusted as long as it is surely
//! smaller than one file: then nothing was thrown away, and a place is found by counting. From then on there is a gap:
//! behind it come the lines that are surely new, and, if the executor still runs, what it writes from now on.

pub(crate) mod live;
mod restorer;

use std::time::Duration;

use bollard::Docker;
use bollard::container::LogOutput;
use bollard::errors::Error;
use bollard::models::ContainerStateStatusEnum;
use bollard::query_parameters::{InspectContainerOptions, LogsOptions, LogsOptionsBuilder};
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use legwork_core::verdict::Evidence;
use legwork_core::{Clock, FailureClass, Timestamp};
use legwork_engine::{Fault, LogItem, LogOffsets, LogStream};
use tokio::sync::{mpsc, watch};

use crate::connection::{fault, status};
use crate::watch::End;
use live::Live;
use restorer::{Part, Restorer, stored};

/// How many entries are put together into one item if they are there.
const TOGETHER: usize = 256;
/// How long the end of an executor and the end of what it writes may be apart.
const APART: Duration = Duration::from_secs(2);
/// How much later than a byte the line may be stored that it belongs to, in milliseconds.
const LATE: i64 = 2_000;

/// Where a reader is.
pub(crate) struct Place {
    /// What it has.
    pub(crate) from: LogOffsets,
    /// When it had that, if it has anything and knows.
    pub(crate) read_at: Option<Timestamp>,
    /// All that it does not have, as it is written.
    pub(crate) live: Option<Live>,
}

/// Follows a log to its end.
pub(crate) fn follow(docker: &Docker, name: &str, place: Place, ended: End) -> BoxStream<'static, Result<LogItem, Fault>> {
    let (give, mut items) = mpsc::channel(1);
    let known = place.read_at.map(|at| at.as_millis() + LATE);
    let follower =
        Follower { docker: docker.clone(), name: name.to_owned(), at: place.from, known: [known; 2], exact: false, ended, give };
    let work = stream::once(follower.run(place.live)).filter_map(|_| std::future::ready(None));
    stream::select(stream::poll_fn(move |context| items.poll_recv(context)), work).boxed()
}

/// Nothing more is to be done: all was given, or nobody takes it.
struct Over;

struct Follower {
    docker: Docker,
    name: String,
    /// What was given.
    at: LogOffsets,
    /// Per stream: lines that are younger are new, in milliseconds.
    known: [Option<i64>; 2],
    /// Those times are the log's own.
    exact: bool,
    ended: End,
    give: mpsc::Sender<Result<LogItem, Fault>>,
}

impl Follower {
    async fn run(mut self, live: Option<Live>) -> Result<(), Over> {
        if let Some(live) = live {
            self.listen(live).await?;
        }
        let capacity = self.capacity().await?;
        if !self.is_over(capacity).await? {
            self.read_whole(capacity).await?;
        }
        self.read_rest().await
    }

    /// Gives what comes until the executor has ended. Returns if the connection ends before it.
    async fn listen(&mut self, mut live: Live) -> Result<(), Over> {
        let mut ended = false;
        let whole = loop {
            let next = tokio::select! {
                biased;
                next = live.pieces.recv() => next,
                _ = self.ended.clone(), if !ended => {
                    ended = true;
                    continue;
                }
                () = tokio::time::sleep(APART), if ended => None,
            };
            let Some(next) = next else { break false };
            let Some((stream, bytes)) = next else { break true };
            let offset = self.at.of(stream);
            self.at.advance(stream, bytes.len() as u64);
            self.give(Ok(LogItem::Bytes { stream, offset, bytes })).await?;
        };
        self.known = [Some(Clock::system().now().as_millis() + LATE); 2];
        match tokio::time::timeout(APART, self.ended.clone()).await {
            // A daemon that was restarted has let go of us too, and of an executor that may have written on.
            Ok(Ok(end)) if whole && !matches!(end.evidence, Some(Evidence::EngineLost { .. })) => Err(Over),
            _ => Ok(()),
        }
    }

    /// The size of the files that the driver keeps.
    async fn capacity(&mut self) -> Result<u64, Over> {
        let found = match self.docker.inspect_container(&self.name, None::<InspectContainerOptions>).await {
            Ok(found) => found,
            Err(error) => return Err(self.failed(&error).await),
        };
        let config = found.host_config.and_then(|host| host.log_config).and_then(|log| log.config).unwrap_or_default();
        Ok(config.get("max-size").and_then(|size| size.trim_end_matches('b').parse().ok()).unwrap_or(0))
    }

    /// True if so much is kept that more may have been thrown away.
    async fn is_over(&mut self, capacity: u64) -> Result<bool, Over> {
        let mut entries = self.read(usual().follow(false).build());
        let mut size = 0;
        while let Some(entry) = entries.next().await {
            match entry {
                Ok(entry) => size += stored(&entry),
                Err(error) => return Err(self.failed(&error).await),
            }
            if size >= capacity {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Reads from the beginning, skips what was given, and follows. Returns if something may have been thrown away meanwhile.
    ///
    /// Reading from the beginning is the only way to know where a byte stands: entries carry a time and no offset. Docker may
    /// end such a stream before it has given out the last entries, so after the end of the container the last second
    /// of the log is read once more.
    async fn read_whole(&mut self, capacity: u64) -> Result<(), Over> {
        let mut restorer = Restorer::new(self.at);
        let size = self.restore(&mut restorer, usual().follow(true).build(), capacity).await?;
        if size < capacity {
            // A failed wait shows in `wait` itself; what there is can be read all the same.
            drop(self.ended.clone().await);
            if !self.is_over(capacity).await? {
                if let Some(since) = restorer.begin_again() {
                    self.restore(&mut restorer, usual().follow(false).since(since).build(), capacity).await?;
                }
                return Err(Over);
            }
        }
        self.known = restorer.newest();
        self.exact = true;
        Ok(())
    }

    /// Gives what is surely new of a log whose beginning may be gone.
    async fn read_rest(&mut self) -> Result<(), Over> {
        let live = self.attach().await;
        self.gap().await?;
        let had = [self.at.stdout > 0, self.at.stderr > 0];
        // Without a time nothing tells what is new of a stream that was read before.
        let of = |index: usize| if had[index] { self.known[index].unwrap_or(i64::MAX) } else { i64::MIN };
        let without_first = had.map(|had| had && !self.exact);
        let before = live.as_ref().map_or(i64::MAX, |(begun, _)| *begun);
        let part = Part { after: [of(0), of(1)], without_first, first: [None; 2], before };
        let mut restorer = Restorer::behind_a_gap(self.at, part);
        let behind = self.at;
        self.restore(&mut restorer, usual().follow(false).build(), u64::MAX).await?;
        let Some((_, live)) = live else { return Ok(()) };
        if self.at != behind {
            self.gap().await?;
        }
        self.listen(live).await
    }

    /// What a running executor writes from now on, and the daemon's time before, in milliseconds.
    async fn attach(&self) -> Option<(i64, Live)> {
        let found = self.docker.inspect_container(&self.name, None::<InspectContainerOptions>).await.ok()?;
        if found.state?.status? != ContainerStateStatusEnum::RUNNING {
            return None;
        }
        let now: Timestamp = self.docker.info().await.ok()?.system_time?.parse().ok()?;
        let (_, wanted) = watch::channel(true);
        Some((now.as_millis(), live::attach(&self.docker, &self.name, wanted).await.ok()?))
    }

    /// Reads entries until there are none, or as many as a file holds; tells how many bytes they take there.
    async fn restore(&mut self, restorer: &mut Restorer, options: LogsOptions, capacity: u64) -> Result<u64, Over> {
        let mut entries = self.read(options).ready_chunks(TOGETHER);
        let mut size = 0;
        while let Some(entries) = entries.next().await {
            let mut items = Vec::new();
            let mut failed = None;
            for entry in entries {
                match entry {
                    // What comes behind a full file may be out of order.
                    Ok(_) if size >= capacity => {}
                    Ok(entry) => {
                        size += stored(&entry);
                        if size < capacity {
                            restorer.push(entry, &mut items);
                        }
                    }
                    Err(error) => failed = Some(error),
                }
            }
            restorer.flush(&mut items);
            for item in items {
                self.give(Ok(item)).await?;
            }
            self.at = restorer.reached();
            if let Some(error) = failed {
                return Err(self.failed(&error).await);
            }
            if size >= capacity {
                break;
            }
        }
        Ok(size)
    }

    fn read(&self, options: LogsOptions) -> BoxStream<'static, Result<LogOutput, Error>> {
        self.docker.logs(&self.name, Some(options)).boxed()
    }

    async fn gap(&self) -> Result<(), Over> {
        for stream in [LogStream::Stdout, LogStream::Stderr] {
            self.give(Ok(LogItem::Gap { stream, offset: self.at.of(stream), bytes: None })).await?;
        }
        Ok(())
    }

    async fn failed(&self, error: &Error) -> Over {
        let given = if matches!(status(error), Some(404 | 409)) {
            // The container is gone, or about to go, and its log with it.
            self.gap().await
        } else {
            self.give(Err(fault(FailureClass::EngineLost, "cannot read the executor's log", error))).await
        };
        given.err().unwrap_or(Over)
    }

    async fn give(&self, item: Result<LogItem, Fault>) -> Result<(), Over> {
        self.give.send(item).await.map_err(|_| Over)
    }
}

fn usual() -> LogsOptionsBuilder {
    LogsOptionsBuilder::default().stdout(true).stderr(true).timestamps(true)
}
