//! Abort in every phase of a task's life, and who else may end a plugin.

use std::time::{Duration, Instant};

use legwork_e2e::world::{World, docker, docker_lines, wait_for};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(60);

fn wait_until_running(world: &World, id: &str) -> Value {
    world.wait_for_task(id, "running its plugin", PATIENCE, |task| {
        task["attempts"].as_array().and_then(|attempts| attempts.last()).is_some_and(|attempt| attempt["phase"] == "running")
    })
}

fn abort(world: &World, id: &str) -> Instant {
    let asked = Instant::now();
    world.json(&["task", "abort", id, "--reason", "because of a test"]);
    asked
}

fn assert_aborted(task: &Value) {
    assert_eq!(task["status"], "failed", "{task:#?}");
    assert_eq!(task["class"], "aborted", "{task:#?}");
    assert!(task["message"].as_str().is_some_and(|message| message.contains("because of a test")), "{task:#?}");
}

#[test]
fn a_queued_task_is_aborted_at_once() {
    let world = World::start();
    let id = world.testbed(&[], &["--capability", "nobody-has-this"]);
    let waiting = world.wait_for_task(&id, "explained", PATIENCE, |task| !task["explanation"].is_null());
    assert_eq!(waiting["explanation"], "no registered runner offers nobody-has-this");
    abort(&world, &id);
    assert_aborted(&world.show(&id));
}

#[test]
fn an_abort_while_the_image_is_pulled_ends_the_pull() {
    let world = World::start();
    // A registry that takes the connection and never answers.
    let silent = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let image = format!("127.0.0.1:{}/never:1", silent.local_addr().unwrap().port());
    let id = world.task(&image, "testbed.Run", &[], &[]);
    world.wait_for_task(&id, "pulling", PATIENCE, |task| task["attempts"][0]["phase"] == "image");
    let asked = abort(&world, &id);
    assert_aborted(&world.wait_until_finished(&id, PATIENCE));
    assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
}

#[test]
fn an_abort_just_after_the_start_is_never_lost() {
    let world = World::start();
    for delay in [0, 40, 120, 200, 280, 360] {
        let id = world.testbed(&["sleep_ms:=60000"], &["--abort-timeout", "5s"]);
        world.wait_for_task(&id, "taken", PATIENCE, |task| task["status"] == "in_progress");
        std::thread::sleep(Duration::from_millis(delay));
        abort(&world, &id);
        assert_aborted(&world.wait_until_finished(&id, PATIENCE));
    }
    world.wait_until_clean(PATIENCE);
}

#[test]
fn a_plugin_that_cooperates_keeps_its_outputs() {
    let world = World::start();
    let id = world.testbed(&["sleep_ms:=60000", "outputs:={\"before\":\"kept\"}"], &[]);
    wait_until_running(&world, &id);
    let asked = abort(&world, &id);
    let task = world.wait_until_finished(&id, PATIENCE);
    assert_aborted(&task);
    assert!(asked.elapsed() < Duration::from_secs(8), "{:?}", asked.elapsed());
    assert_eq!(task["outputs"]["signal"], "SIGABRT", "{task:#?}");
    world.wait_until_clean(PATIENCE);
}

#[test]
fn a_slow_plugin_has_its_abort_timeout() {
    let world = World::start();
    let id = world.testbed(&["sleep_ms:=60000", "abort_delay_ms:=3000"], &["--abort-timeout", "20s"]);
    wait_until_running(&world, &id);
    abort(&world, &id);
    world.wait_for_task(&id, "aborting", PATIENCE, |task| task["status"] == "aborting");
    let task = world.wait_until_finished(&id, PATIENCE);
    assert_aborted(&task);
    assert!(!task["outputs"]["signal"].is_null(), "the plugin was not given its time: {task:#?}");
}

#[test]
fn a_plugin_that_ignores_signals_is_gone_two_seconds_after_its_timeout() {
    let world = World::start();
    let id = world.testbed(&["sleep_ms:=60000", "ignore_signals:=true"], &["--abort-timeout", "3s"]);
    wait_until_running(&world, &id);
    let asked = abort(&world, &id);
    let task = world.wait_until_finished(&id, PATIENCE);
    assert_aborted(&task);
    let took = asked.elapsed();
    assert!(took >= Duration::from_secs(3) && took < Duration::from_millis(5_500), "{took:?}");
    world.wait_until_clean(PATIENCE);
}

#[test]
fn an_abort_that_comes_after_the_result_changes_nothing() {
    let mut world = World::start();
    let ledger = world.ledger.address_for_containers();
    let id = world.testbed(&["outputs:={\"x\":1}", "sleep_ms:=500", &format!("ledger={ledger}"), "ledger_key=reporting"], &[]);
    wait_for("the plugin to start", PATIENCE, || (world.ledger.count("reporting start") == 1).then_some(()));
    // The result is taken while the server is away; the abort is asked for before the runner can report.
    world.stop_server();
    wait_for("the plugin to end", PATIENCE, || (world.ledger.count("reporting end") == 1).then_some(()));
    wait_for("the container to be gone", PATIENCE, || {
        docker_lines(&["ps", "-aq", "--filter", &format!("label=legwork.task={id}")]).is_empty().then_some(())
    });
    world.start_server();
    let answer = world.legwork(&["task", "abort", &id, "-o", "json"]);
    let task = world.wait_until_finished(&id, PATIENCE);
    assert_eq!(task["status"], "completed", "{} {task:#?}", String::from_utf8_lossy(&answer.stderr));
}

#[test]
fn the_python_sdks_own_abort_runs() {
    let world = World::start();
    let id = world.task("legwork/hello-python:dev", "hello.Careful", &["seconds:=60"], &[]);
    world.wait_for_task(&id, "working", PATIENCE, |task| {
        task["status_line"].as_str().is_some_and(|line| line.contains("Working"))
    });
    abort(&world, &id);
    let task = world.wait_until_finished(&id, PATIENCE);
    assert_aborted(&task);
    assert_eq!(task["outputs"]["cleanedUp"], true, "{task:#?}");
    assert!(task["comments"].as_array().unwrap().iter().any(|comment| comment["text"] == "Gave the lock back"), "{task:#?}");
    world.wait_until_clean(PATIENCE);
}

#[test]
fn a_python_task_is_aborted_while_the_interpreter_starts() {
    let world = World::start();
    let id = world.task("legwork/hello-python:dev", "hello.Careful", &["seconds:=60"], &["--abort-timeout", "20s"]);
    wait_until_running(&world, &id);
    let asked = abort(&world, &id);
    assert_aborted(&world.wait_until_finished(&id, PATIENCE));
    assert!(asked.elapsed() < Duration::from_secs(10), "the abort was lost in the start-up: {:?}", asked.elapsed());
}

#[test]
fn docker_stop_by_somebody_else_is_not_the_plugins_failure() {
    let world = World::start();
    for (image, task_type, inputs, command) in [
        ("legwork/hello-python:dev", "hello.Careful", ["seconds:=60"], &["stop", "-t", "5"][..]),
        ("legwork/testbed:dev", "testbed.Run", ["sleep_ms:=60000"], &["kill"][..]),
        ("legwork/testbed:dev", "testbed.Run", ["sleep_ms:=60000"], &["rm", "-f"][..]),
    ] {
        let id = world.task(image, task_type, &inputs, &[]);
        wait_until_running(&world, &id);
        if task_type == "hello.Careful" {
            world.wait_for_task(&id, "working", PATIENCE, |task| {
                task["status_line"].as_str().is_some_and(|line| line.contains("Working"))
            });
        }
        let container = wait_for("the container", PATIENCE, || {
            docker_lines(&["ps", "-q", "--filter", &format!("label=legwork.task={id}")]).pop()
        });
        let mut arguments = command.to_vec();
        arguments.push(&container);
        docker(&arguments);
        let task = world.wait_until_finished(&id, PATIENCE);
        assert_eq!(task["class"], "removed-by-others", "{command:?}: {task:#?}");
    }
    world.wait_until_clean(PATIENCE);
}
