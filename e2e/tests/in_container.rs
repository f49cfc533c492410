//! The runner's own image, next to the Docker socket, configured by the original's names.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::process::Command;
use std::time::Duration;

use legwork_e2e::world::{ADMIN_PASSWORD, World, docker, docker_lines};

const PATIENCE: Duration = Duration::from_secs(120);

/// Ends the container even if an assertion fails.
struct Container(String);

impl Drop for Container {
    fn drop(&mut self) {
        docker_lines(&["rm", "-f", "-v", &self.0]);
    }
}

/// The token, made by the very call of the original's start script.
fn token_of_the_dev_script(world: &World) -> String {
    let output = Command::new("curl")
        .args(["--silent", "--fail", "--cacert"])
        .arg(world.ca())
        .args(["-u", &format!("admin:{ADMIN_PASSWORD}"), "-H", "Content-Type: application/json", "-X", "POST"])
        .args(["-d", r#"{"tokenNote": "remote runner", "globalPermissions": ["runner#registration"]}"#])
        .arg(format!("{}/api/v1/personal-access-tokens", world.url()))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let answer: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    answer["token"].as_str().unwrap().to_owned()
}

#[test]
fn the_runner_image_runs_a_python_sdk_task() {
    let world = World::without_runner();
    let token = token_of_the_dev_script(&world);
    let name = format!("legwork-e2e-runner-{}", world.port);
    let ca = format!("{}:/ca.pem:ro", world.ca().display());
    docker(&[
        "run",
        "-d",
        "--name",
        &name,
        "--network",
        "host",
        "-v",
        "/var/run/docker.sock:/var/run/docker.sock",
        "-v",
        &ca,
        "-e",
        &format!("RELEASE_RUNNER_RELEASE_URL={}", world.url()),
        "-e",
        &format!("RELEASE_RUNNER_TOKEN={token}"),
        "-e",
        "RELEASE_RUNNER_REST_CLIENT_CA=/ca.pem",
        "-e",
        &format!("LEGWORK_RUNNER_HEALTH_LISTEN=127.0.0.1:{}", world.health_port),
        "legwork/runner:dev",
        "--profiles",
        "docker",
    ]);
    let container = Container(name);
    world.wait_for_runner();
    let id = world.task("legwork/hello-python:dev", "hello.Greet", &["yourName=Container"], &[]);
    let task = world.wait_until_finished(&id, PATIENCE);
    let log = docker_lines(&["logs", &container.0]).join("\n");
    assert_eq!(task["status"], "completed", "{task:#?}\n{log}");
    assert_eq!(task["outputs"]["greeting"], "Hello Container");
    assert!(String::from_utf8_lossy(&world.log_bytes(&id, &[])).contains("Hello Container"));
    // Its paths are not the host's: an abort, and a large result, go the other way too.
    let id = world.task("legwork/hello-python:dev", "hello.Big", &["size:=3000000"], &[]);
    let task = world.wait_until_finished(&id, PATIENCE);
    assert_eq!(task["status"], "completed", "{task:#?}\n{log}");
    world.wait_until_clean(PATIENCE);
}
