//! Results, logs and failures as users get them.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use legwork_e2e::world::{World, docker, docker_lines, wait_for};

const PATIENCE: Duration = Duration::from_secs(120);
const MIB: usize = 1024 * 1024;

/// Megabytes that a process has in memory now, and at most so far.
fn memory(pid: u32) -> (f64, f64) {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let of = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() / 1024.0
    };
    (of("VmRSS:"), of("VmHWM:"))
}

#[test]
fn a_python_sdk_task_end_to_end() {
    let world = World::start();
    let output = world
        .cli()
        .args(["task", "run", "--image", "legwork/hello-python:dev", "--type", "hello.Greet", "-i", "yourName=World"])
        .args(["--secret", "apiToken=env:THE_TOKEN", "--follow"])
        .env("THE_TOKEN", "s3cret-token-of-the-test")
        .output()
        .unwrap();
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(0), "{stdout}{stderr}{}", world.logs());
    assert!(stdout.contains("Hello World"), "{stdout}");
    assert!(!stdout.contains("s3cret") && !stderr.contains("s3cret"), "{stdout}{stderr}");
    assert!(stdout.contains("Logged token: ********"), "{stdout}");
    let tasks = world.json(&["task", "list"]);
    let id = tasks["items"][0]["id"].as_str().unwrap().to_owned();
    let task = world.show(&id);
    assert_eq!(task["outputs"]["greeting"], "Hello World", "{task:#?}");
    assert_eq!(task["status_line"], "Done");
    assert!(task["comments"].as_array().unwrap().iter().any(|comment| comment["text"] == "Said: Hello World"));
    assert!(!task.to_string().contains("s3cret"), "{task:#?}");
    world.wait_until_clean(PATIENCE);
}

#[test]
fn sixty_four_mebibytes_of_the_python_sdk_byte_for_byte() {
    let world = World::start();
    let size = 64 * MIB;
    let id = world.task("legwork/hello-python:dev", "hello.Big", &[&format!("size:={size}")], &["--memory", "1GiB"]);
    let task = world.wait_until_finished(&id, PATIENCE * 2);
    assert_eq!(task["status"], "completed", "{task:#?}\n{}", world.logs());
    assert!(task["result_bytes"].as_u64().unwrap() > size as u64, "{task:#?}");
    let output = world.legwork(&["task", "result", &id]);
    assert!(output.status.success());
    let result: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let data = result["outputProperties"]["data"].as_str().unwrap();
    assert_eq!(data.len(), size);
    assert!(data == legwork_testbed::data(size), "the bytes differ");
    let (now, most) = memory(world.runner_pid());
    assert!(most < 64.0, "the runner had {most} MiB at most, {now} MiB now");
}

#[test]
fn a_large_input_arrives_whole() {
    let world = World::start();
    let big = "x".repeat(5 * MIB);
    std::fs::write(world.path("big.txt"), &big).unwrap();
    let id = world.task("legwork/testbed:dev", "testbed.Run", &[&format!("message=@{}", world.path("big.txt").display())], &[]);
    let task = world.wait_until_finished(&id, PATIENCE);
    assert_eq!(task["status"], "completed", "{task:#?}");
}

#[test]
fn results_of_every_size_are_whole() {
    let world = World::start();
    for size in [0usize, 1, 64 * 1024 - 200, 64 * 1024, MIB - 1, MIB, MIB + 1, 9 * MIB] {
        let id = world.testbed(&[&format!("result_bytes:={size}")], &[]);
        let task = world.wait_until_finished(&id, PATIENCE);
        assert_eq!(task["status"], "completed", "{size}: {task:#?}");
        let result: serde_json::Value = serde_json::from_slice(&world.legwork(&["task", "result", &id]).stdout).unwrap();
        assert!(result["outputProperties"]["data"].as_str().unwrap() == legwork_testbed::data(size), "{size}");
    }
}

#[test]
fn every_way_to_fail_has_its_class() {
    let world = World::start();
    let cases: Vec<(&[&str], &[&str], &str)> = vec![
        (&["exit_code:=3", "message=it did not work"], &[], "plugin-failed"),
        (&["crash=no_result"], &[], "plugin-crashed"),
        (&["crash=panic"], &[], "plugin-crashed"),
        (&["crash=truncated_result"], &[], "protocol"),
        (&["crash=garbage_result"], &[], "protocol"),
        (&["allocate_bytes:=400000000"], &["--memory", "64MiB"], "oom-killed"),
        (&["sleep_ms:=60000"], &["--run-timeout", "1s", "--abort-timeout", "1s"], "timed-out"),
        (&["result_bytes:=68157440"], &["--memory", "1GiB"], "result-too-large"),
    ];
    let tasks: Vec<(String, &str)> =
        cases.iter().map(|(inputs, options, class)| (world.testbed(inputs, options), *class)).collect();
    for (id, class) in tasks {
        let task = world.wait_until_finished(&id, PATIENCE);
        assert_eq!(task["class"], class, "{task:#?}\n{}", world.logs());
        assert!(!task["message"].as_str().unwrap_or_default().is_empty(), "{task:#?}");
    }
    let waiting = world.testbed(&[], &["--capability", "nobody", "--queue-timeout", "500ms"]);
    let task = world.wait_until_finished(&waiting, PATIENCE);
    assert_eq!(task["class"], "timed-out", "{task:#?}");
    world.wait_until_clean(PATIENCE);
}

#[test]
fn an_unknown_image_fails_soon_with_the_registrys_words() {
    let world = World::start();
    let registry = std::env::vars().find(|(name, _)| name == "LEGWORK_TEST_REGISTRY").map(|(_, value)| value);
    let registry = registry.expect("LEGWORK_TEST_REGISTRY is not set: run the tests by `make test`");
    let id = world.task(&format!("{registry}/no/such-image:1"), "testbed.Run", &[], &[]);
    let task = world.wait_until_finished(&id, Duration::from_secs(15));
    assert_eq!(task["class"], "image", "{task:#?}");
    let message = task["message"].as_str().unwrap();
    assert!(message.contains("no/such-image") && (message.contains("not found") || message.contains("unknown")), "{message}");
}

#[test]
fn an_image_is_pulled_from_a_registry() {
    let world = World::start();
    let registry = std::env::vars().find(|(name, _)| name == "LEGWORK_TEST_REGISTRY").map(|(_, value)| value);
    let registry = registry.expect("LEGWORK_TEST_REGISTRY is not set: run the tests by `make test`");
    let image = format!("{registry}/e2e/testbed:{}", world.port);
    docker(&["tag", "legwork/testbed:dev", &image]);
    docker(&["push", "-q", &image]);
    docker(&["rmi", &image]);
    let id = world.task(&image, "testbed.Run", &["outputs:={\"from\":\"registry\"}"], &[]);
    let task = world.wait_until_finished(&id, PATIENCE);
    docker_lines(&["rmi", &image]);
    assert_eq!(task["outputs"]["from"], "registry", "{task:#?}");
}

#[test]
fn logs_are_whole_whatever_is_in_them() {
    let world = World::start();
    let cases: &[&[&str]] = &[
        &["log_bytes:=100000", "invalid_utf8:=true"],
        &["log_bytes:=100000"],
        &["log_bytes:=16384", "no_final_newline:=true"],
        &["long_line:=16383"],
        &["long_line:=16384"],
        &["long_line:=16385"],
        &["long_line:=10000000"],
        &["log_lines:=20000", "log_stream=both"],
        &["log_lines:=5", "no_final_newline:=true"],
    ];
    for case in cases {
        let id = world.testbed(case, &[]);
        let task = world.wait_until_finished(&id, PATIENCE);
        assert_eq!(task["status"], "completed", "{task:#?}");
        let (stdout, stderr) = expected_log(case);
        assert!(world.log_bytes(&id, &["--stream", "stdout"]) == stdout, "stdout of {case:?} differs");
        assert!(world.log_bytes(&id, &["--stream", "stderr"]) == stderr, "stderr of {case:?} differs");
    }
}

/// The log that follows from the inputs, by the testbed's own library.
fn expected_log(inputs: &[&str]) -> (Vec<u8>, Vec<u8>) {
    let inputs = inputs.iter().map(|input| {
        let (name, value) = input.split_once('=').unwrap();
        (name.trim_end_matches(':').to_owned(), serde_json::Value::from(value))
    });
    let steering = legwork_testbed::steering::Steering::from_inputs(inputs).unwrap();
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    legwork_testbed::log::write(&steering.log, &mut stdout, &mut stderr).unwrap();
    (stdout, stderr)
}

#[test]
fn a_log_over_its_limit_keeps_head_and_tail() {
    let world = World::start();
    let id = world.testbed(&["log_lines:=30000", "outputs:={\"x\":1}"], &["--log-limit", "1MiB"]);
    let task = world.wait_until_finished(&id, PATIENCE);
    assert_eq!(task["status"], "completed", "a log must not change the outcome: {task:#?}");
    let info = &task["attempts"][0]["log"];
    assert_eq!(info["stdout_bytes"], 30_000 * 81, "{task:#?}");
    let dropped = info["dropped_bytes"].as_u64().unwrap();
    assert!(dropped > 1_000_000, "{task:#?}");
    let log = world.log_bytes(&id, &["--stream", "stdout"]);
    assert!(log.starts_with(legwork_testbed::line(0, 80).as_bytes()), "the head is missing");
    let last = legwork_testbed::line(29_999, 80);
    assert!(log.windows(80).any(|window| window == last.as_bytes()), "the tail is missing");
}

#[test]
fn secrets_are_nowhere_in_clear() {
    let world = World::start();
    let secret = "Tr0ub4dor&3 \"quoted\" / secret";
    let output = world
        .cli()
        .args(["task", "run", "--image", "legwork/testbed:dev", "--type", "testbed.Run", "-o", "json"])
        .args([
            "--secret",
            "secret=env:THE_SECRET",
            "-i",
            "secret_encodings=plain,base64,url,json,hex",
            "-i",
            "write_size:=7",
            "-i",
            "sleep_ms:=1500",
        ])
        .env("THE_SECRET", secret)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let id = serde_json::from_slice::<serde_json::Value>(&output.stdout).unwrap()["id"].as_str().unwrap().to_owned();
    let container = wait_for("the container", PATIENCE, || {
        docker_lines(&["ps", "-q", "--filter", &format!("label=legwork.task={id}")]).pop()
    });
    let inspected = docker(&["inspect", &container]);
    assert!(!inspected.contains("Tr0ub4dor"), "{inspected}");
    let task = world.wait_until_finished(&id, PATIENCE);
    assert_eq!(task["status"], "completed", "{task:#?}");
    let log = String::from_utf8(world.log_bytes(&id, &[])).unwrap();
    for encoding in ["plain", "base64", "url", "json", "hex"] {
        assert!(log.contains(&format!("secret {encoding}: ********")), "{encoding} is not masked: {log}");
    }
    let forms = ["Tr0ub4dor", "VHIwdWI0ZG9y", "54723075623464"];
    let mut searched = 0;
    for folder in ["server", "runner"] {
        for file in files_below(&world.path(folder)) {
            let bytes = std::fs::read(&file).unwrap_or_default();
            searched += 1;
            for form in forms {
                assert!(!bytes.windows(form.len()).any(|window| window == form.as_bytes()), "{form} is in {}", file.display());
            }
        }
    }
    assert!(searched >= 5, "only {searched} files were searched");
    let logs = world.logs();
    assert!(forms.iter().all(|form| !logs.contains(form)), "{logs}");
}

fn files_below(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { files.extend(files_below(&path)) } else { files.push(path) }
    }
    files
}
