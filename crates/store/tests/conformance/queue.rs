//! Offers, confirmations, deadlines and lost runners.

use std::collections::HashSet;
use std::time::Duration;

use legwork_core::spec::LostRunnerPolicy;
use legwork_core::task::{Outcome, Refusal, TaskState};
use legwork_core::{AttemptNumber, Capabilities, Epoch, FailureClass, RunnerId, TaskStatus};
use legwork_store::Ending;
use legwork_store::confirm::Denied;
use legwork_store::queue::UsedSlots;

use crate::support::{Bed, at, attempt, capabilities, finished, registration};

on_both!(
    the_best_task_goes_first,
    groups_are_counted,
    nobody_gets_what_another_has,
    an_offer_that_is_not_confirmed_comes_back,
    confirmations_are_fenced,
    slots_are_counted,
    who_waits_too_long_fails,
    lost_runners_lose_what_their_tasks_say,
);

async fn the_best_task_goes_first(bed: Bed) {
    let runner = bed.runner("remote,gpu").await;
    let old = bed.queued(|_| {}).await;
    let urgent = bed.queued(|spec| {
        spec.priority = 5;
        spec.capabilities = capabilities("gpu");
    });
    let urgent = urgent.await;
    let young = bed.queued(|_| {}).await;
    let low = bed.queued(|spec| spec.priority = -1).await;
    let _other = bed.queued(|spec| spec.capabilities = capabilities("arm")).await;
    assert_eq!(bed.store.tasks_ahead(old).await.unwrap(), 0);
    assert_eq!(bed.store.tasks_ahead(low).await.unwrap(), 2);
    let offers = bed.offer(runner, &["", "gpu"], 3).await;
    let given: Vec<_> = offers.iter().map(|offer| offer.attempt.task).collect();
    assert_eq!(given, [urgent, old, young]);
    let offers = bed.offer(runner, &["gpu", ""], 3).await;
    let given: Vec<_> = offers.iter().map(|offer| offer.attempt.task).collect();
    assert_eq!(given, [low]);
    assert!(bed.offer(runner, &["gpu", ""], 3).await.is_empty());
    assert!(bed.offer(runner, &[], 3).await.is_empty());
}

async fn groups_are_counted(bed: Bed) {
    assert!(bed.store.queued_groups().await.unwrap().is_empty());
    for required in ["", "gpu", "gpu", "arm,gpu", "", ""] {
        bed.queued(|spec| spec.capabilities = capabilities(required)).await;
    }
    let mut groups: Vec<_> =
        bed.store.queued_groups().await.unwrap().into_iter().map(|group| (group.required.to_string(), group.tasks)).collect();
    groups.sort();
    assert_eq!(groups, [(String::new(), 3), ("arm,gpu".to_owned(), 1), ("gpu".to_owned(), 2)]);
}

async fn nobody_gets_what_another_has(bed: Bed) {
    for _ in 0..200 {
        bed.queued(|_| {}).await;
    }
    let mut claimers = Vec::new();
    for _ in 0..16 {
        let runner = bed.runner("remote").await;
        let store = bed.store.clone();
        claimers.push(async move {
            let mut got = Vec::new();
            loop {
                let offers = store.offer_tasks(runner.0, runner.1, &[Capabilities::default()], 3, at(1), at(1000)).await.unwrap();
                if offers.is_empty() {
                    return got;
                }
                got.extend(offers.into_iter().map(|offer| offer.attempt.task));
            }
        });
    }
    let got: Vec<_> = futures::future::join_all(claimers).await.into_iter().flatten().collect();
    assert_eq!(got.len(), 200);
    assert_eq!(got.iter().collect::<HashSet<_>>().len(), 200);
}

async fn an_offer_that_is_not_confirmed_comes_back(bed: Bed) {
    let runner = bed.runner("remote").await;
    let task = bed.queued(|spec| spec.queue_timeout = Some(Duration::from_secs(3600))).await;
    let offer = bed.offer(runner, &[""], 1).await.remove(0);
    assert_eq!(bed.store.next_deadline().await.unwrap(), Some(at(1001)));
    assert!(bed.store.expire_offers(at(1000)).await.unwrap().is_empty(), "the last moment still counts");
    assert_eq!(bed.store.expire_offers(at(1001)).await.unwrap(), [offer.attempt]);
    assert!(bed.store.expire_offers(at(1001)).await.unwrap().is_empty());
    let queued = bed.task(task).await;
    assert_eq!((queued.state, queued.queued_at), (TaskState::Queued { next: AttemptNumber(2) }, at(0)));
    assert_eq!(bed.store.next_deadline().await.unwrap(), Some(at(3_600_000)), "the wait for a runner goes on");
    let history = bed.store.attempts(task).await.unwrap();
    assert_eq!(history[0].ended, Some((at(1001), Ending::OfferExpired)));
    let late = bed.store.confirm(&[offer.attempt], runner.0, runner.1, at(1002)).await.unwrap();
    assert_eq!(late, [(offer.attempt, Err(Denied::Refused(Refusal::OfferExpired)))]);
    let again = bed.offer(runner, &[""], 1).await.remove(0);
    assert_eq!(again.attempt, attempt(task, 2));
}

async fn confirmations_are_fenced(bed: Bed) {
    let (runner, other) = (bed.runner("remote").await, bed.runner("remote").await);
    for _ in 0..3 {
        bed.queued(|_| {}).await;
    }
    let offers: Vec<_> = bed.offer(runner, &[""], 3).await.into_iter().map(|offer| offer.attempt).collect();
    let confirm = |attempts: Vec<_>, who: RunnerId, epoch: Epoch, now| {
        let store = bed.store.clone();
        async move {
            let answers = store.confirm(&attempts, who, epoch, at(now)).await.unwrap();
            answers.into_iter().map(|(_, answer)| answer).collect::<Vec<_>>()
        }
    };
    let superseded = Err(Denied::Refused(Refusal::Superseded));
    assert_eq!(confirm(vec![offers[0]], other.0, other.1, 2).await, [superseded]);
    assert_eq!(confirm(vec![offers[0]], runner.0, Epoch(9), 2).await, [superseded]);
    let wrong = attempt(offers[0].task, 7);
    let missing = attempt(legwork_core::TaskId::new(), 1);
    let mixed = confirm(vec![offers[0], wrong, missing, offers[1], offers[0]], runner.0, runner.1, 2).await;
    assert_eq!(mixed, [Ok(()), superseded, Err(Denied::Missing), Ok(()), Ok(())]);
    assert_eq!(confirm(vec![offers[0]], runner.0, runner.1, 99_999).await, [Ok(())], "a confirmation never expires");
    assert_eq!(
        confirm(vec![offers[2]], runner.0, runner.1, 1001).await,
        [Err(Denied::Refused(Refusal::OfferExpired))],
        "also before anybody looked for expired offers"
    );
    assert_eq!(bed.task(offers[0].task).await.status(), TaskStatus::InProgress);
    assert_eq!(bed.store.attempts(offers[0].task).await.unwrap()[0].confirmed_at, Some(at(2)));
    // The runner starts again: what it has confirmed stays its own, and it confirms with its new epoch.
    let mut again = registration(runner.0, "remote");
    again.last_epoch = Some(runner.1);
    bed.store.register_runner(again, at(3)).await.unwrap();
    assert_eq!(confirm(vec![offers[0]], runner.0, runner.1, 4).await, [superseded], "the process before");
    assert_eq!(confirm(vec![offers[0]], runner.0, Epoch(runner.1.0 + 1), 4).await, [Ok(())]);
}

async fn slots_are_counted(bed: Bed) {
    let (runner, idle) = (bed.runner("remote,remote-script").await, bed.runner("remote").await);
    for script in [true, false, false] {
        bed.queued(|spec| spec.capabilities = capabilities(if script { "remote-script" } else { "" })).await;
    }
    let offers = bed.offer(runner, &["", "remote-script"], 3).await;
    bed.confirm(runner, offers[1].attempt).await;
    let slots = bed.store.used_slots().await.unwrap();
    assert_eq!(slots.get(&runner.0), Some(&UsedSlots { used: 3, by_scripts: 1 }));
    assert_eq!(slots.get(&idle.0), None);
    bed.send(runner, offers[1].attempt, 1, vec![finished(Outcome::Completed)]).await;
    bed.store.expire_offers(at(5000)).await.unwrap();
    assert!(bed.store.used_slots().await.unwrap().is_empty());
}

async fn who_waits_too_long_fails(bed: Bed) {
    let patient = bed.queued(|_| {}).await;
    let hasty = bed.queued(|spec| spec.queue_timeout = Some(Duration::from_secs(2))).await;
    assert_eq!(bed.store.next_deadline().await.unwrap(), Some(at(2000)));
    assert!(bed.store.fail_overdue_queued(at(1999)).await.unwrap().is_empty());
    assert_eq!(bed.store.fail_overdue_queued(at(2000)).await.unwrap(), [hasty]);
    let task = bed.task(hasty).await;
    assert_eq!(task.state, TaskState::Finished { attempt: None, outcome: Outcome::Failed(FailureClass::TimedOut) });
    assert!(task.message.contains("queue timeout of 2 s"), "{}", task.message);
    assert_eq!(bed.task(patient).await.status(), TaskStatus::Pending);
    assert_eq!(bed.store.next_deadline().await.unwrap(), None);
}

async fn lost_runners_lose_what_their_tasks_say(bed: Bed) {
    let (runner, alive) = (bed.runner("remote").await, bed.runner("remote").await);
    let after = Duration::from_secs(60);
    let waiting = bed.running(runner, |_| {}).await;
    let failing = bed.running(runner, |spec| spec.lost_runner = LostRunnerPolicy::Fail { after }).await;
    let moving = bed.running(runner, |spec| spec.lost_runner = LostRunnerPolicy::RunElsewhere { after }).await;
    let unwanted = bed.running(runner, |spec| spec.lost_runner = LostRunnerPolicy::RunElsewhere { after }).await;
    let elsewhere = bed.running(alive, |spec| spec.lost_runner = LostRunnerPolicy::Fail { after }).await;
    bed.store.request_abort(unwanted.task, "anna", "", at(3)).await.unwrap();
    let apply = |seconds| {
        let store = bed.store.clone();
        async move { store.apply_lost_runner(&[(runner.0, Duration::from_secs(seconds))], at(90_000)).await.unwrap() }
    };
    assert!(apply(59).await.is_empty());
    let taken: HashSet<_> = apply(60).await.into_iter().collect();
    assert_eq!(taken, HashSet::from([failing, moving, unwanted]));
    assert_eq!(bed.task(waiting.task).await.status(), TaskStatus::InProgress);
    assert_eq!(bed.task(elsewhere.task).await.status(), TaskStatus::InProgress);
    let ended = |class| TaskState::Finished { attempt: Some(AttemptNumber(1)), outcome: Outcome::Failed(class) };
    assert_eq!(bed.task(failing.task).await.state, ended(FailureClass::RunnerLost));
    assert_eq!(bed.task(unwanted.task).await.state, ended(FailureClass::Aborted), "nobody wants it run elsewhere");
    assert_eq!(bed.task(moving.task).await.state, TaskState::Queued { next: AttemptNumber(2) });
    assert_eq!(bed.store.attempts(moving.task).await.unwrap()[0].ended.unwrap().1, Ending::RunnerLost);
    // The runner comes back: what it reports of the attempt is refused and recorded.
    let answer = bed.send(runner, moving, 1, vec![finished(Outcome::Completed)]).await;
    assert_eq!(answer.refused, Some(Denied::Refused(Refusal::Superseded).into()));
    let trail = bed.store.audit(Some(&format!("task {}", moving.task)), None, 10).await.unwrap();
    assert_eq!(trail[0].action, "task.late-result");
    assert!(trail[0].actor.contains(&runner.0.to_string()) && trail[0].detail.contains("superseded"), "{:?}", trail[0]);
}
