//! What can go wrong between us and a server, and what to do about it.

use legwork_protocol::error::{ErrorCode, ErrorDetail};

/// Why a request did not get its answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The address is none.
    #[error("{url:?} is no address of a server: {why}")]
    Address {
        /// What was given.
        url: String,
        /// What is wrong with it.
        why: String,
    },
    /// The certificates that were given cannot be used.
    #[error("the CA certificate cannot be used: {0}")]
    Certificate(String),
    /// The server could not be reached, or the connection broke.
    #[error("the server at {url} {obstacle}")]
    Connection {
        /// Where we went.
        url: String,
        /// What stood in the way.
        obstacle: Obstacle,
        /// The library's words.
        #[source]
        source: reqwest::Error,
    },
    /// The server refused.
    #[error("{}", detail.message)]
    Refused {
        /// The HTTP status.
        status: u16,
        /// The refusal. Boxed, since errors travel through every function.
        detail: Box<ErrorDetail>,
    },
    /// Something answered, but not as a Legwork server does.
    #[error("{url} does not answer as a Legwork server does: {why}")]
    Unexpected {
        /// Where we went.
        url: String,
        /// What it answered.
        why: String,
    },
}

/// What stood in the way of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Obstacle {
    /// Nobody listens there.
    Refused,
    /// The name is not known.
    Name,
    /// Its certificate was signed by nobody we trust.
    UnknownCa,
    /// Its certificate is for another name, has expired, or cannot be read.
    BadCertificate,
    /// It does not speak TLS, or no version that we do.
    Tls,
    /// It took too long.
    Timeout,
    /// The connection broke.
    Broken,
}

impl std::fmt::Display for Obstacle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Refused => "refuses connections",
            Self::Name => "cannot be found: its name is not known",
            Self::UnknownCa => "has a certificate of an unknown CA",
            Self::BadCertificate => "has a certificate that is not valid for it",
            Self::Tls => "does not speak TLS as it should",
            Self::Timeout => "did not answer in time",
            Self::Broken => "broke the connection off",
        })
    }
}

impl ClientError {
    /// What to do about it, if there is something to say.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Address { .. } => Some("an address looks like https://legwork.example.com:5516"),
            Self::Certificate(_) => Some("give the CA's certificate in PEM, such as the server's ca.pem"),
            Self::Connection { obstacle, .. } => Some(match obstacle {
                Obstacle::Refused => "is the server running?",
                Obstacle::Name => "check the name, and that this machine can resolve it",
                Obstacle::UnknownCa => "pass --ca with the server's ca.pem, or log in again with it",
                Obstacle::BadCertificate => "use a name that the certificate is made for, and check this machine's clock",
                Obstacle::Tls => "check the port, and https:// against http://",
                Obstacle::Timeout => "check the address, and any proxy or firewall in between",
                Obstacle::Broken => "is the server restarting? Try again",
            }),
            Self::Refused { detail, .. } => match detail.code {
                ErrorCode::Unauthenticated | ErrorCode::WrongCredentials | ErrorCode::TokenExpired | ErrorCode::TokenRevoked => {
                    Some("log in again with `legwork login`, or pass --token")
                }
                _ => None,
            },
            Self::Unexpected { .. } => Some("check the address: is there a Legwork server?"),
        }
    }

    /// True if the same request may get through a little later.
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Connection { obstacle, .. } => matches!(obstacle, Obstacle::Refused | Obstacle::Timeout | Obstacle::Broken),
            Self::Refused { status, .. } => matches!(status, 429 | 502..=504),
            Self::Address { .. } | Self::Certificate(_) | Self::Unexpected { .. } => false,
        }
    }

    /// The refusal's code, if the server refused.
    pub fn code(&self) -> Option<ErrorCode> {
        match self {
            Self::Refused { detail, .. } => Some(detail.code),
            _ => None,
        }
    }

    pub(crate) fn connection(url: &str, source: reqwest::Error) -> Self {
        if source.is_decode() || source.is_redirect() {
            return Self::Unexpected { url: url.to_owned(), why: innermost(&source) };
        }
        Self::Connection { url: url.to_owned(), obstacle: obstacle_of(&source), source }
    }
}

fn innermost(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

/// Looks down the chain of causes: the libraries wrap what we want to know into one another.
fn obstacle_of(error: &reqwest::Error) -> Obstacle {
    if error.is_timeout() {
        return Obstacle::Timeout;
    }
    let mut next: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(cause) = next {
        if let Some(tls) = cause.downcast_ref::<rustls::Error>() {
            return obstacle_of_tls(tls);
        }
        if let Some(io) = cause.downcast_ref::<std::io::Error>() {
            if io.kind() == std::io::ErrorKind::ConnectionRefused {
                return Obstacle::Refused;
            }
            if io.kind() == std::io::ErrorKind::TimedOut {
                return Obstacle::Timeout;
            }
            // An `io::Error` hides what it carries from `source`.
            if let Some(inner) = io.get_ref() {
                next = Some(inner);
                continue;
            }
        }
        // The resolver's error has no public type.
        if cause.to_string().starts_with("dns error") {
            return Obstacle::Name;
        }
        next = cause.source();
    }
    Obstacle::Broken
}

fn obstacle_of_tls(error: &rustls::Error) -> Obstacle {
    match error {
        rustls::Error::InvalidCertificate(why) => match why {
            rustls::CertificateError::UnknownIssuer | rustls::CertificateError::BadSignature => Obstacle::UnknownCa,
            _ => Obstacle::BadCertificate,
        },
        _ => Obstacle::Tls,
    }
}
