//! Cold tasks on Docker against the same container made by bare calls of Docker's API.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bollard::Docker;
use bollard::models::{ContainerCreateBody, HostConfig, Mount, MountType};
use bollard::query_parameters::{
    CreateContainerOptionsBuilder, RemoveContainerOptionsBuilder, RemoveVolumeOptions, StartContainerOptions,
    WaitContainerOptions,
};
use futures::StreamExt as _;
use legwork_client::Client;
use legwork_core::limits;
use legwork_protocol::api::EditRunner;
use tokio::sync::Semaphore;

use super::nothing::{client, submit_and_wait, task};
use super::{Measurement, Samples};
use crate::world::{World, docker_lines};

const IMAGE: &str = "legwork/testbed:dev";
const ONE_BY_ONE: usize = 25;
const MANY: usize = 200;
const AT_ONCE: usize = 8;

/// Where the time of a bare run goes.
struct Bare {
    /// Until the plugin has ended, that is, its result is there.
    to_result: Duration,
    /// Until container and volume are gone.
    to_removed: Duration,
}

/// The same container by hand: image, limits, network and volume as Legwork makes them; an input file in its volume.
async fn bare(docker: &Docker, input: &str) -> Bare {
    let name = format!("bare-{}", uuid::Uuid::new_v4());
    let start = Instant::now();
    let mount = Mount {
        target: Some("/legwork".to_owned()),
        source: Some(name.clone()),
        typ: Some(MountType::VOLUME),
        ..Mount::default()
    };
    let host = HostConfig {
        mounts: Some(vec![mount]),
        memory: Some(limits::MEMORY_BYTES as i64),
        memory_swap: Some(limits::MEMORY_BYTES as i64),
        pids_limit: Some(i64::from(limits::PIDS)),
        cap_drop: Some(vec!["ALL".to_owned()]),
        security_opt: Some(vec!["no-new-privileges".to_owned()]),
        network_mode: Some("bridge".to_owned()),
        ..HostConfig::default()
    };
    let body = ContainerCreateBody {
        image: Some(IMAGE.to_owned()),
        env: Some(vec![format!("INPUT_LOCATION={input}"), "OUTPUT_LOCATION=/legwork/output".to_owned()]),
        labels: Some(HashMap::from([("legwork-bench".to_owned(), "bare".to_owned())])),
        host_config: Some(host),
        ..ContainerCreateBody::default()
    };
    docker.create_container(Some(CreateContainerOptionsBuilder::default().name(&name).build()), body).await.expect("create");
    docker.start_container(&name, None::<StartContainerOptions>).await.expect("start");
    docker.wait_container(&name, None::<WaitContainerOptions>).collect::<Vec<_>>().await;
    let to_result = start.elapsed();
    docker
        .remove_container(&name, Some(RemoveContainerOptionsBuilder::default().force(true).v(true).build()))
        .await
        .expect("remove");
    docker.remove_volume(&name, None::<RemoveVolumeOptions>).await.expect("remove the volume");
    Bare { to_result, to_removed: start.elapsed() }
}

pub(super) async fn measure() -> Vec<Measurement> {
    let world = tokio::task::block_in_place(World::start);
    let client = client(&world);
    let runner = client.runners().await.expect("runners can be listed").remove(0);
    let label = format!("label=legwork={}", runner.id);
    let docker = Docker::connect_with_defaults().expect("Docker can be reached");
    // Without an input file the testbed fails in a moment, which costs the same container.
    let input = "/legwork/none";
    for _ in 0..3 {
        bare(&docker, input).await;
        submit_and_wait(&client, &task(IMAGE)).await;
    }
    let (mut ours, mut theirs) = (Samples::default(), Samples::default());
    let mut steps: HashMap<String, Samples> = HashMap::new();
    for _ in 0..ONE_BY_ONE {
        theirs.add(bare(&docker, input).await.to_result);
        let (id, took) = submit_and_wait(&client, &task(IMAGE)).await;
        ours.add(took);
        let shown = client.task(id).await.expect("the task can be read");
        for timing in &shown.attempts[0].timings {
            steps.entry(timing.step.clone()).or_default().add(Duration::from_millis(timing.millis));
        }
        until_gone(&label).await;
    }
    let mut measured = vec![
        Measurement::new("Docker: submit → result, cold, static plugin, p50", ours.median(), "ms")
            .against("create, start, wait by hand", theirs.median())
            .ratio_at_most(1.15),
        Measurement::new("Docker: submit → result, cold, static plugin, p99", ours.percentile(0.99), "ms")
            .against("by hand, p99", theirs.percentile(0.99)),
    ];
    let mut steps: Vec<_> = steps.into_iter().collect();
    steps.sort_by(|one, other| one.0.cmp(&other.0));
    measured.extend(
        steps.into_iter().map(|(step, samples)| Measurement::new(format!("Docker: of these, in {step}"), samples.median(), "ms")),
    );
    for at_once in [1, AT_ONCE] {
        // One more than is run at once: a slot is kept for scripts.
        let edit = EditRunner { capacity: Some(if at_once == 1 { 1 } else { at_once as u32 + 1 }), ..EditRunner::default() };
        client.edit_runner(runner.id, &edit).await.expect("the runner can be edited");
        let (mut ours, mut theirs) = (Duration::ZERO, Duration::ZERO);
        // In four turns each, so that both meet the same weather.
        for _ in 0..4 {
            theirs += bare_throughput(&docker, input, MANY / 4, at_once).await;
            ours += throughput(&client, &label, MANY / 4).await;
        }
        let rate = |duration: Duration| MANY as f64 / duration.as_secs_f64();
        measured.push(
            Measurement::new(format!("Docker: {MANY} tasks, {at_once} at once, until all is removed"), rate(ours), "tasks/s")
                .against("create, start, wait, remove by hand", rate(theirs)),
        );
    }
    measured
}

async fn bare_throughput(docker: &Docker, input: &'static str, tasks: usize, at_once: usize) -> Duration {
    let start = Instant::now();
    let slots = Arc::new(Semaphore::new(at_once));
    let mut running = tokio::task::JoinSet::new();
    for _ in 0..tasks {
        let slot = Arc::clone(&slots).acquire_owned().await.expect("the semaphore is never closed");
        let docker = docker.clone();
        running.spawn(async move {
            let ran = bare(&docker, input).await;
            drop(slot);
            ran.to_removed
        });
    }
    running.join_all().await;
    start.elapsed()
}

async fn throughput(client: &Client, label: &str, tasks: usize) -> Duration {
    let start = Instant::now();
    let mut last = None;
    for _ in 0..tasks {
        last =
            Some(client.create_task(&task(IMAGE), &uuid::Uuid::new_v4().to_string()).await.expect("the server takes the task"));
    }
    let unfinished = legwork_protocol::api::ListTasks {
        status: Some("pending,in_progress".to_owned()),
        limit: Some(1),
        ..legwork_protocol::api::ListTasks::default()
    };
    while last.is_some() && !client.tasks(&unfinished).await.expect("tasks can be listed").items.is_empty() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    until_gone(label).await;
    start.elapsed()
}

/// Waits until Docker has no container and no volume of ours.
async fn until_gone(label: &str) {
    let gone = || {
        docker_lines(&["ps", "-aq", "--filter", label]).is_empty()
            && docker_lines(&["volume", "ls", "-q", "--filter", label]).is_empty()
    };
    while !tokio::task::block_in_place(gone) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
