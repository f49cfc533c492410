//! AES-256-GCM in one pass over a stream, after NIST SP 800-38D.
//!
//! The usual crate wants the whole message in memory and has no streaming form, therefore its three
//! building blocks are put together here. The tests compare every result with that crate.

use aes::Aes256;
use aes::cipher::{BlockCipherEncrypt as _, KeyInit as _, KeyIvInit as _, StreamCipher as _};
use ghash::GHash;
use ghash::universal_hash::UniversalHash as _;

use super::{SessionError, SessionKey};

pub(super) const NONCE_BYTES: usize = 16;
pub(super) const TAG_BYTES: usize = 16;
const BLOCK: usize = 16;

/// One message on its way through.
pub(super) struct Gcm {
    keystream: ctr::Ctr32BE<Aes256>,
    hash: GHash,
    /// The last ciphertext bytes, fewer than a block, that are not hashed yet.
    partial: [u8; BLOCK],
    partial_length: usize,
    /// Ciphertext bytes so far.
    length: u64,
    tag_mask: [u8; BLOCK],
}

impl Gcm {
    pub(super) fn new(key: &SessionKey, nonce: [u8; NONCE_BYTES]) -> Self {
        let cipher = Aes256::new(key.as_bytes().into());
        let mut hash_key = [0; BLOCK].into();
        cipher.encrypt_block(&mut hash_key);
        let hash = GHash::new(&hash_key);

        // The first counter block of a nonce that is not 12 bytes long is a hash of it: nonce, then its length in bits.
        let mut counter = hash.clone();
        counter.update(&[nonce.into(), lengths_block(0, NONCE_BYTES as u64)]);
        let counter = counter.finalize();
        let mut keystream = ctr::Ctr32BE::<Aes256>::new(key.as_bytes().into(), &counter);
        let mut tag_mask = [0; BLOCK];
        keystream.apply_keystream(&mut tag_mask);

        Self { keystream, hash, partial: [0; BLOCK], partial_length: 0, length: 0, tag_mask }
    }

    pub(super) fn encrypt(&mut self, bytes: &mut [u8]) -> Result<(), SessionError> {
        self.keystream.try_apply_keystream(bytes).map_err(|_| SessionError::TooLong)?;
        self.hash_ciphertext(bytes);
        Ok(())
    }

    pub(super) fn decrypt(&mut self, bytes: &mut [u8]) -> Result<(), SessionError> {
        self.hash_ciphertext(bytes);
        self.keystream.try_apply_keystream(bytes).map_err(|_| SessionError::TooLong)
    }

    pub(super) fn length(&self) -> u64 {
        self.length
    }

    pub(super) fn tag(mut self) -> [u8; TAG_BYTES] {
        self.hash.update_padded(&self.partial[..self.partial_length]);
        self.hash.update(&[lengths_block(0, self.length)]);
        let mut tag: [u8; TAG_BYTES] = self.hash.finalize().into();
        for (byte, mask) in tag.iter_mut().zip(self.tag_mask) {
            *byte ^= mask;
        }
        tag
    }

    fn hash_ciphertext(&mut self, mut bytes: &[u8]) {
        self.length += bytes.len() as u64;
        if self.partial_length > 0 {
            let taken = bytes.len().min(BLOCK - self.partial_length);
            self.partial[self.partial_length..self.partial_length + taken].copy_from_slice(&bytes[..taken]);
            self.partial_length += taken;
            bytes = &bytes[taken..];
            if self.partial_length < BLOCK {
                return;
            }
            self.hash.update(&[self.partial.into()]);
        }
        let whole = bytes.len() - bytes.len() % BLOCK;
        self.hash.update_padded(&bytes[..whole]);
        self.partial_length = bytes.len() - whole;
        self.partial[..self.partial_length].copy_from_slice(&bytes[whole..]);
    }
}

/// The block that ends a hash: the lengths of associated data and of the text, in bits.
fn lengths_block(associated: u64, text: u64) -> ghash::Block {
    let mut block = ghash::Block::default();
    block[..8].copy_from_slice(&(associated * 8).to_be_bytes());
    block[8..].copy_from_slice(&(text * 8).to_be_bytes());
    block
}
