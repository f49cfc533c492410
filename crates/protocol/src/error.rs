//! The body of every refusal.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// `{"error": {"code", "message", "request_id"}}`
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct ErrorBody {
    /// The refusal.
    pub error: ErrorDetail,
}

/// A refusal.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct ErrorDetail {
    /// What programs look at.
    pub code: ErrorCode,
    /// What people read: what was wrong, where, and what to do.
    pub message: String,
    /// The field that was wrong, as a path such as `inputs[2].name`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// What the server's log calls the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}

/// What programs look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ErrorCode {
    /// 400: the request cannot be read.
    BadRequest,
    /// 401: no credentials were given.
    Unauthenticated,
    /// 401: the token or password is wrong.
    WrongCredentials,
    /// 401: the token has expired.
    TokenExpired,
    /// 401: the token was revoked.
    TokenRevoked,
    /// 403: the permission is missing; the message names it.
    Forbidden,
    /// 404: there is nothing of that name.
    NotFound,
    /// 405: the address does not know that method.
    MethodNotAllowed,
    /// 409: the `Idempotency-Key` was used with another body.
    IdempotencyKeyReused,
    /// 409: the object is in a state that does not allow this.
    Conflict,
    /// 409: the runner's epoch, or the attempt, was replaced.
    Superseded,
    /// 410: the server does not know this runner; it must register again.
    UnknownRunner,
    /// 413: the body is over the limit.
    TooLarge,
    /// 415: the body is not of the kind that the address takes.
    UnsupportedMediaType,
    /// 422: a value is not allowed; `field` names it.
    Invalid,
    /// 426: the other side speaks another version of the channel; the message says which and who must be updated.
    VersionMismatch,
    /// 429: too many requests.
    TooManyRequests,
    /// 500: the server failed; its log has the details under the request id.
    Internal,
    /// 503: the server is stopping or its database is away; try again.
    Unavailable,
}
