//! `legwork login`.

use std::io::{BufRead as _, IsTerminal as _, Write as _};

use anyhow::Context as _;
use legwork_client::{Client, Connection, Credentials};
use legwork_protocol::api::CreateToken;

use crate::args::login::LoginArgs;
use crate::context::Context;
use crate::failure::{Complaint, Ending};
use crate::output;
use crate::saved::{SavedServer, write_private};

/// The name of the copy of the CA beside `client.json`.
const CA_FILE: &str = "ca.pem";

/// Logs in and remembers it.
pub(crate) async fn execute(context: &Context, args: LoginArgs) -> anyhow::Result<Ending> {
    let folder = context
        .environment
        .config_dir()
        .ok_or_else(|| Complaint::usage("there is no place to remember a login").hint("set HOME or XDG_CONFIG_HOME"))?;
    let ca_pem = match &args.ca {
        Some(file) => Some(std::fs::read(file).with_context(|| format!("the CA file {} cannot be read", file.display()))?),
        None => None,
    };
    let connect = |credentials| Client::new(&Connection { url: args.url.clone(), ca_pem: ca_pem.clone(), credentials });
    // `--user` on the command line counts more than a token that happens to be in the environment.
    let token = match (&args.user, args.token.clone()) {
        (Some(user), _) => {
            let password = if args.password_stdin { password_from_stdin()? } else { ask_for_password(user)? };
            let client = connect(Credentials::Password { user: user.clone(), password })?;
            let note = CreateToken { token_note: "legwork login".to_owned(), global_permissions: Vec::new(), expiry_date: None };
            client.create_token(&note).await?.token
        }
        (None, Some(token)) => token,
        (None, None) => return Err(Complaint::usage("who are you?").hint("pass --user NAME, or --token TOKEN").into()),
    };
    let client = connect(Credentials::Token(token.clone()))?;
    let me = client.me().await?;
    if let Some(pem) = &ca_pem {
        write_private(&folder.join(CA_FILE), pem)?;
    }
    let saved = SavedServer { url: client.address().to_owned(), ca: ca_pem.map(|_| CA_FILE.into()), token };
    saved.write(&folder)?;
    if context.json() {
        output::print_json(&me)?;
    } else {
        output::print_text(&format!("You are {} at {}.\n", output::one_line(&me.user), client.address()))?;
    }
    Ok(Ending::Success)
}

fn password_from_stdin() -> anyhow::Result<String> {
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line).context("the password cannot be read from standard input")?;
    Ok(without_line_end(&line))
}

/// Asks on the terminal, without showing what is typed.
fn ask_for_password(user: &str) -> anyhow::Result<String> {
    use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
    let stdin = std::io::stdin();
    if !stdin.is_terminal() {
        return Err(Complaint::usage("there is no terminal to ask for the password")
            .hint("pass --password-stdin, or --token")
            .into());
    }
    let before = tcgetattr(&stdin).context("the terminal cannot be set up")?;
    let mut silent = before.clone();
    silent.local_modes.remove(LocalModes::ECHO);
    let mut stderr = std::io::stderr().lock();
    write!(stderr, "Password of {user}: ")?;
    stderr.flush()?;
    tcsetattr(&stdin, OptionalActions::Now, &silent).context("the terminal cannot be set up")?;
    let mut line = String::new();
    let read = stdin.lock().read_line(&mut line);
    tcsetattr(&stdin, OptionalActions::Now, &before).context("the terminal cannot be set back")?;
    writeln!(stderr)?;
    read.context("the password cannot be read")?;
    Ok(without_line_end(&line))
}

fn without_line_end(line: &str) -> String {
    let line = line.strip_suffix('\n').unwrap_or(line);
    line.strip_suffix('\r').unwrap_or(line).to_owned()
}
