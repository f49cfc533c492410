//! What only holds for Docker: limits, labels, and that nothing secret can be seen.

#[cfg(test)]
mod docker {
    use std::sync::Arc;

    use futures::{FutureExt, StreamExt};
    use legwork_core::verdict::{Evidence, Exit};
    use legwork_docker::{DockerConfig, DockerEngine};
    use legwork_engine::conformance::{Bench, Fixture, run, within};
    use legwork_engine::{LogItem, LogOffsets, LogStream};
    use serde_json::{Value, json};

    fn fixture() -> Fixture {
        Fixture {
            engine: Arc::new(DockerEngine::new(DockerConfig::default()).unwrap()),
            image: "legwork/testbed:dev".to_owned(),
            expected_log: |_| (Vec::new(), Vec::new()),
            remove_by_others: Box::new(|_| async {}.boxed()),
            stop_by_others: Box::new(|_| async {}.boxed()),
        }
    }

    async fn docker(arguments: &[&str]) -> Value {
        let done = tokio::process::Command::new("docker").args(arguments).output().await.unwrap();
        assert!(done.status.success(), "docker {arguments:?}: {}", String::from_utf8_lossy(&done.stderr));
        serde_json::from_slice(&done.stdout).unwrap()
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn labels_and_environment_are_exactly_these() {
        run(fixture(), async |bench: Arc<Bench>| {
            let (spec, key) = bench.spec(&json!({"outputs": {"word": "to-be-kept-secret"}}));
            let handle = bench.engine().create(&spec).await.unwrap();
            let attempt = spec.attempt.unwrap();
            assert_eq!(handle.0, format!("legwork-{}-{}", attempt.task, attempt.attempt));
            let labels = json!({
                "legwork": bench.owner.0.to_string(), "legwork.task": attempt.task.to_string(),
                "legwork.attempt": "1", "legwork.epoch": "3",
            });
            let mut container = docker(&["inspect", &handle.0]).await;
            // This one is the image's own: scripts/images keeps a checksum in it.
            container[0]["Config"]["Labels"].as_object_mut().unwrap().remove("legwork.inputs");
            assert_eq!(container[0]["Config"]["Labels"], labels);
            let volume = docker(&["volume", "inspect", &handle.0]).await;
            assert_eq!(volume[0]["Labels"], labels);
            let key = key.to_text();
            let shown = container.to_string();
            assert_eq!(shown.matches(key.as_str()).count(), 1, "the key is in the environment and nowhere else");
            assert!(!shown.contains("to-be-kept-secret"));
            let environment = container[0]["Config"]["Env"].as_array().unwrap();
            let mut names: Vec<_> = environment.iter().map(|line| line.as_str().unwrap().split_once('=').unwrap().0).collect();
            names.sort_unstable();
            names.retain(|name| *name != "PATH");
            assert_eq!(names, ["INPUT_LOCATION", "OUTPUT_LOCATION", "RELEASE_URL", "SESSION_KEY"]);
        })
        .await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn out_of_memory_is_recognised() {
        run(fixture(), async |bench: Arc<Bench>| {
            let limit = 64 * 1024 * 1024;
            let placed =
                bench.place_with(&json!({"allocate_bytes": 200_000_000}), |spec| spec.settings.limits.memory_bytes = limit).await;
            let ended = within(bench.engine().wait(&placed.handle)).await.unwrap();
            assert_eq!(ended.exit, Some(Exit::Signal(9)));
            assert_eq!(ended.evidence, Some(Evidence::OutOfMemory { limit, peak: None }));
        })
        .await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn processes_are_limited() {
        run(fixture(), async |bench: Arc<Bench>| {
            let placed = bench.place_with(&json!({"fork": 100}), |spec| spec.settings.limits.pids = 20).await;
            let result = bench.result(&placed).await;
            assert_ne!(result["exitCode"], 0, "{result}");
        })
        .await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_root_that_cannot_be_written_to_is_no_obstacle() {
        run(fixture(), async |bench: Arc<Bench>| {
            let placed = bench.place_with(&json!({"outputs": {"a": "b"}}), |spec| spec.settings.read_only_root = true).await;
            assert_eq!(bench.result(&placed).await["outputProperties"]["a"], "b");
        })
        .await;
    }

    /// The first reader was there from the start and has everything; for the second Docker has thrown the beginning away.
    #[tokio::test(flavor = "multi_thread")]
    async fn a_late_reader_of_a_long_log_is_told_of_a_gap_at_its_beginning() {
        run(fixture(), async |bench: Arc<Bench>| {
            const WRITTEN: u64 = 60_000 * 81;
            let inputs = json!({"log_lines": 60_000, "log_line_length": 80, "sleep_ms": 5_000});
            let placed = bench.place_with(&inputs, |spec| spec.settings.log_limit = 1_000).await;
            let mut items = bench.engine().logs(&placed.handle, LogOffsets::default()).await.unwrap();
            let mut read = 0;
            while read < WRITTEN {
                let LogItem::Bytes { offset, bytes, .. } = within(items.next()).await.unwrap().unwrap() else { panic!("a gap") };
                assert_eq!(offset, read);
                read += bytes.len() as u64;
            }
            let late = bench.log(&placed.handle, LogOffsets::default()).await;
            assert_eq!(late.gaps[..2], [(LogStream::Stdout, 0), (LogStream::Stderr, 0)]);
            let bytes = late.stdout.len() as u64;
            assert!(bytes > 900_000 && bytes < WRITTEN, "{bytes} bytes are kept");
        })
        .await;
    }
}
