//! Making, listing, aborting and retrying tasks.

use std::time::Duration;

use legwork_core::task::{Outcome, TaskState};
use legwork_core::{AttemptNumber, FailureClass, TaskId, TaskSpec, TaskStatus};
use legwork_store::Ending;
use legwork_store::control::{Abort, Retry};
use legwork_store::list::TaskFilter;
use legwork_store::queue::OfferedInput;
use legwork_store::tasks::{Creation, IdempotencyKey};

use crate::support::{Bed, at, attempt, capabilities, finished, new_task};

on_both!(
    a_task_comes_back_as_it_was_made,
    a_key_makes_one_task,
    tasks_made_together_are_judged_apart,
    abort_ends_or_marks,
    retry_makes_a_new_attempt,
    lists_are_filtered_and_paged,
);

fn key(text: &str, body: u8) -> IdempotencyKey {
    IdempotencyKey { key: text.to_owned(), body_hash: [body; 32] }
}

async fn a_task_comes_back_as_it_was_made(bed: Bed) {
    let mut spec = TaskSpec::new("registry/image:1", "demo.Greet");
    spec.title = "Größe 'ändern' %".into();
    spec.capabilities = capabilities("remote,gpu");
    spec.queue_timeout = Some(Duration::from_secs(9));
    spec.priority = -3;
    spec.outputs = ["greeting".to_owned()].into();
    let input = vec![b'x'; 3 * 1024 * 1024 + 5];
    let task = new_task(spec.clone(), &input);
    let id = task.id;
    assert_eq!(bed.store.create_task(task, at(7)).await.unwrap(), Creation::Created);
    let task = bed.task(id).await;
    assert_eq!((task.status(), task.attempt(), task.created_at), (TaskStatus::Pending, None, at(7)));
    assert_eq!((task.spec, task.state), (spec, TaskState::Queued { next: AttemptNumber::FIRST }));
    assert_eq!(bed.store.task(TaskId::new()).await.unwrap(), None);

    let runner = bed.runner("remote,gpu").await;
    let offers = bed.offer(runner, &["gpu,remote"], 5).await;
    assert_eq!(offers[0].input, OfferedInput::Chunked { bytes: input.len() as u64, chunks: 4 });
    let mut read = Vec::new();
    for sequence in 0..4 {
        read.extend(bed.store.input_chunk(offers[0].attempt, runner.0, sequence).await.unwrap().unwrap());
    }
    assert!(read == input);
    assert_eq!(bed.store.input_chunk(offers[0].attempt, runner.0, 4).await.unwrap(), None);
    let other = bed.runner("remote").await;
    assert_eq!(bed.store.input_chunk(offers[0].attempt, other.0, 0).await.unwrap(), None, "not this runner's task");
    assert_eq!(bed.store.input_chunk(attempt(id, 2), runner.0, 0).await.unwrap(), None, "not the current attempt");
}

async fn a_key_makes_one_task(bed: Bed) {
    let make = |idempotency| {
        let mut task = new_task(TaskSpec::new("i", "t"), b"{}");
        task.idempotency = Some(idempotency);
        task
    };
    let first = make(key("k", 1));
    let id = first.id;
    assert_eq!(bed.store.create_task(first, at(0)).await.unwrap(), Creation::Created);
    assert_eq!(bed.store.create_task(make(key("k", 1)), at(1)).await.unwrap(), Creation::AlreadyCreated(id));
    assert_eq!(bed.store.create_task(make(key("k", 2)), at(1)).await.unwrap(), Creation::KeyUsedForOther);
    let mut other_user = make(key("k", 2));
    other_user.created_by = "otto".into();
    assert_eq!(bed.store.create_task(other_user, at(1)).await.unwrap(), Creation::Created);
    let day = 24 * 3_600_000;
    assert_eq!(bed.store.create_task(make(key("k", 1)), at(day)).await.unwrap(), Creation::AlreadyCreated(id));
    assert_eq!(bed.store.create_task(make(key("k", 2)), at(day + 1)).await.unwrap(), Creation::Created, "forgotten after a day");
    assert_eq!(bed.store.clean_idempotency_keys(at(day + 2)).await.unwrap(), 1);
    let together = (0..20).map(|_| bed.store.create_task(make(key("same", 1)), at(0)));
    let answers = futures::future::join_all(together).await;
    let created = answers.iter().filter(|answer| matches!(answer, Ok(Creation::Created))).count();
    assert_eq!(created, 1, "{answers:?}");
}

async fn tasks_made_together_are_judged_apart(bed: Bed) {
    let mut tasks: Vec<_> = (0..100u8).map(|n| new_task(TaskSpec::new("i", format!("t{n}")), &[b'x'; 10])).collect();
    // The same key three times, twice for the same body; the same key of another user; a key of its own.
    for (place, owner, idempotency) in [
        (10, "anna", key("k", 1)),
        (20, "anna", key("k", 2)),
        (30, "anna", key("k", 1)),
        (40, "otto", key("k", 2)),
        (50, "anna", key("l", 2)),
    ] {
        owner.clone_into(&mut tasks[place].created_by);
        tasks[place].idempotency = Some(idempotency);
    }
    // One that cannot be made, because there is one of this identity, and its key is not used up by that.
    tasks[60].id = tasks[5].id;
    tasks[60].idempotency = Some(key("m", 1));
    tasks[70].spec.title = "Größe '70'".into();
    tasks[70].input = vec![b'y'; 3 << 20];
    let ids: Vec<TaskId> = tasks.iter().map(|task| task.id).collect();
    let answers = futures::future::join_all(tasks.into_iter().map(|task| bed.store.create_task(task, at(0)))).await;
    for (place, answer) in answers.into_iter().enumerate() {
        match place {
            20 => assert_eq!(answer.unwrap(), Creation::KeyUsedForOther),
            30 => assert_eq!(answer.unwrap(), Creation::AlreadyCreated(ids[10])),
            60 => assert!(answer.is_err(), "{answer:?}"),
            _ => assert_eq!(answer.unwrap(), Creation::Created, "{place}"),
        }
    }
    for (place, id) in ids.iter().enumerate() {
        let task = bed.store.task(*id).await.unwrap();
        match place {
            20 | 30 => assert_eq!(task, None),
            60 => assert_eq!(task.unwrap().spec.task_type, "t5"),
            _ => assert_eq!(task.unwrap().spec.task_type, format!("t{place}")),
        }
    }
    assert_eq!(bed.task(ids[70]).await.spec.title, "Größe '70'");
    assert!(bed.store.input(ids[70]).await.unwrap() == Some(vec![b'y'; 3 << 20]));
    let mut again = new_task(TaskSpec::new("i", "t"), b"{}");
    again.idempotency = Some(key("m", 2));
    assert_eq!(bed.store.create_task(again, at(1)).await.unwrap(), Creation::Created);
}

async fn abort_ends_or_marks(bed: Bed) {
    let runner = bed.runner("remote").await;
    let aborted = |attempt| TaskState::Finished { attempt, outcome: Outcome::Failed(FailureClass::Aborted) };

    let queued = bed.queued(|_| {}).await;
    assert_eq!(bed.store.request_abort(queued, "anna", "why not", at(9)).await.unwrap(), Abort::Finished);
    let task = bed.task(queued).await;
    assert_eq!((task.state, task.finished_at), (aborted(None), Some(at(9))));
    assert_eq!(task.message, "aborted by anna before it ran: why not");
    assert_eq!(bed.store.request_abort(queued, "anna", "", at(9)).await.unwrap(), Abort::AlreadyFinished);

    let offered = bed.queued(|_| {}).await;
    let offer = bed.offer(runner, &[""], 1).await.remove(0);
    assert_eq!(bed.store.request_abort(offered, "anna", "", at(9)).await.unwrap(), Abort::Finished);
    assert_eq!(bed.task(offered).await.state, aborted(Some(AttemptNumber(1))));
    assert_eq!(bed.store.attempts(offered).await.unwrap()[0].ended, Some((at(9), Ending::AbortedBeforeStart)));
    let answers = bed.store.confirm(&[offer.attempt], runner.0, runner.1, at(10)).await.unwrap();
    assert!(answers[0].1.is_err());

    let running = bed.running(runner, |_| {}).await;
    let marked = bed.store.request_abort(running.task, "anna", "enough", at(9)).await.unwrap();
    assert_eq!(marked, Abort::Marked { attempt: running, runner: runner.0 });
    let task = bed.task(running.task).await;
    assert_eq!((task.status(), task.abort.unwrap().reason), (TaskStatus::Aborting, "enough".to_owned()));
    let again = bed.store.request_abort(running.task, "otto", "me too", at(10)).await.unwrap();
    assert_eq!(again, Abort::AlreadyMarked { attempt: running, runner: runner.0 });
    assert_eq!(bed.task(running.task).await.abort.unwrap().by, "anna", "the first one stays");
    bed.send(runner, running, 1, vec![finished(Outcome::Failed(FailureClass::Aborted))]).await;
    let task = bed.task(running.task).await;
    assert_eq!((task.status(), task.abort.unwrap().by), (TaskStatus::Failed, "anna".to_owned()));
    assert_eq!(bed.store.request_abort(TaskId::new(), "anna", "", at(9)).await.unwrap(), Abort::Missing);
    let trail = bed.store.audit(Some(&format!("task {}", running.task)), None, 10).await.unwrap();
    assert_eq!(trail.iter().map(|entry| entry.action.as_str()).collect::<Vec<_>>(), ["task.abort"]);
}

async fn retry_makes_a_new_attempt(bed: Bed) {
    let runner = bed.runner("remote").await;
    let first = bed.running(runner, |spec| spec.queue_timeout = Some(Duration::from_secs(1))).await;
    let task = first.task;
    assert_eq!(bed.store.retry_task(task, "anna", Some(key("r", 1)), at(60)).await.unwrap(), Retry::NotFinished);
    bed.store.request_abort(task, "anna", "", at(40)).await.unwrap();
    bed.send(runner, first, 1, vec![finished(Outcome::Failed(FailureClass::Aborted))]).await;
    let next = AttemptNumber(2);
    assert_eq!(bed.store.retry_task(task, "anna", Some(key("r", 1)), at(60)).await.unwrap(), Retry::Queued { next });
    assert_eq!(bed.store.retry_task(task, "anna", Some(key("r", 1)), at(61)).await.unwrap(), Retry::AlreadyDone);
    assert_eq!(bed.store.retry_task(task, "anna", Some(key("r", 2)), at(61)).await.unwrap(), Retry::KeyUsedForOther);
    let queued = bed.task(task).await;
    assert_eq!((queued.state, queued.abort, queued.message.as_str()), (TaskState::Queued { next }, None, ""));
    assert_eq!((queued.queued_at, queued.finished_at), (at(60), None));
    assert_eq!(bed.store.next_deadline().await.unwrap(), Some(at(1060)), "it waits anew");
    let offer = bed.offer(runner, &[""], 1).await.remove(0);
    assert_eq!(offer.attempt, attempt(task, 2));
    assert_eq!(offer.input, OfferedInput::Inline(b"{}".to_vec()));
    bed.confirm(runner, offer.attempt).await;
    bed.send(runner, offer.attempt, 1, vec![finished(Outcome::Completed)]).await;
    assert_eq!(bed.task(task).await.status(), TaskStatus::Completed);
    let history = bed.store.attempts(task).await.unwrap();
    let outcomes: Vec<_> = history.iter().map(|attempt| attempt.outcome.unwrap()).collect();
    assert_eq!(outcomes, [Outcome::Failed(FailureClass::Aborted), Outcome::Completed]);
    assert_eq!(bed.store.retry_task(TaskId::new(), "anna", None, at(61)).await.unwrap(), Retry::Missing);
}

async fn lists_are_filtered_and_paged(bed: Bed) {
    let runner = bed.runner("remote").await;
    let done = bed.running(runner, |spec| spec.title = "Alpha_1 100%".into()).await;
    bed.send(runner, done, 1, vec![finished(Outcome::Completed)]).await;
    let running = bed.running(runner, |spec| spec.image = "other".into()).await;
    let aborting = bed.running(runner, |spec| spec.task_type = "x.Y".into()).await;
    bed.store.request_abort(aborting.task, "anna", "", at(5)).await.unwrap();
    let pending = bed.queued(|spec| spec.capabilities = capabilities("gpu,remote")).await;
    let store = &bed.store;
    let ids = |filter: TaskFilter| async move {
        let page = store.tasks(&filter, None, 100).await.unwrap();
        assert_eq!(page.next, None);
        page.tasks.into_iter().map(|task| task.id).collect::<Vec<_>>()
    };
    assert_eq!(ids(TaskFilter::default()).await, [pending, aborting.task, running.task, done.task]);
    for (status, expected) in [
        (TaskStatus::Pending, vec![pending]),
        (TaskStatus::InProgress, vec![running.task]),
        (TaskStatus::Aborting, vec![aborting.task]),
        (TaskStatus::Completed, vec![done.task]),
        (TaskStatus::Failed, vec![]),
    ] {
        assert_eq!(ids(TaskFilter { statuses: vec![status], ..TaskFilter::default() }).await, expected, "{status}");
    }
    let statuses = vec![TaskStatus::Pending, TaskStatus::Completed];
    assert_eq!(ids(TaskFilter { statuses, ..TaskFilter::default() }).await, [pending, done.task]);
    assert_eq!(ids(TaskFilter { image: Some("other".into()), ..TaskFilter::default() }).await, [running.task]);
    assert_eq!(ids(TaskFilter { task_type: Some("x.Y".into()), ..TaskFilter::default() }).await, [aborting.task]);
    for (text, found) in [("alpha_1", true), ("100%", true), ("alphaX1", false), ("lpha_1 1", true), ("%", true), ("!", false)] {
        let expected = if found { vec![done.task] } else { vec![] };
        assert_eq!(ids(TaskFilter { text: Some(text.into()), ..TaskFilter::default() }).await, expected, "{text}");
    }
    for (label, found) in [("gpu", true), ("remote", true), ("gp", false), ("g_u", false)] {
        let expected = if found { vec![pending] } else { vec![] };
        let capability = Some(label.parse().unwrap());
        assert_eq!(ids(TaskFilter { capability, ..TaskFilter::default() }).await, expected, "{label}");
    }
    let at_runner = ids(TaskFilter { runner: Some(runner.0), ..TaskFilter::default() }).await;
    assert_eq!(at_runner, [aborting.task, running.task, done.task]);
    assert!(ids(TaskFilter { created_from: Some(at(1)), ..TaskFilter::default() }).await.is_empty());
    assert_eq!(ids(TaskFilter { created_before: Some(at(1)), ..TaskFilter::default() }).await.len(), 4);
    let mut all = Vec::new();
    let mut after = None;
    loop {
        let page = store.tasks(&TaskFilter::default(), after, 3).await.unwrap();
        all.extend(page.tasks.iter().map(|task| task.id));
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(all, [pending, aborting.task, running.task, done.task]);
}
