//! A server and a runner as real processes, in a folder of their own, and the CLI pointed at them.

use std::fs::File;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::ledger::Ledger;

/// The password of the admin user of every world.
pub const ADMIN_PASSWORD: &str = "correct horse battery staple";

/// A server, a runner and a ledger. What it started is ended when it is dropped; what it made in Docker is removed.
#[derive(Debug)]
pub struct World {
    /// Its folder: `server/`, `runner/`, `config/` and the processes' logs.
    pub folder: tempfile::TempDir,
    /// What the plugins did.
    pub ledger: Ledger,
    /// The server's port on the loopback address.
    pub port: u16,
    /// The port of the runner's health endpoints.
    pub health_port: u16,
    /// The database's URL if it is not the default one.
    pub database: Option<String>,
    /// The profile of the runner's engine.
    pub engine: &'static str,
    server: Option<Child>,
    runner: Option<Child>,
    runner_token: String,
}

/// The binary under test: built beside the tests.
pub fn binary() -> PathBuf {
    let here = std::env::current_exe().expect("a running program has a path");
    let found = here.ancestors().skip(1).take(3).map(|folder| folder.join("legwork")).find(|path| path.is_file());
    found.unwrap_or_else(|| panic!("no binary `legwork` beside {}: run `cargo build -p legwork-cli` first", here.display()))
}

/// A port that nobody listens on now.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("the loopback address has a free port");
    listener.local_addr().expect("a bound socket has an address").port()
}

/// Asks `condition` again and again until it gives something, and fails after `patience`.
pub fn wait_for<T>(what: &str, patience: Duration, mut condition: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = condition() {
            return found;
        }
        assert!(start.elapsed() < patience, "waited {patience:?} in vain for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

impl World {
    /// A server and a runner on Docker, both ready.
    pub fn start() -> Self {
        let mut world = Self::without_runner();
        world.start_runner();
        world
    }

    /// A server that is ready, and a token for a runner.
    pub fn without_runner() -> Self {
        Self::with_database(None)
    }

    /// Likewise, on this database.
    pub fn with_database(database: Option<String>) -> Self {
        let mut world = Self {
            folder: tempfile::Builder::new().prefix("legwork-e2e-").tempdir().expect("a temporary folder can be made"),
            ledger: Ledger::open().expect("the ledger can listen"),
            port: free_port(),
            health_port: free_port(),
            database,
            engine: "docker",
            server: None,
            runner: None,
            runner_token: String::new(),
        };
        world.start_server();
        let created = world.json(&["token", "create", "--runner", "--note", "end-to-end tests"]);
        created["token"].as_str().expect("a created token is shown").clone_into(&mut world.runner_token);
        world
    }

    /// The path of something in the world's folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The server's URL.
    pub fn url(&self) -> String {
        format!("https://localhost:{}", self.port)
    }

    /// The certificate of the server's own authority.
    pub fn ca(&self) -> PathBuf {
        self.path("server/ca.pem")
    }

    /// The token that the runner registers with.
    pub fn runner_token(&self) -> &str {
        &self.runner_token
    }

    fn log(&self, name: &str) -> Stdio {
        File::options().create(true).append(true).open(self.path(name)).expect("a log file can be opened").into()
    }

    /// The command that starts the server in this world.
    pub fn server_command(&self) -> Command {
        let mut command = Command::new(binary());
        command
            .args(["server", "start", "--data-dir"])
            .arg(self.path("server"))
            .args(["--bind", "127.0.0.1", "--port", &self.port.to_string()])
            .env("LEGWORK_ADMIN_PASSWORD", ADMIN_PASSWORD)
            .stdin(Stdio::null());
        if let Some(database) = &self.database {
            command.args(["--database-url", database]);
        }
        command
    }

    /// Starts the server and waits until it answers.
    pub fn start_server(&mut self) {
        let server = self.server_command().stdout(self.log("server.log")).stderr(self.log("server.log")).spawn();
        self.server = Some(server.expect("the server can be started"));
        if self.path("config/legwork/client.json").exists() {
            wait_for("the server to answer", Duration::from_secs(30), || {
                self.legwork(&["task", "list"]).status.success().then_some(())
            });
        } else {
            wait_for("the server to let us log in", Duration::from_secs(30), || self.log_in().success().then_some(()));
        }
    }

    /// Logs in as the admin user, as a person would.
    fn log_in(&self) -> std::process::ExitStatus {
        use std::io::Write as _;
        let mut login = self
            .cli()
            .args(["login", &self.url(), "--user", "admin", "--password-stdin", "--ca"])
            .arg(self.ca())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(self.log("login.log"))
            .spawn()
            .expect("the CLI can be started");
        let mut stdin = login.stdin.take().expect("standard input is a pipe");
        drop(writeln!(stdin, "{ADMIN_PASSWORD}"));
        drop(stdin);
        login.wait().expect("the CLI can be waited for")
    }

    /// The command that starts the runner in this world.
    pub fn runner_command(&self) -> Command {
        let mut command = Command::new(binary());
        command
            .args(["runner", "start", "--profiles", self.engine, "--data-dir"])
            .arg(self.path("runner"))
            .args(["--url", &self.url(), "--health-bind", "127.0.0.1", "--health-port", &self.health_port.to_string(), "--ca"])
            .arg(self.ca())
            .env("RELEASE_RUNNER_TOKEN", &self.runner_token)
            .stdin(Stdio::null());
        command
    }

    /// Starts the runner and waits until it is shown as online.
    pub fn start_runner(&mut self) {
        self.start_runner_without_waiting();
        self.wait_for_runner();
    }

    /// Starts the runner.
    pub fn start_runner_without_waiting(&mut self) {
        let runner = self.runner_command().stdout(self.log("runner.log")).stderr(self.log("runner.log")).spawn();
        self.runner = Some(runner.expect("the runner can be started"));
    }

    /// Starts the runner with another token.
    pub fn start_runner_with(&mut self, token: &str) {
        let mut command = self.runner_command();
        let runner =
            command.env("RELEASE_RUNNER_TOKEN", token).stdout(self.log("runner.log")).stderr(self.log("runner.log")).spawn();
        self.runner = Some(runner.expect("the runner can be started"));
    }

    /// Waits until a runner is shown as online.
    pub fn wait_for_runner(&self) {
        wait_for("the runner to be online", Duration::from_secs(30), || {
            let runners = self.json(&["runner", "list"]);
            runners.as_array()?.iter().any(|runner| runner["status"] == "online").then_some(())
        });
    }

    /// The process id of the server.
    pub fn server_pid(&self) -> u32 {
        self.server.as_ref().expect("the server was started").id()
    }

    /// The process id of the runner.
    pub fn runner_pid(&self) -> u32 {
        self.runner.as_ref().expect("the runner was started").id()
    }

    /// Kills the server with SIGKILL.
    pub fn kill_server(&mut self) {
        kill(self.server.take());
    }

    /// Kills the runner with SIGKILL.
    pub fn kill_runner(&mut self) {
        kill(self.runner.take());
    }

    /// Stops the server with SIGTERM and waits for its end.
    pub fn stop_server(&mut self) {
        terminate(self.server.take());
    }

    /// Stops the runner with SIGTERM and waits for its end.
    pub fn stop_runner(&mut self) {
        terminate(self.runner.take());
    }

    /// The CLI, pointed at this world.
    pub fn cli(&self) -> Command {
        let mut command = Command::new(binary());
        command.current_dir(self.folder.path()).env("XDG_CONFIG_HOME", self.path("config")).stdin(Stdio::null());
        command
    }

    /// Runs the CLI.
    pub fn legwork(&self, arguments: &[&str]) -> Output {
        self.cli().args(arguments).output().expect("the CLI can be started")
    }

    /// Runs the CLI with `-o json`, expects success and gives what it printed.
    pub fn json(&self, arguments: &[&str]) -> Value {
        let output = self.cli().args(arguments).args(["-o", "json"]).output().expect("the CLI can be started");
        assert!(output.status.success(), "legwork {arguments:?}: {}\n{}", String::from_utf8_lossy(&output.stderr), self.logs());
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| {
            panic!("legwork {arguments:?} printed no JSON ({error}): {}", String::from_utf8_lossy(&output.stdout))
        })
    }

    /// Runs a task of the testbed and gives its id.
    pub fn testbed(&self, inputs: &[&str], options: &[&str]) -> String {
        self.task("legwork/testbed:dev", "testbed.Run", inputs, options)
    }

    /// Runs a task and gives its id.
    pub fn task(&self, image: &str, task_type: &str, inputs: &[&str], options: &[&str]) -> String {
        let mut arguments = vec!["task", "run", "--image", image, "--type", task_type];
        for input in inputs {
            arguments.extend(["-i", input]);
        }
        arguments.extend(options);
        let created = self.json(&arguments);
        created["id"].as_str().unwrap_or_else(|| panic!("a created task has an id: {created}")).to_owned()
    }

    /// The task as it is now.
    pub fn show(&self, id: &str) -> Value {
        self.json(&["task", "show", id])
    }

    /// Waits until the task is as wanted.
    pub fn wait_for_task(&self, id: &str, what: &str, patience: Duration, wanted: impl Fn(&Value) -> bool) -> Value {
        let start = Instant::now();
        loop {
            let output = self.legwork(&["task", "show", id, "-o", "json"]);
            let task: Option<Value> = output.status.success().then(|| serde_json::from_slice(&output.stdout).ok()).flatten();
            if let Some(task) = &task
                && wanted(task)
            {
                return task.clone();
            }
            assert!(
                start.elapsed() < patience,
                "waited {patience:?} in vain for task {id} to be {what}: {task:#?} {}\n{}",
                String::from_utf8_lossy(&output.stderr),
                self.logs()
            );
            std::thread::sleep(Duration::from_millis(25));
        }
    }

    /// Waits until the task has finished and all of its log has arrived.
    pub fn wait_until_finished(&self, id: &str, patience: Duration) -> Value {
        self.wait_for_task(id, "finished", patience, |task| {
            let log_is_there =
                task["attempts"].as_array().and_then(|attempts| attempts.last()).is_none_or(|attempt| !attempt["log"].is_null());
            (task["status"] == "completed" || task["status"] == "failed") && log_is_there
        })
    }

    /// The bytes of a task's log.
    pub fn log_bytes(&self, id: &str, options: &[&str]) -> Vec<u8> {
        let mut arguments = vec!["task", "logs", id];
        arguments.extend(options);
        let output = self.legwork(&arguments);
        assert!(output.status.success(), "legwork {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    }

    /// The identity of the runner.
    pub fn runner_id(&self) -> String {
        self.json(&["runner", "list"])[0]["id"].as_str().expect("a runner has an id").to_owned()
    }

    /// What Docker still has of this world's runners: containers and volumes, by label.
    pub fn leftovers(&self) -> Vec<String> {
        let runners = self.json(&["runner", "list"]);
        let mut left = Vec::new();
        for runner in runners.as_array().expect("a list is an array") {
            let label = format!("label=legwork={}", runner["id"].as_str().expect("a runner has an id"));
            left.extend(docker_lines(&["ps", "-aq", "--filter", &label]));
            left.extend(docker_lines(&["volume", "ls", "-q", "--filter", &label]));
        }
        left
    }

    /// Waits until Docker has nothing of this world's runners.
    pub fn wait_until_clean(&self, patience: Duration) {
        wait_for("every container and volume to be gone", patience, || self.leftovers().is_empty().then_some(()));
    }

    /// What the runner's `/ready` answers, status line included; empty if it does not answer.
    pub fn ready(&self) -> String {
        use std::io::{Read as _, Write as _};
        let mut answer = String::new();
        if let Ok(mut stream) = std::net::TcpStream::connect(("127.0.0.1", self.health_port)) {
            drop(stream.write_all(b"GET /ready HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n"));
            drop(stream.read_to_string(&mut answer));
        }
        answer
    }

    /// The ends of the processes' logs, for a failed assertion.
    pub fn logs(&self) -> String {
        let tail = |name: &str| {
            let text = std::fs::read_to_string(self.path(name)).unwrap_or_default();
            let lines: Vec<&str> = text.lines().collect();
            format!("--- {name}\n{}\n", lines[lines.len().saturating_sub(40)..].join("\n"))
        };
        tail("server.log") + &tail("runner.log")
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let kept = std::env::temp_dir().join(format!("legwork-e2e-failed-{}-{}", std::process::id(), self.port));
            drop(copy_folder(self.folder.path(), &kept));
            write_to_stderr(&format!("the failed world was kept in {}\n", kept.display()));
        }
        kill(self.runner.take());
        // A second panic would hide the first.
        let runners = if self.server.is_some() { self.legwork(&["runner", "list", "-o", "json"]).stdout } else { Vec::new() };
        kill(self.server.take());
        let runners: Value = serde_json::from_slice(&runners).unwrap_or_default();
        for runner in runners.as_array().into_iter().flatten() {
            let label = format!("label=legwork={}", runner["id"].as_str().unwrap_or("unknown"));
            for container in docker_lines(&["ps", "-aq", "--filter", &label]) {
                docker_lines(&["rm", "-f", "-v", &container]);
            }
            for volume in docker_lines(&["volume", "ls", "-q", "--filter", &label]) {
                docker_lines(&["volume", "rm", "-f", &volume]);
            }
        }
    }
}

fn write_to_stderr(text: &str) {
    use std::io::Write as _;
    drop(std::io::stderr().write_all(text.as_bytes()));
}

/// Copies the logs of a world that failed.
fn copy_folder(from: &Path, to: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(to)?;
    for name in ["server.log", "runner.log"] {
        if from.join(name).exists() {
            std::fs::copy(from.join(name), to.join(name))?;
        }
    }
    Ok(())
}

/// The lines that a Docker command prints; none if it fails.
pub fn docker_lines(arguments: &[&str]) -> Vec<String> {
    let output = Command::new("docker").args(arguments).output().expect("docker can be started");
    String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).filter(|line| !line.is_empty()).collect()
}

/// Runs a Docker command and expects success.
pub fn docker(arguments: &[&str]) -> String {
    let output = Command::new("docker").args(arguments).output().expect("docker can be started");
    assert!(output.status.success(), "docker {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

fn kill(process: Option<Child>) {
    if let Some(mut process) = process {
        drop(process.kill());
        drop(process.wait());
    }
}

fn terminate(process: Option<Child>) {
    if let Some(mut process) = process {
        drop(Command::new("kill").args(["-TERM", &process.id().to_string()]).status());
        let status = process.wait().expect("the process can be waited for");
        assert!(status.success(), "the process ended with {status} after SIGTERM");
    }
}
