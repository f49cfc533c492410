//! The runner's place on disk: a lock, the key file, the journal's file and the spool.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use fs4::TryLockError;
use legwork_core::AttemptId;

use crate::error::StartError;

/// A directory that this process alone uses, for as long as this value lives.
#[derive(Debug)]
pub(crate) struct Store {
    path: PathBuf,
    _lock: File,
}

impl Store {
    /// Makes the directory if need be and locks it.
    pub(crate) fn lock(path: &Path) -> Result<Self, StartError> {
        let failed = |source| StartError::DataDir { path: path.to_owned(), source };
        let mut directories = DirBuilder::new();
        directories.recursive(true).mode(0o700);
        directories.create(path).map_err(failed)?;
        directories.create(path.join("spool")).map_err(failed)?;
        let mut lock = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path.join("lock"))
            .map_err(failed)?;
        match fs4::FileExt::try_lock(&lock) {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                // Who it is only makes the message better.
                let _ = lock.read_to_string(&mut holder);
                let holder = holder.trim();
                let holder = if holder.is_empty() { "of unknown pid".to_owned() } else { format!("pid {holder}") };
                return Err(StartError::InUse { path: path.to_owned(), holder });
            }
            Err(TryLockError::Error(source)) => return Err(failed(source)),
        }
        let write = |lock: &mut File| -> io::Result<()> {
            lock.set_len(0)?;
            lock.rewind()?;
            writeln!(lock, "{}", std::process::id())
        };
        write(&mut lock).map_err(failed)?;
        Ok(Self { path: path.to_owned(), _lock: lock })
    }

    pub(crate) fn key_file(&self) -> PathBuf {
        self.path.join("runner.key")
    }

    pub(crate) fn journal_file(&self) -> PathBuf {
        self.path.join("journal.sqlite")
    }

    pub(crate) fn spool(&self) -> Spool {
        Spool { path: self.path.join("spool") }
    }

    /// Removes everything but the lock.
    pub(crate) fn wipe(&self) -> io::Result<()> {
        for entry in std::fs::read_dir(&self.path)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                std::fs::remove_dir_all(entry.path())?;
            } else if entry.file_name() != "lock" {
                std::fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }
}

/// Where what is too large for the journal lies: a file or more for each attempt.
#[derive(Clone, Debug)]
pub(crate) struct Spool {
    path: PathBuf,
}

impl Spool {
    /// The attempt's input, sealed.
    pub(crate) fn input(&self, attempt: AttemptId) -> PathBuf {
        self.file(attempt, "input")
    }

    /// The attempt's result, encrypted with its session key as the plugin wrote it.
    pub(crate) fn result(&self, attempt: AttemptId) -> PathBuf {
        self.file(attempt, "result")
    }

    /// A segment of the attempt's log, sealed.
    pub(crate) fn log(&self, attempt: AttemptId, segment: u32) -> PathBuf {
        self.file(attempt, &format!("log.{segment}"))
    }

    /// Removes what lies here for an attempt. Its log has at most so many segments.
    pub(crate) fn remove(&self, attempt: AttemptId, log_segments: u32) {
        for path in [self.input(attempt), self.result(attempt)].into_iter().chain((0..log_segments).map(|n| self.log(attempt, n)))
        {
            remove_file(&path);
        }
    }

    /// Removes what lies here for an attempt of whose log nothing is known.
    pub(crate) fn remove_all(&self, attempt: AttemptId) {
        if let Err(error) = self.sweep(|other| other != attempt) {
            tracing::warn!(%attempt, %error, "the spool cannot be looked through");
        }
    }

    /// Removes the files of attempts that `keep` does not want.
    pub(crate) fn sweep(&self, keep: impl Fn(AttemptId) -> bool) -> io::Result<()> {
        for entry in std::fs::read_dir(&self.path)? {
            let path = entry?.path();
            let owner = path.file_name().and_then(|name| name.to_str()).and_then(owner_of);
            if !owner.is_some_and(&keep) {
                remove_file(&path);
            }
        }
        Ok(())
    }

    fn file(&self, attempt: AttemptId, kind: &str) -> PathBuf {
        self.path.join(format!("{}_{}.{kind}", attempt.task, attempt.attempt))
    }
}

fn owner_of(name: &str) -> Option<AttemptId> {
    let (attempt, _kind) = name.split_once('.')?;
    let (task, number) = attempt.split_once('_')?;
    Some(AttemptId { task: task.parse().ok()?, attempt: legwork_core::AttemptNumber(number.parse().ok()?) })
}

pub(crate) fn remove_file(path: &Path) {
    match std::fs::remove_file(path) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => tracing::warn!(path = %path.display(), %error, "cannot remove a file of the spool"),
    }
}

#[cfg(test)]
mod tests {
    use legwork_core::{AttemptNumber, TaskId};

    use super::*;

    #[test]
    fn a_store_belongs_to_one_process() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::lock(directory.path()).unwrap();
        let refused = Store::lock(directory.path()).unwrap_err().to_string();
        assert!(refused.contains(&format!("a runner (pid {}) already uses", std::process::id())), "{refused}");
        drop(store);
        Store::lock(directory.path()).unwrap();
    }

    #[test]
    fn the_spool_keeps_only_what_is_wanted() {
        let directory = tempfile::tempdir().unwrap();
        let spool = Store::lock(directory.path()).unwrap().spool();
        let kept = AttemptId { task: TaskId::new(), attempt: AttemptNumber(2) };
        let gone = AttemptId { task: TaskId::new(), attempt: AttemptNumber(1) };
        for path in [spool.input(kept), spool.log(kept, 3), spool.result(gone), spool.path.join("strange")] {
            std::fs::write(path, b"x").unwrap();
        }
        spool.sweep(|attempt| attempt == kept).unwrap();
        assert!(spool.input(kept).exists() && spool.log(kept, 3).exists());
        assert_eq!(std::fs::read_dir(&spool.path).unwrap().count(), 2);
        spool.remove(kept, 4);
        assert_eq!(std::fs::read_dir(&spool.path).unwrap().count(), 0);
    }
}
