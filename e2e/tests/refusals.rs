//! What is wrong is said at once, and in words that help.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::process::{Command, Output};
use std::time::Duration;

use legwork_e2e::world::{ADMIN_PASSWORD, World, free_port, wait_for};

const PATIENCE: Duration = Duration::from_secs(60);

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn run(command: &mut Command) -> Output {
    command.output().unwrap()
}

#[test]
fn the_server_refuses_what_cannot_work_before_it_opens_anything() {
    let world = World::without_runner();
    let start = |arguments: &[&str]| {
        run(Command::new(legwork_e2e::world::binary())
            .args(["server", "start"])
            .args(arguments)
            .env("LEGWORK_ADMIN_PASSWORD", ADMIN_PASSWORD))
    };
    let other = world.path("other").display().to_string();
    let taken = start(&["--data-dir", &other, "--bind", "127.0.0.1", "--port", &world.port.to_string()]);
    assert_eq!(taken.status.code(), Some(64), "{}", text(&taken));
    assert!(text(&taken).contains(&world.port.to_string()), "{}", text(&taken));
    let free = free_port().to_string();
    for (database, name) in [("mysql://u@h/d", "mysql"), ("db2://u@h/d", "db2")] {
        let refused = start(&["--data-dir", &other, "--bind", "127.0.0.1", "--port", &free, "--database-url", database]);
        assert_eq!(refused.status.code(), Some(64), "{}", text(&refused));
        assert!(text(&refused).contains(name) && text(&refused).contains("postgres"), "{}", text(&refused));
    }
    let unwritable = start(&["--data-dir", "/proc/legwork", "--bind", "127.0.0.1", "--port", &free]);
    assert_eq!(unwritable.status.code(), Some(64), "{}", text(&unwritable));
    assert_eq!(text(&unwritable).trim().lines().count(), 1, "{}", text(&unwritable));
}

#[test]
fn a_second_runner_on_one_store_is_told_so() {
    let world = World::start();
    let second = run(&mut world.runner_command());
    assert_eq!(second.status.code(), Some(64), "{}", text(&second));
    assert!(text(&second).contains(&world.runner_pid().to_string()) || text(&second).contains("already"), "{}", text(&second));
}

#[test]
fn the_runner_refuses_unknown_values_with_the_list_of_accepted_ones() {
    let folder = tempfile::tempdir().unwrap();
    let start = |profile: &str| {
        run(Command::new(legwork_e2e::world::binary())
            .args(["runner", "start", "--url", "https://localhost:1", "--profiles", profile, "--data-dir"])
            .arg(folder.path().join("runner"))
            .env("RELEASE_RUNNER_TOKEN", "rpa_x"))
    };
    for profile in ["podman", "k8s"] {
        let refused = start(profile);
        assert!(matches!(refused.status.code(), Some(64 | 2)), "{}", text(&refused));
        assert!(text(&refused).contains("docker"), "{}", text(&refused));
    }
}

#[test]
fn wrong_expired_and_revoked_tokens_are_told_apart() {
    let mut world = World::without_runner();
    let expired = world.json(&["token", "create", "--runner", "--note", "soon over", "--expires", "1s"]);
    let revoked = world.json(&["token", "create", "--runner", "--note", "taken back"]);
    world.json(&["token", "revoke", revoked["id"].as_str().unwrap()]);
    wait_for("the token to expire", PATIENCE, || {
        let asked = world
            .cli()
            .env("LEGWORK_TOKEN", expired["token"].as_str().unwrap())
            .args(["runner", "list", "--server", &world.url()])
            .output()
            .unwrap();
        text(&asked).contains("expired").then_some(())
    });
    let mut messages = Vec::new();
    for (token, word) in
        [("rpa_wrong", "wrong"), (expired["token"].as_str().unwrap(), "expired"), (revoked["token"].as_str().unwrap(), "revoked")]
    {
        world.start_runner_with(token);
        let message = wait_for(&format!("/ready to say {word}"), PATIENCE, || {
            let answer = world.ready();
            answer.contains(word).then_some(answer)
        });
        assert!(message.starts_with("HTTP/1.1 503"), "{message}");
        messages.push(message);
        world.kill_runner();
    }
    messages.dedup();
    assert_eq!(messages.len(), 3);
    world.stop_server();
}

#[test]
fn the_cli_says_what_was_wrong_and_exits_with_2() {
    let world = World::without_runner();
    for (arguments, expected) in [
        (&["task", "show", "00000000-0000-0000-0000-000000000000"][..], "00000000"),
        (&["task", "run", "--image", "x", "--type", "without-a-dot"][..], "type"),
        (&["task", "run", "--image", "x", "--type", "a.B", "-i", "novalue"][..], "novalue"),
        (&["task", "run", "--image", "x", "--type", "a.B", "--secret", "p=hunter2"][..], "env:"),
        (&["task", "run", "--image", "x", "--type", "a.B", "--abort-timeout", "5x"][..], "5x"),
        (&["task", "run", "--image", "x", "--type", "a.B", "--capability", "Not Allowed"][..], "Not Allowed"),
    ] {
        let output = world.legwork(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {}", text(&output));
        assert!(text(&output).contains(expected), "{arguments:?}: {}", text(&output));
        assert!(!text(&output).contains("hunter2"), "{arguments:?}: {}", text(&output));
    }
    let away = run(Command::new(legwork_e2e::world::binary())
        .args(["task", "list"])
        .env("LEGWORK_SERVER", "https://localhost:1")
        .env("LEGWORK_TOKEN", "x"));
    assert_eq!(away.status.code(), Some(2));
    assert!(text(&away).contains("localhost:1"), "{}", text(&away));
}

#[test]
fn the_same_key_gives_the_same_task() {
    let world = World::without_runner();
    let run = |image: &str| {
        world.legwork(&["task", "run", "--image", image, "--type", "a.B", "--idempotency-key", "once", "-o", "json"])
    };
    let (first, second, other) = (run("x"), run("x"), run("y"));
    let id = |output: &Output| serde_json::from_slice::<serde_json::Value>(&output.stdout).unwrap()["id"].clone();
    assert_eq!(id(&first), id(&second));
    assert_eq!(other.status.code(), Some(2));
    assert!(text(&other).contains("once") || text(&other).contains("Idempotency-Key"), "{}", text(&other));
}
