CREATE TABLE things (
    id BIGINT PRIMARY KEY,
    name TEXT NOT NULL,
    body BYTEA,
    size BIGINT CHECK (size >= 0)
);
