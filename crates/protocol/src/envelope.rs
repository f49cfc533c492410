//! How payloads travel: opaque bytes in chunks, with everything that a seal is bound to beside them.
//!
//! Today a payload is in clear inside TLS (key id [`KeyId::CLEAR`]). The fields around it are those that
//! end-to-end sealing needs, so that sealing changes no message.

use legwork_core::AttemptId;
use serde::{Deserialize, Serialize};

/// Which key a payload is sealed with.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct KeyId(pub String);

impl KeyId {
    /// Not sealed.
    pub const CLEAR: &'static str = "clear";

    /// The id that says: not sealed.
    pub fn clear() -> Self {
        Self(Self::CLEAR.to_owned())
    }
}

/// A payload and what it is bound to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Envelope {
    /// The key it is sealed with.
    pub key_id: KeyId,
    /// The payload, in base64 within JSON.
    #[serde(with = "base64_bytes")]
    pub payload: Vec<u8>,
}

impl Envelope {
    /// A payload in clear.
    pub fn clear(payload: Vec<u8>) -> Self {
        Self { key_id: KeyId::clear(), payload }
    }

    /// The payload of an envelope that is not sealed.
    pub fn open_clear(self) -> Result<Vec<u8>, UnknownKey> {
        if self.key_id.0 == KeyId::CLEAR { Ok(self.payload) } else { Err(UnknownKey(self.key_id)) }
    }
}

/// A payload is sealed with a key that the receiver does not have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the payload is sealed with the key {:?}, which is not known here", .0.0)]
pub struct UnknownKey(pub KeyId);

/// What a chunk is part of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChunkStream {
    /// The attempt's input; server to runner. The chunks together are the input's JSON.
    Input,
    /// The attempt's result; runner to server. The chunks together are the result's JSON.
    Result,
    /// The attempt's log; runner to server. Each chunk is a list of [`crate::frames`].
    Log,
}

impl ChunkStream {
    /// The word in addresses and headers.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Input => "input",
            Self::Result => "result",
            Self::Log => "log",
        }
    }
}

/// What stands beside the bytes of a chunk: in the address and in the headers below.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChunkHeader {
    /// Whose chunk it is.
    pub attempt: AttemptId,
    /// What it is part of.
    pub stream: ChunkStream,
    /// Its place, from 0. Chunks of a log are numbered anew in each epoch; their frames carry their own offsets.
    pub sequence: u64,
    /// True if none follows.
    pub last: bool,
    /// The key it is sealed with.
    pub key_id: KeyId,
}

/// Header that carries [`ChunkHeader::last`]: `true` or `false`.
pub const CHUNK_LAST_HEADER: &str = "legwork-chunk-last";
/// Header that carries [`ChunkHeader::key_id`].
pub const CHUNK_KEY_HEADER: &str = "legwork-chunk-key";

/// Bytes as base64 text in JSON.
pub mod base64_bytes {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use serde::{Deserialize, Deserializer, Serializer};

    /// Writes base64.
    pub fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(bytes))
    }

    /// Reads base64.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        STANDARD.decode(text.as_bytes()).map_err(serde::de::Error::custom)
    }
}
