use axum::http::{Method, Request, StatusCode, header};
use serde_json::{Value, json};

use super::{World, basic, with_json};

async fn me(world: &World, name: &str, value: &str) -> super::Answer {
    world.send(Request::builder().uri("/api/v1/me").header(name, value).body(axum::body::Body::empty()).unwrap()).await
}

#[tokio::test]
async fn tokens_are_made_as_the_original_asks_for_them() {
    let world = World::new().await;
    let body = json!({"tokenNote": "runner", "globalPermissions": ["runner#registration"]});
    let answer = world.post("/api/v1/personal-access-tokens", body).await;
    assert_eq!(answer.status, StatusCode::CREATED);
    let token = answer.json()["token"].as_str().unwrap().to_owned();
    assert!(token.starts_with("rpa_"), "{token}");
    for (name, value) in [("authorization", format!("Bearer {token}")), ("x-release-personal-token", token.clone())] {
        let shown = me(&world, name, &value).await.json();
        assert_eq!(shown, json!({"user": "admin", "permissions": ["runner#registration"]}));
    }
    let request = Request::builder().uri("/api/v1/tasks").header("authorization", format!("Bearer {token}"));
    assert_eq!(world.send(with_json(request, None)).await.refusal().1, "forbidden");
    let listed = world.get("/api/v1/personal-access-tokens").await.json();
    assert_eq!(listed[0]["tokenNote"], "runner");
    assert!(!listed[0]["lastUsed"].is_null() && listed[0].get("token").is_none(), "{listed}");
}

#[tokio::test]
async fn wrong_expired_and_revoked_tokens_are_told_apart() {
    let world = World::new().await;
    let make = async |more: Value| {
        let mut body = json!({"tokenNote": "test"});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        world.post("/api/v1/personal-access-tokens", body).await.json()
    };
    let soon = world.clock.now().plus(std::time::Duration::from_secs(60));
    let expiring = make(json!({"expiryDate": soon})).await;
    let revoked = make(json!({})).await;
    let path = format!("/api/v1/personal-access-tokens/{}", revoked["id"].as_str().unwrap());
    for _ in 0..2 {
        assert_eq!(world.admin(Method::DELETE, &path, None).await.status, StatusCode::NO_CONTENT);
    }
    world.clock.jump(61_000);
    let mut messages = Vec::new();
    for (token, code, word) in [
        ("rpa_nonsense", "wrong_credentials", "wrong"),
        (expiring["token"].as_str().unwrap(), "token_expired", "expired"),
        (revoked["token"].as_str().unwrap(), "token_revoked", "revoked"),
    ] {
        let answer = me(&world, "authorization", &format!("Bearer {token}")).await;
        assert_eq!((answer.refusal().0, answer.refusal().1.as_str()), (401, code));
        let message = answer.json()["error"]["message"].as_str().unwrap().to_owned();
        assert!(message.contains(word), "{message}");
        messages.push(message);
    }
    messages.dedup();
    assert_eq!(messages.len(), 3);
}

#[tokio::test]
async fn passwords_are_checked_and_failures_are_slowed_down() {
    let world = World::new().await;
    let none = world.send(Request::builder().uri("/api/v1/me").body(axum::body::Body::empty()).unwrap()).await;
    assert_eq!(none.refusal().1, "unauthenticated");
    assert!(none.headers.contains_key(header::WWW_AUTHENTICATE));
    assert_eq!(me(&world, "authorization", &basic("admin", super::PASSWORD)).await.json()["user"], "admin");
    assert_eq!(me(&world, "authorization", "Digest x").await.refusal().1, "unauthenticated");
    assert_eq!(me(&world, "authorization", "Basic %%%").await.refusal().1, "unauthenticated");
    assert_eq!(me(&world, "authorization", &basic("nobody", "x")).await.refusal().1, "wrong_credentials");
    for _ in 0..10 {
        assert_eq!(me(&world, "authorization", &basic("admin", "wrong")).await.refusal().1, "wrong_credentials");
    }
    assert_eq!(me(&world, "authorization", &basic("admin", "wrong")).await.refusal().0, 429);
}

#[tokio::test]
async fn nobody_gives_more_than_they_have() {
    let world = World::new().await;
    let token = world.token(&["token#manage", "task#view"]).await;
    let ask = async |permissions: Value| {
        let body = json!({"tokenNote": "more", "globalPermissions": permissions});
        let request = Request::builder()
            .method(Method::POST)
            .uri("/api/v1/personal-access-tokens")
            .header("authorization", format!("Bearer {token}"));
        world.send(with_json(request, Some(body))).await
    };
    assert_eq!(ask(json!(["task#view"])).await.status, StatusCode::CREATED);
    assert_eq!(ask(json!([])).await.json()["globalPermissions"], json!(["task#view", "token#manage"]));
    assert_eq!(ask(json!(["admin"])).await.refusal(), (403, "forbidden".into(), "globalPermissions[0]".into()));
    assert_eq!(ask(json!(["task#view", "tea#make"])).await.refusal(), (422, "invalid".into(), "globalPermissions[1]".into()));
}
