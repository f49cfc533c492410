//! TLS to the server: 1.2 or newer, the system's certificates and those that were given.

use std::sync::Arc;

use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;

use crate::error::StartError;

pub(super) fn client_config(ca_pem: Option<&[u8]>) -> Result<ClientConfig, StartError> {
    let mut roots = RootCertStore::empty();
    let native = rustls_native_certs::load_native_certs();
    // One bad certificate among the system's is no reason not to start.
    let (_added, _ignored) = roots.add_parsable_certificates(native.certs);
    if let Some(pem) = ca_pem {
        let mut given = 0;
        for certificate in CertificateDer::pem_slice_iter(pem) {
            let certificate = certificate.map_err(|error| StartError::Tls(format!("the CA certificates are no PEM: {error}")))?;
            roots.add(certificate).map_err(|error| StartError::Tls(format!("a CA certificate cannot be used: {error}")))?;
            given += 1;
        }
        if given == 0 {
            return Err(StartError::Tls("the CA file holds no certificate in PEM".to_owned()));
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .map_err(|error| StartError::Tls(error.to_string()))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}
