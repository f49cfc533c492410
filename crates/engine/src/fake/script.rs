//! What an executor of the fake engine does, as its input asks for it.

use bytes::Bytes;
use legwork_contract::session::{self, SessionKey};
use legwork_core::event::LogStream;
use serde_json::{Map, Value, json};

use crate::{LogItem, LogOffsets};

/// What an executor does. Each field is an input property of the same name; `plugins/testbed` knows most of them too.
///
/// Numbers may be given as JSON numbers or as text, flags as JSON booleans or as the text `true`.
#[derive(Clone, Debug, Default)]
pub struct Script {
    /// How long it runs before it leaves its result.
    pub sleep_ms: u64,
    /// The `exitCode` in its result.
    pub exit_code: i64,
    /// The status that it exits with.
    pub process_exit: i32,
    /// Bytes in the output property `data`; none by default.
    pub result_bytes: usize,
    /// `no_result`, `truncated_result` or `garbage_result`: no result, half of one, or something else.
    pub crash: String,
    /// Lines of log.
    pub log_lines: usize,
    /// Bytes in each line of log, without its newline; 0 = a short line with its number.
    pub log_line_length: usize,
    /// `stdout` (default), `stderr` or `both`.
    pub log_stream: String,
    /// True if only a kill ends it early.
    pub ignore_signals: bool,
    /// Ends without a result, out of memory.
    pub oom: bool,
    /// Vanishes when its time is over, as if somebody else had removed it.
    pub lose: bool,
    /// Lets `create` fail with these words. Only for executors that are not parked.
    pub fail_create: Option<String>,
    /// Lets `start` fail with these words. Only for executors that are not parked.
    pub fail_start: Option<String>,
    /// The outputs that its result has: every input whose name is asked for as an output, those in the input `outputs` (a
    /// map), and `data`.
    outputs: Map<String, Value>,
    /// Why the input could not be read; then nothing else is done.
    unreadable: Option<String>,
}

impl Script {
    /// Reads a script from an encrypted input. One that cannot be read gives a failed result, as with the SDKs.
    pub(super) fn read(input: &[u8], key: &SessionKey) -> Self {
        let plain = match session::decrypt(key, input) {
            Ok(plain) => plain,
            Err(error) => return Self::unreadable(error.to_string()),
        };
        match serde_json::from_slice::<Value>(&plain) {
            Ok(input) => Self::from_properties(&input["task"]["properties"]),
            Err(error) => Self::unreadable(error.to_string()),
        }
    }

    fn unreadable(words: String) -> Self {
        Self { unreadable: Some(words), ..Self::default() }
    }

    /// What an executor with these inputs writes to its two streams.
    pub fn expected_log(inputs: &Map<String, Value>) -> (Vec<u8>, Vec<u8>) {
        let log = Self::from_inputs(inputs, Map::new()).log();
        (log.stdout.to_vec(), log.stderr.to_vec())
    }

    fn from_properties(properties: &Value) -> Self {
        let mut inputs = Map::new();
        let mut outputs = Map::new();
        for property in properties.as_array().into_iter().flatten() {
            let Some(name) = property["name"].as_str() else { continue };
            let place = if property["category"] == "output" { &mut outputs } else { &mut inputs };
            place.insert(name.to_owned(), property["value"].clone());
        }
        for (name, value) in &mut outputs {
            if let Some(input) = inputs.get(name) {
                value.clone_from(input);
            }
        }
        Self::from_inputs(&inputs, outputs)
    }

    fn from_inputs(inputs: &Map<String, Value>, mut outputs: Map<String, Value>) -> Self {
        if let Some(Value::Object(given)) = inputs.get("outputs") {
            outputs.extend(given.clone());
        }
        Self {
            sleep_ms: number(inputs, "sleep_ms"),
            exit_code: number(inputs, "exit_code"),
            process_exit: number(inputs, "process_exit"),
            result_bytes: number(inputs, "result_bytes"),
            crash: text(inputs, "crash").unwrap_or_default(),
            log_lines: number(inputs, "log_lines"),
            log_line_length: number(inputs, "log_line_length"),
            log_stream: text(inputs, "log_stream").unwrap_or_default(),
            ignore_signals: flag(inputs, "ignore_signals"),
            oom: flag(inputs, "oom"),
            lose: flag(inputs, "lose"),
            fail_create: text(inputs, "fail_create"),
            fail_start: text(inputs, "fail_start"),
            outputs,
            unreadable: None,
        }
    }

    /// The result that it leaves when its time is over.
    pub(super) fn result(&self, key: &SessionKey) -> Option<Bytes> {
        let (exit_code, message) = match &self.unreadable {
            Some(words) => (1, words.as_str()),
            None if self.exit_code != 0 => (self.exit_code, "the fake plugin was told to fail"),
            None => (0, ""),
        };
        let mut outputs = self.outputs.clone();
        if self.result_bytes > 0 {
            outputs.insert("data".to_owned(), Value::String("x".repeat(self.result_bytes)));
        }
        let whole = sealed(key, exit_code, message, &outputs)?;
        match self.crash.as_str() {
            "no_result" => None,
            "garbage_result" => Some(Bytes::from_static(b"this is no result")),
            "truncated_result" => Some(whole.slice(..whole.len() / 2)),
            _ => Some(whole),
        }
    }

    /// The result that it leaves when it is told to stop.
    pub(super) fn stopped_result(&self, key: &SessionKey) -> Option<Bytes> {
        sealed(key, 1, "", &self.outputs)
    }

    pub(super) fn log(&self) -> Log {
        let mut written = Vec::new();
        for number in 0..self.log_lines {
            let line = format!("line {number}");
            written.extend_from_slice(line.as_bytes());
            let missing = self.log_line_length.saturating_sub(line.len());
            written.resize(written.len() + missing, b'.');
            written.push(b'\n');
        }
        let written = Bytes::from(written);
        let (on_stdout, on_stderr) = match self.log_stream.as_str() {
            "stderr" => (false, true),
            "both" => (true, true),
            _ => (true, false),
        };
        let of = |wanted: bool| if wanted { written.clone() } else { Bytes::new() };
        Log { stdout: of(on_stdout), stderr: of(on_stderr) }
    }
}

fn sealed(key: &SessionKey, exit_code: i64, message: &str, outputs: &Map<String, Value>) -> Option<Bytes> {
    let result = json!({
        "exitCode": exit_code, "jobErrorMessage": message, "outputProperties": outputs, "reportingRecords": [],
    });
    // Without random numbers there is no nonce: a plugin without them would leave no result either.
    session::encrypt(key, result.to_string().as_bytes()).ok().map(Bytes::from)
}

/// What an executor has written.
#[derive(Default)]
pub(super) struct Log {
    stdout: Bytes,
    stderr: Bytes,
}

impl Log {
    /// The log from these offsets on.
    pub(super) fn pieces(self, from: LogOffsets, piece: usize) -> impl Iterator<Item = LogItem> + Send + 'static {
        [(LogStream::Stdout, self.stdout), (LogStream::Stderr, self.stderr)].into_iter().flat_map(move |(stream, all)| {
            let start = usize::try_from(from.of(stream)).unwrap_or(usize::MAX).min(all.len());
            (start..all.len()).step_by(piece).map(move |offset| {
                let bytes = all.slice(offset..all.len().min(offset + piece));
                LogItem::Bytes { stream, offset: offset as u64, bytes }
            })
        })
    }
}

fn number<T: std::str::FromStr + Default>(inputs: &Map<String, Value>, name: &str) -> T {
    let value = match inputs.get(name) {
        Some(Value::Number(number)) => number.to_string(),
        Some(Value::String(text)) => text.clone(),
        _ => return T::default(),
    };
    value.trim().parse().unwrap_or_default()
}

fn flag(inputs: &Map<String, Value>, name: &str) -> bool {
    match inputs.get(name) {
        Some(Value::Bool(flag)) => *flag,
        Some(Value::String(text)) => text.trim() == "true",
        _ => false,
    }
}

fn text(inputs: &Map<String, Value>, name: &str) -> Option<String> {
    inputs.get(name).and_then(Value::as_str).filter(|text| !text.is_empty()).map(ToOwned::to_owned)
}
