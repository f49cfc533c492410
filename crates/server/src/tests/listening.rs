use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use legwork_lifecycle::{Lifecycle, Stopped};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, Stream, SupportedProtocolVersion};

use crate::{RunningServer, ServerConfig, StartError, TlsConfig, start};

fn config(folder: &Path) -> ServerConfig {
    let mut config = ServerConfig::new(folder.join("data"));
    config.listen = SocketAddr::from(([127, 0, 0, 1], 0));
    config
}

/// What `GET /live` answers over TLS, or why there is no TLS.
fn live(address: SocketAddr, ca: Option<&str>, name: &str, version: &'static SupportedProtocolVersion) -> Result<String, String> {
    let mut roots = RootCertStore::empty();
    if let Some(pem) = ca {
        roots.add(CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()).unwrap();
    }
    let mut config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_protocol_versions(&[version])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let mut connection = ClientConnection::new(Arc::new(config), name).unwrap();
    let mut socket = TcpStream::connect(address).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let mut stream = Stream::new(&mut connection, &mut socket);
    let request = b"GET /live HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    stream.write_all(request).map_err(|error| error.to_string())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).map_err(|error| error.to_string())?;
    Ok(answer)
}

async fn started(folder: &Path) -> (RunningServer, Lifecycle) {
    let lifecycle = Lifecycle::new();
    let server = start(config(folder), &lifecycle).await.unwrap();
    (server, lifecycle)
}

async fn stop(lifecycle: &Lifecycle) {
    lifecycle.stop();
    assert_eq!(lifecycle.run_until_stopped(false, Duration::from_secs(20)).await, Stopped::Asked);
}

#[tokio::test]
async fn tls_is_spoken_with_a_certificate_of_its_own_authority() {
    let folder = tempfile::tempdir().unwrap();
    let (server, lifecycle) = started(folder.path()).await;
    assert!(server.generated_admin_password.is_some());
    assert_eq!(server.url, format!("https://localhost:{}", server.local_addr.port()));
    let ca = server.ca_pem.clone().unwrap();
    assert_eq!(std::fs::read_to_string(folder.path().join("data/ca.pem")).unwrap(), ca);
    let mode = |name: &str| std::fs::metadata(folder.path().join("data").join(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("ca-key.pem"), mode("master.key")), (0o600, 0o600));
    let address = server.local_addr;
    let look = move |ca: Option<String>, name: &'static str, version| {
        tokio::task::spawn_blocking(move || live(address, ca.as_deref(), name, version))
    };
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        for name in ["localhost", "127.0.0.1"] {
            let answer = look(Some(ca.clone()), name, version).await.unwrap().unwrap();
            assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("live\n"), "{answer}");
        }
    }
    let refused = look(None, "localhost", &rustls::version::TLS13).await.unwrap().unwrap_err();
    assert!(refused.contains("UnknownIssuer"), "{refused}");
    let refused = look(Some(ca.clone()), "example.com", &rustls::version::TLS13).await.unwrap().unwrap_err();
    assert!(refused.contains("certificate not valid for name"), "{refused}");

    // A second server on this data directory is told so; after the first has stopped, it may start.
    let second = start(config(folder.path()), &Lifecycle::new()).await.unwrap_err();
    assert!(second.is_configuration() && second.to_string().contains("another server"), "{second}");
    stop(&lifecycle).await;
    let (again, lifecycle) = started(folder.path()).await;
    assert_eq!((again.ca_pem, again.generated_admin_password), (Some(ca), None));
    stop(&lifecycle).await;
}

#[tokio::test]
async fn what_cannot_work_is_refused_before_anything_is_opened() {
    let folder = tempfile::tempdir().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut table: Vec<(ServerConfig, &str)> = Vec::new();
    let mut add = |change: &dyn Fn(&mut ServerConfig), word| {
        let mut config = config(folder.path());
        change(&mut config);
        table.push((config, word));
    };
    let address = taken.local_addr().unwrap();
    add(&|config| config.listen = address, "taken");
    add(&|config| config.data_dir = "/proc/legwork".into(), "/proc/legwork");
    add(&|config| config.database_url = Some("mysql://u:p@h/d".into()), "mysql");
    add(&|config| config.database_url = Some("db2://u:p@h/d".into()), "postgres");
    add(&|config| config.admin_password = Some(String::new()), "password");
    add(&|config| config.master_key = crate::MasterKey::Given("short".into()), "key");
    add(&|config| config.host_names = vec!["no good".into()], "no good");
    let missing = TlsConfig::Files { certificate: "/nowhere/c.pem".into(), key: "/nowhere/k.pem".into() };
    add(&|config| config.tls = missing.clone(), "/nowhere/c.pem");
    for (config, word) in table {
        let error = start(config, &Lifecycle::new()).await.unwrap_err();
        let text = error.to_string();
        assert!(matches!(error, StartError::Configuration(_)), "{text}");
        assert!(text.contains(word) && !text.contains('\n') && !text.contains("u:p"), "{word}: {text}");
    }
    assert!(!folder.path().join("data/server.sqlite").exists());
}

#[tokio::test]
async fn without_tls_only_if_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let lifecycle = Lifecycle::new();
    let mut config = config(folder.path());
    config.tls = TlsConfig::Plain;
    config.admin_password = Some("given".into());
    let server = start(config, &lifecycle).await.unwrap();
    assert!(server.url.starts_with("http://") && server.ca_pem.is_none() && server.generated_admin_password.is_none());
    let address = server.local_addr;
    let answer = tokio::task::spawn_blocking(move || {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(b"GET /ready HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    });
    assert!(answer.await.unwrap().ends_with("ready\n"));
    stop(&lifecycle).await;
}
