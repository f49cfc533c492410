//! Capabilities: plain labels that a task requires and a runner offers.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::limits;

/// A label such as `remote` or `linux-arm`: lower-case letters, digits, `.`, `_` and `-`, at most 64 characters.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Capability(String);

/// The label that says: this is a script (test-connection, lookup), not a task.
pub const REMOTE_SCRIPT: &str = "remote-script";

impl Capability {
    /// The label's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Why a text is no capability.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no capability: use 1 to {max} of a-z, 0-9, '.', '_' and '-'", max = limits::CAPABILITY_LENGTH)]
pub struct InvalidCapability(String);

impl FromStr for Capability {
    type Err = InvalidCapability;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "._-".contains(c);
        if text.is_empty() || text.len() > limits::CAPABILITY_LENGTH || !text.chars().all(allowed) {
            return Err(InvalidCapability(text.chars().take(limits::CAPABILITY_LENGTH).collect()));
        }
        Ok(Self(text.to_owned()))
    }
}

impl TryFrom<String> for Capability {
    type Error = InvalidCapability;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Capability> for String {
    fn from(capability: Capability) -> Self {
        capability.0
    }
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A set of capabilities, in alphabetical order.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Capabilities(pub BTreeSet<Capability>);

impl Capabilities {
    /// Reads a list separated by commas; blanks around a label and empty places are ignored.
    pub fn parse_list(text: &str) -> Result<Self, InvalidCapability> {
        text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(str::parse).collect::<Result<_, _>>().map(Self)
    }

    /// True if everything that `required` names is here.
    pub fn offers(&self, required: &Self) -> bool {
        required.0.is_subset(&self.0)
    }

    /// What `required` names and is not here.
    pub fn missing(&self, required: &Self) -> Vec<Capability> {
        required.0.difference(&self.0).cloned().collect()
    }

    /// True if this set names the label.
    pub fn has(&self, label: &str) -> bool {
        self.0.iter().any(|capability| capability.as_str() == label)
    }

    /// True if a task with these requirements is a script and may use the slot that is kept for scripts.
    pub fn is_script(&self) -> bool {
        self.has(REMOTE_SCRIPT)
    }
}

impl FromIterator<Capability> for Capabilities {
    fn from_iter<I: IntoIterator<Item = Capability>>(capabilities: I) -> Self {
        Self(capabilities.into_iter().collect())
    }
}

/// The labels separated by commas, in alphabetical order: equal sets give equal texts.
impl fmt::Display for Capabilities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, capability) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str(",")?;
            }
            f.write_str(capability.as_str())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_canonical() {
        let set = Capabilities::parse_list(" remote, container,,remote ").unwrap();
        assert_eq!(set.to_string(), "container,remote");
        assert!(Capabilities::parse_list("Remote").is_err());
        assert!(Capabilities::parse_list(&"a".repeat(65)).is_err());
    }

    #[test]
    fn what_is_missing_is_named() {
        let offered = Capabilities::parse_list("remote,container").unwrap();
        let required = Capabilities::parse_list("remote,gpu").unwrap();
        assert!(!offered.offers(&required));
        assert_eq!(offered.missing(&required), vec!["gpu".parse().unwrap()]);
        assert!(offered.offers(&Capabilities::default()));
    }
}
