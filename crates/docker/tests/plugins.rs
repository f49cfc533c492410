//! Plugins as they are: one on the official SDK, and one that attacks the folder it is given.
//!
//! Needs a Docker daemon and the images of `scripts/images plugins`, with the Python base image under them.

#[cfg(test)]
mod plugins {
    use std::path::Path;
    use std::process::Stdio;
    use std::sync::Arc;

    use futures::{FutureExt, StreamExt};
    use legwork_contract::abort::Signal;
    use legwork_contract::session;
    use legwork_core::attempt::ExecutorSeen;
    use legwork_core::verdict::Evidence;
    use legwork_docker::{DockerConfig, DockerEngine, Files};
    use legwork_engine::conformance::{Bench, Fixture, Placed, run, within};
    use legwork_engine::{LogItem, LogOffsets, Pooling, ResultTaken};
    use serde_json::{Value, json};
    use tokio::io::AsyncWriteExt;
    use tokio::process::Command;

    const BOTH: [Files; 2] = [Files::WhereverTheyAre, Files::ByApi];

    fn fixture(files: Files, image: &str) -> Fixture {
        Fixture {
            engine: Arc::new(DockerEngine::new(DockerConfig { files, ..DockerConfig::default() }).unwrap()),
            image: image.to_owned(),
            expected_log: |_| (Vec::new(), Vec::new()),
            remove_by_others: Box::new(|_| async {}.boxed()),
            stop_by_others: Box::new(|handle| {
                async move {
                    let done = Command::new("docker").args(["stop", &handle.0]).output().await.unwrap();
                    assert!(done.status.success());
                }
                .boxed()
            }),
        }
    }

    /// Starts a task of the SDK plugin.
    async fn start(bench: &Bench, task: &str, inputs: &Value) -> Placed {
        let properties: Vec<Value> = inputs
            .as_object()
            .unwrap()
            .iter()
            .map(|(name, value)| json!({"name": name, "value": value, "kind": "STRING", "category": "input", "password": false}))
            .collect();
        let context = json!({
            "release": {
                "id": "Applications/Release1", "automatedTaskAsUser": {"username": null, "password": null}, "url": null,
            },
            "task": {"id": "Applications/Release1/Phase1/Task1", "type": task, "properties": properties},
        });
        let change = |spec: &mut legwork_engine::ExecutorSpec| {
            let input = session::encrypt(&spec.session_key, context.to_string().as_bytes()).unwrap().into();
            spec.pooling = Pooling::Single { input };
        };
        bench.place_with(&json!({}), change).await
    }

    async fn until_it_says(bench: &Bench, placed: &Placed, words: &str) {
        let mut items = bench.engine().logs(&placed.handle, LogOffsets::default()).await.unwrap();
        let mut read = String::new();
        while !read.contains(words) {
            let item = within(items.next()).await.unwrap_or_else(|| panic!("no {words:?} in {read}")).unwrap();
            let LogItem::Bytes { bytes, .. } = item else { panic!("a gap") };
            read.push_str(&String::from_utf8_lossy(&bytes));
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn an_sdk_plugin_greets() {
        for files in BOTH {
            run(fixture(files, "legwork/hello-python:dev"), async |bench: Arc<Bench>| {
                let placed = start(&bench, "hello.Greet", &json!({"yourName": "World"})).await;
                let (mut result, mut end) = (std::pin::pin!(bench.result(&placed)), bench.engine().wait(&placed.handle));
                if files == Files::WhereverTheyAre {
                    tokio::select! {
                        biased;
                        result = &mut result => assert!(result.to_string().contains("World"), "{result}"),
                        end = &mut end => panic!("it ended before its result was taken: {end:?}"),
                    }
                } else {
                    assert!(result.await.to_string().contains("World"));
                }
                assert_eq!(within(end).await.unwrap().evidence, None);
            })
            .await;
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn an_sdk_plugin_is_aborted_and_cleans_up() {
        run(fixture(Files::WhereverTheyAre, "legwork/hello-python:dev"), async |bench: Arc<Bench>| {
            let placed = start(&bench, "hello.Careful", &json!({"seconds": "60"})).await;
            until_it_says(&bench, &placed, "Took the lock").await;
            // Plugins in Go want the first, those in Python do not see it and want the second.
            bench.engine().signal(&placed.handle, Signal::Abort).await.unwrap();
            assert_eq!(bench.engine().look(&placed.handle).await.unwrap(), ExecutorSeen::Running);
            bench.engine().signal(&placed.handle, Signal::Terminate).await.unwrap();
            let result = bench.result(&placed).await;
            assert_ne!(result["exitCode"], 0, "{result}");
            assert_eq!(result["outputProperties"]["cleanedUp"], true, "{result}");
            assert_eq!(within(bench.engine().wait(&placed.handle)).await.unwrap().evidence, None);
        })
        .await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn an_sdk_plugin_that_others_stop_leaves_evidence_and_a_result() {
        for files in BOTH {
            run(fixture(files, "legwork/hello-python:dev"), async |bench: Arc<Bench>| {
                let placed = start(&bench, "hello.Careful", &json!({"seconds": "60"})).await;
                until_it_says(&bench, &placed, "Took the lock").await;
                let ended = bench.engine().wait(&placed.handle);
                let others = (bench.fixture.stop_by_others)(placed.handle.clone());
                let (ended, result, ()) = tokio::join!(within(ended), bench.result(&placed), others);
                assert_ne!(result["exitCode"], 0, "{result}");
                let evidence = ended.unwrap().evidence;
                assert!(matches!(evidence, Some(Evidence::RemovedByOthers { .. })), "{evidence:?}");
            })
            .await;
        }
    }

    /// What it does to its output comes with the one variable that a test can choose.
    const ATTACKER: &str = r#"FROM legwork/python-base:bookworm
CMD ["python3", "-c", "import os, stat; out = os.environ['OUTPUT_LOCATION']; job = os.path.dirname(out); kind = os.environ['RELEASE_URL']\nif kind == 'link': os.symlink('/etc/shadow', out)\nif kind == 'folder': os.mkdir(out)\nif kind == 'pipe': os.mkfifo(out)\nif kind == 'device': os.mknod(out, stat.S_IFCHR | 0o666, os.makedev(1, 5))\nif kind == 'parent': os.rename(job, job + '2'); os.symlink('/etc', job); os.symlink('/etc/shadow', job + '2/output')\nif kind == 'hole': open(out, 'wb').truncate(1 << 40)\n"]
"#;

    #[tokio::test(flavor = "multi_thread")]
    async fn what_a_plugin_puts_in_place_of_its_result_is_not_followed() {
        const IMAGE: &str = "legwork/test-attacker:dev";
        let mut build = Command::new("docker")
            .args(["build", "-q", "-t", IMAGE, "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        build.stdin.take().unwrap().write_all(ATTACKER.as_bytes()).await.unwrap();
        assert!(build.wait().await.unwrap().success());
        for files in BOTH {
            for kind in ["link", "folder", "pipe", "device", "parent", "hole"] {
                run(fixture(files, IMAGE), async |bench: Arc<Bench>| {
                    let placed = bench.place_with(&json!({}), |spec| spec.release_url = kind.to_owned()).await;
                    let (taken, into) = bench.take(&placed, 1_000_000).await;
                    let expected = if kind == "hole" { ResultTaken::TooLarge { bytes: 0 } } else { ResultTaken::Missing };
                    let same = std::mem::discriminant(&taken) == std::mem::discriminant(&expected);
                    assert!(same, "{kind}, {files:?}: {taken:?}");
                    assert_eq!(size(&into), 0, "{kind}, {files:?}: nothing is copied");
                })
                .await;
            }
        }
        let removed = Command::new("docker").args(["rmi", IMAGE]).stdout(Stdio::null()).status().await.unwrap();
        assert!(removed.success());
    }

    fn size(file: &Path) -> u64 {
        std::fs::metadata(file).map_or(0, |about| about.len())
    }
}
