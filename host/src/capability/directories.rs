//! `dockside:host/directories`: directories that the host makes below the plugin's own root.
//!
//! The key is the driver's, the path is the host's: a random name below the plugin's root, so that nothing that a user types ever becomes a
//! path. A directory made by a call that fails is removed again; one removed by a call is deleted only after the call has been committed.

use std::fs::File;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use wasmtime::component::Resource;

use super::held::answered;
use crate::catalog::directory_root;
use crate::ledger::{Kind, remove_unused, take_back};
use crate::machine::mounts::mounted_below;
use crate::sandbox::CallContext;
use crate::sandbox::bindings::host::dockside::host::directories::{
    Attributes, Error, Host, HostDirectory,
};
use crate::store::{DirectoryRecord, DoomedDirectory, StateError, Store, StoreError, Transaction};
use crate::trace::Handle;

/// A directory that the host made for the plugin that is called: one of its own, or the mount point of one of its mounts.
#[derive(Debug, Clone)]
pub struct DirectoryHandle {
    /// The driver's key for it.
    pub key: String,
    /// Where it is.
    pub path: PathBuf,
    /// By what it is known.
    pub proof: Proof,
}

/// The host's own name of what a handle stands for. A key can be used again in the same call; this cannot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Proof {
    /// Of a directory.
    Directory(String),
    /// Of a mount.
    Mount(String),
}

impl DirectoryHandle {
    /// Whether the plugin still has it, as far as this call is concerned.
    pub fn is_held(&self, transaction: &mut Transaction) -> bool {
        match &self.proof {
            Proof::Directory(id) => transaction
                .directory(&self.key)
                .is_some_and(|record| record.id == *id),
            Proof::Mount(id) => transaction
                .object(&Kind::Mount.name(&self.key))
                .is_some_and(|object| object.id == *id),
        }
    }
}

impl Handle for DirectoryHandle {
    fn show(&self) -> Value {
        let (proof, id) = match &self.proof {
            Proof::Directory(id) => ("directory", id),
            Proof::Mount(id) => ("mount", id),
        };
        json!({ "key": self.key, "path": self.path, proof: id })
    }

    fn restore(value: &Value) -> Option<DirectoryHandle> {
        let text = |name| Some(value.get(name)?.as_str()?.to_owned());
        Some(DirectoryHandle {
            key: text("key")?,
            path: text("path")?.into(),
            proof: match text("mount") {
                Some(id) => Proof::Mount(id),
                None => Proof::Directory(text("directory")?),
            },
        })
    }
}

/// A directory that was just made, until the call knows of it: the call may run out of time while the disk is slow.
struct Made(Option<PathBuf>);

impl Drop for Made {
    fn drop(&mut self) {
        if let Some(path) = self.0.take() {
            take_back(&path);
        }
    }
}

impl CallContext {
    fn root(&self) -> Result<PathBuf, Error> {
        self.environment.directories.clone().ok_or_else(|| {
            Error::Other(format!(
                "plugin {} has no grant for directories: add `directories = {{}}` under [grants] in its TOML file",
                self.environment.plugin
            ))
        })
    }

    fn directories(&mut self) -> Result<&mut Transaction, Error> {
        self.transaction.as_mut().ok_or_else(|| {
            Error::Other("there are no directories while the component is asked what it is".into())
        })
    }
}

impl Host for CallContext {
    async fn create(
        &mut self,
        key: String,
        attributes: Attributes,
    ) -> wasmtime::Result<Result<Resource<DirectoryHandle>, Error>> {
        let created = async {
            let root = self.root()?;
            let transaction = self.directories()?;
            if transaction.directory(&key).is_some() {
                return Err(Error::AlreadyExists);
            }
            let record = DirectoryRecord {
                key,
                id: hex::encode(rand::random::<[u8; 16]>()),
            };
            let path = root.join(&record.id);
            transaction
                .put_directory(record.clone())
                .map_err(|error| match error {
                    StateError::Directories { .. } => Error::QuotaExceeded,
                    error => Error::Other(error.to_string()),
                })?;
            let made = path.clone();
            let made = blocking(move || {
                make(&root, &made, attributes)?;
                Ok(Made(Some(made)))
            })
            .await;
            let mut made = match made {
                Ok(made) => made,
                Err(error) => {
                    // The driver may go on and succeed all the same: then there must be no record of it.
                    self.directories()?.remove_directory(&record.key);
                    return Err(error);
                }
            };
            if self.effects.created(path.clone()) {
                made.0.take();
            }
            Ok(DirectoryHandle {
                key: record.key,
                proof: Proof::Directory(record.id),
                path,
            })
        }
        .await;
        self.hand_out(created)
    }

    async fn open(
        &mut self,
        key: String,
    ) -> wasmtime::Result<Result<Resource<DirectoryHandle>, Error>> {
        let found = self.root().and_then(|root| {
            let record = self.directories()?.directory(&key).ok_or(Error::NotFound)?;
            let path = root.join(&record.id);
            Ok(DirectoryHandle {
                key,
                proof: Proof::Directory(record.id.clone()),
                path,
            })
        });
        self.hand_out(found)
    }

    async fn remove(&mut self, key: String) -> wasmtime::Result<Result<(), Error>> {
        let removed = async {
            let root = self.root()?;
            let record = self.directories()?.directory(&key).ok_or(Error::NotFound)?;
            let path = root.join(&record.id);
            let shown = self
                .shown_by(&path)
                .map_err(|error| Error::Other(error.message))?;
            if shown.is_some() {
                return Err(Error::InUse);
            }
            blocking(move || {
                let mounts = mounted_below(&path).map_err(|error| Error::Other(error.message))?;
                if !mounts.is_empty() {
                    return Err(Error::InUse);
                }
                Ok(())
            })
            .await?;
            self.directories()?.remove_directory(&key);
            self.effects.removes_directory();
            Ok(())
        }
        .await;
        answered(removed)
    }

    async fn list_keys(&mut self) -> wasmtime::Result<Vec<String>> {
        answered(
            self.transaction
                .as_mut()
                .map(|transaction| {
                    transaction
                        .directories()
                        .into_iter()
                        .map(|record| record.key.clone())
                        .collect()
                })
                .unwrap_or_default(),
        )
    }
}

impl HostDirectory for CallContext {
    async fn key(&mut self, directory: Resource<DirectoryHandle>) -> wasmtime::Result<String> {
        answered(self.table.get(&directory)?.key.clone())
    }

    async fn drop(&mut self, directory: Resource<DirectoryHandle>) -> wasmtime::Result<()> {
        self.table.delete(directory)?;
        Ok(())
    }
}

impl CallContext {
    fn hand_out(
        &mut self,
        directory: Result<DirectoryHandle, Error>,
    ) -> wasmtime::Result<Result<Resource<DirectoryHandle>, Error>> {
        match directory {
            Ok(directory) => answered(Ok(self.table.push(directory)?)),
            Err(error) => answered(Err(error)),
        }
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|_| Err(Error::Other("the operation was interrupted".into())))
}

fn make(root: &Path, path: &Path, attributes: Attributes) -> Result<(), Error> {
    let failed = |error: std::io::Error| {
        Error::Other(format!(
            "cannot make a directory in {}: {error}",
            root.display()
        ))
    };
    if attributes.mode.is_some_and(|mode| mode > 0o7777) {
        return Err(Error::Other("a mode has at most 12 bits: 7777".into()));
    }
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o711)
        .create(root)
        .map_err(failed)?;
    std::fs::DirBuilder::new()
        .mode(0o700)
        .create(path)
        .map_err(failed)?;
    let finish = || -> std::io::Result<()> {
        if attributes.uid.is_some() || attributes.gid.is_some() {
            std::os::unix::fs::lchown(path, attributes.uid, attributes.gid)?;
        }
        // After the change of owner, which clears the set-id bits.
        let mode = attributes.mode.unwrap_or(0o755);
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))?;
        // The name must be on the disk before the record that points to it.
        File::open(root)?.sync_all()
    };
    finish().map_err(|error| {
        let _ = std::fs::remove_dir(path);
        failed(error)
    })
}

/// Deletes the directories whose removal was committed. A directory that cannot be deleted yet is tried again at the next start.
pub async fn sweep(store: Store, data: PathBuf) {
    let result = async {
        let doomed = store.doomed()?;
        let gone = tokio::task::spawn_blocking(move || delete(&data, doomed)).await;
        store.forget_doomed(&gone.unwrap_or_default()).await
    };
    if let Err(error) = result.await {
        tracing::warn!(%error, "removed directories could not be deleted yet");
    }
}

/// Deletes what it can and returns it.
fn delete(data: &Path, doomed: Vec<DoomedDirectory>) -> Vec<DoomedDirectory> {
    let mut gone = Vec::new();
    for directory in doomed {
        let path = directory_root(data, &directory.plugin).join(&directory.id);
        // Never through a mount: what is below belongs to somebody else.
        match mounted_below(&path) {
            Ok(mounts) if mounts.is_empty() => {}
            Ok(_) => {
                tracing::warn!(path = %path.display(), "something is mounted in a removed directory: it stays for now");
                continue;
            }
            Err(error) => {
                tracing::warn!(%error, "the mount table cannot be read: removed directories stay for now");
                continue;
            }
        }
        match std::fs::remove_dir_all(&path) {
            Ok(()) => gone.push(directory),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => gone.push(directory),
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "a removed directory could not be deleted yet");
            }
        }
    }
    gone
}

/// After a start, before any call: the directories that no plugin knows.
///
/// # Errors
/// When the store cannot be read.
pub fn unknown(store: &Store, data: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let mut unknown = Vec::new();
    for plugin in store.plugin_names()? {
        let snapshot = store.plugin(&plugin)?.snapshot();
        let root = directory_root(data, &plugin);
        let Ok(entries) = std::fs::read_dir(&root) else {
            continue;
        };
        let known: std::collections::HashSet<&str> = snapshot
            .directories()
            .map(|record| record.id.as_str())
            .collect();
        for entry in entries.flatten() {
            let name = entry.file_name();
            if !name.to_str().is_some_and(|name| known.contains(name)) {
                unknown.push(entry.path());
            }
        }
    }
    Ok(unknown)
}

/// Finishes the removals that were committed before the start, and takes back the directories of calls that were not: those that are
/// [`unknown`].
pub async fn tidy(store: Store, data: PathBuf, unknown: Vec<PathBuf>) {
    sweep(store, data).await;
    let removed = tokio::task::spawn_blocking(move || {
        for path in unknown {
            match remove_unused(&path) {
                Ok(()) => {
                    tracing::info!(path = %path.display(), "removed the directory of a call that was not finished")
                }
                // With something in it, it is not ours to judge.
                Err(error) => tracing::warn!(
                    path = %path.display(), %error,
                    "no plugin knows this directory; it is kept, look into it and remove it by hand"
                ),
            }
        }
    });
    let _ = removed.await;
}
