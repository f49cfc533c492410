//! `/live`, `/ready` with its reason, `/metrics`.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::channel::Link;
use crate::context::Context;

const CHECK_TIMEOUT: Duration = Duration::from_secs(5);

/// Serves the health endpoints until the runner stops.
pub(crate) async fn run(context: Arc<Context>, listener: TcpListener) {
    let stopping = context.halt.clone();
    let router =
        Router::new().route("/live", get(live)).route("/ready", get(ready)).route("/metrics", get(metrics)).with_state(context);
    let served = axum::serve(listener, router).with_graceful_shutdown(async move { stopping.cancelled().await });
    if let Err(error) = served.await {
        tracing::error!(%error, "the health endpoints ended");
    }
}

async fn live() -> Json<Value> {
    Json(json!({"live": true}))
}

async fn ready(State(context): State<Arc<Context>>) -> impl IntoResponse {
    match trouble(&context).await {
        None => (StatusCode::OK, Json(json!({"ready": true}))),
        Some(reason) => (StatusCode::SERVICE_UNAVAILABLE, Json(json!({"ready": false, "reason": reason}))),
    }
}

/// Why this runner is not ready.
pub(crate) async fn trouble(context: &Context) -> Option<String> {
    match context.channel.links().get() {
        Link::Registering(why) => return Some(format!("not registered: {why}")),
        Link::Superseded(why) => return Some(format!("superseded: {why}")),
        Link::Registered(session) => {
            if let Some(why) = session.held {
                return Some(format!("held: {why}"));
            }
        }
    }
    if context.lifecycle.stopping().is_cancelled() {
        return Some("stopping".to_owned());
    }
    if let Some(why) = context.journal_trouble.borrow().clone() {
        return Some(format!("the journal cannot be written: {why}"));
    }
    match tokio::time::timeout(CHECK_TIMEOUT, context.engine.check()).await {
        Ok(Ok(_)) => None,
        Ok(Err(fault)) => Some(format!("the engine {} cannot be used: {fault}", context.engine.name())),
        Err(_) => Some(format!("the engine {} does not answer", context.engine.name())),
    }
}

async fn metrics(State(context): State<Arc<Context>>) -> impl IntoResponse {
    let settings = context.settings.borrow().capacity;
    context.metrics.slots.set(f64::from(settings));
    context.metrics.slots_busy.set(f64::from(*context.live.busy().borrow()));
    ([("content-type", "text/plain; version=0.0.4; charset=utf-8")], context.metrics.handle().render())
}
