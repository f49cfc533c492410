//! Plaintext in, text out.

use std::io::{self, Read, Write};

use base64::engine::general_purpose::{GeneralPurpose, STANDARD};
use base64::write::EncoderWriter;
use zeroize::{Zeroize as _, Zeroizing};

use super::gcm::{Gcm, NONCE_BYTES};
use super::{SessionError, SessionKey, text_length};

const CHUNK: usize = 16 * 1024;

/// Encrypts what is in memory.
#[expect(clippy::missing_panics_doc, reason = "what is expected always holds")]
pub fn encrypt(key: &SessionKey, plaintext: &[u8]) -> Result<String, SessionError> {
    let text = Vec::with_capacity(usize::try_from(text_length(plaintext.len() as u64)).unwrap_or(0));
    let text = encrypt_stream(key, plaintext, text)?;
    Ok(String::from_utf8(text).expect("base64 is ASCII"))
}

/// Encrypts all that `plaintext` gives and returns `text` with everything written to it.
pub fn encrypt_stream<W: Write>(key: &SessionKey, mut plaintext: impl Read, text: W) -> Result<W, SessionError> {
    let mut writer = EncryptWriter::new(key, text)?;
    let mut buffer = Zeroizing::new([0; CHUNK]);
    loop {
        match plaintext.read(buffer.as_mut()) {
            Ok(0) => return writer.finish(),
            Ok(count) => writer.write_all(&buffer[..count]).map_err(SessionError::unwrap_io)?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(SessionError::Io(error)),
        }
    }
}

/// Encrypts what is written to it. The text is whole only after [`finish`](Self::finish); dropped before, it will not open.
pub struct EncryptWriter<W: Write> {
    text: EncoderWriter<'static, GeneralPurpose, W>,
    gcm: Gcm,
    buffer: Vec<u8>,
}

impl<W: Write> EncryptWriter<W> {
    /// Begins a text with a fresh random nonce.
    pub fn new(key: &SessionKey, text: W) -> Result<Self, SessionError> {
        let mut nonce = [0; NONCE_BYTES];
        getrandom::fill(&mut nonce).map_err(|error| SessionError::Io(io::Error::other(error)))?;
        let mut text = EncoderWriter::new(text, &STANDARD);
        text.write_all(&nonce).map_err(SessionError::Io)?;
        Ok(Self { text, gcm: Gcm::new(key, nonce), buffer: Vec::new() })
    }

    /// Writes the tag and gives the inner writer back, not flushed.
    pub fn finish(mut self) -> Result<W, SessionError> {
        self.text.write_all(&self.gcm.tag()).map_err(SessionError::Io)?;
        self.text.finish().map_err(SessionError::Io)
    }
}

impl<W: Write> Write for EncryptWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = bytes.len().min(CHUNK);
        self.buffer.clear();
        self.buffer.extend_from_slice(&bytes[..taken]);
        if let Err(error) = self.gcm.encrypt(&mut self.buffer) {
            // What was copied may still be plaintext.
            self.buffer.zeroize();
            return Err(error.into());
        }
        self.text.write_all(&self.buffer)?;
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.text.flush()
    }
}
