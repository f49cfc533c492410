//! Durable means durable: watches the system calls of `examples/durable.rs` and sees that what a method has written
//! is synced to disk before the method answers.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::HashMap;
use std::process::Command;

/// What the trace says, in the order in which it happened.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Seen {
    Written,
    Synced,
    Answered(String),
}

/// Reads `strace -f -y`. A call that another thread interrupts in the trace has happened when it is resumed.
fn read_trace(trace: &str) -> Vec<Seen> {
    let mut seen = Vec::new();
    let mut unfinished: HashMap<&str, &str> = HashMap::new();
    for line in trace.lines() {
        let (process, rest) = line.split_once(' ').unwrap();
        let rest = rest.trim_start();
        let call = if let Some(begun) = rest.strip_suffix("<unfinished ...>") {
            // What is printed counts from its beginning, what is synced from its end.
            if !begun.starts_with("write(1") {
                unfinished.insert(process, begun);
                continue;
            }
            begun
        } else if rest.starts_with("<...") {
            match unfinished.remove(process) {
                Some(begun) => begun,
                None => continue,
            }
        } else {
            rest
        };
        if call.starts_with("write(1") {
            let name = call.split("answered ").nth(1).and_then(|text| text.split("\\n").next());
            seen.extend(name.map(|name| Seen::Answered(name.to_owned())));
        } else if call.contains("-wal>") {
            let synced = call.starts_with("fsync") || call.starts_with("fdatasync");
            seen.push(if synced { Seen::Synced } else { Seen::Written });
        }
    }
    seen
}

#[test]
fn nothing_is_answered_before_it_is_on_disk() {
    let directory = tempfile::tempdir().unwrap();
    let trace = directory.path().join("trace");
    // This test's own file is in `deps`, the examples are built beside that folder.
    let built = std::env::current_exe().unwrap().parent().unwrap().parent().unwrap().join("examples/durable");
    assert!(built.exists(), "{} is missing: build it with `cargo build -p legwork-store --examples`", built.display());
    let status = Command::new("strace")
        .args(["-f", "-y", "-e", "trace=fsync,fdatasync,write,pwrite64,pwritev", "-o"])
        .arg(&trace)
        .arg(&built)
        .arg(directory.path().join("server.sqlite"))
        .output()
        .expect("this test needs strace: `scripts/setup` installs it");
    assert!(status.status.success(), "{}", String::from_utf8_lossy(&status.stderr));
    let seen = read_trace(&std::fs::read_to_string(&trace).unwrap());
    let mut answered = Vec::new();
    let mut since = Vec::new();
    for event in seen {
        let Seen::Answered(name) = event else {
            since.push(event);
            continue;
        };
        if name != "open" {
            assert!(since.contains(&Seen::Written), "{name} wrote nothing: {since:?}");
        }
        assert_eq!(since.last(), Some(&Seen::Synced), "{name} answered before its last write was synced: {since:?}");
        since.clear();
        answered.push(name);
    }
    let expected = ["open", "register_runner", "create_task", "offer_tasks", "confirm", "append_log", "apply_events"];
    assert_eq!(answered, expected);
}

#[test]
fn a_trace_is_read_in_the_order_of_what_happened() {
    let trace = "10 pwrite64(9</d/server.sqlite-wal>, \"\"..., 24, 0) = 24\n\
                 10 fdatasync(9</d/server.sqlite-wal> <unfinished ...>\n\
                 11 write(1</dev/null>, \"answered early\\n\", 15 <unfinished ...>\n\
                 10 <... fdatasync resumed>) = 0\n\
                 11 <... write resumed>) = 15\n\
                 11 write(4<anon_inode:[eventfd]>, \"\", 8) = 8\n";
    let expected = [Seen::Written, Seen::Answered("early".to_owned()), Seen::Synced];
    assert_eq!(read_trace(trace), expected);
}
