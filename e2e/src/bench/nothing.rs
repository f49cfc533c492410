//! Server, channel and runner with the engine that does nothing: what Legwork itself costs.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use legwork_client::{Client, Connection, Credentials, News};
use legwork_core::TaskId;
use legwork_protocol::api::{CreateTask, EditRunner, ListTasks};

use super::{Measurement, Samples};
use crate::world::World;

const ONE_BY_ONE: usize = 300;
const MANY: usize = 6_000;
const AT_ONCE: usize = 64;

/// A task for the engine that does nothing.
pub(super) fn task(image: &str) -> CreateTask {
    serde_json::from_value(serde_json::json!({ "image": image, "type": "testbed.Run" })).expect("this is a task")
}

/// A client of a world's server.
pub(super) fn client(world: &World) -> Client {
    let token = world.json(&["token", "create", "--note", "bench"])["token"].as_str().expect("a token is shown").to_owned();
    let connection = Connection {
        url: world.url(),
        ca_pem: Some(std::fs::read(world.ca()).expect("the server has made its CA")),
        credentials: Credentials::Token(token),
    };
    Client::new(&connection).expect("this is a connection")
}

/// Submits one task and waits for its result; gives the time until it was offered, as the server saw it, and until it ended.
pub(super) async fn submit_and_wait(client: &Client, task: &CreateTask) -> (TaskId, Duration) {
    let start = Instant::now();
    let created = client.create_task(task, &uuid::Uuid::new_v4().to_string()).await.expect("the server takes the task");
    let mut follower = client.follow(created.id).await.expect("the task can be followed");
    while let Some(news) = follower.next().await.expect("the server goes on") {
        if let News::Task(task) = news
            && task.summary.status.is_final()
        {
            assert_eq!(task.summary.status, legwork_core::TaskStatus::Completed, "{task:#?}");
            break;
        }
    }
    (created.id, start.elapsed())
}

pub(super) async fn measure(database: &str, url: Option<String>, wanted: f64) -> Vec<Measurement> {
    let world = tokio::task::block_in_place(|| {
        let mut world = World::with_database(url);
        world.engine = "fake";
        world.start_runner();
        world
    });
    let client = client(&world);
    let runner = client.runners().await.expect("runners can be listed").remove(0);
    let edit = EditRunner { capacity: Some(400), ..EditRunner::default() };
    client.edit_runner(runner.id, &edit).await.expect("the runner can be edited");
    let task = task("nothing:1");
    let (mut offered, mut finished) = (Samples::default(), Samples::default());
    for _ in 0..ONE_BY_ONE {
        let (id, took) = submit_and_wait(&client, &task).await;
        finished.add(took);
        let task = client.task(id).await.expect("the task can be read");
        offered.add(task.attempts[0].offered.since(task.summary.created));
    }
    let rate = throughput(&client, &task).await;
    let busy = super::idle::resident(world.runner_pid());
    vec![
        Measurement::new(format!("{database}: submit → offered, p50"), offered.median(), "ms"),
        Measurement::new(format!("{database}: submit → offered, p99"), offered.percentile(0.99), "ms").at_most(20.0),
        Measurement::new(format!("{database}: submit → result, do-nothing engine, p50"), finished.median(), "ms"),
        Measurement::new(format!("{database}: submit → result, do-nothing engine, p99"), finished.percentile(0.99), "ms"),
        Measurement::new(format!("{database}: tasks per second, do-nothing engine"), rate, "tasks/s").at_least(wanted),
        Measurement::new(format!("{database}: runner's memory after {MANY} tasks at up to 400 at once"), busy, "MiB")
            .at_most(64.0),
    ]
}

/// Tasks per second from the first submission until the last result was accepted.
async fn throughput(client: &Client, task: &CreateTask) -> f64 {
    let submitted = Arc::new(AtomicUsize::new(0));
    let start = Instant::now();
    let mut submitters = tokio::task::JoinSet::new();
    for _ in 0..AT_ONCE {
        let (client, task, submitted) = (client.clone(), task.clone(), Arc::clone(&submitted));
        submitters.spawn(async move {
            while submitted.fetch_add(1, Ordering::Relaxed) < MANY {
                client.create_task(&task, &uuid::Uuid::new_v4().to_string()).await.expect("the server takes the task");
            }
        });
    }
    submitters.join_all().await;
    let unfinished = ListTasks { status: Some("pending,in_progress".to_owned()), limit: Some(1), ..ListTasks::default() };
    while !client.tasks(&unfinished).await.expect("tasks can be listed").items.is_empty() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    MANY as f64 / start.elapsed().as_secs_f64()
}
