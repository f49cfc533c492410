//! Passwords: checked with Argon2, which is slow on purpose, so what was checked is remembered for a while.
//!
//! Failures are counted by user and address, and too many of them are refused for a minute.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use sha2::{Digest as _, Sha256};

const REMEMBERED: Duration = Duration::from_secs(300);
const WINDOW: Duration = Duration::from_secs(60);
const FAILURES: u32 = 10;
const ENTRIES: usize = 10_000;

/// Since when failures are counted, and how many there were.
type Failures = (Instant, u32);

/// What was checked lately.
pub(crate) struct Passwords {
    /// Random for each process, so that what is remembered is of no use elsewhere.
    salt: [u8; 32],
    verified: Mutex<HashMap<[u8; 32], Instant>>,
    failures: Mutex<HashMap<(String, Option<IpAddr>), Failures>>,
}

impl Passwords {
    pub(crate) fn new() -> Result<Self, getrandom::Error> {
        let mut salt = [0; 32];
        getrandom::fill(&mut salt)?;
        Ok(Self { salt, verified: Mutex::default(), failures: Mutex::default() })
    }

    /// What stands for a password that was given for this stored hash. Another hash, another key.
    pub(crate) fn key(&self, user: &str, stored: &str, given: &str) -> [u8; 32] {
        let mut digest = Sha256::new_with_prefix(self.salt);
        for part in [user, stored, given] {
            digest.update((part.len() as u64).to_be_bytes());
            digest.update(part.as_bytes());
        }
        digest.finalize().into()
    }

    /// True if it was found right a short while ago.
    pub(crate) fn is_verified(&self, key: &[u8; 32]) -> bool {
        let verified = self.verified.lock().unwrap_or_else(PoisonError::into_inner);
        verified.get(key).is_some_and(|at| at.elapsed() < REMEMBERED)
    }

    /// Remembers that it was found right.
    pub(crate) fn remember(&self, key: [u8; 32]) {
        let mut verified = self.verified.lock().unwrap_or_else(PoisonError::into_inner);
        if verified.len() >= ENTRIES {
            verified.retain(|_, at| at.elapsed() < REMEMBERED);
        }
        verified.insert(key, Instant::now());
    }

    /// True if too many tries with this user from this address have failed within a minute.
    pub(crate) fn is_blocked(&self, user: &str, address: Option<IpAddr>) -> bool {
        let failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        failures.get(&(user.to_owned(), address)).is_some_and(|(since, count)| *count >= FAILURES && since.elapsed() < WINDOW)
    }

    /// Counts a failure.
    pub(crate) fn failed(&self, user: &str, address: Option<IpAddr>) {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        if failures.len() >= ENTRIES {
            failures.retain(|_, (since, _)| since.elapsed() < WINDOW);
        }
        let entry = failures.entry((user.to_owned(), address)).or_insert_with(|| (Instant::now(), 0));
        if entry.0.elapsed() >= WINDOW {
            *entry = (Instant::now(), 0);
        }
        entry.1 += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_password_for_the_same_hash_is_remembered() {
        let passwords = Passwords::new().unwrap();
        let key = passwords.key("ann", "$argon2$1", "secret");
        passwords.remember(key);
        assert!(passwords.is_verified(&passwords.key("ann", "$argon2$1", "secret")));
        assert!(!passwords.is_verified(&passwords.key("ann", "$argon2$2", "secret")));
        assert!(!passwords.is_verified(&passwords.key("ann", "$argon2$1", "secret2")));
        assert!(!passwords.is_verified(&passwords.key("an", "n$argon2$1", "secret")));
    }

    #[test]
    fn too_many_failures_block_one_user_from_one_address() {
        let passwords = Passwords::new().unwrap();
        let address = Some(IpAddr::from([127, 0, 0, 1]));
        for _ in 0..FAILURES {
            assert!(!passwords.is_blocked("ann", address));
            passwords.failed("ann", address);
        }
        assert!(passwords.is_blocked("ann", address));
        assert!(!passwords.is_blocked("bob", address));
        assert!(!passwords.is_blocked("ann", None));
    }
}
