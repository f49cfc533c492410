//! `legwork token …`.

use legwork_protocol::api::CreateToken;

use crate::args::token::{CreateTokenArgs, RUNNER_REGISTRATION, TokenCommand};
use crate::context::Context;
use crate::failure::{Complaint, Ending};
use crate::output::{self, token};

/// Does what the command says.
pub(crate) async fn execute(context: &Context, command: TokenCommand) -> anyhow::Result<Ending> {
    match command {
        TokenCommand::Create(args) => create(context, args).await,
        TokenCommand::List { connection } => {
            let page = context.client(&connection)?.tokens().await?;
            if context.json() {
                output::print_json(&page)?;
            } else {
                output::print_text(&token::list(&page, context.now()))?;
            }
            Ok(Ending::Success)
        }
        TokenCommand::Revoke { id, connection } => {
            context.client(&connection)?.revoke_token(id).await?;
            if context.json() {
                output::print_json(&serde_json::json!({ "id": id, "revoked": true }))?;
            } else {
                output::print_text(&format!("{id}: revoked\n"))?;
            }
            Ok(Ending::Success)
        }
    }
}

async fn create(context: &Context, args: CreateTokenArgs) -> anyhow::Result<Ending> {
    let mut permissions = args.permissions;
    if args.runner {
        if !permissions.is_empty() {
            return Err(Complaint::usage("--runner already says what the token allows")
                .hint(format!("leave out --permission, or write --permission {RUNNER_REGISTRATION}"))
                .into());
        }
        permissions.push(RUNNER_REGISTRATION.to_owned());
    }
    let note = args.note.unwrap_or_else(|| if args.runner { "runner".to_owned() } else { "legwork token create".to_owned() });
    let expires = args.expires.map(|after| context.now().plus(after.0));
    let request = CreateToken { token_note: note, global_permissions: permissions, expiry_date: expires };
    let created = context.client(&args.connection)?.create_token(&request).await?;
    if context.json() {
        output::print_json(&created)?;
    } else {
        output::print_text(&format!("{}\n", created.token))?;
        output::print_note("This is the only time that it is shown.")?;
    }
    Ok(Ending::Success)
}
