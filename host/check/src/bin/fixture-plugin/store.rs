//! The plugin's state: one JSON document, on disk before a call is answered.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

/// A document in a file.
#[derive(Debug)]
pub(crate) struct Store {
    path: PathBuf,
}

impl Store {
    pub(crate) fn new(dir: &Path, name: &str) -> Self {
        Self {
            path: dir.join(format!("{name}.json")),
        }
    }

    /// What was saved last; the default if nothing was.
    pub(crate) fn load<T: DeserializeOwned + Default>(&self) -> Result<T, String> {
        match std::fs::read(&self.path) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map_err(|error| format!("{}: {error}", self.path.display())),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(T::default()),
            Err(error) => Err(format!("{}: {error}", self.path.display())),
        }
    }

    /// Saves whole or not at all.
    pub(crate) fn save<T: Serialize>(&self, value: &T) -> Result<(), String> {
        let next = self.path.with_extension("next");
        let write = || -> std::io::Result<()> {
            let mut file = File::create(&next)?;
            file.write_all(&serde_json::to_vec(value)?)?;
            file.sync_data()?;
            std::fs::rename(&next, &self.path)
        };
        write().map_err(|error| {
            let _ = std::fs::remove_file(&next);
            format!("{}: {error}", self.path.display())
        })
    }
}
