//! What the plugin knows of its volumes: one document for each, on disk before a call is answered.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use dockside_check::bench::invariants::Process;
use serde::{Deserialize, Serialize};

use crate::store::Store;

/// A volume.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) name: String,
    pub(crate) options: BTreeMap<String, String>,
    /// Seconds since 1970.
    pub(crate) created: u64,
    pub(crate) uses: Vec<Use>,
}

/// Mounts that one engine asked for under one ID.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Use {
    pub(crate) id: String,
    /// The engine's process, if it could be seen.
    pub(crate) engine: Option<Process>,
    /// An engine mounts twice under one ID when it copies files of a running container.
    pub(crate) count: u32,
}

impl Use {
    /// Whether the engine that asked for it still runs. One that cannot be seen is believed to.
    pub(crate) fn is_current(&self) -> bool {
        self.engine
            .is_none_or(|engine| Process::of(engine.pid) == Some(engine))
    }
}

/// The documents, below one directory.
pub(crate) struct Records {
    dir: PathBuf,
}

impl Records {
    pub(crate) fn new(dir: PathBuf) -> Self {
        Self { dir }
    }

    pub(crate) fn load(&self) -> Result<BTreeMap<String, Record>, String> {
        let mut all = BTreeMap::new();
        for path in entries(&self.dir)? {
            if path.extension().is_none_or(|extension| extension != "json") {
                let _ = std::fs::remove_file(path);
                continue;
            }
            let stem = path.file_stem().unwrap_or_default().to_string_lossy();
            let record: Record = Store::new(&self.dir, &stem).load()?;
            all.insert(record.name.clone(), record);
        }
        Ok(all)
    }

    pub(crate) fn save(&self, record: &Record) -> Result<(), String> {
        Store::new(&self.dir, &encoded(&record.name)).save(record)
    }

    pub(crate) fn delete(&self, name: &str) -> Result<(), String> {
        let path = self.dir.join(format!("{}.json", encoded(name)));
        std::fs::remove_file(&path).map_err(|error| format!("{}: {error}", path.display()))
    }
}

/// The name of a volume as the name of a file: no two names share one, and none means anything to the file system.
pub(crate) fn encoded(name: &str) -> String {
    if name.is_empty() {
        return "%".into();
    }
    name.bytes()
        .map(|byte| match byte {
            b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' | b'-' | b'_' => char::from(byte).to_string(),
            _ => format!("%{byte:02x}"),
        })
        .collect()
}

/// What lies in a directory.
pub(crate) fn entries(dir: &Path) -> Result<Vec<PathBuf>, String> {
    let read = |error: std::io::Error| format!("{}: {error}", dir.display());
    std::fs::read_dir(dir)
        .map_err(read)?
        .map(|entry| entry.map(|entry| entry.path()).map_err(read))
        .collect()
}
