use axum::http::{Method, Request, StatusCode};
use legwork_core::event::{AttemptEvent, Phase};
use legwork_core::{Epoch, EventNumber, InstanceId};
use legwork_protocol::channel::{Confirmed, Duty, PollAnswer, Registered};
use legwork_sealing::identity::Identity;
use serde_json::json;

use super::{World, success, with_json};

#[tokio::test]
async fn a_task_goes_its_way() {
    let world = World::new().await;
    let runner = world.runner("remote,container", 3).await;
    let id =
        world.task(json!({"inputs": [{"name": "who", "value": "World"}, {"name": "key", "value": "s", "secret": true}]})).await;
    let offer = runner.offer().await;
    let input: serde_json::Value = serde_json::from_slice(&offer.input.unwrap().open_clear().unwrap()).unwrap();
    assert_eq!(input["properties"][1]["value"], "s", "the runner gets the secret");
    let attempt = offer.attempt;
    // Confirming twice is as good as once.
    for _ in 0..2 {
        assert_eq!(runner.confirm(&[attempt]).await.attempts, [Confirmed::Yes]);
    }
    let pulling = AttemptEvent::Phase { phase: Phase::Image, detail: "12 of 40 MiB".into() };
    let line = AttemptEvent::StatusLine { text: "half way".into() };
    let comment = AttemptEvent::Comment { stream: legwork_core::event::LogStream::Stdout, offset: 3, text: "hi".into() };
    let answer = runner.report(attempt, vec![(1, pulling), (2, line.clone()), (3, comment)]).await;
    assert_eq!((answer.attempts[0].through, &answer.attempts[0].refused), (EventNumber(3), &None));
    let task = world.show(&id).await;
    assert_eq!(task["explanation"], "getting the image: 12 of 40 MiB");
    assert_eq!((&task["status_line"], &task["comments"][0]["text"]), (&json!("half way"), &json!("hi")));
    // Again, and beyond a gap: nothing changes.
    let answer = runner.report(attempt, vec![(2, line), (5, success(&json!({})))]).await;
    assert_eq!((answer.attempts[0].through, &answer.attempts[0].refused), (EventNumber(3), &None));
    let answer = runner.report(attempt, vec![(4, success(&json!({"greeting": "Hello"})))]).await;
    assert_eq!(answer.attempts[0].through, EventNumber(4));
    let task = world.show(&id).await;
    assert_eq!((&task["status"], &task["outputs"]), (&json!("completed"), &json!({"greeting": "Hello"})));
    assert_eq!(task["attempts"][0]["outcome"], "completed");
    assert_eq!(task["attempts"][0]["log"], json!(null));
    let result = world.get(&format!("/api/v1/tasks/{id}/result")).await.json();
    assert_eq!(result["outputProperties"]["greeting"], "Hello");
    // The finished attempt is still the runner's: its log may be on its way.
    let mut asks = runner.asks(0, 1);
    asks.holding.push(attempt);
    let answer: PollAnswer = runner.say("poll", &asks).await.value();
    assert_eq!(answer.superseded, []);
}

#[tokio::test]
async fn a_poll_is_answered_the_moment_that_a_task_exists() {
    let world = World::new().await;
    let runner = world.runner("remote", 8).await;
    let start = std::time::Instant::now();
    let (answer, _) = tokio::join!(runner.poll(4), world.task(json!({})));
    assert_eq!(answer.offers.len(), 1);
    assert!(start.elapsed() < std::time::Duration::from_secs(4), "{:?}", start.elapsed());
    for _ in 0..6 {
        world.task(json!({})).await;
    }
    let mut asks = runner.asks(4, 10_000);
    asks.holding.push(answer.offers[0].attempt);
    let answer: PollAnswer = runner.say("poll", &asks).await.value();
    assert_eq!(answer.offers.len(), 4, "one answer carries as many as the runner has room for");
}

#[tokio::test]
async fn no_more_than_the_capacity_is_given() {
    let world = World::new().await;
    let runner = world.runner("remote", 2).await;
    let mut asks = runner.asks(9, 10_000);
    for _ in 0..3 {
        world.task(json!({})).await;
    }
    let answer: PollAnswer = runner.say("poll", &asks).await.value();
    asks.holding = answer.offers.iter().map(|offer| offer.attempt).collect();
    assert_eq!(asks.holding.len(), 2);
    asks.wait_millis = 1;
    let answer: PollAnswer = runner.say("poll", &asks).await.value();
    assert_eq!(answer.offers.len(), 0);
    // A result makes room at once.
    runner.confirm(&asks.holding).await;
    asks.wait_millis = 10_000;
    let done = asks.holding[0];
    let (answer, _) = tokio::join!(runner.say("poll", &asks), runner.report(done, vec![(1, success(&json!({})))]));
    assert_eq!(answer.value::<PollAnswer>().offers.len(), 1);
}

#[tokio::test]
async fn an_offer_whose_answer_got_lost_comes_again() {
    let world = World::new().await;
    let runner = world.runner("remote", 4).await;
    world.task(json!({})).await;
    let first = runner.offer().await;
    let again = runner.offer().await;
    assert_eq!((first.attempt, first.input), (again.attempt, again.input));
    assert_eq!(runner.confirm(&[first.attempt]).await.attempts, [Confirmed::Yes]);
}

#[tokio::test]
async fn an_offer_that_is_not_confirmed_expires() {
    let world = World::new().await;
    let runner = world.runner("remote", 4).await;
    let id = world.task(json!({})).await;
    let attempt = runner.offer().await.attempt;
    world.clock.jump(30_001);
    world.until(&id, |task| task["waiting"]["reason"] != "offered").await;
    let answer = runner.confirm(&[attempt]).await;
    assert!(matches!(&answer.attempts[0], Confirmed::No { why } if why.contains("expired")), "{answer:?}");
    let next = runner.offer().await.attempt;
    assert_eq!((next.task, next.attempt.0), (attempt.task, 2));
    let events = runner.report(attempt, vec![(1, success(&json!({})))]).await;
    assert!(events.attempts[0].refused.is_some(), "what belongs to a replaced attempt is refused");
}

#[tokio::test]
async fn registering_proves_the_key() {
    let world = World::new().await;
    let mut runner = world.runner("remote", 4).await;
    let mut asked = runner.registration().await;
    asked.signature = "AAAA".into();
    let send = async |asked: &legwork_protocol::channel::Register, token: &str| {
        runner.channel(Method::POST, "register", token, Some(serde_json::to_value(asked).unwrap())).await
    };
    assert_eq!(send(&asked, &runner.token).await.refusal().1, "wrong_credentials");
    // The challenge was used up by that.
    assert_eq!(send(&asked, &runner.token).await.refusal(), (422, "invalid".into(), "nonce".into()));
    let token = world.token(&["task#view"]).await;
    assert_eq!(send(&runner.registration().await, &token).await.refusal().1, "forbidden");
    assert_eq!(send(&runner.registration().await, "rpa_x").await.refusal().1, "wrong_credentials");
    runner.identity = Identity::generate().unwrap();
    let refused = runner.register().await;
    assert_eq!(refused.refusal().1, "wrong_credentials");
    assert!(refused.json()["error"]["message"].as_str().unwrap().contains("another key pair"));
}

#[tokio::test]
async fn a_restart_supersedes_the_older_epoch() {
    let world = World::new().await;
    let mut runner = world.runner("remote", 4).await;
    let id = world.task(json!({})).await;
    let attempt = runner.start().await;
    let old = runner.credential.clone();
    runner.instance = InstanceId::new();
    let registered: Registered = runner.register().await.value();
    assert_eq!((registered.epoch, &registered.held), (Epoch(2), &None));
    runner.follow(&registered);
    // The attempt goes on under the new epoch.
    assert!(runner.report(attempt, vec![(1, success(&json!({})))]).await.attempts[0].refused.is_none());
    assert_eq!(world.show(&id).await["status"], "completed");

    // The older process shows itself: both are refused work until somebody decides.
    let poll = serde_json::to_value(runner.asks(1, 1)).unwrap();
    let answer = runner.channel(Method::POST, "poll", &old, Some(poll)).await;
    assert_eq!(answer.refusal(), (409, "superseded".into(), String::new()));
    let path = format!("/api/v1/runners/{}", runner.id);
    assert_eq!(world.get(&path).await.json()["status"], "conflict");
    let waiting = world.task(json!({})).await;
    assert_eq!(runner.say("poll", &runner.asks(1, 1)).await.value::<PollAnswer>().offers.len(), 0);
    assert!(world.show(&waiting).await["explanation"].as_str().unwrap().contains("claimed by two processes"));
    assert_eq!(world.admin(Method::POST, &format!("{path}/accept"), None).await.json()["status"], "online");
    assert_eq!(world.admin(Method::POST, &format!("{path}/accept"), None).await.refusal().1, "conflict");
    let answer = runner.poll(1).await;
    assert!(answer.settings.is_some() || answer.offers.len() == 1);
}

#[tokio::test]
async fn a_copied_store_is_recognised() {
    let world = World::new().await;
    let mut runner = world.runner("remote", 4).await;
    runner.poll(0).await;
    runner.instance = InstanceId::new();
    runner.epoch = Epoch(0);
    let registered: Registered = runner.register().await.value();
    assert!(registered.held.unwrap().contains("copied"));
}

#[tokio::test]
async fn a_waiting_poll_hears_that_it_is_superseded() {
    let world = World::new().await;
    let mut runner = world.runner("remote", 4).await;
    let asks = runner.asks(1, 10_000);
    let (old, instance) = (runner.credential.clone(), runner.instance);
    let poll = async { runner.channel(Method::POST, "poll", &old, Some(serde_json::to_value(&asks).unwrap())).await };
    let (answer, registered) = tokio::join!(poll, runner.register());
    assert_eq!(answer.refusal().1, "superseded");
    let registered: Registered = registered.value();
    runner.follow(&registered);
    assert_eq!(runner.instance, instance);
    assert_eq!(world.get(&format!("/api/v1/runners/{}", runner.id)).await.json()["status"], "online");
}

#[tokio::test]
async fn other_versions_get_a_clear_answer() {
    let world = World::new().await;
    let runner = world.runner("remote", 4).await;
    for (version, advice) in [(Some("0"), "update the runner"), (Some("99"), "update the server"), (None, "update the runner")] {
        let mut request = Request::builder()
            .method(Method::POST)
            .uri("/runner/v1/poll")
            .header("authorization", format!("Bearer {}", runner.credential));
        if let Some(version) = version {
            request = request.header(legwork_protocol::channel::VERSION_HEADER, version);
        }
        let answer = world.send(with_json(request, Some(json!({})))).await;
        assert_eq!((answer.refusal().0, answer.refusal().1.as_str()), (426, "version_mismatch"));
        let message = answer.json()["error"]["message"].as_str().unwrap().to_owned();
        assert!(message.contains(advice) && message.contains("version 1"), "{message}");
    }
    assert_eq!(world.get(&format!("/api/v1/runners/{}", runner.id)).await.json()["status"], "outdated");
}

#[tokio::test]
async fn unknown_credentials_are_told_to_register() {
    let world = World::new().await;
    let runner = world.runner("remote", 4).await;
    let poll = serde_json::to_value(runner.asks(1, 1)).unwrap();
    let answer = runner.channel(Method::POST, "poll", "rrc_unknown", Some(poll)).await;
    assert_eq!((answer.status, answer.refusal().1.as_str()), (StatusCode::GONE, "unknown_runner"));
    let bad = runner.channel(Method::POST, "poll", &runner.credential, Some(json!({"free_slots": "many"}))).await;
    assert_eq!(bad.refusal(), (422, "invalid".into(), "free_slots".into()));
    assert_eq!(runner.say("poll", &runner.asks(0, 1)).await.value::<PollAnswer>().settings.map(|it| it.duty), None::<Duty>);
}
