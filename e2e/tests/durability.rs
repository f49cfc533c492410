//! Durable means durable: the system calls of a real server, watched from outside.

use std::process::{Command, Stdio};
use std::time::Duration;

use legwork_e2e::world::{World, wait_for};

/// One system call of the server: when it was made, and the line that tells of it.
struct Call {
    at: f64,
    line: String,
}

/// The calls in a trace by `strace -f -ttt -y`, in the order in which they returned.
fn calls(trace: &str) -> Vec<Call> {
    trace
        .lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            words.next()?;
            Some(Call { at: words.next()?.parse().ok()?, line: line.to_owned() })
        })
        .collect()
}

fn now() -> f64 {
    legwork_core::Clock::system().now().as_millis() as f64 / 1000.0
}

/// The database is synced between the request and the answer, and the answer is written after that.
#[test]
fn a_task_is_on_disk_before_the_201() {
    let mut world = World::without_runner();
    world.stop_server();
    let trace = world.path("trace");
    let server = world.server_command();
    let mut traced = Command::new("strace")
        .args(["-f", "-ttt", "-y", "-e", "trace=fsync,fdatasync,write,writev,sendto,sendmsg", "-o"])
        .arg(&trace)
        .arg(server.get_program())
        .args(server.get_args())
        .envs(server.get_envs().filter_map(|(name, value)| Some((name, value?))))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("strace can be started: run the tests by `make test`");
    wait_for("the traced server to answer", Duration::from_secs(60), || {
        world.legwork(&["task", "list"]).status.success().then_some(())
    });
    let before = now();
    world.testbed(&["message=durable"], &[]);
    let after = now() + 0.001;
    drop(Command::new("kill").args(["-TERM", &child_of(traced.id())]).status());
    traced.wait().expect("strace can be waited for");
    let text = std::fs::read_to_string(&trace).expect("strace has written its trace");
    let within: Vec<Call> = calls(&text).into_iter().filter(|call| call.at >= before && call.at <= after).collect();
    let is_sync = |line: &str| (line.contains("fdatasync") || line.contains("fsync")) && line.contains("server.sqlite");
    let synced = within.iter().position(|call| is_sync(&call.line));
    let answered = within.iter().rposition(|call| call.line.contains("TCP") || call.line.contains("socket:"));
    let lines = within.iter().map(|call| call.line.as_str()).collect::<Vec<_>>().join("\n");
    let (Some(synced), Some(answered)) = (synced, answered) else {
        panic!("a sync and an answer are to be seen:\n{lines}");
    };
    assert!(synced < answered, "the answer came before the sync:\n{lines}");
}

/// The process that strace has started.
fn child_of(parent: u32) -> String {
    let path = format!("/proc/{parent}/task/{parent}/children");
    wait_for("strace's child", Duration::from_secs(10), || {
        let children = std::fs::read_to_string(&path).ok()?;
        children.split_whitespace().next().map(str::to_owned)
    })
}
