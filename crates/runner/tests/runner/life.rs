//! Runners against a scripted server in this process, with the engine that does nothing.

use std::time::Duration;

use crate::scene::{Scene, json_input, task};
use legwork_core::event::{AttemptEvent, Phase, ResultBytes};
use legwork_core::task::Outcome;
use legwork_core::{FailureClass, TaskSpec};
use legwork_protocol::channel::Duty;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_life_of_a_task() {
    let scene = Scene::new().await;
    let runner = scene.start_runner().await;
    let (spec, input) = task(
        json_input(&[("sleep_ms", 20.into()), ("log_lines", 3.into()), ("outputs", serde_json::json!({"greeting": "hello"}))]),
        &[],
    );
    let attempt = scene.server.offer(spec, &input);
    let report = scene.server.finished(attempt).await;
    assert_eq!(report.outcome, Outcome::Completed, "{report:?}");
    let ResultBytes::Inline { json } = &report.result else { panic!("{report:?}") };
    assert!(json.contains(r#""greeting":"hello""#), "{json}");
    let log = scene.server.whole_log(attempt).await;
    assert_eq!(log.stdout, b"line 0\nline 1\nline 2\n");
    assert!(report.timings.iter().any(|(what, _)| what == "run"), "{:?}", report.timings);
    scene.nothing_left(&runner).await;
    scene.stop(runner).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_at_once_end_once_each() {
    let scene = Scene::with_capacity(8).await;
    let runner = scene.start_runner().await;
    let attempts: Vec<_> =
        (0..60).map(|_| scene.server.offer_simple(&[("sleep_ms", 5.into()), ("log_lines", 1.into())])).collect();
    for attempt in attempts {
        assert_eq!(scene.server.finished(attempt).await.outcome, Outcome::Completed);
    }
    scene.nothing_left(&runner).await;
    scene.stop(runner).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failures_have_their_class() {
    let scene = Scene::new().await;
    let runner = scene.start_runner().await;
    let rows: Vec<(Vec<(&str, serde_json::Value)>, FailureClass)> = vec![
        (vec![("exit_code", 3.into())], FailureClass::PluginFailed),
        (vec![("crash", "no_result".into()), ("log_lines", 2.into())], FailureClass::PluginCrashed),
        (vec![("crash", "garbage_result".into())], FailureClass::Protocol),
        (vec![("oom", true.into())], FailureClass::OomKilled),
        (vec![("lose", true.into())], FailureClass::RemovedByOthers),
        (vec![("fail_create", "no room".into())], FailureClass::CouldNotStart),
        (vec![("fail_start", "no way".into())], FailureClass::CouldNotStart),
    ];
    for (input, class) in rows {
        let attempt = scene.server.offer_simple(&input);
        let report = scene.server.finished(attempt).await;
        assert_eq!(report.outcome, Outcome::Failed(class), "{input:?} {report:?}");
        if class == FailureClass::PluginCrashed {
            assert!(report.evidence.unwrap().contains("line 1"));
        }
    }
    let mut spec = TaskSpec::new("registry.example/nothing:missing", "test.Nothing");
    spec.outputs.clear();
    let attempt = scene.server.offer(spec, &json_input(&[]));
    let report = scene.server.finished(attempt).await;
    assert_eq!(report.outcome, Outcome::Failed(FailureClass::Image));
    assert!(report.message.contains("manifest unknown"), "{}", report.message);
    scene.nothing_left(&runner).await;
    scene.stop(runner).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_away_gets_everything_later() {
    let scene = Scene::new().await;
    let runner = scene.start_runner().await;
    let attempt = scene.server.offer_simple(&[("sleep_ms", 300.into()), ("log_lines", 100.into())]);
    scene.server.until(|ledger| ledger.is_running(attempt)).await;
    scene.server.set_away(true);
    scene.until(|| scene.engine.count() == 0).await;
    assert!(scene.server.peek(|ledger| ledger.report(attempt).is_none()));
    scene.server.set_away(false);
    assert_eq!(scene.server.finished(attempt).await.outcome, Outcome::Completed);
    assert_eq!(scene.server.whole_log(attempt).await.stdout.len(), (0..100).map(|n| format!("line {n}\n").len()).sum::<usize>());
    scene.nothing_left(&runner).await;
    scene.stop(runner).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lost_answers_double_nothing() {
    let scene = Scene::new().await;
    scene.server.lose_half_of_the_answers(true);
    let runner = scene.start_runner().await;
    let attempts: Vec<_> = (0..6)
        .map(|_| {
            scene.server.offer_simple(&[("sleep_ms", 5.into()), ("log_lines", 500.into()), ("result_bytes", 3_000_000.into())])
        })
        .collect();
    for attempt in attempts {
        let report = scene.server.finished(attempt).await;
        assert_eq!(report.outcome, Outcome::Completed);
        assert!(matches!(report.result, ResultBytes::Chunked { chunks: 3, .. }), "{:?}", report.result);
        assert!(scene.server.peek(|ledger| ledger.result(attempt).len()) > 3_000_000);
        let expected = crate::restart::lines(500);
        assert_eq!(String::from_utf8(scene.server.whole_log(attempt).await.stdout).unwrap(), expected);
        let numbers = scene.server.peek(|ledger| ledger.event_numbers(attempt));
        assert_eq!(numbers, (1..=numbers.len() as u64).collect::<Vec<_>>());
    }
    scene.nothing_left(&runner).await;
    scene.stop(runner).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_input_comes_in_chunks() {
    let scene = Scene::new().await;
    let runner = scene.start_runner().await;
    let large = "x".repeat(2_500_000);
    let (spec, input) = task(json_input(&[("outputs", serde_json::json!({"large": large}))]), &[]);
    let attempt = scene.server.offer(spec, &input);
    assert_eq!(scene.server.finished(attempt).await.outcome, Outcome::Completed);
    assert!(String::from_utf8(scene.server.peek(|ledger| ledger.result(attempt))).unwrap().contains(&large));
    scene.nothing_left(&runner).await;
    scene.stop(runner).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn aborts_in_every_phase() {
    let scene = Scene::new().await;
    let runner = scene.start_runner().await;
    // While the image is pulled.
    let mut pulling = TaskSpec::new("fake:pull-60000", "test.Slow");
    pulling.abort_timeout = Duration::from_secs(20);
    let pulling = scene.server.offer(pulling, &json_input(&[]));
    scene.server.until(|ledger| ledger.has_event(pulling, |event| matches!(event, AttemptEvent::Phase { .. }))).await;
    scene.server.abort(pulling, "by admin: too slow");
    let report = scene.server.finished(pulling).await;
    assert_eq!(report.outcome, Outcome::Failed(FailureClass::Aborted));
    assert_eq!(report.message, "aborted by admin: too slow");
    // While it runs and heeds signals.
    let heeding = scene.server.offer_simple(&[("sleep_ms", 60_000.into())]);
    scene.server.until(|ledger| ledger.is_running(heeding)).await;
    scene.server.abort(heeding, "by admin");
    let report = scene.server.finished(heeding).await;
    assert_eq!((report.outcome, report.result_exit_code), (Outcome::Failed(FailureClass::Aborted), Some(1)));
    // While it runs and ignores them: gone at its abort timeout + 2 s.
    let (mut spec, input) = task(json_input(&[("sleep_ms", 60_000.into()), ("ignore_signals", true.into())]), &[]);
    spec.abort_timeout = Duration::from_millis(600);
    let ignoring = scene.server.offer(spec, &input);
    scene.server.until(|ledger| ledger.is_running(ignoring)).await;
    let asked = std::time::Instant::now();
    scene.server.abort(ignoring, "by admin");
    assert_eq!(scene.server.finished(ignoring).await.outcome, Outcome::Failed(FailureClass::Aborted));
    assert!(asked.elapsed() < Duration::from_millis(2600), "{:?}", asked.elapsed());
    // While it reports: the result stands.
    scene.server.refuse_result_chunks(true);
    let reporting = scene.server.offer_simple(&[("result_bytes", 200_000.into())]);
    let told = |event: &AttemptEvent| matches!(event, AttemptEvent::Phase { phase: Phase::Reporting, .. });
    scene.server.until(|ledger| ledger.has_event(reporting, told)).await;
    scene.server.abort(reporting, "by admin");
    scene.server.refuse_result_chunks(false);
    assert_eq!(scene.server.finished(reporting).await.outcome, Outcome::Completed);
    scene.nothing_left(&runner).await;
    scene.stop(runner).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_run_timeout() {
    let scene = Scene::new().await;
    let runner = scene.start_runner().await;
    let (mut spec, input) = task(json_input(&[("sleep_ms", 60_000.into())]), &[]);
    spec.run_timeout = Some(Duration::from_millis(100));
    let attempt = scene.server.offer(spec, &input);
    let report = scene.server.finished(attempt).await;
    assert_eq!(report.outcome, Outcome::Failed(FailureClass::TimedOut), "{report:?}");
    scene.nothing_left(&runner).await;
    scene.stop(runner).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn secrets_are_masked_and_short_ones_named() {
    let scene = Scene::new().await;
    let runner = scene.start_runner().await;
    let mut input = json_input(&[("fail_create", "cannot use swordfish-and-more here".into())]);
    input.properties.push(crate::scene::secret("password", "swordfish-and-more"));
    input.properties.push(crate::scene::secret("pin", "1234"));
    let (spec, input) = task(input, &[]);
    let attempt = scene.server.offer(spec, &input);
    let report = scene.server.finished(attempt).await;
    assert!(report.message.contains("cannot use ******** here"), "{}", report.message);
    assert!(scene.server.peek(|ledger| {
        ledger.has_event(attempt, |event| matches!(event, AttemptEvent::StatusLine { text } if text.contains("\"pin\"")))
    }));
    scene.nothing_left(&runner).await;
    scene.stop(runner).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replaced_attempt_is_dropped() {
    let scene = Scene::new().await;
    let runner = scene.start_runner().await;
    let attempt = scene.server.offer_simple(&[("sleep_ms", 60_000.into())]);
    scene.server.until(|ledger| ledger.is_running(attempt)).await;
    scene.server.replace(attempt);
    scene.nothing_left(&runner).await;
    assert!(scene.server.peek(|ledger| ledger.report(attempt).is_none()));
    scene.stop(runner).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_superseded_process_takes_no_more_work_and_says_so() {
    let scene = Scene::new().await;
    let runner = scene.start_runner().await;
    let attempt = scene.server.offer_simple(&[("sleep_ms", 60_000.into())]);
    scene.server.until(|ledger| ledger.is_running(attempt)).await;
    scene.server.supersede();
    scene.until_async(async || runner.runner.trouble().await.is_some_and(|why| why.contains("superseded"))).await;
    assert_eq!(scene.engine.count(), 1, "its executor is left to the newer process");
    scene.stop(runner).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_forgotten_runner_registers_again() {
    let scene = Scene::new().await;
    let runner = scene.start_runner().await;
    let attempt = scene.server.offer_simple(&[("sleep_ms", 200.into())]);
    scene.server.until(|ledger| ledger.is_running(attempt)).await;
    scene.server.forget_runner();
    assert_eq!(scene.server.finished(attempt).await.outcome, Outcome::Completed);
    assert_eq!(scene.server.peek(crate::scene::Ledger::registrations), 2);
    scene.stop(runner).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deleted_runner_finishes_and_wipes_its_store() {
    let scene = Scene::new().await;
    let runner = scene.start_runner().await;
    let attempt = scene.server.offer_simple(&[("sleep_ms", 100.into())]);
    scene.server.until(|ledger| ledger.is_running(attempt)).await;
    scene.server.set_duty(Duty::Deleted);
    assert_eq!(scene.server.finished(attempt).await.outcome, Outcome::Completed);
    scene.server.until(|ledger| ledger.said_goodbye() == Some(true)).await;
    assert_eq!(runner.ended().await, legwork_lifecycle::Stopped::Asked);
    let left: Vec<_> = std::fs::read_dir(scene.data_dir()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["lock"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_log_limit_keeps_head_and_tail() {
    let scene = Scene::new().await;
    let runner = scene.start_runner().await;
    let (mut spec, input) = task(json_input(&[("log_lines", 20_000.into()), ("log_line_length", 49.into())]), &[]);
    spec.log_limit = 100_000;
    let attempt = scene.server.offer(spec, &input);
    let log = scene.server.whole_log(attempt).await;
    assert_eq!(log.stdout_length, 1_000_000);
    let kept = log.stdout.len() as u64;
    assert!(kept <= 100_000 && kept > 80_000, "{kept}");
    assert_eq!(log.summary.dropped_bytes, 1_000_000 - kept);
    assert!(log.stdout.starts_with(b"line 0."));
    assert!(log.stdout.ends_with(format!("{:.<49}\n", "line 19999").as_bytes()));
    scene.nothing_left(&runner).await;
    scene.stop(runner).await;
}
