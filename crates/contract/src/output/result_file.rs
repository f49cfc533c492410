//! A result as it lies in a file, maybe still being written.

use std::io::{self, Read, Seek, SeekFrom};

use legwork_core::limits;

use super::{OutputError, ResultSummary};
use crate::session::{DecryptReader, SessionError, SessionKey, text_length, verify_stream};

/// Bytes that white space around a text may take.
const SLACK: u64 = 1024;
/// Bytes of the beginning that an explanation shows.
const SHOWN: usize = 64;

/// What a result file holds. Explanations show the first bytes and are **not masked**.
#[derive(Debug, PartialEq, Eq)]
pub enum ResultFile {
    /// A result.
    Complete {
        /// What it says.
        summary: ResultSummary,
        /// The length of its JSON.
        plaintext_bytes: u64,
    },
    /// Nothing, or something that does not open with the key: maybe it is still being written. If nobody
    /// writes any more, it is unreadable.
    Incomplete {
        /// Bytes in the file.
        bytes: u64,
        /// What is wrong with them.
        detail: String,
    },
    /// It opens with the key and is no result. It will not become one.
    Invalid {
        /// What is wrong with it.
        detail: String,
    },
    /// Larger than allowed.
    TooLarge {
        /// Bytes of its JSON.
        bytes: u64,
        /// Bytes allowed.
        limit: u64,
    },
}

/// Looks at a result file, in constant memory. The error is one of reading the file.
pub fn read_result(key: &SessionKey, file: &mut (impl Read + Seek)) -> io::Result<ResultFile> {
    read(key, file)
}

/// Reading in any place. One copy of the code, in this crate, is enough.
trait ReadSeek: Read + Seek {}
impl<T: Read + Seek> ReadSeek for T {}

fn read(key: &SessionKey, mut file: &mut dyn ReadSeek) -> io::Result<ResultFile> {
    let limit = limits::RESULT_BYTES;
    let bytes = file.seek(SeekFrom::End(0))?;
    if bytes == 0 {
        return Ok(ResultFile::Incomplete { bytes, detail: "the result file is empty".to_owned() });
    }
    if bytes > text_length(limit) + SLACK {
        return Ok(ResultFile::TooLarge { bytes: bytes / 4 * 3, limit });
    }
    file.rewind()?;
    let plaintext_bytes = match verify_stream(key, &mut file) {
        Ok(plaintext_bytes) => plaintext_bytes,
        Err(SessionError::Io(error)) => return Err(error),
        Err(error) => {
            file.rewind()?;
            let detail = format!("{bytes} bytes in the result file: {error}. They begin with \"{}\"", beginning(&mut file)?);
            return Ok(ResultFile::Incomplete { bytes, detail });
        }
    };
    if plaintext_bytes > limit {
        return Ok(ResultFile::TooLarge { bytes: plaintext_bytes, limit });
    }
    file.rewind()?;
    match ResultSummary::read(DecryptReader::new(key, &mut file)) {
        Ok(summary) => Ok(ResultFile::Complete { summary, plaintext_bytes }),
        Err(OutputError::Io(error)) => Err(error),
        Err(OutputError::Malformed(error)) => {
            file.rewind()?;
            let beginning = beginning(DecryptReader::new(key, &mut file))?;
            let detail =
                format!("{plaintext_bytes} bytes after decryption are no result: {error}. They begin with \"{beginning}\"");
            Ok(ResultFile::Invalid { detail })
        }
    }
}

/// The first bytes, readable whatever they are.
fn beginning(reader: impl Read) -> io::Result<String> {
    let mut bytes = Vec::with_capacity(SHOWN);
    reader.take(SHOWN as u64).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).chars().map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect())
}
