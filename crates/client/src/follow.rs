//! Following a task live, through as many broken connections as it takes.

use std::time::Duration;

use legwork_core::TaskId;
use legwork_protocol::api::{Follow, FollowLog, Task};
use reqwest::header::ACCEPT;
use reqwest::{Method, Response};

use crate::connection::Client;
use crate::error::ClientError;
use crate::server_sent_events::{Event, Parser};

/// Silence after which a connection counts as broken; the server sends something far more often.
const SILENCE: Duration = Duration::from_mins(1);
/// The pauses between attempts to come back.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// What a follower hears.
#[derive(Debug)]
pub enum News {
    /// The task as it is now.
    Task(Box<Task>),
    /// The next piece of log.
    Log(FollowLog),
    /// Nothing more will come.
    End {
        /// False if the log did not complete within the server's patience.
        log_complete: bool,
    },
    /// The connection broke; the follower is coming back by itself.
    Interrupted(ClientError),
}

/// Follows one task. Every byte of its log is given once and in order, however often the connection breaks.
#[derive(Debug)]
pub struct Follower {
    client: Client,
    task: TaskId,
    response: Option<Response>,
    parser: Parser,
    waiting: std::collections::VecDeque<Event>,
    last_id: Option<String>,
    /// The attempt whose log is being read and the place after what was given.
    log_place: (u32, u64),
    pause: Duration,
    broken: bool,
    ended: bool,
}

impl Client {
    /// Begins to follow a task. A server that cannot be reached now is an error; later ones are waited for.
    pub async fn follow(&self, task: TaskId) -> Result<Follower, ClientError> {
        let mut follower = Follower {
            client: self.clone(),
            task,
            response: None,
            parser: Parser::default(),
            waiting: std::collections::VecDeque::new(),
            last_id: None,
            log_place: (0, 0),
            pause: FIRST_PAUSE,
            broken: false,
            ended: false,
        };
        follower.connect().await?;
        Ok(follower)
    }
}

impl Follower {
    /// The next news; none after [`News::End`]. An error is final: the server refuses to go on.
    ///
    /// Safe to drop at any await and to call again.
    pub async fn next(&mut self) -> Result<Option<News>, ClientError> {
        loop {
            if self.ended {
                return Ok(None);
            }
            while let Some(event) = self.waiting.pop_front() {
                if let Some(news) = self.understand(event)? {
                    return Ok(Some(news));
                }
            }
            if self.response.is_none() {
                if self.broken {
                    tokio::time::sleep(self.pause).await;
                    self.pause = (self.pause * 2).min(LONGEST_PAUSE);
                }
                match self.connect().await {
                    Ok(()) => {}
                    Err(error) if error.is_passing() => {
                        self.broken = true;
                        return Ok(Some(News::Interrupted(error)));
                    }
                    Err(error) => return Err(error),
                }
            }
            if !self.read().await {
                self.response = None;
                self.parser = Parser::default();
                self.broken = true;
            }
        }
    }

    async fn connect(&mut self) -> Result<(), ClientError> {
        let mut request =
            self.client.request(Method::GET, &format!("tasks/{}/follow", self.task)).header(ACCEPT, "text/event-stream");
        if let Some(id) = &self.last_id {
            request = request.header("last-event-id", id);
        }
        let response = tokio::time::timeout(SILENCE, self.client.send(request)).await;
        self.response = Some(response.unwrap_or_else(|_| Err(self.no_answer()))?);
        Ok(())
    }

    fn no_answer(&self) -> ClientError {
        ClientError::Unexpected {
            url: self.client.address().to_owned(),
            why: "it accepts connections but does not answer".to_owned(),
        }
    }

    /// Reads the next bytes. False if the connection is over: ended in good order by a server that stops, broken, or
    /// silent for too long. Which it was does not matter, since coming back tells more.
    async fn read(&mut self) -> bool {
        let Some(response) = self.response.as_mut() else { return false };
        match tokio::time::timeout(SILENCE, response.chunk()).await {
            Ok(Ok(Some(bytes))) => {
                self.waiting.extend(self.parser.push(&bytes));
                true
            }
            Ok(Ok(None) | Err(_)) | Err(_) => false,
        }
    }

    fn understand(&mut self, event: Event) -> Result<Option<News>, ClientError> {
        let unexpected = |why: String| ClientError::Unexpected { url: self.client.address().to_owned(), why };
        let follow: Follow = serde_json::from_str(&event.data)
            .map_err(|error| unexpected(format!("event {:?} of the live view: {error}", event.name)))?;
        if event.id.is_some() {
            self.last_id = event.id;
        }
        self.pause = FIRST_PAUSE;
        self.broken = false;
        Ok(match follow {
            Follow::Task(task) => Some(News::Task(task)),
            Follow::Log(log) => self.not_given_yet(log).map(News::Log),
            Follow::End { log_complete } => {
                self.ended = true;
                Some(News::End { log_complete })
            }
        })
    }

    /// Drops what was given before: a server may send a piece again after a connection broke.
    fn not_given_yet(&mut self, mut log: FollowLog) -> Option<FollowLog> {
        let (attempt, place) = self.log_place;
        if log.attempt == attempt && log.offset < place {
            let known = usize::try_from(place - log.offset).unwrap_or(usize::MAX);
            if known >= log.bytes.len() {
                return None;
            }
            log.bytes.drain(..known);
            log.offset = place;
            log.missing = Some(0);
        }
        self.log_place = (log.attempt, log.offset + log.bytes.len() as u64);
        Some(log)
    }
}
