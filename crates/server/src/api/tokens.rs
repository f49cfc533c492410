//! Personal access tokens: make, list, revoke. Making one is the call that the original's scripts make.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use legwork_core::TokenId;
use legwork_protocol::api::{CreateToken, CreatedToken, Token};
use legwork_protocol::error::{ErrorBody, ErrorCode};
use legwork_sealing::token::{PERSONAL, generate, hash_token};
use legwork_store::tokens::Token as StoredToken;
use legwork_store::users::{Permission, Permissions};

use crate::auth::Caller;
use crate::error::{ApiError, ApiResult};
use crate::extract::JsonBody;
use crate::state::AppState;

const NOTE_LENGTH: usize = 256;

/// Make a token
///
/// The answer is the only time that the token itself is shown. It may do what it names, and never more than whoever
/// makes it may with the credentials of this request.
#[utoipa::path(
    post,
    path = "/api/v1/personal-access-tokens",
    tag = "tokens",
    request_body = CreateToken,
    responses((status = 201, body = CreatedToken), (status = "4XX", body = ErrorBody))
)]
pub(crate) async fn create_token(
    State(state): State<AppState>,
    caller: Caller,
    JsonBody { value: asked, .. }: JsonBody<CreateToken>,
) -> ApiResult<(StatusCode, Json<CreatedToken>)> {
    caller.require(Permission::TokenManage)?;
    if asked.token_note.is_empty() || asked.token_note.len() > NOTE_LENGTH || asked.token_note.contains(char::is_control) {
        let message = format!("tokenNote: it must have 1 to {NOTE_LENGTH} bytes and no control characters");
        return Err(ApiError::invalid("tokenNote", message));
    }
    let now = state.now();
    if asked.expiry_date.is_some_and(|expires| expires <= now) {
        return Err(ApiError::invalid("expiryDate", "expiryDate: it is in the past by the server's clock"));
    }
    let permissions = permissions(&caller, &asked.global_permissions)?;
    let text = generate(PERSONAL).map_err(ApiError::internal)?;
    let token = StoredToken {
        id: TokenId::new(),
        owner: caller.user.clone(),
        note: asked.token_note,
        permissions,
        created_at: now,
        expires_at: asked.expiry_date,
        revoked_at: None,
        last_used_at: None,
    };
    state.store.create_token(token.clone(), hash_token(&text)).await?;
    let object = format!("token {}", token.id);
    state.store.append_audit(&caller.user, "token.create", &object, &token.permissions.to_string(), now).await?;
    Ok((StatusCode::CREATED, Json(CreatedToken { token: text.to_string(), info: shown(token) })))
}

/// List the tokens
///
/// Your own; with the permission `admin` those of everybody.
#[utoipa::path(
    get,
    path = "/api/v1/personal-access-tokens",
    tag = "tokens",
    responses((status = 200, body = Vec<Token>), (status = "4XX", body = ErrorBody))
)]
pub(crate) async fn list_tokens(State(state): State<AppState>, caller: Caller) -> ApiResult<Json<Vec<Token>>> {
    caller.require(Permission::TokenManage)?;
    let owner = (!caller.permissions.allow(Permission::Admin)).then_some(caller.user.as_str());
    Ok(Json(state.store.tokens(owner).await?.into_iter().map(shown).collect()))
}

/// Revoke a token
///
/// Revoking it again is harmless.
#[utoipa::path(
    delete,
    path = "/api/v1/personal-access-tokens/{id}",
    tag = "tokens",
    params(("id" = uuid::Uuid, Path, description = "The token's identity.")),
    responses((status = 204), (status = "4XX", body = ErrorBody))
)]
pub(crate) async fn revoke_token(State(state): State<AppState>, caller: Caller, Path(id): Path<String>) -> ApiResult<StatusCode> {
    caller.require(Permission::TokenManage)?;
    let unknown = || ApiError::not_found(format!("there is no token {id:?}"));
    let id: TokenId = id.parse().map_err(|_| unknown())?;
    let token = state.store.token(id).await?.ok_or_else(unknown)?;
    if token.owner != caller.user && !caller.permissions.allow(Permission::Admin) {
        return Err(unknown());
    }
    let now = state.now();
    if state.store.revoke_token(id, now).await? {
        state.store.append_audit(&caller.user, "token.revoke", &format!("token {id}"), &token.note, now).await?;
    }
    Ok(StatusCode::NO_CONTENT)
}

fn permissions(caller: &Caller, names: &[String]) -> ApiResult<Permissions> {
    if names.is_empty() {
        return Ok(caller.permissions.clone());
    }
    let mut permissions = Permissions::default();
    for (index, name) in names.iter().enumerate() {
        let field = format!("globalPermissions[{index}]");
        let permission: Permission =
            name.parse().map_err(|error| ApiError::invalid(field.clone(), format!("{field}: {error}")))?;
        if !caller.permissions.allow(permission) {
            let message = format!("{field}: you cannot give the permission {permission}, which you do not have");
            return Err(ApiError::new(ErrorCode::Forbidden, message).in_field(field));
        }
        permissions.0.insert(permission);
    }
    Ok(permissions)
}

fn shown(token: StoredToken) -> Token {
    Token {
        id: token.id,
        token_note: token.note,
        owner: token.owner,
        global_permissions: token.permissions.0.iter().map(ToString::to_string).collect(),
        created: token.created_at,
        expiry_date: token.expires_at,
        revoked: token.revoked_at,
        last_used: token.last_used_at,
    }
}
