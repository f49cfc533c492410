//! Who is asking, and what they may do.
//!
//! A personal access token comes as `Authorization: Bearer` or in the original's header; a user as
//! `Authorization: Basic`. A token may do what it names; one that names nothing may do what its owner may.

use std::net::{IpAddr, SocketAddr};

use axum::extract::{ConnectInfo, FromRequestParts};
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use legwork_protocol::api::TOKEN_HEADER;
use legwork_protocol::error::ErrorCode;
use legwork_sealing::token::hash_token;
use legwork_store::tokens::{Token, TokenLookup};
use legwork_store::users::{Permission, Permissions, verify_password};

use crate::error::{ApiError, ApiResult};
use crate::state::AppState;

/// Somebody who has shown who they are.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    /// The user.
    pub(crate) user: String,
    /// What they may do with what they have shown.
    pub(crate) permissions: Permissions,
    /// The token that they have shown, if it was one.
    pub(crate) token: Option<Token>,
}

impl Caller {
    /// Refuses them if they may not do this.
    pub(crate) fn require(&self, permission: Permission) -> ApiResult<()> {
        if self.permissions.allow(permission) {
            return Ok(());
        }
        let message = format!("this needs the permission {permission}, which {} does not have with these credentials", self.user);
        Err(ApiError::new(ErrorCode::Forbidden, message))
    }
}

enum Shown {
    Token(String),
    Password { user: String, password: String },
}

impl FromRequestParts<AppState> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> ApiResult<Self> {
        let address = parts.extensions.get::<ConnectInfo<SocketAddr>>().map(|info| info.0.ip());
        match shown(&parts.headers)? {
            Shown::Token(token) => by_token(state, &token).await,
            Shown::Password { user, password } => by_password(state, user, password, address).await,
        }
    }
}

fn shown(headers: &HeaderMap) -> ApiResult<Shown> {
    if let Some(token) = headers.get(TOKEN_HEADER) {
        let token = token.to_str().map_err(|_| wrong_token())?;
        return Ok(Shown::Token(token.trim().to_owned()));
    }
    let Some(value) = headers.get(header::AUTHORIZATION) else {
        let message = "no credentials were given: send `Authorization: Bearer <token>`, or Basic with user and password";
        return Err(ApiError::new(ErrorCode::Unauthenticated, message));
    };
    let (scheme, rest) = value.to_str().ok().and_then(|value| value.split_once(' ')).unwrap_or(("", ""));
    if scheme.eq_ignore_ascii_case("bearer") {
        return Ok(Shown::Token(rest.trim().to_owned()));
    }
    if !scheme.eq_ignore_ascii_case("basic") {
        let message = "the header Authorization must begin with Bearer or Basic";
        return Err(ApiError::new(ErrorCode::Unauthenticated, message));
    }
    let decoded = STANDARD.decode(rest.trim()).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    match decoded.as_deref().and_then(|text| text.split_once(':')) {
        // The original takes a password without a user as a token.
        Some(("", token)) => Ok(Shown::Token(token.to_owned())),
        Some((user, password)) => Ok(Shown::Password { user: user.to_owned(), password: password.to_owned() }),
        None => Err(ApiError::new(ErrorCode::Unauthenticated, "the credentials of Basic must be base64 of user:password")),
    }
}

fn wrong_token() -> ApiError {
    ApiError::new(ErrorCode::WrongCredentials, "the token is wrong: this server never made it")
}

fn wrong_password() -> ApiError {
    ApiError::new(ErrorCode::WrongCredentials, "the user name or the password is wrong")
}

async fn by_token(state: &AppState, text: &str) -> ApiResult<Caller> {
    match state.store.find_token(hash_token(text), state.now()).await? {
        TokenLookup::Valid(token) => {
            Ok(Caller { user: token.owner.clone(), permissions: token.permissions.clone(), token: Some(token) })
        }
        TokenLookup::Expired(token) => {
            let at = token.expires_at.map(|at| format!(" at {at}")).unwrap_or_default();
            let message = format!("the token {:?} has expired{at}: make a new one", token.note);
            Err(ApiError::new(ErrorCode::TokenExpired, message))
        }
        TokenLookup::Revoked(token) => {
            let at = token.revoked_at.map(|at| format!(" at {at}")).unwrap_or_default();
            let message = format!("the token {:?} was revoked{at}: make a new one", token.note);
            Err(ApiError::new(ErrorCode::TokenRevoked, message))
        }
        TokenLookup::Unknown => Err(wrong_token()),
    }
}

async fn by_password(state: &AppState, name: String, password: String, address: Option<IpAddr>) -> ApiResult<Caller> {
    if state.passwords.is_blocked(&name, address) {
        let message = "too many sign-ins have failed with this user: try again in a minute";
        return Err(ApiError::new(ErrorCode::TooManyRequests, message));
    }
    let user = state.store.find_user(&name).await?;
    // Somebody who guesses names is kept waiting just as long for those that do not exist.
    let stored = user.as_ref().map_or(NOBODY, |user| user.password_hash.as_str()).to_owned();
    let key = state.passwords.key(&name, &stored, &password);
    if !state.passwords.is_verified(&key) {
        let verified = tokio::task::spawn_blocking(move || verify_password(&password, &stored)).await;
        if !verified.map_err(ApiError::internal)? || user.is_none() {
            state.passwords.failed(&name, address);
            return Err(wrong_password());
        }
        state.passwords.remember(key);
    }
    let user = user.ok_or_else(wrong_password)?;
    Ok(Caller { user: user.name, permissions: user.permissions, token: None })
}

/// A hash that no password has.
const NOBODY: &str = "$argon2id$v=19$m=19456,t=2,p=1$c29tZSBvbGQgc2FsdCEh$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
