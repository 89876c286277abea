-- Slots of rate windows as they are taken, whosever they are: all of them are
-- added on one page. Many of one window at a time are then put where they are
-- found by their number; the newest stays, so that no id is given twice.

CREATE TABLE slot_queue (
    id INTEGER PRIMARY KEY,
    agent TEXT NOT NULL,
    policy TEXT NOT NULL,
    n INTEGER NOT NULL,
    at INTEGER NOT NULL
) STRICT;

-- By another name, so that a version which does not know the queue fails.
ALTER TABLE slot RENAME TO slot_window;
