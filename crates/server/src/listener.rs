//! The server's port: TCP, TLS, HTTP/2 and HTTP/1.1, and a graceful end.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum_server::Handle;
use axum_server::accept::{TcpConfigAcceptor, TcpKeepaliveConfig, TcpSocketConfig};
use axum_server::tls_rustls::{RustlsAcceptor, RustlsConfig};
use legwork_lifecycle::Lifecycle;
use tokio::net::TcpSocket;

/// Connections that wait to be accepted: all runners may come back at once.
const BACKLOG: u32 = 4_096;
const HANDSHAKE: Duration = Duration::from_secs(10);
/// How long requests may take to end after the server was asked to stop.
const LAST_REQUESTS: Duration = Duration::from_secs(10);
/// How long a client may take over the head of a request.
const HEAD: Duration = Duration::from_secs(30);
/// Windows that let a chunk of 1 MiB pass without waiting for the other side.
const STREAM_WINDOW: u32 = 4 * 1024 * 1024;
const CONNECTION_WINDOW: u32 = 16 * 1024 * 1024;

/// Takes the port, so that nobody else can; nothing is answered yet.
pub(crate) fn bind(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)?.into_std()
}

/// Answers on this port until the life is stopped; then does one last thing.
pub(crate) fn serve(
    listener: std::net::TcpListener,
    tls: Option<RustlsConfig>,
    router: Router,
    lifecycle: &Lifecycle,
    last: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let handle = Handle::new();
    let mut server = axum_server::from_tcp(listener)?.handle(handle.clone()).accept_error_handler(|peer, error| {
        tracing::debug!(peer = peer.map(ToString::to_string), %error, "a connection was not accepted");
    });
    let http = server.http_builder();
    http.http1().header_read_timeout(HEAD);
    http.http2()
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_concurrent_streams(1_024)
        .keep_alive_interval(Duration::from_secs(30))
        .keep_alive_timeout(Duration::from_secs(30));
    let server = server.first_request_timeout(HEAD);
    let keepalive = TcpKeepaliveConfig::new().time(Duration::from_secs(60)).interval(Duration::from_secs(20));
    let tcp = TcpConfigAcceptor::new(TcpSocketConfig::new().nodelay(true).keepalive(keepalive));
    let make_service = router.into_make_service_with_connect_info::<SocketAddr>();

    let (life, stopping) = (lifecycle.clone(), lifecycle.stopping().clone());
    lifecycle.spawn("the listener", async move {
        let ended = match tls {
            Some(tls) => {
                let acceptor = RustlsAcceptor::new(tls).handshake_timeout(HANDSHAKE).acceptor(tcp);
                server.acceptor(acceptor).serve(make_service).await
            }
            None => server.acceptor(tcp).serve(make_service).await,
        };
        if let Err(error) = ended {
            life.fail(format!("the listener failed: {error}"));
        }
        last.await;
    });
    lifecycle.spawn("the listener's end", async move {
        stopping.cancelled().await;
        handle.graceful_shutdown(Some(LAST_REQUESTS));
    });
    Ok(())
}
