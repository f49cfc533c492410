//! What stands behind `-i`, `--secret` and `--on-lost-runner`.

use std::io::Read as _;
use std::path::PathBuf;
use std::str::FromStr;

use anyhow::Context as _;
use legwork_protocol::api::{LostRunner, TaskInput};
use legwork_protocol::duration::HumanDuration;
use serde_json::Value;

use crate::environment::Environment;
use crate::failure::Complaint;

/// An input as written: `name=text`, `name=@file` or `name:=json`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct InputArg {
    name: String,
    source: InputSource,
}

#[derive(Clone, Debug, PartialEq)]
enum InputSource {
    Value(Value),
    File(PathBuf),
}

/// A secret as written: never its text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SecretArg {
    name: String,
    source: SecretSource,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum SecretSource {
    Environment(String),
    File(PathBuf),
    StandardInput,
}

/// A lost-runner policy as written: `wait`, `fail:1h` or `elsewhere:1h`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LostRunnerArg(pub(crate) LostRunner);

impl FromStr for InputArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (name, value) = text.split_once('=').ok_or("write it as name=text, name=@file or name:=json")?;
        if let Some(name) = name.strip_suffix(':') {
            let value = serde_json::from_str(value).map_err(|error| format!("what follows := is no JSON: {error}"))?;
            return Ok(Self { name: named(name)?, source: InputSource::Value(value) });
        }
        let source = match value.strip_prefix('@') {
            Some("") => return Err("after @ comes the name of a file; write name:='\"@\"' for the sign itself".to_owned()),
            Some(file) => InputSource::File(file.into()),
            None => InputSource::Value(Value::String(value.to_owned())),
        };
        Ok(Self { name: named(name)?, source })
    }
}

impl FromStr for SecretArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (name, source) = text.split_once('=').ok_or("write it as name=env:VARIABLE, name=@file or name=-")?;
        let source = if source == "-" {
            SecretSource::StandardInput
        } else if let Some(variable) = source.strip_prefix("env:").filter(|variable| !variable.is_empty()) {
            SecretSource::Environment(variable.to_owned())
        } else if let Some(file) = source.strip_prefix('@').filter(|file| !file.is_empty()) {
            SecretSource::File(file.into())
        } else {
            return Err("a secret's text does not belong on the command line, where other users of this machine see it: \
                        write name=env:VARIABLE, name=@file or name=-"
                .to_owned());
        };
        Ok(Self { name: named(name)?, source })
    }
}

impl FromStr for LostRunnerArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let after = |text: &str| text.parse::<HumanDuration>().map_err(|error| error.to_string());
        match text.split_once(':') {
            None if text == "wait" => Ok(Self(LostRunner::Wait)),
            Some(("fail", duration)) => Ok(Self(LostRunner::Fail { after: after(duration)? })),
            Some(("elsewhere", duration)) => Ok(Self(LostRunner::RunElsewhere { after: after(duration)? })),
            _ => Err("write wait, fail:DURATION or elsewhere:DURATION, such as fail:1h".to_owned()),
        }
    }
}

fn named(name: &str) -> Result<String, String> {
    if name.is_empty() { Err("the name before = is missing".to_owned()) } else { Ok(name.to_owned()) }
}

/// Reads everything that inputs and secrets point at.
pub(crate) fn resolve(
    inputs: Vec<InputArg>,
    secrets: Vec<SecretArg>,
    environment: &Environment,
) -> anyhow::Result<Vec<TaskInput>> {
    if secrets.iter().filter(|secret| secret.source == SecretSource::StandardInput).count() > 1 {
        return Err(Complaint::usage("only one secret can be read from standard input").into());
    }
    let mut resolved: Vec<TaskInput> = Vec::with_capacity(inputs.len() + secrets.len());
    for input in inputs {
        let value = match input.source {
            InputSource::Value(value) => value,
            InputSource::File(file) => Value::String(
                std::fs::read_to_string(&file)
                    .with_context(|| format!("input {}: the file {} cannot be read as text", input.name, file.display()))?,
            ),
        };
        resolved.push(TaskInput { name: input.name, value, kind: None, secret: false });
    }
    for secret in secrets {
        let text = secret.read(environment)?;
        resolved.push(TaskInput { name: secret.name, value: Value::String(text), kind: None, secret: true });
    }
    for (index, input) in resolved.iter().enumerate() {
        if resolved[..index].iter().any(|earlier| earlier.name == input.name) {
            return Err(Complaint::usage(format!("the input {} is given twice", input.name)).into());
        }
    }
    Ok(resolved)
}

impl SecretArg {
    fn read(&self, environment: &Environment) -> anyhow::Result<String> {
        let name = &self.name;
        let mut text = match &self.source {
            SecretSource::Environment(variable) => match environment.get(variable) {
                Some(text) => return Ok(text.to_owned()),
                None => {
                    return Err(
                        Complaint::usage(format!("secret {name}: the variable {variable} is not set, or is no text")).into()
                    );
                }
            },
            SecretSource::File(file) => std::fs::read_to_string(file)
                .with_context(|| format!("secret {name}: the file {} cannot be read as text", file.display()))?,
            SecretSource::StandardInput => {
                let mut text = String::new();
                std::io::stdin()
                    .read_to_string(&mut text)
                    .with_context(|| format!("secret {name}: standard input cannot be read as text"))?;
                text
            }
        };
        if text.ends_with('\n') {
            text.pop();
        }
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn one(inputs: &[&str], secrets: &[&str]) -> anyhow::Result<Vec<TaskInput>> {
        let environment = Environment::from([("PASSWORD", "s3cret")]);
        let inputs = inputs.iter().map(|text| text.parse().map_err(anyhow::Error::msg)).collect::<anyhow::Result<_>>()?;
        let secrets = secrets.iter().map(|text| text.parse().map_err(anyhow::Error::msg)).collect::<anyhow::Result<_>>()?;
        resolve(inputs, secrets, &environment)
    }

    #[test]
    fn inputs_are_texts_files_or_json() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("text");
        std::fs::write(&file, "two\nlines\n").unwrap();
        let from_file = format!("c=@{}", file.display());
        let inputs = one(&["a=x=y", "b:={\"k\":[1,true]}", &from_file, "d="], &[]).unwrap();
        let values: Vec<&Value> = inputs.iter().map(|input| &input.value).collect();
        assert_eq!(values, [&json!("x=y"), &json!({"k": [1, true]}), &json!("two\nlines\n"), &json!("")]);
        assert!(inputs.iter().all(|input| !input.secret));
        for wrong in ["a", "=x", ":=1", "a:=nonsense", "a=@"] {
            assert!(wrong.parse::<InputArg>().is_err(), "{wrong}");
        }
        assert!(one(&["a=@/does/not/exist"], &[]).unwrap_err().to_string().contains("/does/not/exist"));
        assert_eq!(one(&["a=1", "a=2"], &[]).unwrap_err().to_string(), "the input a is given twice");
    }

    #[test]
    fn secrets_are_never_written_out() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("secret");
        std::fs::write(&file, "from a file\n").unwrap();
        let inputs = one(&[], &["a=env:PASSWORD", &format!("b=@{}", file.display())]).unwrap();
        assert!(inputs.iter().all(|input| input.secret));
        assert_eq!(inputs[0].value, json!("s3cret"));
        assert_eq!(inputs[1].value, json!("from a file"));
        let refusal = "password=hunter2".parse::<SecretArg>().unwrap_err();
        assert!(refusal.contains("does not belong on the command line"), "{refusal}");
        assert!(!refusal.contains("hunter2"));
        for wrong in ["a", "=env:X", "a=env:", "a=@", "a="] {
            assert!(wrong.parse::<SecretArg>().is_err(), "{wrong}");
        }
        assert!(one(&[], &["a=env:MISSING"]).unwrap_err().to_string().contains("MISSING is not set"));
        assert!(one(&[], &["a=-", "b=-"]).unwrap_err().to_string().contains("only one secret"));
    }

    #[test]
    fn lost_runner_policies_have_durations() {
        assert!(matches!("wait".parse::<LostRunnerArg>().unwrap().0, LostRunner::Wait));
        assert!(matches!("fail:90s".parse::<LostRunnerArg>().unwrap().0, LostRunner::Fail { .. }));
        assert!(matches!("elsewhere:1h".parse::<LostRunnerArg>().unwrap().0, LostRunner::RunElsewhere { .. }));
        for wrong in ["", "fail", "fail:", "fail:soon", "wait:1h", "explode"] {
            assert!(wrong.parse::<LostRunnerArg>().is_err(), "{wrong}");
        }
    }
}
