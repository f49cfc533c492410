//! `legwork dev`: a server and a runner in this process, for trying things out.
//!
//! It does what a person would do: starts a server, makes tokens through the server's API, starts a runner with one of
//! them, and remembers the other one for the command line.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use legwork_client::{Client, ClientError, Connection, Credentials};
use legwork_core::limits;
use legwork_lifecycle::{Lifecycle, Stopped};
use legwork_protocol::api::CreateToken;
use legwork_protocol::error::ErrorCode;
use legwork_runner::{EngineChoice, RunnerConfig, Token};
use legwork_server::ServerConfig;
use owo_colors::OwoColorize as _;

use crate::args::dev::{DevArgs, DevEngine};
use crate::args::token::RUNNER_REGISTRATION;
use crate::commands::{process, runner_start, server};
use crate::context::Context;
use crate::failure::{Complaint, Ending};
use crate::output;
use crate::saved::{SavedServer, write_private};

/// Where things are in the data directory.
const SERVER_DIR: &str = "server";
const RUNNER_DIR: &str = "runner";
const ADMIN_PASSWORD_FILE: &str = "admin-password";
const CA_FILE: &str = "ca.pem";
const RUNNER_TOKEN_FILE: &str = "runner-token";

/// Runs both until they are told to stop.
pub(crate) fn execute(context: &Context, args: &DevArgs) -> anyhow::Result<Ending> {
    let data_dir = absolute(&args.data_dir)?;
    let settings = args.process.clone();
    process::run(&settings, async {
        let password = admin_password(&data_dir)?;
        let server_life = Lifecycle::new();
        let config = ServerConfig {
            listen: SocketAddr::from((args.bind, args.port)),
            admin_password: Some(password.clone()),
            clock: context.clock.clone(),
            ..ServerConfig::new(data_dir.join(SERVER_DIR))
        };
        let server = legwork_server::start(config, &server_life).await.map_err(server::refusal)?;
        let ca_pem = server.ca_pem.context("the server has made no CA of its own")?;
        let url = server.url;
        let runner_token = tokens(&data_dir, &url, &ca_pem, password).await?;

        let runner_life = Lifecycle::new();
        let engine = match args.engine {
            DevEngine::Docker => ("docker", EngineChoice::Docker(runner_start::docker(&context.environment, None, None))),
            DevEngine::Fake => ("fake", EngineChoice::Fake),
        };
        let config = RunnerConfig {
            server_url: url.clone(),
            token: Token::new(&runner_token),
            ca_pem: Some(ca_pem.into_bytes()),
            plain_http: false,
            data_dir: data_dir.join(RUNNER_DIR),
            title: "dev".to_owned(),
            capabilities: runner_start::default_capabilities(engine.0),
            capacity: limits::CAPACITY,
            metadata: [("environment".to_owned(), "dev".to_owned())].into(),
            engine: engine.1,
            release_url: None,
            health: Some(SocketAddr::from((args.bind, args.health_port))),
            drain: false,
            clock: context.clock.clone(),
        };
        let started = legwork_runner::start(config, runner_life.clone()).await.map_err(|error| runner_start::refusal(&error));
        if let Err(error) = started {
            server_life.stop();
            server_life.run_until_stopped(false, process::PATIENCE).await;
            return Err(error);
        }
        output::print_note(&banner(&url, &data_dir))?;
        process::ending(until_stopped(&runner_life, &server_life).await)
    })
}

/// The runner stops first, so that it can still say goodbye. If one of the two fails, the other one stops too.
async fn until_stopped(runner: &Lifecycle, server: &Lifecycle) -> Stopped {
    let (runner_of, stopping) = (runner.clone(), server.stopping().clone());
    let own = runner.stopping().clone();
    runner.spawn_once("watch of the server", async move {
        tokio::select! {
            () = stopping.cancelled() => runner_of.stop(),
            () = own.cancelled() => {}
        }
    });
    let runner = runner.run_until_stopped(true, process::PATIENCE).await;
    server.stop();
    match (runner, server.run_until_stopped(false, process::PATIENCE).await) {
        (Stopped::Failed(why), _) | (_, Stopped::Failed(why)) => Stopped::Failed(why),
        (stopped, _) => stopped,
    }
}

fn absolute(data_dir: &Path) -> anyhow::Result<PathBuf> {
    std::path::absolute(data_dir)
        .map_err(|error| Complaint::configuration(format!("--data-dir: {} cannot be used: {error}", data_dir.display())).into())
}

/// The password of the user `admin`: made at the first start and kept, so that tokens can be made again.
fn admin_password(data_dir: &Path) -> anyhow::Result<String> {
    let file = data_dir.join(ADMIN_PASSWORD_FILE);
    match std::fs::read_to_string(&file) {
        Ok(password) => return Ok(password.trim().to_owned()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(Complaint::configuration(format!("{} cannot be read: {error}", file.display())).into()),
    }
    let mut bytes = [0_u8; 16];
    getrandom::fill(&mut bytes).map_err(|error| anyhow::anyhow!("there is no randomness: {error}"))?;
    let password = uuid::Builder::from_random_bytes(bytes).into_uuid().simple().to_string();
    write_private(&file, format!("{password}\n").as_bytes()).map_err(|error| Complaint::configuration(format!("{error:#}")))?;
    Ok(password)
}

/// Writes `client.json` for the command line and gives the runner's token. Tokens of an earlier start are used again.
async fn tokens(data_dir: &Path, url: &str, ca_pem: &str, password: String) -> anyhow::Result<String> {
    let connect =
        |credentials| Client::new(&Connection { url: url.to_owned(), ca_pem: Some(ca_pem.as_bytes().to_vec()), credentials });
    let admin = connect(Credentials::Password { user: "admin".to_owned(), password })?;
    let still_good = async |kept: Option<String>| -> anyhow::Result<Option<String>> {
        let Some(token) = kept else { return Ok(None) };
        let known = accepted(connect(Credentials::Token(token.clone()))?.me().await)?;
        Ok(known.then_some(token))
    };

    // A `client.json` that cannot be understood is made anew.
    let kept = SavedServer::read(data_dir).ok().flatten().map(|saved| saved.token);
    let token = match still_good(kept).await? {
        Some(token) => token,
        None => make(&admin, "command line of legwork dev", &[]).await?,
    };
    let ca = data_dir.join(CA_FILE);
    write_private(&ca, ca_pem.as_bytes())?;
    SavedServer { url: url.to_owned(), ca: Some(ca), token }.write(data_dir)?;

    let file = data_dir.join(RUNNER_TOKEN_FILE);
    let kept = std::fs::read_to_string(&file).map(|text| text.trim().to_owned()).ok();
    if let Some(token) = still_good(kept).await? {
        return Ok(token);
    }
    let token = make(&admin, "runner of legwork dev", &[RUNNER_REGISTRATION]).await?;
    write_private(&file, format!("{token}\n").as_bytes())?;
    Ok(token)
}

/// True if the server knows the token: one that may only register is refused differently.
fn accepted<T>(answer: Result<T, ClientError>) -> Result<bool, ClientError> {
    match answer {
        Ok(_) => Ok(true),
        Err(error) => match error.code() {
            Some(ErrorCode::Forbidden) => Ok(true),
            Some(ErrorCode::WrongCredentials | ErrorCode::TokenExpired | ErrorCode::TokenRevoked) => Ok(false),
            _ => Err(error),
        },
    }
}

async fn make(admin: &Client, note: &str, permissions: &[&str]) -> anyhow::Result<String> {
    let request = CreateToken {
        token_note: note.to_owned(),
        global_permissions: permissions.iter().map(|permission| (*permission).to_owned()).collect(),
        expiry_date: None,
    };
    let created = admin.create_token(&request).await.with_context(|| {
        format!(
            "the token for the {note} cannot be made; if the password of admin was changed, put it into {ADMIN_PASSWORD_FILE}"
        )
    })?;
    Ok(created.token)
}

fn banner(url: &str, data_dir: &Path) -> String {
    format!(
        "\n{} is running at {url}\n\n  \
         Run a task   legwork task run --image legwork/hello-python:dev --type hello.Greet -i yourName=World --follow\n  \
         See tasks    legwork task list\n  \
         The runner   legwork runner list\n  \
         Stop         Ctrl-C; tasks that run go on, and the next start takes their results\n\n  \
         Data is in {}; the user admin's password is in its file {ADMIN_PASSWORD_FILE}.\n",
        "Legwork".bold(),
        data_dir.display(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_password_is_made_once() {
        let folder = tempfile::tempdir().unwrap();
        let first = admin_password(folder.path()).unwrap();
        assert_eq!(first.len(), 32);
        assert_eq!(admin_password(folder.path()).unwrap(), first);
    }
}
