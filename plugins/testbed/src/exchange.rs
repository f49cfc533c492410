//! Reading the input and writing the result, as the contract says for file mode.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

use legwork_contract::environment::{INPUT_LOCATION, OUTPUT_LOCATION, SESSION_KEY};
use legwork_contract::session::{SessionError, SessionKey, decrypt, encrypt};
use serde_json::{Map, Value, json};

/// The two files and the key of this job.
pub(crate) struct Exchange {
    input: PathBuf,
    output: PathBuf,
    key: Option<SessionKey>,
}

/// Why input or result could not be exchanged.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ExchangeError {
    #[error("the variable {0} is not set; this plugin knows file mode only")]
    NoLocation(&'static str),
    #[error("the variable {SESSION_KEY} cannot be used: {0}")]
    Key(#[source] SessionError),
    #[error("cannot read the input {path}: {source}", path = path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("cannot decrypt the input: {0}")]
    Decrypt(#[source] SessionError),
    #[error("the input is not JSON: {0}")]
    Json(#[source] serde_json::Error),
    #[error("the input has no `task.properties`, or one of them has no `name`")]
    NoProperties,
    #[error("cannot encrypt the result: {0}")]
    Encrypt(#[source] SessionError),
    #[error("cannot write the result {path}: {source}", path = path.display())]
    Write { path: PathBuf, source: io::Error },
}

impl Exchange {
    pub(crate) fn from_environment() -> Result<Self, ExchangeError> {
        // The contract's environment is this plugin's only configuration; an empty variable counts as unset.
        let read = |name: &'static str| env::var_os(name).filter(|value| !value.is_empty());
        let location = |name| read(name).map(PathBuf::from).ok_or(ExchangeError::NoLocation(name));
        let key = read(SESSION_KEY)
            .map(OsString::into_encoded_bytes)
            .map(|bytes| SessionKey::from_text(&String::from_utf8_lossy(&bytes)))
            .transpose()
            .map_err(ExchangeError::Key)?;
        Ok(Self { input: location(INPUT_LOCATION)?, output: location(OUTPUT_LOCATION)?, key })
    }

    /// The input properties by name. Blocks while the input is a pipe that nobody has written to.
    pub(crate) fn read_inputs(&self) -> Result<Vec<(String, Value)>, ExchangeError> {
        let text = fs::read(&self.input).map_err(|source| ExchangeError::Read { path: self.input.clone(), source })?;
        let context: Value = match &self.key {
            Some(key) => serde_json::from_slice(&decrypt(key, &text).map_err(ExchangeError::Decrypt)?),
            None => serde_json::from_slice(&text),
        }
        .map_err(ExchangeError::Json)?;
        let properties = context.pointer("/task/properties").and_then(Value::as_array);
        let inputs = properties.and_then(|properties| {
            let inputs = properties.iter().filter(|property| property["category"] != "output");
            inputs.map(|property| Some((property["name"].as_str()?.to_owned(), property["value"].clone()))).collect()
        });
        inputs.ok_or(ExchangeError::NoProperties)
    }

    /// The text of a result, encrypted if the job has a key.
    pub(crate) fn result_text(
        &self,
        exit_code: i64,
        message: &str,
        outputs: &Map<String, Value>,
    ) -> Result<String, ExchangeError> {
        let result = json!({
            "exitCode": exit_code, "jobErrorMessage": message, "outputProperties": outputs, "reportingRecords": [],
        })
        .to_string();
        match &self.key {
            Some(key) => encrypt(key, result.as_bytes()).map_err(ExchangeError::Encrypt),
            None => Ok(result),
        }
    }

    /// Writes the result file.
    pub(crate) fn write_result(&self, text: &str) -> Result<(), ExchangeError> {
        let path: &Path = &self.output;
        fs::write(path, text).map_err(|source| ExchangeError::Write { path: path.to_owned(), source })
    }
}
