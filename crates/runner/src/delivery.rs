//! Bringing an attempt's result and log to the server, beside whatever its executor does.

use std::fs::File;
use std::io::{self, Read as _};
use std::sync::Arc;

use bytes::Bytes;
use legwork_contract::session::{DecryptReader, SessionKey};
use legwork_core::{AttemptId, limits};
use legwork_protocol::channel::ChunkAnswer;
use legwork_protocol::envelope::{ChunkHeader, ChunkStream, KeyId};
use tokio::sync::watch;

use crate::context::Context;
use crate::log::Progress;
use crate::log::upload::Uploader;

/// The server does not want the attempt any more.
#[derive(Debug)]
pub(crate) struct Refused(pub(crate) String);

/// What is to be brought.
pub(crate) struct Delivery {
    pub(crate) attempt: AttemptId,
    pub(crate) session_key: SessionKey,
    pub(crate) log: watch::Receiver<Progress>,
    /// Chunks of the result, once that is known; 0 if it is inside its event.
    pub(crate) result_chunks: watch::Receiver<Option<u32>>,
    /// True if nothing of the log can have been sent before.
    pub(crate) fresh: bool,
}

/// Brings it. Ends when the server has log and result, or does not want them.
pub(crate) async fn deliver(context: Arc<Context>, delivery: Delivery) {
    let attempt = delivery.attempt;
    let Delivery { session_key, log, mut result_chunks, fresh, .. } = delivery;
    let result = async {
        let chunks = result_chunks.wait_for(Option::is_some).await.ok().and_then(|chunks| *chunks);
        let Some(chunks) = chunks else {
            // The attempt was dropped without a verdict.
            return std::future::pending().await;
        };
        if chunks > 0 {
            send_result(&context, attempt, &session_key, chunks).await?;
            context.outbox.release_result(attempt);
        }
        Ok(())
    };
    let log = async {
        Uploader::new(&context, context.log_place(attempt), log, fresh).run().await?;
        context.outbox.release_log(attempt);
        Ok(())
    };
    if let Err(Refused(why)) = futures::future::try_join(result, log).await {
        context.live.refuse(&context, attempt, &why).await;
    }
}

/// Sends a result in chunks of its plaintext, decrypting it again on the way.
async fn send_result(context: &Arc<Context>, attempt: AttemptId, key: &SessionKey, chunks: u32) -> Result<(), Refused> {
    let open = || ResultReader::open(&context.spool.result(attempt), key);
    let mut reader = None;
    let mut sequence: u64 = 0;
    while sequence < u64::from(chunks) {
        let at = match reader.take() {
            Some(reader) => Ok(reader),
            None => open(),
        };
        let read = match at {
            Ok(at) => {
                tokio::task::spawn_blocking(move || at.chunk(sequence)).await.unwrap_or_else(|error| Err(io::Error::other(error)))
            }
            Err(error) => Err(error),
        };
        let body = match read {
            Ok((next, body)) => {
                reader = Some(next);
                body
            }
            Err(error) => {
                tracing::error!(%attempt, %error, "the spooled result cannot be read: trying again");
                tokio::time::sleep(std::time::Duration::from_secs(5)).await;
                continue;
            }
        };
        let last = sequence + 1 == u64::from(chunks);
        let header = ChunkHeader { attempt, stream: ChunkStream::Result, sequence, last, key_id: KeyId::clear() };
        match context.put_chunk(&header, body).await? {
            ChunkAnswer::Kept { .. } => sequence += 1,
            ChunkAnswer::Missing { sequence: wanted, .. } => {
                if wanted == sequence {
                    context.pause(std::time::Duration::from_secs(1)).await;
                }
                sequence = wanted;
            }
            ChunkAnswer::Refused { why } => return Err(Refused(why)),
        }
    }
    Ok(())
}

/// Reads a result's plaintext in chunks. The file was verified as a whole when it was taken.
struct ResultReader {
    path: std::path::PathBuf,
    key: SessionKey,
    plaintext: DecryptReader<io::BufReader<File>>,
    /// The chunk that comes next.
    next: u64,
}

impl ResultReader {
    fn open(path: &std::path::Path, key: &SessionKey) -> io::Result<Self> {
        let file = io::BufReader::new(File::open(path)?);
        Ok(Self { path: path.to_owned(), key: key.clone(), plaintext: DecryptReader::new(key, file), next: 0 })
    }

    fn chunk(mut self, wanted: u64) -> io::Result<(Self, Bytes)> {
        if wanted < self.next {
            self = Self::open(&self.path, &self.key)?;
        }
        loop {
            let mut chunk = Vec::with_capacity(limits::CHUNK_BYTES);
            (&mut self.plaintext).take(limits::CHUNK_BYTES as u64).read_to_end(&mut chunk)?;
            self.next += 1;
            if self.next > wanted {
                return Ok((self, Bytes::from(chunk)));
            }
            if chunk.is_empty() {
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the spooled result is shorter than it was"));
            }
        }
    }
}

/// How many chunks a result of so many bytes has.
pub(crate) fn chunks_of(bytes: u64) -> u32 {
    u32::try_from(bytes.div_ceil(limits::CHUNK_BYTES as u64)).unwrap_or(u32::MAX)
}

/// The whole text of a result that is small.
pub(crate) fn read_small_result(path: &std::path::Path, key: &SessionKey) -> io::Result<String> {
    let mut json = String::new();
    DecryptReader::new(key, io::BufReader::new(File::open(path)?)).take(limits::INLINE_RESULT_BYTES).read_to_string(&mut json)?;
    Ok(json)
}
