//! Images from a registry: a real one of our own on this machine, and one that is scripted.
//!
//! Needs a Docker daemon, `docker-registry`, `python3` and the image `legwork/testbed:dev` (`scripts/images plugins`).

#[cfg(test)]
mod registry {
    use std::path::Path;
    use std::process::Stdio;
    use std::sync::Mutex;
    use std::time::{Duration, Instant};

    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use legwork_core::FailureClass;
    use legwork_docker::{DockerConfig, DockerEngine};
    use legwork_engine::conformance::within;
    use legwork_engine::{Engine, Fault, PreparedImage};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};
    use tokio::process::{Child, Command};

    const TESTBED: &str = "legwork/testbed:dev";

    struct Registry {
        address: String,
        folder: tempfile::TempDir,
        _process: Child,
    }

    async fn output(program: &str, arguments: &[&str]) -> String {
        let done = Command::new(program).args(arguments).output().await.unwrap();
        assert!(done.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&done.stderr));
        String::from_utf8(done.stdout).unwrap().trim().to_owned()
    }

    impl Registry {
        /// One of our own; with a password if it is to ask for one.
        async fn start(password: Option<&str>) -> Self {
            let folder = tempfile::tempdir().unwrap();
            // Free a moment ago; nobody else asks for this very port.
            let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            let address = format!("127.0.0.1:{port}");
            let place = folder.path().display();
            let mut config = format!(
                "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: \"{place}/data\"}}}}\n\
                 http: {{addr: \"{address}\"}}\n"
            );
            if let Some(password) = password {
                let program =
                    "import crypt, sys; print(crypt.crypt(sys.argv[1], crypt.mksalt(crypt.METHOD_BLOWFISH, rounds=16)))";
                let hash = output("python3", &["-W", "ignore", "-c", program, password]).await;
                std::fs::write(folder.path().join("htpasswd"), format!("legwork:{hash}\n")).unwrap();
                config += &format!("auth: {{htpasswd: {{realm: legwork, path: \"{place}/htpasswd\"}}}}\n");
            }
            let file = folder.path().join("config.yml");
            std::fs::write(&file, config).unwrap();
            let mut command = Command::new("docker-registry");
            command.arg("serve").arg(&file).stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
            let process = command.spawn().unwrap();
            let listens = async {
                while TcpStream::connect(&address).await.is_err() {
                    tokio::task::yield_now().await;
                }
            };
            within(listens).await;
            Self { address, folder, _process: process }
        }

        /// Puts the testbed there and forgets its name here.
        async fn push(&self, name: &str, docker: &[&str]) -> String {
            let image = format!("{}/{name}", self.address);
            output("docker", &["tag", TESTBED, &image]).await;
            output("docker", &[docker, &["push", &image]].concat()).await;
            output("docker", &["rmi", &image]).await;
            image
        }
    }

    async fn prepare(image: &str, credentials: Option<&Path>) -> (Result<PreparedImage, Fault>, Vec<String>) {
        let config = DockerConfig { credentials: credentials.map(Path::to_owned), ..DockerConfig::default() };
        let engine = DockerEngine::new(config).unwrap();
        let told = Mutex::new(Vec::new());
        let prepared = within(engine.prepare(image, &|line| told.lock().unwrap().push(line))).await;
        (prepared, told.into_inner().unwrap())
    }

    #[tokio::test]
    async fn an_image_is_pulled_and_then_there() {
        let registry = Registry::start(None).await;
        let image = registry.push("some/testbed:1", &[]).await;
        let (prepared, told) = prepare(&image, None).await;
        assert_eq!(told[0], format!("pulling {image}"));
        assert_eq!(prepared.unwrap().digest, output("docker", &["inspect", "-f", "{{.Id}}", TESTBED]).await);
        let (again, told) = prepare(&image, None).await;
        assert!(again.is_ok() && told.is_empty(), "{told:?}");
        output("docker", &["rmi", &image]).await;
    }

    #[tokio::test]
    async fn an_unknown_tag_is_told_in_the_registrys_words() {
        let registry = Registry::start(None).await;
        let begun = Instant::now();
        let fault = prepare(&format!("{}/some/testbed:never", registry.address), None).await.0.unwrap_err();
        assert_eq!(fault.failure.class, FailureClass::Image);
        assert!(fault.failure.message.contains("manifest unknown"), "{fault}");
        assert!(begun.elapsed() < Duration::from_secs(15));
    }

    #[tokio::test]
    async fn credentials_are_used_and_their_lack_is_told() {
        let registry = Registry::start(Some("open sesame")).await;
        let auth = STANDARD.encode("legwork:open sesame");
        let file = registry.folder.path().join("config.json");
        std::fs::write(&file, format!(r#"{{"auths":{{"{}":{{"auth":"{auth}"}}}}}}"#, registry.address)).unwrap();
        let folder = registry.folder.path().display().to_string();
        let image = registry.push("secret/testbed:1", &["--config", &folder]).await;
        let fault = prepare(&image, None).await.0.unwrap_err();
        assert_eq!(fault.failure.class, FailureClass::Image);
        assert!(fault.failure.message.contains("without credentials"), "{fault}");
        prepare(&image, Some(&file)).await.0.unwrap();
        output("docker", &["rmi", &image]).await;
    }

    /// Answers every question with this status.
    async fn always(listener: &TcpListener, status: &str) {
        while let Ok((mut connection, _)) = listener.accept().await {
            let mut asked = Vec::new();
            while !asked.ends_with(b"\r\n\r\n") && connection.read_buf(&mut asked).await.is_ok_and(|count| count > 0) {}
            let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
            drop(connection.write_all(answer.as_bytes()).await);
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_busy_registry_is_asked_again_after_a_pause() {
        for status in ["429 Too Many Requests", "503 Service Unavailable"] {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let image = format!("{}/some/testbed:1", listener.local_addr().unwrap());
            let engine = DockerEngine::new(DockerConfig::default()).unwrap();
            let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
            let tell = move |line: String| drop(tell.send(line));
            let begun = Instant::now();
            tokio::select! {
                prepared = engine.prepare(&image, &tell) => panic!("{status}: {prepared:?}"),
                () = always(&listener, status) => panic!("it listens no more"),
                () = within(async {
                    for pause in ["1 s", "2 s"] {
                        while !told.recv().await.unwrap().ends_with(&format!("trying again in {pause}")) {}
                    }
                }) => {}
            }
            assert!(begun.elapsed() >= Duration::from_secs(1), "{status}");
        }
    }
}
