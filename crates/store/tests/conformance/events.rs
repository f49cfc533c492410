//! Events: once, in order, result and state together.

use legwork_core::event::{AttemptEvent, LogStream, LogSummary, Phase};
use legwork_core::task::{Outcome, Refusal, TaskState};
use legwork_core::{AttemptNumber, Epoch, EventNumber, FailureClass, TaskId, TaskStatus};
use legwork_store::confirm::Denied;
use legwork_store::events::{EventRefusal, EventsAnswer};
use legwork_store::{Ending, KeptResult};

use crate::support::{Bed, at, attempt, finished};

on_both!(
    events_are_applied_once_and_in_order,
    only_the_runner_of_the_attempt_is_heard,
    failures_are_retried,
    batches_are_judged_apart
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
