//! Tasks.

use std::time::Duration;

use bytes::Bytes;
use legwork_core::TaskId;
use legwork_protocol::api::{
    AbortTask, CreateTask, IDEMPOTENCY_HEADER, LOG_COMPLETE_HEADER, LOG_NEXT_HEADER, ListTasks, Page, ReadLog, Task, TaskCreated,
    TaskSummary,
};
use reqwest::{Method, Response};
use serde::Serialize;

use crate::connection::Client;
use crate::error::ClientError;

/// The pauses before a request that is safe to send twice is sent again.
const PAUSES: [Duration; 4] =
    [Duration::from_millis(200), Duration::from_millis(400), Duration::from_millis(800), Duration::from_millis(1_600)];

/// A part of a log, read piece by piece.
#[derive(Debug)]
pub struct LogPart {
    address: String,
    response: Response,
    /// The offset after its last byte; ask for more from here.
    pub next: u64,
    /// True if the log is complete and this part reaches its end.
    pub complete: bool,
}

/// A plugin's result, read piece by piece.
#[derive(Debug)]
pub struct ResultBody {
    address: String,
    response: Response,
}

impl LogPart {
    /// The next bytes; none at the end.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, ClientError> {
        self.response.chunk().await.map_err(|error| ClientError::connection(&self.address, error))
    }
}

impl ResultBody {
    /// The next bytes; none at the end.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, ClientError> {
        self.response.chunk().await.map_err(|error| ClientError::connection(&self.address, error))
    }
}

impl Client {
    /// Creates a task. The key makes it safe to send again, which this does a few times when the connection breaks.
    pub async fn create_task(&self, task: &CreateTask, idempotency_key: &str) -> Result<TaskCreated, ClientError> {
        self.send_until_heard("tasks", Some(task), idempotency_key).await
    }

    /// Tries a finished task again; safe to send again, as [`Client::create_task`].
    pub async fn retry_task(&self, task: TaskId, idempotency_key: &str) -> Result<TaskCreated, ClientError> {
        self.send_until_heard(&format!("tasks/{task}/retry"), None::<&()>, idempotency_key).await
    }

    /// One task.
    pub async fn task(&self, task: TaskId) -> Result<Task, ClientError> {
        self.get(&format!("tasks/{task}")).await
    }

    /// A page of tasks, newest first.
    pub async fn tasks(&self, filter: &ListTasks) -> Result<Page<TaskSummary>, ClientError> {
        self.send_for(self.request(Method::GET, "tasks").query(filter)).await
    }

    /// Asks for an abort. When this returns, the wish is durable.
    pub async fn abort_task(&self, task: TaskId, abort: &AbortTask) -> Result<(), ClientError> {
        self.act(Method::POST, &format!("tasks/{task}/abort"), Some(abort)).await
    }

    /// A part of a task's log, the bytes as the plugin wrote them but for masked secrets.
    pub async fn task_log(&self, task: TaskId, part: &ReadLog) -> Result<LogPart, ClientError> {
        let response = self.send(self.request(Method::GET, &format!("tasks/{task}/log")).query(part)).await?;
        let header = |name: &str| response.headers().get(name).and_then(|value| value.to_str().ok());
        let missing = || ClientError::Unexpected {
            url: self.address().to_owned(),
            why: format!("the answer has no header {LOG_NEXT_HEADER}"),
        };
        let next = header(LOG_NEXT_HEADER).and_then(|value| value.parse().ok()).ok_or_else(missing)?;
        let complete = header(LOG_COMPLETE_HEADER) == Some("true");
        Ok(LogPart { address: self.address().to_owned(), response, next, complete })
    }

    /// The plugin's whole result, as it gave it.
    pub async fn task_result(&self, task: TaskId) -> Result<ResultBody, ClientError> {
        let response = self.send(self.request(Method::GET, &format!("tasks/{task}/result"))).await?;
        Ok(ResultBody { address: self.address().to_owned(), response })
    }

    async fn send_until_heard(
        &self,
        path: &str,
        body: Option<&(impl Serialize + Sync)>,
        key: &str,
    ) -> Result<TaskCreated, ClientError> {
        let mut pauses = PAUSES.iter();
        loop {
            let request = self.request(Method::POST, path).header(IDEMPOTENCY_HEADER, key);
            let request = match body {
                Some(body) => request.json(body),
                None => request,
            };
            match (self.send_for(request).await, pauses.next()) {
                (Err(error), Some(pause)) if error.is_passing() => tokio::time::sleep(*pause).await,
                (answer, _) => return answer,
            }
        }
    }
}
