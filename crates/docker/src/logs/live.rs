//! What an executor writes, from its first byte on, as it writes it.

use std::time::Duration;

use bollard::Docker;
use bollard::container::LogOutput;
use bollard::errors::Error;
use bollard::query_parameters::AttachContainerOptionsBuilder;
use bytes::{Bytes, BytesMut};
use futures::{Stream, StreamExt};
use legwork_engine::LogStream;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// How many pieces that Docker sends are put together if they are there.
const TOGETHER: usize = 256;
/// How many of those may wait for the reader.
const WAITING: usize = 16;
/// How long a plugin that has written more than that is held up until somebody reads.
///
/// Whoever has started an executor reads its log next, maybe on a busy machine after a commit to a busy disk.
const READER_EXPECTED: Duration = Duration::from_secs(5);

/// The bytes of an executor. Whoever does not read them holds the plugin up.
///
/// `None` says that nothing follows. Without it, what follows has to be looked for elsewhere.
pub(crate) struct Live {
    pub(crate) pieces: mpsc::Receiver<Option<(LogStream, Bytes)>>,
    /// The one task that takes them from the connection; it ends with us.
    _forwarding: JoinSet<()>,
}

/// Attaches to a container. What was written before is not in it.
///
/// As long as nobody reads, only a little is kept: with more than that the plugin is held up for a moment, and then the
/// connection is given up, so that a plugin whose log nobody wants goes on. `wanted` becomes true when somebody reads.
pub(crate) async fn attach(docker: &Docker, name: &str, wanted: tokio::sync::watch::Receiver<bool>) -> Result<Live, Error> {
    let options = AttachContainerOptionsBuilder::default().stream(true).stdout(true).stderr(true).build();
    let attached = docker.attach_container(name, Some(options)).await?;
    let (give, take) = mpsc::channel(WAITING);
    let mut forwarding = JoinSet::new();
    forwarding.spawn(async move {
        // Kept, because the daemon takes its end for the end of all.
        let _input = attached.input;
        forward(attached.output, &give, wanted).await;
    });
    Ok(Live { pieces: take, _forwarding: forwarding })
}

async fn forward(
    output: impl Stream<Item = Result<LogOutput, Error>>,
    give: &mpsc::Sender<Option<(LogStream, Bytes)>>,
    mut wanted: tokio::sync::watch::Receiver<bool>,
) {
    let mut pieces = std::pin::pin!(output.ready_chunks(TOGETHER));
    while let Some(pieces) = pieces.next().await {
        let (together, broken) = put_together(pieces);
        for piece in together {
            let Err(mpsc::error::TrySendError::Full(piece)) = give.try_send(Some(piece)) else { continue };
            // `wanted` may be gone with the executor's record while a reader is there.
            let reader = async { drop(wanted.wait_for(|wanted| *wanted).await) };
            if tokio::time::timeout(READER_EXPECTED, reader).await.is_err() || give.send(piece).await.is_err() {
                return;
            }
        }
        if broken {
            return;
        }
    }
    // Who has gone away does not need it.
    drop(give.send(None).await);
}

/// Neighbours of one stream become one; true if nothing more can be read.
fn put_together(pieces: Vec<Result<LogOutput, Error>>) -> (Vec<(LogStream, Bytes)>, bool) {
    let mut all: Vec<(LogStream, BytesMut)> = Vec::new();
    let mut broken = false;
    for piece in pieces {
        let (stream, message) = match piece {
            Ok(LogOutput::StdOut { message }) => (LogStream::Stdout, message),
            Ok(LogOutput::StdErr { message }) => (LogStream::Stderr, message),
            // Executors have neither a terminal nor standard input: this is half a piece, at a broken end.
            Ok(LogOutput::StdIn { .. } | LogOutput::Console { .. }) | Err(_) => {
                broken = true;
                break;
            }
        };
        match all.last_mut() {
            Some((last, together)) if *last == stream => together.extend_from_slice(&message),
            _ => all.push((stream, BytesMut::from(&message[..]))),
        }
    }
    (all.into_iter().map(|(stream, bytes)| (stream, bytes.freeze())).collect(), broken)
}
