-- The runner's journal. What may hold task data is sealed with the key file beside it.

CREATE TABLE identity (
    one INTEGER NOT NULL PRIMARY KEY CHECK (one = 1),
    runner TEXT NOT NULL,
    -- The secret half of the Ed25519 key pair.
    sealed_key BLOB NOT NULL,
    last_epoch INTEGER NOT NULL
) STRICT;

CREATE TABLE attempts (
    task TEXT NOT NULL,
    attempt INTEGER NOT NULL CHECK (attempt > 0),
    state TEXT NOT NULL CHECK (state IN
        ('accepted', 'creating', 'running', 'stopping', 'result_taken', 'acknowledged', 'removed')),
    -- The spec, the session key and, if it is small, the input.
    sealed_work BLOB NOT NULL,
    accepted_at INTEGER NOT NULL,
    -- The engine's handle and the wall clock, written before the executor starts.
    handle TEXT,
    started_at INTEGER,
    -- Why signals are sent, written before the first one.
    sealed_stop BLOB,
    -- The number that the next event gets.
    next_event INTEGER NOT NULL DEFAULT 1,
    comments INTEGER NOT NULL DEFAULT 0,
    -- Where the log can be taken up again: numbers only, as JSON.
    log_point TEXT,
    -- Chunks of a result that waits in the spool; 0 if there is none.
    result_chunks INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (task, attempt),
    CHECK (state <> 'running' OR (handle IS NOT NULL AND started_at IS NOT NULL)),
    CHECK (state <> 'stopping' OR sealed_stop IS NOT NULL)
) STRICT;

-- The outbox. A row leaves it only when the server has acknowledged it.
CREATE TABLE events (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    task TEXT NOT NULL,
    attempt INTEGER NOT NULL,
    number INTEGER NOT NULL CHECK (number > 0),
    kind TEXT NOT NULL CHECK (kind IN ('finished', 'log_complete', 'other')),
    sealed_body BLOB NOT NULL,
    UNIQUE (task, attempt, number),
    FOREIGN KEY (task, attempt) REFERENCES attempts (task, attempt) ON DELETE CASCADE
) STRICT;

-- The comments that have an event, by the place of their marker, so that a replay of the log doubles none.
CREATE TABLE comments (
    task TEXT NOT NULL,
    attempt INTEGER NOT NULL,
    stream TEXT NOT NULL CHECK (stream IN ('stdout', 'stderr')),
    place INTEGER NOT NULL,
    PRIMARY KEY (task, attempt, stream, place),
    FOREIGN KEY (task, attempt) REFERENCES attempts (task, attempt) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;
