//! How a runner comes, and how it goes.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use legwork_core::limits;
use legwork_protocol::CHANNEL_VERSION;
use legwork_protocol::channel::{Challenge, Goodbye, Register, Registered, signed_text};
use legwork_protocol::error::ErrorCode;
use legwork_sealing::identity::PublicKey;
use legwork_sealing::token::{RUNNER, generate, hash_token};
use legwork_store::runners::Removal;
use legwork_store::sessions::{Registered as Stored, Registration};
use legwork_store::users::Permission;

use crate::auth::Caller;
use crate::channel::session::Session;
use crate::error::{ApiError, ApiResult};
use crate::extract::JsonBody;
use crate::fleet;
use crate::state::AppState;

const TITLE_LENGTH: usize = 128;
const METADATA: usize = 64;
const METADATA_LENGTH: usize = 1_024;

/// Gives a text to sign.
pub(crate) async fn challenge(State(state): State<AppState>) -> ApiResult<Json<Challenge>> {
    match state.challenges.make().map_err(ApiError::internal)? {
        Some(nonce) => Ok(Json(Challenge { nonce })),
        None => Err(ApiError::new(ErrorCode::TooManyRequests, "too many registrations have begun: try again in a minute")),
    }
}

/// Registers a runner, and raises its epoch.
pub(crate) async fn register(
    State(state): State<AppState>,
    caller: Caller,
    JsonBody { value: asked, .. }: JsonBody<Register>,
) -> ApiResult<Json<Registered>> {
    caller.require(Permission::RunnerRegistration)?;
    let public_key = public_key(&asked.public_key)?;
    check(&asked)?;
    if !state.challenges.take(&asked.nonce) {
        let message = "nonce: the challenge is unknown, used or older than a minute: ask for a new one";
        return Err(ApiError::invalid("nonce", message));
    }
    let signature = STANDARD.decode(&asked.signature).unwrap_or_default();
    let signed = signed_text(&asked.nonce, asked.runner, asked.instance);
    if public_key.verify(signed.as_bytes(), &signature).is_err() {
        return Err(ApiError::new(ErrorCode::WrongCredentials, "the signature does not fit the public key and the challenge"));
    }
    let credential = generate(RUNNER).map_err(ApiError::internal)?;
    let now = state.now();
    let registration = Registration {
        id: asked.runner,
        public_key: public_key.to_string(),
        token: caller.token.as_ref().map(|token| token.id),
        instance: asked.instance,
        last_epoch: Some(asked.last_epoch).filter(|epoch| epoch.0 > 0),
        credential: hash_token(&credential),
        title: asked.title,
        capabilities: asked.capabilities,
        capacity: asked.capacity,
        eviction_time: limits::EVICTION_TIME,
        version: asked.build_version,
        protocol: CHANNEL_VERSION,
        engine: asked.metadata.get("engine").cloned().unwrap_or_default(),
        metadata: asked.metadata,
    };
    let runner = match state.store.register_runner(registration, now).await? {
        Stored::As(runner) => *runner,
        Stored::OtherKey => {
            let message =
                format!("the runner {} is registered with another key pair: its store was not made by it", asked.runner);
            return Err(ApiError::new(ErrorCode::WrongCredentials, message));
        }
    };
    let skew = asked.clock.as_millis().saturating_sub(now.as_millis());
    state.live.registered(runner.id, now, skew);
    // A poll of an older epoch hears now that it is superseded.
    state.live.wake(runner.id);
    let held = asked.holding.len();
    tracing::info!(runner = %runner.id, title = runner.settings.title, epoch = %runner.epoch, held, "a runner has registered");
    Ok(Json(Registered {
        epoch: runner.epoch,
        credential: credential.to_string(),
        settings: fleet::settings(&runner),
        held: runner.conflict,
        token_expires: caller.token.and_then(|token| token.expires_at),
        clock: now,
    }))
}

/// A runner goes, for now or for good.
pub(crate) async fn goodbye(
    State(state): State<AppState>,
    session: Session,
    JsonBody { value: asked, .. }: JsonBody<Goodbye>,
) -> ApiResult<StatusCode> {
    let runner = session.runner;
    if !asked.wiped {
        state.live.left(runner);
        return Ok(StatusCode::NO_CONTENT);
    }
    match state.store.remove_runner(runner).await? {
        Removal::Removed => {
            let actor = format!("runner {runner}");
            state.store.append_audit(&actor, "runner.deleted", &actor, "it has wiped its store", state.now()).await?;
            state.live.forget(runner);
            Ok(StatusCode::NO_CONTENT)
        }
        Removal::Missing => Ok(StatusCode::NO_CONTENT),
        Removal::NotDeleting => Err(ApiError::conflict("nobody has asked for the deletion of this runner")),
        Removal::HasTasks => Err(ApiError::conflict("the runner still has tasks: it must report them before it goes for good")),
    }
}

/// The key in our own form, or its bare 32 bytes in base64.
fn public_key(text: &str) -> ApiResult<PublicKey> {
    let bare = STANDARD.decode(text).ok().filter(|bytes| bytes.len() == 32);
    let text = bare.map_or_else(|| text.to_owned(), |bytes| format!("ed25519:{}", URL_SAFE_NO_PAD.encode(bytes)));
    text.parse().map_err(|error| ApiError::invalid("public_key", format!("public_key: {error}")))
}

fn check(asked: &Register) -> ApiResult<()> {
    if asked.title.is_empty() || asked.title.len() > TITLE_LENGTH || asked.title.contains(char::is_control) {
        let message = format!("title: it must have 1 to {TITLE_LENGTH} bytes and no control characters");
        return Err(ApiError::invalid("title", message));
    }
    if asked.capabilities.0.len() > limits::CAPABILITIES {
        return Err(ApiError::invalid("capabilities", format!("capabilities: more than {}", limits::CAPABILITIES)));
    }
    if asked.capacity > limits::CAPACITY_MAX {
        return Err(ApiError::invalid("capacity", format!("capacity: it can be at most {}", limits::CAPACITY_MAX)));
    }
    let too_long = |text: &String| text.len() > METADATA_LENGTH;
    if asked.metadata.len() > METADATA || asked.metadata.iter().any(|(key, value)| too_long(key) || too_long(value)) {
        let message = format!("metadata: at most {METADATA} entries of {METADATA_LENGTH} bytes are possible");
        return Err(ApiError::invalid("metadata", message));
    }
    Ok(())
}
