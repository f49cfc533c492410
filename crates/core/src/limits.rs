//! Every limit of the product in one place, with its unit.

use std::time::Duration;

/// Characters in one capability label.
pub const CAPABILITY_LENGTH: usize = 64;
/// Capabilities that a task may require or a runner offer.
pub const CAPABILITIES: usize = 64;
/// Bytes in the name of an input property.
pub const PROPERTY_NAME_LENGTH: usize = 256;
/// Input properties of one task.
pub const PROPERTIES: usize = 1_000;
/// Bytes of all inputs of a task, as JSON.
pub const INPUT_BYTES: u64 = 64 * MIB + 64 * KIB;
/// Bytes of a result, as JSON after decryption: 64 MiB of outputs and room for the rest.
pub const RESULT_BYTES: u64 = 64 * MIB + 256 * KIB;
/// Bytes of a result that travel inside its event and are shown with the task; larger ones travel in chunks.
pub const INLINE_RESULT_BYTES: u64 = 64 * KIB;
/// Bytes of an input that travel inside the offer; larger ones are fetched in chunks.
pub const INLINE_INPUT_BYTES: u64 = 64 * KIB;
/// Bytes of one chunk on the channel between server and runner.
pub const CHUNK_BYTES: usize = MIB as usize;
/// Bytes of one comment; the rest is cut with a note.
pub const COMMENT_BYTES: usize = 64 * KIB as usize;
/// Comments kept of one attempt.
pub const COMMENTS: u32 = 1_000;
/// Bytes of a status line.
pub const STATUS_LINE_BYTES: usize = 4 * KIB as usize;
/// Bytes of a failure message.
pub const MESSAGE_BYTES: usize = 16 * KIB as usize;
/// Bytes of log that are kept of one attempt unless the task says otherwise.
pub const LOG_BYTES: u64 = 256 * MIB;
/// Bytes of log that a task may ask to have kept.
pub const LOG_BYTES_MAX: u64 = 16 * 1024 * MIB;
/// Memory of an executor unless the task says otherwise: enough for a 64 MiB result of the Python SDK.
pub const MEMORY_BYTES: u64 = 512 * MIB;
/// Processes and threads of an executor unless the task says otherwise.
pub const PIDS: u32 = 64;
/// Executors of a runner unless its settings say otherwise.
pub const CAPACITY: u32 = 8;
/// Executors that a runner may be given.
pub const CAPACITY_MAX: u32 = 1_000;
/// How long an idle executor is kept.
pub const EVICTION_TIME: Duration = Duration::from_secs(60);
/// How long an offer stands, by the server's clock.
pub const OFFER_TIME: Duration = Duration::from_secs(30);
/// How long a runner may be silent before it is shown as offline.
pub const SILENCE: Duration = Duration::from_secs(45);
/// How long the server holds a poll that has nothing to say.
pub const POLL_TIME: Duration = Duration::from_secs(25);
/// How long a plugin may take to end by itself after an abort.
pub const ABORT_TIMEOUT: Duration = Duration::from_secs(30);
/// The longest abort timeout that a task may ask for.
pub const ABORT_TIMEOUT_MAX: Duration = Duration::from_secs(3_600);
/// How long an idempotency key is remembered.
pub const IDEMPOTENCY_TIME: Duration = Duration::from_secs(24 * 3_600);
/// How often a task may be retried without being asked.
pub const RETRIES: u32 = 100;
/// How long pulling an image may take.
pub const PULL_TIMEOUT: Duration = Duration::from_secs(600);
/// How long creating and starting an executor may take.
pub const START_TIMEOUT: Duration = Duration::from_secs(60);

const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;
