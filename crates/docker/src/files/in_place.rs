//! The files of an executor, used where they lie.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::fd::{AsFd, AsRawFd};
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::time::Duration;

use futures::StreamExt;
use futures::future::BoxFuture;
use inotify::{Inotify, WatchMask};
use legwork_core::FailureClass;
use legwork_engine::{Ended, Fault, HAND_OVER_TAIL, HandOverFault, ResultTaken};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags};
use tokio::io::AsyncWriteExt;
use tokio::net::unix::pipe;

use super::{Copied, copy_result, judge, spool_fault};
use crate::blueprint::{FOLDER, INPUT, OUTPUT};

/// Between two looks at something that nothing tells us about.
const LOOK_AGAIN: Duration = Duration::from_millis(5);
/// Between two looks at the result if the system has no inotify left for us.
const LOOK_AT_RESULT: Duration = Duration::from_millis(50);

/// The volume of one executor.
pub(crate) struct Volume {
    root: PathBuf,
}

/// What is to be put into the folder.
pub(crate) enum Input<'a> {
    File(&'a [u8]),
    Pipe,
}

impl Volume {
    pub(crate) fn new(volumes: &Path, name: &str) -> Self {
        Self { root: volumes.join(name).join("_data") }
    }

    /// Makes the folder and the input. What an earlier try has left is replaced.
    pub(crate) fn lay_out(&self, input: &Input<'_>) -> io::Result<()> {
        let volume = self.open_root()?;
        match rustix::fs::mkdirat(&volume, FOLDER, Mode::RWXU) {
            Ok(()) | Err(rustix::io::Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
        let folder = open_beneath(&volume, FOLDER, OFlags::DIRECTORY | OFlags::RDONLY)?;
        // Set apart from the making, because the umask does not count here. The plugin may have any user.
        rustix::fs::fchmod(&folder, Mode::RWXU | Mode::RWXG | Mode::RWXO)?;
        match rustix::fs::unlinkat(&folder, INPUT, AtFlags::empty()) {
            Ok(()) | Err(rustix::io::Errno::NOENT) => {}
            Err(error) => return Err(error.into()),
        }
        let readable = Mode::RUSR | Mode::WUSR | Mode::RGRP | Mode::ROTH;
        match input {
            Input::Pipe => {
                rustix::fs::mkfifoat(&folder, INPUT, readable)?;
                rustix::fs::chmodat(&folder, INPUT, readable, AtFlags::empty())?;
            }
            Input::File(bytes) => {
                let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
                let mut file = File::from(rustix::fs::openat(&folder, INPUT, flags, readable)?);
                rustix::fs::fchmod(&file, readable)?;
                io::Write::write_all(&mut file, bytes)?;
            }
        }
        Ok(())
    }

    /// Waits for the result; `ended` is the end of the executor.
    pub(crate) async fn take_result(
        &self,
        into: &Path,
        limit: u64,
        is_complete: &(dyn for<'p> Fn(&'p Path) -> bool + Send + Sync),
        ended: BoxFuture<'_, Result<Ended, Fault>>,
    ) -> Result<ResultTaken, Fault> {
        let mut ended = pin!(ended);
        // Begun before the first look, so that nothing comes between. Without the folder there is only the end to wait for.
        let mut changes = self.open_folder().ok().map(|folder| Changes::of(&folder));
        loop {
            if let Some(copied) = self.copy(into, limit).await? {
                match judge(&copied, into, is_complete) {
                    // Still being written.
                    ResultTaken::Incomplete => {}
                    done => return Ok(done),
                }
            }
            let changed = async {
                match &mut changes {
                    Some(changes) => changes.next().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = changed => {}
                end = &mut ended => {
                    end?;
                    break;
                }
            }
        }
        Ok(match self.copy(into, limit).await? {
            Some(copied) => judge(&copied, into, is_complete),
            None => ResultTaken::Missing,
        })
    }

    async fn copy(&self, into: &Path, limit: u64) -> Result<Option<Copied>, Fault> {
        let Some(mut result) = self.open_result() else { return Ok(None) };
        let target = into.to_owned();
        let copied = tokio::task::spawn_blocking(move || copy_result(&mut result, &target, limit)).await;
        copied.map_err(io::Error::other).flatten().map(Some).map_err(|error| spool_fault(into, &error))
    }

    /// The result if there is one, and if it is an ordinary file that is not empty.
    fn open_result(&self) -> Option<File> {
        let folder = self.open_folder().ok()?;
        // Not to wait for a writer if it is a pipe.
        let result = open_beneath(&folder, OUTPUT, OFlags::RDONLY | OFlags::NONBLOCK).ok()?;
        let about = rustix::fs::fstat(&result).ok()?;
        let ordinary = FileType::from_raw_mode(about.st_mode) == FileType::RegularFile;
        (ordinary && about.st_size > 0).then(|| File::from(result))
    }

    /// Gives the input through the pipe; the commit point lies before its last bytes.
    pub(crate) async fn hand_over(
        &self,
        input: &[u8],
        commit: Box<dyn FnOnce() -> BoxFuture<'static, Result<(), String>> + Send>,
        ended: BoxFuture<'_, Result<Ended, Fault>>,
    ) -> Result<(), HandOverFault> {
        let mut ended = pin!(ended);
        let lost = |words: String| Fault::passing(FailureClass::CouldNotStart, words);
        let mut pipe = tokio::select! {
            opened = self.open_pipe() => opened.map_err(|error| {
                HandOverFault::BeforeCommit(lost(format!("cannot open the input of the parked executor: {error}")))
            })?,
            _ = &mut ended => {
                let fault = lost("the parked executor has ended before it was given its input".to_owned());
                return Err(HandOverFault::BeforeCommit(fault));
            }
        };
        let (head, tail) = input.split_at(input.len().saturating_sub(HAND_OVER_TAIL));
        pipe.write_all(head)
            .await
            .map_err(|error| HandOverFault::BeforeCommit(lost(format!("the parked executor did not read its input: {error}"))))?;
        commit().await.map_err(|words| HandOverFault::BeforeCommit(lost(format!("the hand-over was not journaled: {words}"))))?;
        pipe.write_all(tail).await.map_err(|error| {
            HandOverFault::AfterCommit(lost(format!("the parked executor did not read the end of its input: {error}")))
        })
    }

    /// Opens the pipe once the plugin has it open: before that, opening fails and changes nothing.
    async fn open_pipe(&self) -> io::Result<pipe::Sender> {
        let folder = self.open_folder()?;
        loop {
            match open_beneath(&folder, INPUT, OFlags::WRONLY | OFlags::NONBLOCK) {
                Ok(opened) => return pipe::Sender::from_file(File::from(opened)),
                Err(error) if error.raw_os_error() == Some(rustix::io::Errno::NXIO.raw_os_error()) => {
                    tokio::time::sleep(LOOK_AGAIN).await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn open_root(&self) -> io::Result<OwnedFd> {
        // The path down to the volume is the daemon's, not the plugin's.
        Ok(rustix::fs::open(&self.root, OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?)
    }

    fn open_folder(&self) -> io::Result<OwnedFd> {
        open_beneath(&self.open_root()?, FOLDER, OFlags::DIRECTORY | OFlags::RDONLY)
    }
}

/// Opens something that a plugin may have put there: never through a link, never outside.
fn open_beneath(folder: &impl AsFd, name: &str, flags: OFlags) -> io::Result<OwnedFd> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
    Ok(rustix::fs::openat2(folder, name, flags | OFlags::CLOEXEC | OFlags::NOFOLLOW, Mode::empty(), resolve)?)
}

/// Tells when a file of a folder has been closed after writing.
struct Changes {
    events: Option<inotify::EventStream<[u8; 1024]>>,
}

impl Changes {
    fn of(folder: &OwnedFd) -> Self {
        let path = format!("/proc/self/fd/{}", folder.as_raw_fd());
        let events = Inotify::init().and_then(|inotify| {
            inotify.watches().add(path, WatchMask::CLOSE_WRITE | WatchMask::MOVED_TO)?;
            inotify.into_event_stream([0; 1024])
        });
        // The number of inotify instances is limited on every machine; looking now and then does as well.
        Self { events: events.ok() }
    }

    async fn next(&mut self) {
        match &mut self.events {
            Some(events) => drop(events.next().await),
            None => tokio::time::sleep(LOOK_AT_RESULT).await,
        }
    }
}
