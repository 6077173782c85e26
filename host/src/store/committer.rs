//! The one thread that writes the database. What waits while it writes becomes the next group, and a group costs one fsync.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::Receiver;

use rusqlite::Connection;
use tokio::sync::oneshot;

use super::state::{DoomedDirectory, Intent, Note, PluginState, Snapshot, Value};
use super::table::Version;
use super::transaction::Transaction;
use super::{StoreError, database};
use crate::failpoint;

/// Most commits in one group. It bounds what one failing member makes the others wait for.
const MAX_GROUP: usize = 256;

/// What became of a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub enum Outcome {
    /// It is durable and visible.
    Committed {
        /// What [`Store::restore`](super::Store::restore) needs to put the state keys back that it wrote.
        undo: Vec<UndoKey>,
    },
    /// Something that it read has changed, or it would exceed a quota together with what was committed meanwhile. Nothing is written.
    Conflict,
}

/// One key that a transaction wrote, and what was there before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UndoKey {
    key: Arc<str>,
    before: Option<Value>,
    /// The commit that wrote it; `None` if it removed the key.
    written: Option<Version>,
}

impl UndoKey {
    /// The key.
    pub fn key(&self) -> &str {
        &self.key
    }
}

/// One thing to write.
pub(super) enum Work {
    Commit(Box<Transaction>),
    Restore {
        plugin: Arc<PluginState>,
        undo: Vec<UndoKey>,
    },
    Forget {
        plugin: Arc<PluginState>,
    },
    SetMeta {
        plugin: String,
        key: String,
        value: Option<String>,
    },
    ForgetDoomed(Vec<DoomedDirectory>),
    Intend {
        plugin: String,
        intent: Intent,
    },
    Settle(Vec<String>),
    Note {
        plugin: String,
        note: Note,
    },
    ForgetNote(i64),
    /// Whatever a test wants done in the middle of a group.
    #[cfg(test)]
    Test(Box<dyn Fn(&Connection) + Send>),
}

impl Work {
    /// For an error text.
    fn describe(&self) -> String {
        match self {
            Self::Commit(transaction) => format!(
                "write the state of plugin {:?}",
                transaction.plugin().name()
            ),
            Self::Restore { plugin, .. } => {
                format!("put back the state of plugin {:?}", plugin.name())
            }
            Self::Forget { plugin } => {
                format!("remove what is stored for plugin {:?}", plugin.name())
            }
            Self::SetMeta { plugin, key, .. } => {
                format!("write the note {key:?} of plugin {plugin:?}")
            }
            Self::ForgetDoomed(_) => "write which directories are removed".to_owned(),
            Self::Intend { plugin, .. } => {
                format!("write down what is about to be done to the machine for plugin {plugin:?}")
            }
            Self::Settle(_) => "write down what was done to the machine".to_owned(),
            Self::Note { plugin, .. } => format!("write down a note of plugin {plugin:?}"),
            Self::ForgetNote(_) => "write down that a call is settled".to_owned(),
            #[cfg(test)]
            Self::Test(_) => "run a test".to_owned(),
        }
    }
}

/// One thing to write, and who waits for it.
pub(super) struct Job {
    pub(super) work: Work,
    pub(super) reply: oneshot::Sender<Result<Outcome, StoreError>>,
}

pub(super) struct Committer {
    pub(super) connection: Connection,
    path: PathBuf,
    version: Version,
}

impl Committer {
    pub(super) fn new(connection: Connection, path: PathBuf) -> Result<Self, StoreError> {
        let version = database::last_version(&connection, &path)?;
        Ok(Self {
            connection,
            path,
            version,
        })
    }

    /// Writes until the last sender is gone, then brings the log into the database file.
    pub(super) fn run(mut self, jobs: &Receiver<Job>) {
        while let Ok(first) = jobs.recv() {
            let rest = jobs.try_iter().take(MAX_GROUP - 1);
            let (work, replies): (Vec<_>, Vec<_>) = std::iter::once(first)
                .chain(rest)
                .map(|job| (job.work, job.reply))
                .unzip();
            let results = catch_unwind(AssertUnwindSafe(|| self.group(&work))).unwrap_or_else(|_| {
                tracing::error!("a commit group panicked; its callers get an error and the committer goes on");
                vec![Err(StoreError::Internal); work.len()]
            });
            for (reply, result) in replies.into_iter().zip(results) {
                // A caller that no longer waits has been cancelled; its commit stands.
                let _ = reply.send(result);
            }
        }
        let checkpoint = self
            .connection
            .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
        if let Err(error) = checkpoint {
            tracing::warn!(%error, path = %self.path.display(), "the database keeps its log; the next start reads it");
        }
    }

    /// Writes a group: all of it in one database transaction, or, if that fails, each member in its own.
    pub(super) fn group(&mut self, work: &[Work]) -> Vec<Result<Outcome, StoreError>> {
        let error = match self.attempt(work) {
            Ok(outcomes) => return outcomes.into_iter().map(Ok).collect(),
            Err(error) => error,
        };
        tracing::error!(%error, commits = work.len(), "a commit failed");
        if work.len() == 1 || !error.may_be_one_write() {
            return vec![Err(error); work.len()];
        }
        work.chunks(1)
            .map(|one| {
                let outcome = self.attempt(one)?.pop();
                outcome.ok_or(StoreError::Internal)
            })
            .collect()
    }

    fn attempt(&mut self, work: &[Work]) -> Result<Vec<Outcome>, StoreError> {
        let what = match work {
            [one] => one.describe(),
            _ => format!("write {} commits", work.len()),
        };
        let written = self.write(work);
        let (staged, outcomes) = written.map_err(|error| {
            self.roll_back();
            StoreError::database(&self.path, what, &error)
        })?;
        self.version = staged.version;
        for (plugin, snapshot) in staged.plugins.into_values() {
            plugin.publish(snapshot);
        }
        Ok(outcomes)
    }

    fn write(&mut self, work: &[Work]) -> rusqlite::Result<(Staged, Vec<Outcome>)> {
        if !self.connection.is_autocommit() {
            // Left by a panic.
            self.connection.execute_batch("ROLLBACK")?;
        }
        self.connection.execute_batch("BEGIN IMMEDIATE")?;
        let mut staged = Staged {
            version: self.version,
            plugins: HashMap::new(),
        };
        let outcomes = work
            .iter()
            .map(|one| staged.add(&self.connection, one))
            .collect::<rusqlite::Result<_>>()?;
        if staged.version != self.version {
            database::set_last_version(&self.connection, staged.version)?;
        }
        visit("commit.before")?;
        self.connection.execute_batch("COMMIT")?;
        // It is durable: only a kill can come between.
        let _ = failpoint::hit("commit.after");
        Ok((staged, outcomes))
    }

    fn roll_back(&mut self) {
        // SQLite itself has rolled back after some errors.
        if !self.connection.is_autocommit()
            && let Err(error) = self.connection.execute_batch("ROLLBACK")
        {
            tracing::error!(%error, "a failed commit cannot be rolled back; the next commit tries again");
        }
    }
}

/// A visit of a failpoint, where the disk may be full or broken.
fn visit(place: &str) -> rusqlite::Result<()> {
    failpoint::hit(place).map_err(|error| {
        let full = error.kind() == std::io::ErrorKind::StorageFull;
        let code = if full {
            rusqlite::ffi::SQLITE_FULL
        } else {
            rusqlite::ffi::SQLITE_IOERR
        };
        rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(code), Some(error.to_string()))
    })
}

/// What the plugins will be when the group is durable.
struct Staged {
    version: Version,
    plugins: HashMap<String, (Arc<PluginState>, Snapshot)>,
}

impl Staged {
    fn add(&mut self, connection: &Connection, work: &Work) -> rusqlite::Result<Outcome> {
        let version = self.version + 1;
        let undo = match work {
            Work::Commit(transaction) => {
                let Some(undo) = self.commit(connection, transaction, version)? else {
                    return Ok(Outcome::Conflict);
                };
                undo
            }
            Work::Restore { plugin, undo } => {
                self.restore(connection, plugin, undo, version)?;
                Vec::new()
            }
            Work::Forget { plugin } => {
                let mut empty = self.snapshot(plugin);
                empty.keys.clear(version);
                empty.volumes.clear(version);
                empty.directories.clear(version);
                empty.objects.clear(version);
                empty.usage = super::Usage::default();
                database::forget(connection, plugin.name())?;
                self.stage(plugin, empty);
                Vec::new()
            }
            Work::SetMeta { plugin, key, value } => {
                database::write_meta(connection, plugin, key, value.as_deref())?;
                Vec::new()
            }
            Work::ForgetDoomed(directories) => {
                for directory in directories {
                    database::remove_doomed(connection, directory)?;
                }
                Vec::new()
            }
            Work::Intend { plugin, intent } => {
                database::write_intent(connection, plugin, intent)?;
                Vec::new()
            }
            Work::Settle(ids) => {
                for id in ids {
                    database::remove_intent(connection, id)?;
                }
                Vec::new()
            }
            Work::Note { plugin, note } => {
                database::write_note(connection, plugin, note)?;
                Vec::new()
            }
            Work::ForgetNote(number) => {
                database::remove_note(connection, *number)?;
                Vec::new()
            }
            #[cfg(test)]
            Work::Test(run) => {
                run(connection);
                Vec::new()
            }
        };
        self.version = version;
        Ok(Outcome::Committed { undo })
    }

    /// `None` is a conflict.
    fn commit(
        &mut self,
        connection: &Connection,
        transaction: &Transaction,
        version: Version,
    ) -> rusqlite::Result<Option<Vec<UndoKey>>> {
        let plugin = transaction.plugin();
        let before = self.snapshot(plugin);
        if transaction.conflicts_with(&before) {
            return Ok(None);
        }
        let mut after = before.clone();
        after.era += u64::from(transaction.supersedes);
        let keys = transaction.keys.apply(&mut after.keys, version);
        for change in &keys {
            after.count(change);
        }
        let volumes = transaction.volumes.apply(&mut after.volumes, version);
        let directories = transaction
            .directories
            .apply(&mut after.directories, version);
        let objects = transaction.objects.apply(&mut after.objects, version);
        if transaction.exceeds_quota(&before, &after) {
            return Ok(None);
        }
        let name = plugin.name();
        for change in &keys {
            database::write_key(connection, name, change, version)?;
        }
        for change in &volumes {
            database::write_volume(connection, name, change, version)?;
        }
        for change in &directories {
            database::write_directory(connection, name, change, version)?;
        }
        for change in &objects {
            database::write_object(connection, name, change, version)?;
        }
        for id in &transaction.settled {
            database::remove_intent(connection, id)?;
        }
        for intent in &transaction.intents {
            database::write_intent(connection, name, intent)?;
        }
        if let Some(call) = &transaction.call {
            database::remove_notes_of(connection, name, call)?;
        }
        for id in &transaction.doomed {
            database::add_doomed(connection, name, id)?;
        }
        for (key, value) in &transaction.meta {
            database::write_meta(connection, name, key, value.as_deref())?;
        }
        self.stage(plugin, after);
        let undo = keys.into_iter().map(|change| UndoKey {
            written: change.after.is_some().then_some(version),
            before: change.before.map(|row| row.value),
            key: change.key,
        });
        Ok(Some(undo.collect()))
    }

    fn restore(
        &mut self,
        connection: &Connection,
        plugin: &Arc<PluginState>,
        undo: &[UndoKey],
        version: Version,
    ) -> rusqlite::Result<()> {
        let mut after = self.snapshot(plugin);
        // Calls of the version that is taken back may still run; they must not write in its way behind this.
        after.era += 1;
        for one in undo {
            if after.keys.version(&one.key) != one.written {
                continue;
            }
            if let Some(change) = after.keys.write(&one.key, one.before.clone(), version) {
                after.count(&change);
                database::write_key(connection, plugin.name(), &change, version)?;
            }
        }
        self.stage(plugin, after);
        Ok(())
    }

    fn snapshot(&self, plugin: &Arc<PluginState>) -> Snapshot {
        match self.plugins.get(plugin.name()) {
            Some((_, snapshot)) => snapshot.clone(),
            None => plugin.snapshot(),
        }
    }

    fn stage(&mut self, plugin: &Arc<PluginState>, snapshot: Snapshot) {
        self.plugins
            .insert(plugin.name().to_owned(), (plugin.clone(), snapshot));
    }
}
