//! `legwork server start`.

use std::net::SocketAddr;
use std::path::Path;

use anyhow::Context as _;
use legwork_lifecycle::Lifecycle;
use legwork_server::{MasterKey, ServerConfig, StartError, TlsConfig};

use crate::args::server::ServerStartArgs;
use crate::commands::process;
use crate::context::Context;
use crate::failure::{Complaint, Ending};
use crate::output;

/// Runs a server until it is told to stop.
pub(crate) fn execute(context: &Context, args: ServerStartArgs) -> anyhow::Result<Ending> {
    let settings = args.process.clone();
    let config = config(context, args)?;
    process::run(&settings, async {
        let life = Lifecycle::new();
        let server = legwork_server::start(config, &life).await.map_err(refusal)?;
        if let Some(password) = &server.generated_admin_password {
            output::print_note(&format!("The user admin has the password {password}\nThis is the only time that it is shown."))?;
        }
        process::ending(life.run_until_stopped(true, process::PATIENCE).await)
    })
}

/// Why a server does not start, in the words and with the status of the command line.
pub(crate) fn refusal(error: StartError) -> anyhow::Error {
    if error.is_configuration() { Complaint::configuration(error.to_string()).into() } else { error.into() }
}

fn config(context: &Context, args: ServerStartArgs) -> anyhow::Result<ServerConfig> {
    let tls = match (args.plain_http, args.tls_certificate, args.tls_key) {
        (true, ..) => {
            output::print_note(
                "warning: --plain-http: passwords, tokens and task data travel unprotected unless something else adds TLS",
            )?;
            TlsConfig::Plain
        }
        (false, Some(certificate), Some(key)) => TlsConfig::Files { certificate, key },
        (false, ..) => TlsConfig::OwnAuthority,
    };
    let master_key = match (args.master_key, args.master_key_file) {
        (Some(text), _) => MasterKey::Given(text),
        (None, Some(file)) => MasterKey::File(file),
        (None, None) => MasterKey::InDataDir,
    };
    let admin_password = match (args.admin_password, args.admin_password_file) {
        (None, Some(file)) => Some(secret_in(&file, "--admin-password-file")?),
        (given, _) => given,
    };
    Ok(ServerConfig {
        listen: SocketAddr::from((args.bind, args.port)),
        tls,
        database_url: args.database_url,
        master_key,
        admin_password,
        host_names: args.host_names,
        clock: context.clock.clone(),
        ..ServerConfig::new(args.data_dir)
    })
}

/// A secret from a file that a setting names; blanks around it do not count.
pub(crate) fn secret_in(file: &Path, setting: &str) -> anyhow::Result<String> {
    let text = std::fs::read_to_string(file)
        .map_err(|error| Complaint::configuration(format!("{setting}: {} cannot be read: {error}", file.display())))
        .context("the configuration cannot be used")?;
    match text.trim() {
        "" => Err(Complaint::configuration(format!("{setting}: {} is empty", file.display())).into()),
        text => Ok(text.to_owned()),
    }
}
