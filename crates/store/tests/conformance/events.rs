//! Events: once, in order, result and state together.

use legwork_core::event::{AttemptEvent, LogStream, LogSummary, Phase};
use legwork_core::limits::COMMENTS;
use legwork_core::task::{Outcome, Refusal, TaskState};
use legwork_core::{AttemptNumber, Epoch, EventNumber, FailureClass, TaskId, TaskStatus};
use legwork_store::confirm::Denied;
use legwork_store::events::{EventRefusal, EventsAnswer};
use legwork_store::{Ending, KeptResult};

use crate::support::{Bed, at, attempt, finished, registration};

on_both!(
    events_are_applied_once_and_in_order,
    only_the_runner_of_the_attempt_is_heard,
    failures_are_retried,
    batches_are_judged_apart,
    calls_that_wait_together_are_judged_apart,
    comments_have_a_limit,
);

fn comment(offset: u64, text: &str) -> AttemptEvent {
    AttemptEvent::Comment { stream: LogStream::Stdout, offset, text: text.to_owned() }
}

async fn events_are_applied_once_and_in_order(bed: Bed) {
    let runner = bed.runner("remote").await;
    let id = bed.running(runner, |_| {}).await;
    let phase = |phase| AttemptEvent::Phase { phase, detail: "more".to_owned() };
    let first = vec![phase(Phase::Image), AttemptEvent::StatusLine { text: "half way".to_owned() }, comment(7, "hello")];
    let applied = |through| EventsAnswer { attempt: id, through: EventNumber(through), refused: None };
    assert_eq!(bed.send(runner, id, 1, first.clone()).await, applied(3));
    assert_eq!(bed.send(runner, id, 1, first).await, applied(3), "sent again");
    let gap = bed.send(runner, id, 5, vec![phase(Phase::Running)]).await;
    assert_eq!(gap.refused, Some(EventRefusal::Gap { expected: EventNumber(4) }));
    // Partly known, partly new; a comment of the same marker is the same comment.
    let mixed = vec![comment(7, "hello"), comment(7, "hello"), comment(9, "bye"), phase(Phase::Running)];
    assert_eq!(bed.send(runner, id, 3, mixed).await, applied(6));
    let record = bed.store.attempt(id).await.unwrap().unwrap();
    assert_eq!(record.phase, Some((Phase::Running, "more".to_owned())));
    assert_eq!((record.status_line.as_str(), record.applied), ("half way", EventNumber(6)));
    assert_eq!(bed.send(runner, id, 7, vec![finished(Outcome::Completed)]).await, applied(7));
    assert_eq!(bed.send(runner, id, 7, vec![finished(Outcome::Completed)]).await, applied(7), "the answer was lost");
    let second = bed.send(runner, id, 8, vec![finished(Outcome::Failed(FailureClass::PluginFailed))]).await;
    assert_eq!(second.refused, Some(Denied::Refused(Refusal::AlreadyFinished).into()));
    let log = LogSummary { stdout_bytes: 5, stderr_bytes: 6, dropped_bytes: 0, gaps: 1 };
    assert_eq!(bed.send(runner, id, 8, vec![comment(30, "late"), AttemptEvent::LogComplete(log)]).await, applied(9));
    let record = bed.store.attempt(id).await.unwrap().unwrap();
    assert_eq!(
        (record.outcome, record.ended, record.log),
        (Some(Outcome::Completed), Some((at(50), Ending::Reported)), Some(log))
    );
    assert_eq!(record.result, KeptResult::Chunks { chunks: 1, bytes: 7, inline: true });
    assert_eq!(record.timings[1], ("run".to_owned(), 40));
    let comments = bed.store.comments(id.task, None).await.unwrap();
    assert_eq!(comments.iter().map(|comment| comment.text.as_str()).collect::<Vec<_>>(), ["hello", "bye", "late"]);
    assert_eq!(bed.task(id.task).await.status(), TaskStatus::Completed);
}

async fn only_the_runner_of_the_attempt_is_heard(bed: Bed) {
    let (runner, other) = (bed.runner("remote").await, bed.runner("remote").await);
    let id = bed.running(runner, |_| {}).await;
    let superseded = Some(Denied::Refused(Refusal::Superseded).into());
    assert_eq!(bed.send(other, id, 1, vec![finished(Outcome::Completed)]).await.refused, superseded);
    assert_eq!(bed.send((runner.0, Epoch(9)), id, 1, vec![finished(Outcome::Completed)]).await.refused, superseded);
    let unknown = attempt(TaskId::new(), 1);
    assert_eq!(bed.send(runner, unknown, 1, vec![comment(1, "x")]).await.refused, Some(Denied::Missing.into()));
    // Offered and not confirmed: nothing can have happened yet.
    let waiting = bed.queued(|_| {}).await;
    let offer = bed.offer(runner, &[""], 1).await.remove(0);
    assert_eq!(bed.send(runner, offer.attempt, 1, vec![comment(1, "x")]).await.refused, superseded);
    assert_eq!(bed.send(runner, offer.attempt, 1, vec![finished(Outcome::Completed)]).await.refused, superseded);
    assert_eq!(bed.task(waiting).await.status(), TaskStatus::Pending);
    assert_eq!(bed.task(id.task).await.status(), TaskStatus::InProgress);
}

async fn failures_are_retried(bed: Bed) {
    let runner = bed.runner("remote").await;
    let mut id = bed.running(runner, |spec| spec.retries = 1).await;
    let lost = || finished(Outcome::Failed(FailureClass::EngineLost));
    bed.send(runner, id, 1, vec![lost()]).await;
    let task = bed.task(id.task).await;
    assert_eq!((task.state, task.retried), (TaskState::Queued { next: AttemptNumber(2) }, 1));
    assert_eq!(task.queued_at, at(50));
    let late = bed.send(runner, id, 2, vec![AttemptEvent::LogComplete(LogSummary::default())]).await;
    assert_eq!(late.refused, None, "the attempt has reported itself; the rest of its log is wanted");
    id = bed.offer(runner, &[""], 1).await.remove(0).attempt;
    assert_eq!(id.attempt, AttemptNumber(2));
    bed.confirm(runner, id).await;
    bed.send(runner, id, 1, vec![lost()]).await;
    let task = bed.task(id.task).await;
    assert_eq!(task.state, TaskState::Finished { attempt: Some(id.attempt), outcome: Outcome::Failed(FailureClass::EngineLost) });
    assert_eq!(task.message, "it went wrong");
    // A plugin's own failure is not retried, and nothing is retried that somebody wants to end.
    for (outcome, abort) in [(FailureClass::PluginFailed, false), (FailureClass::EngineLost, true)] {
        let id = bed.running(runner, |spec| spec.retries = 5).await;
        if abort {
            bed.store.request_abort(id.task, "anna", "", at(9)).await.unwrap();
        }
        bed.send(runner, id, 1, vec![finished(Outcome::Failed(outcome))]).await;
        assert_eq!(bed.task(id.task).await.status(), TaskStatus::Failed);
    }
}

async fn batches_are_judged_apart(bed: Bed) {
    let runner = bed.runner("remote").await;
    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.push(bed.running(runner, |_| {}).await);
    }
    let done = || finished(Outcome::Completed);
    let events = vec![
        (ids[0], EventNumber(1), comment(1, "a")),
        (ids[1], EventNumber(2), done()),
        (ids[0], EventNumber(2), done()),
        (ids[2], EventNumber(1), done()),
    ];
    let answers = bed.store.apply_events(runner.0, runner.1, events, at(50)).await.unwrap();
    assert_eq!(answers.len(), 3);
    assert_eq!((answers[0].through, answers[0].refused), (EventNumber(2), None));
    assert_eq!(answers[1].refused, Some(EventRefusal::Gap { expected: EventNumber(1) }));
    assert_eq!((answers[2].through, answers[2].refused), (EventNumber(1), None));
    assert_eq!(bed.task(ids[1].task).await.status(), TaskStatus::InProgress);
    assert_eq!(bed.task(ids[2].task).await.status(), TaskStatus::Completed);
}

async fn calls_that_wait_together_are_judged_apart(bed: Bed) {
    let (first, second) = (bed.runner("remote").await, bed.runner("remote").await);
    let mut ids = Vec::new();
    for n in 0..20 {
        ids.push(bed.running(if n % 2 == 0 { first } else { second }, |spec| spec.retries = 1).await);
    }
    // The first runner starts again while its old process still sends.
    let mut again = registration(first.0, "remote");
    again.last_epoch = Some(first.1);
    bed.store.register_runner(again, at(3)).await.unwrap();
    let new = Epoch(first.1.0 + 1);
    let done =
        |attempt| vec![(attempt, EventNumber(1), comment(1, "a")), (attempt, EventNumber(2), finished(Outcome::Completed))];
    let lost = |attempt| vec![(attempt, EventNumber(1), finished(Outcome::Failed(FailureClass::EngineLost)))];
    let log = |attempt| vec![(attempt, EventNumber(3), AttemptEvent::LogComplete(LogSummary::default()))];
    let calls = vec![
        (first.0, first.1, done(ids[0])),
        (first.0, new, done(ids[0])),
        (second.0, second.1, [done(ids[1]), done(ids[2]), done(ids[3])].concat()),
        (first.0, new, lost(ids[4])),
        (first.0, new, done(ids[0])),
        (first.0, new, log(ids[0])),
        (first.0, new, log(ids[6])),
        (second.0, second.1, done(attempt(TaskId::new(), 1))),
        (first.0, new, [lost(ids[4]), done(ids[8])].concat()),
    ];
    let calls = calls.into_iter().map(|(runner, epoch, events)| bed.store.apply_events(runner, epoch, events, at(50)));
    let answers: Vec<Vec<EventsAnswer>> =
        futures::future::join_all(calls).await.into_iter().map(|answer| answer.unwrap()).collect();
    let superseded = Some(EventRefusal::from(Denied::Refused(Refusal::Superseded)));
    let gap = Some(EventRefusal::Gap { expected: EventNumber(1) });
    let expected = [
        vec![(ids[0], 0, superseded)],
        vec![(ids[0], 2, None)],
        vec![(ids[1], 2, None), (ids[2], 0, superseded), (ids[3], 2, None)],
        vec![(ids[4], 1, None)],
        vec![(ids[0], 2, None)],
        vec![(ids[0], 3, None)],
        vec![(ids[6], 0, gap)],
        vec![(answers[7][0].attempt, 0, Some(Denied::Missing.into()))],
        vec![(ids[4], 1, None), (ids[8], 2, None)],
    ];
    for (call, (answers, expected)) in answers.iter().zip(&expected).enumerate() {
        let answers: Vec<_> = answers.iter().map(|answer| (answer.attempt, answer.through.0, answer.refused)).collect();
        assert_eq!(&answers, expected, "call {call}");
    }
    for (place, id) in ids.iter().enumerate() {
        let expected = match place {
            0 | 1 | 3 | 8 => TaskStatus::Completed,
            4 => TaskStatus::Pending,
            _ => TaskStatus::InProgress,
        };
        assert_eq!(bed.task(id.task).await.status(), expected, "{place}");
        let comments = bed.store.comments(id.task, None).await.unwrap().len();
        assert_eq!(comments, usize::from(expected == TaskStatus::Completed), "{place}");
    }
    let record = bed.store.attempt(ids[0]).await.unwrap().unwrap();
    assert_eq!(
        (record.applied, record.log, record.outcome),
        (EventNumber(3), Some(LogSummary::default()), Some(Outcome::Completed))
    );
    assert_eq!(bed.store.result_chunk(ids[3], 0).await.unwrap().unwrap().bytes, b"{\"a\":1}");
    assert!(bed.store.result_chunk(ids[2], 0).await.unwrap().is_none());
}

async fn comments_have_a_limit(bed: Bed) {
    let runner = bed.runner("remote").await;
    let (id, other) = (bed.running(runner, |_| {}).await, bed.running(runner, |_| {}).await);
    let most = u64::from(COMMENTS);
    let comments = |from: u64, to: u64| (from..to).map(|n| comment(n, &format!("comment {n}"))).collect::<Vec<_>>();
    assert_eq!(bed.send(runner, id, 1, comments(0, most - 2)).await.through, EventNumber(most - 2));
    // Two more, among some that are known; what is over the limit is passed over, and the events after it count.
    let mut events = comments(most - 4, most + 3);
    events.push(finished(Outcome::Completed));
    let count = events.len() as u64;
    assert_eq!(bed.send(runner, id, most - 1, events).await.through, EventNumber(most - 2 + count));
    assert_eq!(bed.send(runner, other, 1, comments(0, 1)).await.refused, None);
    let stored = bed.store.comments(id.task, None).await.unwrap();
    let expected: Vec<String> = (0..most).map(|n| format!("comment {n}")).collect();
    assert_eq!(stored.iter().map(|comment| comment.text.as_str()).collect::<Vec<_>>(), expected);
    assert_eq!(bed.task(id.task).await.status(), TaskStatus::Completed);
    assert_eq!(bed.store.comments(other.task, None).await.unwrap().len(), 1, "each attempt has its own");
}
