//! Runners that are killed and started again on the same store, with the same engine.

use std::time::Duration;

use crate::scene::{Running, Scene, json_input, task};
use legwork_core::event::{AttemptEvent, ResultBytes};
use legwork_core::task::Outcome;
use legwork_core::{AttemptId, FailureClass};
use legwork_runner::StartError;

/// Kills the runner at this moment and starts another one.
async fn restart(scene: &Scene, runner: Running) -> Running {
    scene.kill(runner).await;
    scene.start_runner().await
}

pub(crate) fn lines(count: usize) -> String {
    (0..count).map(|number| format!("line {number}")).chain([String::new()]).collect::<Vec<_>>().join("\n")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_any_moment_each_task_ends_once() {
    let scene = Scene::with_capacity(6).await;
    let mut runner = scene.start_runner().await;
    let attempts: Vec<AttemptId> = (0..40)
        .map(|number| {
            let bytes = if number % 5 == 0 { 2_500_000 } else { 0 };
            scene.server.offer_simple(&[
                ("sleep_ms", (number * 2).into()),
                ("log_lines", 200.into()),
                ("result_bytes", bytes.into()),
            ])
        })
        .collect();
    for round in 0..12_u64 {
        // The instants are spread, not chosen: what counts is that any will do.
        tokio::time::sleep(Duration::from_millis(7 + round * 5)).await;
        runner = restart(&scene, runner).await;
    }
    for attempt in &attempts {
        let report = scene.server.finished(*attempt).await;
        assert_eq!(report.outcome, Outcome::Completed, "{report:?}");
        assert_eq!(String::from_utf8(scene.server.whole_log(*attempt).await.stdout).unwrap(), lines(200));
    }
    scene.nothing_left(&runner).await;
    scene.stop(runner).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_runs_is_taken_over() {
    let scene = Scene::new().await;
    let runner = scene.start_runner().await;
    let attempt = scene.server.offer_simple(&[("sleep_ms", 400.into()), ("log_lines", 5.into())]);
    scene.server.until(|ledger| ledger.is_running(attempt)).await;
    scene.kill(runner).await;
    assert_eq!(scene.engine.count(), 1, "the executor lives on");
    let runner = scene.start_runner().await;
    assert_eq!(scene.server.finished(attempt).await.outcome, Outcome::Completed);
    assert_eq!(scene.server.whole_log(attempt).await.stdout, lines(5).as_bytes());
    scene.nothing_left(&runner).await;
    scene.stop(runner).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_in_good_order_leaves_executors_to_the_next_start() {
    let scene = Scene::new().await;
    let runner = scene.start_runner().await;
    let attempt = scene.server.offer_simple(&[("sleep_ms", 300.into())]);
    scene.server.until(|ledger| ledger.is_running(attempt)).await;
    scene.stop(runner).await;
    assert_eq!(scene.engine.count(), 1);
    assert_eq!(scene.server.peek(crate::scene::Ledger::said_goodbye), Some(false));
    let runner = scene.start_runner().await;
    assert_eq!(scene.server.finished(attempt).await.outcome, Outcome::Completed);
    scene.stop(runner).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_removed_meanwhile_is_judged() {
    let scene = Scene::new().await;
    let runner = scene.start_runner().await;
    let attempt = scene.server.offer_simple(&[("sleep_ms", 60_000.into())]);
    scene.server.until(|ledger| ledger.is_running(attempt)).await;
    scene.kill(runner).await;
    scene.engine.remove_by_others(&legwork_engine::Handle(attempt.executor_name()));
    let runner = scene.start_runner().await;
    assert_eq!(scene.server.finished(attempt).await.outcome, Outcome::Failed(FailureClass::RemovedByOthers));
    scene.nothing_left(&runner).await;
    scene.stop(runner).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_abort_goes_on_after_a_restart() {
    let scene = Scene::new().await;
    let runner = scene.start_runner().await;
    let (mut spec, input) = task(json_input(&[("sleep_ms", 60_000.into()), ("ignore_signals", true.into())]), &[]);
    spec.abort_timeout = Duration::from_secs(2);
    let attempt = scene.server.offer(spec, &input);
    scene.server.until(|ledger| ledger.is_running(attempt)).await;
    scene.server.abort(attempt, "by admin");
    let stopping =
        |event: &AttemptEvent| matches!(event, AttemptEvent::Phase { phase: legwork_core::event::Phase::Stopping, .. });
    scene.server.until(|ledger| ledger.has_event(attempt, stopping)).await;
    let runner = restart(&scene, runner).await;
    let report = scene.server.finished(attempt).await;
    assert_eq!((report.outcome, report.message.as_str()), (Outcome::Failed(FailureClass::Aborted), "aborted by admin"));
    scene.nothing_left(&runner).await;
    scene.stop(runner).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn results_and_logs_outlive_the_process_while_the_server_is_away() {
    let scene = Scene::new().await;
    let runner = scene.start_runner().await;
    let attempt =
        scene.server.offer_simple(&[("sleep_ms", 300.into()), ("log_lines", 3000.into()), ("result_bytes", 5_000_000.into())]);
    scene.server.until(|ledger| ledger.is_running(attempt)).await;
    scene.server.set_away(true);
    scene.until(|| scene.engine.count() == 0).await;
    let runner = restart(&scene, runner).await;
    let runner = restart(&scene, runner).await;
    scene.server.set_away(false);
    let report = scene.server.finished(attempt).await;
    assert_eq!(report.outcome, Outcome::Completed);
    assert!(matches!(report.result, ResultBytes::Chunked { chunks: 5, .. }), "{:?}", report.result);
    assert_eq!(String::from_utf8(scene.server.whole_log(attempt).await.stdout).unwrap(), lines(3000));
    scene.nothing_left(&runner).await;
    scene.stop(runner).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_nobody_owns_is_removed_at_the_start() {
    let scene = Scene::new().await;
    let runner = scene.start_runner().await;
    let attempt = scene.server.offer_simple(&[("sleep_ms", 60_000.into())]);
    scene.server.until(|ledger| ledger.is_running(attempt)).await;
    scene.kill(runner).await;
    scene.server.replace(attempt);
    let runner = scene.start_runner().await;
    scene.nothing_left(&runner).await;
    scene.stop(runner).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_largest_result_arrives_whole() {
    let scene = Scene::new().await;
    let runner = scene.start_runner().await;
    let attempt = scene.server.offer_simple(&[("result_bytes", (64 * 1024 * 1024).into())]);
    let too_large = scene.server.offer_simple(&[("result_bytes", (65 * 1024 * 1024).into())]);
    assert_eq!(scene.server.finished(attempt).await.outcome, Outcome::Completed);
    assert!(scene.server.peek(|ledger| ledger.result(attempt).len()) > 64 * 1024 * 1024);
    assert_eq!(scene.server.finished(too_large).await.outcome, Outcome::Failed(FailureClass::ResultTooLarge));
    scene.nothing_left(&runner).await;
    scene.stop(runner).await;
}

#[tokio::test]
async fn a_second_process_on_one_store_is_refused() {
    let scene = Scene::new().await;
    let runner = scene.start_runner().await;
    let refused = scene.try_start().await.err().unwrap();
    assert!(matches!(refused, StartError::InUse { .. }), "{refused}");
    scene.stop(runner).await;
}

#[tokio::test]
async fn bad_configuration_is_named_before_anything_is_opened() {
    type Change = Box<dyn Fn(&mut legwork_runner::RunnerConfig)>;
    let scene = Scene::new().await;
    let rows: Vec<(Change, &str)> = vec![
        (Box::new(|config| config.token = legwork_runner::Token::new("")), "the token cannot be used"),
        (Box::new(|config| config.capacity = 0), "the capacity cannot be used"),
        (Box::new(|config| config.plain_http = false), "not encrypted"),
        (Box::new(|config| config.ca_pem = Some(b"nonsense".to_vec())), "no certificate in PEM"),
    ];
    for (change, words) in rows {
        let mut config = scene.config();
        change(&mut config);
        let refused = legwork_runner::start(config, legwork_lifecycle::Lifecycle::new()).await.err().unwrap().to_string();
        assert!(refused.contains(words), "{refused}");
        assert!(!scene.data_dir().exists());
    }
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut config = scene.config();
    config.health = Some(taken.local_addr().unwrap());
    let refused = legwork_runner::start(config, legwork_lifecycle::Lifecycle::new()).await.err().unwrap();
    assert!(matches!(refused, StartError::Health { .. }), "{refused}");
}
