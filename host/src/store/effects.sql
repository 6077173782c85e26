-- What the host made on the machine for a plugin and what is committed. The record is JSON; only `host/src/ledger` reads it.
CREATE TABLE object (
    plugin TEXT NOT NULL,
    name TEXT NOT NULL,
    id TEXT NOT NULL,
    record TEXT NOT NULL,
    boot TEXT NOT NULL,
    made_at INTEGER NOT NULL,
    version INTEGER NOT NULL,
    PRIMARY KEY (plugin, name)
) STRICT, WITHOUT ROWID;

-- What has still to be done to the machine: to be undone, because no call has committed it or a commit has ended it, or (redo) to be done,
-- because a commit said so.
CREATE TABLE intent (
    id TEXT PRIMARY KEY,
    number INTEGER NOT NULL,
    plugin TEXT NOT NULL,
    record TEXT NOT NULL,
    redo INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- What would settle a call on other machines. Rows of a call that succeeds go with its commit.
CREATE TABLE note (
    number INTEGER PRIMARY KEY,
    plugin TEXT NOT NULL,
    call TEXT NOT NULL,
    note BLOB NOT NULL
) STRICT;

-- Which engine processes use a volume: a JSON list.
ALTER TABLE volume ADD COLUMN uses TEXT NOT NULL DEFAULT '[]';
