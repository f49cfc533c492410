//! The key under which secrets are stored, and what is sealed with it.
//!
//! Sealed bytes are: version (1) ‖ key id (4, the start of the key's SHA-256) ‖ nonce (12, random) ‖ AES-256-GCM
//! ciphertext ‖ tag (16). The context, such as `task-input/<id>/<sequence>`, is authenticated with them, so sealed
//! bytes that were moved to another place do not open.

use std::fmt;
use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use aes_gcm::aead::{Aead, KeyInit, Payload};
use aes_gcm::{Aes256Gcm, Nonce};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

const VERSION: u8 = 1;
const KEY_BYTES: usize = 32;
const KEY_ID_BYTES: usize = 4;
const NONCE_BYTES: usize = 12;
const TAG_BYTES: usize = 16;
const HEADER_BYTES: usize = 1 + KEY_ID_BYTES + NONCE_BYTES;

/// A key of 32 bytes. Its bytes are wiped from memory when it is dropped, and are never shown.
pub struct SealingKey {
    bytes: Zeroizing<[u8; KEY_BYTES]>,
    id: [u8; KEY_ID_BYTES],
    cipher: Aes256Gcm,
}

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The key file could not be read or made.
    #[error("cannot use the key file {path}", path = path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Others than the owner can read the key file.
    #[error("the key file {path} has mode {mode:o}: others can read it; run `chmod 600 {path}`", path = path.display())]
    Mode {
        /// Which file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The text is not a key.
    #[error("{place} is not a key: it must be 32 bytes in base64 (`head -c 32 /dev/urandom | base64`)")]
    Malformed {
        /// Where the text was found.
        place: String,
    },
    /// The system gave no random bytes.
    #[error("the system gives no random bytes")]
    Random(#[source] getrandom::Error),
}

/// Why sealed bytes do not open.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// They were sealed with another key.
    #[error("{context} was sealed with the key {sealed_with}, and the key given is {given}: give the key it was sealed with")]
    WrongKey {
        /// What was to be opened.
        context: String,
        /// The id of the key that sealed it.
        sealed_with: String,
        /// The id of the key that was tried.
        given: String,
    },
    /// They are not what was sealed here: changed, cut, or moved from another place.
    #[error("{context} is damaged: {bytes} bytes do not open with the key that sealed them")]
    Damaged {
        /// What was to be opened.
        context: String,
        /// How many bytes there are.
        bytes: usize,
    },
}

impl SealingKey {
    /// The key in this file; if there is no such file, a new key is made and stored there, durably, with mode 0600.
    pub fn from_file_or_create(path: &Path) -> Result<Self, KeyError> {
        let failed = |source| KeyError::File { path: path.to_owned(), source };
        match File::open(path) {
            Ok(file) => Self::read(file, path),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let key = Self::generate()?;
                match key.write_new(path) {
                    Ok(()) => Ok(key),
                    // Another process was faster: its key is the one that counts.
                    Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                        Self::read(File::open(path).map_err(failed)?, path)
                    }
                    Err(error) => Err(failed(error)),
                }
            }
            Err(error) => Err(failed(error)),
        }
    }

    /// The key in a text, 32 bytes as base64, as an environment variable carries it; `place` names it in errors.
    pub fn from_base64(text: &str, place: &str) -> Result<Self, KeyError> {
        let malformed = || KeyError::Malformed { place: place.to_owned() };
        let decoded = Zeroizing::new(STANDARD.decode(text.trim()).map_err(|_| malformed())?);
        let bytes = <[u8; KEY_BYTES]>::try_from(decoded.as_slice()).map_err(|_| malformed())?;
        Ok(Self::from_bytes(bytes))
    }

    /// The key with these bytes.
    pub fn from_bytes(bytes: [u8; KEY_BYTES]) -> Self {
        let bytes = Zeroizing::new(bytes);
        let hash = Sha256::digest(bytes.as_slice());
        let mut id = [0; KEY_ID_BYTES];
        id.copy_from_slice(&hash[..KEY_ID_BYTES]);
        Self { cipher: Aes256Gcm::new((&*bytes).into()), bytes, id }
    }

    /// A new random key.
    pub fn generate() -> Result<Self, KeyError> {
        let mut bytes = Zeroizing::new([0; KEY_BYTES]);
        getrandom::fill(bytes.as_mut_slice()).map_err(KeyError::Random)?;
        Ok(Self::from_bytes(*bytes))
    }

    /// The key's id, which is no secret: eight hexadecimal digits.
    pub fn id(&self) -> String {
        hex::encode(self.id)
    }

    /// Seals `plaintext` for this place.
    ///
    /// # Panics
    ///
    /// If the system has no random bytes to give; a sealed text with a predictable nonce would give the key away.
    pub fn seal(&self, context: &str, plaintext: &[u8]) -> Vec<u8> {
        let mut nonce = [0; NONCE_BYTES];
        getrandom::fill(&mut nonce).expect("the system gave random bytes when the key was made");
        let payload = Payload { msg: plaintext, aad: context.as_bytes() };
        let ciphertext = self
            .cipher
            .encrypt(&Nonce::from(nonce), payload)
            .expect("AES-GCM takes every text below 64 GiB, and ours are chunks");
        let mut sealed = Vec::with_capacity(HEADER_BYTES + ciphertext.len());
        sealed.push(VERSION);
        sealed.extend_from_slice(&self.id);
        sealed.extend_from_slice(&nonce);
        sealed.extend_from_slice(&ciphertext);
        sealed
    }

    /// Opens what was sealed with this key for this place.
    pub fn open(&self, context: &str, sealed: &[u8]) -> Result<Vec<u8>, OpenError> {
        let damaged = || OpenError::Damaged { context: context.to_owned(), bytes: sealed.len() };
        if sealed.len() < HEADER_BYTES + TAG_BYTES || sealed[0] != VERSION {
            return Err(damaged());
        }
        let (header, ciphertext) = sealed.split_at(HEADER_BYTES);
        let key_id = &header[1..=KEY_ID_BYTES];
        if key_id != self.id {
            return Err(OpenError::WrongKey { context: context.to_owned(), sealed_with: hex::encode(key_id), given: self.id() });
        }
        let nonce = <[u8; NONCE_BYTES]>::try_from(&header[1 + KEY_ID_BYTES..]).map_err(|_| damaged())?;
        let payload = Payload { msg: ciphertext, aad: context.as_bytes() };
        self.cipher.decrypt(&Nonce::from(nonce), payload).map_err(|_| damaged())
    }

    fn read(mut file: File, path: &Path) -> Result<Self, KeyError> {
        let failed = |source| KeyError::File { path: path.to_owned(), source };
        let mode = file.metadata().map_err(failed)?.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(KeyError::Mode { path: path.to_owned(), mode });
        }
        let mut text = Zeroizing::new(String::new());
        file.read_to_string(&mut text).map_err(failed)?;
        Self::from_base64(&text, &format!("the key file {}", path.display()))
    }

    /// The file appears under its name only when it is whole and on disk, and never replaces another.
    fn write_new(&self, path: &Path) -> io::Result<()> {
        let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let mut suffix = [0; 8];
        getrandom::fill(&mut suffix).map_err(io::Error::other)?;
        let name = path.file_name().ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "it has no file name"))?;
        let temporary = directory.join(format!(".{}.{}", name.to_string_lossy(), hex::encode(suffix)));
        let written = (|| {
            let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
            // The umask may have taken bits away; nothing may have been added.
            file.set_permissions(Permissions::from_mode(0o600))?;
            let text = Zeroizing::new(format!("{}\n", STANDARD.encode(self.bytes.as_slice())));
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            std::fs::hard_link(&temporary, path)
        })();
        // Its only use was to become `path`; if that failed, it is a key that nobody uses.
        let removed = std::fs::remove_file(&temporary);
        written.and(removed)?;
        File::open(directory)?.sync_all()
    }
}

impl fmt::Debug for SealingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SealingKey").field("id", &self.id()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_sealed_opens_only_in_its_place_and_with_its_key() {
        let (key, other) = (SealingKey::generate().unwrap(), SealingKey::generate().unwrap());
        let sealed = key.seal("task-input/a/0", b"geheim");
        assert_eq!(key.open("task-input/a/0", &sealed).unwrap(), b"geheim");
        assert!(matches!(key.open("task-input/a/1", &sealed), Err(OpenError::Damaged { .. })));
        assert!(matches!(other.open("task-input/a/0", &sealed), Err(OpenError::WrongKey { .. })));
        for index in (0..sealed.len()).filter(|index| !(1..=KEY_ID_BYTES).contains(index)) {
            let mut changed = sealed.clone();
            changed[index] ^= 1;
            assert!(matches!(key.open("task-input/a/0", &changed), Err(OpenError::Damaged { .. })), "byte {index}");
        }
        for length in 0..sealed.len() {
            assert!(key.open("task-input/a/0", &sealed[..length]).is_err());
        }
    }

    #[test]
    fn nothing_shows_the_key() {
        let key = SealingKey::from_bytes([7; 32]);
        let shown = format!("{key:?}");
        assert!(!shown.contains("7, 7") && !shown.contains("BwcH") && shown.contains(&key.id()), "{shown}");
    }

    #[test]
    fn the_file_is_made_once_and_kept_private() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("sealing.key");
        let first = SealingKey::from_file_or_create(&path).unwrap();
        let again = SealingKey::from_file_or_create(&path).unwrap();
        assert_eq!(first.id(), again.id());
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1, "nothing is left beside it");

        std::fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
        let error = SealingKey::from_file_or_create(&path).unwrap_err();
        assert!(matches!(error, KeyError::Mode { mode: 0o640, .. }));
        assert!(error.to_string().contains("chmod 600"), "{error}");
    }

    #[test]
    fn only_32_bytes_in_base64_are_a_key() {
        let key = SealingKey::from_base64(&format!(" {}\n", STANDARD.encode([1; 32])), "LEGWORK_KEY").unwrap();
        assert_eq!(key.id(), SealingKey::from_bytes([1; 32]).id());
        for text in ["", "abc", &STANDARD.encode([1; 31])] {
            let error = SealingKey::from_base64(text, "LEGWORK_KEY").unwrap_err().to_string();
            assert!(error.starts_with("LEGWORK_KEY is not a key"), "{error}");
        }
    }

    proptest::proptest! {
        #[test]
        fn every_text_comes_back(context: String, text: Vec<u8>) {
            let key = SealingKey::from_bytes([3; 32]);
            proptest::prop_assert_eq!(key.open(&context, &key.seal(&context, &text)).unwrap(), text);
        }
    }
}
