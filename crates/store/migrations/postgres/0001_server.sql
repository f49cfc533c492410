-- The twin in the other folder has the same tables; it differs only in the names of the types and in STRICT.
-- Times are milliseconds since 1970, truth is 0 or 1, identities are UUIDs as text, lists of labels are separated by commas.

CREATE TABLE users (
    name TEXT PRIMARY KEY CHECK (name <> ''),
    password_hash TEXT NOT NULL,
    permissions TEXT NOT NULL,
    created_at BIGINT NOT NULL
);

CREATE TABLE tokens (
    id TEXT PRIMARY KEY,
    owner TEXT NOT NULL REFERENCES users (name),
    note TEXT NOT NULL,
    permissions TEXT NOT NULL,
    hash BYTEA NOT NULL UNIQUE,
    created_at BIGINT NOT NULL,
    expires_at BIGINT,
    revoked_at BIGINT,
    last_used_at BIGINT
);

CREATE TABLE runners (
    id TEXT PRIMARY KEY,
    public_key TEXT NOT NULL,
    token TEXT,
    title TEXT NOT NULL,
    reported_capabilities TEXT NOT NULL,
    -- Set when somebody has edited them; then these count.
    edited_capabilities TEXT,
    capacity BIGINT NOT NULL CHECK (capacity BETWEEN 0 AND 1000),
    eviction_millis BIGINT NOT NULL CHECK (eviction_millis >= 0),
    state TEXT NOT NULL CHECK (state IN ('enabled', 'disabled', 'draining', 'deleting')),
    -- Raised by every change that the runner must hear of.
    settings_revision BIGINT NOT NULL CHECK (settings_revision >= 1),
    epoch BIGINT NOT NULL CHECK (epoch >= 1),
    instance TEXT NOT NULL,
    conflict TEXT,
    version TEXT NOT NULL,
    protocol BIGINT NOT NULL,
    engine TEXT NOT NULL,
    metadata TEXT NOT NULL,
    first_registered_at BIGINT NOT NULL,
    registered_at BIGINT NOT NULL
);

CREATE TABLE runner_sessions (
    credential BYTEA PRIMARY KEY,
    runner TEXT NOT NULL REFERENCES runners (id) ON DELETE CASCADE,
    epoch BIGINT NOT NULL CHECK (epoch >= 1),
    instance TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    -- Null until the runner has used the credential, which shows that it has received the answer to its registration.
    used_at BIGINT,
    UNIQUE (runner, epoch)
);

CREATE TABLE tasks (
    id TEXT PRIMARY KEY,
    state TEXT NOT NULL CHECK (state IN ('queued', 'offered', 'running', 'finished')),
    -- The next attempt of a queued task, the current one of an offered or running task, the last one of a finished task (0: none).
    attempt BIGINT NOT NULL CHECK (attempt >= CASE WHEN state = 'finished' THEN 0 ELSE 1 END),
    runner TEXT,
    offer_until BIGINT,
    outcome TEXT CHECK (outcome IN ('completed', 'failed')),
    class TEXT,
    message TEXT NOT NULL,
    abort_at BIGINT,
    abort_by TEXT,
    abort_reason TEXT,
    retried BIGINT NOT NULL CHECK (retried >= 0),
    retries BIGINT NOT NULL CHECK (retries >= 0),
    title TEXT NOT NULL,
    image TEXT NOT NULL,
    task_type TEXT NOT NULL,
    required TEXT NOT NULL,
    script BIGINT NOT NULL CHECK (script IN (0, 1)),
    priority BIGINT NOT NULL,
    spec TEXT NOT NULL,
    input_bytes BIGINT NOT NULL CHECK (input_bytes >= 0),
    input_chunks BIGINT NOT NULL CHECK (input_chunks >= 0),
    created_by TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    queued_at BIGINT NOT NULL,
    queue_deadline BIGINT,
    finished_at BIGINT,
    CHECK ((state IN ('offered', 'running')) = (runner IS NOT NULL)),
    CHECK ((state = 'offered') = (offer_until IS NOT NULL)),
    CHECK ((state = 'finished') = (outcome IS NOT NULL)),
    CHECK ((state = 'finished') = (finished_at IS NOT NULL)),
    CHECK ((COALESCE(outcome, '') = 'failed') = (class IS NOT NULL)),
    CHECK ((abort_at IS NULL) = (abort_by IS NULL) AND (abort_at IS NULL) = (abort_reason IS NULL)),
    CHECK (abort_at IS NULL OR state IN ('running', 'finished'))
) WITH (fillfactor = 60);
-- No index names a column that changes when a task starts to run, so that this, on PostgreSQL, changes no index at all.
-- `runner IS NULL AND finished_at IS NULL` means queued, `runner IS NOT NULL` means offered or running.
-- The order in which tasks are handed out: identities sort by the time they were made.
CREATE INDEX tasks_queue ON tasks (required, priority DESC, id) WHERE runner IS NULL AND finished_at IS NULL;
CREATE INDEX tasks_overdue ON tasks (queue_deadline) WHERE runner IS NULL AND finished_at IS NULL AND queue_deadline IS NOT NULL;
CREATE INDEX tasks_at_runners ON tasks (runner, id) WHERE runner IS NOT NULL;
CREATE INDEX tasks_unfinished ON tasks (id) WHERE finished_at IS NULL;

CREATE TABLE task_inputs (
    task TEXT NOT NULL REFERENCES tasks (id) ON DELETE CASCADE,
    sequence BIGINT NOT NULL CHECK (sequence >= 0),
    body BYTEA NOT NULL,
    PRIMARY KEY (task, sequence)
);

CREATE TABLE attempts (
    task TEXT NOT NULL REFERENCES tasks (id) ON DELETE CASCADE,
    number BIGINT NOT NULL CHECK (number >= 1),
    runner TEXT NOT NULL,
    epoch BIGINT NOT NULL CHECK (epoch >= 1),
    offered_at BIGINT NOT NULL,
    confirmed_at BIGINT,
    ended_at BIGINT,
    -- How it ended: by its runner's report, or because the server took it away.
    ending TEXT CHECK (ending IN ('reported', 'offer-expired', 'aborted-before-start', 'runner-lost')),
    outcome TEXT CHECK (outcome IN ('completed', 'failed')),
    class TEXT,
    message TEXT NOT NULL,
    exit TEXT,
    result_exit_code BIGINT,
    evidence TEXT,
    timings TEXT,
    result_kept TEXT CHECK (result_kept IN ('missing', 'inline', 'chunked')),
    result_bytes BIGINT,
    result_chunks BIGINT,
    phase TEXT,
    phase_detail TEXT NOT NULL,
    status_line TEXT NOT NULL,
    -- The highest event number applied.
    applied BIGINT NOT NULL CHECK (applied >= 0),
    comments BIGINT NOT NULL CHECK (comments >= 0),
    stdout_end BIGINT NOT NULL CHECK (stdout_end >= 0),
    stderr_end BIGINT NOT NULL CHECK (stderr_end >= 0),
    log_position BIGINT NOT NULL CHECK (log_position >= 0),
    log_summary TEXT,
    PRIMARY KEY (task, number),
    CHECK ((ending IS NULL) = (ended_at IS NULL)),
    CHECK ((COALESCE(ending, '') = 'reported') = (result_kept IS NOT NULL)),
    CHECK (COALESCE(ending, '') <> 'reported' OR (outcome IS NOT NULL AND confirmed_at IS NOT NULL)),
    CHECK ((COALESCE(outcome, '') = 'failed') = (class IS NOT NULL)),
    CHECK (COALESCE(ending, '') <> 'offer-expired' OR confirmed_at IS NULL)
) WITH (fillfactor = 60);

CREATE TABLE result_chunks (
    task TEXT NOT NULL,
    attempt BIGINT NOT NULL,
    sequence BIGINT NOT NULL CHECK (sequence >= 0),
    last BIGINT NOT NULL CHECK (last IN (0, 1)),
    bytes BIGINT NOT NULL CHECK (bytes >= 0),
    body BYTEA NOT NULL,
    PRIMARY KEY (task, attempt, sequence),
    FOREIGN KEY (task, attempt) REFERENCES attempts (task, number) ON DELETE CASCADE
);

CREATE TABLE comments (
    task TEXT NOT NULL,
    attempt BIGINT NOT NULL,
    stream TEXT NOT NULL CHECK (stream IN ('stdout', 'stderr')),
    marker BIGINT NOT NULL CHECK (marker >= 0),
    text TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    sequence BIGINT NOT NULL,
    PRIMARY KEY (task, attempt, stream, marker),
    FOREIGN KEY (task, attempt) REFERENCES attempts (task, number) ON DELETE CASCADE
);

CREATE TABLE log_pieces (
    task TEXT NOT NULL,
    attempt BIGINT NOT NULL,
    -- Its place in the order of arrival; it takes as many places as it has bytes, a gap takes one.
    position BIGINT NOT NULL CHECK (position >= 0),
    stream TEXT NOT NULL CHECK (stream IN ('stdout', 'stderr')),
    start BIGINT NOT NULL CHECK (start >= 0),
    -- Null: this is a gap.
    body BYTEA,
    gap_bytes BIGINT CHECK (gap_bytes >= 0),
    PRIMARY KEY (task, attempt, position),
    FOREIGN KEY (task, attempt) REFERENCES attempts (task, number) ON DELETE CASCADE,
    CHECK (body IS NULL OR gap_bytes IS NULL)
);

CREATE TABLE idempotency_keys (
    owner TEXT NOT NULL,
    key TEXT NOT NULL,
    body_hash BYTEA NOT NULL,
    task TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (owner, key)
);
CREATE INDEX idempotency_keys_age ON idempotency_keys (created_at);

CREATE TABLE audit (
    id TEXT PRIMARY KEY,
    at BIGINT NOT NULL,
    actor TEXT NOT NULL,
    action TEXT NOT NULL,
    object TEXT NOT NULL,
    detail TEXT NOT NULL
);
