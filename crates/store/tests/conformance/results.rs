//! Results in chunks.

use legwork_core::event::{AttemptEvent, ResultBytes};
use legwork_core::task::{Outcome, Refusal};
use legwork_core::{EventNumber, TaskStatus};
use legwork_store::KeptResult;
use legwork_store::confirm::Denied;
use legwork_store::events::EventRefusal;
use legwork_store::results::ChunkAnswer;

use crate::support::{Bed, finished, report};

on_both!(a_result_counts_when_it_is_complete, chunks_are_fenced, an_inline_result_is_read_the_same_way);

async fn a_result_counts_when_it_is_complete(bed: Bed) {
    let runner = bed.runner("remote").await;
    let id = bed.running(runner, |_| {}).await;
    let chunks: Vec<Vec<u8>> = (0u8..3).map(|n| vec![n; 1 << 20]).collect();
    let put = |sequence: u32, last: bool, bytes: Vec<u8>| bed.store.put_result_chunk(id, runner.0, sequence, last, bytes);
    let bytes = 3 << 20;
    let done = || {
        let mut report = report(Outcome::Completed);
        report.result = ResultBytes::Chunked { bytes, chunks: 3 };
        vec![AttemptEvent::Finished(report)]
    };
    assert_eq!(put(2, true, chunks[2].clone()).await.unwrap(), ChunkAnswer::Stored, "any order");
    assert_eq!(put(0, false, chunks[0].clone()).await.unwrap(), ChunkAnswer::Stored);
    let early = bed.send(runner, id, 1, done()).await;
    assert_eq!(early.refused, Some(EventRefusal::ResultIncomplete { chunks: 2, bytes: 2 << 20 }));
    assert_eq!(bed.task(id.task).await.status(), TaskStatus::InProgress);
    assert_eq!(bed.store.result_chunk(id, 0).await.unwrap().map(|_| ()), None, "not a result yet");
    assert_eq!(put(1, false, chunks[1].clone()).await.unwrap(), ChunkAnswer::Stored);
    assert_eq!(put(1, false, chunks[1].clone()).await.unwrap(), ChunkAnswer::Stored, "sent again");
    assert_eq!(put(1, false, chunks[2].clone()).await.unwrap(), ChunkAnswer::Different);
    assert_eq!(bed.send(runner, id, 1, done()).await.through, EventNumber(1));
    let kept = bed.store.attempt(id).await.unwrap().unwrap().result;
    assert_eq!(kept, KeptResult::Chunks { chunks: 3, bytes, inline: false });
    for (sequence, chunk) in (0..).zip(&chunks) {
        let read = bed.store.result_chunk(id, sequence).await.unwrap().unwrap();
        assert!(read.bytes == *chunk && read.last == (sequence == 2));
    }
    assert!(bed.store.result_chunk(id, 3).await.unwrap().is_none());
    assert_eq!(put(2, true, chunks[2].clone()).await.unwrap(), ChunkAnswer::Stored, "its answer was lost");
    let late = put(3, true, vec![1]).await.unwrap();
    assert_eq!(late, ChunkAnswer::Denied(Denied::Refused(Refusal::AlreadyFinished)));
}

async fn chunks_are_fenced(bed: Bed) {
    let (runner, other) = (bed.runner("remote").await, bed.runner("remote").await);
    let id = bed.running(runner, |_| {}).await;
    let superseded = ChunkAnswer::Denied(Denied::Refused(Refusal::Superseded));
    assert_eq!(bed.store.put_result_chunk(id, other.0, 0, true, vec![1]).await.unwrap(), superseded);
    bed.queued(|_| {}).await;
    let offered = bed.offer(runner, &[""], 1).await.remove(0).attempt;
    assert_eq!(bed.store.put_result_chunk(offered, runner.0, 0, true, vec![1]).await.unwrap(), superseded);
    let mut missing = id;
    missing.attempt.0 = 9;
    let answer = bed.store.put_result_chunk(missing, runner.0, 0, true, vec![1]).await.unwrap();
    assert_eq!(answer, ChunkAnswer::Denied(Denied::Missing));
    // A chunk that claims to be the last and is not, makes no complete result.
    bed.store.put_result_chunk(id, runner.0, 0, true, vec![1]).await.unwrap();
    bed.store.put_result_chunk(id, runner.0, 1, false, vec![2]).await.unwrap();
    let mut wrong = report(Outcome::Completed);
    wrong.result = ResultBytes::Chunked { bytes: 2, chunks: 2 };
    let answer = bed.send(runner, id, 1, vec![AttemptEvent::Finished(wrong)]).await;
    assert_eq!(answer.refused, Some(EventRefusal::ResultIncomplete { chunks: 2, bytes: 2 }));
    // The small result that comes inside the report replaces them.
    assert_eq!(bed.send(runner, id, 1, vec![finished(Outcome::Completed)]).await.refused, None);
    assert_eq!(bed.store.result_chunk(id, 0).await.unwrap().unwrap().bytes, b"{\"a\":1}");
    assert!(bed.store.result_chunk(id, 1).await.unwrap().is_none());
}

async fn an_inline_result_is_read_the_same_way(bed: Bed) {
    let runner = bed.runner("remote").await;
    let id = bed.running(runner, |_| {}).await;
    bed.send(runner, id, 1, vec![finished(Outcome::Completed)]).await;
    let chunk = bed.store.result_chunk(id, 0).await.unwrap().unwrap();
    assert!(chunk.last && chunk.bytes == b"{\"a\":1}");
    let id = bed.running(runner, |_| {}).await;
    let mut without = report(Outcome::Completed);
    without.result = ResultBytes::Missing;
    bed.send(runner, id, 1, vec![AttemptEvent::Finished(without)]).await;
    assert_eq!(bed.store.attempt(id).await.unwrap().unwrap().result, KeptResult::None);
    assert!(bed.store.result_chunk(id, 0).await.unwrap().is_none());
}
