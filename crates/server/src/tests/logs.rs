use std::time::Duration;

use axum::http::{Request, header};
use futures::StreamExt as _;
use legwork_core::AttemptId;
use legwork_core::event::LogStream::{Stderr, Stdout};
use legwork_core::event::{AttemptEvent, LogContent, LogPiece, LogStream, LogSummary};
use legwork_protocol::channel::ChunkAnswer;
use legwork_protocol::frames;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use super::delivery::put;
use super::{FakeRunner, PASSWORD, World, basic, success};

fn piece(stream: LogStream, offset: u64, bytes: &[u8]) -> LogPiece {
    LogPiece { stream, offset, content: LogContent::Bytes(bytes.to_vec()) }
}

async fn send(runner: &FakeRunner<'_>, attempt: AttemptId, pieces: &[LogPiece]) -> ChunkAnswer {
    let mut chunk = Vec::new();
    for piece in pieces {
        frames::encode(piece, &mut chunk);
    }
    put(runner, attempt, "log", 0, false, chunk).await.value()
}

fn complete(stdout_bytes: u64, stderr_bytes: u64) -> AttemptEvent {
    AttemptEvent::LogComplete(LogSummary { stdout_bytes, stderr_bytes, dropped_bytes: 0, gaps: 0 })
}

#[tokio::test]
async fn logs_are_kept_once_and_read_from_any_offset() {
    let world = World::new().await;
    let runner = world.runner("remote", 4).await;
    let id = world.task(json!({})).await;
    let log = async |query: &str| {
        let answer = world.get(&format!("/api/v1/tasks/{id}/log{query}")).await;
        let header = |name: &str| answer.headers.get(name).map_or(String::new(), |value| value.to_str().unwrap().to_owned());
        (answer.bytes.clone(), header("legwork-log-next"), header("legwork-log-complete"))
    };
    assert_eq!(log("").await, (b"".to_vec(), "0".into(), "false".into()));
    let attempt = runner.start().await;
    let kept =
        send(&runner, attempt, &[piece(Stdout, 0, b"one\n"), piece(Stderr, 0, b"bad\xff"), piece(Stdout, 4, b"two\n")]).await;
    assert_eq!(kept, ChunkAnswer::Kept { stdout: 8, stderr: 4 });
    // Again, with a little more; then something too far ahead.
    let kept = send(&runner, attempt, &[piece(Stdout, 0, b"one\ntwo\nthree")]).await;
    assert_eq!(kept, ChunkAnswer::Kept { stdout: 13, stderr: 4 });
    let missing = send(&runner, attempt, &[piece(Stdout, 20, b"x")]).await;
    assert_eq!(missing, ChunkAnswer::Missing { sequence: 0, stdout: 13, stderr: 4 });

    assert_eq!(log("").await, (b"one\nbad\xfftwo\nthree".to_vec(), "17".into(), "false".into()));
    assert_eq!(log("?stream=stdout").await, (b"one\ntwo\nthree".to_vec(), "13".into(), "false".into()));
    assert_eq!(log("?stream=stdout&offset=2&limit=4").await, (b"e\ntw".to_vec(), "6".into(), "false".into()));
    assert_eq!(log("?stream=stdout&offset=9").await, (b"hree".to_vec(), "13".into(), "false".into()));
    assert_eq!(log("?stream=stderr&offset=1").await.0, b"ad\xff");
    assert_eq!(log("?offset=3&limit=3").await, (b"\nba".to_vec(), "6".into(), "false".into()));
    assert_eq!(log("?offset=99").await, (b"".to_vec(), "17".into(), "false".into()));
    // The log may end after the result.
    runner.report(attempt, vec![(1, success(&json!({})))]).await;
    send(&runner, attempt, &[piece(Stdout, 13, b"!\n")]).await;
    runner.report(attempt, vec![(2, complete(15, 4))]).await;
    assert_eq!(log("?offset=17").await, (b"!\n".to_vec(), "19".into(), "true".into()));
    assert_eq!(log("?limit=5").await.2, "false");
    assert_eq!(world.get(&format!("/api/v1/tasks/{id}/log?attempt=7")).await.status, 404);
    assert_eq!(world.get(&format!("/api/v1/tasks/{id}/log?stream=stdin")).await.refusal().2, "stream");
}

#[tokio::test]
async fn a_gap_is_never_silent() {
    let world = World::new().await;
    let runner = world.runner("remote", 4).await;
    let id = world.task(json!({})).await;
    let attempt = runner.start().await;
    let gap = LogPiece { stream: LogStream::Stdout, offset: 3, content: LogContent::Gap { bytes: Some(100) } };
    send(&runner, attempt, &[piece(LogStream::Stdout, 0, b"abc"), gap, piece(LogStream::Stdout, 103, b"xyz")]).await;
    for query in ["", "?stream=stdout"] {
        let log = world.get(&format!("/api/v1/tasks/{id}/log{query}")).await;
        let text = String::from_utf8(log.bytes).unwrap();
        assert_eq!(text, "abc\n[100 bytes of the log are missing here]\nxyz", "{query}");
    }
    let log = world.get(&format!("/api/v1/tasks/{id}/log?stream=stdout&offset=104")).await;
    assert_eq!(log.bytes, b"yz");
}

/// The events of a stream up to its end.
async fn follow(world: &World, id: &str, last_event_id: Option<&str>) -> Vec<Value> {
    let mut request =
        Request::builder().uri(format!("/api/v1/tasks/{id}/follow")).header(header::AUTHORIZATION, basic("admin", PASSWORD));
    if let Some(id) = last_event_id {
        request = request.header("last-event-id", id);
    }
    let response = world.router.clone().oneshot(request.body(axum::body::Body::empty()).unwrap()).await.unwrap();
    assert_eq!(response.headers()[header::CONTENT_TYPE], "text/event-stream");
    let mut stream = response.into_body().into_data_stream();
    let mut text = String::new();
    while let Some(bytes) = tokio::time::timeout(Duration::from_secs(20), stream.next()).await.expect("the stream ends") {
        text.push_str(std::str::from_utf8(&bytes.unwrap()).unwrap());
    }
    let data = text.lines().filter_map(|line| line.strip_prefix("data: "));
    data.map(|data| serde_json::from_str(data).unwrap()).collect()
}

fn log_of(events: &[Value]) -> Vec<u8> {
    use base64::Engine as _;
    let logs = events.iter().filter(|event| event["event"] == "log");
    logs.flat_map(|event| base64::engine::general_purpose::STANDARD.decode(event["bytes"].as_str().unwrap()).unwrap()).collect()
}

#[tokio::test]
async fn a_follower_sees_everything_to_the_end() {
    let world = World::new().await;
    let runner = world.runner("remote", 4).await;
    let id = world.task(json!({})).await;
    let work = async {
        let attempt = runner.start().await;
        send(&runner, attempt, &[piece(LogStream::Stdout, 0, b"hello ")]).await;
        send(&runner, attempt, &[piece(LogStream::Stderr, 0, b"world")]).await;
        runner.report(attempt, vec![(1, success(&json!({})))]).await;
        send(&runner, attempt, &[piece(LogStream::Stdout, 6, b"!")]).await;
        runner.report(attempt, vec![(2, complete(7, 5))]).await;
    };
    let (events, ()) = tokio::join!(follow(&world, &id, None), work);
    assert_eq!(log_of(&events), b"hello world!");
    assert_eq!(events.first().unwrap()["status"], "pending");
    assert_eq!(events.last().unwrap(), &json!({"event": "end", "log_complete": true}));
    let task = events.iter().rfind(|event| event["event"] == "task").unwrap();
    assert_eq!(task["status"], "completed");

    // Resumed in the middle.
    assert_eq!(log_of(&follow(&world, &id, Some("1:4")).await), b"o world!");
    assert_eq!(log_of(&follow(&world, &id, Some("11")).await), b"!");
    assert_eq!(log_of(&follow(&world, &id, Some("1:12")).await), b"");
}

#[tokio::test]
async fn followers_end_when_the_server_stops() {
    let world = World::new().await;
    let id = world.task(json!({})).await;
    let stop = async {
        world.state.wakes.wake(id.parse().unwrap());
        world.lifecycle.stop();
    };
    let (events, ()) = tokio::join!(follow(&world, &id, None), stop);
    assert!(events.len() <= 1, "{events:?}");
}
