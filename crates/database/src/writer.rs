//! The one writer: group commit.
//!
//! Writes wait in a queue. The writer takes all that wait, runs them one after another in one transaction, commits,
//! and only then answers. Nobody waits for others to come: while one commit is on its way to the disk, the next
//! group gathers by itself. Writes of one kind that are in the same group are made [`Together`]. A write that fails
//! takes no other with it: the group is rolled back and its halves are run apart, down to the one that fails.

use std::any::{Any, TypeId};
use std::collections::VecDeque;
use std::future::Future;
use std::sync::Arc;

use futures::future::BoxFuture;
use tokio::sync::{mpsc, oneshot};

use crate::database::Connector;
use crate::error::Error;
use crate::tx::Tx;

/// Writes that share one transaction at most.
const GROUP: usize = 256;
/// Writes that may wait before callers wait to get into the queue.
pub(crate) const QUEUE: usize = 1024;

/// The writer of one database. Run it with [`Writer::run`] for as long as the database is used.
#[must_use = "nothing is written until the writer runs"]
pub struct Writer {
    pub(crate) queue: mpsc::Receiver<Message>,
    pub(crate) connector: Arc<Connector>,
    pub(crate) tx: Option<Tx>,
}

pub(crate) enum Message {
    Write(Box<dyn Pending>),
    Close,
}

/// A kind of write of which those that wait are made together, with the same few statements.
pub trait Together: Sized + Send + Sync + 'static {
    /// What one caller hears.
    type Answer: Send + 'static;
    /// Why it was not made.
    type Error: From<Error> + Send + 'static;

    /// Makes these writes and gives an answer for each. It must be as if they were made one after another in this order.
    ///
    /// If it fails, they are made again in smaller groups, and only what fails by itself fails. What
    /// [`crate::Database::write`] says of its function is true of this one.
    fn write_together(writes: &[Self], tx: &mut Tx) -> impl Future<Output = Result<Vec<Self::Answer>, Self::Error>> + Send;
}

/// A write, or several that are made together, that waits for its turn. It can run several times: each time the
/// transaction before was rolled back.
pub(crate) trait Pending: Any + Send {
    /// Runs it inside the transaction; true if it succeeded.
    fn run<'a>(&'a mut self, tx: &'a mut Tx) -> BoxFuture<'a, bool>;
    /// Tells the caller what the last run gave.
    fn answer(self: Box<Self>);
    /// Tells the caller that it came to nothing.
    fn fail(self: Box<Self>, error: &dyn Fn() -> Error);
    /// What it can be made together with.
    fn kind(&self) -> Option<TypeId> {
        None
    }
    /// Takes in another one of the same kind.
    fn join(&mut self, _other: Box<dyn Any>) {}
    /// Its second half, which it gives away; none if it is a single write.
    fn split(&mut self) -> Option<Box<dyn Pending>> {
        None
    }
}

pub(crate) struct Write<I, T, E, F> {
    pub(crate) input: I,
    pub(crate) run: F,
    pub(crate) outcome: Option<Result<T, E>>,
    pub(crate) reply: oneshot::Sender<Result<T, E>>,
}

impl<I, T, E, F> Pending for Write<I, T, E, F>
where
    I: Send + Sync + 'static,
    T: Send + 'static,
    E: From<Error> + Send + 'static,
    F: for<'a> Fn(&'a I, &'a mut Tx) -> BoxFuture<'a, Result<T, E>> + Send + Sync + 'static,
{
    fn run<'a>(&'a mut self, tx: &'a mut Tx) -> BoxFuture<'a, bool> {
        Box::pin(async move {
            let outcome = (self.run)(&self.input, tx).await;
            let succeeded = outcome.is_ok();
            self.outcome = Some(outcome);
            succeeded
        })
    }

    fn answer(self: Box<Self>) {
        let outcome = self.outcome.unwrap_or(Err(E::from(Error::WriterEnded)));
        // A caller that has gone away does not want the answer; its write stands.
        let _ = self.reply.send(outcome);
    }

    fn fail(self: Box<Self>, error: &dyn Fn() -> Error) {
        let _ = self.reply.send(Err(E::from(error())));
    }
}

type Reply<W> = oneshot::Sender<Result<<W as Together>::Answer, <W as Together>::Error>>;

/// Writes that are made together.
pub(crate) struct Joined<W: Together> {
    writes: Vec<W>,
    replies: Vec<Reply<W>>,
    outcome: Option<Result<Vec<W::Answer>, W::Error>>,
}

impl<W: Together> Joined<W> {
    pub(crate) fn new(write: W, reply: Reply<W>) -> Self {
        Self { writes: vec![write], replies: vec![reply], outcome: None }
    }
}

impl<W: Together> Pending for Joined<W> {
    fn run<'a>(&'a mut self, tx: &'a mut Tx) -> BoxFuture<'a, bool> {
        Box::pin(async move {
            let outcome = W::write_together(&self.writes, tx).await;
            let succeeded = outcome.is_ok();
            self.outcome = Some(outcome);
            succeeded
        })
    }

    fn answer(self: Box<Self>) {
        match self.outcome {
            Some(Ok(answers)) => {
                for (reply, answer) in self.replies.into_iter().zip(answers) {
                    let _ = reply.send(Ok(answer));
                }
            }
            // Only a single write is answered with its error; it was split down to that.
            Some(Err(error)) => {
                let mut error = Some(error);
                for reply in self.replies {
                    let _ = reply.send(Err(error.take().unwrap_or(Error::WriterEnded.into())));
                }
            }
            None => self.fail(&|| Error::WriterEnded),
        }
    }

    fn fail(self: Box<Self>, error: &dyn Fn() -> Error) {
        for reply in self.replies {
            let _ = reply.send(Err(error().into()));
        }
    }

    fn kind(&self) -> Option<TypeId> {
        Some(TypeId::of::<W>())
    }

    fn join(&mut self, other: Box<dyn Any>) {
        if let Ok(other) = other.downcast::<Self>() {
            self.writes.extend(other.writes);
            self.replies.extend(other.replies);
        }
    }

    fn split(&mut self) -> Option<Box<dyn Pending>> {
        let half = self.writes.len() / 2;
        (half > 0).then(|| {
            let (writes, replies) = (self.writes.split_off(half), self.replies.split_off(half));
            Box::new(Self { writes, replies, outcome: None }) as Box<dyn Pending>
        })
    }
}

/// What came of a group.
enum Group {
    /// It is durable.
    Committed,
    /// Nothing was changed: a write failed, or the database refused the commit.
    RolledBack,
    /// Nothing was changed: the connection broke.
    Lost(String),
    /// The connection broke in the commit.
    Unknown(String),
}

impl Writer {
    /// Writes until [`crate::Database::close`] is called or nobody can write any more; what waits then is written first.
    pub async fn run(mut self) {
        let mut closing = false;
        while !closing {
            let Some(message) = self.queue.recv().await else { break };
            let mut group = Vec::new();
            let mut gathered = 0;
            let mut next = Some(message);
            while let Some(message) = next {
                match message {
                    Message::Write(write) => {
                        gather(&mut group, write);
                        gathered += 1;
                    }
                    Message::Close => {
                        closing = true;
                        self.queue.close();
                    }
                }
                next = if gathered < GROUP { self.queue.try_recv().ok() } else { None };
            }
            self.write(group).await;
            // Those that were answered may have more to write; what they write now goes into the next group.
            tokio::task::yield_now().await;
        }
        // After the queue was closed: what had got into it behind the request to close.
        while let Some(message) = self.queue.recv().await {
            if let Message::Write(write) = message {
                self.write(vec![write]).await;
            }
        }
        if let Some(tx) = self.tx.take() {
            tx.close().await;
        }
    }

    async fn write(&mut self, group: Vec<Box<dyn Pending>>) {
        let mut groups = VecDeque::from([group]);
        while let Some(mut group) = groups.pop_front() {
            let mut came = self.try_group(&mut group).await;
            if let Group::Lost(_) = came {
                came = self.try_group(&mut group).await;
            }
            match came {
                Group::Committed => group.into_iter().for_each(Pending::answer),
                Group::RolledBack => match halve(&mut group) {
                    Some(second) => {
                        groups.push_front(second);
                        groups.push_front(group);
                    }
                    None => group.into_iter().for_each(Pending::answer),
                },
                Group::Lost(detail) => {
                    tracing::warn!(detail, "the database does not answer");
                    for write in group {
                        write.fail(&|| Error::Unavailable { detail: detail.clone() });
                    }
                }
                Group::Unknown(detail) => {
                    tracing::warn!(detail, "the connection to the database was lost during a commit");
                    for write in group {
                        write.fail(&|| Error::CommitUnknown { detail: detail.clone() });
                    }
                }
            }
        }
    }

    async fn try_group(&mut self, group: &mut [Box<dyn Pending>]) -> Group {
        if group.is_empty() {
            return Group::Committed;
        }
        let mut tx = match self.tx.take() {
            Some(tx) => tx,
            None => match self.connector.connect().await {
                Ok(link) => Tx::new(link),
                Err(error) => return Group::Lost(error.to_string()),
            },
        };
        let came = run_group(&mut tx, group).await;
        // A connection in an unknown state is dropped, which also rolls back whatever it had open.
        if matches!(came, Group::Committed | Group::RolledBack) && !tx.is_lost() {
            self.tx = Some(tx);
        }
        came
    }
}

/// Puts a write to those that wait: into one of its kind if there is one.
fn gather(group: &mut Vec<Box<dyn Pending>>, write: Box<dyn Pending>) {
    if let Some(kind) = write.kind()
        && let Some(same) = group.iter_mut().find(|waiting| waiting.kind() == Some(kind))
    {
        same.join(write);
    } else {
        group.push(write);
    }
}

/// The second half of a group, taken from it; none if it is a single write.
fn halve(group: &mut Vec<Box<dyn Pending>>) -> Option<Vec<Box<dyn Pending>>> {
    match group.as_mut_slice() {
        [] => None,
        [write] => write.split().map(|half| vec![half]),
        _ => Some(group.split_off(group.len() / 2)),
    }
}

async fn run_group(tx: &mut Tx, group: &mut [Box<dyn Pending>]) -> Group {
    if let Err(error) = tx.begin().await {
        return Group::Lost(error.to_string());
    }
    for write in group.iter_mut() {
        let succeeded = write.run(tx).await;
        if tx.is_lost() {
            return Group::Lost("the connection broke".to_owned());
        }
        if !succeeded {
            return match tx.roll_back().await {
                Ok(()) => Group::RolledBack,
                Err(error) => Group::Lost(error.to_string()),
            };
        }
    }
    match tx.commit().await {
        Ok(()) => Group::Committed,
        Err(error) if tx.is_lost() => Group::Unknown(error.to_string()),
        Err(error) => {
            // SQLite may keep the transaction open after a refused commit, PostgreSQL has rolled it back.
            let _ = tx.roll_back().await;
            Group::Lost(error.to_string())
        }
    }
}
