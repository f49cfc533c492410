//! Runners as a whole: against a scripted server in this process, with the engine that does nothing.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails; clippy does not see that the helpers are part of one")]

mod life;
mod restart;
mod scene;
