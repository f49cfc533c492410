use axum::http::{Method, StatusCode};
use legwork_protocol::channel::{Duty, Goodbye, PollAnswer};
use serde_json::{Value, json};

use super::{World, success};

#[tokio::test]
async fn settings_reach_the_waiting_poll() {
    let world = World::new().await;
    let runner = world.runner("remote", 4).await;
    let path = format!("/api/v1/runners/{}", runner.id);
    let change = json!({"title": "renamed", "capacity": 2, "capabilities": ["remote", "gpu"], "eviction_time": "5m"});
    let (answer, edited) = tokio::join!(runner.poll(4), world.admin(Method::PATCH, &path, Some(change)));
    let settings = answer.settings.unwrap();
    assert_eq!((settings.title.as_str(), settings.capacity, settings.eviction_seconds), ("renamed", 2, 300));
    assert_eq!(settings.capabilities.to_string(), "gpu,remote");
    let shown = edited.json();
    assert_eq!((&shown["title"], &shown["status"], &shown["eviction_time"]), (&json!("renamed"), &json!("online"), &json!("5m")));
    assert_eq!(world.get("/api/v1/runners/renamed").await.json()["id"], runner.id.to_string());
    for (change, field) in [
        (json!({"title": ""}), "title"),
        (json!({"capacity": 1001}), "capacity"),
        (json!({"capabilities": ["No"]}), "capabilities[0]"),
        (json!({"eviction_time": "5"}), "eviction_time"),
        (json!({"colour": "red"}), "colour"),
    ] {
        let refused = world.admin(Method::PATCH, &path, Some(change)).await;
        assert_eq!(refused.refusal(), (422, "invalid".into(), field.into()));
    }
}

#[tokio::test]
async fn a_disabled_runner_gets_no_work() {
    let world = World::new().await;
    let mut runner = world.runner("remote", 4).await;
    let path = format!("/api/v1/runners/{}", runner.id);
    world.admin(Method::POST, &format!("{path}/disable"), None).await;
    let settings = runner.poll(4).await.settings.unwrap();
    assert_eq!(settings.duty, Duty::Disabled);
    runner.revision = settings.revision;
    world.task(json!({})).await;
    assert_eq!(runner.say("poll", &runner.asks(4, 50)).await.value::<PollAnswer>().offers.len(), 0);
    let enable = format!("{path}/enable");
    let (answer, _) = tokio::join!(runner.poll(4), world.admin(Method::POST, &enable, None));
    runner.revision = answer.settings.unwrap().revision;
    assert_eq!(runner.poll(4).await.offers.len(), 1);
    world.admin(Method::POST, &format!("{path}/drain"), None).await;
    assert_eq!(runner.poll(0).await.settings.unwrap().duty, Duty::Draining);
}

#[tokio::test]
async fn a_deleted_runner_finishes_and_goes() {
    let world = World::new().await;
    let runner = world.runner("remote", 4).await;
    world.task(json!({})).await;
    let attempt = runner.start().await;
    let path = format!("/api/v1/runners/{}", runner.id);
    assert_eq!(runner.say("goodbye", &Goodbye { wiped: true }).await.refusal().1, "conflict");
    assert_eq!(world.admin(Method::DELETE, &path, None).await.status, StatusCode::ACCEPTED);
    assert_eq!(world.get(&path).await.json()["status"], "deleting");
    assert_eq!(runner.poll(4).await.settings.unwrap().duty, Duty::Deleted);
    assert_eq!(runner.say("goodbye", &Goodbye { wiped: true }).await.refusal().1, "conflict");
    runner.report(attempt, vec![(1, success(&json!({})))]).await;
    assert_eq!(runner.say("goodbye", &Goodbye { wiped: true }).await.status, StatusCode::NO_CONTENT);
    assert_eq!(world.get(&path).await.status, StatusCode::NOT_FOUND);
    assert_eq!(runner.say("poll", &runner.asks(1, 1)).await.refusal().1, "unknown_runner");
    let task = world.show(&attempt.task.to_string()).await;
    assert!(task["runner"]["title"].as_str().unwrap().starts_with("deleted runner"), "{task}");
}

#[tokio::test]
async fn silence_is_shown_and_policies_act_on_it() {
    let world = World::new().await;
    let runner = world.runner("remote", 4).await;
    let waits = world.task(json!({})).await;
    let fails = world.task(json!({"lost_runner": {"policy": "fail", "after": "10m"}})).await;
    let moves = world.task(json!({"lost_runner": {"policy": "run_elsewhere", "after": "10m"}})).await;
    let offers = runner.poll(3).await.offers;
    let attempts: Vec<_> = offers.iter().map(|offer| offer.attempt).collect();
    assert_eq!(attempts.len(), 3);
    runner.confirm(&attempts).await;
    world.clock.jump(60_000);
    let shown = world.get("/api/v1/runners").await.json();
    assert_eq!(shown[0]["status"], "offline");
    assert!(world.show(&fails).await["explanation"].as_str().unwrap().contains("the runner fake is silent since"));
    world.clock.jump(600_000);
    let failed = world.until(&fails, |task| task["status"] == "failed").await;
    assert_eq!(failed["class"], "runner-lost");
    world.until(&moves, |task| task["status"] == "pending").await;
    assert_eq!(world.show(&waits).await["status"], "in_progress");
    // It comes back: what was taken away is superseded, what was not goes on.
    let mut asks = runner.asks(0, 10_000);
    asks.holding.clone_from(&attempts);
    let answer: PollAnswer = runner.say("poll", &asks).await.value();
    let mut superseded: Vec<String> = answer.superseded.iter().map(|attempt| attempt.task.to_string()).collect();
    superseded.sort();
    assert_eq!(superseded, [fails, moves]);
    let late = attempts.iter().find(|attempt| answer.superseded.contains(attempt)).unwrap();
    assert!(runner.report(*late, vec![(1, success(&json!({})))]).await.attempts[0].refused.is_some());
    let kept = attempts.iter().find(|attempt| !answer.superseded.contains(attempt)).unwrap();
    runner.report(*kept, vec![(1, success(&json!({})))]).await;
    assert_eq!(world.show(&waits).await["status"], "completed");
}

#[tokio::test]
async fn a_runner_that_says_goodbye_is_offline_until_it_is_back() {
    let world = World::new().await;
    let runner = world.runner("remote", 4).await;
    assert_eq!(runner.say("goodbye", &Goodbye { wiped: false }).await.status, StatusCode::NO_CONTENT);
    let shown: Value = world.get("/api/v1/runners").await.json();
    assert_eq!(shown[0]["status"], "offline");
    assert!(shown[0]["explanation"].as_str().unwrap().contains("it was stopped"), "{shown}");
    runner.say("poll", &runner.asks(0, 1)).await;
    assert_eq!(world.get("/api/v1/runners").await.json()[0]["status"], "online");
}

#[tokio::test]
async fn numbers_are_there_for_prometheus() {
    let world = World::new().await;
    let runner = world.runner("remote", 4).await;
    world.task(json!({})).await;
    runner.start().await;
    let text = String::from_utf8(world.get("/metrics").await.bytes).unwrap();
    for line in [
        "legwork_tasks{state=\"running\"} 1",
        "legwork_tasks{state=\"queued\"} 0",
        "legwork_runners{status=\"online\"} 1",
        "legwork_tasks_created_total 1",
        "legwork_confirmations_total 1",
        "legwork_http_request_seconds_bucket{method=\"POST\",route=\"/api/v1/tasks\",status=\"201\"",
    ] {
        assert!(text.contains(line), "{line} is missing in\n{text}");
    }
    assert_eq!(world.get("/live").await.bytes, b"live\n");
    assert_eq!(world.get("/ready").await.bytes, b"ready\n");
    world.lifecycle.stop();
    assert_eq!(world.get("/ready").await.status, StatusCode::SERVICE_UNAVAILABLE);
}
