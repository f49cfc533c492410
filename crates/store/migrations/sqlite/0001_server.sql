-- The twin in the other folder has the same tables; it differs only in the names of the types and in STRICT.
-- Times are milliseconds since 1970, truth is 0 or 1, identities are UUIDs as text, lists of labels are separated by commas.

CREATE TABLE users (
    name TEXT PRIMARY KEY CHECK (name <> ''),
    password_hash TEXT NOT NULL,
    permissions TEXT NOT NULL,
    created_at INTEGER NOT NULL
) STRICT;

CREATE TABLE tokens (
    id TEXT PRIMARY KEY,
    owner TEXT NOT NULL REFERENCES users (name),
    note TEXT NOT NULL,
    permissions TEXT NOT NULL,
    hash BLOB NOT NULL UNIQUE,
    created_at INTEGER NOT NULL,
    expires_at INTEGER,
    revoked_at INTEGER,
    last_used_at INTEGER
) STRICT;

CREATE TABLE runners (
    id TEXT PRIMARY KEY,
    public_key TEXT NOT NULL,
    token TEXT,
    title TEXT NOT NULL,
    reported_capabilities TEXT NOT NULL,
    -- Set when somebody has edited them; then these count.
    edited_capabilities TEXT,
    capacity INTEGER NOT NULL CHECK (capacity BETWEEN 0 AND 1000),
    eviction_millis INTEGER NOT NULL CHECK (eviction_millis >= 0),
    state TEXT NOT NULL CHECK (state IN ('enabled', 'disabled', 'draining', 'deleting')),
    -- Raised by every change that the runner must hear of.
    settings_revision INTEGER NOT NULL CHECK (settings_revision >= 1),
    epoch INTEGER NOT NULL CHECK (epoch >= 1),
    instance TEXT NOT NULL,
    conflict TEXT,
    version TEXT NOT NULL,
    protocol INTEGER NOT NULL,
    engine TEXT NOT NULL,
    metadata TEXT NOT NULL,
    first_registered_at INTEGER NOT NULL,
    registered_at INTEGER NOT NULL
) STRICT;

CREATE TABLE runner_sessions (
    credential BLOB PRIMARY KEY,
    runner TEXT NOT NULL REFERENCES runners (id) ON DELETE CASCADE,
    epoch INTEGER NOT NULL CHECK (epoch >= 1),
    instance TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    -- Null until the runner has used the credential, which shows that it has received the answer to its registration.
    used_at INTEGER,
    UNIQUE (runner, epoch)
) STRICT;

CREATE TABLE tasks (
    id TEXT PRIMARY KEY,
    state TEXT NOT NULL CHECK (state IN ('queued', 'offered', 'running', 'finished')),
    -- The next attempt of a queued task, the current one of an offered or running task, the last one of a finished task (0: none).
    attempt INTEGER NOT NULL CHECK (attempt >= CASE WHEN state = 'finished' THEN 0 ELSE 1 END),
    runner TEXT,
    offer_until INTEGER,
    outcome TEXT CHECK (outcome IN ('completed', 'failed')),
    class TEXT,
    message TEXT NOT NULL,
    abort_at INTEGER,
    abort_by TEXT,
    abort_reason TEXT,
    retried INTEGER NOT NULL CHECK (retried >= 0),
    retries INTEGER NOT NULL CHECK (retries >= 0),
    title TEXT NOT NULL,
    image TEXT NOT NULL,
    task_type TEXT NOT NULL,
    required TEXT NOT NULL,
    script INTEGER NOT NULL CHECK (script IN (0, 1)),
    priority INTEGER NOT NULL,
    spec TEXT NOT NULL,
    input_bytes INTEGER NOT NULL CHECK (input_bytes >= 0),
    input_chunks INTEGER NOT NULL CHECK (input_chunks >= 0),
    created_by TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    queued_at INTEGER NOT NULL,
    queue_deadline INTEGER,
    finished_at INTEGER,
    CHECK ((state IN ('offered', 'running')) = (runner IS NOT NULL)),
    CHECK ((state = 'offered') = (offer_until IS NOT NULL)),
    CHECK ((state = 'finished') = (outcome IS NOT NULL)),
    CHECK ((state = 'finished') = (finished_at IS NOT NULL)),
    CHECK ((COALESCE(outcome, '') = 'failed') = (class IS NOT NULL)),
    CHECK ((abort_at IS NULL) = (abort_by IS NULL) AND (abort_at IS NULL) = (abort_reason IS NULL)),
    CHECK (abort_at IS NULL OR state IN ('running', 'finished'))
) STRICT;
-- No index names a column that changes when a task starts to run, so that this, on PostgreSQL, changes no index at all.
-- `runner IS NULL AND finished_at IS NULL` means queued, `runner IS NOT NULL` means offered or running.
-- The order in which tasks are handed out: identities sort by the time they were made.
CREATE INDEX tasks_queue ON tasks (required, priority DESC, id) WHERE runner IS NULL AND finished_at IS NULL;
CREATE INDEX tasks_overdue ON tasks (queue_deadline) WHERE runner IS NULL AND finished_at IS NULL AND queue_deadline IS NOT NULL;
CREATE INDEX tasks_at_runners ON tasks (runner, id) WHERE runner IS NOT NULL;
CREATE INDEX tasks_unfinished ON tasks (id) WHERE finished_at IS NULL;

CREATE TABLE task_inputs (
    task TEXT NOT NULL REFERENCES tasks (id) ON DELETE CASCADE,
    sequence INTEGER NOT NULL CHECK (sequence >= 0),
    body BLOB NOT NULL,
    PRIMARY KEY (task, sequence)
) STRICT;

CREATE TABLE attempts (
    task TEXT NOT NULL REFERENCES tasks (id) ON DELETE CASCADE,
    number INTEGER NOT NULL CHECK (number >= 1),
    runner TEXT NOT NULL,
    epoch INTEGER NOT NULL CHECK (epoch >= 1),
    offered_at INTEGER NOT NULL,
    confirmed_at INTEGER,
    ended_at INTEGER,
    -- How it ended: by its runner's report, or because the server took it away.
    ending TEXT CHECK (ending IN ('reported', 'offer-expired', 'aborted-before-start', 'runner-lost')),
    outcome TEXT CHECK (outcome IN ('completed', 'failed')),
    class TEXT,
    message TEXT NOT NULL,
    exit TEXT,
    result_exit_code INTEGER,
    evidence TEXT,
    timings TEXT,
    result_kept TEXT CHECK (result_kept IN ('missing', 'inline', 'chunked')),
    result_bytes INTEGER,
    result_chunks INTEGER,
    phase TEXT,
    phase_detail TEXT NOT NULL,
    status_line TEXT NOT NULL,
    -- The highest event number applied.
    applied INTEGER NOT NULL CHECK (applied >= 0),
    comments INTEGER NOT NULL CHECK (comments >= 0),
    stdout_end INTEGER NOT NULL CHECK (stdout_end >= 0),
    stderr_end INTEGER NOT NULL CHECK (stderr_end >= 0),
    log_position INTEGER NOT NULL CHECK (log_position >= 0),
    log_summary TEXT,
    PRIMARY KEY (task, number),
    CHECK ((ending IS NULL) = (ended_at IS NULL)),
    CHECK ((COALESCE(ending, '') = 'reported') = (result_kept IS NOT NULL)),
    CHECK (COALESCE(ending, '') <> 'reported' OR (outcome IS NOT NULL AND confirmed_at IS NOT NULL)),
    CHECK ((COALESCE(outcome, '') = 'failed') = (class IS NOT NULL)),
    CHECK (COALESCE(ending, '') <> 'offer-expired' OR confirmed_at IS NULL)
) STRICT;

CREATE TABLE result_chunks (
    task TEXT NOT NULL,
    attempt INTEGER NOT NULL,
    sequence INTEGER NOT NULL CHECK (sequence >= 0),
    last INTEGER NOT NULL CHECK (last IN (0, 1)),
    bytes INTEGER NOT NULL CHECK (bytes >= 0),
    body BLOB NOT NULL,
    PRIMARY KEY (task, attempt, sequence),
    FOREIGN KEY (task, attempt) REFERENCES attempts (task, number) ON DELETE CASCADE
) STRICT;

CREATE TABLE comments (
    task TEXT NOT NULL,
    attempt INTEGER NOT NULL,
    stream TEXT NOT NULL CHECK (stream IN ('stdout', 'stderr')),
    marker INTEGER NOT NULL CHECK (marker >= 0),
    text TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    sequence INTEGER NOT NULL,
    PRIMARY KEY (task, attempt, stream, marker),
    FOREIGN KEY (task, attempt) REFERENCES attempts (task, number) ON DELETE CASCADE
) STRICT;

CREATE TABLE log_pieces (
    task TEXT NOT NULL,
    attempt INTEGER NOT NULL,
    -- Its place in the order of arrival; it takes as many places as it has bytes, a gap takes one.
    position INTEGER NOT NULL CHECK (position >= 0),
    stream TEXT NOT NULL CHECK (stream IN ('stdout', 'stderr')),
    start INTEGER NOT NULL CHECK (start >= 0),
    -- Null: this is a gap.
    body BLOB,
    gap_bytes INTEGER CHECK (gap_bytes >= 0),
    PRIMARY KEY (task, attempt, position),
    FOREIGN KEY (task, attempt) REFERENCES attempts (task, number) ON DELETE CASCADE,
    CHECK (body IS NULL OR gap_bytes IS NULL)
) STRICT;

CREATE TABLE idempotency_keys (
    owner TEXT NOT NULL,
    key TEXT NOT NULL,
    body_hash BLOB NOT NULL,
    task TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (owner, key)
) STRICT;
CREATE INDEX idempotency_keys_age ON idempotency_keys (created_at);

CREATE TABLE audit (
    id TEXT PRIMARY KEY,
    at INTEGER NOT NULL,
    actor TEXT NOT NULL,
    action TEXT NOT NULL,
    object TEXT NOT NULL,
    detail TEXT NOT NULL
) STRICT;
