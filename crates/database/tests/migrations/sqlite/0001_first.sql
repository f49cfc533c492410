CREATE TABLE things (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    body BLOB,
    size INTEGER CHECK (size >= 0)
) STRICT;
