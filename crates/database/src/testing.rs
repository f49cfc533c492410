//! Fresh PostgreSQL databases for tests. `make test` starts the server that they are made on.

use std::sync::atomic::{AtomicU32, Ordering};

use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};

/// The URL of a new, empty database on the server that `LEGWORK_TEST_POSTGRES_URL` names.
///
/// # Panics
///
/// If there is no such server: a test that needs it must not pass without it.
#[expect(clippy::disallowed_methods, reason = "tests have no command line to take this from; names only need to differ")]
pub async fn fresh_postgres() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let url = std::env::var("LEGWORK_TEST_POSTGRES_URL")
        .expect("this test needs PostgreSQL: run `make test`, or `scripts/with-services cargo test`, which starts one");
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("it is later than 1970");
    let name = format!("legwork_{}_{}_{}", std::process::id(), since.as_micros(), NEXT.fetch_add(1, Ordering::Relaxed));
    let mut connection = PgConnection::connect(&url).await.expect("LEGWORK_TEST_POSTGRES_URL names a PostgreSQL that answers");
    connection.execute(AssertSqlSafe(format!("CREATE DATABASE {name}"))).await.expect("the user may make databases");
    let (before, options) = url.split_once('?').unwrap_or((&url, ""));
    let server = before.rsplit_once('/').map_or(before, |(server, _)| server);
    format!("{server}/{name}{}{options}", if options.is_empty() { "" } else { "?" })
}

/// Runs the statements of a dump made by `pg_dump --inserts` on the database at this URL.
///
/// # Panics
///
/// If a statement is refused.
pub async fn load_postgres(url: &str, dump: &str) {
    // Lines with a backslash are for psql, the program, and mean nothing to the server.
    let text: String = dump.lines().filter(|line| !line.starts_with('\\')).flat_map(|line| [line, "\n"]).collect();
    let mut connection = PgConnection::connect(url).await.expect("the test has just made this database");
    connection.execute(sqlx::raw_sql(AssertSqlSafe(text))).await.expect("what was dumped can be loaded");
}
