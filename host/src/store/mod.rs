//! Durable state: one SQLite database for all plugins, and a picture of each plugin in memory.
//!
//! A call reads from a [`Snapshot`], which costs a few reference counts and never touches the disk, and buffers its writes in a
//! [`Transaction`]. [`Store::commit`] checks that what was read is unchanged and writes everything durably: one thread does
//! that, and what arrives while it writes shares the next fsync. Memory shows only what is durable.
//!
//! The database is `dockside.db` in the data directory, which one daemon at a time holds by a lock on the file `lock` there.
//! It can be read with `sqlite3` while the daemon runs. It must not be written: the daemon would not see that.

mod committer;
mod database;
mod error;
mod lock;
mod state;
mod table;
mod transaction;

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;

use parking_lot::{Mutex, RwLock};
use rusqlite::Connection;
use tokio::sync::oneshot;

use committer::{Committer, Job, Work};
use lock::DataLock;

pub use committer::{Outcome, UndoKey};
pub use error::{StateError, StoreError};
pub use state::{
    DirectoryRecord, DoomedDirectory, EngineProcess, Intent, Note, ObjectRecord, PluginState,
    Quota, Snapshot, Usage, Value, VolumeRecord, VolumeUse,
};
pub use transaction::{KeyPage, Transaction};

/// The durable state of all plugins. Clones share it.
///
/// Dropping the last clone waits for the commits that are under way, brings the log into the database file and gives the data
/// directory free.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    directory: PathBuf,
    path: PathBuf,
    plugins: RwLock<HashMap<String, Arc<PluginState>>>,
    reader: Mutex<Connection>,
    /// `None` only while it is dropped.
    jobs: Option<Sender<Job>>,
    committer: Option<JoinHandle<()>>,
    /// The last field, so that it is dropped when nothing uses the directory any more.
    _lock: DataLock,
}

impl Store {
    /// Opens the store in a data directory, and makes both if they are missing.
    ///
    /// # Errors
    /// Another daemon holds the directory; others than root and this user can write into it; the database was written by a newer
    /// dockside or is not dockside's; or a file cannot be opened.
    pub fn open(data_dir: &Path) -> Result<Self, StoreError> {
        lock::prepare_directory(data_dir)?;
        let lock = DataLock::acquire(data_dir)?;
        let path = data_dir.join("dockside.db");
        let connection = database::open(&path)?;
        // The names of the files that were just made must outlive a power cut too.
        File::open(data_dir)
            .and_then(|directory| directory.sync_all())
            .map_err(|e| StoreError::file(data_dir, "sync", &e))?;
        let reader = database::open_reader(&path)?;
        let committer = Committer::new(connection, path.clone())?;
        let (jobs, waiting) = channel();
        let committer = std::thread::Builder::new()
            .name("committer".to_owned())
            .spawn(move || committer.run(&waiting))
            .map_err(|e| StoreError::file(&path, "start the thread that writes", &e))?;
        Ok(Self {
            inner: Arc::new(Inner {
                directory: data_dir.to_path_buf(),
                path,
                plugins: RwLock::default(),
                reader: Mutex::new(reader),
                jobs: Some(jobs),
                committer: Some(committer),
                _lock: lock,
            }),
        })
    }

    /// The data directory.
    pub fn directory(&self) -> &Path {
        &self.inner.directory
    }

    /// What is stored for a plugin. The first call for a name reads it from the disk, later ones give the same object.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn plugin(&self, plugin: &str) -> Result<Arc<PluginState>, StoreError> {
        if let Some(state) = self.inner.plugins.read().get(plugin) {
            return Ok(state.clone());
        }
        // Held while the name is looked up again and loaded, so that a plugin is loaded once.
        let mut reader = self.inner.reader.lock();
        if let Some(state) = self.inner.plugins.read().get(plugin) {
            return Ok(state.clone());
        }
        let loaded = database::load(&mut reader, &self.inner.path, plugin)?;
        let state = Arc::new(PluginState::new(plugin, loaded));
        self.inner
            .plugins
            .write()
            .insert(plugin.to_owned(), state.clone());
        Ok(state)
    }

    /// The names of all plugins that have anything stored, sorted.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn plugin_names(&self) -> Result<Vec<String>, StoreError> {
        database::plugin_names(&self.inner.reader.lock(), &self.inner.path)
    }

    /// Writes what a transaction did. It is durable and visible when this returns [`Outcome::Committed`]; otherwise nothing is
    /// written. A transaction without writes costs nothing: all that it read was one state of the plugin.
    ///
    /// The commit goes on if the future is dropped.
    ///
    /// # Errors
    /// The database cannot be written. The store works again when the reason is gone.
    pub async fn commit(&self, transaction: Transaction) -> Result<Outcome, StoreError> {
        if transaction.is_read_only() {
            return Ok(Outcome::Committed { undo: Vec::new() });
        }
        self.submit(Work::Commit(Box::new(transaction))).await
    }

    /// Puts the keys back that one commit wrote, as far as no later commit has written them. Quotas do not apply.
    ///
    /// A key that the commit removed counts as not written since if it is not there, even if it was in between.
    ///
    /// # Errors
    /// The database cannot be read or written.
    pub async fn restore(&self, plugin: &str, undo: Vec<UndoKey>) -> Result<(), StoreError> {
        if undo.is_empty() {
            return Ok(());
        }
        let plugin = self.plugin(plugin)?;
        self.submit(Work::Restore { plugin, undo }).await.map(drop)
    }

    /// Removes everything that is stored for a plugin: state, volume catalogue, records of directories and notes.
    ///
    /// The files of its directories stay, because this is no order to delete users' data. Whoever wants that removes the
    /// directories in a transaction first; those that are doomed already stay so.
    ///
    /// # Errors
    /// The database cannot be read or written.
    pub async fn forget(&self, plugin: &str) -> Result<(), StoreError> {
        let plugin = self.plugin(plugin)?;
        self.submit(Work::Forget { plugin }).await.map(drop)
    }

    /// One of the host's own notes about a plugin; the empty name is for those about the daemon itself. Read from the disk.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn meta(&self, plugin: &str, key: &str) -> Result<Option<String>, StoreError> {
        database::meta(&self.inner.reader.lock(), &self.inner.path, plugin, key)
    }

    /// Sets or removes one of the host's own notes. Durable when it returns. See [`Transaction::set_meta`] for a note that belongs
    /// to a call's writes.
    ///
    /// # Errors
    /// The database cannot be written.
    pub async fn set_meta(
        &self,
        plugin: &str,
        key: &str,
        value: Option<&str>,
    ) -> Result<(), StoreError> {
        let work = Work::SetMeta {
            plugin: plugin.to_owned(),
            key: key.to_owned(),
            value: value.map(str::to_owned),
        };
        self.submit(work).await.map(drop)
    }

    /// The directories whose removal is committed and whose files may still be there, of all plugins.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn doomed(&self) -> Result<Vec<DoomedDirectory>, StoreError> {
        database::doomed(&self.inner.reader.lock(), &self.inner.path)
    }

    /// Records that the files of these directories are gone.
    ///
    /// # Errors
    /// The database cannot be written.
    pub async fn forget_doomed(&self, directories: &[DoomedDirectory]) -> Result<(), StoreError> {
        if directories.is_empty() {
            return Ok(());
        }
        self.submit(Work::ForgetDoomed(directories.to_vec()))
            .await
            .map(drop)
    }

    /// Writes down what is about to be done to the machine, so that it is undone if the daemon ends before a transaction
    /// [settles](Transaction::settle) it. Durable when it returns.
    ///
    /// # Errors
    /// The database cannot be written: then it must not be done.
    pub async fn intend(&self, plugin: &str, intent: Intent) -> Result<(), StoreError> {
        let plugin = plugin.to_owned();
        self.submit(Work::Intend { plugin, intent }).await.map(drop)
    }

    /// Writes down that intents have been carried out or undone.
    ///
    /// # Errors
    /// The database cannot be written: then they are carried out or undone once more.
    pub async fn settle(&self, ids: Vec<String>) -> Result<(), StoreError> {
        if ids.is_empty() {
            return Ok(());
        }
        self.submit(Work::Settle(ids)).await.map(drop)
    }

    /// What has still to be done to the machine, by plugin, in the order in which it was written down. Read from the disk.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn intents(&self) -> Result<Vec<(String, Intent)>, StoreError> {
        database::intents(&self.inner.reader.lock(), &self.inner.path)
    }

    /// Writes down what would settle a call on other machines. Durable when it returns, whatever becomes of the call; a commit that
    /// [settles the call](Transaction::settle_call) drops it.
    ///
    /// # Errors
    /// The database cannot be written.
    pub async fn note(&self, plugin: &str, note: Note) -> Result<(), StoreError> {
        let plugin = plugin.to_owned();
        self.submit(Work::Note { plugin, note }).await.map(drop)
    }

    /// All notes, by plugin, oldest first. Read from the disk.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn notes(&self) -> Result<Vec<(String, Note)>, StoreError> {
        database::notes(&self.inner.reader.lock(), &self.inner.path)
    }

    /// Drops a note that is settled.
    ///
    /// # Errors
    /// The database cannot be written: then it is settled once more.
    pub async fn forget_note(&self, number: i64) -> Result<(), StoreError> {
        self.submit(Work::ForgetNote(number)).await.map(drop)
    }

    async fn submit(&self, work: Work) -> Result<Outcome, StoreError> {
        let (reply, answer) = oneshot::channel();
        let jobs = self.inner.jobs.as_ref().ok_or(StoreError::Stopped)?;
        jobs.send(Job { work, reply })
            .map_err(|_| StoreError::Stopped)?;
        answer.await.map_err(|_| StoreError::Stopped)?
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        drop(self.jobs.take());
        if let Some(committer) = self.committer.take()
            && committer.join().is_err()
        {
            tracing::error!("the committer panicked; what it acknowledged is in the database");
        }
    }
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store")
            .field("directory", &self.inner.directory)
            .finish_non_exhaustive()
    }
}
