//! What can go wrong: [`StoreError`] is for the operator, [`StateError`] for the driver and the user of `docker`.

use std::path::{Path, PathBuf};

use rusqlite::ErrorCode;

/// The store cannot do what it was asked.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// Another daemon holds the data directory.
    #[error(
        "the data directory {} is in use by {holder}. Stop that daemon, or give this one a directory of its own with --data",
        .directory.display()
    )]
    Locked {
        /// The data directory.
        directory: PathBuf,
        /// Process ID, start time and command line of the holder, as far as it has said so.
        holder: String,
    },

    /// The data directory is not safe to use.
    #[error("the data directory {} cannot be used: {reason}", .directory.display())]
    Directory {
        /// The data directory.
        directory: PathBuf,
        /// What is wrong with it and what to do.
        reason: String,
    },

    /// A newer dockside has written the database.
    #[error(
        "{} has schema version {found}, and this dockside knows versions up to {known}: a newer dockside wrote it. \
         Run that version or a later one, or give this one a directory of its own with --data",
        .path.display()
    )]
    NewerSchema {
        /// The database.
        path: PathBuf,
        /// The schema version that it has.
        found: i64,
        /// The newest schema version that this program knows.
        known: i64,
    },

    /// The file is a database, but not one of dockside's.
    #[error(
        "{} is not a database of dockside's. Move it away, or give this daemon a directory of its own with --data",
        .path.display()
    )]
    Foreign {
        /// The database.
        path: PathBuf,
    },

    /// A file or directory other than the database cannot be used.
    #[error("cannot {action} {}: {reason}", .path.display())]
    File {
        /// What was tried, as a verb: `open`, `lock`.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's reason.
        reason: String,
    },

    /// The database failed. What was to be written is not written, and what is in memory is as it was.
    #[error("cannot {action} in {}: {reason}. {advice}", .path.display())]
    Database {
        /// What was tried, for which plugin.
        action: String,
        /// The database.
        path: PathBuf,
        /// SQLite's reason.
        reason: String,
        /// What the operator can do about it.
        advice: &'static str,
        /// SQLite's class of the failure, if it has one.
        code: Option<ErrorCode>,
    },

    /// A record in the database makes no sense.
    #[error(
        "{} has a {record} of plugin {plugin:?} that cannot be read: {reason}. Restore the data directory from a backup, \
         or remove what is stored for the plugin",
        .path.display()
    )]
    Damaged {
        /// The database.
        path: PathBuf,
        /// Which kind of record, and its key.
        record: String,
        /// The plugin that it belongs to.
        plugin: String,
        /// What is wrong with it.
        reason: String,
    },

    /// A defect of dockside's own. Nothing was written, and later commits work.
    #[error(
        "a commit failed inside dockside, and nothing was written: please report the panic in its log"
    )]
    Internal,

    /// The committer has ended. Whether the commit was written is not known.
    #[error(
        "the store of the data directory has stopped, so nothing can be written: restart dockside and report its log"
    )]
    Stopped,
}

impl StoreError {
    /// A failure of the database while it did `action`.
    pub(super) fn database(
        path: &Path,
        action: impl Into<String>,
        error: &rusqlite::Error,
    ) -> Self {
        let code = error.sqlite_error_code();
        Self::Database {
            action: action.into(),
            path: path.to_path_buf(),
            reason: error.to_string(),
            advice: advice(code),
            code,
        }
    }

    /// A failure of the file system while it did `action`.
    pub(super) fn file(path: &Path, action: &'static str, error: &std::io::Error) -> Self {
        Self::File {
            action,
            path: path.to_path_buf(),
            reason: error.to_string(),
        }
    }

    /// Whether one write of several can be at fault, so that the others may succeed without it.
    pub(super) fn may_be_one_write(&self) -> bool {
        match self {
            Self::Database { code, .. } => !matches!(
                code,
                Some(
                    ErrorCode::DatabaseBusy
                        | ErrorCode::DatabaseLocked
                        | ErrorCode::ReadOnly
                        | ErrorCode::NotADatabase
                )
            ),
            _ => true,
        }
    }
}

fn advice(code: Option<ErrorCode>) -> &'static str {
    match code {
        Some(ErrorCode::DiskFull) => {
            "Nothing was written: free some space on that file system; no restart is needed"
        }
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            "Nothing was written: end the other program that has the database open for writing, for example a sqlite3 shell"
        }
        Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => {
            "Nothing was written: make the file and its file system writable for the daemon"
        }
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
            "Stop dockside and restore the data directory from a backup"
        }
        _ => {
            "Nothing was written: look in the kernel's log for errors of that file system; no restart is needed"
        }
    }
}

/// A driver's read or write of its own state is refused. The texts are fit for the user of `docker`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StateError {
    /// [`Quota::max_bytes`](super::Quota::max_bytes) would be exceeded.
    #[error(
        "the plugin's state is full: {} of {} used and {} more asked; raise [grants] state.max-bytes in its TOML file",
        size(*.used), size(*.limit), size(*.more)
    )]
    Bytes {
        /// Bytes in use, those of this call's own writes included.
        used: u64,
        /// The quota, in bytes.
        limit: u64,
        /// By how many bytes the refused write would grow the state.
        more: u64,
    },

    /// [`Quota::max_keys`](super::Quota::max_keys) would be exceeded.
    #[error(
        "the plugin's state is full: {limit} of {limit} keys used; raise [grants] state.max-keys in its TOML file"
    )]
    Keys {
        /// The quota.
        limit: u64,
    },

    /// The value is longer than [`Quota::max_value_bytes`](super::Quota::max_value_bytes).
    #[error(
        "a value of {} is too long for the plugin's state, which takes {}; raise [grants] state.max-value-bytes in its TOML file",
        size(*.length), size(*.limit)
    )]
    ValueTooLong {
        /// Length of the value in bytes.
        length: u64,
        /// The quota, in bytes.
        limit: u64,
    },

    /// The key is longer than [`Quota::max_key_bytes`](super::Quota::max_key_bytes).
    #[error(
        "a key of {} is too long for the plugin's state, which takes {}; raise [grants] state.max-key-bytes in its TOML file",
        size(*.length), size(*.limit)
    )]
    KeyTooLong {
        /// Length of the key in bytes.
        length: u64,
        /// The quota, in bytes.
        limit: u64,
    },

    /// [`Quota::max_directories`](super::Quota::max_directories) would be exceeded.
    #[error(
        "the plugin has all of its {limit} directories; raise [grants] directories.max in its TOML file"
    )]
    Directories {
        /// The quota.
        limit: u64,
    },

    /// `increment` of a key whose value is not a number.
    #[error("the value of the key {} is not a decimal number from 0 to {}, so it cannot be incremented", shown(.key), u64::MAX)]
    NotANumber {
        /// The key.
        key: String,
    },

    /// `increment` past the largest number.
    #[error("the value of the key {} cannot be incremented by {delta}: the sum would be larger than {}", shown(.key), u64::MAX)]
    Overflow {
        /// The key.
        key: String,
        /// What was to be added.
        delta: u64,
    },
}

/// A number of bytes in the largest unit that it fills, as it would be written in the TOML file if it is a round one.
fn size(bytes: u64) -> String {
    const UNITS: [(u64, &str); 3] = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    for (unit, name) in UNITS {
        if bytes >= unit {
            return if bytes.is_multiple_of(unit) {
                format!("{} {name}", bytes / unit)
            } else {
                format!("{:.1} {name}", bytes as f64 / unit as f64)
            };
        }
    }
    format!("{bytes} bytes")
}

/// A key for an error text: escaped, and cut where nobody would read on.
fn shown(key: &str) -> String {
    const LONGEST: usize = 80;
    match key.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{:?}…", key.get(..end).unwrap_or_default()),
        None => format!("{key:?}"),
    }
}
