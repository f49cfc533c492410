use legwork_core::event::Phase;
use legwork_core::{Capabilities, FailureClass, RunnerId, TaskId};
use legwork_protocol::api::{AbortInfo, Comment, LogInfo, RunnerName, TaskInput, Timing};
use legwork_protocol::duration::HumanDuration;
use serde_json::json;

use super::*;

fn now() -> Timestamp {
    "2026-11-23T18:00:00Z".parse().unwrap()
}

fn plain(text: &str) -> String {
    anstream::adapter::strip_str(text).to_string()
}

fn before(seconds: u64) -> Timestamp {
    now().minus(Duration::from_secs(seconds))
}

fn runner() -> RunnerName {
    RunnerName { id: RunnerId("01936000-0000-7000-8000-00000000beef".parse().unwrap()), title: "north-1".to_owned() }
}

/// A task that has completed.
fn completed() -> Task {
    Task {
        summary: TaskSummary {
            id: TaskId("01936000-0000-7000-8000-0000cafe0001".parse().unwrap()),
            title: "Greet the world".to_owned(),
            image: "legwork/hello-python:dev".to_owned(),
            task_type: "hello.Greet".to_owned(),
            status: TaskStatus::Completed,
            class: None,
            status_line: Some("said it\u{1b}[31m".to_owned()),
            runner: Some(runner()),
            attempt: 1,
            created: before(100),
            started: Some(before(90)),
            finished: Some(before(87)),
        },
        created_by: "admin".to_owned(),
        waiting: None,
        explanation: None,
        message: None,
        evidence: None,
        abort: None,
        outputs: Some(serde_json::from_value(json!({"greeting": "Hello, World", "count": 3})).unwrap()),
        reporting_records: Vec::new(),
        result_bytes: 120,
        inputs: vec![
            TaskInput { name: "name".to_owned(), value: json!("World"), kind: None, secret: false },
            TaskInput { name: "password".to_owned(), value: Value::Null, kind: None, secret: true },
        ],
        capabilities: Capabilities::parse_list("remote").unwrap(),
        priority: 0,
        abort_timeout: HumanDuration(Duration::from_secs(30)),
        run_timeout: None,
        queue_timeout: None,
        retries: 0,
        lost_runner: LostRunner::Wait,
        attempts: vec![Attempt {
            number: 1,
            runner: runner(),
            phase: Some(Phase::Reporting),
            offered: before(90),
            confirmed: Some(before(90)),
            finished: Some(before(87)),
            outcome: Some("completed".to_owned()),
            message: None,
            timings: vec![
                Timing { step: "image".to_owned(), millis: 3 },
                Timing { step: "start".to_owned(), millis: 180 },
                Timing { step: "run".to_owned(), millis: 2_400 },
            ],
            log: Some(LogInfo { stdout_bytes: 2_048, stderr_bytes: 0, dropped_bytes: 0, gaps: 0 }),
        }],
        comments: vec![Comment { attempt: 1, at: before(88), text: "two\nlines".to_owned() }],
    }
}

/// The same task, had it failed.
fn failed() -> Task {
    let mut task = completed();
    task.summary.status = TaskStatus::Failed;
    task.summary.class = Some(FailureClass::Aborted);
    task.message = Some("aborted by admin: not needed".to_owned());
    task.abort = Some(AbortInfo { by: "admin".to_owned(), at: before(89), reason: Some("not needed".to_owned()) });
    task.outputs = None;
    task.result_bytes = 70_000;
    task.lost_runner = LostRunner::RunElsewhere { after: HumanDuration(Duration::from_mins(5)) };
    task
}

/// A task that nobody can run.
fn waiting() -> Task {
    let mut task = completed();
    task.summary.status = TaskStatus::Pending;
    task.summary.started = None;
    task.summary.finished = None;
    task.summary.runner = None;
    task.summary.status_line = None;
    task.explanation = Some("no registered runner offers gpu".to_owned());
    task.outputs = None;
    task.result_bytes = 0;
    task.comments.clear();
    task.attempts.clear();
    task
}

#[test]
fn a_list_looks_like_this() {
    let items = vec![waiting().summary, failed().summary, completed().summary];
    insta::assert_snapshot!(plain(&list(&Page { items, next: Some("x".to_owned()) }, now())), @r#"
    TASK      STATUS            TITLE            RUNNER   CREATED    TOOK   STATUS LINE
    cafe0001  Pending           Greet the world  -        1 min ago  -
    cafe0001  Failed (aborted)  Greet the world  north-1  1 min ago  3.0 s  said it [31m
    cafe0001  Completed         Greet the world  north-1  1 min ago  3.0 s  said it [31m
    There are more: see --limit and --after.
    "#);
    assert_eq!(list(&Page { items: Vec::new(), next: None }, now()), "no tasks\n");
}

#[test]
fn a_task_looks_like_this() {
    insta::assert_snapshot!(plain(&show(&completed(), now())), @r#"
    Task           01936000-0000-7000-8000-0000cafe0001
    Title          Greet the world
    Type           hello.Greet
    Image          legwork/hello-python:dev
    Status         Completed
    Status line    said it [31m
    Runner         north-1
    Created        2026-11-23T17:58:20.000Z (1 min ago) by admin
    Started        2026-11-23T17:58:30.000Z (1 min ago)
    Finished       2026-11-23T17:58:33.000Z (1 min ago)
    Took           3.0 s
    Requires       remote
    Abort timeout  30s

    Inputs
      name = World
      password = (secret)

    Outputs
      count = 3
      greeting = Hello, World

    Comments
      1 min ago  two
        lines

    Attempts
      1  completed on north-1, 1 min ago; image 3 ms, start 180 ms, run 2.4 s; log 2 KiB
    "#);
    insta::assert_snapshot!(plain(&show(&failed(), now())), @r#"
    Task           01936000-0000-7000-8000-0000cafe0001
    Title          Greet the world
    Type           hello.Greet
    Image          legwork/hello-python:dev
    Status         Failed (aborted)
    Message        aborted by admin: not needed
    Status line    said it [31m
    Abort          asked for by admin 1 min ago: not needed
    Runner         north-1
    Created        2026-11-23T17:58:20.000Z (1 min ago) by admin
    Started        2026-11-23T17:58:30.000Z (1 min ago)
    Finished       2026-11-23T17:58:33.000Z (1 min ago)
    Took           3.0 s
    Requires       remote
    Abort timeout  30s
    Lost runner    run elsewhere after 5m (at most one accepted result, maybe two executions)

    Inputs
      name = World
      password = (secret)

    Outputs
      the result has 68.4 KiB: legwork task result cafe0001

    Comments
      1 min ago  two
        lines

    Attempts
      1  completed on north-1, 1 min ago; image 3 ms, start 180 ms, run 2.4 s; log 2 KiB
    "#);
    insta::assert_snapshot!(plain(&show(&waiting(), now())), @r#"
    Task           01936000-0000-7000-8000-0000cafe0001
    Title          Greet the world
    Type           hello.Greet
    Image          legwork/hello-python:dev
    Status         Pending
                   no registered runner offers gpu
    Created        2026-11-23T17:58:20.000Z (1 min ago) by admin
    Requires       remote
    Abort timeout  30s

    Inputs
      name = World
      password = (secret)
    "#);
}

#[test]
fn an_ending_looks_like_this() {
    insta::assert_snapshot!(plain(&ending(&completed())), @r#"
    Completed in 3.0 s
      count = 3
      greeting = Hello, World
      image 3 ms, start 180 ms, run 2.4 s
    "#);
    insta::assert_snapshot!(plain(&ending(&failed())), @r#"
    Failed (aborted) in 3.0 s
      aborted by admin: not needed
      the result has 68.4 KiB: legwork task result cafe0001
      image 3 ms, start 180 ms, run 2.4 s
    "#);
}

#[test]
fn long_values_are_cut() {
    let shown = value(&json!("x".repeat(5_000)));
    assert!(shown.ends_with("… (4.9 KiB)"), "{shown}");
    assert!(shown.len() < 220);
}
