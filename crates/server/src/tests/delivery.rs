use axum::body::Body;
use axum::http::{Method, Request, header};
use legwork_core::event::{AttemptEvent, Report, ResultBytes};
use legwork_core::task::Outcome;
use legwork_core::{AttemptId, EventNumber};
use legwork_protocol::CHANNEL_VERSION;
use legwork_protocol::channel::{ChunkAnswer, VERSION_HEADER};
use legwork_protocol::envelope::{CHUNK_KEY_HEADER, CHUNK_LAST_HEADER};
use serde_json::{Value, json};

use super::{Answer, FakeRunner, World};

pub(crate) async fn put(
    runner: &FakeRunner<'_>,
    attempt: AttemptId,
    stream: &str,
    sequence: u32,
    last: bool,
    bytes: Vec<u8>,
) -> Answer {
    let request = Request::builder()
        .method(Method::PUT)
        .uri(format!("/runner/v1/attempts/{attempt}/chunks/{stream}/{sequence}"))
        .header(VERSION_HEADER, CHANNEL_VERSION)
        .header(header::AUTHORIZATION, format!("Bearer {}", runner.credential))
        .header(CHUNK_KEY_HEADER, "clear")
        .header(CHUNK_LAST_HEADER, last.to_string())
        .body(Body::from(bytes))
        .unwrap();
    runner.world.send(request).await
}

#[tokio::test]
async fn a_large_result_comes_in_chunks_byte_for_byte() {
    let world = World::new().await;
    let runner = world.runner("remote", 4).await;
    let id = world.task(json!({})).await;
    let attempt = runner.start().await;
    let text = "äöü\u{1F600}".repeat(300_000);
    let json = json!({"exitCode": 0, "outputProperties": {"text": text}}).to_string().into_bytes();
    let chunks: Vec<&[u8]> = json.chunks(1024 * 1024).collect();
    let report = |chunks: u32, bytes: u64| {
        AttemptEvent::Finished(Report {
            outcome: Outcome::Completed,
            message: String::new(),
            exit: None,
            result_exit_code: Some(0),
            result: ResultBytes::Chunked { bytes, chunks },
            evidence: None,
            timings: Vec::new(),
        })
    };
    let (count, bytes) = (chunks.len() as u32, json.len() as u64);
    assert!(count >= 3);
    put(&runner, attempt, "result", 0, false, chunks[0].to_vec()).await;
    // The report waits for the rest, without being refused.
    let answer = runner.report(attempt, vec![(1, report(count, bytes))]).await;
    assert_eq!((answer.attempts[0].through, &answer.attempts[0].refused), (EventNumber(0), &None));
    for (sequence, chunk) in (0..).zip(&chunks) {
        let last = sequence + 1 == count;
        let kept: ChunkAnswer = put(&runner, attempt, "result", sequence, last, chunk.to_vec()).await.value();
        assert_eq!(kept, ChunkAnswer::Kept { stdout: 0, stderr: 0 });
    }
    assert_eq!(put(&runner, attempt, "result", 0, false, vec![1]).await.refusal().1, "conflict");
    let answer = runner.report(attempt, vec![(1, report(count, bytes))]).await;
    assert_eq!(answer.attempts[0].through, EventNumber(1));
    let task = world.show(&id).await;
    assert_eq!((&task["status"], &task["outputs"], &task["result_bytes"]), (&json!("completed"), &Value::Null, &json!(bytes)));
    assert_eq!(world.get(&format!("/api/v1/tasks/{id}/result")).await.bytes, json);
}

#[tokio::test]
async fn a_large_input_is_fetched_in_chunks() {
    let world = World::new().await;
    let runner = world.runner("remote", 4).await;
    let stranger = world.runner("other", 4).await;
    let text = "0123456789".repeat(200_000);
    world.task(json!({"capabilities": ["remote"], "inputs": [{"name": "text", "value": text}]})).await;
    let offer = runner.offer().await;
    assert!(offer.input.is_none() && offer.input_chunks == 2, "{} chunks", offer.input_chunks);
    let path = |sequence: u32| format!("attempts/{}/chunks/input/{sequence}", offer.attempt);
    let mut input = Vec::new();
    for sequence in 0..offer.input_chunks {
        let chunk = runner.channel(Method::GET, &path(sequence), &runner.credential, None).await;
        assert_eq!(chunk.headers[CHUNK_KEY_HEADER], "clear");
        input.extend(chunk.bytes);
    }
    let input: Value = serde_json::from_slice(&input).unwrap();
    assert_eq!(input["properties"][0]["value"], text);
    assert_eq!(runner.channel(Method::GET, &path(9), &runner.credential, None).await.status, 404);
    assert_eq!(stranger.channel(Method::GET, &path(0), &stranger.credential, None).await.status, 404);
}

#[tokio::test]
async fn chunks_that_are_not_wanted_are_refused() {
    let world = World::new().await;
    let runner = world.runner("remote", 4).await;
    let stranger = world.runner("other", 4).await;
    world.task(json!({"capabilities": ["remote"]})).await;
    let attempt = runner.start().await;
    let answer: ChunkAnswer = put(&stranger, attempt, "result", 0, true, vec![1]).await.value();
    assert!(matches!(answer, ChunkAnswer::Refused { .. }), "{answer:?}");
    assert_eq!(put(&runner, attempt, "result", 0, true, vec![0; 2 * 1024 * 1024]).await.refusal().1, "too_large");
    assert_eq!(put(&runner, attempt, "log", 0, true, vec![9]).await.refusal().1, "bad_request");
    assert_eq!(put(&runner, attempt, "input", 0, true, vec![]).await.status, 404);
}
