//! From an [`ExecutorSpec`] to what Docker is asked to create.

use std::collections::HashMap;

use bollard::models::{ContainerCreateBody, HostConfig, HostConfigLogConfig, Mount, MountType, MountVolumeOptions};
use legwork_contract::environment;
use legwork_core::spec::Network;
use legwork_engine::ExecutorSpec;

/// Where the executor's volume is mounted.
pub(crate) const MOUNT: &str = "/legwork";
/// The folder in the volume that the plugin may write to, whichever user its image has.
pub(crate) const FOLDER: &str = "job";
/// The input in that folder: a named pipe if the executor is parked, an ordinary file otherwise.
pub(crate) const INPUT: &str = "input";
/// The result in that folder.
pub(crate) const OUTPUT: &str = "output";

/// The label that says which runner owns something.
pub(crate) const OWNER_LABEL: &str = "legwork";
/// The label that says which task it is for.
pub(crate) const TASK_LABEL: &str = "legwork.task";
/// The label that says which attempt it is for.
pub(crate) const ATTEMPT_LABEL: &str = "legwork.attempt";
/// The label that says in which epoch it was made.
pub(crate) const EPOCH_LABEL: &str = "legwork.epoch";

/// What the log may be larger than asked for before Docker throws its oldest part away.
const LOG_SLACK: u64 = 1024 * 1024;
/// `/tmp` of an executor whose root cannot be written to.
const SCRATCH: &str = "rw,nosuid,nodev,size=64m,mode=1777";

pub(crate) fn labels(spec: &ExecutorSpec) -> HashMap<String, String> {
    let mut labels =
        HashMap::from([(OWNER_LABEL.to_owned(), spec.owner.0.to_string()), (EPOCH_LABEL.to_owned(), spec.epoch.to_string())]);
    if let Some(id) = spec.attempt {
        labels.insert(TASK_LABEL.to_owned(), id.task.to_string());
        labels.insert(ATTEMPT_LABEL.to_owned(), id.attempt.to_string());
    }
    labels
}

/// The bytes at which Docker begins a new piece of log. It keeps two, so never less than this much.
pub(crate) fn log_piece(log_limit: u64) -> u64 {
    log_limit + LOG_SLACK
}

/// Command, entrypoint and working directory stay as the image has them: plugins depend on it.
pub(crate) fn container(spec: &ExecutorSpec) -> ContainerCreateBody {
    let path = |name: &str| format!("{MOUNT}/{FOLDER}/{name}");
    let env = vec![
        format!("{}={}", environment::INPUT_LOCATION, path(INPUT)),
        format!("{}={}", environment::OUTPUT_LOCATION, path(OUTPUT)),
        format!("{}={}", environment::RELEASE_URL, spec.release_url),
        format!("{}={}", environment::SESSION_KEY, spec.session_key.to_text().as_str()),
    ];
    ContainerCreateBody {
        image: Some(spec.image.clone()),
        env: Some(env),
        labels: Some(labels(spec)),
        host_config: Some(host_config(spec)),
        ..ContainerCreateBody::default()
    }
}

fn host_config(spec: &ExecutorSpec) -> HostConfig {
    let settings = &spec.settings;
    let memory = i64::try_from(settings.limits.memory_bytes).unwrap_or(i64::MAX);
    let volume = Mount {
        typ: Some(MountType::VOLUME),
        source: Some(spec.name.clone()),
        target: Some(MOUNT.to_owned()),
        volume_options: Some(MountVolumeOptions {
            // What the image may have at this path is none of the plugin's input.
            no_copy: Some(true),
            labels: Some(labels(spec)),
            ..MountVolumeOptions::default()
        }),
        ..Mount::default()
    };
    let log = HashMap::from([
        ("max-size".to_owned(), format!("{}b", log_piece(settings.log_limit))),
        // With one file Docker throws everything away when it is full; with two at least the newer half is kept.
        ("max-file".to_owned(), "2".to_owned()),
        ("compress".to_owned(), "false".to_owned()),
    ]);
    HostConfig {
        mounts: Some(vec![volume]),
        memory: Some(memory),
        // Memory and swap together: the same number means no swap.
        memory_swap: Some(memory),
        nano_cpus: settings.limits.milli_cpus.map(|milli| i64::from(milli) * 1_000_000),
        pids_limit: Some(i64::from(settings.limits.pids)),
        cap_drop: Some(vec!["ALL".to_owned()]),
        security_opt: Some(vec!["no-new-privileges".to_owned()]),
        network_mode: Some(match settings.network {
            Network::Outbound => "bridge".to_owned(),
            Network::None => "none".to_owned(),
        }),
        readonly_rootfs: settings.read_only_root.then_some(true),
        tmpfs: settings.read_only_root.then(|| HashMap::from([("/tmp".to_owned(), SCRATCH.to_owned())])),
        // An init process would keep SIGABRT from the plugin.
        init: Some(false),
        log_config: Some(HostConfigLogConfig { typ: Some("local".to_owned()), config: Some(log) }),
        ..HostConfig::default()
    }
}
