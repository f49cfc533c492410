//! Content that follows from its number or its length.

use std::fmt::Write as _;

/// The size of a block of [`data()`].
const BLOCK: usize = 1024;
/// What fills lines and blocks. Its 64 letters need no escaping in JSON.
const LETTERS: &[u8; 64] = b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.+";
/// What [`raw()`] repeats when it keeps to UTF-8: characters of one to four bytes.
const CHARACTERS: &str = "plain é € 😀 ";

/// Line number `n`, `len` bytes long, without its newline.
///
/// It begins with the number, so that a missing or doubled line shows; the filling is shifted by the number, so that
/// neighbours differ in every byte.
pub fn line(n: u64, len: usize) -> String {
    let mut text = format!("line {n:010} ");
    let shift = n as usize % LETTERS.len();
    text.extend(LETTERS.iter().cycle().skip(shift).take(len.saturating_sub(text.len())).map(|letter| char::from(*letter)));
    text.truncate(len);
    text
}

/// `n` bytes of ASCII without anything that JSON escapes: blocks of 1,024, each beginning with its number in 15
/// hexadecimal digits and a hyphen. `hello.Big` of `plugins/hello-python` returns the same.
pub fn data(n: usize) -> String {
    let mut text = String::with_capacity(n + BLOCK);
    for number in 0..n.div_ceil(BLOCK) {
        write!(text, "{number:015x}-").expect("writing to a string cannot fail");
        text.extend(LETTERS.iter().cycle().take(BLOCK - 16).map(|letter| char::from(*letter)));
    }
    text.truncate(n);
    text
}

/// `n` bytes as a program may write them to its log, without any newline.
///
/// With `invalid_utf8` every other byte value occurs, NUL and broken sequences included. Without it, they are
/// characters of one to four bytes, so that some straddle every boundary; the end is filled with dots.
pub fn raw(n: usize, invalid_utf8: bool) -> Vec<u8> {
    if invalid_utf8 {
        return (0..n)
            .map(|at| (at.wrapping_mul(31).wrapping_add(at >> 8) & 0xff) as u8)
            .map(|byte| if byte == b'\n' { 0xff } else { byte })
            .collect();
    }
    let mut bytes = Vec::with_capacity(n);
    for character in CHARACTERS.chars().cycle() {
        if bytes.len() + character.len_utf8() > n {
            break;
        }
        bytes.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
    }
    bytes.resize(n, b'.');
    bytes
}

#[cfg(test)]
mod tests {
    use sha2::{Digest as _, Sha256};

    use super::*;

    #[test]
    fn a_line_has_its_length_and_shows_its_number() {
        assert_eq!(line(7, 24), "line 0000000007 789abcde");
        assert_eq!(line(7, 4), "line");
        assert_eq!(line(7, 0), "");
        for len in [16_383, 16_384, 16_385] {
            assert_eq!(line(3, len).len(), len);
        }
    }

    #[test]
    fn data_has_its_length_numbers_its_blocks_and_needs_no_escaping() {
        assert_eq!(data(0), "");
        assert_eq!(data(20), "000000000000000-0123");
        let two = data(2 * BLOCK + 17);
        assert_eq!(two.len(), 2 * BLOCK + 17);
        assert_eq!(&two[BLOCK..BLOCK + 17], "000000000000001-0");
        assert_eq!(&two[2 * BLOCK..], "000000000000002-0");
        assert_eq!(serde_json::to_string(&two).unwrap().len(), two.len() + 2);
    }

    #[test]
    fn data_is_what_hello_python_returns() {
        // Computed by `data` in plugins/hello-python/src/big.py.
        let digest = Sha256::digest(data(100_000).as_bytes());
        assert_eq!(hex::encode(digest), "a6d4a3a4d83041641eba6c2596e3c7a1c6339dd8304bd15608c93f99c8561377");
    }

    #[test]
    fn raw_keeps_to_utf8_or_breaks_it_and_never_ends_a_line() {
        for n in [0, 1, 5, 16_384, 100_000] {
            let valid = raw(n, false);
            assert_eq!(valid.len(), n);
            assert!(std::str::from_utf8(&valid).is_ok());
            assert!(!valid.contains(&b'\n'));
            assert_eq!(raw(n, true).len(), n);
        }
        let invalid = raw(65_536, true);
        assert!(std::str::from_utf8(&invalid).is_err());
        assert!((0..=255).filter(|byte| *byte != b'\n').all(|byte: u8| invalid.contains(&byte)));
        assert!(!invalid.contains(&b'\n'));
    }
}
