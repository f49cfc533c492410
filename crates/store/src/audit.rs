//! The audit trail: who did what, and what was refused.

use legwork_core::Timestamp;
use legwork_database::{Given, Tx, args};
use uuid::Uuid;

use crate::error::{InRow, StoreError};
use crate::rows::time;
use crate::sql::Stored;
use crate::store::Store;

/// One line of the audit trail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditEntry {
    /// Its identity; later entries sort later.
    pub id: String,
    /// When it happened.
    pub at: Timestamp,
    /// Who did it: a user, `runner <id>`, or `server`.
    pub actor: String,
    /// What was done, such as `task.abort`.
    pub action: String,
    /// To what, such as `task <id>`.
    pub object: String,
    /// More about it.
    pub detail: String,
}

impl Store {
    /// Adds a line.
    pub async fn append_audit(
        &self,
        actor: &str,
        action: &'static str,
        object: &str,
        detail: &str,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let line = (actor.to_owned(), object.to_owned(), detail.to_owned());
        self.database
            .write((line, action, now), |((actor, object, detail), action, now), tx| {
                Box::pin(append(tx, actor, action, object, detail, *now))
            })
            .await
    }

    /// The newest lines before the one given, newest first; about one object if it is given.
    pub async fn audit(&self, object: Option<&str>, before: Option<&str>, limit: u32) -> Result<Vec<AuditEntry>, StoreError> {
        let sql = "SELECT id, at, actor, action, object, detail FROM audit \
                   WHERE ($1 = '' OR object = $1) AND ($2 = '' OR id < $2) ORDER BY id DESC LIMIT $3";
        let values = args![object.unwrap_or("").to_owned(), before.unwrap_or("").to_owned(), limit];
        let mut entries = Vec::new();
        for row in self.database.fetch_all(sql, values).await? {
            let read = || {
                Ok(AuditEntry {
                    id: row.get("id")?,
                    at: time(&row, "at")?,
                    actor: row.get("actor")?,
                    action: row.get("action")?,
                    object: row.get("object")?,
                    detail: row.get("detail")?,
                })
            };
            entries.push(read().in_row("audit", "?")?);
        }
        Ok(entries)
    }
}

/// A line that is to be added.
pub(crate) struct Line {
    pub(crate) actor: String,
    pub(crate) action: &'static str,
    pub(crate) object: String,
    pub(crate) detail: String,
    pub(crate) now: Timestamp,
}

pub(crate) async fn append(
    tx: &mut Tx,
    actor: &str,
    action: &'static str,
    object: &str,
    detail: &str,
    now: Timestamp,
) -> Result<(), StoreError> {
    let line = Line { actor: actor.to_owned(), action, object: object.to_owned(), detail: detail.to_owned(), now };
    append_all(tx, vec![line]).await
}

const LINES: &[Given] = &[
    Given::Text("id"),
    Given::Integer("at"),
    Given::Text("actor"),
    Given::Text("action"),
    Given::Text("object"),
    Given::Text("detail"),
];

/// Adds lines, in this order.
pub(crate) async fn append_all(tx: &mut Tx, lines: Vec<Line>) -> Result<(), StoreError> {
    let sql = "INSERT INTO audit (id, at, actor, action, object, detail) SELECT id, at, actor, action, object, detail FROM given";
    let rows = lines
        .into_iter()
        .map(|line| args![Uuid::now_v7().to_string(), line.now.stored(), line.actor, line.action, line.object, line.detail]);
    tx.execute_given(sql, LINES, rows).await?;
    Ok(())
}
