//! The certificate that the server shows, and how it speaks TLS: 1.2 and 1.3, HTTP/2 and HTTP/1.1.

mod authority;

use std::path::Path;
use std::sync::Arc;

use legwork_core::Timestamp;
use rustls::ServerConfig;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

pub(crate) use authority::{Authority, AuthorityError, RENEWAL};

/// Why there is no usable certificate.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TlsError {
    #[error("the certificate file {path} cannot be used: {why}")]
    Certificate { path: String, why: String },
    #[error("the key file {path} cannot be used: {why}")]
    Key { path: String, why: String },
    #[error("the certificate and its key do not fit: {0}")]
    Rustls(#[from] rustls::Error),
    #[error(transparent)]
    Authority(#[from] AuthorityError),
}

/// TLS with a certificate that this authority makes now.
pub(crate) fn by_authority(authority: &Authority, names: &[String], now: Timestamp) -> Result<Arc<ServerConfig>, TlsError> {
    let leaf = authority.issue(names, now)?;
    server_config(vec![leaf.certificate, authority.certificate()], leaf.key)
}

/// TLS with a certificate that somebody else made.
pub(crate) fn by_files(certificate: &Path, key: &Path) -> Result<Arc<ServerConfig>, TlsError> {
    let refused = |why: String| TlsError::Certificate { path: certificate.display().to_string(), why };
    let chain = CertificateDer::pem_file_iter(certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| refused(error.to_string()))?;
    if chain.is_empty() {
        return Err(refused("there is no certificate in it; it must be PEM".to_owned()));
    }
    let key = PrivateKeyDer::from_pem_file(key)
        .map_err(|error| TlsError::Key { path: key.display().to_string(), why: error.to_string() })?;
    server_config(chain, key)
}

fn server_config(chain: Vec<CertificateDer<'static>>, key: PrivateKeyDer<'static>) -> Result<Arc<ServerConfig>, TlsError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}
