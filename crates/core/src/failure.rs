//! Failure classes: a closed list. There is no `unknown`.

use std::fmt;

use serde::{Deserialize, Serialize};

macro_rules! text_enum {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $text:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
        pub enum $name {
            $($(#[$variant_doc])* #[serde(rename = $text)] $variant),+
        }

        impl $name {
            /// Every value, in the order of the definition.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The text used in the API, the database, the UI and the CLI.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),+ }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl std::str::FromStr for $name {
            type Err = crate::failure::UnknownText;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Self::ALL.iter().copied().find(|value| value.as_str() == text).ok_or_else(|| crate::failure::UnknownText {
                    text: text.chars().take(100).collect(),
                    accepted: Self::ALL.iter().map(|value| value.as_str()).collect::<Vec<_>>().join(", "),
                })
            }
        }
    };
}
pub(crate) use text_enum;

/// A text that is none of a closed list.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not one of {accepted}")]
pub struct UnknownText {
    /// What was given.
    pub text: String,
    /// What would have been accepted.
    pub accepted: String,
}

text_enum!(
    /// Why an attempt failed.
    FailureClass {
        /// The plugin said so in its result.
        PluginFailed = "plugin-failed",
        /// The plugin ended without a result.
        PluginCrashed = "plugin-crashed",
        /// The executor ran out of its memory limit.
        OomKilled = "oom-killed",
        /// A timeout of the task was over.
        TimedOut = "timed-out",
        /// Somebody aborted it.
        Aborted = "aborted",
        /// The image could not be had.
        Image = "image",
        /// The task or the runner is configured in a way that cannot work.
        Configuration = "configuration",
        /// The engine found no place for the executor.
        Unschedulable = "unschedulable",
        /// The engine could not start the executor.
        CouldNotStart = "could-not-start",
        /// The engine threw the executor out.
        Evicted = "evicted",
        /// The machine of the executor is gone.
        NodeLost = "node-lost",
        /// The engine itself was stopped or lost the executor.
        EngineLost = "engine-lost",
        /// Somebody else stopped or removed the executor.
        RemovedByOthers = "removed-by-others",
        /// The runner was silent for longer than the task allows.
        RunnerLost = "runner-lost",
        /// The runner had no disk space left.
        RunnerFull = "runner-full",
        /// The result could not be decrypted or read.
        Protocol = "protocol",
        /// The result is over the limit.
        ResultTooLarge = "result-too-large",
    }
);

impl FailureClass {
    /// True if a task that allows retries is retried after this without being asked.
    ///
    /// A failure of the plugin never is: it may have acted. `RunnerLost` follows the lost-runner policy instead.
    pub fn retried_if_allowed(self) -> bool {
        match self {
            Self::Image
            | Self::Unschedulable
            | Self::CouldNotStart
            | Self::Evicted
            | Self::NodeLost
            | Self::EngineLost
            | Self::RemovedByOthers
            | Self::RunnerFull => true,
            Self::PluginFailed
            | Self::PluginCrashed
            | Self::OomKilled
            | Self::TimedOut
            | Self::Aborted
            | Self::Configuration
            | Self::RunnerLost
            | Self::Protocol
            | Self::ResultTooLarge => false,
        }
    }
}

text_enum!(
    /// Which timeout was over.
    TimeoutKind {
        /// No runner took the task in time.
        Queue = "queue",
        /// The image was not there in time.
        Image = "image",
        /// The executor did not start in time.
        Start = "start",
        /// The plugin did not end in time.
        Run = "run",
    }
);

/// A failure as it is stored and shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// Its class.
    pub class: FailureClass,
    /// What went wrong and what to do, in a sentence for the user.
    pub message: String,
}

impl Failure {
    /// A failure of this class, for this reason.
    pub fn new(class: FailureClass, message: impl Into<String>) -> Self {
        Self { class, message: message.into() }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.class, self.message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_read_back() {
        for class in FailureClass::ALL {
            assert_eq!(class.as_str().parse::<FailureClass>().unwrap(), *class);
            assert_eq!(serde_json::to_string(class).unwrap(), format!("\"{class}\""));
        }
        assert!("unknown".parse::<FailureClass>().is_err());
    }

    #[test]
    fn a_plugins_own_failure_is_never_retried() {
        for class in [FailureClass::PluginFailed, FailureClass::PluginCrashed, FailureClass::Aborted, FailureClass::OomKilled] {
            assert!(!class.retried_if_allowed());
        }
        assert!(FailureClass::EngineLost.retried_if_allowed());
    }
}
