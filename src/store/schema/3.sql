-- What a person is to say about: actions whose intent was unsure. The like is
-- raised once, and counted, until it is resolved. Times are in microseconds
-- since 1970. An id is never used twice.
CREATE TABLE escalation (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    provider TEXT NOT NULL,
    method TEXT NOT NULL,
    path TEXT NOT NULL,
    agent TEXT NOT NULL,
    intent TEXT NOT NULL,
    resource TEXT NOT NULL,
    level TEXT NOT NULL,
    confidence REAL NOT NULL,
    request_id TEXT NOT NULL,
    raised_at INTEGER NOT NULL,
    last_at INTEGER NOT NULL,
    times INTEGER NOT NULL,
    resolution TEXT,
    resolved_at INTEGER
) STRICT;

CREATE UNIQUE INDEX escalation_pending ON escalation (provider, method, path)
WHERE resolved_at IS NULL;
