//! The program as people and scripts see it: a real server and runner with the do-nothing engine, its output, its status.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

const DEADLINE: Duration = Duration::from_secs(60);

/// A folder that commands are called in, as by somebody with a fresh account.
struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn command(&self, words: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_legwork"));
        command.args(words.split_whitespace()).current_dir(self.path()).env_clear().stdin(Stdio::null());
        command.env("HOME", self.path());
        command
    }

    fn run(&self, words: &str) -> Output {
        self.command(words).output().unwrap()
    }

    /// Runs a command that must succeed, and gives what it prints.
    fn text(&self, words: &str) -> String {
        let output = self.run(words);
        assert!(output.status.success(), "{words}: {}", stderr(&output));
        String::from_utf8(output.stdout).unwrap()
    }

    fn json(&self, words: &str) -> Value {
        serde_json::from_str(&self.text(&format!("{words} -o json"))).unwrap()
    }

    fn until(&self, words: &str, what: impl Fn(&Value) -> bool) -> Value {
        let begin = Instant::now();
        loop {
            let output = self.run(&format!("{words} -o json"));
            if let Ok(value) = serde_json::from_slice(&output.stdout)
                && what(&value)
            {
                return value;
            }
            let seen = String::from_utf8_lossy(&output.stdout).into_owned();
            assert!(begin.elapsed() < DEADLINE, "{words} never became what it should: {seen}{}", stderr(&output));
        }
    }
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// `legwork dev` that is stopped at the end of a test.
struct Dev(Child);

impl Dev {
    fn start(folder: &Folder) -> Self {
        let log = std::fs::File::create(folder.path().join("dev.log")).unwrap();
        let mut command = folder.command("dev --engine fake --port 0 --health-port 0");
        let dev = Self(command.stdout(Stdio::null()).stderr(log).spawn().unwrap());
        folder.until("runner list", |runners| runners[0]["status"] == "online");
        dev
    }

    /// Tells it to stop and gives the status that it ends with.
    fn stop(mut self) -> Option<i32> {
        let told = Command::new("kill").args(["-TERM", &self.0.id().to_string()]).status().unwrap();
        assert!(told.success());
        self.0.wait().unwrap().code()
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn dev_runs_tasks_and_everything_about_them_can_be_seen() {
    let folder = Folder::new();
    let dev = Dev::start(&folder);

    let run = "task run --image fake --type demo.Echo";
    let good = folder.run(&format!("{run} -i outputs:={{\"greeting\":\"hello\"}} -i log_lines=3 --follow"));
    assert_eq!(good.status.code(), Some(0), "{}", stderr(&good));
    let shown = String::from_utf8(good.stdout).unwrap();
    assert!(shown.contains("Completed in ") && shown.contains("greeting = hello"), "{shown}");

    let bad = folder.run(&format!("{run} -i exit_code:=3 --follow"));
    assert_eq!(bad.status.code(), Some(1), "{}", stderr(&bad));
    assert!(String::from_utf8(bad.stdout).unwrap().contains("Failed (plugin-failed)"));

    let lines = folder.text(&format!("{run} -i log_lines=2 --follow -o json"));
    let events: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(events.last().unwrap()["event"], "end");
    let id = events[0]["id"].as_str().unwrap();
    let log = folder.text(&format!("task logs {id}"));
    assert_eq!(log.lines().count(), 2, "{log}");
    assert_eq!(folder.text(&format!("task logs -f {}", &id[id.len() - 12..])), log);
    assert!(folder.text(&format!("task show {id}")).contains("demo.Echo"));
    assert!(folder.json(&format!("task result {id}")).is_object());

    let waiting = folder.json(&format!("{run} --capability gpu --idempotency-key once"));
    let id = waiting["id"].as_str().unwrap();
    assert_eq!(folder.json(&format!("{run} --capability gpu --idempotency-key once"))["id"], id);
    let task = folder.until(&format!("task show {id}"), |task| task["explanation"].is_string());
    assert_eq!(task["explanation"], "no registered runner offers gpu");
    folder.text(&format!("task abort {id} --reason enough"));
    let task = folder.json(&format!("task show {id}"));
    assert_eq!((&task["status"], &task["class"]), (&"failed".into(), &"aborted".into()));
    assert_eq!(folder.json("task list --status failed")["items"].as_array().unwrap().len(), 2);

    let token = folder.text("token create --note test --permission task#view --expires 1d");
    assert!(token.starts_with("rpa_"), "{token}");
    let refused = folder.command(run).env("LEGWORK_TOKEN", token.trim()).output().unwrap();
    assert_eq!(refused.status.code(), Some(2));
    assert!(stderr(&refused).contains("task#run"), "{}", stderr(&refused));
    let wrong = folder.command("task list").env("LEGWORK_TOKEN", "rpa_wrong").output().unwrap();
    assert!(stderr(&wrong).contains("hint: log in again"), "{}", stderr(&wrong));

    let saved: Value = serde_json::from_slice(&std::fs::read(folder.path().join(".legwork/client.json")).unwrap()).unwrap();
    let url = saved["url"].as_str().unwrap();
    let stranger = Folder::new();
    let unknown = stranger.run(&format!("task list --server {url} --token x"));
    assert!(stderr(&unknown).contains("unknown CA") && stderr(&unknown).contains("--ca"), "{}", stderr(&unknown));
    let ca = saved["ca"].as_str().unwrap();
    let mut login = stranger.command(&format!("login {url} --ca {ca} --user admin --password-stdin"));
    let password = std::fs::File::open(folder.path().join(".legwork/admin-password")).unwrap();
    let login = login.stdin(password).output().unwrap();
    assert!(login.status.success(), "{}", stderr(&login));
    assert_eq!(stranger.json("runner list")[0]["title"], "dev");
    assert_eq!(stranger.json("runner edit dev --capacity 3")["capacity"], 3);
    assert_eq!(stranger.json("runner disable dev")["status"], "disabled");
    folder.until("runner enable dev", |runner| runner["status"] == "online");

    assert_eq!(dev.stop(), Some(0));
    let away = folder.run("task list");
    assert_eq!(away.status.code(), Some(2));
    assert!(stderr(&away).contains("hint: is the server running?"), "{}", stderr(&away));

    // The next start knows everything again, by the same tokens.
    let again = Dev::start(&folder);
    assert_eq!(folder.json("task list")["items"].as_array().unwrap().len(), 4);
    assert_eq!(folder.json("runner list").as_array().unwrap().len(), 1);
    assert_eq!(again.stop(), Some(0));
}

#[test]
fn bad_configuration_is_one_line_and_64() {
    let folder = Folder::new();
    std::fs::write(folder.path().join("file"), "").unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let start = "runner start --url https://localhost:1 --token rpa_x";
    for (words, variable, said) in [
        ("runner start --token rpa_x".to_owned(), None, "the server's address is missing"),
        ("runner start --url https://localhost:1".to_owned(), None, "the token is missing"),
        (start.to_owned(), Some(("RELEASE_RUNNER_PROFILE", "k8s")), "k8s is not in this version; it knows: docker"),
        (format!("{start} --profiles podman"), None, "there is no profile \"podman\""),
        (format!("{start} --data-dir file/below"), None, "file/below"),
        (format!("{start} --health-bind 127.0.0.1 --health-port {port}"), None, "cannot listen"),
        (start.to_owned(), Some(("LEGWORK_RUNNER_HEALTH_PORT", "many")), "LEGWORK_RUNNER_HEALTH_PORT"),
        ("runner start --token rpa_x --url nonsense".to_owned(), None, "server URL"),
        ("server start --data-dir file/below --port 0".to_owned(), None, "file/below"),
        (format!("server start --bind 127.0.0.1 --port {port}"), None, "taken"),
        ("server start --database-url mysql://db/x --port 0".to_owned(), None, "mysql"),
        ("server start --admin-password-file missing --port 0".to_owned(), None, "missing"),
        ("server start --log =,= --port 0".to_owned(), None, "LEGWORK_LOG"),
        ("dev --engine podman".to_owned(), None, "podman"),
    ] {
        let output = folder.command(&words).envs(variable).output().unwrap();
        let lines = stderr(&output);
        assert_eq!(output.status.code(), Some(64), "{words}: {lines}");
        assert!(lines.starts_with("error: ") && lines.contains(said), "{words}: {lines}");
        assert_eq!(lines.lines().filter(|line| !line.starts_with("hint: ")).count(), 1, "{words}: {lines}");
    }
}

#[test]
fn without_a_server_there_is_a_hint() {
    let folder = Folder::new();
    let output = folder.run("task list");
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("error: no server is known\nhint: start one with `legwork dev`"), "{}", stderr(&output));
    assert!(output.stdout.is_empty());
}

#[test]
fn a_reader_who_leaves_early_is_no_error() {
    let folder = Folder::new();
    let mut child = folder.command("documentation cli").stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(stderr(&output), "");
}
