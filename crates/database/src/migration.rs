//! The schema's history: numbered steps, forward only, each in its own transaction.

use crate::args;
use crate::error::OpenError;
use crate::tx::Tx;

/// One step of a schema. The two texts lead to the same tables; where they differ, they say why.
#[derive(Clone, Copy, Debug)]
pub struct Migration {
    /// Its number: 1, 2, 3 …
    pub number: i64,
    /// Its name, the same in both folders.
    pub name: &'static str,
    /// The statements for SQLite.
    pub sqlite: &'static str,
    /// The statements for PostgreSQL.
    pub postgres: &'static str,
}

/// One step of a schema, from twin files: `migration!("../migrations", 1, "0001_first")` reads
/// `sqlite/0001_first.sql` and `postgres/0001_first.sql` of that folder, relative to the caller's file.
#[macro_export]
macro_rules! migration {
    ($folder:literal, $number:literal, $name:literal) => {
        $crate::Migration {
            number: $number,
            name: $name,
            sqlite: include_str!(concat!($folder, "/sqlite/", $name, ".sql")),
            postgres: include_str!(concat!($folder, "/postgres/", $name, ".sql")),
        }
    };
}

/// Brings the schema to the newest number. Refuses, unchanged, a schema that is newer or not ours.
pub(crate) async fn migrate(tx: &mut Tx, database: &str, migrations: &[Migration]) -> Result<(), OpenError> {
    let known = migrations.last().map_or(0, |migration| migration.number);
    let failed = |number, name, error: crate::Error| {
        let source = match error {
            crate::Error::Statement { source, .. } => source,
            other => sqlx::Error::Protocol(other.to_string()),
        };
        OpenError::Migrate { database: database.to_owned(), number, name, source }
    };
    let first = |error| failed(0, "the list of schemas", error);
    tx.begin().await.map_err(first)?;
    // Two servers that start together on one PostgreSQL take turns.
    if tx.dialect() == crate::Dialect::Postgres {
        tx.execute("SELECT pg_advisory_xact_lock(5516)", args![]).await.map_err(first)?;
    }
    let create = "CREATE TABLE IF NOT EXISTS schema_migrations (number BIGINT PRIMARY KEY, name TEXT NOT NULL)";
    tx.execute(create, args![]).await.map_err(first)?;
    tx.commit().await.map_err(first)?;
    for row in tx.fetch_all("SELECT number, name FROM schema_migrations ORDER BY number", args![]).await.map_err(first)? {
        let number: i64 = row.get("number").map_err(|error| first(error.into()))?;
        let name: String = row.get("name").map_err(|error| first(error.into()))?;
        match migrations.iter().find(|migration| migration.number == number) {
            None => return Err(OpenError::NewerSchema { database: database.to_owned(), found: number, known }),
            Some(migration) if migration.name != name => {
                return Err(OpenError::OtherSchema { database: database.to_owned(), number, found: name, known: migration.name });
            }
            Some(_) => {}
        }
    }
    for migration in migrations {
        let (number, name) = (migration.number, migration.name);
        tx.begin().await.map_err(|error| failed(number, name, error))?;
        match step(tx, migration).await {
            Ok(()) => tx.commit().await.map_err(|error| failed(number, name, error))?,
            Err(error) => {
                let refused = failed(number, name, error);
                // The failure of the step is what matters; the connection is dropped after it anyway.
                let _ = tx.roll_back().await;
                return Err(refused);
            }
        }
    }
    Ok(())
}

async fn step(tx: &mut Tx, migration: &Migration) -> Result<(), crate::Error> {
    if tx.dialect() == crate::Dialect::Postgres {
        tx.execute("SELECT pg_advisory_xact_lock(5516)", args![]).await?;
    }
    let done = tx.fetch_all("SELECT number FROM schema_migrations WHERE number = $1", args![migration.number]).await?;
    if !done.is_empty() {
        return Ok(());
    }
    let text = tx.dialect().choose(migration.sqlite, migration.postgres);
    tx.script(text).await.map_err(|source| crate::Error::statement(migration.name, source))?;
    tx.execute("INSERT INTO schema_migrations (number, name) VALUES ($1, $2)", args![migration.number, migration.name]).await?;
    Ok(())
}
