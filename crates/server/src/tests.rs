//! The real router over a real store, with a clock that can be moved.

mod bad_input;
mod channel;
mod credentials;
mod delivery;
mod listening;
mod logs;
mod runners;
mod tasks;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Method, Request, StatusCode, header};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use legwork_core::event::{AttemptEvent, Report, ResultBytes};
use legwork_core::task::Outcome;
use legwork_core::{AttemptId, Capabilities, Clock, Epoch, EventNumber, InstanceId, RunnerId};
use legwork_lifecycle::Lifecycle;
use legwork_protocol::CHANNEL_VERSION;
use legwork_protocol::channel::{
    Challenge, Confirm, ConfirmAnswer, Event, Events, EventsAnswer, Offer, Poll, PollAnswer, Register, Registered,
    VERSION_HEADER, signed_text,
};
use legwork_protocol::envelope::Envelope;
use legwork_sealing::identity::Identity;
use legwork_sealing::key::SealingKey;
use legwork_store::users::{Permission, Permissions, User, hash_password};
use legwork_store::{Location, Store, StoreConfig};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use crate::state::AppState;
use crate::{background, router};

pub(crate) const PASSWORD: &str = "correct horse battery staple";

/// A server without a port.
pub(crate) struct World {
    pub(crate) router: Router,
    pub(crate) state: AppState,
    pub(crate) clock: Clock,
    pub(crate) lifecycle: Lifecycle,
    _folder: tempfile::TempDir,
}

/// An answer that was read to its end.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) bytes: Vec<u8>,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.bytes).unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&self.bytes)))
    }

    /// The value of an answer that must be a success.
    pub(crate) fn value<T: DeserializeOwned>(&self) -> T {
        assert!(self.status.is_success(), "{}: {}", self.status, String::from_utf8_lossy(&self.bytes));
        serde_json::from_slice(&self.bytes).unwrap()
    }

    /// Status, code and field of a refusal.
    pub(crate) fn refusal(&self) -> (u16, String, String) {
        let error = &self.json()["error"];
        let text = |name: &str| error[name].as_str().unwrap_or("").to_owned();
        assert!(!text("message").is_empty() && !text("request_id").is_empty(), "{error}");
        (self.status.as_u16(), text("code"), text("field"))
    }
}

impl World {
    pub(crate) async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let location = Location::file(folder.path().join("server.sqlite"));
        let sealing_key = SealingKey::from_bytes([7; 32]);
        let (store, writer) = Store::open(StoreConfig { location, sealing_key }).await.unwrap();
        let (lifecycle, clock) = (Lifecycle::new(), Clock::system());
        lifecycle.spawn("writer", writer.run());
        let password_hash = hash_password(PASSWORD).unwrap();
        let permissions = Permissions::of(&[Permission::Admin]);
        store.create_user(User { name: "admin".into(), password_hash, permissions, created_at: clock.now() }).await.unwrap();
        let state = AppState::new(store, clock.clone(), lifecycle.clone()).unwrap();
        background::spawn(&state, &lifecycle);
        Self { router: router::build(state.clone()), state, clock, lifecycle, _folder: folder }
    }

    pub(crate) async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (status, headers) = (response.status(), response.headers().clone());
        let bytes = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap().to_vec();
        Answer { status, headers, bytes }
    }

    /// A request of the user `admin`.
    pub(crate) async fn admin(&self, method: Method, path: &str, body: Option<Value>) -> Answer {
        self.admin_with(method, path, body, &[]).await
    }

    pub(crate) async fn admin_with(&self, method: Method, path: &str, body: Option<Value>, headers: &[(&str, &str)]) -> Answer {
        let mut request = Request::builder().method(method).uri(path).header(header::AUTHORIZATION, basic("admin", PASSWORD));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.send(with_json(request, body)).await
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.admin(Method::GET, path, None).await
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> Answer {
        self.admin(Method::POST, path, Some(body)).await
    }

    /// A new task; gives its id.
    pub(crate) async fn task(&self, more: Value) -> String {
        let mut body = json!({"image": "legwork/testbed:dev", "type": "testbed.Run"});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let answer = self.post("/api/v1/tasks", body).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{}", String::from_utf8_lossy(&answer.bytes));
        answer.json()["id"].as_str().unwrap().to_owned()
    }

    pub(crate) async fn show(&self, id: &str) -> Value {
        self.get(&format!("/api/v1/tasks/{id}")).await.value()
    }

    /// Waits until the task is as wanted.
    pub(crate) async fn until(&self, id: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let mut changes = self.state.wakes.subscribe(id.parse().unwrap());
        let look = async {
            loop {
                let task = self.show(id).await;
                if wanted(&task) {
                    return task;
                }
                changes.changed().await;
            }
        };
        tokio::time::timeout(std::time::Duration::from_secs(10), look).await.expect("the task becomes as wanted")
    }

    pub(crate) async fn token(&self, permissions: &[&str]) -> String {
        let body = json!({"tokenNote": "test", "globalPermissions": permissions});
        self.post("/api/v1/personal-access-tokens", body).await.json()["token"].as_str().unwrap().to_owned()
    }

    /// A runner that has registered.
    pub(crate) async fn runner(&self, capabilities: &str, capacity: u32) -> FakeRunner<'_> {
        let token = self.token(&["runner#registration"]).await;
        let mut runner = FakeRunner {
            world: self,
            id: RunnerId::new(),
            identity: Identity::generate().unwrap(),
            instance: InstanceId::new(),
            token,
            capabilities: Capabilities::parse_list(capabilities).unwrap(),
            capacity,
            epoch: Epoch(0),
            credential: String::new(),
            revision: 0,
        };
        let registered: Registered = runner.register().await.value();
        runner.follow(&registered);
        runner
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.lifecycle.stop();
    }
}

/// A runner made by hand.
pub(crate) struct FakeRunner<'a> {
    pub(crate) world: &'a World,
    pub(crate) id: RunnerId,
    pub(crate) identity: Identity,
    pub(crate) instance: InstanceId,
    pub(crate) token: String,
    pub(crate) capabilities: Capabilities,
    pub(crate) capacity: u32,
    pub(crate) epoch: Epoch,
    pub(crate) credential: String,
    pub(crate) revision: u64,
}

impl FakeRunner<'_> {
    pub(crate) async fn registration(&self) -> Register {
        let challenge: Challenge = self.channel(Method::POST, "challenge", "", None).await.value();
        let signature = self.identity.sign(signed_text(&challenge.nonce, self.id, self.instance).as_bytes());
        Register {
            runner: self.id,
            public_key: self.identity.public_key().to_string(),
            instance: self.instance,
            last_epoch: self.epoch,
            nonce: challenge.nonce,
            signature: STANDARD.encode(signature),
            title: "fake".to_owned(),
            capabilities: self.capabilities.clone(),
            capacity: self.capacity,
            metadata: [("engine".to_owned(), "none".to_owned())].into(),
            build_version: "0.0.1".to_owned(),
            holding: Vec::new(),
            clock: self.world.clock.now(),
        }
    }

    pub(crate) async fn register(&self) -> Answer {
        let body = serde_json::to_value(self.registration().await).unwrap();
        self.channel(Method::POST, "register", &self.token, Some(body)).await
    }

    pub(crate) fn follow(&mut self, registered: &Registered) {
        self.epoch = registered.epoch;
        self.credential.clone_from(&registered.credential);
        self.revision = registered.settings.revision;
    }

    pub(crate) async fn channel(&self, method: Method, path: &str, bearer: &str, body: Option<Value>) -> Answer {
        let request = Request::builder()
            .method(method)
            .uri(format!("/runner/v1/{path}"))
            .header(VERSION_HEADER, CHANNEL_VERSION)
            .header(header::AUTHORIZATION, format!("Bearer {bearer}"));
        self.world.send(with_json(request, body)).await
    }

    pub(crate) async fn say(&self, path: &str, body: &impl Serialize) -> Answer {
        self.channel(Method::POST, path, &self.credential, Some(serde_json::to_value(body).unwrap())).await
    }

    pub(crate) fn asks(&self, free_slots: u32, wait_millis: u64) -> Poll {
        Poll { free_slots, settings_revision: self.revision, aborting: Vec::new(), holding: Vec::new(), wait_millis }
    }

    /// A poll that waits for as long as the server lets it.
    pub(crate) async fn poll(&self, free_slots: u32) -> PollAnswer {
        self.say("poll", &self.asks(free_slots, 10_000)).await.value()
    }

    /// The next offer.
    pub(crate) async fn offer(&self) -> Offer {
        let mut offers = self.poll(1).await.offers;
        assert_eq!(offers.len(), 1);
        offers.remove(0)
    }

    pub(crate) async fn confirm(&self, attempts: &[AttemptId]) -> ConfirmAnswer {
        self.say("confirm", &Confirm { attempts: attempts.to_vec() }).await.value()
    }

    pub(crate) async fn report(&self, attempt: AttemptId, events: Vec<(u64, AttemptEvent)>) -> EventsAnswer {
        let events = events
            .into_iter()
            .map(|(number, event)| Event {
                attempt,
                number: EventNumber(number),
                body: Envelope::clear(serde_json::to_vec(&event).unwrap()),
            })
            .collect();
        self.say("events", &Events { events }).await.value()
    }

    /// Takes the next offer and confirms it.
    pub(crate) async fn start(&self) -> AttemptId {
        let attempt = self.offer().await.attempt;
        self.confirm(&[attempt]).await;
        attempt
    }
}

/// A report of success with these outputs.
pub(crate) fn success(outputs: &Value) -> AttemptEvent {
    let json = json!({"exitCode": 0, "jobErrorMessage": "", "outputProperties": outputs, "reportingRecords": []}).to_string();
    AttemptEvent::Finished(Report {
        outcome: Outcome::Completed,
        message: String::new(),
        exit: None,
        result_exit_code: Some(0),
        result: ResultBytes::Inline { json },
        evidence: None,
        timings: vec![("run".to_owned(), 3)],
    })
}

pub(crate) fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
}

pub(crate) fn with_json(request: axum::http::request::Builder, body: Option<Value>) -> Request<Body> {
    match body {
        Some(body) => request.header(header::CONTENT_TYPE, "application/json").body(Body::from(body.to_string())).unwrap(),
        None => request.body(Body::empty()).unwrap(),
    }
}
