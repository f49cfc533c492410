//! The log, byte for byte.

use std::sync::Arc;

use futures::StreamExt;
use legwork_core::{Clock, Timestamp};
use serde_json::{Value, json};

use super::super::{Bench, collect, within};
use crate::{LogItem, LogOffsets, LogStream};

async fn exact(bench: &Bench, inputs: Value) {
    let placed = bench.place(&inputs).await;
    let log = bench.log(&placed.handle, LogOffsets::default()).await;
    let (stdout, stderr) = bench.expected(&inputs);
    same(&log.stdout, &stdout, &inputs);
    same(&log.stderr, &stderr, &inputs);
    assert_eq!(log.gaps, [], "{inputs}");
    bench.engine().remove(&placed.handle).await.unwrap();
}

fn same(read: &[u8], written: &[u8], inputs: &Value) {
    let first = read.iter().zip(written).position(|(a, b)| a != b);
    assert!(read == written, "{inputs}: read {} bytes, written {}, first difference {first:?}", read.len(), written.len());
}

/// Each stream has its own bytes.
pub async fn log_of_both_streams(bench: Arc<Bench>) {
    exact(&bench, json!({"log_lines": 1_000, "log_stream": "both"})).await;
    exact(&bench, json!({"log_lines": 10, "log_stream": "stderr"})).await;
    exact(&bench, json!({})).await;
}

/// Lines as long as the pieces of some engines, and a byte shorter or longer.
pub async fn log_lines_around_16_kib(bench: Arc<Bench>) {
    for length in [16_382, 16_383, 16_384, 16_385, 32_767, 32_768, 32_769] {
        exact(&bench, json!({"log_lines": 3, "log_line_length": length, "log_stream": "both"})).await;
    }
}

/// Every byte value arrives.
pub async fn log_invalid_utf8(bench: Arc<Bench>) {
    exact(&bench, json!({"log_bytes": 100_000, "invalid_utf8": true, "log_lines": 1})).await;
}

/// Characters are not broken at the pieces of some engines.
pub async fn log_characters_across_pieces(bench: Arc<Bench>) {
    exact(&bench, json!({"log_bytes": 100_000})).await;
}

/// A last line without an end gets none.
pub async fn log_without_final_newline(bench: Arc<Bench>) {
    for length in [1, 80, 16_383, 16_384, 16_385, 32_768, 40_000] {
        exact(&bench, json!({"log_lines": 3, "log_line_length": length, "no_final_newline": true, "log_stream": "both"})).await;
    }
}

/// One line of 10 MB.
pub async fn log_of_one_long_line(bench: Arc<Bench>) {
    exact(&bench, json!({"long_line": 10_000_000, "log_lines": 2})).await;
}

/// A log goes on at any byte, also inside a line of 10 MB.
pub async fn log_resumed_anywhere(bench: Arc<Bench>) {
    let inputs = json!({"log_lines": 2_000, "log_stream": "both", "long_line": 10_000_000, "log_line_length": 40});
    let placed = bench.place(&inputs).await;
    let (stdout, stderr) = bench.expected(&inputs);
    let places = [(0, 0), (1, 0), (40, 41), (41, 17), (100_000, 3), (5_000_001, stderr.len()), (stdout.len(), stderr.len())];
    for (from_stdout, from_stderr) in places {
        let (from_stdout, from_stderr) = (from_stdout.min(stdout.len()), from_stderr.min(stderr.len()));
        let from = LogOffsets { stdout: from_stdout as u64, stderr: from_stderr as u64 };
        let log = bench.log(&placed.handle, from).await;
        same(&log.stdout, &stdout[from_stdout..], &inputs);
        same(&log.stderr, &stderr[from_stderr..], &inputs);
    }
}

/// Nothing is lost when a plugin writes a lot and ends at once.
pub async fn log_complete_after_instant_exit(bench: Arc<Bench>) {
    exact(&bench, json!({"log_lines": 100_000, "log_stream": "both"})).await;
}

/// What is written is delivered while the executor still runs.
pub async fn log_followed_while_it_runs(bench: Arc<Bench>) {
    let inputs = json!({"log_lines": 3, "sleep_ms": 30_000});
    let placed = bench.place(&inputs).await;
    let expected = bench.expected(&inputs).0;
    let mut items = bench.engine().logs(&placed.handle, LogOffsets::default()).await.unwrap();
    let mut read = Vec::new();
    while read.len() < expected.len() {
        let LogItem::Bytes { bytes, .. } = within(items.next()).await.unwrap().unwrap() else { panic!("a gap") };
        read.extend_from_slice(&bytes);
    }
    same(&read, &expected, &inputs);
    bench.engine().remove(&placed.handle).await.unwrap();
    // The log ends with its executor, whatever it says about what it can no longer tell.
    while within(items.next()).await.is_some() {}
}

/// What an engine has thrown away while nobody read is a gap, and what comes behind it is exact.
pub async fn log_thrown_away(bench: Arc<Bench>) {
    for inputs in [
        json!({"log_lines": 60_000, "log_line_length": 80}),
        json!({"log_lines": 60_000, "log_line_length": 80, "log_stream": "both"}),
        json!({"log_lines": 2, "long_line": 5_000_000}),
    ] {
        let placed = bench.place_with(&inputs, |spec| spec.settings.log_limit = 1_000).await;
        within(bench.engine().wait(&placed.handle)).await.unwrap();
        let (stdout, stderr) = bench.expected(&inputs);
        // Twice from the start, then as a reader who had a little long ago.
        for from in [0, 0, 10] {
            let from = LogOffsets { stdout: from, stderr: from.min(stderr.len() as u64) };
            let long_ago = Timestamp::from_millis(Clock::system().now().as_millis() - 600_000);
            let items = bench.engine().resume_logs(&placed.handle, from, long_ago).await.unwrap();
            let log = within(collect(items, from)).await;
            for (stream, read, written) in [(LogStream::Stdout, &log.stdout, &stdout), (LogStream::Stderr, &log.stderr, &stderr)]
            {
                let gap = log.gaps.iter().rfind(|(gap, _)| *gap == stream).map(|(_, offset)| offset - from.of(stream));
                let (before, behind) = read.split_at(usize::try_from(gap.unwrap_or(0)).unwrap());
                let begin = usize::try_from(from.of(stream)).unwrap();
                if gap.is_none() {
                    same(read, &written[begin..], &inputs);
                } else {
                    same(before, &written[begin..begin + before.len()], &inputs);
                    assert!(written.ends_with(behind), "{inputs}: {} bytes behind a gap are not the last ones", behind.len());
                }
            }
        }
        bench.engine().remove(&placed.handle).await.unwrap();
    }
}

/// A slow reader who is there from the start loses nothing, however little the engine keeps.
pub async fn log_read_slowly(bench: Arc<Bench>) {
    let inputs = json!({"log_lines": 100_000, "log_line_length": 80});
    let placed = bench.place_with(&inputs, |spec| spec.settings.log_limit = 1_000).await;
    let items = bench.engine().logs(&placed.handle, LogOffsets::default()).await.unwrap();
    let mut seen = 0_u64;
    let slowly = items.then(|item| {
        seen += 1;
        let pause = std::time::Duration::from_millis(if seen.is_multiple_of(16) { 5 } else { 0 });
        async move {
            tokio::time::sleep(pause).await;
            item
        }
    });
    let log = within(collect(slowly, LogOffsets::default())).await;
    same(&log.stdout, &bench.expected(&inputs).0, &inputs);
    assert_eq!(log.gaps, []);
}
