//! `legwork runner start`.

use std::net::IpAddr;
use std::path::PathBuf;

use legwork_core::Capabilities;

use crate::args::process::ProcessArgs;

/// Start a runner on this machine
///
/// It connects to the server, registers (again and again until it succeeds), takes tasks and runs each in a fresh
/// container. Its identity and what it has in hand are kept in the data directory, so that it may be stopped or
/// killed at any time: the next start adopts what still runs. The original's `RELEASE_RUNNER_*` variables work too;
/// docs/configuration.md lists them.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  legwork runner start --url https://legwork.example.com:5516 --ca ca.pem --token-file token\n  RELEASE_RUNNER_RELEASE_URL=https://legwork:5516 RELEASE_RUNNER_TOKEN=rpa_… legwork runner start --profiles docker\n\nExit status: 0 after it was told to stop or was deleted, 64 bad configuration, 2 anything else."
)]
pub(crate) struct RunnerStartArgs {
    /// The server's address; required
    #[arg(long, env = "LEGWORK_RUNNER_URL", value_name = "URL")]
    pub(crate) url: Option<String>,
    /// A personal access token that allows runner#registration; required, here or by --token-file
    #[arg(long, env = "LEGWORK_RUNNER_TOKEN", value_name = "TOKEN", hide_env_values = true)]
    pub(crate) token: Option<String>,
    /// A file with that token
    #[arg(long, env = "LEGWORK_RUNNER_TOKEN_FILE", value_name = "FILE", conflicts_with = "token")]
    pub(crate) token_file: Option<PathBuf>,
    /// Certificates (PEM) of CAs to trust beside the system's: a file, or the text itself
    #[arg(long, env = "LEGWORK_RUNNER_CA", value_name = "FILE|PEM")]
    pub(crate) ca: Option<String>,
    /// What people call it; the host's name if not given
    #[arg(long, env = "LEGWORK_RUNNER_NAME", value_name = "TEXT")]
    pub(crate) name: Option<String>,
    /// What it offers, separated by commas; `remote,remote-script,container` and the engine's name if not given
    #[arg(long, env = "LEGWORK_RUNNER_CAPABILITIES", value_name = "LIST", value_parser = Capabilities::parse_list)]
    pub(crate) capabilities: Option<Capabilities>,
    /// Where its identity, its journal and what it has to send are kept [default: legwork-runner]
    #[arg(long, env = "LEGWORK_RUNNER_DATA_DIR", value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// What runs the containers; only `docker` in this version [default: docker]
    #[arg(long, env = "LEGWORK_RUNNER_PROFILES", value_name = "PROFILE")]
    pub(crate) profiles: Option<String>,
    /// Where the Docker daemon listens, unix:///… or tcp://…; what `DOCKER_HOST` says or its usual place if not given
    #[arg(long, env = "LEGWORK_RUNNER_DOCKER_HOST", value_name = "ADDRESS")]
    pub(crate) docker_host: Option<String>,
    /// Docker's configuration file with the credentials of registries; `~/.docker/config.json` if not given
    #[arg(long, env = "LEGWORK_RUNNER_DOCKER_CONFIG", value_name = "FILE")]
    pub(crate) docker_config: Option<PathBuf>,
    /// How many executors it may have at its first registration; later the server's setting counts [default: 8]
    #[arg(long, env = "LEGWORK_RUNNER_CAPACITY", value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) capacity: Option<u32>,
    /// The server's address as plugins reach it, if it is another one than the runner's
    #[arg(long, env = "LEGWORK_RUNNER_PLUGIN_URL", value_name = "URL")]
    pub(crate) plugin_url: Option<String>,
    /// Accept an http:// address: only where something else protects the connection
    #[arg(long, env = "LEGWORK_RUNNER_PLAIN_HTTP")]
    pub(crate) plain_http: bool,
    /// A fact about it, shown and filterable (can be repeated; in the environment separated by commas)
    #[arg(long = "metadata", env = "LEGWORK_RUNNER_METADATA", value_name = "KEY=VALUE", value_delimiter = ',', value_parser = key_value)]
    pub(crate) metadata: Vec<(String, String)>,
    /// The address of /live, /ready and /metrics [default: 0.0.0.0]
    #[arg(long, env = "LEGWORK_RUNNER_HEALTH_BIND", value_name = "ADDRESS")]
    pub(crate) health_bind: Option<IpAddr>,
    /// The port of /live, /ready and /metrics; 0 takes a free one [default: 8686]
    #[arg(long, env = "LEGWORK_RUNNER_HEALTH_PORT", value_name = "PORT")]
    pub(crate) health_port: Option<u16>,
    /// When told to stop, wait for the tasks it has, instead of leaving them to the next start
    #[arg(long, env = "LEGWORK_RUNNER_DRAIN")]
    pub(crate) drain: bool,
    #[command(flatten)]
    pub(crate) process: ProcessArgs,
}

fn key_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("write it as KEY=VALUE".to_owned()),
    }
}
