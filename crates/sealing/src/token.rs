//! Bearer tokens: random texts whose possession is the proof. Only their hash is stored.
//!
//! A token is `<prefix>_` and 32 letters and digits: 26 random ones (155 bits) and 6 that check them, so that a
//! token which was cut or mistyped is told apart from one that is unknown.

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// The prefix of a personal access token.
pub const PERSONAL: &str = "rpa";
/// The prefix of the credential that a runner gets when it registers.
pub const RUNNER: &str = "rrc";

const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const RANDOM_LENGTH: usize = 26;
const CHECK_LENGTH: usize = 6;

/// The hash under which a token is stored. A token is random enough for a plain hash to be safe.
pub type TokenHash = [u8; 32];

/// A new token with this prefix.
pub fn generate(prefix: &str) -> Result<Zeroizing<String>, getrandom::Error> {
    let mut text = Zeroizing::new(String::with_capacity(prefix.len() + 1 + RANDOM_LENGTH + CHECK_LENGTH));
    text.push_str(prefix);
    text.push('_');
    let mut bytes = Zeroizing::new([0u8; 64]);
    let mut wanted = RANDOM_LENGTH;
    while wanted > 0 {
        getrandom::fill(bytes.as_mut_slice())?;
        // Bytes from 248 on are thrown away: with them the first letters of the alphabet would be more likely.
        for byte in bytes.iter().filter(|byte| **byte < 248).take(wanted) {
            text.push(char::from(ALPHABET[usize::from(byte % 62)]));
            wanted -= 1;
        }
    }
    let check = check_of(&text);
    text.push_str(&check);
    Ok(text)
}

/// True if the text is whole: a prefix, the right length, and a check that fits. Says nothing about whether it is known.
pub fn is_well_formed(text: &str) -> bool {
    let Some((prefix, rest)) = text.split_once('_') else { return false };
    if prefix.is_empty() || rest.len() != RANDOM_LENGTH + CHECK_LENGTH || !rest.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return false;
    }
    let (checked, check) = text.split_at(text.len() - CHECK_LENGTH);
    check_of(checked) == check
}

/// The hash under which this token is stored and found.
pub fn hash_token(text: &str) -> TokenHash {
    Sha256::digest(text.as_bytes()).into()
}

/// Compares two secrets without telling by the time it takes where they differ.
pub fn same(one: &[u8], other: &[u8]) -> bool {
    one.ct_eq(other).into()
}

fn check_of(text: &str) -> String {
    let hash = Sha256::digest([b"legwork token check:", text.as_bytes()].concat());
    hash.iter().take(CHECK_LENGTH).map(|byte| char::from(ALPHABET[usize::from(byte % 62)])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_differ_and_check_themselves() {
        let (one, other) = (generate(PERSONAL).unwrap(), generate(PERSONAL).unwrap());
        assert_ne!(one, other);
        assert!(one.starts_with("rpa_") && one.len() == 36, "{}", one.as_str());
        assert!(is_well_formed(&one));
        assert!(!is_well_formed(&one[..one.len() - 1]));
        let mistyped = one.replacen(&one[4..5], if one.as_bytes()[4] == b'a' { "b" } else { "a" }, 1);
        assert!(!is_well_formed(&mistyped) || mistyped.starts_with("rpb_"));
        for text in ["", "rpa", "rpa_", "_", &format!("rpa_{}", "ä".repeat(16))] {
            assert!(!is_well_formed(text), "{text}");
        }
    }

    #[test]
    fn hashes_tell_tokens_apart() {
        assert!(same(&hash_token("a"), &hash_token("a")));
        assert!(!same(&hash_token("a"), &hash_token("b")));
    }
}
