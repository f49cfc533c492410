//! How a plugin is asked to end (§5).
//!
//! Which SDK an image was built with cannot be seen, and the two want different signals: Go ends in good
//! order on `SIGABRT`, Python on `SIGTERM`. So: `SIGABRT` at once; after a second `SIGTERM`, repeated each second,
//! because the kernel drops it silently while Python is still starting; and never again once the log says
//! that it has arrived, because a second one may cut the writing of the result. `SIGKILL` when time is up.

use std::time::Duration;

/// A signal for the first process of an executor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Signal {
    /// Ends a Go plugin in good order; Python ignores it.
    Abort,
    /// Ends a Python plugin in good order; Go dies of it without a result.
    Terminate,
    /// Ends anything.
    Kill,
}

impl Signal {
    /// Its number on Linux.
    pub fn number(self) -> i32 {
        match self {
            Self::Abort => 6,
            Self::Terminate => 15,
            Self::Kill => 9,
        }
    }

    /// Its name as container engines take it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Abort => "SIGABRT",
            Self::Terminate => "SIGTERM",
            Self::Kill => "SIGKILL",
        }
    }
}

/// What to do next while the executor is still there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Send this signal now, then ask again. After [`Signal::Kill`] there is nothing more to ask.
    Send(Signal),
    /// Ask again after this time at the latest, or as soon as the log was acknowledging.
    Wait(Duration),
}

/// How long a plugin is given after the first `SIGABRT`, and between two `SIGTERM`s.
const PAUSE: Duration = Duration::from_secs(1);

/// The plan for ending one executor.
///
/// Ask [`next`](Self::next) again and again until the executor has ended or the answer was `SIGKILL`. A plan that is
/// begun anew after a restart of the runner does no harm: it sends `SIGABRT` again, which Python ignores and
/// Go has already taken.
#[derive(Clone, Debug)]
pub struct AbortPlan {
    timeout: Duration,
    abort_sent: bool,
    terminated_at: Option<Duration>,
}

impl AbortPlan {
    /// A plan that kills after `abort_timeout`; zero kills at once.
    pub fn new(abort_timeout: Duration) -> Self {
        Self { timeout: abort_timeout, abort_sent: false, terminated_at: None }
    }

    /// What to do now. `elapsed` is the time since the abort began; `acknowledged` is true once the log held the line
    /// that a [`TermWatch`] looks for. A signal that is returned counts as sent.
    pub fn next(&mut self, elapsed: Duration, acknowledged: bool) -> Step {
        let Some(left) = self.timeout.checked_sub(elapsed).filter(|left| !left.is_zero()) else {
            return Step::Send(Signal::Kill);
        };
        if !self.abort_sent {
            self.abort_sent = true;
            return Step::Send(Signal::Abort);
        }
        if acknowledged {
            return Step::Wait(left);
        }
        // A short timeout is shared out, so that Python gets its signal too.
        let pause = PAUSE.min(self.timeout / 4);
        let due = self.terminated_at.map_or(pause, |sent| sent + PAUSE);
        if elapsed >= due {
            self.terminated_at = Some(elapsed);
            return Step::Send(Signal::Terminate);
        }
        Step::Wait(left.min(due.saturating_sub(elapsed)))
    }
}

/// Looks in a log for the line by which the Python SDK says that `SIGTERM` has arrived.
#[derive(Clone, Debug, Default)]
pub struct TermWatch {
    matched: usize,
    seen: bool,
}

impl TermWatch {
    const LINE: &'static [u8] = b"Received SIGTERM";

    /// Takes the next bytes of the log, in pieces of any size; tells if the line was there, now or before.
    pub fn push(&mut self, bytes: &[u8]) -> bool {
        for &byte in bytes {
            if self.seen {
                break;
            }
            // The text has no prefix that comes again inside it, other than its first letter.
            self.matched = if byte == Self::LINE[self.matched] { self.matched + 1 } else { usize::from(byte == Self::LINE[0]) };
            self.seen = self.matched == Self::LINE.len();
        }
        self.seen
    }

    /// True if the line was there.
    pub fn seen(&self) -> bool {
        self.seen
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(seconds: f64) -> Duration {
        Duration::from_secs_f64(seconds)
    }

    #[test]
    fn abort_then_terminate_each_second_then_kill() {
        let mut plan = AbortPlan::new(seconds(3.0));
        assert_eq!(plan.next(seconds(0.0), false), Step::Send(Signal::Abort));
        assert_eq!(plan.next(seconds(0.0), false), Step::Wait(seconds(0.75)));
        assert_eq!(plan.next(seconds(0.75), false), Step::Send(Signal::Terminate));
        assert_eq!(plan.next(seconds(1.0), false), Step::Wait(seconds(0.75)));
        assert_eq!(plan.next(seconds(1.75), false), Step::Send(Signal::Terminate));
        assert_eq!(plan.next(seconds(2.5), false), Step::Wait(seconds(0.25)));
        assert_eq!(plan.next(seconds(3.0), false), Step::Send(Signal::Kill));
    }

    #[test]
    fn a_long_timeout_leaves_a_second_for_the_first_signal() {
        let mut plan = AbortPlan::new(seconds(30.0));
        assert_eq!(plan.next(seconds(0.0), false), Step::Send(Signal::Abort));
        assert_eq!(plan.next(seconds(0.4), false), Step::Wait(seconds(0.6)));
    }

    #[test]
    fn no_second_terminate_once_it_is_acknowledged() {
        let mut plan = AbortPlan::new(seconds(10.0));
        plan.next(seconds(0.0), false);
        assert_eq!(plan.next(seconds(1.0), false), Step::Send(Signal::Terminate));
        assert_eq!(plan.next(seconds(1.1), true), Step::Wait(seconds(8.9)));
        assert_eq!(plan.next(seconds(5.0), true), Step::Wait(seconds(5.0)));
        assert_eq!(plan.next(seconds(10.0), true), Step::Send(Signal::Kill));
    }

    #[test]
    fn no_timeout_kills_at_once() {
        assert_eq!(AbortPlan::new(Duration::ZERO).next(Duration::ZERO, false), Step::Send(Signal::Kill));
    }

    #[test]
    fn the_acknowledging_line_is_found_across_pieces() {
        let log = b"INFO [wrapper.py:71] - RReceived SIGTERM to gracefully stop";
        for cut in 0..log.len() {
            let mut watch = TermWatch::default();
            watch.push(&log[..cut]);
            assert!(watch.push(&log[cut..]), "cut at {cut}");
        }
        assert!(!TermWatch::default().push(b"Received SIGTER"));
    }
}
