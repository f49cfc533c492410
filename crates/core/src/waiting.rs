//! Why a task does not run yet. Derived whenever somebody asks, never stored.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::capability::{Capabilities, Capability};
use crate::matching::{Availability, RunnerView};

/// Why a task waits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "reason", rename_all = "snake_case")]
pub enum WaitingReason {
    /// There is no runner at all.
    NoRunner,
    /// No registered runner offers this: the task can never run as things are.
    NoRunnerOffers {
        /// What nobody offers; if each is offered by somebody but not all by one runner, everything required.
        missing: Vec<Capability>,
    },
    /// Runners match, and none can take it now.
    NoneAvailable {
        /// The matching runners, by why they cannot.
        runners: Vec<UnavailableRunner>,
        /// Tasks that will be handed out before it.
        ahead: u64,
    },
    /// A matching runner has a free slot; others are handed out first, or the hand-out is under way.
    InQueue {
        /// Tasks that will be handed out before it.
        ahead: u64,
    },
    /// A runner was offered the task and has not confirmed yet.
    Offered {
        /// The runner's title.
        runner: String,
    },
}

/// A matching runner that cannot take a task now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnavailableRunner {
    /// Its title.
    pub title: String,
    /// Why it cannot.
    pub why: Unavailable,
}

/// Why a matching runner cannot take a task now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unavailable {
    /// All its slots are taken.
    Full,
    /// Somebody disabled it.
    Disabled,
    /// It takes no new work.
    Draining,
    /// It was not heard of.
    Offline,
    /// Its protocol version is not ours.
    Outdated,
    /// Two processes claim to be it.
    Conflict,
}

impl Unavailable {
    fn words(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Disabled => "disabled",
            Self::Draining => "draining",
            Self::Offline => "offline",
            Self::Outdated => "outdated (update it)",
            Self::Conflict => "claimed by two processes (see its page)",
        }
    }
}

/// Why a queued task that requires this waits, with these runners registered and so many tasks ahead of it.
pub fn why_queued(required: &Capabilities, runners: &[RunnerView], ahead: u64) -> WaitingReason {
    if runners.is_empty() {
        return WaitingReason::NoRunner;
    }
    let matching: Vec<&RunnerView> = runners.iter().filter(|runner| runner.matches(required)).collect();
    if matching.is_empty() {
        let offered_by_nobody: Vec<Capability> = required
            .0
            .iter()
            .filter(|capability| !runners.iter().any(|runner| runner.capabilities.0.contains(capability)))
            .cloned()
            .collect();
        let missing = if offered_by_nobody.is_empty() { required.0.iter().cloned().collect() } else { offered_by_nobody };
        return WaitingReason::NoRunnerOffers { missing };
    }
    let unavailable: Vec<UnavailableRunner> = matching
        .iter()
        .filter_map(|runner| {
            let free = runner.free_slots();
            let slots = if required.is_script() { free.scripts } else { free.tasks };
            let why = match runner.availability {
                Availability::Online if slots == 0 => Unavailable::Full,
                Availability::Online => return None,
                Availability::Offline { .. } => Unavailable::Offline,
                Availability::Disabled => Unavailable::Disabled,
                Availability::Draining => Unavailable::Draining,
                Availability::Outdated => Unavailable::Outdated,
                Availability::Conflict => Unavailable::Conflict,
            };
            Some(UnavailableRunner { title: runner.title.clone(), why })
        })
        .collect();
    if unavailable.len() < matching.len() {
        WaitingReason::InQueue { ahead }
    } else {
        WaitingReason::NoneAvailable { runners: unavailable, ahead }
    }
}

/// The sentence for people.
impl fmt::Display for WaitingReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoRunner => f.write_str("no runner is registered"),
            Self::NoRunnerOffers { missing } => {
                f.write_str("no registered runner offers ")?;
                for (index, capability) in missing.iter().enumerate() {
                    write!(f, "{}{capability}", if index > 0 { " + " } else { "" })?;
                }
                Ok(())
            }
            Self::NoneAvailable { runners, ahead } => {
                f.write_str(if runners.len() == 1 {
                    "the matching runner is not available: "
                } else {
                    "no matching runner is available: "
                })?;
                for (index, runner) in runners.iter().take(5).enumerate() {
                    write!(f, "{}{} is {}", if index > 0 { ", " } else { "" }, runner.title, runner.why.words())?;
                }
                if runners.len() > 5 {
                    write!(f, " and {} more", runners.len() - 5)?;
                }
                ahead_of_it(f, *ahead)
            }
            Self::InQueue { ahead } => {
                f.write_str("in the queue")?;
                ahead_of_it(f, *ahead)
            }
            Self::Offered { runner } => write!(f, "offered to {runner}"),
        }
    }
}

fn ahead_of_it(f: &mut fmt::Formatter<'_>, ahead: u64) -> fmt::Result {
    match ahead {
        0 => Ok(()),
        1 => f.write_str("; 1 task is ahead of it"),
        _ => write!(f, "; {ahead} tasks are ahead of it"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::RunnerId;

    fn runner(title: &str, capabilities: &str, used: u32, availability: Availability) -> RunnerView {
        RunnerView {
            id: RunnerId::new(),
            title: title.to_owned(),
            capabilities: Capabilities::parse_list(capabilities).unwrap(),
            capacity: 1,
            used,
            used_by_scripts: 0,
            availability,
        }
    }

    #[test]
    fn every_reason_is_a_sentence() {
        let required = Capabilities::parse_list("remote,gpu").unwrap();
        let remote = runner("a", "remote", 0, Availability::Online);
        let full = runner("b", "remote,gpu", 1, Availability::Online);
        let offline = runner("c", "remote,gpu", 0, Availability::Offline { since: None });
        let free = runner("d", "remote,gpu", 0, Availability::Online);
        let say = |runners: &[RunnerView], ahead| why_queued(&required, runners, ahead).to_string();
        assert_eq!(say(&[], 0), "no runner is registered");
        assert_eq!(say(std::slice::from_ref(&remote), 0), "no registered runner offers gpu");
        let split = [remote.clone(), runner("e", "gpu", 0, Availability::Online)];
        assert_eq!(say(&split, 0), "no registered runner offers gpu + remote");
        assert_eq!(say(&[remote, full.clone()], 2), "the matching runner is not available: b is full; 2 tasks are ahead of it");
        assert_eq!(say(&[full.clone(), offline], 0), "no matching runner is available: b is full, c is offline");
        assert_eq!(say(&[full, free], 1), "in the queue; 1 task is ahead of it");
    }
}
