//! How long to wait before the next try: doubling, with jitter and a cap.

use std::time::Duration;

/// The waits of one series of tries.
#[derive(Debug)]
pub(crate) struct Backoff {
    next: Duration,
    first: Duration,
    cap: Duration,
}

impl Backoff {
    /// From a tenth of a second to five seconds, as for a server that is away.
    pub(crate) fn new() -> Self {
        Self::between(Duration::from_millis(100), Duration::from_secs(5))
    }

    pub(crate) fn between(first: Duration, cap: Duration) -> Self {
        Self { next: first, first, cap }
    }

    /// The next wait: between half and all of the step, so that many runners do not come back at once.
    pub(crate) fn next(&mut self) -> Duration {
        let step = self.next;
        self.next = (step * 2).min(self.cap);
        let mut random = [0; 2];
        // Without random numbers the waits are merely alike.
        let _ = getrandom::fill(&mut random);
        step / 2 + (step / 2).mul_f64(f64::from(u16::from_le_bytes(random)) / f64::from(u16::MAX))
    }

    /// A try has succeeded.
    pub(crate) fn reset(&mut self) {
        self.next = self.first;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_the_cap() {
        let mut backoff = Backoff::new();
        let waits: Vec<_> = (0..12).map(|_| backoff.next()).collect();
        assert!(waits[0] >= Duration::from_millis(50) && waits[0] <= Duration::from_millis(100));
        assert!(waits.iter().all(|wait| *wait <= Duration::from_secs(5)));
        assert!(waits[11] >= Duration::from_millis(2500));
        backoff.reset();
        assert!(backoff.next() <= Duration::from_millis(100));
    }
}
