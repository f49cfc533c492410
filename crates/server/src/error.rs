//! Refusals and failures of a request, as the caller sees them and as the log does.
//!
//! The message is for the caller. What went wrong inside travels beside it, is logged here once under the request's
//! id, and is never shown.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use legwork_protocol::error::{ErrorBody, ErrorCode, ErrorDetail};
use legwork_store::StoreError;

use crate::request_id;

/// A refusal or failure of a request.
#[derive(Debug)]
pub(crate) struct ApiError {
    code: ErrorCode,
    message: String,
    field: Option<String>,
    source: Option<anyhow::Error>,
}

/// What a handler gives.
pub(crate) type ApiResult<T> = Result<T, ApiError>;

impl ApiError {
    /// A refusal that the caller can do something about.
    pub(crate) fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), field: None, source: None }
    }

    /// A value is not allowed.
    pub(crate) fn invalid(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self { field: Some(field.into()), ..Self::new(ErrorCode::Invalid, message) }
    }

    /// There is nothing of that name.
    pub(crate) fn not_found(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::NotFound, message)
    }

    /// The object is in a state that does not allow this.
    pub(crate) fn conflict(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::Conflict, message)
    }

    /// The server failed.
    pub(crate) fn internal(source: impl Into<anyhow::Error>) -> Self {
        let message = "the server failed; its log tells more under the request's id";
        Self { source: Some(source.into()), ..Self::new(ErrorCode::Internal, message) }
    }

    /// The server cannot do it now.
    pub(crate) fn unavailable(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::Unavailable, message)
    }

    /// Names the field that was wrong.
    #[must_use]
    pub(crate) fn in_field(mut self, field: impl Into<String>) -> Self {
        self.field = Some(field.into());
        self
    }
}

/// The database being away passes; everything else that it reports is our fault.
impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        if error.is_unavailable() {
            let message = "the server's database is away: try again";
            return Self { source: Some(error.into()), ..Self::unavailable(message) };
        }
        Self::internal(error)
    }
}

/// The status that goes with a code.
fn status(code: ErrorCode) -> StatusCode {
    match code {
        ErrorCode::BadRequest => StatusCode::BAD_REQUEST,
        ErrorCode::Unauthenticated | ErrorCode::WrongCredentials | ErrorCode::TokenExpired | ErrorCode::TokenRevoked => {
            StatusCode::UNAUTHORIZED
        }
        ErrorCode::Forbidden => StatusCode::FORBIDDEN,
        ErrorCode::NotFound => StatusCode::NOT_FOUND,
        ErrorCode::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
        ErrorCode::IdempotencyKeyReused | ErrorCode::Conflict | ErrorCode::Superseded => StatusCode::CONFLICT,
        ErrorCode::UnknownRunner => StatusCode::GONE,
        ErrorCode::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        ErrorCode::UnsupportedMediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        ErrorCode::Invalid => StatusCode::UNPROCESSABLE_ENTITY,
        ErrorCode::VersionMismatch => StatusCode::UPGRADE_REQUIRED,
        ErrorCode::TooManyRequests => StatusCode::TOO_MANY_REQUESTS,
        ErrorCode::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        ErrorCode::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let status = status(self.code);
        if let Some(source) = &self.source {
            tracing::error!(status = status.as_u16(), error = format!("{source:#}"), "a request failed");
        } else {
            tracing::debug!(status = status.as_u16(), reason = self.message, "a request was refused");
        }
        let detail = ErrorDetail {
            code: self.code,
            message: self.message,
            field: self.field,
            request_id: request_id::current().map(|id| id.to_string()),
        };
        let mut response = (status, Json(ErrorBody { error: detail })).into_response();
        if status == StatusCode::UNAUTHORIZED {
            let challenge = axum::http::HeaderValue::from_static("Bearer, Basic realm=\"Legwork\"");
            response.headers_mut().insert(axum::http::header::WWW_AUTHENTICATE, challenge);
        }
        response
    }
}
