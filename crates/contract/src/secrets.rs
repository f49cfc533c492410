//! Which values of an input are secret.
//!
//! The SDKs look one level deep; here every depth counts: properties with the password flag at task level and inside
//! nested objects and lists of any form, and every text inside the value of such a property.

use std::collections::BTreeSet;
use std::fmt;

use legwork_core::spec::Input;
use serde_json::{Map, Value};
use zeroize::Zeroizing;

/// Secrets shorter than this are not masked: they would tear holes into every log.
pub const MIN_SECRET_BYTES: usize = 6;

/// The secrets of one attempt. They are wiped from memory when dropped and never shown.
#[derive(Clone, Default)]
pub struct SecretSet {
    secrets: Vec<Secret>,
    warnings: BTreeSet<SecretWarning>,
}

/// One secret value and the property that it came from.
#[derive(Clone)]
pub(crate) struct Secret {
    pub(crate) property: String,
    pub(crate) text: Zeroizing<String>,
}

/// Something about secrets that a user must see. It names properties, never values.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum SecretWarning {
    /// The value is too short to be masked.
    #[error(
        "the value of \"{property}\" is not masked in the log: it has fewer than {MIN_SECRET_BYTES} bytes; use a longer secret"
    )]
    TooShort {
        /// The property, with the properties around it: `server.password`.
        property: String,
    },
    /// All secrets together are too long for every encoded form of them to be masked.
    #[error(
        "the value of \"{property}\" is so long that only its plain form is surely masked in the log, not every encoded one; hand large files over by reference"
    )]
    TooLong {
        /// The property, with the properties around it.
        property: String,
    },
}

impl SecretSet {
    /// All secrets of an input.
    pub fn of(input: &Input) -> Self {
        let mut set = Self::default();
        for property in &input.properties {
            if property.password {
                set.add_all(&property.name, &property.value);
            } else {
                set.search(&property.name, &property.value);
            }
        }
        set
    }

    /// Adds a secret that is not part of the input, such as a password of the runner's own.
    pub fn add(&mut self, property: impl Into<String>, text: &str) {
        let property = property.into();
        match text.trim().len() {
            0 => {}
            1..MIN_SECRET_BYTES => {
                self.warnings.insert(SecretWarning::TooShort { property });
            }
            _ => self.secrets.push(Secret { property, text: Zeroizing::new(text.to_owned()) }),
        }
    }

    /// Which properties are not masked, and why. Empty values are not worth a warning.
    pub fn warnings(&self) -> impl Iterator<Item = &SecretWarning> {
        self.warnings.iter()
    }

    /// True if there is nothing to mask.
    pub fn is_empty(&self) -> bool {
        self.secrets.is_empty()
    }

    /// How many values are masked.
    pub fn len(&self) -> usize {
        self.secrets.len()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Secret> {
        self.secrets.iter()
    }

    /// Looks for properties with the password flag inside a value that is not a secret itself.
    fn search(&mut self, path: &str, value: &Value) {
        match value {
            Value::Array(items) => items.iter().for_each(|item| self.search(path, item)),
            Value::Object(members) => {
                let path = nested_path(path, members);
                match members.get("value") {
                    Some(value) if has_password_flag(members) => self.add_all(&path, value),
                    _ => members.values().for_each(|member| self.search(&path, member)),
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }

    /// Takes everything inside the value of a secret property.
    fn add_all(&mut self, path: &str, value: &Value) {
        match value {
            Value::Null | Value::Bool(_) => {}
            Value::Number(number) => self.add(path, &Zeroizing::new(number.to_string())),
            Value::String(text) => self.add(path, text),
            Value::Array(items) => items.iter().for_each(|item| self.add_all(path, item)),
            Value::Object(members) => {
                let path = nested_path(path, members);
                // Of a nested object or property only the values are secret: masking its kinds and categories would
                // take the word "input" out of every log.
                if let Some(Value::Array(properties)) = members.get("properties") {
                    for property in properties {
                        self.add_all(&path, property);
                    }
                } else if let (Some(value), true) = (members.get("value"), members.contains_key("kind")) {
                    self.add_all(&path, value);
                } else {
                    members.values().for_each(|member| self.add_all(&path, member));
                }
            }
        }
    }
}

impl fmt::Debug for SecretSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SecretSet").field("secrets", &self.secrets.len()).field("warnings", &self.warnings).finish()
    }
}

/// Early Go plugins called the flag `isPassword`.
fn has_password_flag(members: &Map<String, Value>) -> bool {
    ["password", "isPassword"].iter().any(|flag| members.get(*flag) == Some(&Value::Bool(true)))
}

/// The path of an object inside a value: objects that are properties have a name.
fn nested_path(path: &str, members: &Map<String, Value>) -> String {
    match members.get("name") {
        Some(Value::String(name)) if members.contains_key("value") => format!("{path}.{name}"),
        _ => path.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use legwork_core::spec::InputProperty;
    use serde_json::json;

    use super::*;

    fn collect(password: bool, value: Value) -> (Vec<String>, Vec<String>) {
        let input = Input { properties: vec![InputProperty { name: "p".to_owned(), value, kind: "CI".to_owned(), password }] };
        let set = SecretSet::of(&input);
        (set.iter().map(|secret| secret.text.to_string()).collect(), set.warnings().map(ToString::to_string).collect())
    }

    fn property(name: &str, value: &Value, password: bool) -> Value {
        json!({"name": name, "value": value, "kind": "STRING", "category": "input", "password": password})
    }

    #[test]
    fn secrets_at_every_depth() {
        let innermost = json!({"id": null, "type": "a.B", "properties": [property("token", &json!("depth-three"), true)]});
        let inner = json!({"type": "a.B", "properties": [
            property("password", &json!("depth-two"), true),
            property("user", &json!("not-secret"), false),
            property("next", &innermost, false),
        ]});
        let list = json!([{"type": "a.B", "properties": [property("server", &inner, false)]}]);
        let (secrets, warnings) = collect(false, list);
        assert_eq!(secrets, ["depth-two", "depth-three"]);
        assert!(warnings.is_empty());
    }

    #[test]
    fn everything_inside_a_password_property() {
        let (secrets, _) = collect(
            true,
            json!({"first": "secret-one", "list": ["secret-two", {"x": "secret-three"}], "n": 12_345_678, "t": true}),
        );
        assert_eq!(secrets, ["secret-one", "secret-two", "secret-three", "12345678"]);
        let nested =
            json!({"id": "Configuration/x", "type": "some.Type", "properties": [property("user", &json!("secret-four"), false)]});
        assert_eq!(collect(true, nested).0, ["secret-four"]);
    }

    #[test]
    fn short_ones_are_named_and_not_masked() {
        let nested = json!({"type": "a.B", "properties": [property("pin", &json!("1234\n\n"), true), property("empty", &json!(""), true)]});
        let (secrets, warnings) = collect(false, nested);
        assert!(secrets.is_empty());
        assert_eq!(warnings.len(), 1);
        assert!(warnings[0].contains("\"p.pin\"") && !warnings[0].contains("1234"), "{}", warnings[0]);
    }

    #[test]
    fn a_flag_of_early_plugins_counts() {
        let nested = json!({"properties": [{"name": "x", "value": "old-secret", "isPassword": true}]});
        assert_eq!(collect(false, nested).0, ["old-secret"]);
    }

    #[test]
    fn secrets_are_never_shown() {
        let mut set = SecretSet::default();
        set.add("p", "hidden-value");
        assert!(!format!("{set:?}").contains("hidden"));
    }
}
