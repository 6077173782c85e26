//! Files of the machine, to be read (`dockside:host/files`). Needs the grant `files`.
//!
//! The operator names sets: each is one file, or a directory with everything below it. A driver names a set and a file in it, never a path of the
//! machine. A file may change between two reads, and be half written when it is read: nothing of it belongs to the call's transaction.
//!
//! ```
//! use dockside_driver::{files, state};
//!
//! # dockside_driver::testing::put_file("policies", "a.rego", b"package a");
//! let stamp = files::stamp("policies")?;
//! if state::get("stamp")? != Some(stamp) {
//!     for file in files::list("policies")? {
//!         let text = files::read_text("policies", &file.name)?;
//!     }
//!     state::set("stamp", &stamp)?;
//! }
//! # Ok::<(), dockside_driver::Error>(())
//! ```

use crate::{Error, Result, sys};

/// A file of a set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileInfo {
    /// Its name in the set, with `/` between directory and file; empty for a set that is one file.
    pub name: String,
    /// Its length in bytes.
    pub size: u64,
    /// A number that is another one whenever the file has changed.
    pub stamp: u64,
}

/// All files of a set, sorted by name. The error is `not-found` when the file or the directory of the set is not there.
pub fn list(set: &str) -> Result<Vec<FileInfo>> {
    sys::list_files(set)
}

/// What is in a file. The name is one that [`list`] gives: empty for a set that is one file. The error is `not-found` when there is no such file.
pub fn read(set: &str, name: &str) -> Result<Vec<u8>> {
    sys::read_file(set, name)
}

/// What is in a file that has to be text.
pub fn read_text(set: &str, name: &str) -> Result<String> {
    String::from_utf8(read(set, name)?).map_err(|error| {
        Error::invalid(format!(
            "the file {name:?} of {set:?} is no text: {}",
            error.utf8_error()
        ))
    })
}

/// A number that is another one whenever anything in the set has changed. Reads no file. The error is `not-found` as for [`list`].
pub fn stamp(set: &str) -> Result<u64> {
    sys::stamp(set)
}

/// Where an absolute path of the machine leads with all its symbolic links followed, whatever of it does not exist kept as it is. Needs `resolve`
/// in the grant.
pub fn resolve_path(path: &str) -> Result<String> {
    sys::resolve_path(path)
}
