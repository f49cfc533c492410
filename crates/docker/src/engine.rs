//! [`DockerEngine`]: the calls of the engine contract, each as few calls of the Docker API as it can be.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use async_trait::async_trait;
use bollard::Docker;
use bollard::models::{ContainerInspectResponse, ContainerState, ContainerStateStatusEnum, ContainerSummaryStateEnum};
use bollard::query_parameters::{
    CreateContainerOptionsBuilder, InspectContainerOptions, KillContainerOptionsBuilder, ListContainersOptionsBuilder,
    ListVolumesOptionsBuilder, RemoveContainerOptionsBuilder, RemoveVolumeOptions, StartContainerOptions, StatsOptionsBuilder,
    WaitContainerOptionsBuilder,
};
use futures::future::{BoxFuture, FutureExt};
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use legwork_contract::abort::Signal;
use legwork_core::attempt::ExecutorSeen;
use legwork_core::verdict::{Evidence, Exit};
use legwork_core::{AttemptId, FailureClass, Timestamp};
use legwork_engine::{
    Ended, Engine, EngineInfo, ExecutorSpec, Fault, HandOverFault, Handle, LogItem, LogOffsets, Owned, Owner, Pooling,
    PreparedImage, ResultTaken,
};
use tokio::sync::OnceCell;

use crate::blueprint::{self, ATTEMPT_LABEL, OWNER_LABEL, TASK_LABEL};
use crate::config::{ConfigError, DockerConfig, Files};
use crate::connection::{Connection, fault, is_missing, status};
use crate::files::in_place::{Input, Volume};
use crate::files::{by_api, volumes_in_place};
use crate::watch::{End, Record, Said, Watch, lock};
use crate::{images, logs};

/// Executors as containers of a Docker daemon.
pub struct DockerEngine {
    connection: Connection,
    config: DockerConfig,
    /// Where volumes lie in our file system; `None` inside: they do not.
    volumes: OnceCell<Option<PathBuf>>,
    watch: Arc<Watch>,
}

impl DockerEngine {
    /// An engine that connects to its daemon when it is first used.
    pub fn new(config: DockerConfig) -> Result<Self, ConfigError> {
        let connection = Connection::new(config.host.as_deref())?;
        Ok(Self { connection, config, volumes: OnceCell::new(), watch: Arc::new(Watch::new()) })
    }

    async fn docker(&self) -> Result<&Docker, Fault> {
        let docker = self.connection.docker().await?;
        self.watch.follow(docker);
        Ok(docker)
    }

    /// The executor's volume, if it lies in our file system.
    async fn volume(&self, docker: &Docker, name: &str) -> Result<Option<Volume>, Fault> {
        let find = async {
            match self.config.files {
                Files::ByApi => Ok(None),
                Files::WhereverTheyAre => volumes_in_place(docker).await,
            }
        };
        let volumes = self.volumes.get_or_try_init(|| find).await?;
        Ok(volumes.as_ref().map(|volumes| Volume::new(volumes, name)))
    }

    /// The end of an executor. All who wait for it share one request.
    fn shared_end(&self, docker: &Docker, handle: &Handle) -> End {
        let record = self.watch.record(&handle.0);
        let mut end = lock(&record.end);
        if let Some(shared) = end.as_ref().filter(|shared| !matches!(shared.peek(), Some(Err(_)))) {
            return shared.clone();
        }
        // There was none yet, or it failed and is tried again.
        let waiting = find_end(docker.clone(), self.watch.clone(), record.clone(), handle.0.clone()).boxed().shared();
        end.insert(waiting).clone()
    }

    async fn end(&self, handle: &Handle) -> Result<Ended, Fault> {
        self.shared_end(self.docker().await?, handle).await
    }

    async fn inspect(&self, name: &str) -> Result<Option<ContainerInspectResponse>, Fault> {
        inspect(self.docker().await?, name).await
    }
}

async fn inspect(docker: &Docker, name: &str) -> Result<Option<ContainerInspectResponse>, Fault> {
    match docker.inspect_container(name, None::<InspectContainerOptions>).await {
        Ok(found) => Ok(Some(found)),
        Err(error) if is_missing(&error) => Ok(None),
        Err(error) => Err(fault(FailureClass::EngineLost, &format!("cannot look at the container {name}"), &error)),
    }
}

/// Waits for the end of a container and finds out who ended it.
async fn find_end(docker: Docker, watch: Arc<Watch>, record: Arc<Record>, name: String) -> Result<Ended, Fault> {
    let mut condition = "not-running";
    loop {
        let options = WaitContainerOptionsBuilder::default().condition(condition).build();
        match docker.wait_container(&name, Some(options)).next().await {
            Some(Ok(_) | Err(bollard::errors::Error::DockerContainerWaitError { .. })) => {}
            Some(Err(error)) if is_missing(&error) => return Ok(gone(&record)),
            Some(Err(error)) => {
                return Err(fault(FailureClass::EngineLost, &format!("cannot wait for the container {name}"), &error));
            }
            None => {
                let message = format!("the Docker daemon has closed the connection on which we waited for {name}");
                return Err(Fault::passing(FailureClass::EngineLost, message));
            }
        }
        let Some(found) = inspect(&docker, &name).await? else { return Ok(gone(&record)) };
        let state = found.state.unwrap_or_default();
        match state.status {
            // To Docker a container that was not started yet is "not running" too.
            Some(ContainerStateStatusEnum::CREATED) => condition = "next-exit",
            Some(ContainerStateStatusEnum::RUNNING | ContainerStateStatusEnum::PAUSED | ContainerStateStatusEnum::RESTARTING) => {
                condition = "not-running";
            }
            _ => {
                let limit = found.host_config.and_then(|host| host.memory).unwrap_or(0);
                return Ok(ended(&state, limit, watch.said(&record).await));
            }
        }
    }
}

fn ended(state: &ContainerState, memory_limit: i64, said: Said) -> Ended {
    let exit = state.exit_code.map(Exit::from_engine_status);
    let evidence = match said {
        // The kernel's own kill comes with no event of a signal, and may be followed by anything.
        _ if state.oom_killed == Some(true) => {
            Some(Evidence::OutOfMemory { limit: u64::try_from(memory_limit).unwrap_or(0), peak: None })
        }
        Said::Others(detail) => Some(Evidence::RemovedByOthers { detail }),
        Said::Unseen if exit != Some(Exit::Status(0)) => {
            Some(Evidence::EngineLost { detail: "the Docker daemon was stopped or restarted while it ran".to_owned() })
        }
        Said::Unseen | Said::Nothing => None,
    };
    Ended { exit, evidence }
}

/// The end of a container that is not there.
fn gone(record: &Record) -> Ended {
    if record.removed.load(Ordering::Acquire) {
        return Ended { exit: Some(Exit::Signal(Signal::Kill.number())), evidence: None };
    }
    let detail = "its container is not there any more, and this runner did not remove it".to_owned();
    Ended { exit: None, evidence: Some(Evidence::RemovedByOthers { detail }) }
}

#[async_trait]
impl Engine for DockerEngine {
    fn name(&self) -> &'static str {
        "docker"
    }

    fn can_park(&self) -> bool {
        matches!(self.volumes.get(), Some(Some(_)))
    }

    async fn check(&self) -> Result<EngineInfo, Fault> {
        let docker = self.docker().await?;
        let version = docker
            .version()
            .await
            .map_err(|error| fault(FailureClass::EngineLost, "the Docker daemon does not answer", &error))?;
        let mut notes = Vec::new();
        if self.volume(docker, "").await?.is_none() {
            notes.push("the daemon's volumes cannot be seen from here: executors cannot be parked".to_owned());
        }
        Ok(EngineInfo { version: format!("Docker {}", version.version.unwrap_or_default()), notes })
    }

    async fn prepare(&self, image: &str, progress: &(dyn Fn(String) + Send + Sync)) -> Result<PreparedImage, Fault> {
        images::prepare(self.docker().await?, image, self.config.credentials.as_deref(), progress).await
    }

    async fn create(&self, spec: &ExecutorSpec) -> Result<Handle, Fault> {
        let docker = self.docker().await?;
        let volume = self.volume(docker, &spec.name).await?;
        let name = &spec.name;
        if matches!(spec.pooling, Pooling::Parked) && volume.is_none() {
            let message = "executors of this Docker daemon cannot be parked: its volumes cannot be seen from here";
            return Err(Fault::lasting(FailureClass::Configuration, message));
        }
        let options = CreateContainerOptionsBuilder::default().name(name).build();
        match docker.create_container(Some(options), blueprint::container(spec)).await {
            Ok(_) => {}
            Err(error) if status(&error) == Some(409) => match self.existing(spec).await? {
                // An earlier call may have been cut off before the input was there.
                ExecutorSeen::Created => {}
                _ => return Ok(Handle(name.clone())),
            },
            Err(error) => {
                let class = if is_missing(&error) || status(&error) == Some(400) {
                    FailureClass::Image
                } else {
                    FailureClass::CouldNotStart
                };
                return Err(fault(class, &format!("cannot create the container {name} from {}", spec.image), &error));
            }
        }
        // From here on the events of this container are watched, so that none is missed.
        self.watch.record(name).fresh.store(true, Ordering::Release);
        match (&spec.pooling, volume) {
            (Pooling::Single { input }, None) => by_api::send_input(docker, name, input).await?,
            (Pooling::Single { input }, Some(volume)) => lay_out(&volume, &Input::File(input), name)?,
            (Pooling::Parked, Some(volume)) => lay_out(&volume, &Input::Pipe, name)?,
            (Pooling::Parked, None) => {}
        }
        Ok(Handle(name.clone()))
    }

    async fn start(&self, handle: &Handle) -> Result<(), Fault> {
        let docker = self.docker().await?;
        let record = self.watch.record(&handle.0);
        if record.fresh.swap(false, Ordering::AcqRel) {
            match logs::live::attach(docker, &handle.0, record.wanted.subscribe()).await {
                Ok(live) => *lock(&record.live) = Some(live),
                // What the log driver keeps is nearly as good.
                Err(error) => tracing::debug!(executor = handle.0, %error, "cannot attach to the executor"),
            }
        }
        // Starting one that runs is answered by 304, which is no error.
        docker.start_container(&handle.0, None::<StartContainerOptions>).await.map_err(|error| {
            let class = if is_missing(&error) { FailureClass::RemovedByOthers } else { FailureClass::CouldNotStart };
            fault(class, &format!("cannot start the container {}", handle.0), &error)
        })
    }

    async fn hand_over(
        &self,
        handle: &Handle,
        input: &[u8],
        commit: Box<dyn FnOnce() -> BoxFuture<'static, Result<(), String>> + Send>,
    ) -> Result<(), HandOverFault> {
        let docker = self.docker().await.map_err(HandOverFault::BeforeCommit)?;
        let Some(volume) = self.volume(docker, &handle.0).await.map_err(HandOverFault::BeforeCommit)? else {
            let message = format!("{} cannot be given an input: the daemon's volumes cannot be seen from here", handle.0);
            return Err(HandOverFault::BeforeCommit(Fault::lasting(FailureClass::Configuration, message)));
        };
        volume.hand_over(input, commit, self.end(handle).boxed()).await
    }

    async fn take_result(
        &self,
        handle: &Handle,
        into: &Path,
        limit: u64,
        is_complete: &(dyn for<'p> Fn(&'p Path) -> bool + Send + Sync),
    ) -> Result<ResultTaken, Fault> {
        let docker = self.docker().await?;
        if let Some(volume) = self.volume(docker, &handle.0).await? {
            return volume.take_result(into, limit, is_complete, self.end(handle).boxed()).await;
        }
        self.end(handle).await?;
        by_api::fetch_result(docker, &handle.0, into, limit, is_complete).await
    }

    async fn logs(&self, handle: &Handle, from: LogOffsets) -> Result<BoxStream<'static, Result<LogItem, Fault>>, Fault> {
        self.read_log(handle, from, None).await
    }

    async fn resume_logs(
        &self,
        handle: &Handle,
        from: LogOffsets,
        read_at: Timestamp,
    ) -> Result<BoxStream<'static, Result<LogItem, Fault>>, Fault> {
        self.read_log(handle, from, Some(read_at)).await
    }

    async fn signal(&self, handle: &Handle, signal: Signal) -> Result<(), Fault> {
        let docker = self.docker().await?;
        let record = self.watch.record(&handle.0);
        record.expect(signal.number());
        let options = KillContainerOptionsBuilder::default().signal(signal.name()).build();
        match docker.kill_container(&handle.0, Some(options)).await {
            Ok(()) => Ok(()),
            // It has ended, or is gone: nothing to signal.
            Err(error) if matches!(status(&error), Some(404 | 409)) => {
                record.unexpect(signal.number());
                Ok(())
            }
            Err(error) => {
                record.unexpect(signal.number());
                Err(fault(FailureClass::EngineLost, &format!("cannot send {} to {}", signal.name(), handle.0), &error))
            }
        }
    }

    async fn wait(&self, handle: &Handle) -> Result<Ended, Fault> {
        self.end(handle).await
    }

    async fn memory_used(&self, handle: &Handle) -> Result<Option<u64>, Fault> {
        let docker = self.docker().await?;
        let options = StatsOptionsBuilder::default().stream(false).one_shot(true).build();
        match docker.stats(&handle.0, Some(options)).try_next().await {
            Ok(stats) => {
                Ok(stats.and_then(|stats| stats.memory_stats).and_then(|memory| memory.usage).filter(|usage| *usage > 0))
            }
            Err(error) if matches!(status(&error), Some(404 | 409)) => Ok(None),
            Err(error) => Err(fault(FailureClass::EngineLost, &format!("cannot read the memory of {}", handle.0), &error)),
        }
    }

    async fn remove(&self, handle: &Handle) -> Result<(), Fault> {
        let docker = self.docker().await?;
        let name = &handle.0;
        let record = self.watch.record(name);
        record.removed.store(true, Ordering::Release);
        record.expect(Signal::Kill.number());
        self.remove_container(docker, name).await?;
        self.remove_volume(docker, name).await?;
        self.watch.forget(name);
        Ok(())
    }

    async fn list_owned(&self, owner: Owner) -> Result<Vec<Owned>, Fault> {
        let docker = self.docker().await?;
        let filters = HashMap::from([("label", vec![format!("{OWNER_LABEL}={}", owner.0)])]);
        let containers = ListContainersOptionsBuilder::default().all(true).filters(&filters).build();
        let volumes = ListVolumesOptionsBuilder::default().filters(&filters).build();
        let (containers, volumes) =
            tokio::try_join!(docker.list_containers(Some(containers)), docker.list_volumes(Some(volumes))).map_err(|error| {
                fault(FailureClass::EngineLost, "cannot list the containers and volumes of this runner", &error)
            })?;
        let mut owned: HashMap<String, Owned> = HashMap::new();
        for container in containers {
            let Some(name) = container.names.unwrap_or_default().first().map(|name| name.trim_start_matches('/').to_owned())
            else {
                continue;
            };
            let seen = match container.state {
                Some(ContainerSummaryStateEnum::CREATED) => ExecutorSeen::Created,
                Some(
                    ContainerSummaryStateEnum::RUNNING
                    | ContainerSummaryStateEnum::PAUSED
                    | ContainerSummaryStateEnum::RESTARTING,
                ) => ExecutorSeen::Running,
                _ => ExecutorSeen::Exited,
            };
            let attempt = attempt_of(&container.labels.unwrap_or_default());
            owned.insert(name.clone(), Owned { handle: Handle(name), attempt, seen });
        }
        // A volume whose container is gone is the leftover of a removal that was cut off.
        for volume in volumes.volumes.unwrap_or_default() {
            let attempt = attempt_of(&volume.labels);
            let name = volume.name;
            owned.entry(name.clone()).or_insert(Owned { handle: Handle(name), attempt, seen: ExecutorSeen::Missing });
        }
        Ok(owned.into_values().collect())
    }

    async fn look(&self, handle: &Handle) -> Result<ExecutorSeen, Fault> {
        Ok(self.inspect(&handle.0).await?.map_or(ExecutorSeen::Missing, |found| seen(&found)))
    }
}

impl DockerEngine {
    async fn read_log(
        &self,
        handle: &Handle,
        from: LogOffsets,
        read_at: Option<Timestamp>,
    ) -> Result<BoxStream<'static, Result<LogItem, Fault>>, Fault> {
        let docker = self.docker().await?;
        let record = self.watch.record(&handle.0);
        let live = if from == LogOffsets::default() { lock(&record.live).take() } else { None };
        record.wanted.send_replace(true);
        let place = logs::Place { from, read_at, live };
        Ok(logs::follow(docker, &handle.0, place, self.shared_end(docker, handle)))
    }

    /// How the container is that has the name of a new executor; it must be that executor, made before.
    async fn existing(&self, spec: &ExecutorSpec) -> Result<ExecutorSeen, Fault> {
        let Some(found) = self.inspect(&spec.name).await? else {
            let message = format!("the container {} is being removed", spec.name);
            return Err(Fault::passing(FailureClass::CouldNotStart, message));
        };
        let label = found.config.as_ref().and_then(|config| config.labels.as_ref()).and_then(|labels| labels.get(OWNER_LABEL));
        if label.map(String::as_str) != Some(spec.owner.0.to_string().as_str()) {
            let message = format!("the container name {} is taken by somebody else: remove that container", spec.name);
            return Err(Fault::lasting(FailureClass::CouldNotStart, message));
        }
        Ok(seen(&found))
    }

    async fn remove_container(&self, docker: &Docker, name: &str) -> Result<(), Fault> {
        let options = RemoveContainerOptionsBuilder::default().force(true).v(true).build();
        match docker.remove_container(name, Some(options)).await {
            Ok(()) => Ok(()),
            Err(error) if is_missing(&error) => Ok(()),
            // Somebody else is removing it already; that it is gone is all we want.
            Err(error) if status(&error) == Some(409) => {
                let options = WaitContainerOptionsBuilder::default().condition("removed").build();
                match docker.wait_container(name, Some(options)).next().await {
                    Some(Err(error)) if !is_missing(&error) && status(&error).is_some() => {
                        Err(fault(FailureClass::EngineLost, &format!("cannot remove the container {name}"), &error))
                    }
                    _ => Ok(()),
                }
            }
            Err(error) => Err(fault(FailureClass::EngineLost, &format!("cannot remove the container {name}"), &error)),
        }
    }

    async fn remove_volume(&self, docker: &Docker, name: &str) -> Result<(), Fault> {
        match docker.remove_volume(name, None::<RemoveVolumeOptions>).await {
            Ok(()) => Ok(()),
            Err(error) if is_missing(&error) => Ok(()),
            Err(error) => Err(fault(FailureClass::EngineLost, &format!("cannot remove the volume {name}"), &error)),
        }
    }
}

fn lay_out(volume: &Volume, input: &Input<'_>, name: &str) -> Result<(), Fault> {
    volume.lay_out(input).map_err(|error| {
        Fault::passing(FailureClass::CouldNotStart, format!("cannot put the input into the volume {name}: {error}"))
    })
}

fn seen(found: &ContainerInspectResponse) -> ExecutorSeen {
    match found.state.as_ref().and_then(|state| state.status) {
        Some(ContainerStateStatusEnum::CREATED) => ExecutorSeen::Created,
        Some(ContainerStateStatusEnum::RUNNING | ContainerStateStatusEnum::PAUSED | ContainerStateStatusEnum::RESTARTING) => {
            ExecutorSeen::Running
        }
        _ => ExecutorSeen::Exited,
    }
}

fn attempt_of(labels: &HashMap<String, String>) -> Option<AttemptId> {
    let task = labels.get(TASK_LABEL)?.parse().ok()?;
    let attempt = labels.get(ATTEMPT_LABEL)?.parse().ok()?;
    Some(AttemptId { task, attempt: legwork_core::AttemptNumber(attempt) })
}
