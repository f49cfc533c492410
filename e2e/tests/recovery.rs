//! Nothing is lost and nothing counts twice when processes are killed: judged from the ledger and the public API.

use std::time::Duration;

use legwork_e2e::world::{World, wait_for};

const PATIENCE: Duration = Duration::from_secs(120);
const TASKS: usize = 10;

/// Who is killed.
#[derive(Clone, Copy, Debug)]
enum Victim {
    Runner,
    Server,
    Both,
}

/// Kills while tasks run, starts again, and checks that each task ended once, with its own result and its whole log.
fn kill_while_tasks_run(world: &mut World, victim: Victim, round: usize) {
    let ledger = world.ledger.address_for_containers();
    let tasks: Vec<(String, String)> = (0..TASKS)
        .map(|number| {
            let key = format!("{victim:?}-{round}-{number}");
            let id = world.testbed(
                &[
                    &format!("ledger={ledger}"),
                    &format!("ledger_key={key}"),
                    &format!("outputs:={{\"key\":\"{key}\"}}"),
                    "log_lines:=300",
                    "log_stream=both",
                    &format!("sleep_ms:={}", 200 + number * 250),
                    "tick_ms:=50",
                ],
                &[],
            );
            (key, id)
        })
        .collect();
    // The instant moves from round to round, so that over ten rounds it meets every phase of a task's life.
    wait_for("the first plugins to start", PATIENCE, || {
        let started = tasks.iter().filter(|(key, _)| world.ledger.count(&format!("{key} start")) > 0).count();
        (started > round % TASKS / 2).then_some(())
    });
    std::thread::sleep(Duration::from_millis(37 * round as u64));
    if matches!(victim, Victim::Runner | Victim::Both) {
        world.kill_runner();
    }
    if matches!(victim, Victim::Server | Victim::Both) {
        world.kill_server();
        world.start_server();
    }
    if matches!(victim, Victim::Runner | Victim::Both) {
        world.start_runner_without_waiting();
    }
    for (key, id) in &tasks {
        let task = world.wait_until_finished(id, PATIENCE);
        assert_eq!(task["status"], "completed", "{key}: {task:#?}\n{}", world.logs());
        assert_eq!(task["outputs"]["key"], key.as_str(), "{task:#?}");
        assert_eq!(world.ledger.count(&format!("{key} start")), 1, "{key} ran more than once");
        assert_eq!(world.ledger.count(&format!("{key} end")), 1, "{key} did not end once");
        assert_log_is_whole(world, id, &task);
    }
}

/// Every line of the testbed's log is there once, and as many bytes as the runner counted.
fn assert_log_is_whole(world: &World, id: &str, task: &serde_json::Value) {
    let (stdout, stderr) = (world.log_bytes(id, &["--stream", "stdout"]), world.log_bytes(id, &["--stream", "stderr"]));
    let info = &task["attempts"][0]["log"];
    assert_eq!(info["gaps"], 0, "{task:#?}");
    assert_eq!(info["stdout_bytes"], stdout.len(), "{task:#?}");
    assert_eq!(info["stderr_bytes"], stderr.len(), "{task:#?}");
    for number in 0..300u64 {
        let line = legwork_testbed::line(number, 80);
        let (log, name) = if number % 2 == 0 { (&stdout, "stdout") } else { (&stderr, "stderr") };
        let count = log.split(|byte| *byte == b'\n').filter(|found| *found == line.as_bytes()).count();
        assert_eq!(count, 1, "line {number} of {id} is {count} times in {name}");
    }
}

fn ten_rounds(victim: Victim) {
    let mut world = World::start();
    let runner = world.runner_id();
    world.json(&["runner", "edit", &runner, "--capacity", "11"]);
    for round in 0..10 {
        kill_while_tasks_run(&mut world, victim, round);
    }
    world.wait_until_clean(Duration::from_secs(60));
}

#[test]
fn ten_kills_of_the_runner_lose_nothing() {
    ten_rounds(Victim::Runner);
}

#[test]
fn ten_kills_of_the_server_lose_nothing() {
    ten_rounds(Victim::Server);
}

#[test]
fn ten_kills_of_both_lose_nothing() {
    ten_rounds(Victim::Both);
}

#[test]
fn a_result_that_came_while_the_server_was_away_arrives_once() {
    let mut world = World::start();
    let ledger = world.ledger.address_for_containers();
    let id = world.testbed(&["sleep_ms:=1500", "ledger_key=away", &format!("ledger={ledger}"), "outputs:={\"x\":\"kept\"}"], &[]);
    wait_for("the plugin to start", PATIENCE, || (world.ledger.count("away start") == 1).then_some(()));
    world.stop_server();
    wait_for("the plugin to end", PATIENCE, || (world.ledger.count("away end") == 1).then_some(()));
    // The runner is killed as well, with the result in its outbox.
    world.kill_runner();
    world.start_server();
    world.start_runner_without_waiting();
    let task = world.wait_until_finished(&id, PATIENCE);
    assert_eq!(task["status"], "completed", "{task:#?}");
    assert_eq!(task["outputs"]["x"], "kept");
    assert_eq!(task["attempts"].as_array().unwrap().len(), 1);
    world.wait_until_clean(Duration::from_secs(60));
}

#[test]
fn a_runner_that_was_forgotten_registers_again() {
    let mut world = World::start();
    let before = world.runner_id();
    world.stop_server();
    // A new database: this server has never heard of the runner nor of its token.
    for file in ["server.sqlite", "server.sqlite-wal", "server.sqlite-shm"] {
        drop(std::fs::remove_file(world.path("server").join(file)));
    }
    std::fs::remove_file(world.path("config/legwork/client.json")).unwrap();
    world.start_server();
    wait_for("the runner to say why it cannot register", PATIENCE, || world.ready().contains("token").then_some(()));
    world.kill_runner();
    let token = world.json(&["token", "create", "--runner", "--note", "anew"])["token"].as_str().unwrap().to_owned();
    world.start_runner_with(&token);
    world.wait_for_runner();
    assert_eq!(world.runner_id(), before, "a runner keeps its identity");
    let id = world.testbed(&["outputs:={\"x\":1}"], &[]);
    assert_eq!(world.wait_until_finished(&id, PATIENCE)["status"], "completed");
    world.wait_until_clean(PATIENCE);
}

#[test]
fn a_task_goes_on_while_the_runner_is_stopped_in_an_orderly_way() {
    let mut world = World::start();
    let ledger = world.ledger.address_for_containers();
    let id = world.testbed(&["sleep_ms:=2000", "ledger_key=handed-over", &format!("ledger={ledger}")], &[]);
    wait_for("the plugin to start", PATIENCE, || (world.ledger.count("handed-over start") == 1).then_some(()));
    world.stop_runner();
    assert_eq!(world.show(&id)["status"], "in_progress");
    world.start_runner_without_waiting();
    let task = world.wait_until_finished(&id, PATIENCE);
    assert_eq!(task["status"], "completed", "{task:#?}");
    assert_eq!(world.ledger.count("handed-over start"), 1);
}
