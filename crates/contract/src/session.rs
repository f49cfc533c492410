//! The encryption between runner and plugin (§1.6).
//!
//! AES-256-GCM with a nonce of 16 bytes, a tag of 16 bytes and no associated data. The text is the standard base64 of
//! nonce ‖ ciphertext ‖ tag. White space in the text is ignored. One fresh [`SessionKey`] per attempt
//! encrypts its input and its result, so a result that opens with the key belongs to the attempt.
//!
//! Everything streams: memory is the same for 1 KiB and for 64 MiB.

mod decrypt;
mod encrypt;
mod gcm;

use std::io;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

pub use decrypt::{DecryptReader, decrypt, verify_stream};
pub use encrypt::{EncryptWriter, encrypt, encrypt_stream};

/// Bytes that the encryption adds before base64.
const OVERHEAD: u64 = gcm::NONCE_BYTES as u64 + gcm::TAG_BYTES as u64;

/// The key of one attempt. It is wiped from memory when dropped and never shown.
#[derive(Clone)]
pub struct SessionKey(Zeroizing<[u8; 32]>);

impl SessionKey {
    /// A new random key.
    pub fn generate() -> Result<Self, SessionError> {
        let mut bytes = Zeroizing::new([0; 32]);
        getrandom::fill(bytes.as_mut()).map_err(|error| SessionError::Io(io::Error::other(error)))?;
        Ok(Self(bytes))
    }

    /// A key that was stored as bytes.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// The bytes, to be stored sealed.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The text form, as in the variable `SESSION_KEY`.
    pub fn to_text(&self) -> Zeroizing<String> {
        Zeroizing::new(STANDARD.encode(self.0.as_slice()))
    }

    /// From the text form.
    pub fn from_text(text: &str) -> Result<Self, SessionError> {
        let decoded = Zeroizing::new(STANDARD.decode(text.trim()).map_err(|_| SessionError::Key)?);
        Ok(Self::from_bytes(decoded.as_slice().try_into().map_err(|_| SessionError::Key)?))
    }
}

impl std::fmt::Debug for SessionKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SessionKey(…)")
    }
}

/// The length of the text that so many bytes are encrypted to.
pub fn text_length(plaintext_bytes: u64) -> u64 {
    (plaintext_bytes.saturating_add(OVERHEAD)).div_ceil(3).saturating_mul(4)
}

/// Why something could not be encrypted or decrypted.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// The key's text is not a key.
    #[error("the session key is not the base64 of 32 bytes; generate a new one for each attempt")]
    Key,
    /// The text is not base64.
    #[error("the encrypted text is not base64; it may be cut off or not encrypted at all")]
    NotBase64,
    /// Too short even for nonce and tag.
    #[error("the encrypted text is too short: {bytes} bytes after base64, at least {OVERHEAD} are needed")]
    TooShort {
        /// Bytes after base64.
        bytes: u64,
    },
    /// Made with another key, altered, or cut off.
    #[error(
        "the encrypted text of {bytes} bytes does not open with this session key; it was made with another key, altered or cut off"
    )]
    NotAuthentic {
        /// Bytes of plaintext that it claims to have.
        bytes: u64,
    },
    /// AES-GCM allows no more with one nonce.
    #[error("more than 64 GiB cannot be encrypted at once")]
    TooLong,
    /// Reading or writing failed.
    #[error("reading or writing encrypted text failed: {0}")]
    Io(#[source] io::Error),
}

impl SessionError {
    /// True if the bytes are at fault, not the reading of them.
    pub fn is_content(&self) -> bool {
        !matches!(self, Self::Io(_))
    }

    /// Finds the error that a reader or writer of this module has wrapped, because `Read` and `Write` know only I/O errors.
    fn unwrap_io(error: io::Error) -> Self {
        match error.downcast::<Self>() {
            Ok(inner) => inner,
            Err(error) if is_base64_error(&error) => Self::NotBase64,
            Err(error) => Self::Io(error),
        }
    }
}

fn is_base64_error(error: &io::Error) -> bool {
    match error.get_ref() {
        Some(inner) => inner.is::<base64::DecodeError>(),
        None => false,
    }
}

impl From<SessionError> for io::Error {
    fn from(error: SessionError) -> Self {
        match error {
            SessionError::Io(error) => error,
            content => Self::new(io::ErrorKind::InvalidData, content),
        }
    }
}

#[cfg(test)]
mod tests;
