//! `legwork runner start`.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use legwork_core::{Capabilities, limits};
use legwork_lifecycle::Lifecycle;
use legwork_runner::{DockerConfig, EngineChoice, RunnerConfig, Token};

use crate::args::runner_start::RunnerStartArgs;
use crate::commands::{process, server};
use crate::context::Context;
use crate::environment::Environment;
use crate::failure::{Complaint, Ending};
use crate::{original, output};

/// Where a runner's store is unless told otherwise.
const DATA_DIR: &str = "legwork-runner";
/// The port of the health endpoints unless told otherwise.
const HEALTH_PORT: u16 = 8686;
/// What every runner offers unless told otherwise, beside its engine's name.
const CAPABILITIES: &str = "remote,remote-script,container";

/// Runs a runner until it is told to stop, or is deleted.
pub(crate) fn execute(context: &Context, mut args: RunnerStartArgs) -> anyhow::Result<Ending> {
    for warning in original::take_over(&mut args, &context.environment)? {
        output::print_note(&format!("warning: {warning}"))?;
    }
    let settings = args.process.clone();
    let drain = args.drain;
    let config = config(context, args)?;
    process::run(&settings, async {
        let life = Lifecycle::new();
        let _runner = legwork_runner::start(config, life.clone()).await.map_err(|error| refusal(&error))?;
        // Whoever asked for a drain wants the tasks to end, however long they take.
        let patience = if drain { process::FOR_EVER } else { process::PATIENCE };
        process::ending(life.run_until_stopped(true, patience).await)
    })
}

/// Why a runner does not start, in the words and with the status of the command line.
pub(crate) fn refusal(error: &legwork_runner::StartError) -> anyhow::Error {
    Complaint::configuration(error.to_string()).into()
}

/// What a runner offers unless told otherwise.
pub(crate) fn default_capabilities(engine: &str) -> Capabilities {
    Capabilities::parse_list(&format!("{CAPABILITIES},{engine}")).expect("the labels are written above and keep the rules")
}

/// How Docker is reached: by our settings, else as Docker's own tools would.
pub(crate) fn docker(environment: &Environment, host: Option<String>, credentials: Option<PathBuf>) -> DockerConfig {
    let set = |name| environment.get(name).filter(|value| !value.is_empty());
    let usual = || set("HOME").map(|home| Path::new(home).join(".docker/config.json")).filter(|file| file.is_file());
    DockerConfig {
        host: host.or_else(|| set("DOCKER_HOST").map(str::to_owned)),
        credentials: credentials.or_else(usual),
        ..DockerConfig::default()
    }
}

/// The host's name, for a runner without a name of its own.
pub(crate) fn host_name() -> String {
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    if name.is_empty() { "runner".to_owned() } else { name }
}

fn config(context: &Context, args: RunnerStartArgs) -> anyhow::Result<RunnerConfig> {
    let engine = engine_name(args.profiles.as_deref().unwrap_or("docker"))?;
    let required = |what: &str, how: &str| Complaint::configuration(format!("{what} is missing")).hint(how.to_owned());
    let server_url = args
        .url
        .ok_or_else(|| required("the server's address", "set --url, LEGWORK_RUNNER_URL or RELEASE_RUNNER_RELEASE_URL"))?;
    let token = match (args.token, args.token_file) {
        (Some(token), _) => token,
        (None, Some(file)) => server::secret_in(&file, "--token-file")?,
        (None, None) => {
            let how = "set --token-file, LEGWORK_RUNNER_TOKEN or RELEASE_RUNNER_TOKEN; `legwork token create --runner` makes one";
            return Err(required("the token", how).into());
        }
    };
    let health_bind = args.health_bind.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
    Ok(RunnerConfig {
        server_url,
        token: Token::new(&token),
        ca_pem: args.ca.as_deref().map(ca_pem).transpose()?,
        plain_http: args.plain_http,
        data_dir: args.data_dir.unwrap_or_else(|| DATA_DIR.into()),
        title: args.name.unwrap_or_else(host_name),
        capabilities: args.capabilities.unwrap_or_else(|| default_capabilities(engine)),
        capacity: args.capacity.unwrap_or(limits::CAPACITY),
        metadata: args.metadata.into_iter().collect(),
        engine: EngineChoice::from_name(engine, docker(&context.environment, args.docker_host, args.docker_config))
            .map_err(|error| Complaint::configuration(error.to_string()))?,
        release_url: args.plugin_url,
        health: Some(SocketAddr::from((health_bind, args.health_port.unwrap_or(HEALTH_PORT)))),
        drain: args.drain,
        clock: context.clock.clone(),
    })
}

/// The engine that a list of profiles chooses.
fn engine_name(profiles: &str) -> Result<&'static str, Complaint> {
    let mut chosen = None;
    for profile in profiles.split(',').map(str::trim).filter(|profile| !profile.is_empty()) {
        match profile {
            "docker" => chosen = Some("docker"),
            // Known to the benchmark only: it does nothing, so that everything else can be measured.
            "fake" => chosen = Some("fake"),
            "k8s" | "kubernetes" | "embedded" => {
                return Err(Complaint::configuration(format!("the profile {profile} is not in this version; it knows: docker")));
            }
            other => return Err(Complaint::configuration(format!("there is no profile {other:?}; this version knows: docker"))),
        }
    }
    chosen.ok_or_else(|| Complaint::configuration("no profile is given; this version knows: docker"))
}

/// The certificates that a setting holds or names.
fn ca_pem(setting: &str) -> anyhow::Result<Vec<u8>> {
    if setting.contains("-----BEGIN") {
        return Ok(setting.as_bytes().to_vec());
    }
    std::fs::read(setting).map_err(|error| Complaint::configuration(format!("--ca: {setting} cannot be read: {error}")).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn engines_of_other_versions_are_refused_by_name() {
        assert_eq!(engine_name("docker").unwrap(), "docker");
        assert_eq!(engine_name(" docker ,").unwrap(), "docker");
        for later in ["k8s", "docker,k8s", "embedded"] {
            let refusal = engine_name(later).unwrap_err().to_string();
            assert!(refusal.contains("is not in this version; it knows: docker"), "{refusal}");
        }
        assert!(engine_name("podman").unwrap_err().to_string().contains("there is no profile \"podman\""));
        assert!(engine_name(",").is_err());
    }

    #[test]
    fn docker_is_reached_as_its_own_tools_would() {
        let environment = Environment::from([("DOCKER_HOST", "tcp://elsewhere:2375"), ("HOME", "/does/not/exist")]);
        assert_eq!(docker(&environment, None, None).host.as_deref(), Some("tcp://elsewhere:2375"));
        assert_eq!(docker(&environment, Some("unix:///x".to_owned()), None).host.as_deref(), Some("unix:///x"));
        assert_eq!(docker(&environment, None, None).credentials, None);
    }

    #[test]
    fn certificates_are_a_file_or_the_text_itself() {
        assert!(ca_pem("-----BEGIN CERTIFICATE-----\n…").unwrap().starts_with(b"-----BEGIN"));
        assert!(ca_pem("/does/not/exist").unwrap_err().to_string().contains("/does/not/exist"));
    }

    #[test]
    fn the_default_capabilities_keep_the_rules() {
        assert_eq!(default_capabilities("docker").to_string(), "container,docker,remote,remote-script");
        assert!(!host_name().is_empty());
    }
}
