//! The environment as a whole: the one place beside clap that looks at it.
//!
//! Settings of ours are flags with a variable each, which clap reads. What clap cannot know are the original's names
//! ([`crate::original`]), a variable that a user names (`--secret name=env:VARIABLE`), where Docker is, and where the desktop wants
//! configuration to be.

use std::collections::BTreeMap;
use std::path::PathBuf;

/// The variables whose names and values are text.
#[derive(Clone, Debug, Default)]
pub(crate) struct Environment(BTreeMap<String, String>);

impl Environment {
    /// Those of this process.
    pub(crate) fn of_process() -> Self {
        Self(
            std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?))).collect(),
        )
    }

    /// A variable, if it is set.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// Every variable whose name begins so, in alphabetical order.
    pub(crate) fn beginning_with(&self, prefix: &str) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().filter(move |(name, _)| name.starts_with(prefix)).map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Where a user's configuration is, by the XDG base directory specification.
    pub(crate) fn config_dir(&self) -> Option<PathBuf> {
        let set = |name| self.get(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        set("XDG_CONFIG_HOME")
            .filter(|path| path.is_absolute())
            .or_else(|| Some(set("HOME")?.join(".config")))
            .map(|path| path.join("legwork"))
    }
}

impl<const N: usize> From<[(&str, &str); N]> for Environment {
    fn from(variables: [(&str, &str); N]) -> Self {
        Self(variables.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
    }
}
