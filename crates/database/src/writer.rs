//! The one writer: group commit.
//!
//! Writes wait in a queue. The writer takes all that wait, runs them one after another in one transaction, commits,
//! and only then answers. Nobody waits for others to come: while one commit is on its way to the disk, the next
//! group gathers by itself. A write that fails takes no other with it: the group is rolled back and each of its
//! writes runs alone.

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

/// A write that waits for its turn. It can run several times: each time the transaction before was rolled back.
pub(crate) trait Pending: Send {
    /// Runs it inside the transaction; true if it succeeded.
    fn run<'a>(&'a mut self, tx: &'a mut Tx) -> BoxFuture<'a, bool>;
    /// Tells the caller what the last run gave.
    fn answer(self: Box<Self>);
    /// Tells the caller that it came to nothing.
    fn fail(self: Box<Self>, error: Error);
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

    fn fail(self: Box<Self>, error: Error) {
        let _ = self.reply.send(Err(E::from(error)));
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
            let mut next = Some(message);
            while let Some(message) = next {
                match message {
                    Message::Write(write) => group.push(write),
                    Message::Close => {
                        closing = true;
                        self.queue.close();
                    }
                }
                next = if group.len() < GROUP { self.queue.try_recv().ok() } else { None };
            }
            self.write(group).await;
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

    async fn write(&mut self, mut group: Vec<Box<dyn Pending>>) {
        let mut came = self.try_group(&mut group).await;
        if let Group::Lost(_) = came {
            came = self.try_group(&mut group).await;
        }
        match came {
            Group::RolledBack if group.len() > 1 => {
                for write in group {
                    Box::pin(self.write(vec![write])).await;
                }
            }
            Group::Committed | Group::RolledBack => group.into_iter().for_each(Pending::answer),
            Group::Lost(detail) => {
                tracing::warn!(detail, "the database does not answer");
                for write in group {
                    write.fail(Error::Unavailable { detail: detail.clone() });
                }
            }
            Group::Unknown(detail) => {
                tracing::warn!(detail, "the connection to the database was lost during a commit");
                for write in group {
                    write.fail(Error::CommitUnknown { detail: detail.clone() });
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
