//! Personal access tokens. Only their hash is stored.

use std::time::Duration;

use legwork_core::{Timestamp, TokenId};
use legwork_database::{Row, args};
use legwork_sealing::token::TokenHash;

use crate::error::{InRow, StoreError};
use crate::rows::{optional_time, time};
use crate::sql::Stored;
use crate::store::Store;
use crate::users::Permissions;

/// How often the last use of a token is written down.
const LAST_USE_GRAIN: Duration = Duration::from_secs(60);

/// A personal access token, without the token itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// Which token.
    pub id: TokenId,
    /// Whose.
    pub owner: String,
    /// What it is for.
    pub note: String,
    /// What it allows; never more than its owner may.
    pub permissions: Permissions,
    /// When it was made.
    pub created_at: Timestamp,
    /// Until when it is good; none = for ever.
    pub expires_at: Option<Timestamp>,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
    /// When it was last used, within a minute.
    pub last_used_at: Option<Timestamp>,
}

/// What is known of a token that somebody presents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenLookup {
    /// It is good. Its permissions are already cut to what its owner may.
    Valid(Token),
    /// It was good.
    Expired(Token),
    /// Somebody has revoked it.
    Revoked(Token),
    /// It was never made here.
    Unknown,
}

const COLUMNS: &str = "SELECT tokens.id, tokens.owner, tokens.note, tokens.permissions, tokens.created_at, tokens.expires_at, \
                       tokens.revoked_at, tokens.last_used_at, users.permissions AS owner_permissions \
                       FROM tokens JOIN users ON users.name = tokens.owner";

impl Store {
    /// Stores a token that was made with [`legwork_sealing::token::generate`].
    pub async fn create_token(&self, token: Token, hash: TokenHash) -> Result<(), StoreError> {
        self.database
            .write((token, hash), |(token, hash), tx| {
                let sql = "INSERT INTO tokens (id, owner, note, permissions, hash, created_at, expires_at) \
                           VALUES ($1, $2, $3, $4, $5, $6, $7)";
                let values = args![
                    token.id.stored(),
                    &token.owner,
                    &token.note,
                    token.permissions.to_string(),
                    *hash,
                    token.created_at.stored(),
                    token.expires_at.stored(),
                ];
                Box::pin(async move { Ok(tx.execute(sql, values).await.map(drop)?) })
            })
            .await
    }

    /// The tokens of a user, or of everybody; newest first.
    pub async fn tokens(&self, owner: Option<&str>) -> Result<Vec<Token>, StoreError> {
        let sql = format!("{COLUMNS} WHERE ($1 = '' OR tokens.owner = $1) ORDER BY tokens.id DESC");
        let rows = self.database.fetch_all(sql, args![owner.unwrap_or("").to_owned()]).await?;
        rows.iter().map(read).collect()
    }

    /// The token with this identity.
    pub async fn token(&self, id: TokenId) -> Result<Option<Token>, StoreError> {
        let sql = format!("{COLUMNS} WHERE tokens.id = $1");
        self.database.fetch_optional(sql, args![id.stored()]).await?.as_ref().map(read).transpose()
    }

    /// Revokes a token; false if there is none or it is revoked already.
    pub async fn revoke_token(&self, id: TokenId, now: Timestamp) -> Result<bool, StoreError> {
        self.database
            .write((id, now), |(id, now), tx| {
                let sql = "UPDATE tokens SET revoked_at = $2 WHERE id = $1 AND revoked_at IS NULL";
                Box::pin(async move { Ok(tx.execute(sql, args![id.stored(), now.stored()]).await? == 1) })
            })
            .await
    }

    /// What is known of the token with this hash. A good one's use is written down, at most once a minute.
    pub async fn find_token(&self, hash: TokenHash, now: Timestamp) -> Result<TokenLookup, StoreError> {
        let sql = format!("{COLUMNS} WHERE tokens.hash = $1");
        let Some(row) = self.database.fetch_optional(sql, args![hash]).await? else { return Ok(TokenLookup::Unknown) };
        let token = read(&row)?;
        if token.revoked_at.is_some() {
            return Ok(TokenLookup::Revoked(token));
        }
        if token.expires_at.is_some_and(|expires| expires <= now) {
            return Ok(TokenLookup::Expired(token));
        }
        if token.last_used_at.is_none_or(|used| now.since(used) >= LAST_USE_GRAIN) {
            let touched: Result<u64, StoreError> = self
                .database
                .write((token.id, now), |(id, now), tx| {
                    let sql = "UPDATE tokens SET last_used_at = $2 WHERE id = $1";
                    Box::pin(async move { Ok(tx.execute(sql, args![id.stored(), now.stored()]).await?) })
                })
                .await;
            touched?;
        }
        Ok(TokenLookup::Valid(token))
    }
}

fn read(row: &Row) -> Result<Token, StoreError> {
    let id: TokenId = row.parse("id").in_row("tokens", "?")?;
    let read = || {
        let permissions: Permissions = row.parse("permissions")?;
        Ok(Token {
            id,
            owner: row.get("owner")?,
            note: row.get("note")?,
            permissions: permissions.and(&row.parse("owner_permissions")?),
            created_at: time(row, "created_at")?,
            expires_at: optional_time(row, "expires_at")?,
            revoked_at: optional_time(row, "revoked_at")?,
            last_used_at: optional_time(row, "last_used_at")?,
        })
    };
    read().in_row("tokens", id)
}
