//! What a runner has, as the server sees it.

use legwork_core::task::{Outcome, TaskState};
use legwork_core::{AttemptNumber, FailureClass, TaskId};
use legwork_store::held::{HeldAttempt, Wanted};
use legwork_store::queue::OfferedInput;

use crate::support::{Bed, at, attempt, finished, new_task};

on_both!(what_a_runner_has_is_told, offers_are_told_again, what_was_taken_away_is_not_wanted);

async fn what_a_runner_has_is_told(bed: Bed) {
    let (runner, other) = (bed.runner("remote").await, bed.runner("remote").await);
    assert_eq!(bed.store.held_attempts(runner.0).await.unwrap(), []);
    let running = bed.running(runner, |_| {}).await;
    let done = bed.running(runner, |_| {}).await;
    bed.send(runner, done, 1, vec![finished(Outcome::Completed)]).await;
    bed.running(other, |_| {}).await;
    bed.queued(|_| {}).await;
    let offered = bed.offer(runner, &[""], 1).await.remove(0).attempt;
    bed.queued(|_| {}).await;
    bed.store.request_abort(running.task, "anna", "enough", at(9)).await.unwrap();
    let held = bed.store.held_attempts(runner.0).await.unwrap();
    let abort = bed.task(running.task).await.abort;
    assert_eq!(abort.as_ref().map(|mark| mark.reason.as_str()), Some("enough"));
    let expected = [HeldAttempt { id: running, offered: false, abort }, HeldAttempt { id: offered, offered: true, abort: None }];
    assert_eq!(held, expected);
}

async fn offers_are_told_again(bed: Bed) {
    let (runner, other) = (bed.runner("remote").await, bed.runner("remote").await);
    let small = bed.queued(|spec| spec.title = "small".into()).await;
    let large = new_task(legwork_core::TaskSpec::new("image", "test.Task"), &vec![b'x'; 3 << 20]);
    let large_id = large.id;
    bed.store.create_task(large, at(0)).await.unwrap();
    let first = bed.offer(runner, &[""], 2).await;
    let ids = [attempt(small, 1), attempt(large_id, 1)];
    let mut again = bed.store.offers_of(runner.0, &ids).await.unwrap();
    again.sort_by_key(|offer| offer.attempt.task);
    assert_eq!(again.iter().map(|offer| offer.attempt).collect::<Vec<_>>(), ids);
    assert_eq!(
        again.iter().map(|offer| &offer.input).collect::<Vec<_>>(),
        first.iter().map(|offer| &offer.input).collect::<Vec<_>>()
    );
    assert_eq!(again[0].input, OfferedInput::Inline(b"{}".to_vec()));
    assert_eq!(again[1].input, OfferedInput::Chunked { bytes: 3 << 20, chunks: 3 });
    assert_eq!((again[0].spec.title.as_str(), again[0].until), ("small", at(1000)));
    assert!(bed.store.offers_of(other.0, &ids).await.unwrap().is_empty(), "they are not this runner's");
    bed.confirm(runner, ids[0]).await;
    let left = bed.store.offers_of(runner.0, &ids).await.unwrap();
    assert_eq!(left.iter().map(|offer| offer.attempt).collect::<Vec<_>>(), [ids[1]], "what runs is no offer any more");
    assert!(bed.store.offers_of(runner.0, &[]).await.unwrap().is_empty());
}

async fn what_was_taken_away_is_not_wanted(bed: Bed) {
    let (runner, other) = (bed.runner("remote").await, bed.runner("remote").await);
    let running = bed.running(runner, |_| {}).await;
    let reported = bed.running(runner, |spec| spec.retries = 1).await;
    bed.send(runner, reported, 1, vec![finished(Outcome::Failed(FailureClass::EngineLost))]).await;
    assert_eq!(bed.task(reported.task).await.state, TaskState::Queued { next: AttemptNumber(2) });
    let second = bed.offer(other, &[""], 1).await.remove(0).attempt;
    bed.queued(|_| {}).await;
    let expired = bed.offer(runner, &[""], 1).await.remove(0).attempt;
    bed.confirm(other, second).await;
    assert_eq!(bed.store.expire_offers(at(2000)).await.unwrap(), [expired]);
    let unknown = attempt(TaskId::new(), 1);
    let asked = [unknown, running, second, reported, expired, attempt(running.task, 2)];
    let wanted = bed.store.wanted(runner.0, &asked).await.unwrap();
    assert_eq!(wanted.iter().map(|(id, _)| *id).collect::<Vec<_>>(), asked);
    let wanted: Vec<_> = wanted.into_iter().map(|(_, wanted)| wanted).collect();
    // What was reported may still have a log to send.
    assert_eq!(wanted, [Wanted::No, Wanted::Yes, Wanted::No, Wanted::Yes, Wanted::No, Wanted::No]);
    assert_eq!(bed.store.wanted(runner.0, &[]).await.unwrap(), []);
}
