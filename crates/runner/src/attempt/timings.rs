//! Where an attempt's time went.

use std::time::{Duration, Instant};

/// A stop watch with names.
#[derive(Debug)]
pub(super) struct Timings {
    last: Instant,
    spent: Vec<(String, u64)>,
}

impl Timings {
    /// Begins after what was spent between the offer and now.
    pub(super) fn since(waited: Duration) -> Self {
        Self { last: Instant::now(), spent: vec![("accepted".to_owned(), millis(waited))] }
    }

    /// All time since the last call was spent on this.
    pub(super) fn spent_on(&mut self, what: &str) {
        let now = Instant::now();
        self.spent.push((what.to_owned(), millis(now - self.last)));
        self.last = now;
    }

    pub(super) fn list(&self) -> Vec<(String, u64)> {
        self.spent.clone()
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
