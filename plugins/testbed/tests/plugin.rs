//! The program as a runner sees it: two files, a key, signals and an exit status.

#![expect(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};

use legwork_contract::session::{SessionKey, decrypt, encrypt};
use legwork_testbed::data;
use serde_json::{Value, json};

struct Job {
    folder: tempfile::TempDir,
    key: SessionKey,
    process: Child,
}

struct Ended {
    status: ExitStatus,
    stdout: String,
    stderr: String,
    result: Option<Vec<u8>>,
    key: SessionKey,
}

impl Job {
    fn start(inputs: Value) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let key = SessionKey::generate().unwrap();
        let Value::Object(inputs) = inputs else { panic!("the test gives an object") };
        let property =
            |(name, value)| json!({"name": name, "value": value, "kind": "STRING", "category": "input", "password": false});
        let properties: Vec<Value> = inputs.into_iter().map(property).collect();
        let context = json!({"release": {"id": "r"}, "task": {"id": "t", "type": "testbed.Run", "properties": properties}});
        let input = folder.path().join("input");
        std::fs::write(&input, encrypt(&key, context.to_string().as_bytes()).unwrap()).unwrap();
        let process = Command::new(env!("CARGO_BIN_EXE_legwork-testbed"))
            .env("INPUT_LOCATION", input)
            .env("OUTPUT_LOCATION", folder.path().join("output"))
            .env("SESSION_KEY", key.to_text().as_str())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        Self { folder, key, process }
    }

    /// Waits for the first line on stdout and then sends a signal.
    fn signal_after_first_line(&mut self, signal: &str) {
        let mut byte = [0];
        let stdout = self.process.stdout.as_mut().unwrap();
        while byte != *b"\n" {
            stdout.read_exact(&mut byte).unwrap();
        }
        let sent = Command::new("kill").args(["-s", signal, &self.process.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }

    fn wait(mut self) -> Ended {
        let output: PathBuf = self.folder.path().join("output");
        let (mut stdout, mut stderr) = (String::new(), String::new());
        self.process.stdout.take().unwrap().read_to_string(&mut stdout).unwrap();
        for line in BufReader::new(self.process.stderr.take().unwrap()).lines() {
            stderr += &line.unwrap();
            stderr += "\n";
        }
        let status = self.process.wait().unwrap();
        Ended { status, stdout, stderr, result: std::fs::read(output).ok(), key: self.key }
    }
}

impl Ended {
    fn result(&self) -> Value {
        let text = self.result.as_ref().expect("the plugin wrote a result");
        serde_json::from_slice(&decrypt(&self.key, text).unwrap()).unwrap()
    }
}

#[test]
fn the_result_is_what_the_inputs_say() {
    let ended = Job::start(json!({
        "exit_code": 3, "message": "m", "process_exit": 7, "outputs": {"a": [1]}, "result_bytes": 3000,
        "log_lines": 1, "log_line_length": 6, "allocate_bytes": 1_000_000,
    }))
    .wait();
    let expected = json!({
        "exitCode": 3, "jobErrorMessage": "m", "outputProperties": {"a": [1], "data": data(3000)},
        "reportingRecords": [],
    });
    assert_eq!(ended.result(), expected);
    assert_eq!((ended.status.code(), ended.stdout.as_str(), ended.stderr.as_str()), (Some(7), "line 0\n", ""));
}

#[test]
fn a_wrong_input_is_a_failed_result() {
    let ended = Job::start(json!({"slep_ms": 1})).wait();
    assert_eq!(ended.result()["exitCode"], 1);
    let message = "unknown input `slep_ms`; plugins/testbed/README.md lists the inputs";
    assert_eq!(ended.result()["jobErrorMessage"], message);
    assert_eq!((ended.status.code(), ended.stderr), (Some(0), format!("testbed: {message}\n")));
}

#[test]
fn each_crash_leaves_its_own_traces() {
    let none = Job::start(json!({"crash": "no_result", "process_exit": 9})).wait();
    assert_eq!((none.status.code(), none.result.is_none()), (Some(9), true));
    let whole = Job::start(json!({"message": "m"})).wait().result.unwrap();
    let half = Job::start(json!({"message": "m", "crash": "truncated_result"})).wait();
    assert_eq!(half.result.unwrap().len(), whole.len() / 2);
    let garbage = Job::start(json!({"crash": "garbage_result"})).wait();
    assert_eq!(garbage.result.unwrap(), b"this is no result\n");
    let panic = Job::start(json!({"crash": "panic"})).wait();
    assert!(panic.result.is_none() && !panic.status.success());
    assert!(panic.stderr.contains("panicked"), "{}", panic.stderr);
}

#[test]
fn an_abort_ends_the_task_with_a_result() {
    for signal in ["ABRT", "TERM", "INT"] {
        let mut job = Job::start(json!({"sleep_ms": 600_000, "log_lines": 1, "abort_delay_ms": 1}));
        job.signal_after_first_line(signal);
        let ended = job.wait();
        assert_eq!(ended.result()["exitCode"], 134);
        assert_eq!(ended.result()["outputProperties"]["signal"], format!("SIG{signal}"));
        assert_eq!((ended.status.code(), ended.stderr), (Some(0), format!("testbed: received SIG{signal}\n")));
    }
}

#[test]
fn signals_can_be_ignored() {
    let mut job = Job::start(json!({"sleep_ms": 200, "tick_ms": 100, "log_lines": 1, "ignore_signals": true}));
    job.signal_after_first_line("ABRT");
    let ended = job.wait();
    assert_eq!((ended.result()["exitCode"].clone(), ended.status.code()), (json!(0), Some(0)));
    assert_eq!(ended.stdout, legwork_testbed::log::tick(0) + &legwork_testbed::log::tick(1));
}
