//! Text in, plaintext out.

use std::io::{self, Read};
use std::ops::Range;

use base64::engine::general_purpose::{GeneralPurpose, STANDARD};
use base64::read::DecoderReader;
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use super::gcm::{Gcm, NONCE_BYTES, TAG_BYTES};
use super::{SessionError, SessionKey};

const CHUNK: usize = 16 * 1024;

/// Decrypts what is in memory. Nothing is returned unless all of it is authentic.
pub fn decrypt(key: &SessionKey, text: &[u8]) -> Result<Zeroizing<Vec<u8>>, SessionError> {
    // The room for the whole is made first: a buffer that grows leaves copies of the plaintext behind.
    let mut plaintext = Zeroizing::new(Vec::with_capacity(text.len() / 4 * 3 + 3));
    DecryptReader::new(key, text).read_to_end(&mut plaintext).map_err(SessionError::unwrap_io)?;
    Ok(plaintext)
}

/// Reads a whole text and tells the length of its plaintext if it is authentic.
///
/// The first of two passes over a long text: whoever releases plaintext from a [`DecryptReader`] bit by bit has called
/// this before.
pub fn verify_stream(key: &SessionKey, text: impl Read) -> Result<u64, SessionError> {
    io::copy(&mut DecryptReader::new(key, text), &mut io::sink()).map_err(SessionError::unwrap_io)
}

/// Decrypts while it is read.
///
/// Whether the text is authentic is known only at its end: then the last `read` fails if it is not. So either hold
/// everything back until `read` has returned 0, or call [`verify_stream`] first; in that case this second check
/// catches a text that has changed in between.
pub struct DecryptReader<R: Read> {
    text: DecoderReader<'static, GeneralPurpose, SkipWhiteSpace<R>>,
    key: SessionKey,
    /// None before the nonce is read and after the tag is compared.
    gcm: Option<Gcm>,
    state: State,
    /// First `ready` plaintext, then up to 16 bytes that are the tag if nothing follows them.
    buffer: Zeroizing<Vec<u8>>,
    ready: Range<usize>,
}

#[derive(PartialEq)]
enum State {
    Nonce,
    Ciphertext,
    Done,
    Failed,
}

impl<R: Read> DecryptReader<R> {
    /// A reader of the plaintext of `text`.
    pub fn new(key: &SessionKey, text: R) -> Self {
        Self {
            text: DecoderReader::new(SkipWhiteSpace(text), &STANDARD),
            key: key.clone(),
            gcm: None,
            state: State::Nonce,
            buffer: Zeroizing::new(Vec::with_capacity(CHUNK + TAG_BYTES)),
            ready: 0..0,
        }
    }

    fn read_nonce(&mut self) -> Result<(), SessionError> {
        let mut nonce = [0; NONCE_BYTES];
        let count = fill(&mut self.text, &mut nonce)?;
        if count < NONCE_BYTES {
            return Err(SessionError::TooShort { bytes: count as u64 });
        }
        self.gcm = Some(Gcm::new(&self.key, nonce));
        self.state = State::Ciphertext;
        Ok(())
    }

    /// Decrypts the next chunk, or compares the tag at the end. Called when nothing is ready.
    fn advance(&mut self) -> Result<(), SessionError> {
        if self.state == State::Nonce {
            self.read_nonce()?;
        }
        let Some(gcm) = &mut self.gcm else { return Ok(()) };
        self.buffer.drain(..self.ready.end);
        self.ready = 0..0;
        let held = self.buffer.len();
        self.buffer.resize(CHUNK + TAG_BYTES, 0);
        let count = fill(&mut self.text, &mut self.buffer[held..])?;
        let total = held + count;
        self.buffer.truncate(total);
        let ciphertext = total.saturating_sub(TAG_BYTES);
        gcm.decrypt(&mut self.buffer[..ciphertext])?;
        self.ready = 0..ciphertext;
        if total < CHUNK + TAG_BYTES {
            self.state = State::Done;
            self.compare_tag()?;
        }
        Ok(())
    }

    fn compare_tag(&mut self) -> Result<(), SessionError> {
        let Some(gcm) = self.gcm.take() else { return Ok(()) };
        let bytes = gcm.length();
        let tag = &self.buffer[self.ready.end..];
        if tag.len() < TAG_BYTES {
            return Err(SessionError::TooShort { bytes: (NONCE_BYTES + tag.len()) as u64 });
        }
        if bool::from(gcm.tag().ct_eq(tag)) { Ok(()) } else { Err(SessionError::NotAuthentic { bytes }) }
    }
}

impl<R: Read> Read for DecryptReader<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while self.ready.is_empty() && self.state != State::Done {
            // A reader that has failed must not look as if the text had ended.
            if self.state == State::Failed {
                return Err(io::ErrorKind::InvalidData.into());
            }
            if let Err(error) = self.advance() {
                self.ready = 0..0;
                self.state = State::Failed;
                return Err(error.into());
            }
        }
        let count = out.len().min(self.ready.len());
        out[..count].copy_from_slice(&self.buffer[self.ready.start..self.ready.start + count]);
        self.ready.start += count;
        Ok(count)
    }
}

/// Reads until `out` is full or the text ends.
fn fill(text: &mut impl Read, out: &mut [u8]) -> Result<usize, SessionError> {
    let mut count = 0;
    while count < out.len() {
        match text.read(&mut out[count..]) {
            Ok(0) => break,
            Ok(more) => count += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(SessionError::unwrap_io(error)),
        }
    }
    Ok(count)
}

/// Takes white space out of a text: editors and shells leave line ends behind.
struct SkipWhiteSpace<R>(R);

impl<R: Read> Read for SkipWhiteSpace<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        loop {
            let count = self.0.read(out)?;
            let kept = remove_white_space(&mut out[..count]);
            if kept > 0 || count == 0 {
                return Ok(kept);
            }
        }
    }
}

/// Moves everything else to the front and tells how much that is.
fn remove_white_space(bytes: &mut [u8]) -> usize {
    let Some(first) = bytes.iter().position(u8::is_ascii_whitespace) else { return bytes.len() };
    let mut kept = first;
    for index in first..bytes.len() {
        if !bytes[index].is_ascii_whitespace() {
            bytes[kept] = bytes[index];
            kept += 1;
        }
    }
    kept
}
