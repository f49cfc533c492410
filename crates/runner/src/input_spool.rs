//! A large input on disk, sealed in pieces.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use legwork_core::{AttemptId, limits};
use legwork_sealing::SealingKey;

/// Writes an input chunk by chunk.
pub(crate) struct InputWriter<'a> {
    file: File,
    key: &'a SealingKey,
    attempt: AttemptId,
    next: u64,
}

impl<'a> InputWriter<'a> {
    pub(crate) fn create(path: &Path, key: &'a SealingKey, attempt: AttemptId) -> io::Result<Self> {
        let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
        Ok(Self { file, key, attempt, next: 0 })
    }

    pub(crate) fn push(&mut self, chunk: &[u8]) -> io::Result<()> {
        let sealed = self.key.seal(&context(self.attempt, self.next), chunk);
        self.next += 1;
        self.file.write_all(&u32::try_from(sealed.len()).map_err(io::Error::other)?.to_be_bytes())?;
        self.file.write_all(&sealed)
    }

    /// Makes it durable.
    pub(crate) async fn finish(self) -> io::Result<()> {
        let file = self.file;
        tokio::task::spawn_blocking(move || file.sync_all()).await.unwrap_or_else(|error| Err(io::Error::other(error)))
    }
}

/// The whole input.
pub(crate) fn read(path: &Path, key: &SealingKey, attempt: AttemptId) -> io::Result<Vec<u8>> {
    let mut file = io::BufReader::new(File::open(path)?);
    let mut input = Vec::new();
    for number in 0.. {
        let mut size = [0; 4];
        match file.read_exact(&mut size) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => break,
            Err(error) => return Err(error),
        }
        let size = u32::from_be_bytes(size) as usize;
        if size > 2 * limits::CHUNK_BYTES {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a piece of the spooled input has an impossible length"));
        }
        let mut sealed = vec![0; size];
        file.read_exact(&mut sealed)?;
        input.extend(key.open(&context(attempt, number), &sealed).map_err(io::Error::other)?);
    }
    Ok(input)
}

fn context(attempt: AttemptId, number: u64) -> String {
    format!("input/{attempt}/{number}")
}

#[cfg(test)]
mod tests {
    use legwork_core::{AttemptNumber, TaskId};

    use super::*;

    #[tokio::test]
    async fn chunks_come_back_as_one() {
        let directory = tempfile::tempdir().unwrap();
        let (path, key) = (directory.path().join("input"), SealingKey::from_bytes([1; 32]));
        let attempt = AttemptId { task: TaskId::new(), attempt: AttemptNumber(1) };
        let mut writer = InputWriter::create(&path, &key, attempt).unwrap();
        writer.push(b"geheim").unwrap();
        writer.push(b"nis").unwrap();
        writer.finish().await.unwrap();
        assert_eq!(read(&path, &key, attempt).unwrap(), b"geheimnis");
        assert!(!std::fs::read(&path).unwrap().windows(6).any(|window| window == b"geheim"));
        let other = AttemptId { attempt: AttemptNumber(2), ..attempt };
        assert!(read(&path, &key, other).is_err());
    }
}
