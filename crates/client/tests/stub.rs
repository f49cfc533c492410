//! The client against a stub that misbehaves as networks and servers do. The real server is tried in `e2e`.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use legwork_client::{Client, ClientError, Connection, Credentials, News, Obstacle};
use legwork_core::TaskId;
use legwork_protocol::api::{CreateTask, ReadLog};
use legwork_protocol::error::ErrorCode;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

const REFUSAL: &str = r#"{"error":{"code":"token_expired","message":"the token has expired","request_id":"r1"}}"#;

async fn serve(router: Router, tasks: &mut JoinSet<()>) -> Client {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tasks.spawn(async move { axum::serve(listener, router).await.unwrap() });
    client(address)
}

fn client(address: SocketAddr) -> Client {
    let credentials = Credentials::Token("rpa_secret".to_owned());
    Client::new(&Connection { url: format!("http://{address}"), ca_pem: None, credentials }).unwrap()
}

fn task_to_create() -> CreateTask {
    serde_json::from_value(json!({"image": "x", "type": "a.B"})).unwrap()
}

#[tokio::test]
async fn a_request_with_a_key_is_sent_until_it_is_heard() {
    async fn create(State(calls): State<Arc<AtomicU32>>, headers: HeaderMap) -> Response {
        assert_eq!(headers["idempotency-key"], "k1");
        assert_eq!(headers["x-release-personal-token"], "rpa_secret");
        if calls.fetch_add(1, Ordering::SeqCst) == 0 {
            let refusal = r#"{"error":{"code":"unavailable","message":"stopping"}}"#;
            return (StatusCode::SERVICE_UNAVAILABLE, refusal).into_response();
        }
        (StatusCode::CREATED, json!({"id": TaskId::new(), "repeated": true}).to_string()).into_response()
    }
    let calls = Arc::new(AtomicU32::new(0));
    let mut tasks = JoinSet::new();
    let client = serve(Router::new().route("/api/v1/tasks", post(create)).with_state(calls.clone()), &mut tasks).await;
    assert!(client.create_task(&task_to_create(), "k1").await.unwrap().repeated);
    assert_eq!(calls.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn refusals_and_strangers_are_told_apart() {
    let mut tasks = JoinSet::new();
    let router = Router::new()
        .route("/api/v1/me", get(async || (StatusCode::UNAUTHORIZED, REFUSAL)))
        .route("/api/v1/server", get(async || "<html>hello</html>"));
    let client = serve(router, &mut tasks).await;

    let refused = client.me().await.unwrap_err();
    assert_eq!(refused.code(), Some(ErrorCode::TokenExpired));
    assert_eq!(refused.to_string(), "the token has expired");
    assert!(refused.hint().unwrap().contains("legwork login"));
    assert!(matches!(client.server().await.unwrap_err(), ClientError::Unexpected { .. }));
    let not_found = client.task(TaskId::new()).await.unwrap_err();
    assert!(not_found.to_string().contains("HTTP status 404"), "{not_found}");
}

#[tokio::test]
async fn nobody_listening_is_said_so() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let error = client(address).server().await.unwrap_err();
    assert!(matches!(error, ClientError::Connection { obstacle: Obstacle::Refused, .. }), "{error:?}");
    assert_eq!(error.to_string(), format!("the server at http://{address} refuses connections"));
    assert_eq!(error.hint(), Some("is the server running?"));
    assert!(error.is_passing());
}

#[tokio::test]
async fn a_log_says_where_it_ends() {
    let mut tasks = JoinSet::new();
    let answer = async || ([("legwork-log-next", "7"), ("legwork-log-complete", "true")], &b"a\xffb\0cde"[..]);
    let client = serve(Router::new().route("/api/v1/tasks/{id}/log", get(answer)), &mut tasks).await;
    let mut log = client.task_log(TaskId::new(), &ReadLog { offset: Some(0), ..ReadLog::default() }).await.unwrap();
    let mut bytes = Vec::new();
    while let Some(chunk) = log.chunk().await.unwrap() {
        bytes.extend_from_slice(&chunk);
    }
    assert_eq!((&bytes[..], log.next, log.complete), (&b"a\xffb\0cde"[..], 7, true));
}

/// The stream ends in the middle of an event, the server is away for a moment, then sends a piece again.
#[tokio::test]
async fn following_survives_what_breaks() {
    fn log(offset: u64, text: &str) -> String {
        use std::fmt::Write as _;
        // Base64 of short ASCII texts, by the alphabet alone.
        const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        assert_eq!(text.len() % 3, 0);
        let mut encoded = String::new();
        for three in text.as_bytes().chunks(3) {
            let bits = u32::from(three[0]) << 16 | u32::from(three[1]) << 8 | u32::from(three[2]);
            for shift in [18, 12, 6, 0] {
                encoded.push(char::from(ALPHABET[(bits >> shift & 63) as usize]));
            }
        }
        let data = json!({"event": "log", "attempt": 1, "stream": "stdout", "offset": offset, "bytes": encoded, "missing": 0});
        let mut event = String::new();
        write!(event, "event: log\nid: {}\ndata: {data}\n\n", offset + text.len() as u64).unwrap();
        event
    }
    async fn follow(State(calls): State<Arc<AtomicU32>>, headers: HeaderMap) -> Response {
        let last_id = headers.get("last-event-id").map(|id| id.to_str().unwrap().to_owned());
        match calls.fetch_add(1, Ordering::SeqCst) {
            0 => {
                assert_eq!(last_id, None);
                (log(0, "abcdef") + "event: log\nid: 9\ndata: {\"half").into_response()
            }
            1 => (StatusCode::SERVICE_UNAVAILABLE, r#"{"error":{"code":"unavailable","message":"starting"}}"#).into_response(),
            _ => {
                assert_eq!(last_id.as_deref(), Some("6"));
                let end = "event: end\ndata: {\"event\": \"end\", \"log_complete\": true}\n\n";
                (log(3, "defghi") + ": alive\n\n" + end).into_response()
            }
        }
    }
    let mut tasks = JoinSet::new();
    let calls = Arc::new(AtomicU32::new(0));
    let router = Router::new().route("/api/v1/tasks/{id}/follow", get(follow)).with_state(calls);
    let mut follower = serve(router, &mut tasks).await.follow(TaskId::new()).await.unwrap();
    let (mut bytes, mut interruptions, mut complete) = (Vec::new(), 0, None);
    while let Some(news) = follower.next().await.unwrap() {
        match news {
            News::Log(log) => bytes.extend(log.bytes),
            News::Interrupted(_) => interruptions += 1,
            News::End { log_complete } => complete = Some(log_complete),
            News::Task(_) => {}
        }
    }
    assert_eq!(String::from_utf8(bytes).unwrap(), "abcdefghi");
    assert_eq!((interruptions, complete), (1, Some(true)));
}
