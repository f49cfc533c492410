//! Every address of the server, in one place. The `OpenAPI` document is made from the same list, so they cannot differ.

use std::any::Any;
use std::time::Instant;

use axum::Router;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{Method, Uri};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use legwork_protocol::error::ErrorCode;
use tower_http::catch_panic::CatchPanicLayer;
use utoipa::OpenApi as _;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::{document, follow, logs, results, runners, server, tasks, tokens};
use crate::channel;
use crate::error::ApiError;
use crate::request_id;
use crate::state::AppState;

/// The server's addresses.
pub(crate) fn build(state: AppState) -> Router {
    let (router, openapi) = public().split_for_parts();
    // The document is a tree of texts; if it ever were no JSON, the test that reads it fails.
    state.openapi.get_or_init(|| openapi.to_pretty_json().unwrap_or_default());
    router
        .nest(legwork_protocol::channel::PATH, channel::router(state.clone()))
        .fallback(unknown_address)
        .method_not_allowed_fallback(unknown_method)
        .layer(middleware::from_fn_with_state(state.clone(), measure))
        .layer(CatchPanicLayer::custom(panicked))
        .layer(middleware::from_fn(request_id::identify))
        .with_state(state)
}

fn public() -> OpenApiRouter<AppState> {
    OpenApiRouter::with_openapi(document::ApiDoc::openapi())
        .routes(routes!(tasks::create_task, tasks::list_tasks))
        .routes(routes!(tasks::get_task))
        .routes(routes!(tasks::list_attempts))
        .routes(routes!(tasks::abort_task))
        .routes(routes!(tasks::retry_task))
        .routes(routes!(logs::read_log))
        .routes(routes!(follow::follow_task))
        .routes(routes!(results::read_result))
        .routes(routes!(runners::list_runners))
        .routes(routes!(runners::get_runner, runners::edit_runner, runners::delete_runner))
        .routes(routes!(runners::enable_runner))
        .routes(routes!(runners::disable_runner))
        .routes(routes!(runners::drain_runner))
        .routes(routes!(runners::accept_runner))
        .routes(routes!(tokens::create_token, tokens::list_tokens))
        .routes(routes!(tokens::revoke_token))
        .routes(routes!(server::server_info))
        .routes(routes!(server::me))
        .routes(routes!(server::openapi))
        .routes(routes!(server::live))
        .routes(routes!(server::ready))
        .routes(routes!(server::metrics))
}

async fn unknown_address(uri: Uri) -> ApiError {
    ApiError::not_found(format!("there is nothing at {}; GET /api/v1/openapi.json lists the addresses", uri.path()))
}

async fn unknown_method(method: Method, uri: Uri) -> ApiError {
    ApiError::new(ErrorCode::MethodNotAllowed, format!("{} does not know the method {method}", uri.path()))
}

#[expect(clippy::needless_pass_by_value, reason = "the signature that the layer asks for")]
fn panicked(panic: Box<dyn Any + Send>) -> Response {
    let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    ApiError::internal(anyhow::anyhow!("a handler panicked: {}", text.unwrap_or("without a text"))).into_response()
}

/// Measures how long the answer took to begin. Long polls and streams are as long as they like, so they are not measured.
async fn measure(State(state): State<AppState>, request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>().map(|path| path.as_str().to_owned());
    let method = request.method().clone();
    let start = Instant::now();
    let response = next.run(request).await;
    if let Some(route) = route
        && !route.ends_with("/poll")
    {
        state.metrics.request(method.as_str(), &route, response.status().as_u16(), start.elapsed());
    }
    response
}
