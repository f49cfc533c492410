//! Databases of the first schema, as this version made them, open for ever.
//!
//! `UPDATE_FIXTURES=1 cargo test -p legwork-store schema` makes the fixtures again; do so only before a release has them.

use std::path::{Path, PathBuf};
use std::process::Command;

use legwork_core::event::{AttemptEvent, LogContent, LogPiece, LogStream, LogSummary};
use legwork_core::task::Outcome;
use legwork_core::{FailureClass, TaskStatus, TokenId};
use legwork_database::testing::{fresh_postgres, load_postgres};
use legwork_store::list::TaskFilter;
use legwork_store::tokens::{Token, TokenLookup};
use legwork_store::users::{Permissions, User};
use legwork_store::{Location, OpenError, Store, StoreConfig};

use crate::support::{Bed, at, capabilities, finished, open};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

/// Something of everything.
async fn fill(bed: &Bed) {
    let permissions: Permissions = "admin".parse().unwrap();
    let user =
        User { name: "admin".into(), password_hash: "$argon2id$x".into(), permissions: permissions.clone(), created_at: at(0) };
    bed.store.create_user(user).await.unwrap();
    let token = Token {
        id: TokenId::new(),
        owner: "admin".to_owned(),
        note: "fixture".to_owned(),
        permissions,
        created_at: at(0),
        expires_at: None,
        revoked_at: None,
        last_used_at: None,
    };
    bed.store.create_token(token, [7; 32]).await.unwrap();
    let runner = bed.runner("remote,docker").await;
    let done = bed.running(runner, |spec| spec.title = "done".into()).await;
    let piece = LogPiece { stream: LogStream::Stdout, offset: 0, content: LogContent::Bytes(b"hello\n".to_vec()) };
    bed.store.append_log(done, runner.0, vec![piece]).await.unwrap();
    let comment = AttemptEvent::Comment { stream: LogStream::Stdout, offset: 3, text: "a comment".to_owned() };
    let log = AttemptEvent::LogComplete(LogSummary { stdout_bytes: 6, ..LogSummary::default() });
    bed.send(runner, done, 1, vec![comment, finished(Outcome::Completed), log]).await;
    let failed = bed.running(runner, |spec| spec.title = "failed".into()).await;
    bed.send(runner, failed, 1, vec![finished(Outcome::Failed(FailureClass::OomKilled))]).await;
    bed.running(runner, |spec| spec.title = "running".into()).await;
    let aborting = bed.running(runner, |spec| spec.title = "aborting".into()).await;
    bed.store.request_abort(aborting.task, "admin", "enough", at(9)).await.unwrap();
    bed.queued(|spec| spec.title = "offered".into()).await;
    bed.offer(runner, &[""], 1).await;
    bed.queued(|spec| {
        spec.title = "queued".into();
        spec.capabilities = capabilities("gpu");
    })
    .await;
}

async fn look(store: &Store) {
    let page = store.tasks(&TaskFilter::default(), None, 100).await.unwrap();
    let seen: Vec<_> = page.tasks.iter().rev().map(|task| (task.spec.title.as_str(), task.status())).collect();
    let expected = [
        ("done", TaskStatus::Completed),
        ("failed", TaskStatus::Failed),
        ("running", TaskStatus::InProgress),
        ("aborting", TaskStatus::Aborting),
        ("offered", TaskStatus::Pending),
        ("queued", TaskStatus::Pending),
    ];
    assert_eq!(seen, expected);
    let done = page.tasks.last().unwrap();
    let attempt = store.attempts(done.id).await.unwrap().remove(0);
    assert_eq!(attempt.log.unwrap().stdout_bytes, 6);
    assert_eq!(store.result_chunk(attempt.id, 0).await.unwrap().unwrap().bytes, b"{\"a\":1}");
    assert_eq!(store.read_log(attempt.id, None, 0, 100).await.unwrap().len(), 1);
    assert_eq!(store.comments(done.id, None).await.unwrap()[0].text, "a comment");
    assert!(matches!(store.find_token([7; 32], at(5)).await.unwrap(), TokenLookup::Valid(_)));
    assert_eq!(store.runners().await.unwrap()[0].settings.capabilities, capabilities("docker,remote"));
    let input = page.tasks.iter().find(|task| task.spec.title == "offered").unwrap();
    let id = store.attempts(input.id).await.unwrap().remove(0);
    assert_eq!(store.input_chunk(id.id, id.runner, 0).await.unwrap().unwrap(), b"{}");
}

#[tokio::test]
async fn the_first_schema_opens_on_sqlite() {
    let path = fixture("schema-1.sqlite");
    if option_env!("UPDATE_FIXTURES").is_some() {
        let bed = Bed::sqlite().await;
        fill(&bed).await;
        let (location, _directory) = bed.end().await;
        let Location::Sqlite(file) = location else { panic!("it is a file") };
        std::fs::copy(file, &path).unwrap();
    }
    let directory = tempfile::tempdir().unwrap();
    let copy = directory.path().join("copy.sqlite");
    std::fs::copy(&path, &copy).unwrap();
    look(&open(&Location::file(copy)).await.0).await;
}

#[tokio::test]
async fn the_first_schema_opens_on_postgres() {
    let path = fixture("schema-1.sql");
    if option_env!("UPDATE_FIXTURES").is_some() {
        let url = fresh_postgres().await;
        let bed = Bed::at_url(&url).await;
        fill(&bed).await;
        bed.end().await;
        let dump = Command::new("/usr/lib/postgresql/15/bin/pg_dump").args(["--no-owner", "--inserts", &url]).output().unwrap();
        assert!(dump.status.success());
        std::fs::write(&path, dump.stdout).unwrap();
    }
    let url = fresh_postgres().await;
    load_postgres(&url, &std::fs::read_to_string(path).unwrap()).await;
    look(&open(&url.parse().unwrap()).await.0).await;
}

#[tokio::test]
async fn a_newer_schema_is_refused() {
    let bed = Bed::sqlite().await;
    let location = bed.location.clone();
    let newer: Result<u64, legwork_database::Error> = bed
        .raw()
        .await
        .write((), |(), tx| {
            let sql = "INSERT INTO schema_migrations (number, name) VALUES (99, '0099_later')";
            Box::pin(async move { tx.execute(sql, legwork_database::args![]).await })
        })
        .await;
    assert_eq!(newer.unwrap(), 1);
    let sealing_key = legwork_sealing::SealingKey::from_bytes([5; 32]);
    let Err(error) = Store::open(StoreConfig { location, sealing_key }).await else { panic!("it was opened") };
    assert!(matches!(error, OpenError::NewerSchema { found: 99, known: 1, .. }), "{error}");
    assert!(error.to_string().contains("newer version"), "{error}");
}
