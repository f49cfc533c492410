//! The JSON that a plugin is given (§2), and the check of what a user wants in it.

mod validation;

use std::io::{self, Write};

use legwork_core::spec::{Input, InputProperty, TaskSpec};
use legwork_core::{AttemptId, TaskId};
use serde::{Serialize, Serializer};
use serde_json::Value;
use zeroize::Zeroizing;

pub use validation::{InputError, KINDS, validate_input, validate_task_type};

/// The input of one attempt, ready to be written. It borrows the values, because they may be large.
///
/// All five fields of every property and both objects are always there: the Python SDK fails the job without them.
#[derive(Serialize)]
pub struct InputContext<'a> {
    release: Release<'a>,
    task: Task<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Release<'a> {
    id: String,
    automated_task_as_user: User,
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<&'a str>,
}

/// Whom the plugin may act as towards the server: nobody.
#[derive(Serialize)]
struct User {
    username: (),
    password: (),
}

#[derive(Serialize)]
struct Task<'a> {
    id: String,
    #[serde(rename = "type")]
    kind: &'a str,
    #[serde(serialize_with = "as_list")]
    properties: Properties<'a>,
}

struct Properties<'a> {
    input: &'a [InputProperty],
    outputs: &'a TaskSpec,
}

#[derive(Serialize)]
struct Property<'a> {
    name: &'a str,
    value: &'a Value,
    kind: &'a str,
    category: &'a str,
    password: bool,
}

impl<'a> InputContext<'a> {
    /// The input of an attempt. The plugin sees the task's identity; all attempts of a task look the same to it.
    /// `release_url` is the server's address as the plugin can reach it; the Go SDK takes it from here.
    pub fn new(spec: &'a TaskSpec, input: &'a Input, attempt: AttemptId, release_url: Option<&'a str>) -> Self {
        Self {
            release: Release {
                id: release_id(attempt.task),
                automated_task_as_user: User { username: (), password: () },
                url: release_url,
            },
            task: Task {
                id: task_id(attempt.task),
                kind: &spec.task_type,
                properties: Properties { input: &input.properties, outputs: spec },
            },
        }
    }

    /// Writes the JSON, for instance to a [`crate::session::EncryptWriter`]. The writer is not flushed.
    pub fn write_json(&self, writer: impl Write) -> io::Result<()> {
        serde_json::to_writer(writer, self).map_err(io::Error::from)
    }

    /// The JSON.
    #[expect(clippy::missing_panics_doc, reason = "what is expected always holds")]
    pub fn to_json(&self) -> Zeroizing<Vec<u8>> {
        let mut length = Length(0);
        self.write_json(&mut length).expect("counting bytes cannot fail, and all keys are texts");
        // The room is made first: a buffer that grows leaves copies of secrets behind.
        let mut json = Zeroizing::new(Vec::with_capacity(usize::try_from(length.0).unwrap_or(0)));
        self.write_json(&mut *json).expect("writing to memory cannot fail, and all keys are texts");
        json
    }
}

/// The id under which a plugin knows the release that its task would be part of.
pub fn release_id(task: TaskId) -> String {
    format!("Applications/FolderLegwork/Release{}", task.0.simple())
}

/// The id under which a plugin knows its task. Its ancestors' ids are prefixes of it, as plugins expect.
pub fn task_id(task: TaskId) -> String {
    format!("{}/Phase1/Task{}", release_id(task), task.0.simple())
}

fn as_list<S: Serializer>(properties: &Properties<'_>, serializer: S) -> Result<S::Ok, S::Error> {
    let inputs = properties.input.iter().map(|property| Property {
        name: &property.name,
        value: &property.value,
        kind: &property.kind,
        category: "input",
        password: property.password,
    });
    // Python knows properties by name alone, so an output of the same name would put its null over the input.
    let outputs = properties.outputs.outputs.iter().filter(|output| properties.input.iter().all(|input| input.name != **output));
    let outputs = outputs.map(|name| Property { name, value: &Value::Null, kind: "STRING", category: "output", password: false });
    serializer.collect_seq(inputs.chain(outputs))
}

/// Counts what is written to it.
struct Length(u64);

impl Write for Length {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use legwork_core::AttemptNumber;
    use serde_json::json;

    use super::*;

    #[test]
    fn the_json_is_exact() {
        let mut spec = TaskSpec::new("image", "testbed.Hello");
        spec.outputs = ["greeting".to_owned(), "name".to_owned()].into();
        let property = |name: &str, value, kind: &str, password| InputProperty {
            name: name.to_owned(),
            value,
            kind: kind.to_owned(),
            password,
        };
        let input = Input {
            properties: vec![
                property("name", json!("World"), "STRING", false),
                property("token", json!("secret"), "STRING", true),
                property("tags", json!(["a"]), "SET_OF_STRING", false),
            ],
        };
        let attempt = AttemptId { task: "0198c5a0-0000-7000-8000-000000000001".parse().unwrap(), attempt: AttemptNumber::FIRST };
        let context = InputContext::new(&spec, &input, attempt, Some("https://release.example"));
        let release = "Applications/FolderLegwork/Release0198c5a0000070008000000000000001";
        let written: Value = serde_json::from_slice(&context.to_json()).unwrap();
        assert_eq!(
            written,
            json!({
                "release": {
                    "id": release,
                    "automatedTaskAsUser": {"username": null, "password": null},
                    "url": "https://release.example",
                },
                "task": {
                    "id": format!("{release}/Phase1/Task0198c5a0000070008000000000000001"),
                    "type": "testbed.Hello",
                    "properties": [
                        {"name": "name", "value": "World", "kind": "STRING", "category": "input", "password": false},
                        {"name": "token", "value": "secret", "kind": "STRING", "category": "input", "password": true},
                        {"name": "tags", "value": ["a"], "kind": "SET_OF_STRING", "category": "input", "password": false},
                        {"name": "greeting", "value": null, "kind": "STRING", "category": "output", "password": false},
                    ],
                },
            })
        );
    }
}
