//! The runner's end of the channel: typed requests to the server. `docs/protocol.md` tells what they mean.

mod link;
mod tls;

use std::sync::Arc;
use std::time::Duration;

use legwork_core::AttemptId;
use legwork_protocol::CHANNEL_VERSION;
use legwork_protocol::channel::{
    Challenge, ChunkAnswer, Confirm, ConfirmAnswer, Events, EventsAnswer, Goodbye, PATH, Poll, PollAnswer, Register, Registered,
    VERSION_HEADER,
};
use legwork_protocol::envelope::{CHUNK_KEY_HEADER, CHUNK_LAST_HEADER, ChunkHeader, ChunkStream, KeyId};
use legwork_protocol::error::{ErrorBody, ErrorCode};
use reqwest::{Client, RequestBuilder, Response, StatusCode, Url};
use serde::Serialize;
use serde::de::DeserializeOwned;

pub(crate) use link::{Link, Links, Session};

use crate::config::{RunnerConfig, Token};
use crate::error::StartError;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);
/// What a poll may take beyond the time that the server holds it.
const POLL_SLACK: Duration = Duration::from_secs(10);

/// Where the server is.
#[derive(Clone, Debug)]
pub(crate) struct Address(Url);

impl Address {
    /// Reads an address; the error says what is wrong with it.
    pub(crate) fn parse(text: &str, plain_http: bool) -> Result<Self, String> {
        let mut url =
            Url::parse(text.trim()).map_err(|error| format!("{text:?} is no URL: {error}; write https://<host>:5516"))?;
        match url.scheme() {
            "https" => {}
            "http" if plain_http => {}
            "http" => return Err(format!("{text:?} is not encrypted: use https, or allow plain HTTP explicitly")),
            other => return Err(format!("{text:?} has the scheme {other:?}: use https")),
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err("it must not contain a user name or a password: give the token by itself".to_owned());
        }
        let path = format!("{}{PATH}/", url.path().trim_end_matches('/'));
        url.set_path(&path);
        url.set_query(None);
        url.set_fragment(None);
        Ok(Self(url))
    }

    fn at(&self, place: &str) -> Url {
        self.0.join(place).expect("our places are relative paths")
    }
}

/// Why a request came to nothing.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum ChannelError {
    /// The server cannot be reached, or cannot answer now.
    #[error("{0}")]
    Away(String),
    /// The token is not accepted; the server's words.
    #[error("{0}")]
    Token(String),
    /// Another process has registered as this runner.
    #[error("{0}")]
    Superseded(String),
    /// The server does not know this runner.
    #[error("{0}")]
    UnknownRunner(String),
    /// The two sides speak different versions.
    #[error("{0}")]
    Version(String),
    /// The server refuses this request and would refuse it again.
    #[error("{0}")]
    Refused(String),
}

/// The channel to the server. Clones share connections and registration.
#[derive(Clone)]
pub(crate) struct Channel {
    client: Client,
    address: Address,
    token: Token,
    links: Arc<Links>,
}

impl Channel {
    /// A channel that nothing has gone through yet.
    pub(crate) fn new(config: &RunnerConfig, address: Address) -> Result<Self, StartError> {
        let client = Client::builder()
            .tls_backend_preconfigured(tls::client_config(config.ca_pem.as_deref())?)
            .connect_timeout(CONNECT_TIMEOUT)
            .pool_idle_timeout(Duration::from_secs(90))
            .http2_keep_alive_interval(Duration::from_secs(20))
            .http2_keep_alive_timeout(Duration::from_secs(10))
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|error| StartError::Tls(words(&error)))?;
        Ok(Self { client, address, token: config.token.clone(), links: Arc::new(Links::new()) })
    }

    /// How it stands with the registration.
    pub(crate) fn links(&self) -> &Links {
        &self.links
    }

    pub(crate) async fn challenge(&self) -> Result<Challenge, ChannelError> {
        let request = self.client.post(self.address.at("challenge")).timeout(REQUEST_TIMEOUT);
        json(answer(request).await?).await
    }

    pub(crate) async fn register(&self, register: &Register) -> Result<Registered, ChannelError> {
        let request = self.client.post(self.address.at("register")).timeout(REQUEST_TIMEOUT);
        json(answer(request.bearer_auth(self.token.expose()).json(register)).await?).await
    }

    /// Asks for work and news; `credential` is that of the registration which the poll belongs to.
    pub(crate) async fn poll(&self, poll: &Poll) -> Result<PollAnswer, ChannelError> {
        self.post("poll", poll, Duration::from_millis(poll.wait_millis) + POLL_SLACK).await
    }

    pub(crate) async fn confirm(&self, attempts: Vec<AttemptId>) -> Result<ConfirmAnswer, ChannelError> {
        self.post("confirm", &Confirm { attempts }, REQUEST_TIMEOUT).await
    }

    pub(crate) async fn events(&self, events: &Events) -> Result<EventsAnswer, ChannelError> {
        self.post("events", events, REQUEST_TIMEOUT).await
    }

    /// Says goodbye if the server answers within this time.
    pub(crate) async fn goodbye(&self, wiped: bool, patience: Duration) -> Result<(), ChannelError> {
        self.send("goodbye", |client, url| client.post(url).json(&Goodbye { wiped }).timeout(patience)).await.map(drop)
    }

    /// Gets a chunk of an input, and whether it is the last one.
    pub(crate) async fn input_chunk(&self, attempt: AttemptId, sequence: u64) -> Result<bytes::Bytes, ChannelError> {
        let place = chunk_place(attempt, ChunkStream::Input, sequence);
        let answer = self.send(&place, |client, url| client.get(url).timeout(REQUEST_TIMEOUT)).await?;
        if let Some(key) = answer.headers().get(CHUNK_KEY_HEADER)
            && key.as_bytes() != KeyId::CLEAR.as_bytes()
        {
            return Err(ChannelError::Refused(format!(
                "the input of {attempt} is sealed with the key {key:?}, which is not known here"
            )));
        }
        answer.bytes().await.map_err(|error| ChannelError::Away(words(&error)))
    }

    /// Puts a chunk of a result or a log.
    pub(crate) async fn put_chunk(&self, header: &ChunkHeader, body: bytes::Bytes) -> Result<ChunkAnswer, ChannelError> {
        let place = chunk_place(header.attempt, header.stream, header.sequence);
        let put = |client: &Client, url| {
            client
                .put(url)
                .header(CHUNK_LAST_HEADER, if header.last { "true" } else { "false" })
                .header(CHUNK_KEY_HEADER, &header.key_id.0)
                .header(reqwest::header::CONTENT_TYPE, "application/octet-stream")
                .body(body.clone())
                .timeout(REQUEST_TIMEOUT)
        };
        json(self.send(&place, put).await?).await
    }

    async fn post<T: DeserializeOwned>(
        &self,
        place: &str,
        body: &(impl Serialize + Sync),
        timeout: Duration,
    ) -> Result<T, ChannelError> {
        json(self.send(place, |client, url| client.post(url).json(body).timeout(timeout)).await?).await
    }

    /// Sends a request with the credential of the registration that stands, and draws the conclusions from a refusal.
    async fn send(&self, place: &str, make: impl Fn(&Client, Url) -> RequestBuilder) -> Result<Response, ChannelError> {
        let session = self.links.session().ok_or_else(|| ChannelError::Away("this runner is not registered".to_owned()))?;
        let answered = answer(make(&self.client, self.address.at(place)).bearer_auth(&session.credential)).await;
        match &answered {
            Ok(_) => self.links.reached(),
            Err(ChannelError::UnknownRunner(why)) => self.links.lost(&session, why),
            Err(ChannelError::Superseded(why)) if !self.links.superseded(&session, why) => {
                // It was an older registration of this same process.
                return Err(ChannelError::Away("this runner has registered again meanwhile".to_owned()));
            }
            Err(ChannelError::Version(why)) => self.links.lost(&session, why),
            Err(_) => {}
        }
        answered
    }
}

fn chunk_place(attempt: AttemptId, stream: ChunkStream, sequence: u64) -> String {
    format!("attempts/{}/{}/chunks/{}/{sequence}", attempt.task, attempt.attempt, stream.as_str())
}

async fn answer(request: RequestBuilder) -> Result<Response, ChannelError> {
    let answer =
        request.header(VERSION_HEADER, CHANNEL_VERSION).send().await.map_err(|error| ChannelError::Away(words(&error)))?;
    let status = answer.status();
    if status.is_success() {
        return Ok(answer);
    }
    let body = answer.bytes().await.unwrap_or_default();
    Err(refusal(status, &body))
}

fn refusal(status: StatusCode, body: &[u8]) -> ChannelError {
    let Ok(ErrorBody { error }) = serde_json::from_slice::<ErrorBody>(body) else {
        // A proxy has answered, or the address is not that of a Legwork server.
        let shown: String = String::from_utf8_lossy(body).chars().filter(|c| !c.is_control()).take(200).collect();
        return ChannelError::Away(format!("the answer {status} does not come from a Legwork server: {shown}"));
    };
    match error.code {
        ErrorCode::Unauthenticated
        | ErrorCode::WrongCredentials
        | ErrorCode::TokenExpired
        | ErrorCode::TokenRevoked
        | ErrorCode::Forbidden => ChannelError::Token(error.message),
        ErrorCode::Superseded => ChannelError::Superseded(error.message),
        ErrorCode::UnknownRunner => ChannelError::UnknownRunner(error.message),
        ErrorCode::VersionMismatch => ChannelError::Version(error.message),
        ErrorCode::TooManyRequests | ErrorCode::Internal | ErrorCode::Unavailable => ChannelError::Away(error.message),
        _ if status.is_server_error() => ChannelError::Away(error.message),
        _ => ChannelError::Refused(error.message),
    }
}

async fn json<T: DeserializeOwned>(answer: Response) -> Result<T, ChannelError> {
    let body = answer.bytes().await.map_err(|error| ChannelError::Away(words(&error)))?;
    serde_json::from_slice(&body).map_err(|error| ChannelError::Away(format!("the server's answer cannot be read: {error}")))
}

/// An error with its causes: reqwest's own text only says that a request failed.
fn words(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        let address = Address::parse("https://legwork.example:5516/", false).unwrap();
        assert_eq!(address.at("poll").as_str(), "https://legwork.example:5516/runner/v1/poll");
        let address = Address::parse("https://proxy.example/legwork", false).unwrap();
        assert_eq!(address.at("poll").as_str(), "https://proxy.example/legwork/runner/v1/poll");
        assert!(Address::parse("http://legwork.example", false).unwrap_err().contains("not encrypted"));
        Address::parse("http://legwork.example", true).unwrap();
        for text in ["", "legwork", "ftp://x", "https://user:secret@legwork.example"] {
            let problem = Address::parse(text, true).unwrap_err();
            assert!(!problem.contains("secret"), "{problem}");
        }
    }

    #[test]
    fn refusals_are_told_apart() {
        let body = |code: &str| format!(r#"{{"error":{{"code":"{code}","message":"words"}}}}"#).into_bytes();
        assert!(
            matches!(refusal(StatusCode::UNAUTHORIZED, &body("token_expired")), ChannelError::Token(words) if words == "words")
        );
        assert!(matches!(refusal(StatusCode::CONFLICT, &body("superseded")), ChannelError::Superseded(_)));
        assert!(matches!(refusal(StatusCode::GONE, &body("unknown_runner")), ChannelError::UnknownRunner(_)));
        assert!(matches!(refusal(StatusCode::BAD_REQUEST, &body("bad_request")), ChannelError::Refused(_)));
        assert!(matches!(refusal(StatusCode::BAD_GATEWAY, b"<html>"), ChannelError::Away(_)));
    }
}
