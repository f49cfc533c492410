//! Whatever runners send, in whatever order: one result for each attempt, and one end for each task.

use std::time::Duration;

use legwork_core::spec::LostRunnerPolicy;
use legwork_core::task::{Outcome, TaskState};
use legwork_core::{AttemptId, AttemptNumber, EventNumber, FailureClass};
use legwork_store::Ending;
use proptest::prelude::*;

use crate::support::{Bed, at, finished};

#[derive(Clone, Debug)]
enum Step {
    Offer { runner: usize },
    Confirm { runner: usize, attempt: u32 },
    Expire,
    Finish { runner: usize, attempt: u32, number: u64, completed: bool },
    Lose { runner: usize },
    Abort,
    Retry,
}

fn step() -> impl Strategy<Value = Step> {
    let (runner, attempt) = (0..2usize, 1..5u32);
    prop_oneof![
        4 => runner.clone().prop_map(|runner| Step::Offer { runner }),
        6 => (runner.clone(), attempt.clone()).prop_map(|(runner, attempt)| Step::Confirm { runner, attempt }),
        1 => Just(Step::Expire),
        6 => (runner.clone(), attempt, 1..3u64, any::<bool>())
            .prop_map(|(runner, attempt, number, completed)| Step::Finish { runner, attempt, number, completed }),
        2 => runner.prop_map(|runner| Step::Lose { runner }),
        1 => Just(Step::Abort),
        2 => Just(Step::Retry),
    ]
}

async fn check(bed: Bed, steps: Vec<Step>) {
    let runners = [bed.runner("remote").await, bed.runner("remote").await];
    let after = Duration::ZERO;
    let task = bed
        .queued(|spec| {
            spec.retries = 1;
            spec.lost_runner = LostRunnerPolicy::RunElsewhere { after };
        })
        .await;
    let id = |attempt| AttemptId { task, attempt: AttemptNumber(attempt) };
    let mut accepted: Vec<(u32, Outcome)> = Vec::new();
    for step in steps {
        let before = bed.task(task).await;
        match step {
            Step::Offer { runner } => drop(bed.offer(runners[runner], &[""], 1).await),
            Step::Confirm { runner, attempt } => {
                bed.store.confirm(&[id(attempt)], runners[runner].0, runners[runner].1, at(2)).await.map(drop).unwrap();
            }
            Step::Expire => drop(bed.store.expire_offers(at(2000)).await.unwrap()),
            Step::Finish { runner, attempt, number, completed } => {
                let outcome = if completed { Outcome::Completed } else { Outcome::Failed(FailureClass::EngineLost) };
                let known = bed.store.attempt(id(attempt)).await.unwrap().map_or(0, |record| record.applied.0);
                let events = vec![(id(attempt), EventNumber(number), finished(outcome))];
                let answer =
                    bed.store.apply_events(runners[runner].0, runners[runner].1, events, at(50)).await.unwrap().remove(0);
                if answer.refused.is_none() && answer.through.0 > known {
                    let expected = TaskState::Running { attempt: AttemptNumber(attempt), runner: runners[runner].0 };
                    assert_eq!(before.state, expected, "only the current attempt's runner is heard");
                    accepted.push((attempt, outcome));
                } else {
                    assert_eq!(bed.task(task).await.state, before.state, "a refused event changes nothing");
                }
            }
            Step::Lose { runner } => {
                bed.store.apply_lost_runner(&[(runners[runner].0, Duration::from_secs(1))], at(60)).await.map(drop).unwrap();
            }
            Step::Abort => drop(bed.store.request_abort(task, "anna", "", at(70)).await.unwrap()),
            Step::Retry => drop(bed.store.retry_task(task, "anna", None, at(80)).await.unwrap()),
        }
    }
    let history = bed.store.attempts(task).await.unwrap();
    let numbers: Vec<u32> = history.iter().map(|attempt| attempt.id.attempt.0).collect();
    assert!(numbers.is_sorted() && numbers.iter().collect::<std::collections::HashSet<_>>().len() == numbers.len());
    let reported: Vec<(u32, Outcome)> = history
        .iter()
        .filter(|attempt| attempt.ended.is_some_and(|(_, ending)| ending == Ending::Reported))
        .map(|attempt| (attempt.id.attempt.0, attempt.outcome.unwrap()))
        .collect();
    accepted.sort_unstable_by_key(|(attempt, _)| *attempt);
    assert_eq!(accepted, reported, "each result that was accepted is the only one of its attempt");
    bed.store.close().await;
}

fn run(bed: impl AsyncFn() -> Bed, cases: u32) {
    let config = ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() };
    let mut runner = proptest::test_runner::TestRunner::new(config);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let steps = proptest::collection::vec(step(), 1..40);
    runner
        .run(&steps, |steps| {
            runtime.block_on(async { check(bed().await, steps).await });
            Ok(())
        })
        .unwrap();
}

#[test]
fn sqlite_accepts_one_result_for_each_attempt() {
    run(Bed::sqlite, 24);
}

#[test]
fn postgres_accepts_one_result_for_each_attempt() {
    run(Bed::postgres, 8);
}
