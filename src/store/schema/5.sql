-- Between which entries the decisions of a session stand, as far as they are
-- indexed: a session is one run of a program, so they stand close together.

CREATE TABLE session (
    name TEXT PRIMARY KEY,
    first INTEGER NOT NULL,
    last INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

INSERT INTO session (name, first, last)
SELECT session, min(seq), max(seq) FROM entry
WHERE kind = 0 AND seq <= (SELECT value FROM meta WHERE name = 'folded')
GROUP BY session;
