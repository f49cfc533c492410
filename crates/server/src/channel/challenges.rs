//! Texts that runners sign to prove their key. Each is good once, for a minute.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

const GOOD_FOR: Duration = Duration::from_secs(60);
/// Asking costs nothing and needs no token, so what is remembered is bounded.
const MOST: usize = 100_000;

/// The challenges that were given out and not used yet.
#[derive(Debug, Default)]
pub(crate) struct Challenges {
    open: Mutex<HashMap<String, Instant>>,
}

impl Challenges {
    /// A new one; none if too many are open.
    pub(crate) fn make(&self) -> Result<Option<String>, getrandom::Error> {
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes)?;
        let nonce = URL_SAFE_NO_PAD.encode(bytes);
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if open.len() >= MOST {
            open.retain(|_, made| made.elapsed() < GOOD_FOR);
            if open.len() >= MOST {
                return Ok(None);
            }
        }
        open.insert(nonce.clone(), Instant::now());
        Ok(Some(nonce))
    }

    /// True if this one is good; it is not any more after that.
    pub(crate) fn take(&self, nonce: &str) -> bool {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.remove(nonce).is_some_and(|made| made.elapsed() < GOOD_FOR)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_challenge_is_good_once() {
        let challenges = Challenges::default();
        let (one, other) = (challenges.make().unwrap().unwrap(), challenges.make().unwrap().unwrap());
        assert_ne!(one, other);
        assert!(challenges.take(&one));
        assert!(!challenges.take(&one));
        assert!(!challenges.take("made up"));
        assert!(challenges.take(&other));
    }
}
