//! The same behaviour on both databases.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use legwork_database::testing::fresh_postgres;
use legwork_database::{Database, Error, Given, Location, Migration, OpenError, Options, Together, Tx, Value, args, migration};
use tokio::task::JoinHandle;

const FIRST: &[Migration] = &[migration!("migrations", 1, "0001_first")];
const BOTH: &[Migration] = &[migration!("migrations", 1, "0001_first"), migration!("migrations", 2, "0002_second")];

struct Case {
    name: &'static str,
    options: Options,
    _directory: tempfile::TempDir,
}

async fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for name in ["sqlite", "postgres"] {
        let directory = tempfile::tempdir().unwrap();
        let location = match name {
            "sqlite" => Location::file(directory.path().join("data/test.sqlite")),
            _ => fresh_postgres().await.parse().unwrap(),
        };
        cases.push(Case { name, options: Options { location, migrations: FIRST, readers: 2 }, _directory: directory });
    }
    cases
}

#[expect(clippy::disallowed_methods, reason = "the test joins it")]
async fn open(options: &Options) -> (Database, JoinHandle<()>) {
    let (database, writer) = Database::open(options).await.unwrap();
    (database, tokio::spawn(writer.run()))
}

async fn insert(id: &i64, tx: &mut Tx) -> Result<u64, Error> {
    tx.execute("INSERT INTO things (id, name) VALUES ($1, $2)", args![*id, "thing"]).await
}

async fn count(database: &Database) -> i64 {
    database.fetch_optional("SELECT COUNT(*) AS n FROM things", args![]).await.unwrap().unwrap().get("n").unwrap()
}

#[tokio::test]
async fn values_come_back_as_they_went_in() {
    for case in cases().await {
        let (database, writer) = open(&case.options).await;
        let body = vec![7u8; 1 << 20];
        let written = body.clone();
        database
            .write(written, |body, tx| {
                Box::pin(async move {
                    let sql = "INSERT INTO things (id, name, body, size) VALUES ($1, $2, $3, $4)";
                    tx.execute(sql, args![1, "ä'\"", Value::Null, Value::Null]).await?;
                    tx.execute(sql, args![i64::MAX, String::new(), body.clone(), 5]).await?;
                    tx.execute(sql, args![-3, "x", Vec::<u8>::new(), None::<i64>]).await
                })
            })
            .await
            .unwrap_or_else(|error: Error| panic!("{}: {error:?}", case.name));
        let rows = database.fetch_all("SELECT * FROM things ORDER BY id", args![]).await.unwrap();
        let ids: Vec<i64> = rows.iter().map(|row| row.get("id").unwrap()).collect();
        assert_eq!(ids, [-3, 1, i64::MAX]);
        assert_eq!(rows[0].get::<Option<Vec<u8>>>("body").unwrap(), Some(Vec::new()));
        assert_eq!(rows[1].get::<String>("name").unwrap(), "ä'\"");
        assert_eq!(rows[1].get::<Option<i64>>("size").unwrap(), None);
        assert_eq!(rows[1].get::<Option<Vec<u8>>>("body").unwrap(), None);
        assert_eq!(rows[2].get::<Vec<u8>>("body").unwrap(), body);
        assert_eq!(rows[2].count::<u32>("size").unwrap(), 5);
        let error = rows[2].count::<u32>("id").unwrap_err();
        assert_eq!(error.column, "id");
        assert!(rows[0].get::<i64>("name").is_err());
        assert!(rows[0].get::<i64>("no_such_column").is_err());
        database.close().await;
        writer.await.unwrap();
    }
}

#[tokio::test]
async fn one_bad_write_hurts_nobody() {
    for case in cases().await {
        let (database, writer) = open(&case.options).await;
        let writes = (0..100).map(|n| {
            let id = if n % 10 == 9 { 0 } else { n };
            database.write(id, |id, tx| Box::pin(insert(id, tx)))
        });
        let answers = futures::future::join_all(writes).await;
        for (n, answer) in answers.iter().enumerate() {
            match answer {
                Ok(rows) => assert_eq!(*rows, 1),
                Err(error) => assert!(error.is_unique_violation() && n % 10 == 9, "{}: {n}: {error:?}", case.name),
            }
        }
        assert_eq!(count(&database).await, 90);
        let refused = database
            .write((), |(), tx| {
                Box::pin(async move {
                    insert(&1000, tx).await?;
                    tx.execute("INSERT INTO things (id, name, size) VALUES (1001, 'x', -1)", args![]).await
                })
            })
            .await;
        assert!(refused.is_err_and(|error: Error| error.is_check_violation()), "{}", case.name);
        assert_eq!(count(&database).await, 90, "what failed left nothing behind");
        database.close().await;
        writer.await.unwrap();
        let late = database.write(5000, |id, tx| Box::pin(insert(id, tx))).await;
        assert!(matches!(late, Err(Error::WriterEnded)));
    }
}

#[tokio::test]
async fn waiting_writes_share_a_transaction() {
    for case in cases().await {
        let (database, writer) = Database::open(&case.options).await.unwrap();
        let runs = Arc::new(AtomicU32::new(0));
        let (counted, failing) = (runs.clone(), database.clone());
        let writes = futures::future::join_all((0..50).map(|id| {
            let runs = counted.clone();
            failing.write((id, runs), |(id, runs), tx| {
                Box::pin(async move {
                    runs.fetch_add(1, Ordering::Relaxed);
                    insert(&(id % 49), tx).await
                })
            })
        }));
        // All 50 wait when the writer starts. The last one fails: the half that it is in runs again, and the half of that.
        let ((), answers) = futures::future::join(
            async {
                // The writer's future is polled second: by then the queue is full.
                tokio::task::yield_now().await;
                writer.run().await;
            },
            async {
                let answers = writes.await;
                database.close().await;
                answers
            },
        )
        .await;
        assert_eq!(answers.iter().filter(|answer: &&Result<u64, Error>| answer.is_ok()).count(), 49, "{}", case.name);
        let runs = runs.load(Ordering::Relaxed);
        assert!((100..200).contains(&runs), "{}: {runs}", case.name);
    }
}

/// A thing to be made together with others.
struct Thing {
    id: i64,
    size: Option<i64>,
    calls: Arc<AtomicU32>,
}

const THINGS: &[Given] = &[Given::Integer("id"), Given::Text("name"), Given::Integer("size"), Given::Blob("body")];

impl Together for Thing {
    type Answer = i64;
    type Error = Error;

    async fn write_together(things: &[Self], tx: &mut Tx) -> Result<Vec<i64>, Error> {
        things[0].calls.fetch_add(1, Ordering::Relaxed);
        let rows = things.iter().map(|thing| args![thing.id, "thing", thing.size, vec![7u8; 100]]);
        let sql = "INSERT INTO things (id, name, size, body) SELECT id, name, size, body FROM given";
        let made = tx.execute_given(sql, THINGS, rows).await?;
        assert_eq!(made, things.len() as u64);
        Ok(things.iter().map(|thing| thing.id).collect())
    }
}

#[tokio::test]
async fn writes_of_one_kind_are_made_together_and_fail_apart() {
    for case in cases().await {
        let (database, writer) = Database::open(&case.options).await.unwrap();
        let calls = Arc::new(AtomicU32::new(0));
        let make = |id| {
            // A CHECK refuses what is smaller than nothing.
            let thing = Thing { id, size: (id % 2 == 0).then_some(if id == 70 { -1 } else { id }), calls: calls.clone() };
            database.write_together(thing)
        };
        let alone = database.write(1000, |id, tx| Box::pin(insert(id, tx)));
        let together = futures::future::join_all((0..100).map(make).chain([make(5)]));
        let (answers, alone, ()) = futures::future::join3(
            async {
                let answers = together.await;
                database.close().await;
                answers
            },
            alone,
            writer.run(),
        )
        .await;
        assert_eq!(alone.unwrap_or_else(|error: Error| panic!("{}: {error:?}", case.name)), 1);
        for (id, answer) in (0..).zip(answers) {
            match answer {
                Ok(made) => assert_eq!(made, id),
                Err(error) if id == 70 => assert!(error.is_check_violation(), "{}: {error:?}", case.name),
                Err(error) => assert!(id == 100 && error.is_unique_violation(), "{}: {id}: {error:?}", case.name),
            }
        }
        assert_eq!(count(&database).await, 100, "{}", case.name);
        let calls = calls.load(Ordering::Relaxed);
        assert!((2..40).contains(&calls), "{}: they were made apart: {calls} calls", case.name);
    }
}

#[tokio::test]
async fn any_number_of_rows_goes_into_a_statement() {
    for case in cases().await {
        let (database, writer) = open(&case.options).await;
        let count = 3 * 1024 + 77;
        database
            .write(count, |count, tx| {
                Box::pin(async move {
                    let sql = "INSERT INTO things (id, name, size, body) SELECT id, name, size, body FROM given";
                    let rows = (0..*count).map(|id| {
                        let odd = id % 2 == 1;
                        let name = if odd { format!("{{\"ä\", '{id}'}}") } else { String::new() };
                        args![id, name, odd.then_some(id), if odd { None } else { Some(vec![0, 255, b'\\', b'"']) }]
                    });
                    assert_eq!(tx.execute_given(sql, THINGS, rows).await?, u64::try_from(*count).unwrap());
                    assert_eq!(tx.execute_given(sql, THINGS, Vec::new()).await?, 0);
                    let large = (0..6).map(|id| args![-1 - id, "large", None::<i64>, vec![1u8; 1 << 20]]);
                    assert_eq!(tx.execute_given(sql, THINGS, large).await?, 6);
                    let sql = "UPDATE things SET size = given.size FROM given WHERE things.id = given.id AND things.size IS NULL";
                    let rows = (0..100).map(|id| args![id, "", 9, Value::Null]);
                    assert_eq!(tx.execute_given(sql, THINGS, rows).await?, 50, "the guard counts for each row");
                    let sql = "SELECT things.id, given.name FROM given JOIN things ON things.id = given.id";
                    let rows = (90..5000).map(|id| args![id, format!("row {id}"), 0, Value::Null]);
                    for row in tx.fetch_given(sql, THINGS, rows).await? {
                        assert_eq!(row.get::<String>("name")?, format!("row {}", row.get::<i64>("id")?));
                    }
                    Ok::<_, Error>(())
                })
            })
            .await
            .unwrap_or_else(|error| panic!("{}: {error:?}", case.name));
        let row = database.fetch_optional("SELECT name, size, body FROM things WHERE id = 3001", args![]).await.unwrap().unwrap();
        assert_eq!(row.get::<String>("name").unwrap(), "{\"ä\", '3001'}");
        assert_eq!((row.get::<Option<i64>>("size").unwrap(), row.get::<Option<Vec<u8>>>("body").unwrap()), (Some(3001), None));
        let row = database.fetch_optional("SELECT name, size, body FROM things WHERE id = 3000", args![]).await.unwrap().unwrap();
        assert_eq!((row.get::<String>("name").unwrap(), row.get::<Option<i64>>("size").unwrap()), (String::new(), None));
        assert_eq!(row.get::<Vec<u8>>("body").unwrap(), [0, 255, b'\\', b'"']);
        let wrong: Result<u64, Error> = database
            .write((), |(), tx| {
                let sql = "INSERT INTO things (id, name) SELECT id, name FROM given";
                Box::pin(tx.execute_given(sql, THINGS, vec![args!["no number", "x", 1, Value::Null]]))
            })
            .await;
        assert!(wrong.is_err(), "{}", case.name);
        database.close().await;
        writer.await.unwrap();
    }
}

#[tokio::test]
async fn readers_see_only_what_was_committed_and_write_nothing() {
    for case in cases().await {
        let (database, writer) = open(&case.options).await;
        let refused = database.fetch_all("INSERT INTO things (id, name) VALUES (1, 'x')", args![]).await;
        assert!(refused.is_err(), "{}", case.name);
        let seen: (i64, i64) = database
            .read(database.clone(), |database, tx| {
                Box::pin(async move {
                    let sql = "SELECT COUNT(*) AS n FROM things";
                    let before = tx.fetch_optional(sql, args![]).await?.unwrap().get("n")?;
                    database.write(1, |id, tx| Box::pin(insert(id, tx))).await?;
                    let after = tx.fetch_optional(sql, args![]).await?.unwrap().get("n")?;
                    Ok::<_, Error>((before, after))
                })
            })
            .await
            .unwrap();
        assert_eq!(seen, (0, 0), "{}", case.name);
        assert_eq!(count(&database).await, 1);
        database.close().await;
        writer.await.unwrap();
    }
}

#[tokio::test]
async fn the_schema_goes_forward_only() {
    for mut case in cases().await {
        let (database, writer) = open(&case.options).await;
        database.write(1, |id, tx| Box::pin(insert(id, tx))).await.unwrap();
        database.close().await;
        writer.await.unwrap();
        case.options.migrations = BOTH;
        let (database, writer) = open(&case.options).await;
        assert_eq!(count(&database).await, 1);
        assert!(database.fetch_all("SELECT * FROM others", args![]).await.unwrap().is_empty());
        database.close().await;
        writer.await.unwrap();
        case.options.migrations = FIRST;
        let Err(error) = Database::open(&case.options).await else { panic!("{}: opened a newer schema", case.name) };
        assert!(matches!(error, OpenError::NewerSchema { found: 2, known: 1, .. }), "{error}");
    }
}

#[tokio::test]
async fn the_file_is_private_and_durable() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a/b/test.sqlite");
    let options = Options { location: Location::file(&path), migrations: FIRST, readers: 2 };
    let (database, writer) = open(&options).await;
    database.write(1, |id, tx| Box::pin(insert(id, tx))).await.unwrap();
    let mode = |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(path.parent().unwrap()), 0o700);
    for entry in std::fs::read_dir(path.parent().unwrap()).unwrap() {
        let entry = entry.unwrap().path();
        assert_eq!(mode(&entry), 0o600, "{}", entry.display());
    }
    let settings = database
        .write((), |(), tx| {
            Box::pin(async move {
                let mut settings = Vec::new();
                for (sql, column) in [("PRAGMA synchronous", "synchronous"), ("PRAGMA foreign_keys", "foreign_keys")] {
                    settings.push(tx.fetch_optional(sql, args![]).await?.unwrap().get::<i64>(column)?);
                }
                Ok::<_, Error>(settings)
            })
        })
        .await
        .unwrap();
    assert_eq!(settings, [2, 1]);
    database.close().await;
    writer.await.unwrap();
}

#[tokio::test]
async fn a_broken_connection_is_made_again() {
    let url = fresh_postgres().await;
    let options = Options { location: url.parse().unwrap(), migrations: FIRST, readers: 2 };
    let (database, writer) = open(&options).await;
    database.write(1, |id, tx| Box::pin(insert(id, tx))).await.unwrap();
    let (other, other_writer) = open(&options).await;
    let kill = "SELECT COUNT(pg_terminate_backend(pid)) AS n FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()";
    other
        .write((), move |(), tx| Box::pin(async move { tx.fetch_all(kill, args![]).await }))
        .await
        .map_or_else(|error: Error| panic!("{error:?}"), |rows: Vec<_>| assert_eq!(rows.len(), 1));
    database.write(2, |id, tx| Box::pin(insert(id, tx))).await.unwrap();
    assert_eq!(count(&other).await, 2);
    for (database, writer) in [(database, writer), (other, other_writer)] {
        database.close().await;
        writer.await.unwrap();
    }
}
