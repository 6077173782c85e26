//! The SQLite file: how it is opened, and every statement that reads or writes it.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, OptionalExtension, params};

use super::StoreError;
use super::lock::open_private;
use super::state::{
    DirectoryRecord, DoomedDirectory, Intent, Note, ObjectRecord, Snapshot, Usage, Value,
    VolumeRecord,
};
use super::table::{Change, Row, Table, Version};

/// The file's `application_id`, so that `file` and this program can tell it from any other SQLite database: "dock".
const APPLICATION_ID: i64 = 0x646f_636b;

/// Schema step N takes a database from `user_version` N to N + 1.
pub(super) const STEPS: [&str; 2] = [include_str!("schema.sql"), include_str!("effects.sql")];

/// How long a commit waits for an operator's own `sqlite3` to finish. Shorter than any of Docker's deadlines.
const BUSY_TIMEOUT: Duration = Duration::from_secs(2);

/// Tables whose rows belong to a plugin.
const OWNED: [&str; 5] = ["state", "volume", "directory", "meta", "object"];

/// Opens the database for writing, and makes it or brings its schema up to date.
pub(super) fn open(path: &Path) -> Result<Connection, StoreError> {
    open_private(path).map_err(|e| StoreError::file(path, "open", &e))?;
    let failed = |e: rusqlite::Error| StoreError::database(path, "open the store", &e);
    let mut connection = connect(path).map_err(failed)?;
    let found: i64 = pragma(&connection, "user_version").map_err(failed)?;
    let known = STEPS.len() as i64;
    if found > known {
        return Err(StoreError::NewerSchema {
            path: path.to_path_buf(),
            found,
            known,
        });
    }
    let application: i64 = pragma(&connection, "application_id").map_err(failed)?;
    let tables: i64 = connection
        .query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))
        .map_err(failed)?;
    let fresh = found == 0 && tables == 0 && application == 0;
    if !fresh && application != APPLICATION_ID {
        return Err(StoreError::Foreign {
            path: path.to_path_buf(),
        });
    }
    prepare(&mut connection, usize::try_from(found).unwrap_or(0)).map_err(failed)?;
    Ok(connection)
}

/// Opens a second connection, for reading.
pub(super) fn open_reader(path: &Path) -> Result<Connection, StoreError> {
    let open = || {
        let connection = connect(path)?;
        connection.pragma_update(None, "query_only", true)?;
        Ok(connection)
    };
    open().map_err(|e| StoreError::database(path, "open the store", &e))
}

fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open_with_flags(
        path,
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.set_prepared_statement_cache_capacity(32);
    connection.pragma_update(None, "trusted_schema", false)?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    Ok(connection)
}

fn prepare(connection: &mut Connection, found: usize) -> rusqlite::Result<()> {
    let mode: String = connection.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0))?;
    if mode != "wal" {
        return Err(rusqlite::Error::SqliteFailure(
            rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CANTOPEN),
            Some("the file system of the data directory cannot share memory between processes, which WAL needs".to_owned()),
        ));
    }
    // A burst leaves a long log behind, and SQLite would keep the file at that length.
    connection.pragma_update(None, "journal_size_limit", 16 << 20)?;
    if found < STEPS.len() {
        let transaction =
            connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
        for step in STEPS.iter().skip(found) {
            transaction.execute_batch(step)?;
        }
        transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
        transaction.pragma_update(None, "user_version", STEPS.len() as i64)?;
        transaction.commit()?;
    }
    Ok(())
}

fn pragma<T: rusqlite::types::FromSql>(connection: &Connection, name: &str) -> rusqlite::Result<T> {
    connection.pragma_query_value(None, name, |row| row.get(0))
}

/// The number of the last commit.
pub(super) fn last_version(connection: &Connection, path: &Path) -> Result<Version, StoreError> {
    connection
        .query_row("SELECT version FROM clock", [], |row| row.get(0))
        .map_err(|e| StoreError::database(path, "read the number of the last commit", &e))
}

pub(super) fn set_last_version(connection: &Connection, version: Version) -> rusqlite::Result<()> {
    let mut statement = connection.prepare_cached("UPDATE clock SET version = ?1")?;
    statement.execute([version]).map(drop)
}

/// Everything that is stored for one plugin.
pub(super) fn load(
    connection: &mut Connection,
    path: &Path,
    plugin: &str,
) -> Result<Snapshot, StoreError> {
    let failed = |e: rusqlite::Error| {
        StoreError::database(
            path,
            format!("read what is stored for plugin {plugin:?}"),
            &e,
        )
    };
    let transaction = connection.transaction().map_err(failed)?;
    let mut usage = Usage::default();
    let keys = rows(
        &transaction,
        "SELECT key, version, value FROM state WHERE plugin = ?1 ORDER BY key",
        plugin,
        |row| row.get::<_, Vec<u8>>(2).map(Value::from),
    )
    .map_err(failed)?;
    for (key, row) in &keys {
        usage.count(key, None, Some(&row.value));
    }
    let directories = rows(
        &transaction,
        "SELECT key, version, id FROM directory WHERE plugin = ?1 ORDER BY key",
        plugin,
        |row| {
            Ok(Arc::new(DirectoryRecord {
                key: row.get(0)?,
                id: row.get(2)?,
            }))
        },
    )
    .map_err(failed)?;
    let stored = rows(
        &transaction,
        "SELECT name, version, created_at, options, directory, uses FROM volume WHERE plugin = ?1 ORDER BY name",
        plugin,
        |row| Ok((row.get::<_, i64>(2)?, row.get::<_, String>(3)?, row.get::<_, Option<String>>(4)?, row.get::<_, String>(5)?)),
    )
    .map_err(failed)?;
    let mut volumes = Vec::with_capacity(stored.len());
    for (name, row) in stored {
        let (created_at, options, directory, uses) = row.value;
        let damaged = |reason: String| StoreError::Damaged {
            path: path.to_path_buf(),
            record: format!("volume {name:?}"),
            plugin: plugin.to_owned(),
            reason,
        };
        let options = serde_json::from_str(&options)
            .map_err(|e| damaged(format!("its options are not a JSON list of pairs: {e}")))?;
        let uses = serde_json::from_str(&uses)
            .map_err(|e| damaged(format!("its uses are not a JSON list: {e}")))?;
        let value = Arc::new(VolumeRecord {
            name: name.to_string(),
            created_at,
            options,
            directory,
            uses,
        });
        let version = row.version;
        volumes.push((name, Row { value, version }));
    }
    let objects = rows(
        &transaction,
        "SELECT name, version, id, record, boot, made_at FROM object WHERE plugin = ?1 ORDER BY name",
        plugin,
        |row| {
            Ok(Arc::new(ObjectRecord {
                name: row.get(0)?,
                id: row.get(2)?,
                record: row.get(3)?,
                boot: row.get(4)?,
                made_at: row.get(5)?,
            }))
        },
    )
    .map_err(failed)?;
    Ok(Snapshot {
        era: 0,
        keys: Table::load(keys),
        volumes: Table::load(volumes),
        directories: Table::load(directories),
        objects: Table::load(objects),
        usage,
    })
}

fn rows<V>(
    connection: &Connection,
    select: &str,
    plugin: &str,
    value: impl Fn(&rusqlite::Row<'_>) -> rusqlite::Result<V>,
) -> rusqlite::Result<Vec<(Arc<str>, Row<V>)>> {
    let mut statement = connection.prepare_cached(select)?;
    let rows = statement.query_map([plugin], |row| {
        let key: String = row.get(0)?;
        let version = row.get(1)?;
        let value = value(row)?;
        Ok((Arc::from(key), Row { value, version }))
    })?;
    rows.collect()
}

/// The names of all plugins that have anything stored.
pub(super) fn plugin_names(
    connection: &Connection,
    path: &Path,
) -> Result<Vec<String>, StoreError> {
    let read = || -> rusqlite::Result<Vec<String>> {
        let mut names = std::collections::BTreeSet::new();
        for table in OWNED {
            // From name to name through the index: DISTINCT would read every row of the largest table.
            let mut next = connection.prepare_cached(&format!(
                "SELECT min(plugin) FROM {table} WHERE plugin > ?1"
            ))?;
            let mut last = String::new();
            while let Some(name) = next.query_row([&last], |row| row.get::<_, Option<String>>(0))? {
                names.insert(name.clone());
                last = name;
            }
        }
        Ok(names.into_iter().collect())
    };
    read().map_err(|e| StoreError::database(path, "list the plugins that have anything stored", &e))
}

/// One of the host's notes.
pub(super) fn meta(
    connection: &Connection,
    path: &Path,
    plugin: &str,
    key: &str,
) -> Result<Option<String>, StoreError> {
    connection
        .prepare_cached("SELECT value FROM meta WHERE plugin = ?1 AND key = ?2")
        .and_then(|mut select| select.query_row([plugin, key], |row| row.get(0)).optional())
        .map_err(|e| {
            StoreError::database(
                path,
                format!("read the note {key:?} of plugin {plugin:?}"),
                &e,
            )
        })
}

/// All directories that are to be removed.
pub(super) fn doomed(
    connection: &Connection,
    path: &Path,
) -> Result<Vec<DoomedDirectory>, StoreError> {
    let read = || -> rusqlite::Result<Vec<DoomedDirectory>> {
        let mut select =
            connection.prepare_cached("SELECT plugin, id FROM doomed ORDER BY plugin, id")?;
        let rows = select.query_map([], |row| {
            Ok(DoomedDirectory {
                plugin: row.get(0)?,
                id: row.get(1)?,
            })
        })?;
        rows.collect()
    };
    read()
        .map_err(|e| StoreError::database(path, "list the directories that are to be removed", &e))
}

/// Writes one change of a key.
pub(super) fn write_key(
    connection: &Connection,
    plugin: &str,
    change: &Change<Value>,
    version: Version,
) -> rusqlite::Result<()> {
    match &change.after {
        Some(value) => connection
            .prepare_cached("INSERT OR REPLACE INTO state (plugin, key, value, version) VALUES (?1, ?2, ?3, ?4)")?
            .execute(params![plugin, &*change.key, &**value, version]),
        None => remove(connection, "DELETE FROM state WHERE plugin = ?1 AND key = ?2", plugin, &change.key),
    }
    .map(drop)
}

/// Writes one change of the volume catalogue.
pub(super) fn write_volume(
    connection: &Connection,
    plugin: &str,
    change: &Change<Arc<VolumeRecord>>,
    version: Version,
) -> rusqlite::Result<()> {
    match &change.after {
        Some(record) => {
            let json = |result: serde_json::Result<String>| {
                result.map_err(|e| rusqlite::Error::ToSqlConversionFailure(Box::new(e)))
            };
            let options = json(serde_json::to_string(&record.options))?;
            let uses = json(serde_json::to_string(&record.uses))?;
            connection
                .prepare_cached(
                    "INSERT OR REPLACE INTO volume (plugin, name, created_at, options, directory, uses, version) \
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
                )?
                .execute(params![plugin, &*change.key, record.created_at, options, record.directory, uses, version])
        }
        None => remove(connection, "DELETE FROM volume WHERE plugin = ?1 AND name = ?2", plugin, &change.key),
    }
    .map(drop)
}

/// Writes one change of the directories.
pub(super) fn write_directory(
    connection: &Connection,
    plugin: &str,
    change: &Change<Arc<DirectoryRecord>>,
    version: Version,
) -> rusqlite::Result<()> {
    match &change.after {
        Some(record) => connection
            .prepare_cached("INSERT OR REPLACE INTO directory (plugin, key, id, version) VALUES (?1, ?2, ?3, ?4)")?
            .execute(params![plugin, &*change.key, record.id, version]),
        None => remove(connection, "DELETE FROM directory WHERE plugin = ?1 AND key = ?2", plugin, &change.key),
    }
    .map(drop)
}

/// Writes one change of the objects.
pub(super) fn write_object(
    connection: &Connection,
    plugin: &str,
    change: &Change<Arc<ObjectRecord>>,
    version: Version,
) -> rusqlite::Result<()> {
    match &change.after {
        Some(object) => connection
            .prepare_cached(
                "INSERT OR REPLACE INTO object (plugin, name, id, record, boot, made_at, version) \
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            )?
            .execute(params![
                plugin,
                &*change.key,
                object.id,
                object.record,
                object.boot,
                object.made_at,
                version
            ]),
        None => remove(
            connection,
            "DELETE FROM object WHERE plugin = ?1 AND name = ?2",
            plugin,
            &change.key,
        ),
    }
    .map(drop)
}

/// Records what has to be done to the machine.
pub(super) fn write_intent(
    connection: &Connection,
    plugin: &str,
    intent: &Intent,
) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "INSERT OR REPLACE INTO intent (id, number, plugin, record, redo) \
             VALUES (?1, (SELECT coalesce(max(number), 0) + 1 FROM intent), ?2, ?3, ?4)",
        )?
        .execute(params![intent.id, plugin, intent.record, intent.redo])
        .map(drop)
}

/// Records that it has been done.
pub(super) fn remove_intent(connection: &Connection, id: &str) -> rusqlite::Result<()> {
    connection
        .prepare_cached("DELETE FROM intent WHERE id = ?1")?
        .execute([id])
        .map(drop)
}

/// Everything that has still to be done to the machine, with the plugins it belongs to, in the order in which it was written down.
pub(super) fn intents(
    connection: &Connection,
    path: &Path,
) -> Result<Vec<(String, Intent)>, StoreError> {
    let read = || -> rusqlite::Result<Vec<(String, Intent)>> {
        let mut select = connection
            .prepare_cached("SELECT plugin, id, record, redo FROM intent ORDER BY number")?;
        let rows = select.query_map([], |row| {
            Ok((
                row.get(0)?,
                Intent {
                    id: row.get(1)?,
                    record: row.get(2)?,
                    redo: row.get(3)?,
                },
            ))
        })?;
        rows.collect()
    };
    read().map_err(|e| {
        StoreError::database(path, "list what has still to be done to the machine", &e)
    })
}

/// Writes a note about a call.
pub(super) fn write_note(
    connection: &Connection,
    plugin: &str,
    note: &Note,
) -> rusqlite::Result<()> {
    connection
        .prepare_cached("INSERT INTO note (plugin, call, note) VALUES (?1, ?2, ?3)")?
        .execute(params![plugin, note.call, note.note])
        .map(drop)
}

/// Drops all notes of a call.
pub(super) fn remove_notes_of(
    connection: &Connection,
    plugin: &str,
    call: &str,
) -> rusqlite::Result<()> {
    remove(
        connection,
        "DELETE FROM note WHERE plugin = ?1 AND call = ?2",
        plugin,
        call,
    )
    .map(drop)
}

/// Drops one note.
pub(super) fn remove_note(connection: &Connection, number: i64) -> rusqlite::Result<()> {
    connection
        .prepare_cached("DELETE FROM note WHERE number = ?1")?
        .execute([number])
        .map(drop)
}

/// All notes with the plugins that wrote them, oldest first.
pub(super) fn notes(
    connection: &Connection,
    path: &Path,
) -> Result<Vec<(String, Note)>, StoreError> {
    let read = || -> rusqlite::Result<Vec<(String, Note)>> {
        let mut select = connection
            .prepare_cached("SELECT plugin, number, call, note FROM note ORDER BY number")?;
        let rows = select.query_map([], |row| {
            Ok((
                row.get(0)?,
                Note {
                    number: row.get(1)?,
                    call: row.get(2)?,
                    note: row.get(3)?,
                },
            ))
        })?;
        rows.collect()
    };
    read().map_err(|e| StoreError::database(path, "list what calls left to be settled", &e))
}

/// Records that a directory is to be removed.
pub(super) fn add_doomed(connection: &Connection, plugin: &str, id: &str) -> rusqlite::Result<()> {
    let mut insert =
        connection.prepare_cached("INSERT OR IGNORE INTO doomed (plugin, id) VALUES (?1, ?2)")?;
    insert.execute([plugin, id]).map(drop)
}

/// Records that a directory is removed.
pub(super) fn remove_doomed(
    connection: &Connection,
    directory: &DoomedDirectory,
) -> rusqlite::Result<()> {
    remove(
        connection,
        "DELETE FROM doomed WHERE plugin = ?1 AND id = ?2",
        &directory.plugin,
        &directory.id,
    )
    .map(drop)
}

/// Sets or removes one of the host's notes.
pub(super) fn write_meta(
    connection: &Connection,
    plugin: &str,
    key: &str,
    value: Option<&str>,
) -> rusqlite::Result<()> {
    match value {
        Some(value) => connection
            .prepare_cached("INSERT OR REPLACE INTO meta (plugin, key, value) VALUES (?1, ?2, ?3)")?
            .execute([plugin, key, value]),
        None => remove(
            connection,
            "DELETE FROM meta WHERE plugin = ?1 AND key = ?2",
            plugin,
            key,
        ),
    }
    .map(drop)
}

/// Removes everything that is stored for a plugin.
pub(super) fn forget(connection: &Connection, plugin: &str) -> rusqlite::Result<()> {
    for table in OWNED {
        connection
            .prepare_cached(&format!("DELETE FROM {table} WHERE plugin = ?1"))?
            .execute([plugin])?;
    }
    Ok(())
}

fn remove(
    connection: &Connection,
    delete: &str,
    plugin: &str,
    key: &str,
) -> rusqlite::Result<usize> {
    connection.prepare_cached(delete)?.execute([plugin, key])
}
