//! Small looks at the store.

use legwork_core::event::{LogContent, LogPiece, LogStream};
use legwork_core::task::Outcome;
use legwork_core::{TaskId, TaskSpec};

use crate::support::{Bed, at, finished, new_task};

on_both!(inputs_are_put_together, unfinished_tasks_are_counted, a_byte_of_a_log_is_found);

async fn inputs_are_put_together(bed: Bed) {
    bed.store.ping().await.unwrap();
    let input: Vec<u8> = (0..(2 << 20) + 7).map(|n: u32| n.to_le_bytes()[0]).collect();
    for input in [input, b"{}".to_vec(), Vec::new()] {
        let task = new_task(TaskSpec::new("image", "test.Task"), &input);
        let id = task.id;
        bed.store.create_task(task, at(0)).await.unwrap();
        assert!(bed.store.input(id).await.unwrap() == Some(input));
    }
    assert_eq!(bed.store.input(TaskId::new()).await.unwrap(), None);
}

async fn unfinished_tasks_are_counted(bed: Bed) {
    assert_eq!(bed.store.unfinished_counts().await.unwrap(), []);
    let runner = bed.runner("remote").await;
    let done = bed.running(runner, |_| {}).await;
    bed.send(runner, done, 1, vec![finished(Outcome::Completed)]).await;
    bed.running(runner, |_| {}).await;
    bed.queued(|_| {}).await;
    bed.offer(runner, &[""], 1).await;
    bed.queued(|_| {}).await;
    bed.queued(|_| {}).await;
    let counts = bed.store.unfinished_counts().await.unwrap();
    let counts: Vec<_> = counts.iter().map(|(state, tasks)| (state.as_str(), *tasks)).collect();
    assert_eq!(counts, [("offered", 1), ("queued", 2), ("running", 1)]);
}

async fn a_byte_of_a_log_is_found(bed: Bed) {
    let runner = bed.runner("remote").await;
    let id = bed.running(runner, |_| {}).await;
    let (out, err) = (LogStream::Stdout, LogStream::Stderr);
    let at = |stream, offset| bed.store.log_position_of(id, stream, offset);
    assert_eq!(at(out, 5).await.unwrap(), 0, "there is no log yet");
    let bytes = |text: &str| LogContent::Bytes(text.as_bytes().to_vec());
    let pieces = vec![
        LogPiece { stream: out, offset: 0, content: bytes("abc") },
        LogPiece { stream: err, offset: 0, content: bytes("XY") },
        LogPiece { stream: out, offset: 3, content: LogContent::Gap { bytes: Some(10) } },
        LogPiece { stream: out, offset: 13, content: bytes("def") },
    ];
    bed.store.append_log(id, runner.0, pieces).await.unwrap();
    let places = [(out, 0, 0), (out, 2, 2), (err, 0, 3), (err, 1, 4), (out, 3, 5), (out, 9, 6), (out, 13, 6), (out, 15, 8)];
    for (stream, offset, position) in places {
        assert_eq!(at(stream, offset).await.unwrap(), position, "{stream:?} {offset}");
    }
    assert_eq!(at(out, 16).await.unwrap(), 9, "the end");
}
