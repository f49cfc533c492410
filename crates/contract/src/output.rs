//! The result that a plugin leaves (§3).
//!
//! Parsing is tolerant: every field is optional, `null` counts as absent, unknown fields are ignored. But the
//! whole must be one JSON object, not nested deeper than [`MAX_DEPTH`], and `exitCode` a whole number.
//!
//! A runner needs only the verdict, so [`ResultSummary`] is read from a stream in constant memory, whatever the size of the
//! result. [`OutputContext`] holds everything.

mod guard;
mod result_file;
mod values;

use std::fmt;
use std::io::{self, Read};

use legwork_core::limits;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::{Map, Value};

use guard::Guard;
pub use guard::MAX_DEPTH;
pub use result_file::{ResultFile, read_result};
use values::{ExitCode, IsArray, IsObject, Message, Skipped};

/// Bytes of one text that a summary lets through, before its escapes are resolved.
const TEXT_LIMIT: usize = 6 * limits::MESSAGE_BYTES;

/// What the verdict needs of a result.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResultSummary {
    /// The plugin's verdict; 0 = success. Absent means 0, as for a Java `int`, which is what the original reads it into. Both
    /// SDKs always write it.
    pub exit_code: i64,
    /// The plugin's words, not masked, cut to [`limits::MESSAGE_BYTES`].
    pub job_error_message: String,
}

/// A whole result.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct OutputContext {
    /// As in [`ResultSummary::exit_code`].
    pub exit_code: i64,
    /// As in [`ResultSummary::job_error_message`].
    pub job_error_message: String,
    /// The output properties, in the plugin's order or by name. Names are not checked against anything.
    pub output_properties: Map<String, Value>,
    /// The reporting records, each normally an object with a `type`.
    pub reporting_records: Vec<Value>,
}

/// Why bytes are no result.
#[derive(Debug, thiserror::Error)]
pub enum OutputError {
    /// They do not parse.
    #[error("the result is not a JSON object as the plugin contract describes it: {0}")]
    Malformed(#[source] serde_json::Error),
    /// They could not be read.
    #[error("reading the result failed: {0}")]
    Io(#[source] io::Error),
}

impl From<serde_json::Error> for OutputError {
    fn from(error: serde_json::Error) -> Self {
        match error.io_error_kind() {
            // The guard's own objections come through `Read` and look like I/O errors.
            Some(kind) if kind != io::ErrorKind::InvalidData => Self::Io(error.into()),
            _ => Self::Malformed(error),
        }
    }
}

impl ResultSummary {
    /// Reads the JSON of a result, in constant memory.
    pub fn read(json: impl Read) -> Result<Self, OutputError> {
        let mut output = OutputContext::default();
        let mut parser = serde_json::Deserializer::from_reader(io::BufReader::new(Guard::new(json, TEXT_LIMIT)));
        Fields { output: &mut output, all: false }.deserialize(&mut parser)?;
        parser.end()?;
        Ok(Self { exit_code: output.exit_code, job_error_message: output.job_error_message })
    }
}

impl OutputContext {
    /// Parses the JSON of a result that is in memory.
    pub fn parse(json: &[u8]) -> Result<Self, OutputError> {
        let mut output = Self::default();
        let mut parser = serde_json::Deserializer::from_reader(Guard::new(json, usize::MAX));
        Fields { output: &mut output, all: true }.deserialize(&mut parser)?;
        parser.end()?;
        Ok(output)
    }
}

/// Reads the fields of a result into an output; only those of the summary unless `all`.
struct Fields<'a> {
    output: &'a mut OutputContext,
    all: bool,
}

impl<'de> DeserializeSeed<'de> for Fields<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Fields<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a result object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<(), A::Error> {
        while let Some(name) = fields.next_key::<String>()? {
            match name.as_str() {
                "exitCode" => self.output.exit_code = fields.next_value::<ExitCode>()?.0,
                "jobErrorMessage" => self.output.job_error_message = fields.next_value::<Message>()?.0,
                "outputProperties" if self.all => {
                    self.output.output_properties = fields.next_value::<Option<_>>()?.unwrap_or_default();
                }
                "reportingRecords" if self.all => {
                    self.output.reporting_records = fields.next_value::<Option<_>>()?.unwrap_or_default();
                }
                "outputProperties" => {
                    fields.next_value::<Option<Skipped<IsObject>>>()?;
                }
                "reportingRecords" => {
                    fields.next_value::<Option<Skipped<IsArray>>>()?;
                }
                _ => {
                    fields.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
