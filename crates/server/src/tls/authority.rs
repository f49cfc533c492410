//! The server's own certificate authority: `ca.pem` and `ca-key.pem` in the data directory, made at the first start.
//!
//! The server's certificate is made anew at each start and every few weeks after, and its key never touches the
//! disk. All certificates are valid from seven days ago, since nobody's clock is to be trusted.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use legwork_core::Timestamp;
use rcgen::{
    BasicConstraints, Certificate, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

const DAY: Duration = Duration::from_secs(24 * 3_600);
const CLOCK_TOLERANCE: Duration = DAY.saturating_mul(7);
const AUTHORITY_LIFE: Duration = DAY.saturating_mul(7_300);
const LEAF_LIFE: Duration = DAY.saturating_mul(397);

/// How long a server that keeps running shows the same certificate.
pub(crate) const RENEWAL: Duration = DAY.saturating_mul(30);

/// Why there is no authority, or it does not sign.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AuthorityError {
    #[error("cannot use {path}: {source}", path = path.display())]
    File { path: PathBuf, source: io::Error },
    #[error("{path} is damaged: {why}; restore it, or remove ca.pem and ca-key.pem together to have a new authority made", path = path.display())]
    Damaged { path: PathBuf, why: String },
    #[error("{0:?} cannot stand in a certificate: it is neither a host name nor an address")]
    Name(String),
    #[error("the certificate could not be made: {0}")]
    Signing(#[from] rcgen::Error),
}

/// The authority.
pub(crate) struct Authority {
    certificate: CertificateDer<'static>,
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate for the server and its key.
pub(crate) struct Leaf {
    pub(crate) certificate: CertificateDer<'static>,
    pub(crate) key: PrivateKeyDer<'static>,
}

impl Authority {
    /// The authority of this data directory; a new one if there is none.
    pub(crate) fn open_or_create(data_dir: &Path, now: Timestamp) -> Result<Self, AuthorityError> {
        let (certificate_path, key_path) = (data_dir.join("ca.pem"), data_dir.join("ca-key.pem"));
        // The key is written first: a certificate on disk means that both are there.
        if !certificate_path.exists() {
            let key = KeyPair::generate()?;
            let certificate = params_of_authority(now).self_signed(&key)?;
            replace(&key_path, key.serialize_pem().as_bytes(), 0o600)?;
            replace(&certificate_path, certificate.pem().as_bytes(), 0o644)?;
        }
        let pem = read(&certificate_path)?;
        let key = KeyPair::from_pem(&read(&key_path)?)
            .map_err(|error| AuthorityError::Damaged { path: key_path, why: error.to_string() })?;
        let certificate = CertificateDer::from_pem_slice(pem.as_bytes())
            .map_err(|error| AuthorityError::Damaged { path: certificate_path, why: error.to_string() })?;
        Ok(Self { certificate, pem, issuer: Issuer::new(params_of_authority(now), key) })
    }

    /// The authority's certificate, for the chain.
    pub(crate) fn certificate(&self) -> CertificateDer<'static> {
        self.certificate.clone()
    }

    /// The authority's certificate, for people and runners.
    pub(crate) fn pem(&self) -> &str {
        &self.pem
    }

    /// A new certificate for these names and addresses.
    pub(crate) fn issue(&self, names: &[String], now: Timestamp) -> Result<Leaf, AuthorityError> {
        let mut params = CertificateParams::default();
        params.distinguished_name = name("Legwork server");
        params.subject_alt_names = names.iter().map(|name| alternative_name(name)).collect::<Result<_, _>>()?;
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        valid(&mut params, now, LEAF_LIFE);
        let key = KeyPair::generate()?;
        let certificate: Certificate = params.signed_by(&key, &self.issuer)?;
        Ok(Leaf {
            certificate: certificate.der().clone(),
            key: PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der())),
        })
    }
}

fn params_of_authority(now: Timestamp) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = name("Legwork server authority");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    valid(&mut params, now, AUTHORITY_LIFE);
    params
}

fn name(common: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::OrganizationName, "Legwork");
    name.push(DnType::CommonName, common);
    name
}

fn alternative_name(name: &str) -> Result<SanType, AuthorityError> {
    if let Ok(address) = name.parse::<IpAddr>() {
        return Ok(SanType::IpAddress(address));
    }
    let plausible = |c: char| c.is_ascii_alphanumeric() || "-._*".contains(c);
    if name.is_empty() || name.len() > 253 || !name.chars().all(plausible) {
        return Err(AuthorityError::Name(name.to_owned()));
    }
    name.try_into().map(SanType::DnsName).map_err(|_| AuthorityError::Name(name.to_owned()))
}

fn valid(params: &mut CertificateParams, now: Timestamp, life: Duration) {
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    let seconds = |at: Timestamp| Duration::from_secs(u64::try_from(at.as_millis() / 1_000).unwrap_or(0));
    params.not_before = epoch + seconds(now.minus(CLOCK_TOLERANCE));
    params.not_after = epoch + seconds(now.plus(life));
}

fn read(path: &Path) -> Result<String, AuthorityError> {
    fs::read_to_string(path).map_err(|source| AuthorityError::File { path: path.to_owned(), source })
}

/// The file appears under its name only when it is whole and on disk.
fn replace(path: &Path, content: &[u8], mode: u32) -> Result<(), AuthorityError> {
    let write = || {
        let temporary = path.with_extension("new");
        match fs::remove_file(&temporary) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&temporary)?;
        file.write_all(content)?;
        file.sync_all()?;
        fs::rename(&temporary, path)?;
        File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
    };
    write().map_err(|source| AuthorityError::File { path: path.to_owned(), source })
}
