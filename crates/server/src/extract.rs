//! What a request says, read so that a refusal names the field that was wrong.

use std::error::Error as _;

use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Query, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use legwork_core::limits;
use legwork_protocol::error::ErrorCode;
use serde::de::DeserializeOwned;
use sha2::{Digest as _, Sha256};

use crate::error::{ApiError, ApiResult};

/// Room for the rest of a task beside its inputs, and for JSON's escapes.
const BODY_BYTES: usize = limits::INPUT_BYTES as usize + 2 * 1024 * 1024;

/// A JSON body and its hash, by which a repeated request is recognised.
pub(crate) struct JsonBody<T> {
    pub(crate) value: T,
    pub(crate) hash: [u8; 32],
}

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for JsonBody<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &S) -> ApiResult<Self> {
        require_json(request.headers())?;
        let bytes = read_body(request, BODY_BYTES).await?;
        Ok(Self { hash: Sha256::digest(&bytes).into(), value: parse_json(&bytes)? })
    }
}

/// A JSON body that may be missing.
pub(crate) struct OptionalJsonBody<T>(pub(crate) T);

impl<T: DeserializeOwned + Default, S: Send + Sync> FromRequest<S> for OptionalJsonBody<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &S) -> ApiResult<Self> {
        let json = require_json(request.headers());
        let bytes = read_body(request, BODY_BYTES).await?;
        if bytes.is_empty() {
            return Ok(Self(T::default()));
        }
        json?;
        parse_json(&bytes).map(Self)
    }
}

/// The query of an address.
pub(crate) struct Params<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Params<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> ApiResult<Self> {
        match Query::<T>::try_from_uri(&parts.uri) {
            Ok(Query(value)) => Ok(Self(value)),
            Err(rejection) => {
                let mut cause = rejection.source();
                while let Some(error) = cause {
                    if let Some(found) = error.downcast_ref::<serde_path_to_error::Error<serde::de::value::Error>>() {
                        let message = format!("the query is wrong: {}", found.inner());
                        return Err(with_path(ApiError::new(ErrorCode::Invalid, message), &found.path().to_string()));
                    }
                    cause = error.source();
                }
                Err(ApiError::new(ErrorCode::Invalid, rejection.body_text()))
            }
        }
    }
}

/// The bytes of a body that may have at most so many.
pub(crate) async fn read_body(request: Request, most: usize) -> ApiResult<Bytes> {
    axum::body::to_bytes(request.into_body(), most).await.map_err(|error| {
        let mut cause: Option<&dyn std::error::Error> = Some(&error);
        let mut too_large = false;
        while let Some(error) = cause {
            too_large |= error.to_string().contains("length limit exceeded");
            cause = error.source();
        }
        if too_large {
            ApiError::new(ErrorCode::TooLarge, format!("the body is over the limit of {most} bytes"))
        } else {
            ApiError::new(ErrorCode::BadRequest, "the body ended before it was whole")
        }
    })
}

/// JSON, or the place at which it is wrong.
pub(crate) fn parse_json<T: DeserializeOwned>(bytes: &[u8]) -> ApiResult<T> {
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        let path = error.path().to_string();
        let inner = error.into_inner();
        if inner.is_data() {
            // The place in the text helps nobody who built the JSON by program; the path does.
            let text = inner.to_string();
            let text = text.rsplit_once(" at line ").map_or(text.as_str(), |(text, _)| text);
            with_path(ApiError::new(ErrorCode::Invalid, describe(&path, text)), &path)
        } else {
            ApiError::new(ErrorCode::BadRequest, format!("the body is no JSON: {inner}"))
        }
    })?;
    deserializer.end().map_err(|error| ApiError::new(ErrorCode::BadRequest, format!("the body is no JSON: {error}")))?;
    Ok(value)
}

fn describe(path: &str, text: &str) -> String {
    if path == "." { text.to_owned() } else { format!("{path}: {text}") }
}

fn with_path(error: ApiError, path: &str) -> ApiError {
    if path == "." || path.is_empty() { error } else { error.in_field(path) }
}

fn require_json(headers: &HeaderMap) -> ApiResult<()> {
    let given = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("");
    let essence = given.split(';').next().unwrap_or("").trim().to_ascii_lowercase();
    if essence == "application/json" || (essence.starts_with("application/") && essence.ends_with("+json")) {
        Ok(())
    } else {
        let message = format!("the body must be JSON: send the header `content-type: application/json` (it was {given:?})");
        Err(ApiError::new(ErrorCode::UnsupportedMediaType, message))
    }
}
