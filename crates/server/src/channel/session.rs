//! Whose credential a request carries, and whether it is the runner's newest.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use legwork_core::{Epoch, RunnerId};
use legwork_protocol::error::ErrorCode;
use legwork_sealing::token::hash_token;
use legwork_store::StoreError;
use legwork_store::runners::Runner;

use crate::error::{ApiError, ApiResult};
use crate::state::AppState;

/// A runner that has shown the credential of its newest epoch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Session {
    pub(crate) runner: RunnerId,
    pub(crate) epoch: Epoch,
}

impl Session {
    /// The runner's row. Another process may have registered as this runner since the request came.
    pub(crate) async fn row(&self, state: &AppState) -> ApiResult<Runner> {
        match state.store.runner(self.runner).await? {
            Some(row) if row.epoch == self.epoch => Ok(row),
            Some(_) => Err(superseded()),
            None => Err(unknown()),
        }
    }
}

impl FromRequestParts<AppState> for Session {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> ApiResult<Self> {
        let Some(credential) = super::bearer(&parts.headers) else {
            let message = "no credential was given: register, and send `Authorization: Bearer <credential>`";
            return Err(ApiError::new(ErrorCode::Unauthenticated, message));
        };
        let credential = hash_token(credential);
        let Some(session) = state.store.session(credential, state.now()).await? else { return Err(unknown()) };
        if session.current {
            state.live.seen(session.runner, state.now());
            return Ok(Self { runner: session.runner, epoch: session.epoch });
        }
        state.metrics.superseded.increment(1);
        // An older process that says goodbye does what is wanted of it. One that registered twice is only one.
        let goes = parts.uri.path().ends_with("/goodbye");
        if !goes
            && let Some(row) = state.store.runner(session.runner).await?
            && row.instance != session.instance
            && row.conflict.is_none()
        {
            let reason = format!(
                "the process of epoch {} is still at work although another one has registered with epoch {}",
                session.epoch, row.epoch
            );
            tracing::warn!(runner = %session.runner, reason, "two processes claim to be one runner");
            state.store.mark_conflict(session.runner, &reason).await?;
            let object = format!("runner {}", session.runner);
            state.store.append_audit("server", "runner.conflict", &object, &reason, state.now()).await?;
            state.live.wake(session.runner);
        }
        Err(superseded())
    }
}

/// The runner of a credential, whatever its epoch.
pub(crate) async fn runner_of(state: &AppState, credential: &str) -> Result<Option<RunnerId>, StoreError> {
    Ok(state.store.session(hash_token(credential), state.now()).await?.map(|session| session.runner))
}

fn superseded() -> ApiError {
    let message = "another process has registered as this runner since: this one is superseded and must stop taking work";
    ApiError::new(ErrorCode::Superseded, message)
}

fn unknown() -> ApiError {
    ApiError::new(ErrorCode::UnknownRunner, "the server does not know this runner: it must register again")
}
