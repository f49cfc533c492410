//! How a server is reached: address, trust, credentials, and one way to send every request.

use std::sync::Arc;
use std::time::Duration;

use legwork_protocol::api::{Me, ServerInfo, TOKEN_HEADER};
use legwork_protocol::error::ErrorBody;
use reqwest::header::ACCEPT;
use reqwest::{Method, RequestBuilder, Response, Url};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::ClientError;

/// How long connecting may take.
const CONNECT_TIME: Duration = Duration::from_secs(10);
/// How long an ordinary request may take; bodies of any size are sent and read beside this.
const ANSWER_TIME: Duration = Duration::from_mins(1);

/// Where a server is and who we are there.
#[derive(Clone)]
pub struct Connection {
    /// Its address, such as `https://legwork.example.com:5516`.
    pub url: String,
    /// Certificates (PEM) of CAs to trust beside those of the system.
    pub ca_pem: Option<Vec<u8>>,
    /// Who we are.
    pub credentials: Credentials,
}

/// Shows no credentials.
impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection").field("url", &self.url).finish_non_exhaustive()
    }
}

/// Who we are to a server.
#[derive(Clone)]
pub enum Credentials {
    /// Nobody: only [`Client::server`] answers.
    None,
    /// A personal access token, `rpa_…`.
    Token(String),
    /// A user.
    Password {
        /// The name.
        user: String,
        /// The password.
        password: String,
    },
}

/// A client of one server. Clones share its connections.
#[derive(Clone, Debug)]
pub struct Client {
    http: reqwest::Client,
    base: Url,
    credentials: Arc<Credentials>,
}

/// Shows no credentials.
impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::None => "None",
            Self::Token(_) => "Token(…)",
            Self::Password { .. } => "Password(…)",
        })
    }
}

impl Client {
    /// A client for that server. Sends nothing yet.
    pub fn new(connection: &Connection) -> Result<Self, ClientError> {
        let base = base_address(&connection.url)?;
        let tls = tls_settings(connection.ca_pem.as_deref())?;
        let http = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .connect_timeout(CONNECT_TIME)
            .tcp_keepalive(Duration::from_secs(30))
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("legwork/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| ClientError::Certificate(error.to_string()))?;
        Ok(Self { http, base, credentials: Arc::new(connection.credentials.clone()) })
    }

    /// The server's address, without a slash at its end.
    pub fn address(&self) -> &str {
        self.base.as_str().trim_end_matches('/')
    }

    /// What the server is.
    pub async fn server(&self) -> Result<ServerInfo, ClientError> {
        self.get("server").await
    }

    /// Who we are to it.
    pub async fn me(&self) -> Result<Me, ClientError> {
        self.get("me").await
    }

    /// A request to `path` below `/api/v1`, with our credentials.
    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.http.request(method, format!("{}/api/v1/{path}", self.address()));
        match &*self.credentials {
            Credentials::None => request,
            Credentials::Token(token) => request.header(TOKEN_HEADER, token),
            Credentials::Password { user, password } => request.basic_auth(user, Some(password)),
        }
    }

    /// Sends a request; an answer that is no success becomes an error.
    pub(crate) async fn send(&self, request: RequestBuilder) -> Result<Response, ClientError> {
        let response = request.send().await.map_err(|error| ClientError::connection(self.address(), error))?;
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status().as_u16();
        let address = response.url().to_string();
        let body = response.bytes().await.map_err(|error| ClientError::connection(self.address(), error))?;
        match serde_json::from_slice::<ErrorBody>(&body) {
            Ok(body) => Err(ClientError::Refused { status, detail: Box::new(body.error) }),
            Err(_) => Err(ClientError::Unexpected { url: address, why: format!("HTTP status {status}") }),
        }
    }

    pub(crate) async fn send_for<T: DeserializeOwned>(&self, request: RequestBuilder) -> Result<T, ClientError> {
        let response = self.send(request.header(ACCEPT, "application/json").timeout(ANSWER_TIME)).await?;
        let address = response.url().to_string();
        let body = response.bytes().await.map_err(|error| ClientError::connection(self.address(), error))?;
        serde_json::from_slice(&body).map_err(|error| ClientError::Unexpected { url: address, why: error.to_string() })
    }

    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        self.send_for(self.request(Method::GET, path)).await
    }

    /// Sends a body, and ignores what a success says.
    pub(crate) async fn act(
        &self,
        method: Method,
        path: &str,
        body: Option<&(impl Serialize + Sync)>,
    ) -> Result<(), ClientError> {
        let request = self.request(method, path).timeout(ANSWER_TIME);
        self.send(match body {
            Some(body) => request.json(body),
            None => request,
        })
        .await
        .map(drop)
    }
}

fn base_address(text: &str) -> Result<Url, ClientError> {
    let wrong = |why: &str| ClientError::Address { url: text.to_owned(), why: why.to_owned() };
    let url = Url::parse(text.trim()).map_err(|error| wrong(&error.to_string()))?;
    if !matches!(url.scheme(), "https" | "http") {
        return Err(wrong("it must begin with https:// or http://"));
    }
    if url.host_str().is_none_or(str::is_empty) {
        return Err(wrong("it names no host"));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(wrong("it has more than scheme, host, port and path"));
    }
    // Anything shown to people shows the address, so it must not carry a password.
    if !url.username().is_empty() || url.password().is_some() {
        return Err(wrong("credentials do not belong into an address"));
    }
    Ok(url)
}

fn tls_settings(ca_pem: Option<&[u8]>) -> Result<rustls::ClientConfig, ClientError> {
    let mut roots = rustls::RootCertStore::empty();
    // A machine without certificates is fine as long as the server's own CA is given.
    let native = rustls_native_certs::load_native_certs();
    roots.add_parsable_certificates(native.certs);
    if let Some(pem) = ca_pem {
        let mut count = 0;
        for certificate in CertificateDer::pem_slice_iter(pem) {
            let certificate = certificate.map_err(|error| ClientError::Certificate(error.to_string()))?;
            roots.add(certificate).map_err(|error| ClientError::Certificate(error.to_string()))?;
            count += 1;
        }
        if count == 0 {
            return Err(ClientError::Certificate("there is no certificate in it".to_owned()));
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut settings = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .map_err(|error| ClientError::Certificate(error.to_string()))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    settings.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(settings)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_checked_before_anything_is_sent() {
        for good in ["https://localhost:5516", "http://127.0.0.1", "https://proxy.example.com/legwork/"] {
            assert!(base_address(good).is_ok(), "{good}");
        }
        for (bad, why) in [
            ("localhost:5516", "begin with https"),
            ("ftp://x", "begin with https"),
            ("nonsense", "relative URL"),
            ("https://u:p@host", "credentials"),
            ("https://host/?q=1", "more than"),
        ] {
            let error = base_address(bad).unwrap_err();
            assert!(error.to_string().contains(why), "{bad}: {error}");
            assert!(error.hint().is_some());
        }
    }

    #[test]
    fn a_file_without_certificate_is_no_ca() {
        assert!(matches!(tls_settings(Some(b"hello")), Err(ClientError::Certificate(_))));
        assert!(tls_settings(None).is_ok());
    }
}
