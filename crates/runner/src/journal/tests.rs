use legwork_contract::session::SessionKey;
use legwork_core::event::{AttemptEvent, LogStream, LogSummary};
use legwork_core::spec::TaskSpec;
use legwork_core::verdict::StopCause;
use legwork_core::{AttemptNumber, EventNumber, TaskId};

use super::*;

const ATTEMPT: &str = "01a20a04-6783-7662-b925-5e7f33d1a435";

fn attempt() -> AttemptId {
    AttemptId { task: ATTEMPT.parse().unwrap(), attempt: AttemptNumber(2) }
}

fn key() -> Arc<SealingKey> {
    Arc::new(SealingKey::from_bytes([9; 32]))
}

fn work() -> Work {
    Work {
        spec: TaskSpec::new("image:1", "test.Type"),
        session_key: SessionKey::from_bytes([4; 32]),
        input: InputPlace::Inline { json: br#"{"properties":[]}"#.to_vec() },
    }
}

/// Runs something on a journal whose writer runs beside it.
async fn with_journal(file: &Path, run: impl AsyncFnOnce(&Journal)) {
    let (journal, writer) = Journal::open(file, key()).await.unwrap();
    let work = async {
        run(&journal).await;
        journal.close().await;
    };
    tokio::join!(writer.run(), work);
}

fn running() -> Change {
    Change::Running { handle: Handle("legwork-x".to_owned()), started_at: Timestamp::from_millis(7) }
}

async fn fill(journal: &Journal) {
    journal.identity().await.unwrap();
    journal.set_epoch(Epoch(3)).await.unwrap();
    journal.accept(&[(attempt(), &work())], Timestamp::from_millis(5)).await.unwrap();
    journal.change(attempt(), Change::Creating, &[]).await.unwrap();
    journal.change(attempt(), running(), &[AttemptEvent::StatusLine { text: "secret status".to_owned() }]).await.unwrap();
    assert!(journal.add_comment(attempt(), LogStream::Stdout, 17, "secret comment").await.unwrap());
    let point = LogPoint { segment: 1, length: 99, ..LogPoint::default() };
    journal.set_log_point(attempt(), point, &[]).await.unwrap();
    let cause = StopCause::Abort { by: "by admin".to_owned() };
    journal.change(attempt(), Change::Stopping { cause }, &[]).await.unwrap();
}

async fn check(journal: &Journal) {
    assert_eq!(journal.identity().await.unwrap().last_epoch, Epoch(3));
    let records = journal.records().await.unwrap();
    let record = &records[0];
    assert_eq!((records.len(), record.id, record.state), (1, attempt(), AttemptState::Stopping));
    assert_eq!(record.work.spec, work().spec);
    assert_eq!(record.work.session_key.as_bytes(), &[4; 32]);
    assert_eq!(record.stop, Some(StopCause::Abort { by: "by admin".to_owned() }));
    assert_eq!((record.log_point.segment, record.log_point.length), (1, 99));
    assert_eq!((record.handle.as_ref().unwrap().0.as_str(), record.started_at), ("legwork-x", Some(Timestamp::from_millis(7))));
    let waiting = journal.waiting(0, 10).await.unwrap();
    assert_eq!(waiting.iter().map(|(_, event)| event.number.0).collect::<Vec<_>>(), [1, 2]);
    assert!(String::from_utf8_lossy(&waiting[1].1.body).contains("secret comment"));
}

#[tokio::test]
async fn what_was_written_is_there_after_a_restart_and_sealed() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("journal.sqlite");
    with_journal(&file, fill).await;
    with_journal(&file, check).await;
    for entry in std::fs::read_dir(directory.path()).unwrap() {
        // SQLite removes its own files beside the journal when the last connection is closed.
        let Ok(bytes) = std::fs::read(entry.unwrap().path()) else { continue };
        for secret in [b"secret status".as_slice(), b"secret comment", b"image:1", b"by admin"] {
            assert!(!bytes.windows(secret.len()).any(|window| window == secret));
        }
    }
}

/// The first schema, as a runner of that time has left it.
#[tokio::test]
async fn the_first_journal_can_be_opened() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("journal.sqlite");
    std::fs::write(&file, include_bytes!("../../tests/fixtures/journal-0001.sqlite")).unwrap();
    with_journal(&file, check).await;
}

#[tokio::test]
async fn states_are_guarded_and_nothing_is_doubled() {
    let directory = tempfile::tempdir().unwrap();
    with_journal(&directory.path().join("journal.sqlite"), async |journal| {
        fill(journal).await;
        let refused = journal.change(attempt(), running(), &[]).await.unwrap_err();
        assert!(refused.to_string().contains("is stopping in the journal and cannot become running"), "{refused}");
        assert!(!journal.add_comment(attempt(), LogStream::Stdout, 17, "again").await.unwrap());
        let end = [AttemptEvent::LogComplete(LogSummary::default())];
        assert_eq!(journal.change(attempt(), Change::ResultTaken { result_chunks: 1 }, &end).await.unwrap(), 3);
        assert_eq!(journal.change(attempt(), Change::ResultTaken { result_chunks: 1 }, &end).await.unwrap(), 0, "made before");
        journal.acknowledge(vec![(attempt(), EventNumber(2))]).await.unwrap();
        let waiting = journal.waiting(0, 10).await.unwrap();
        assert_eq!((waiting.len(), waiting[0].1.kind), (1, EventKind::LogComplete));
        let other = AttemptId { task: TaskId::new(), attempt: AttemptNumber(1) };
        assert_eq!(journal.add_events(other, &end).await.unwrap(), 0, "a dropped attempt has nothing to say");
        journal.forget(vec![attempt()]).await.unwrap();
        assert!(journal.records().await.unwrap().is_empty() && journal.waiting(0, 10).await.unwrap().is_empty());
    })
    .await;
}
