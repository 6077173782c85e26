//! What is stored for one plugin, in memory, and the records that it is made of.

use std::fmt;
use std::sync::Arc;

use parking_lot::RwLock;

use super::table::{Change, Row, Table};

/// A value of `wasi:keyvalue`.
pub type Value = Arc<[u8]>;

/// One volume of the catalogue: its driver has acknowledged `create` and not yet `remove`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VolumeRecord {
    /// The name that Docker gave it, byte for byte.
    pub name: String,
    /// When it was created, in seconds since 1970.
    pub created_at: i64,
    /// The options that it was created with, in Docker's order.
    pub options: Vec<(String, String)>,
    /// [`DirectoryRecord::id`] of its mountpoint, as far as the driver has said where that is.
    pub directory: Option<String>,
    /// Who uses it now.
    pub uses: Vec<VolumeUse>,
}

/// A use of a volume that Docker has announced by `Mount` and not yet ended by `Unmount`.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct VolumeUse {
    /// Docker's ID of it.
    pub id: String,
    /// How often the engine has mounted under this ID.
    pub count: u32,
    /// The engine process that did. An engine that was killed ends no uses.
    pub engine: EngineProcess,
    /// Docker's ID of the relay that it came through, if it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub relay: Option<String>,
}

/// A process that speaks to a plugin's socket: an engine, usually.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct EngineProcess {
    /// Its process ID; 0 when the kernel does not say.
    pub pid: u32,
    /// When it was started, in clock ticks since the machine was: tells it from a later process of the same ID.
    pub started: u64,
    /// Which start of the machine that was (`/proc/sys/kernel/random/boot_id`).
    pub boot: String,
}

impl EngineProcess {
    /// A name that no other process has or had; empty if the process is not known.
    pub fn name(&self) -> String {
        match self.pid {
            0 => String::new(),
            pid => format!("{}/{pid}/{}", self.boot, self.started),
        }
    }
}

/// One thing that the host made on the machine for a plugin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectRecord {
    /// What it is and the driver's key for it: `mount/KEY`.
    pub name: String,
    /// The name that the host chose. Never used twice.
    pub id: String,
    /// How to make it and how to take it away, as JSON. Only the ledger reads it.
    pub record: String,
    /// Which start of the machine it was made in.
    pub boot: String,
    /// When it was made, in seconds since 1970.
    pub made_at: i64,
}

/// What has still to be done to the machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Intent {
    /// The host's name for it.
    pub id: String,
    /// As [`ObjectRecord::record`].
    pub record: String,
    /// Whether it is to be done, and not to be undone.
    pub redo: bool,
}

/// What would settle a call on other machines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// Its number in the store; 0 as long as it has none.
    pub number: i64,
    /// The call's key.
    pub call: String,
    /// The driver's own text.
    pub note: Vec<u8>,
}

/// One directory that the host made for a plugin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirectoryRecord {
    /// The name that the driver chose: any text, never a path.
    pub key: String,
    /// The name that the host chose: the file name below the plugin's root. Never used twice for one plugin.
    pub id: String,
}

/// A directory whose removal is committed, and whose files may still be there.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct DoomedDirectory {
    /// The plugin whose directory it was.
    pub plugin: String,
    /// [`DirectoryRecord::id`].
    pub id: String,
}

/// Limits of what one plugin may store. What is there already stays when a limit is lowered; it only cannot grow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quota {
    /// All keys and values together, in bytes of their contents.
    pub max_bytes: u64,
    /// Number of keys.
    pub max_keys: u64,
    /// Length of one value in bytes.
    pub max_value_bytes: u64,
    /// Length of one key in bytes of its UTF-8 form.
    pub max_key_bytes: u64,
    /// Number of directories; also how many directories one call may make again in the place of others that it removed.
    pub max_directories: u64,
}

impl Default for Quota {
    /// Enough for a hundred thousand leases, and little enough that a thousand plugins fit into memory.
    fn default() -> Self {
        Self {
            max_bytes: 16 << 20,
            max_keys: 100_000,
            max_value_bytes: 1 << 20,
            // Docker passes volume names of 5,000 characters on, and drivers make keys of them.
            max_key_bytes: 32 << 10,
            max_directories: 10_000,
        }
    }
}

/// What a plugin's keys and values take. The volume catalogue and the directories do not count: they are the host's.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Bytes of all keys and values.
    pub bytes: u64,
    /// Number of keys.
    pub keys: u64,
}

impl Usage {
    /// What one key with its value adds.
    pub(super) fn entry(key: &str, value: &[u8]) -> u64 {
        key.len() as u64 + value.len() as u64
    }

    /// Counts a write that takes the place of `before`.
    pub(super) fn count(&mut self, key: &str, before: Option<&Value>, after: Option<&Value>) {
        if let Some(value) = before {
            self.bytes = self.bytes.saturating_sub(Self::entry(key, value));
            self.keys = self.keys.saturating_sub(1);
        }
        if let Some(value) = after {
            self.bytes = self.bytes.saturating_add(Self::entry(key, value));
            self.keys = self.keys.saturating_add(1);
        }
    }
}

/// Everything that is stored for one plugin, as one commit left it. Cloning it costs a few reference counts, whatever its size.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    pub(super) keys: Table<Value>,
    pub(super) volumes: Table<Arc<VolumeRecord>>,
    pub(super) directories: Table<Arc<DirectoryRecord>>,
    pub(super) objects: Table<Arc<ObjectRecord>>,
    pub(super) usage: Usage,
    /// Counts the commits that change what the state means. See [`Transaction::supersede`](super::Transaction::supersede).
    pub(super) era: u64,
}

impl Snapshot {
    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.keys.get(key)
    }

    /// All keys and values, in order of the keys' bytes.
    pub fn keys(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.keys.iter().map(|(key, value)| (&**key, value))
    }

    /// The volume catalogue, in order of the names' bytes.
    pub fn volumes(&self) -> impl Iterator<Item = &Arc<VolumeRecord>> {
        self.volumes.iter().map(|(_, record)| record)
    }

    /// One volume of the catalogue.
    pub fn volume(&self, name: &str) -> Option<&Arc<VolumeRecord>> {
        self.volumes.get(name)
    }

    /// All directories, in order of the keys' bytes.
    pub fn directories(&self) -> impl Iterator<Item = &Arc<DirectoryRecord>> {
        self.directories.iter().map(|(_, record)| record)
    }

    /// One directory.
    pub fn directory(&self, key: &str) -> Option<&Arc<DirectoryRecord>> {
        self.directories.get(key)
    }

    /// Everything that the host made on the machine for the plugin, in order of the names' bytes.
    pub fn objects(&self) -> impl Iterator<Item = &Arc<ObjectRecord>> {
        self.objects.iter().map(|(_, record)| record)
    }

    /// One thing that the host made on the machine for the plugin.
    pub fn object(&self, name: &str) -> Option<&Arc<ObjectRecord>> {
        self.objects.get(name)
    }

    /// What the keys and values take.
    pub fn usage(&self) -> Usage {
        self.usage
    }

    pub(super) fn count(&mut self, change: &Change<Value>) {
        let before = change.before.as_ref().map(|row| &row.value);
        self.usage.count(&change.key, before, change.after.as_ref());
    }
}

/// What is stored for one plugin. The store has one of these per name.
pub struct PluginState {
    name: String,
    current: RwLock<Snapshot>,
}

impl PluginState {
    pub(super) fn new(name: &str, loaded: Snapshot) -> Self {
        Self {
            name: name.to_owned(),
            current: RwLock::new(loaded),
        }
    }

    /// A plugin whose state is these keys and in no store: what is read and written there is never committed.
    pub fn apart(name: &str, keys: impl IntoIterator<Item = (String, Value)>) -> Self {
        let rows = keys.into_iter().map(|(key, value)| {
            let row = Row { value, version: 0 };
            (Arc::from(key), row)
        });
        let mut usage = Usage::default();
        let keys = Table::load(rows);
        keys.iter()
            .for_each(|(key, value)| usage.count(key, None, Some(value)));
        Self::new(
            name,
            Snapshot {
                keys,
                usage,
                ..Snapshot::default()
            },
        )
    }

    /// The plugin's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What the last commit left. It is durable.
    pub fn snapshot(&self) -> Snapshot {
        self.current.read().clone()
    }

    pub(super) fn publish(&self, next: Snapshot) {
        let last = std::mem::replace(&mut *self.current.write(), next);
        // Freed after the lock is given back: it can be the last reference to much.
        drop(last);
    }
}

impl fmt::Debug for PluginState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PluginState")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}
