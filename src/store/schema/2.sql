-- Who may ask, by key. `policy` and `provider` are NULL where the agent has
-- none of its own.
CREATE TABLE agent (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    description TEXT NOT NULL,
    policy TEXT,
    provider TEXT,
    created_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Keys by their keyed hash; `expires_at` (microseconds since 1970) is NULL for
-- the key in force. `aws_id` is the access-key id that goes with the key.
CREATE TABLE agent_key (
    hash BLOB PRIMARY KEY,
    agent TEXT NOT NULL REFERENCES agent (id),
    aws_id TEXT NOT NULL UNIQUE,
    expires_at INTEGER
) STRICT, WITHOUT ROWID;

CREATE INDEX agent_key_agent ON agent_key (agent);
