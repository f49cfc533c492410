//! The unmodified Python SDK on the other side: its wrapper decrypts our input, runs a task and encrypts its result for us.
//!
//! `scripts/setup` installs the SDK into a virtual environment.

#![expect(clippy::unwrap_used, reason = "a failing test says where it failed")]

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use legwork_contract::abort::{Signal, TermWatch};
use legwork_contract::environment::{INPUT_LOCATION, OUTPUT_LOCATION, RELEASE_URL, SESSION_KEY};
use legwork_contract::input::{InputContext, release_id, task_id, validate_input};
use legwork_contract::markers::{MarkerKind, MarkerScanner};
use legwork_contract::mask::{MASK, Masker, Patterns};
use legwork_contract::output::{OutputContext, ResultFile, ResultSummary, read_result};
use legwork_contract::secrets::SecretSet;
use legwork_contract::session::{SessionKey, decrypt, encrypt_stream};
use legwork_core::spec::{Input, InputProperty, TaskSpec};
use legwork_core::{AttemptId, AttemptNumber, TaskId};
use serde_json::{Value, json};
use tempfile::TempDir;

const TASKS: &str = r#"
import signal
from datetime import datetime

from digitalai.release.integration import BaseTask, BuildRecord


class Echo(BaseTask):
    def execute(self) -> None:
        inputs = self.get_input_properties()
        self.add_comment("first line\nsecond line with " + inputs["token"])
        self.set_status_line("50 %")
        print("printed " + inputs["token"], flush=True)
        self.add_reporting_record(BuildRecord(self.get_task_id(), "legwork", "7", "https://b", "ok", datetime.now(), datetime.now(), "60"))
        self.set_output_property("inputs", inputs)
        self.set_output_property("ids", [self.get_release_id(), self.get_task_id(), self.get_phase_id(), self.get_folder_id()])
        self.set_output_property("server", self.get_release_server_url())
        self.set_output_property("undecodable", b"file-\xff".decode("utf-8", "surrogateescape"))
        self.set_output_property("large", "x" * (3 * 1024 * 1024))


class Fail(BaseTask):
    def execute(self) -> None:
        self.set_output_property("before", True)
        raise ValueError("no such thing: é")


class Hang(BaseTask):
    def execute(self) -> None:
        self.set_output_property("before", True)
        self.set_status_line("hanging")
        while True:
            signal.pause()
"#;

/// A job for the SDK in a directory of its own.
struct Job {
    directory: TempDir,
    key: SessionKey,
    attempt: AttemptId,
}

impl Job {
    fn new(task_type: &str, properties: Vec<InputProperty>) -> Self {
        let job = Self {
            directory: tempfile::tempdir().unwrap(),
            key: SessionKey::generate().unwrap(),
            attempt: AttemptId { task: TaskId::new(), attempt: AttemptNumber::FIRST },
        };
        let mut spec = TaskSpec::new("image", task_type);
        spec.outputs = ["large".to_owned(), "ids".to_owned()].into();
        let input = Input { properties };
        validate_input(&input).unwrap();
        let json = InputContext::new(&spec, &input, job.attempt, None).to_json();
        encrypt_stream(&job.key, json.as_slice(), fs::File::create(job.path("input")).unwrap()).unwrap();
        fs::create_dir(job.path("src")).unwrap();
        fs::write(job.path("src/tasks.py"), TASKS).unwrap();
        job
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn start(&self) -> Child {
        Command::new(sdk_python())
            .args(["-m", "digitalai.release.integration.wrapper"])
            .current_dir(&self.directory)
            .env(INPUT_LOCATION, self.path("input"))
            .env(OUTPUT_LOCATION, self.path("output"))
            .env(SESSION_KEY, self.key.to_text().as_str())
            .env(RELEASE_URL, "https://release.example/")
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the SDK's Python starts")
    }

    fn run(&self) -> Output {
        self.start().wait_with_output().unwrap()
    }

    fn summary(&self) -> (ResultSummary, u64) {
        match read_result(&self.key, &mut fs::File::open(self.path("output")).unwrap()).unwrap() {
            ResultFile::Complete { summary, plaintext_bytes } => (summary, plaintext_bytes),
            other => panic!("{other:?}"),
        }
    }

    fn output(&self) -> OutputContext {
        OutputContext::parse(&decrypt(&self.key, &fs::read(self.path("output")).unwrap()).unwrap()).unwrap()
    }
}

fn sdk_python() -> PathBuf {
    let python = std::env::var_os("LEGWORK_SDK_PYTHON").map_or_else(
        || {
            let cache = std::env::var_os("LEGWORK_CACHE")
                .map(PathBuf::from)
                .or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".cache/legwork")));
            cache.expect("LEGWORK_CACHE or HOME is set").join("sdk-venv/bin/python")
        },
        PathBuf::from,
    );
    assert!(python.exists(), "there is no Python SDK at {}; run `make setup`", python.display());
    python
}

fn property(name: &str, kind: &str, value: Value, password: bool) -> InputProperty {
    InputProperty { name: name.to_owned(), value, kind: kind.to_owned(), password }
}

#[test]
fn a_task_gets_its_input_and_we_get_its_result() {
    let server = json!({"id": "Configuration/1", "type": "testbed.Server", "properties": [
        {"name": "url", "value": "https://x", "kind": "STRING", "category": "input", "password": false},
        {"name": "proxy", "kind": "CI", "category": "input", "password": false, "value": {"id": null, "type": "testbed.Proxy", "properties": [
            {"name": "secret", "value": "deep-inside", "kind": "STRING", "category": "input", "password": true},
        ]}},
    ]});
    let properties = vec![
        property("name", "STRING", json!("Wörld 😀\n"), false),
        property("token", "STRING", json!("very-secret"), true),
        property("count", "INTEGER", json!(42), false),
        property("flag", "BOOLEAN", json!(true), false),
        property("tags", "SET_OF_STRING", json!(["a", "b"]), false),
        property("map", "MAP_STRING_STRING", json!({"k": "v"}), false),
        property("server", "CI", server, false),
        property("nothing", "CI", Value::Null, false),
    ];
    let patterns = Patterns::compile(&SecretSet::of(&Input { properties: properties.clone() }));
    let job = Job::new("testbed.Echo", properties);
    let ended = job.run();
    let log = String::from_utf8(ended.stdout).unwrap();
    assert!(ended.status.success(), "{log}");

    let (summary, plaintext_bytes) = job.summary();
    assert_eq!(summary, ResultSummary::default());
    assert!(plaintext_bytes > 3 << 20);
    let output = job.output();
    assert_eq!((output.exit_code, output.job_error_message.as_str()), (0, ""));
    assert_eq!(
        output.output_properties["inputs"],
        json!({
            "name": "Wörld 😀\n", "token": "very-secret", "count": 42, "flag": true, "tags": ["a", "b"], "map": {"k": "v"},
            "server": {"url": "https://x", "proxy": {"secret": "deep-inside"}}, "nothing": null, "ids": null, "large": null,
        })
    );
    let (release, task) = (release_id(job.attempt.task), task_id(job.attempt.task));
    assert_eq!(
        output.output_properties["ids"],
        json!([release, task, format!("{release}/Phase1"), "Applications/FolderLegwork"])
    );
    assert_eq!(output.output_properties["server"], "https://release.example");
    assert_eq!(output.output_properties["undecodable"], "file-\u{FFFD}");
    assert_eq!(output.output_properties["large"].as_str().unwrap().len(), 3 << 20);
    assert_eq!(output.reporting_records[0]["type"], "udm.BuildRecord");

    // The SDK does not mask its comments, so the log passes through our masker and then the scanner, byte by byte.
    assert!(log.contains("very-secret"));
    let (mut masker, mut scanner, mut masked) = (Masker::new(&patterns), MarkerScanner::new(0), Vec::new());
    for byte in log.as_bytes() {
        masker.push(&[*byte], &mut masked);
    }
    masker.finish(&mut masked);
    let markers: Vec<_> = masked.iter().flat_map(|byte| scanner.push(&[*byte])).collect();
    let texts: Vec<_> = markers.iter().map(|marker| (marker.kind, marker.text.as_str())).collect();
    let comment = format!("first line\nsecond line with {MASK}");
    assert_eq!(texts, [(MarkerKind::Comment, comment.as_str()), (MarkerKind::Status, "50 %")]);
    let masked = String::from_utf8(masked).unwrap();
    assert!(!masked.contains("very-secret") && masked.contains(&format!("printed {MASK}")));
}

#[test]
fn a_task_that_raises_an_error() {
    let job = Job::new("testbed.Fail", Vec::new());
    assert!(job.run().status.success(), "the verdict is in the result, not in the exit status");
    assert_eq!(job.summary().0, ResultSummary { exit_code: 1, job_error_message: "no such thing: é".to_owned() });
    assert_eq!(job.output().output_properties["before"], true);
}

#[test]
fn a_task_that_does_not_exist() {
    let job = Job::new("testbed.Nobody", Vec::new());
    job.run();
    let (summary, _) = job.summary();
    assert_eq!(summary.exit_code, 1);
    assert!(summary.job_error_message.contains("Nobody"), "{}", summary.job_error_message);
}

#[test]
fn a_key_that_is_not_the_jobs_is_noticed_on_both_sides() {
    let mut job = Job::new("testbed.Echo", Vec::new());
    let real = std::mem::replace(&mut job.key, SessionKey::generate().unwrap());
    job.run();
    // The SDK could not read the input, and says so with the key that it has.
    assert!(job.summary().0.job_error_message.contains("MAC check failed"));
    let foreign = read_result(&real, &mut fs::File::open(job.path("output")).unwrap()).unwrap();
    assert!(matches!(foreign, ResultFile::Incomplete { .. }), "{foreign:?}");
}

#[test]
fn an_aborted_task_leaves_a_result() {
    let job = Job::new("testbed.Hang", Vec::new());
    let mut child = job.start();
    let mut log = BufReader::new(child.stdout.take().unwrap());
    let (mut scanner, mut line) = (MarkerScanner::new(0), Vec::new());
    while log.read_until(b'\n', &mut line).unwrap() > 0 {
        if scanner.push(&line).iter().any(|marker| marker.text == "hanging") {
            break;
        }
        line.clear();
    }
    let signal = Signal::Terminate.number().to_string();
    assert!(Command::new("kill").args(["-s", &signal, &child.id().to_string()]).status().unwrap().success());
    let mut rest = Vec::new();
    log.read_to_end(&mut rest).unwrap();
    let mut watch = TermWatch::default();
    assert!(rest.chunks(7).any(|piece| watch.push(piece)), "{}", String::from_utf8_lossy(&rest));
    assert_eq!(child.wait().unwrap().code(), Some(1));
    assert_eq!(job.summary().0, ResultSummary { exit_code: 1, job_error_message: String::new() });
    assert_eq!(job.output().output_properties["before"], true);
}
