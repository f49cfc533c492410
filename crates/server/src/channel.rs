//! What runners say: registering, polling, and everything about their attempts. `docs/protocol.md` tells the story.

pub(crate) mod attempts;
pub(crate) mod challenges;
pub(crate) mod chunks;
pub(crate) mod offers;
pub(crate) mod poll;
pub(crate) mod register;
pub(crate) mod session;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use legwork_protocol::channel::VERSION_HEADER;
use legwork_protocol::error::ErrorCode;
use legwork_protocol::{BUILD_VERSION, CHANNEL_VERSION};

use crate::error::ApiError;
use crate::state::AppState;

/// The addresses of the channel, below [`legwork_protocol::channel::PATH`].
pub(crate) fn router(state: AppState) -> Router<AppState> {
    Router::new()
        .route("/challenge", post(register::challenge))
        .route("/register", post(register::register))
        .route("/poll", post(poll::poll))
        .route("/confirm", post(attempts::confirm))
        .route("/events", post(attempts::events))
        .route("/attempts/{task}/{attempt}/chunks/{stream}/{sequence}", get(chunks::get_chunk).put(chunks::put_chunk))
        .route("/goodbye", post(register::goodbye))
        .layer(middleware::from_fn_with_state(state, same_version))
}

/// Refuses runners of another version, clearly, and remembers them, so that their tasks say why they wait.
async fn same_version(State(state): State<AppState>, request: Request, next: Next) -> Response {
    let given = request.headers().get(VERSION_HEADER).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let number = given.as_deref().and_then(|text| text.parse::<u32>().ok());
    if number == Some(CHANNEL_VERSION) {
        return next.run(request).await;
    }
    if let Some(credential) = bearer(request.headers())
        && let Ok(Some(runner)) = session::runner_of(&state, credential).await
    {
        state.live.outdated(runner, state.now());
    }
    let advice = match number {
        Some(number) if number > CHANNEL_VERSION => "update the server",
        _ => "update the runner",
    };
    let given = given.map_or_else(|| "none".to_owned(), |text| text.chars().take(20).collect());
    let message = format!(
        "the runner speaks version {given} of the channel and this server ({BUILD_VERSION}) speaks version {CHANNEL_VERSION}: {advice}"
    );
    ApiError::new(ErrorCode::VersionMismatch, message).into_response()
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}
