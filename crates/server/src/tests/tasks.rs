use axum::http::{Method, StatusCode};
use serde_json::{Value, json};

use super::{World, success};

#[tokio::test]
async fn a_task_says_why_it_waits() {
    let world = World::new().await;
    let id = world.task(json!({"capabilities": ["gpu"]})).await;
    let task = world.show(&id).await;
    assert_eq!((&task["status"], &task["explanation"]), (&json!("pending"), &json!("no runner is registered")));
    let runner = world.runner("remote,docker", 2).await;
    let task = world.show(&id).await;
    assert_eq!(task["explanation"], "no registered runner offers gpu");
    assert_eq!(task["waiting"], json!({"reason": "no_runner_offers", "missing": ["gpu"]}));

    let one = world.task(json!({"capabilities": ["docker"]})).await;
    let other = world.task(json!({"capabilities": ["docker"], "priority": 5})).await;
    assert_eq!(world.show(&one).await["explanation"], "in the queue; 1 task is ahead of it");
    let offers = runner.poll(1).await.offers;
    assert_eq!(offers[0].attempt.task.to_string(), other, "the higher priority goes first");
    assert_eq!(world.show(&other).await["explanation"], "offered to fake");
    let path = format!("/api/v1/runners/{}/disable", runner.id);
    assert_eq!(world.admin(Method::POST, &path, None).await.json()["status"], "disabled");
    let task = world.show(&one).await;
    assert_eq!(task["explanation"], "the matching runner is not available: fake is disabled");
}

#[tokio::test]
async fn sending_a_task_twice_makes_one() {
    let world = World::new().await;
    let body = json!({"image": "i", "type": "a.B"});
    let send = async |body: &Value, key: &str| {
        world.admin_with(Method::POST, "/api/v1/tasks", Some(body.clone()), &[("idempotency-key", key)]).await
    };
    let first = send(&body, "k1").await;
    assert_eq!(first.status, StatusCode::CREATED);
    assert_eq!(first.headers["location"], format!("/api/v1/tasks/{}", first.json()["id"].as_str().unwrap()));
    let again = send(&body, "k1").await;
    assert_eq!((again.status, &again.json()["repeated"]), (StatusCode::OK, &json!(true)));
    assert_eq!(again.json()["id"], first.json()["id"]);
    let other = send(&json!({"image": "j", "type": "a.B"}), "k1").await;
    assert_eq!(other.refusal(), (409, "idempotency_key_reused".into(), String::new()));
    assert_ne!(send(&body, "k2").await.json()["id"], first.json()["id"]);
    assert_eq!(send(&body, "").await.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn lists_have_pages_and_filters() {
    let world = World::new().await;
    let mut made = Vec::new();
    for number in 0..5 {
        made.push(world.task(json!({"title": format!("task {number}"), "type": "a.B"})).await);
    }
    let page = world.get("/api/v1/tasks?limit=2").await.json();
    let ids = |page: &Value| -> Vec<String> {
        page["items"].as_array().unwrap().iter().map(|item| item["id"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(ids(&page), [made[4].clone(), made[3].clone()]);
    let next = page["next"].as_str().unwrap();
    let page = world.get(&format!("/api/v1/tasks?limit=3&after={next}")).await.json();
    assert_eq!((ids(&page).len(), &page["next"]), (3, &Value::Null));
    let found = world.get("/api/v1/tasks?search=task%203&status=pending").await.json();
    assert_eq!(ids(&found), [made[3].clone()]);
    assert_eq!(ids(&world.get("/api/v1/tasks?search=TESTBED%3Adev").await.json()).len(), 5);
    assert_eq!(ids(&world.get("/api/v1/tasks?status=completed,failed").await.json()), Vec::<String>::new());
    assert_eq!(world.get("/api/v1/tasks?status=asleep").await.refusal(), (422, "invalid".into(), "status".into()));
    assert_eq!(world.get("/api/v1/tasks?limit=0").await.refusal(), (422, "invalid".into(), "limit".into()));
    assert_eq!(world.get("/api/v1/tasks?limit=x").await.refusal(), (422, "invalid".into(), "limit".into()));
    assert_eq!(world.get("/api/v1/tasks?colour=red").await.refusal().1, "invalid");
    assert_eq!(world.get("/api/v1/tasks?runner=nobody").await.refusal(), (404, "not_found".into(), "runner".into()));
}

#[tokio::test]
async fn secrets_do_not_come_back() {
    let world = World::new().await;
    let nested = json!({"type": "t.Server", "properties": [
        {"name": "key", "value": "hidden-2", "kind": "STRING", "category": "input", "password": true},
    ]});
    let inputs = json!([
        {"name": "a", "value": "shown"},
        {"name": "b", "value": "hidden-1", "secret": true},
        {"name": "server", "value": nested},
        {"name": "big", "value": "x".repeat(10_000)},
    ]);
    let id = world.task(json!({"inputs": inputs})).await;
    let answer = world.get(&format!("/api/v1/tasks/{id}")).await;
    let text = String::from_utf8(answer.bytes.clone()).unwrap();
    assert!(!text.contains("hidden") && text.contains("shown"), "{text}");
    assert!(text.contains("(10000 bytes)") && text.len() < 8_000, "{text}");
}

#[tokio::test]
async fn an_abort_ends_what_nobody_has() {
    let world = World::new().await;
    let id = world.task(json!({})).await;
    let abort = format!("/api/v1/tasks/{id}/abort");
    assert_eq!(world.post(&abort, json!({"reason": "wrong cluster"})).await.status, StatusCode::ACCEPTED);
    let task = world.show(&id).await;
    assert_eq!((&task["status"], &task["class"]), (&json!("failed"), &json!("aborted")));
    assert_eq!(task["message"], "aborted by admin before it ran: wrong cluster");
    assert_eq!(world.admin(Method::POST, &abort, None).await.refusal().1, "conflict");

    // Retried: the mark is gone, and it waits again.
    let retry = format!("/api/v1/tasks/{id}/retry");
    assert_eq!(world.admin(Method::POST, &retry, None).await.status, StatusCode::CREATED);
    let task = world.show(&id).await;
    assert_eq!((&task["status"], &task["abort"]), (&json!("pending"), &Value::Null));
    assert_eq!(world.admin(Method::POST, &retry, None).await.refusal().1, "conflict");
}

#[tokio::test]
async fn an_abort_of_an_offer_reaches_the_runner_when_it_confirms() {
    let world = World::new().await;
    let runner = world.runner("remote", 2).await;
    let id = world.task(json!({})).await;
    let attempt = runner.offer().await.attempt;
    world.admin(Method::POST, &format!("/api/v1/tasks/{id}/abort"), None).await;
    let confirmed = serde_json::to_value(runner.confirm(&[attempt]).await).unwrap();
    assert_eq!(confirmed["attempts"][0]["confirmed"], "no", "{confirmed}");
    let mut asks = runner.asks(1, 10_000);
    asks.holding.push(attempt);
    let answer: legwork_protocol::channel::PollAnswer = runner.say("poll", &asks).await.value();
    assert_eq!(answer.superseded, [attempt]);
}

#[tokio::test]
async fn an_abort_of_a_running_task_reaches_the_waiting_poll() {
    let world = World::new().await;
    let runner = world.runner("remote", 2).await;
    let id = world.task(json!({})).await;
    let attempt = runner.start().await;
    assert_eq!(world.show(&id).await["status"], "in_progress");
    let mut asks = runner.asks(1, 10_000);
    asks.holding.push(attempt);
    let abort_path = format!("/api/v1/tasks/{id}/abort");
    let (answer, aborted) = tokio::join!(runner.say("poll", &asks), world.post(&abort_path, json!({"reason": "enough"})));
    assert_eq!(aborted.status, StatusCode::ACCEPTED);
    let answer: legwork_protocol::channel::PollAnswer = answer.value();
    assert_eq!((answer.aborts[0].attempt, answer.aborts[0].by.as_str()), (attempt, "by admin: enough"));
    assert_eq!(world.show(&id).await["status"], "aborting");
    // A result that was journaled before the signals stands.
    runner.report(attempt, vec![(1, success(&json!({})))]).await;
    assert_eq!(world.show(&id).await["status"], "completed");
}

#[tokio::test]
async fn a_queue_timeout_fails_the_task() {
    let world = World::new().await;
    let id = world.task(json!({"queue_timeout": "1h"})).await;
    assert_eq!(world.show(&id).await["status"], "pending");
    world.clock.jump(3_600_001);
    let task = world.until(&id, |task| task["status"] == "failed").await;
    assert_eq!(task["class"], "timed-out");
}
