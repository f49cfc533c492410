//! An attempt as the journal has it.

use legwork_contract::session::SessionKey;
use legwork_core::attempt::AttemptState;
use legwork_core::spec::TaskSpec;
use legwork_core::verdict::StopCause;
use legwork_core::{AttemptId, AttemptNumber, Timestamp};
use legwork_database::args;
use legwork_engine::{Handle, LogOffsets};
use legwork_protocol::envelope::base64_bytes;
use serde::{Deserialize, Serialize};

use super::{Journal, JournalError, malformed, stop_context, to_json, work_context};

/// What is to be done.
#[derive(Clone, Debug)]
pub(crate) struct Work {
    /// What to run.
    pub(crate) spec: TaskSpec,
    /// The key of input and result, made when the work was accepted.
    pub(crate) session_key: SessionKey,
    /// Where its input is.
    pub(crate) input: InputPlace,
}

/// Where an input is.
#[derive(Clone, Serialize, Deserialize)]
#[serde(tag = "place", rename_all = "snake_case")]
pub(crate) enum InputPlace {
    /// Here, as JSON.
    Inline {
        /// The JSON.
        #[serde(with = "base64_bytes")]
        json: Vec<u8>,
    },
    /// In the spool.
    Spooled,
}

impl std::fmt::Debug for InputPlace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Inline { .. } => "Inline",
            Self::Spooled => "Spooled",
        })
    }
}

#[derive(Serialize, Deserialize)]
struct StoredWork {
    spec: TaskSpec,
    #[serde(with = "base64_bytes")]
    session_key: Vec<u8>,
    input: InputPlace,
}

impl Work {
    pub(super) fn to_json(&self) -> Vec<u8> {
        let session_key = self.session_key.as_bytes().to_vec();
        to_json(&StoredWork { spec: self.spec.clone(), session_key, input: self.input.clone() })
    }

    fn from_json(json: &[u8]) -> Result<Self, String> {
        let stored: StoredWork = serde_json::from_slice(json).map_err(|error| error.to_string())?;
        let key = <[u8; 32]>::try_from(stored.session_key).map_err(|_| "its session key has not 32 bytes".to_owned())?;
        Ok(Self { spec: stored.spec, session_key: SessionKey::from_bytes(key), input: stored.input })
    }
}

/// A place at which a log can be taken up again: masker and scanner hold nothing back there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LogPoint {
    /// Bytes as the plugin wrote them.
    pub(crate) raw: LogOffsets,
    /// When they had been read; by that an engine can tell what is new if it has thrown the beginning away.
    #[serde(default)]
    pub(crate) read_at: Option<legwork_core::Timestamp>,
    /// Bytes as they are delivered.
    pub(crate) delivered: LogOffsets,
    /// The segment of the spool that is being written.
    pub(crate) segment: u32,
    /// How long it is.
    pub(crate) length: u64,
    /// The first segment of the tail, once the head is full.
    pub(crate) tail_from: Option<u32>,
    /// Bytes of log in the head.
    pub(crate) head: u64,
    /// Places at which the engine had thrown something away.
    pub(crate) gaps: u32,
    /// True if nothing follows.
    pub(crate) ended: bool,
    /// True if the event that says so is journaled.
    pub(crate) told: bool,
}

/// An attempt as the journal has it.
pub(crate) struct Record {
    pub(crate) id: AttemptId,
    pub(crate) state: AttemptState,
    pub(crate) work: Work,
    pub(crate) accepted_at: Timestamp,
    pub(crate) handle: Option<Handle>,
    pub(crate) started_at: Option<Timestamp>,
    pub(crate) stop: Option<StopCause>,
    pub(crate) log_point: LogPoint,
    pub(crate) result_chunks: u32,
    /// True if the server has not acknowledged the verdict.
    pub(crate) finished_waits: bool,
    /// True if events of it wait in the outbox.
    pub(crate) events_wait: bool,
}

impl Journal {
    /// Every attempt.
    pub(crate) async fn records(&self) -> Result<Vec<Record>, JournalError> {
        let text = "SELECT task, attempt, state, sealed_work, accepted_at, handle, started_at, sealed_stop, log_point, result_chunks, \
                    EXISTS (SELECT 1 FROM events e WHERE e.task = a.task AND e.attempt = a.attempt AND kind = 'finished') AS finished_waits, \
                    EXISTS (SELECT 1 FROM events e WHERE e.task = a.task AND e.attempt = a.attempt) AS events_wait \
                    FROM attempts a ORDER BY task, attempt";
        let mut records = Vec::new();
        for row in self.database.fetch_all(text, args![]).await? {
            let id = AttemptId { task: row.parse("task")?, attempt: AttemptNumber(row.count("attempt")?) };
            let what = || format!("entry of attempt {id}");
            let work = self.key.open(&work_context(id), &row.get::<Vec<u8>>("sealed_work")?)?;
            let stop = match row.get::<Option<Vec<u8>>>("sealed_stop")? {
                None => None,
                Some(sealed) => {
                    let json = self.key.open(&stop_context(id), &sealed)?;
                    Some(serde_json::from_slice(&json).map_err(|error| malformed(&what(), &error))?)
                }
            };
            let log_point = match row.get::<Option<String>>("log_point")? {
                None => LogPoint::default(),
                Some(json) => serde_json::from_str(&json).map_err(|error| malformed(&what(), &error))?,
            };
            records.push(Record {
                id,
                state: row.parse("state")?,
                work: Work::from_json(&work).map_err(|error| malformed(&what(), &error))?,
                accepted_at: Timestamp::from_millis(row.get("accepted_at")?),
                handle: row.get::<Option<String>>("handle")?.map(Handle),
                started_at: row.get::<Option<i64>>("started_at")?.map(Timestamp::from_millis),
                stop,
                log_point,
                result_chunks: row.count("result_chunks")?,
                finished_waits: row.flag("finished_waits")?,
                events_wait: row.flag("events_wait")?,
            });
        }
        Ok(records)
    }
}
