use axum::body::Body;
use axum::http::{Method, Request, header};
use serde_json::{Value, json};

use super::{PASSWORD, World, basic};

#[tokio::test]
async fn every_refusal_names_the_field() {
    let world = World::new().await;
    let duplicate = json!([{"name": "a", "value": 1}, {"name": "b"}, {"name": "a", "value": 2}]);
    let table = [
        (json!({"type": "a.B"}), 422, "invalid", ""),
        (json!({"image": 5}), 422, "invalid", "image"),
        (json!({"image": ""}), 422, "invalid", "image"),
        (json!({"image": "a b"}), 422, "invalid", "image"),
        (json!({"image": "i".repeat(513)}), 422, "invalid", "image"),
        (json!({"type": "NoDot"}), 422, "invalid", "type"),
        (json!({"title": ""}), 422, "invalid", "title"),
        (json!({"colour": "red"}), 422, "invalid", "colour"),
        (json!({"inputs": [{"name": "a"}, {"name": "b"}, {"name": 7}]}), 422, "invalid", "inputs[2].name"),
        (json!({"inputs": [{"name": "a", "valeu": 1}]}), 422, "invalid", "inputs[0].valeu"),
        (json!({"inputs": [{"name": ""}]}), 422, "invalid", "inputs[0].name"),
        (json!({"inputs": duplicate}), 422, "invalid", "inputs[2].name"),
        (json!({"inputs": [{"name": "a", "kind": "NOPE"}]}), 422, "invalid", "inputs[0].kind"),
        (json!({"inputs": [{"name": "a", "kind": "STRING", "value": 5}]}), 422, "invalid", "inputs[0].value"),
        (json!({"inputs": vec![json!({"name": "a"}); 1001]}), 422, "invalid", "inputs"),
        (json!({"capabilities": ["ok", "Not OK"]}), 422, "invalid", "capabilities[1]"),
        (json!({"priority": 1001}), 422, "invalid", "priority"),
        (json!({"priority": 1e12}), 422, "invalid", "priority"),
        (json!({"retries": 101}), 422, "invalid", "retries"),
        (json!({"abort_timeout": "2h"}), 422, "invalid", "abort_timeout"),
        (json!({"run_timeout": "soon"}), 422, "invalid", "run_timeout"),
        (json!({"run_timeout": "0s"}), 422, "invalid", "run_timeout"),
        (json!({"queue_timeout": "999d"}), 422, "invalid", "queue_timeout"),
        (json!({"lost_runner": {"policy": "fail", "after": "0s"}}), 422, "invalid", "lost_runner.after"),
        (json!({"memory_bytes": 5}), 422, "invalid", "memory_bytes"),
        (json!({"cpus": -1}), 422, "invalid", "cpus"),
        (json!({"pids": 0}), 422, "invalid", "pids"),
        (json!({"log_limit_bytes": u64::MAX}), 422, "invalid", "log_limit_bytes"),
        (json!({"network": "lan"}), 422, "invalid", "network"),
    ];
    for (change, status, code, field) in table {
        let mut body = json!({"image": "i", "type": "a.B"});
        if change.get("type").is_some() && change.get("image").is_none() && field.is_empty() {
            body = change.clone();
        } else {
            body.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        }
        let answer = world.post("/api/v1/tasks", body).await;
        let text = String::from_utf8_lossy(&answer.bytes).into_owned();
        assert_eq!(answer.refusal(), (status, code.to_owned(), field.to_owned()), "{}: {text}", cut(&change));
    }
}

fn cut(value: &Value) -> String {
    value.to_string().chars().take(200).collect()
}

#[tokio::test]
async fn what_is_no_json_is_refused() {
    let world = World::new().await;
    for (body, content_type, status, code) in [
        ("{\"image\": ", "application/json", 400, "bad_request"),
        ("not json", "application/json; charset=utf-8", 400, "bad_request"),
        ("{\"image\": \"i\", \"type\": \"a.B\"} x", "application/json", 400, "bad_request"),
        ("", "application/json", 400, "bad_request"),
        ("[]", "application/json", 422, "invalid"),
        ("{}", "text/plain", 415, "unsupported_media_type"),
    ] {
        let request = Request::builder()
            .method(Method::POST)
            .uri("/api/v1/tasks")
            .header(header::AUTHORIZATION, basic("admin", PASSWORD))
            .header(header::CONTENT_TYPE, content_type)
            .body(Body::from(body))
            .unwrap();
        let answer = world.send(request).await;
        let (given, given_code, _) = answer.refusal();
        assert_eq!((given, given_code.as_str()), (status, code), "{body:?}");
    }
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused() {
    let world = World::new().await;
    let request = Request::builder()
        .method(Method::POST)
        .uri("/api/v1/tasks")
        .header(header::AUTHORIZATION, basic("admin", PASSWORD))
        .header(header::CONTENT_TYPE, "application/json")
        .body(Body::from(vec![b' '; 70 * 1024 * 1024]))
        .unwrap();
    assert_eq!(world.send(request).await.refusal().1, "too_large");
    let text = "x".repeat(65 * 1024 * 1024);
    let answer = world.post("/api/v1/tasks", json!({"image": "i", "type": "a.B", "inputs": [{"name": "a", "value": text}]}));
    assert_eq!(answer.await.refusal(), (413, "too_large".into(), "inputs".into()));
}

#[tokio::test]
async fn unknown_addresses_methods_and_tasks_are_refused_in_the_same_form() {
    let world = World::new().await;
    assert_eq!(world.get("/api/v1/nothing").await.refusal().1, "not_found");
    assert_eq!(world.get("/runner/v1/nothing").await.refusal().1, "not_found");
    assert_eq!(world.admin(Method::PUT, "/api/v1/tasks", None).await.refusal().1, "method_not_allowed");
    let unknown = legwork_core::TaskId::new();
    for path in ["", "/log", "/follow", "/result", "/attempts"] {
        assert_eq!(world.get(&format!("/api/v1/tasks/{unknown}{path}")).await.refusal().1, "not_found", "{path}");
        assert_eq!(world.get(&format!("/api/v1/tasks/nonsense{path}")).await.refusal().1, "not_found", "{path}");
    }
}

#[tokio::test]
async fn the_document_tells_of_every_address() {
    let world = World::new().await;
    let document = world.get("/api/v1/openapi.json").await.json();
    let mut addresses = Vec::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            let summary = operation["summary"].as_str().unwrap_or_else(|| panic!("{method} {path} has no summary"));
            addresses.push(format!("{method} {path}: {summary}"));
        }
    }
    addresses.sort();
    insta::assert_snapshot!(addresses.join("\n"));
    // Every reference leads somewhere.
    let text = document.to_string();
    for reference in text.split("\"#/components/schemas/").skip(1) {
        let name = reference.split('"').next().unwrap();
        assert!(document["components"]["schemas"].get(name).is_some(), "{name} is referred to and not there");
    }
    assert_eq!(document["openapi"].as_str().unwrap().split('.').next(), Some("3"));
}
