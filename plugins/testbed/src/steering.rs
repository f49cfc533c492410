//! The inputs of a task, and what they mean. The README has the same list for readers.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Map, Value};

/// Inputs that a server may add to every task; they steer nothing here.
const NOT_OURS: [&str; 2] = ["capabilities", "scriptLocation"];

/// Everything that the inputs say.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Steering {
    /// `exit_code`: the result's `exitCode`.
    pub exit_code: i64,
    /// `message`: the result's `jobErrorMessage`.
    pub message: String,
    /// `outputs`: copied to the output properties.
    pub outputs: Map<String, Value>,
    /// `result_bytes`: length of the output property `data`.
    pub result_bytes: Option<usize>,
    /// `process_exit`: the exit status of the process.
    pub process_exit: u8,
    /// `crash`: how the end goes wrong.
    pub crash: Option<Crash>,
    /// What is written to the log.
    pub log: Log,
    /// `sleep_ms`.
    pub sleep: Duration,
    /// `tick_ms`: a line after each so many milliseconds of the sleep.
    pub tick: Option<Duration>,
    /// `ignore_signals`: TERM, ABRT and INT have no effect.
    pub ignore_signals: bool,
    /// `abort_delay_ms`: how long an abort takes.
    pub abort_delay: Duration,
    /// `allocate_bytes`: memory that is filled and kept until the end.
    pub allocate_bytes: usize,
    /// `fork`: child processes that are started and left behind.
    pub fork: u32,
    /// `fork_ms`: how long each of them lives by itself.
    pub fork_time: Duration,
    /// `ledger` and `ledger_key`.
    pub ledger: Option<Ledger>,
}

/// What is written to the log, in this order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Log {
    /// `statuses`: status lines.
    pub statuses: Vec<String>,
    /// `comments`.
    pub comments: Vec<String>,
    /// `secret`: printed once in each of the encodings.
    pub secret: String,
    /// `secret_encodings`.
    pub secret_encodings: Vec<Encoding>,
    /// `log_lines`: number of lines.
    pub lines: u64,
    /// `log_line_length`: bytes of each, without the newline.
    pub line_length: usize,
    /// `log_bytes`: a piece without a newline in it.
    pub raw_bytes: usize,
    /// `invalid_utf8`: that piece is not text.
    pub invalid_utf8: bool,
    /// `long_line`: bytes of one more line.
    pub long_line: usize,
    /// `no_final_newline`: the last newline of each stream is left out.
    pub no_final_newline: bool,
    /// `log_stream`.
    pub stream: Stream,
    /// `write_size`: the most that one write may carry; 0 leaves it to the standard library.
    pub write_size: usize,
}

/// How the end goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crash {
    /// `no_result`: the process ends without a result.
    NoResult,
    /// `truncated_result`: half of the result's text is written.
    TruncatedResult,
    /// `garbage_result`: something else is written in its place.
    GarbageResult,
    /// `panic`: the process panics; status 101.
    Panic,
}

/// A form in which the secret is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// `plain`.
    Plain,
    /// `base64`, standard alphabet with padding.
    Base64,
    /// `url`: percent encoding of all but unreserved characters.
    Url,
    /// `json`: escaped as in a JSON string.
    Json,
    /// `hex`, lower case.
    Hex,
}

/// Where log lines go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Stream {
    /// Everything to stdout.
    #[default]
    Stdout,
    /// Everything to stderr.
    Stderr,
    /// Lines with an even number to stdout, those with an odd one to stderr; everything else to stdout.
    Both,
}

/// Something outside the container that is told when the task starts and ends.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ledger {
    /// `ledger`: host and port.
    pub address: String,
    /// `ledger_key`: begins each line.
    pub key: String,
}

/// An input that steers nothing or has a value that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum InvalidInput {
    /// No such input.
    #[error("unknown input `{0}`; plugins/testbed/README.md lists the inputs")]
    Unknown(String),
    /// A value of the wrong kind.
    #[error("input `{name}` has the value {value}, expected {expected}")]
    Value {
        /// The input.
        name: &'static str,
        /// Its value as JSON.
        value: Value,
        /// What it should have been.
        expected: &'static str,
    },
    /// `ledger` without `ledger_key`.
    #[error("input `ledger` needs `ledger_key`, which begins each line")]
    NoLedgerKey,
}

impl Steering {
    /// Reads the inputs by name. Numbers, booleans, lists and maps may also come as text; null counts as absent.
    pub fn from_inputs(inputs: impl IntoIterator<Item = (String, Value)>) -> Result<Self, InvalidInput> {
        let mut inputs = Inputs(inputs.into_iter().filter(|(_, value)| !value.is_null()).collect());
        let steering = Self {
            exit_code: inputs.signed("exit_code")?.unwrap_or_default(),
            message: inputs.text("message")?.unwrap_or_default(),
            outputs: inputs.map("outputs")?,
            result_bytes: inputs.number("result_bytes")?,
            process_exit: inputs.number("process_exit")?.unwrap_or_default(),
            crash: inputs.choice("crash", "no_result, truncated_result, garbage_result or panic", Crash::parse)?,
            log: Log {
                statuses: inputs.list("statuses")?,
                comments: inputs.list("comments")?,
                secret: inputs.text("secret")?.unwrap_or_default(),
                secret_encodings: inputs.encodings()?,
                lines: inputs.number("log_lines")?.unwrap_or_default(),
                line_length: inputs.number("log_line_length")?.unwrap_or(80),
                raw_bytes: inputs.number("log_bytes")?.unwrap_or_default(),
                invalid_utf8: inputs.flag("invalid_utf8")?,
                long_line: inputs.number("long_line")?.unwrap_or_default(),
                no_final_newline: inputs.flag("no_final_newline")?,
                stream: inputs.choice("log_stream", "stdout, stderr or both", Stream::parse)?.unwrap_or_default(),
                write_size: inputs.number("write_size")?.unwrap_or_default(),
            },
            sleep: inputs.milliseconds("sleep_ms")?.unwrap_or_default(),
            tick: inputs.milliseconds("tick_ms")?.filter(|tick| !tick.is_zero()),
            ignore_signals: inputs.flag("ignore_signals")?,
            abort_delay: inputs.milliseconds("abort_delay_ms")?.unwrap_or_default(),
            allocate_bytes: inputs.number("allocate_bytes")?.unwrap_or_default(),
            fork: inputs.number("fork")?.unwrap_or_default(),
            fork_time: inputs.milliseconds("fork_ms")?.unwrap_or(Duration::from_mins(1)),
            ledger: inputs.ledger()?,
        };
        match inputs.0.into_keys().find(|name| !NOT_OURS.contains(&name.as_str())) {
            Some(unknown) => Err(InvalidInput::Unknown(unknown)),
            None => Ok(steering),
        }
    }
}

impl Crash {
    fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "no_result" => Self::NoResult,
            "truncated_result" => Self::TruncatedResult,
            "garbage_result" => Self::GarbageResult,
            "panic" => Self::Panic,
            _ => return None,
        })
    }
}

impl Encoding {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Plain, Self::Base64, Self::Url, Self::Json, Self::Hex];

    /// The name that the input uses.
    pub fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Base64 => "base64",
            Self::Url => "url",
            Self::Json => "json",
            Self::Hex => "hex",
        }
    }
}

impl Stream {
    fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "stdout" => Self::Stdout,
            "stderr" => Self::Stderr,
            "both" => Self::Both,
            _ => return None,
        })
    }
}

/// The inputs that were not read yet.
struct Inputs(BTreeMap<String, Value>);

impl Inputs {
    /// Takes an input and converts it; a conversion that gives nothing makes an error that names the expectation.
    fn take<T>(
        &mut self,
        name: &'static str,
        expected: &'static str,
        convert: impl FnOnce(&Value) -> Option<T>,
    ) -> Result<Option<T>, InvalidInput> {
        let Some(value) = self.0.remove(name) else { return Ok(None) };
        match convert(&value) {
            Some(converted) => Ok(Some(converted)),
            None => Err(InvalidInput::Value { name, value, expected }),
        }
    }

    fn text(&mut self, name: &'static str) -> Result<Option<String>, InvalidInput> {
        self.take(name, "text", |value| value.as_str().map(str::to_owned))
    }

    fn signed(&mut self, name: &'static str) -> Result<Option<i64>, InvalidInput> {
        self.take(name, "an integer", |value| match value {
            Value::String(text) => text.parse().ok(),
            other => other.as_i64(),
        })
    }

    fn number<T: TryFrom<u64>>(&mut self, name: &'static str) -> Result<Option<T>, InvalidInput> {
        self.take(name, "a whole number in range", |value| {
            let number = match value {
                Value::String(text) => text.parse().ok(),
                other => other.as_u64(),
            };
            number.and_then(|number| T::try_from(number).ok())
        })
    }

    fn milliseconds(&mut self, name: &'static str) -> Result<Option<Duration>, InvalidInput> {
        Ok(self.number(name)?.map(Duration::from_millis))
    }

    fn flag(&mut self, name: &'static str) -> Result<bool, InvalidInput> {
        let flag = self.take(name, "true or false", |value| match value {
            Value::String(text) => text.parse().ok(),
            other => other.as_bool(),
        })?;
        Ok(flag.unwrap_or_default())
    }

    fn list(&mut self, name: &'static str) -> Result<Vec<String>, InvalidInput> {
        let list = self.take(name, "a list of texts", |value| match value {
            Value::String(text) => Some(text.split(',').map(|item| item.trim().to_owned()).collect()),
            Value::Array(items) => items.iter().map(|item| item.as_str().map(str::to_owned)).collect(),
            _ => None,
        })?;
        Ok(list.unwrap_or_default())
    }

    fn map(&mut self, name: &'static str) -> Result<Map<String, Value>, InvalidInput> {
        let map = self.take(name, "a map", |value| match value {
            Value::String(text) => serde_json::from_str(text).ok(),
            other => other.as_object().cloned(),
        })?;
        Ok(map.unwrap_or_default())
    }

    fn choice<T>(
        &mut self,
        name: &'static str,
        expected: &'static str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<Option<T>, InvalidInput> {
        self.take(name, expected, |value| value.as_str().and_then(parse))
    }

    fn encodings(&mut self) -> Result<Vec<Encoding>, InvalidInput> {
        const NAME: &str = "secret_encodings";
        if !self.0.contains_key(NAME) {
            return Ok(vec![Encoding::Plain]);
        }
        let parse = |name: String| {
            let known = Encoding::ALL.into_iter().find(|encoding| encoding.name() == name);
            known.ok_or(InvalidInput::Value {
                name: NAME,
                value: Value::String(name),
                expected: "a list of plain, base64, url, json and hex",
            })
        };
        self.list(NAME)?.into_iter().map(parse).collect()
    }

    fn ledger(&mut self) -> Result<Option<Ledger>, InvalidInput> {
        let key = self.text("ledger_key")?;
        match (self.text("ledger")?, key) {
            (Some(address), Some(key)) => Ok(Some(Ledger { address, key })),
            (Some(_), None) => Err(InvalidInput::NoLedgerKey),
            (None, _) => Ok(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(inputs: Value) -> Result<Steering, InvalidInput> {
        let Value::Object(inputs) = inputs else { panic!("the test gives an object") };
        Steering::from_inputs(inputs)
    }

    #[test]
    fn no_inputs_mean_an_immediate_success() {
        let steering = read(json!({"capabilities": ["remote"], "message": null})).unwrap();
        assert_eq!((steering.exit_code, steering.process_exit, steering.crash), (0, 0, None));
        assert!(steering.sleep.is_zero());
    }

    #[test]
    fn text_is_as_good_as_json() {
        let typed = json!({
            "sleep_ms": 5, "exit_code": -1, "ignore_signals": true, "comments": ["a", "b"],
            "outputs": {"k": 1}, "secret_encodings": ["hex", "plain"], "ledger": "h:1", "ledger_key": "k",
        });
        let text = json!({
            "sleep_ms": "5", "exit_code": "-1", "ignore_signals": "true", "comments": "a, b",
            "outputs": "{\"k\": 1}", "secret_encodings": "hex,plain", "ledger": "h:1", "ledger_key": "k",
        });
        assert_eq!(read(typed).unwrap(), read(text).unwrap());
    }

    #[test]
    fn a_wrong_input_is_named() {
        for (inputs, expected) in [
            (json!({"slep_ms": 5}), "unknown input `slep_ms`; plugins/testbed/README.md lists the inputs"),
            (json!({"sleep_ms": -5}), "input `sleep_ms` has the value -5, expected a whole number in range"),
            (json!({"process_exit": 256}), "input `process_exit` has the value 256, expected a whole number in range"),
            (json!({"log_stream": "x"}), "input `log_stream` has the value \"x\", expected stdout, stderr or both"),
            (json!({"ledger": "h:1"}), "input `ledger` needs `ledger_key`, which begins each line"),
        ] {
            assert_eq!(read(inputs).unwrap_err().to_string(), expected);
        }
    }
}
