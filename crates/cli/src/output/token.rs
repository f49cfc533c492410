//! Tokens for people.

use legwork_core::Timestamp;
use legwork_protocol::api::Token;
use owo_colors::OwoColorize as _;

use crate::output::table::table;
use crate::output::{one_line, time};

/// All tokens.
pub(crate) fn list(tokens: &[Token], now: Timestamp) -> String {
    if tokens.is_empty() {
        return "no tokens\n".to_owned();
    }
    let rows: Vec<Vec<String>> = tokens
        .iter()
        .map(|token| {
            vec![
                token.id.to_string(),
                one_line(&token.token_note),
                one_line(&token.owner),
                validity(token, now),
                token.last_used.map_or_else(|| "never".to_owned(), |at| time::relative(at, now)),
                if token.global_permissions.is_empty() {
                    "all of its owner".to_owned()
                } else {
                    token.global_permissions.join(", ")
                },
            ]
        })
        .collect();
    table(&["TOKEN", "NOTE", "OWNER", "VALID", "LAST USED", "PERMISSIONS"], &rows)
}

fn validity(token: &Token, now: Timestamp) -> String {
    match (token.revoked, token.expiry_date) {
        (Some(at), _) => format!("revoked {}", time::relative(at, now)).red().to_string(),
        (None, Some(at)) if at <= now => format!("expired {}", time::relative(at, now)).red().to_string(),
        (None, Some(at)) => format!("expires {}", time::relative(at, now)).green().to_string(),
        (None, None) => "for ever".green().to_string(),
    }
}
