//! The scripted server: the channel over plain HTTP on a loopback port, with trouble on demand.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use legwork_core::event::Report;
use legwork_core::spec::Input;
use legwork_core::{AttemptId, AttemptNumber, Clock, TaskId, TaskSpec};
use legwork_protocol::channel::{
    Challenge, ChunkAnswer, Confirm, ConfirmAnswer, Duty, Events, EventsAnswer, Goodbye, PATH, Poll, PollAnswer, Register,
    Registered, RunnerSettings, signed_text,
};
use legwork_protocol::error::{ErrorBody, ErrorCode, ErrorDetail};
use serde_json::Value;
use tokio::sync::Notify;
use tokio::task::JoinSet;

use super::ledger::{Ledger, Log};
use super::{PATIENCE, json_input, task};

#[derive(Clone)]
pub(crate) struct FakeServer {
    shared: Arc<Shared>,
    port: u16,
}

struct Shared {
    ledger: Mutex<Ledger>,
    changed: Notify,
    away: AtomicBool,
    lossy: AtomicBool,
    no_result_chunks: AtomicBool,
    requests: AtomicU64,
    capacity: u32,
    /// Ends with the scene.
    serving: Mutex<JoinSet<()>>,
}

type App = State<Arc<Shared>>;

impl FakeServer {
    pub(crate) async fn start(capacity: u32) -> Self {
        let shared = Arc::new(Shared {
            ledger: Mutex::default(),
            changed: Notify::new(),
            away: AtomicBool::new(false),
            lossy: AtomicBool::new(false),
            no_result_chunks: AtomicBool::new(false),
            requests: AtomicU64::new(0),
            capacity,
            serving: Mutex::default(),
        });
        let authenticated = Router::new()
            .route("/poll", post(poll))
            .route("/confirm", post(confirm))
            .route("/events", post(events))
            .route("/goodbye", post(goodbye))
            .route("/attempts/{task}/{attempt}/chunks/{stream}/{sequence}", get(input_chunk).put(put_chunk))
            .layer(from_fn_with_state(shared.clone(), authenticate));
        let router = Router::new()
            .route("/challenge", post(async || Json(Challenge { nonce: "nonce".to_owned() })))
            .route("/register", post(register))
            .merge(authenticated)
            .layer(from_fn_with_state(shared.clone(), trouble))
            .layer(DefaultBodyLimit::max(16 << 20))
            .with_state(shared.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let router = Router::new().nest(PATH, router);
        shared.serving.lock().unwrap().spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { shared, port }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub(crate) fn peek<T>(&self, look: impl FnOnce(&Ledger) -> T) -> T {
        look(&self.shared.ledger.lock().unwrap())
    }

    fn change<T>(&self, change: impl FnOnce(&mut Ledger) -> T) -> T {
        self.shared.change(change)
    }

    pub(crate) async fn until(&self, condition: impl Fn(&Ledger) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !self.peek(&condition) {
            assert!(Instant::now() < deadline, "it did not come true in time:\n{}", self.peek(Ledger::unfinished));
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    pub(crate) fn offer(&self, spec: TaskSpec, input: &Input) -> AttemptId {
        let attempt = AttemptId { task: TaskId::new(), attempt: AttemptNumber::FIRST };
        self.change(|ledger| ledger.add(attempt, spec, serde_json::to_vec(input).unwrap()));
        attempt
    }

    pub(crate) fn offer_simple(&self, input: &[(&str, Value)]) -> AttemptId {
        let (spec, input) = task(json_input(input), &[]);
        self.offer(spec, &input)
    }

    pub(crate) async fn finished(&self, attempt: AttemptId) -> Report {
        self.until(|ledger| ledger.report(attempt).is_some()).await;
        self.peek(|ledger| ledger.report(attempt)).unwrap()
    }

    pub(crate) async fn whole_log(&self, attempt: AttemptId) -> Log {
        self.until(|ledger| ledger.log(attempt).is_some()).await;
        self.peek(|ledger| ledger.log(attempt)).unwrap()
    }

    pub(crate) fn abort(&self, attempt: AttemptId, by: &str) {
        self.change(|ledger| ledger.abort(attempt, by));
    }

    pub(crate) fn replace(&self, attempt: AttemptId) {
        self.change(|ledger| ledger.replace(attempt));
    }

    pub(crate) fn supersede(&self) {
        self.change(|ledger| ledger.superseded = true);
    }

    pub(crate) fn forget_runner(&self) {
        self.change(|ledger| ledger.forgotten = ledger.epoch);
    }

    pub(crate) fn set_duty(&self, duty: Duty) {
        self.change(|ledger| {
            let settings = ledger.settings.as_mut().unwrap();
            settings.duty = duty;
            settings.revision += 1;
        });
    }

    pub(crate) fn set_away(&self, away: bool) {
        self.shared.away.store(away, Ordering::SeqCst);
        self.shared.changed.notify_waiters();
    }

    pub(crate) fn lose_half_of_the_answers(&self, lossy: bool) {
        self.shared.lossy.store(lossy, Ordering::SeqCst);
    }

    pub(crate) fn refuse_result_chunks(&self, refuse: bool) {
        self.shared.no_result_chunks.store(refuse, Ordering::SeqCst);
    }
}

impl Shared {
    fn change<T>(&self, change: impl FnOnce(&mut Ledger) -> T) -> T {
        let answer = change(&mut self.ledger.lock().unwrap());
        self.changed.notify_waiters();
        answer
    }
}

fn refusal(status: StatusCode, code: ErrorCode) -> Response {
    let error = ErrorDetail { code, message: format!("{code:?}"), field: None, request_id: None };
    (status, Json(ErrorBody { error })).into_response()
}

/// Being away, and losing the answer to what was done.
async fn trouble(State(shared): App, request: Request, next: Next) -> Response {
    let away = || (StatusCode::BAD_GATEWAY, "the proxy reaches nobody").into_response();
    if shared.away.load(Ordering::SeqCst) {
        return away();
    }
    let answer = next.run(request).await;
    // Irregular, or two requests that take turns would always lose the same one.
    let number = shared.requests.fetch_add(1, Ordering::SeqCst);
    let lost = shared.lossy.load(Ordering::SeqCst) && (number.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40) % 2 == 0;
    if lost || shared.away.load(Ordering::SeqCst) { away() } else { answer }
}

async fn authenticate(State(shared): App, headers: HeaderMap, request: Request, next: Next) -> Response {
    let epoch: u64 = headers
        .get("authorization")
        .and_then(|value| value.to_str().ok()?.strip_prefix("Bearer epoch-")?.parse().ok())
        .unwrap_or(0);
    let (current, forgotten, superseded) = {
        let ledger = shared.ledger.lock().unwrap();
        (ledger.epoch, ledger.forgotten, ledger.superseded)
    };
    if superseded || (epoch < current && epoch > forgotten) {
        return refusal(StatusCode::CONFLICT, ErrorCode::Superseded);
    }
    if epoch <= forgotten {
        return refusal(StatusCode::GONE, ErrorCode::UnknownRunner);
    }
    next.run(request).await
}

async fn register(State(shared): App, Json(register): Json<Register>) -> Json<Registered> {
    use base64::Engine as _;
    let key: legwork_sealing::PublicKey = register.public_key.parse().unwrap();
    let signature = base64::engine::general_purpose::STANDARD.decode(&register.signature).unwrap();
    key.verify(signed_text(&register.nonce, register.runner, register.instance).as_bytes(), &signature).unwrap();
    let (epoch, settings) = shared.change(|ledger| {
        ledger.epoch += 1;
        ledger.registrations += 1;
        let settings = RunnerSettings {
            revision: 1,
            title: register.title,
            capabilities: register.capabilities,
            capacity: shared.capacity,
            eviction_seconds: 60,
            duty: Duty::Enabled,
        };
        (ledger.epoch(), ledger.settings.get_or_insert(settings).clone())
    });
    let clock = Clock::system().now();
    Json(Registered { epoch, credential: format!("epoch-{}", epoch.0), settings, held: None, token_expires: None, clock })
}

async fn poll(State(shared): App, Json(poll): Json<Poll>) -> Json<PollAnswer> {
    // Short, so that offers that have expired are looked at again.
    let deadline = tokio::time::Instant::now() + Duration::from_millis(poll.wait_millis.min(500));
    loop {
        let changed = shared.changed.notified();
        tokio::pin!(changed);
        // Registered before the look, so that no change is missed.
        changed.as_mut().enable();
        if shared.away.load(Ordering::SeqCst) {
            return Json(PollAnswer::default());
        }
        let news = shared.ledger.lock().unwrap().news(&poll);
        if let Some(answer) = news {
            return Json(answer);
        }
        if tokio::time::timeout_at(deadline, changed).await.is_err() {
            return Json(PollAnswer::default());
        }
    }
}

async fn confirm(State(shared): App, Json(confirm): Json<Confirm>) -> Json<ConfirmAnswer> {
    Json(ConfirmAnswer { attempts: shared.change(|ledger| ledger.confirm(&confirm.attempts)) })
}

async fn events(State(shared): App, Json(events): Json<Events>) -> Json<EventsAnswer> {
    Json(EventsAnswer { attempts: shared.change(|ledger| ledger.apply(events.events)) })
}

async fn goodbye(State(shared): App, Json(goodbye): Json<Goodbye>) -> StatusCode {
    shared.change(|ledger| ledger.goodbye = Some(goodbye.wiped));
    StatusCode::NO_CONTENT
}

type ChunkPath = Path<(TaskId, u32, String, u64)>;

async fn input_chunk(State(shared): App, Path((task, attempt, _, sequence)): ChunkPath) -> Vec<u8> {
    let attempt = AttemptId { task, attempt: AttemptNumber(attempt) };
    shared.ledger.lock().unwrap().input_chunk(attempt, sequence as usize)
}

async fn put_chunk(State(shared): App, Path((task, attempt, stream, sequence)): ChunkPath, body: Bytes) -> Response {
    let attempt = AttemptId { task, attempt: AttemptNumber(attempt) };
    let answer: ChunkAnswer = match stream.as_str() {
        "result" if shared.no_result_chunks.load(Ordering::SeqCst) => {
            return (StatusCode::BAD_GATEWAY, "no results now").into_response();
        }
        "result" => shared.change(|ledger| ledger.put_result(attempt, sequence, &body)),
        "log" => shared.change(|ledger| ledger.put_log(attempt, &body)),
        other => panic!("a chunk of {other}"),
    };
    Json(answer).into_response()
}
