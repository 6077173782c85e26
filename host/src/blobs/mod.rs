//! Named pieces of data in stores that the operator names: directories, and buckets of S3 servers. It knows nothing of wasm.
//!
//! A blob is there as a whole or not at all, and it is durable when `put` has answered. Its name is checked before any store sees it.

mod directory;
mod name;
mod s3;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;

use crate::config::{BlobStore, Plugin};
use crate::ledger::blocking;
use crate::machine::{ErrorKind, MachineError};
use crate::outbound::{HttpError, Secrets, System};
use directory::Directory;
pub use name::{Name, Prefix};
use s3::S3;

/// The largest blob, in bytes: it is in memory as a whole, here and in the guest.
pub const MAX_BLOB: usize = 16 << 20;

/// How many blobs one listing can have: they are copied into a guest's memory.
pub const MAX_LISTED: usize = 100_000;

/// What is known of a blob.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlobInfo {
    /// Its name.
    pub name: String,
    /// Its length in bytes.
    pub size: u64,
    /// When it was written, in milliseconds since 1970 by the store's clock.
    pub modified: u64,
}

/// The stores of one plugin, by their names.
#[derive(Debug, Clone, Default)]
pub struct Stores(BTreeMap<String, Arc<Store>>);

/// A store.
#[derive(Debug)]
pub enum Store {
    /// Files below a directory.
    Directory(Directory),
    /// Objects in a bucket.
    S3(Box<S3>),
}

impl Stores {
    /// The stores that a plugin's settings grant. Reads the files that they name, and neither directories nor servers.
    ///
    /// # Errors
    /// When a file cannot be used.
    pub fn new(settings: &Plugin, secrets: &Arc<dyn Secrets>) -> Result<Stores, HttpError> {
        let granted = settings.grants.blobs.iter().flat_map(|blobs| &blobs.0);
        let stores = granted.map(|(name, store)| {
            let store = match store {
                BlobStore::Directory(path) => Store::Directory(Directory::new(path)),
                BlobStore::S3(place) => Store::S3(Box::new(
                    S3::new(place, Arc::clone(secrets), Arc::new(System)).map_err(|error| {
                        HttpError {
                            message: format!("grants.blobs.{name}: {}", error.message),
                            ..error
                        }
                    })?,
                )),
            };
            Ok((name.to_string(), Arc::new(store)))
        });
        Ok(Stores(stores.collect::<Result<_, _>>()?))
    }

    /// A store by its name.
    pub fn get(&self, name: &str) -> Option<Arc<Store>> {
        self.0.get(name).cloned()
    }

    /// The names of all stores, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }
}

impl Store {
    /// Writes a blob, in the place of one of that name.
    ///
    /// # Errors
    /// When it is too large or the store does not take it. Then the one before is still there.
    pub async fn put(
        self: &Arc<Store>,
        name: Name,
        data: Vec<u8>,
        deadline: Instant,
    ) -> Result<(), MachineError> {
        if data.len() > MAX_BLOB {
            return Err(MachineError::new(
                ErrorKind::Invalid,
                format!(
                    "a blob has at most {MAX_BLOB} bytes, and {name} would have {}",
                    data.len()
                ),
            ));
        }
        match self.as_ref() {
            Store::Directory(_) => self.file(move |files| files.put(&name, &data)).await,
            Store::S3(bucket) => bucket.put(&name, Bytes::from(data), deadline).await,
        }
    }

    /// Reads a blob.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] when there is none; when it is larger than a blob can be, or the store does not answer.
    pub async fn get(
        self: &Arc<Store>,
        name: Name,
        deadline: Instant,
    ) -> Result<Vec<u8>, MachineError> {
        match self.as_ref() {
            Store::Directory(_) => self.file(move |files| files.get(&name)).await,
            Store::S3(bucket) => bucket.get(&name, deadline).await,
        }
    }

    /// Deletes a blob. One that is not there is no error.
    ///
    /// # Errors
    /// When the store does not do it.
    pub async fn delete(
        self: &Arc<Store>,
        name: Name,
        deadline: Instant,
    ) -> Result<(), MachineError> {
        match self.as_ref() {
            Store::Directory(_) => self.file(move |files| files.delete(&name)).await,
            Store::S3(bucket) => bucket.delete(&name, deadline).await,
        }
    }

    /// The blobs below a prefix, sorted by name.
    ///
    /// # Errors
    /// [`ErrorKind::Exhausted`] when there are more than [`MAX_LISTED`]; when the store does not answer.
    pub async fn list(
        self: &Arc<Store>,
        prefix: Prefix,
        deadline: Instant,
    ) -> Result<Vec<BlobInfo>, MachineError> {
        let mut found = match self.as_ref() {
            Store::Directory(_) => self.file(move |files| files.list(&prefix)).await?,
            Store::S3(bucket) => bucket.list(&prefix, deadline).await?,
        };
        found.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(found)
    }

    /// Does something with the files, on a thread that may wait for the disk.
    async fn file<T: Send + 'static>(
        self: &Arc<Store>,
        work: impl FnOnce(&Directory) -> Result<T, MachineError> + Send + 'static,
    ) -> Result<T, MachineError> {
        let store = Arc::clone(self);
        blocking(move || match store.as_ref() {
            Store::Directory(files) => work(files),
            Store::S3(_) => Err(MachineError::new(ErrorKind::Other, "it is no directory")),
        })
        .await
    }
}

/// The error for a listing that is too long.
fn too_many(prefix: &Prefix) -> MachineError {
    MachineError::new(
        ErrorKind::Exhausted,
        format!("there are more than {MAX_LISTED} blobs below {prefix:?}: list them in parts"),
    )
}
