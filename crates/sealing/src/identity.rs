//! A runner's key pair (Ed25519). The runner makes it at its first start; registering proves that it has it.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use zeroize::Zeroizing;

/// The secret half, with the public one. Never shown; wiped from memory when dropped.
pub struct Identity {
    key: SigningKey,
}

/// The public half. Its text is `ed25519:` and 43 letters of URL-safe base64.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PublicKey {
    key: VerifyingKey,
}

/// The text is no public key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no public key: it must be `ed25519:` and 43 letters of URL-safe base64")]
pub struct InvalidPublicKey {
    text: String,
}

/// The signature does not fit the message and the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the signature was not made with this key for this message")]
pub struct InvalidSignature;

impl Identity {
    /// A new key pair.
    pub fn generate() -> Result<Self, getrandom::Error> {
        let mut bytes = Zeroizing::new([0; 32]);
        getrandom::fill(bytes.as_mut_slice())?;
        Ok(Self::from_bytes(&bytes))
    }

    /// The key pair whose secret half has these bytes.
    pub fn from_bytes(secret: &[u8; 32]) -> Self {
        Self { key: SigningKey::from_bytes(secret) }
    }

    /// The bytes of the secret half, to be sealed and stored.
    pub fn to_bytes(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.key.to_bytes())
    }

    /// The public half.
    pub fn public_key(&self) -> PublicKey {
        PublicKey { key: self.key.verifying_key() }
    }

    /// The signature of a message: 64 bytes.
    pub fn sign(&self, message: &[u8]) -> Vec<u8> {
        self.key.sign(message).to_bytes().to_vec()
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").field("public_key", &self.public_key()).finish_non_exhaustive()
    }
}

impl PublicKey {
    /// Checks that the secret half has signed this message.
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> Result<(), InvalidSignature> {
        let signature = Signature::from_slice(signature).map_err(|_| InvalidSignature)?;
        // The strict check leaves no second signature for the same message and no weak keys.
        self.key.verify_strict(message, &signature).map_err(|_| InvalidSignature)
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ed25519:{}", URL_SAFE_NO_PAD.encode(self.key.as_bytes()))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for PublicKey {
    type Err = InvalidPublicKey;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.strip_prefix("ed25519:")
            .and_then(|encoded| URL_SAFE_NO_PAD.decode(encoded).ok())
            .and_then(|bytes| <[u8; 32]>::try_from(bytes).ok())
            .and_then(|bytes| VerifyingKey::from_bytes(&bytes).ok())
            .map(|key| Self { key })
            .ok_or_else(|| InvalidPublicKey { text: text.chars().take(100).collect() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signatures_fit_one_key_and_one_message() {
        let (identity, other) = (Identity::generate().unwrap(), Identity::generate().unwrap());
        let signature = identity.sign(b"register");
        let public: PublicKey = identity.public_key().to_string().parse().unwrap();
        assert_eq!(public, Identity::from_bytes(&identity.to_bytes()).public_key());
        assert_eq!(public.verify(b"register", &signature), Ok(()));
        assert_eq!(public.verify(b"registet", &signature), Err(InvalidSignature));
        assert_eq!(public.verify(b"register", &signature[1..]), Err(InvalidSignature));
        assert_eq!(other.public_key().verify(b"register", &signature), Err(InvalidSignature));
    }

    #[test]
    fn other_texts_are_no_keys() {
        for text in ["", "ed25519:", "ed25519:abc", "rsa:AAAA"] {
            assert!(text.parse::<PublicKey>().is_err(), "{text}");
        }
    }

    #[test]
    fn the_secret_half_is_not_shown() {
        let shown = format!("{:?}", Identity::from_bytes(&[9; 32]));
        assert!(!shown.contains("9, 9") && !shown.contains("CQkJ"), "{shown}");
    }
}
