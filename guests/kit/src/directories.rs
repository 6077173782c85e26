//! Directories below the plugin's own root (`dockside:host/directories`). Needs the grant `directories`.
//!
//! A directory is known by a key: any text, usually the volume's name. It is never a path. What a call makes is gone again when
//! the call fails, and what it removes is still there.
//!
//! ```
//! use dockside_driver::{ErrorCode, directories::{self, Attributes}};
//!
//! let attributes = Attributes { uid: Some(1000), mode: Some(0o700), ..Attributes::default() };
//! let directory = directories::create("../any text", attributes)?;
//! assert_eq!(directory.key(), "../any text");
//! assert_eq!(directories::open("else").unwrap_err().code(), ErrorCode::NotFound);
//! directories::remove("../any text")?;
//! # Ok::<(), dockside_driver::Error>(())
//! ```

use crate::{Error, Refusal, Result, sys};

/// A directory that the host made for this plugin. Where it is only the host knows.
#[derive(Debug)]
pub struct Directory(pub(crate) sys::Directory);

impl Directory {
    /// The key that it was made under.
    pub fn key(&self) -> String {
        self.0.key()
    }
}

/// Owner and mode of a new directory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Attributes {
    /// User ID; none is the daemon's own.
    pub uid: Option<u32>,
    /// Group ID; none is the daemon's own.
    pub gid: Option<u32>,
    /// Permission bits, at most `0o7777`; none is `0o755`.
    pub mode: Option<u32>,
}

/// Why the host did not do what was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
// The host in memory refuses less.
#[cfg_attr(not(target_family = "wasm"), allow(dead_code))]
pub(crate) enum Reason {
    NotFound,
    AlreadyExists,
    InUse,
    QuotaExceeded,
    Other(String),
}

impl Reason {
    fn about(self, key: &str) -> Error {
        let (refusal, text) = match self {
            Self::NotFound => (
                Refusal::NotFound,
                format!("there is no directory for {key:?}"),
            ),
            Self::AlreadyExists => (
                Refusal::AlreadyExists,
                format!("there is a directory for {key:?} already"),
            ),
            Self::InUse => (
                Refusal::InUse,
                format!("something is mounted in the directory of {key:?}"),
            ),
            Self::QuotaExceeded => (
                Refusal::Exhausted,
                format!("no directory for {key:?}: the operator's limit on directories is reached"),
            ),
            Self::Other(text) => (Refusal::Other, text),
        };
        Error::refused(refusal, text)
    }
}

/// Makes an empty directory. There must be none of that key.
pub fn create(key: &str, attributes: Attributes) -> Result<Directory> {
    sys::create_directory(key, attributes)
        .map(Directory)
        .map_err(|reason| reason.about(key))
}

/// Finds a directory. There must be one of that key: the error is `not-found` otherwise.
pub fn open(key: &str) -> Result<Directory> {
    sys::open_directory(key)
        .map(Directory)
        .map_err(|reason| reason.about(key))
}

/// Removes a directory with everything in it, once the call has succeeded. Refused while anything is mounted in it.
pub fn remove(key: &str) -> Result<()> {
    sys::remove_directory(key).map_err(|reason| reason.about(key))
}

/// The keys of all directories of this plugin, sorted.
pub fn keys() -> Result<Vec<String>> {
    Ok(sys::directory_keys())
}
