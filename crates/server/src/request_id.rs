//! The identity of a request: in the log's span, in the answer's header, in every refusal.

use axum::extract::Request;
use axum::http::HeaderValue;
use axum::middleware::Next;
use axum::response::Response;
use tracing::Instrument as _;
use uuid::Uuid;

tokio::task_local! {
    static CURRENT: Uuid;
}

/// Header of every answer.
const HEADER: &str = "x-request-id";

/// The id of the request that is being answered, if one is.
pub(crate) fn current() -> Option<Uuid> {
    CURRENT.try_with(|id| *id).ok()
}

/// Gives each request its id and its span. The query is not logged: nobody knows what it holds.
pub(crate) async fn identify(request: Request, next: Next) -> Response {
    let id = Uuid::now_v7();
    let span = tracing::info_span!("request", %id, method = %request.method(), path = request.uri().path());
    let answer = async {
        let mut response = next.run(request).await;
        tracing::debug!(status = response.status().as_u16(), "answered");
        if let Ok(value) = HeaderValue::from_str(&id.to_string()) {
            response.headers_mut().insert(HEADER, value);
        }
        response
    };
    CURRENT.scope(id, answer.instrument(span)).await
}
