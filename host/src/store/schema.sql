-- Keys and names are text with SQLite's BINARY collation: compared byte for byte, NUL included.

-- The number of the last commit, so that a number is never used twice.
CREATE TABLE clock (
    only INTEGER PRIMARY KEY CHECK (only = 0),
    version INTEGER NOT NULL
) STRICT;
INSERT INTO clock VALUES (0, 0);

-- wasi:keyvalue.
CREATE TABLE state (
    plugin TEXT NOT NULL,
    key TEXT NOT NULL,
    value BLOB NOT NULL,
    version INTEGER NOT NULL,
    PRIMARY KEY (plugin, key)
) STRICT, WITHOUT ROWID;

-- The volume catalogue. Options are a JSON list of pairs; created_at is in seconds since 1970.
CREATE TABLE volume (
    plugin TEXT NOT NULL,
    name TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    options TEXT NOT NULL,
    directory TEXT,
    version INTEGER NOT NULL,
    PRIMARY KEY (plugin, name)
) STRICT, WITHOUT ROWID;

-- The driver's name and the file name of each directory below the plugin's root.
CREATE TABLE directory (
    plugin TEXT NOT NULL,
    key TEXT NOT NULL,
    id TEXT NOT NULL,
    version INTEGER NOT NULL,
    PRIMARY KEY (plugin, key)
) STRICT, WITHOUT ROWID;

-- Directories whose removal is committed and whose files may still be there.
CREATE TABLE doomed (
    plugin TEXT NOT NULL,
    id TEXT NOT NULL,
    PRIMARY KEY (plugin, id)
) STRICT, WITHOUT ROWID;

-- The host's own notes about a plugin; those of the empty name are about the daemon.
CREATE TABLE meta (
    plugin TEXT NOT NULL,
    key TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (plugin, key)
) STRICT, WITHOUT ROWID;
