//! Blobs: named pieces of data in stores that the operator names (`dockside:host/blobs`). Needs the grant `blobs`.
//!
//! ```
//! # dockside_driver::testing::grant_store("backup");
//! use dockside_driver::blobs;
//!
//! blobs::put("backup", "lists/first", b"a b c")?;
//! assert_eq!(blobs::get("backup", "lists/first")?, b"a b c");
//! assert_eq!(blobs::list("backup", "lists/")?.len(), 1);
//! # Ok::<(), dockside_driver::Error>(())
//! ```
//!
//! A blob is written as a whole or not at all. What a call does here is not undone if the call fails: name blobs by what is in them, and write
//! last what makes the others count.
//!
//! A name is made of parts with slashes between them. A part has lower-case letters, digits, `-`, `.` and `_`, and does not begin with a dot; the
//! whole has at most 512 bytes.

use crate::{Result, sys};

/// What is known of a blob.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlobInfo {
    /// Its name.
    pub name: String,
    /// Its length in bytes.
    pub size: u64,
    /// When it was written, in milliseconds since 1970 by the store's clock.
    pub modified: u64,
}

/// The names of the stores, sorted.
pub fn stores() -> Vec<String> {
    sys::blob_stores()
}

/// Writes a blob of at most 16 MiB, in the place of one of that name. It is durable when this returns.
pub fn put(store: &str, name: &str, data: &[u8]) -> Result<()> {
    sys::put_blob(store, name, data)
}

/// Reads a blob. There must be one of that name: the error is `not-found` otherwise.
pub fn get(store: &str, name: &str) -> Result<Vec<u8>> {
    sys::get_blob(store, name)
}

/// Deletes a blob. One that is not there is no error.
pub fn delete(store: &str, name: &str) -> Result<()> {
    sys::delete_blob(store, name)
}

/// The blobs whose names begin with the parts of `prefix`, which is empty or ends with a slash; sorted by name. At most 100,000.
pub fn list(store: &str, prefix: &str) -> Result<Vec<BlobInfo>> {
    sys::list_blobs(store, prefix)
}
