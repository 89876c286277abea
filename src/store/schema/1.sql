CREATE TABLE meta (
    name TEXT PRIMARY KEY,
    value ANY NOT NULL
) STRICT, WITHOUT ROWID;

-- The combinations of values that repeat. `tool` is NULL where the dictionary
-- was full: the entry then carries its own. `reason` is the first one seen; an
-- entry with another carries it.
CREATE TABLE facet (
    id INTEGER PRIMARY KEY,
    key BLOB NOT NULL UNIQUE,
    agent TEXT NOT NULL,
    transport TEXT NOT NULL,
    server TEXT NOT NULL,
    method TEXT NOT NULL,
    tool TEXT,
    intent TEXT NOT NULL,
    decision TEXT NOT NULL,
    outcome TEXT NOT NULL,
    policy TEXT NOT NULL,
    rule TEXT NOT NULL,
    stage TEXT NOT NULL,
    mode TEXT NOT NULL,
    reason TEXT NOT NULL
) STRICT;

-- The log. `at` is in microseconds since 1970. `ref` is the decision that a
-- result belongs to, the last entry that a purge removed, or the time that the
-- clock was set back from.
CREATE TABLE entry (
    seq INTEGER PRIMARY KEY,
    kind INTEGER NOT NULL,
    at INTEGER NOT NULL,
    facet INTEGER,
    session TEXT,
    tool TEXT,
    reason TEXT,
    args TEXT,
    digest BLOB,
    decision_us INTEGER,
    ref INTEGER,
    outcome TEXT,
    status TEXT,
    upstream_us INTEGER,
    hash BLOB NOT NULL
) STRICT;

CREATE INDEX entry_rare ON entry (kind, seq) WHERE kind >= 2;

-- Requests counted by a rate limit; `n` runs from 1 per agent and policy.
CREATE TABLE slot (
    agent TEXT NOT NULL,
    policy TEXT NOT NULL,
    n INTEGER NOT NULL,
    at INTEGER NOT NULL,
    PRIMARY KEY (agent, policy, n)
) STRICT, WITHOUT ROWID;

-- Made from the log, up to the entry that meta.folded names.
CREATE TABLE posting (
    facet INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    PRIMARY KEY (facet, seq)
) STRICT, WITHOUT ROWID;

CREATE TABLE answer (
    decision INTEGER PRIMARY KEY,
    seq INTEGER NOT NULL
) STRICT;

-- Counters per facet: of everything (span 0), per hour (3600), per day (86400).
CREATE TABLE tally (
    span INTEGER NOT NULL,
    start INTEGER NOT NULL,
    facet INTEGER NOT NULL,
    decided INTEGER NOT NULL,
    decision_us INTEGER NOT NULL,
    answered INTEGER NOT NULL,
    failed INTEGER NOT NULL,
    upstream_us INTEGER NOT NULL,
    upstream_max_us INTEGER NOT NULL,
    last INTEGER NOT NULL,
    PRIMARY KEY (span, start, facet)
) STRICT, WITHOUT ROWID;
