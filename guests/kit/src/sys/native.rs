use std::{
    cell::RefCell,
    collections::{BTreeMap, hash_map::RandomState},
    hash::{BuildHasher, Hasher},
};

mod blobs;
mod files;
mod images;
mod links;
mod mounts;
mod nat;
mod outside;

pub(crate) use self::{blobs::*, files::*, images::*, links::*, mounts::*, nat::*, outside::*};

use crate::{
    Error, KeyValues, Refusal, Result,
    directories::{Attributes, Reason},
    http::{Request, Response},
    log::Level,
    testing,
};

/// How many keys one page holds: few enough that a test can fill several.
const PAGE: usize = 1000;

/// What a failed call leaves as it was.
#[derive(Clone, Default)]
pub(crate) struct Machine {
    pub(crate) state: BTreeMap<String, Vec<u8>>,
    pub(crate) directories: BTreeMap<String, Attributes>,
    pub(crate) mounts: BTreeMap<String, testing::Mount>,
    /// Directories of the machine outside of the plugin's own.
    pub(crate) paths: BTreeMap<String, Attributes>,
    /// Those of them that are held, by key.
    pub(crate) made_paths: BTreeMap<String, String>,
    pub(crate) images: BTreeMap<String, testing::Image>,
    pub(crate) links: BTreeMap<String, testing::Link>,
    pub(crate) rules: BTreeMap<String, Vec<testing::Rule>>,
    pub(crate) kept: BTreeMap<String, Vec<u8>>,
}

type BlobJudge = Box<dyn FnMut(testing::BlobOperation, &str) -> Result<()>>;

type Answerer = Box<dyn FnMut(&Request) -> Result<Response>>;

/// What a plugin has on the host. One for each thread, so that tests do not meet.
#[derive(Default)]
pub(crate) struct Memory {
    pub(crate) machine: Machine,
    pub(crate) config: KeyValues,
    /// Whether the file system keeps no marks.
    pub(crate) unmarked: bool,
    pub(crate) secrets: BTreeMap<String, (Vec<u8>, bool)>,
    pub(crate) files: BTreeMap<String, Set>,
    /// Symbolic links of the machine: where each leads.
    pub(crate) paths: BTreeMap<String, String>,
    /// Names of secrets by the files that they are in.
    pub(crate) secret_files: BTreeMap<String, String>,
    pub(crate) log: Vec<(Level, String)>,
    pub(crate) calls: u64,
    /// Requests of the call.
    pub(crate) sent: u64,
    pub(crate) notes: Vec<Vec<u8>>,
    pub(crate) unsettled: Vec<(String, Vec<u8>)>,
    pub(crate) answerer: Option<Answerer>,
    pub(crate) requests: Vec<Request>,
    /// Blobs by store and name, each with the time of its writing.
    pub(crate) blobs: BTreeMap<String, BTreeMap<String, (Vec<u8>, u64)>>,
    pub(crate) blob_judge: Option<BlobJudge>,
    /// The time of day, if a test has set it.
    pub(crate) time: Option<u64>,
    names: u64,
}

impl Memory {
    /// A number that was not there before.
    pub(crate) fn next(&mut self) -> u64 {
        self.names += 1;
        self.names
    }
}

thread_local!(static MEMORY: RefCell<Memory> = RefCell::default());

pub(crate) fn memory<T>(operation: impl FnOnce(&mut Memory) -> T) -> T {
    MEMORY.with_borrow_mut(operation)
}

pub(crate) fn state_get(key: &str) -> Result<Option<Vec<u8>>> {
    memory(|memory| Ok(memory.machine.state.get(key).cloned()))
}

pub(crate) fn state_set(key: &str, value: &[u8]) -> Result<()> {
    memory(|memory| {
        memory
            .machine
            .state
            .insert(key.to_owned(), value.to_owned())
    });
    Ok(())
}

pub(crate) fn state_delete(key: &str) -> Result<()> {
    memory(|memory| memory.machine.state.remove(key));
    Ok(())
}

pub(crate) fn state_exists(key: &str) -> Result<bool> {
    memory(|memory| Ok(memory.machine.state.contains_key(key)))
}

pub(crate) fn state_keys(cursor: Option<u64>) -> Result<(Vec<String>, Option<u64>)> {
    memory(|memory| {
        let start = cursor.unwrap_or(0);
        let skipped = usize::try_from(start).unwrap_or(usize::MAX);
        let page: Vec<String> = memory
            .machine
            .state
            .keys()
            .skip(skipped)
            .take(PAGE)
            .cloned()
            .collect();
        let next = (page.len() == PAGE).then_some(start + PAGE as u64);
        Ok((page, next))
    })
}

pub(crate) fn state_increment(key: &str, delta: u64) -> Result<u64> {
    let old = match state_get(key)? {
        None => 0,
        Some(bytes) => serde_json::from_slice::<u64>(&bytes)
            .map_err(|_| Error::other(format!("{key:?} is no number")))?,
    };
    let sum = old
        .checked_add(delta)
        .ok_or_else(|| Error::other(format!("{key:?} grows too large")))?;
    state_set(key, sum.to_string().as_bytes())?;
    Ok(sum)
}

pub(crate) fn state_get_many(keys: Vec<String>) -> Result<Vec<(String, Vec<u8>)>> {
    memory(|memory| {
        Ok(keys
            .into_iter()
            .filter_map(|key| {
                memory
                    .machine
                    .state
                    .get(&key)
                    .cloned()
                    .map(|value| (key, value))
            })
            .collect())
    })
}

pub(crate) fn config_get(key: &str) -> Result<Option<String>> {
    memory(|memory| Ok(memory.config.get(key).map(str::to_owned)))
}

pub(crate) fn config_all() -> Result<KeyValues> {
    memory(|memory| Ok(memory.config.clone()))
}

pub(crate) fn log(level: Level, _context: &str, message: &str) {
    memory(|memory| memory.log.push((level, message.to_owned())));
}

pub(crate) fn now() -> u64 {
    memory(|memory| memory.time).unwrap_or_else(|| {
        std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .map_or(0, |since| since.as_secs())
    })
}

pub(crate) fn random_bytes(count: usize) -> Vec<u8> {
    std::iter::repeat_with(random_number)
        .flat_map(u64::to_be_bytes)
        .take(count)
        .collect()
}

pub(crate) fn random_number() -> u64 {
    // Each of them has keys of its own.
    RandomState::new().build_hasher().finish()
}

fn refuse<T>(refusal: Refusal, text: impl Into<String>) -> Result<T> {
    Err(Error::refused(refusal, text))
}

/// What a handle of a directory stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Directory {
    /// A directory of the plugin's own.
    Own(String),
    /// The mount point of a mount.
    Mount(String),
}

impl Directory {
    pub(crate) fn key(&self) -> String {
        let (Self::Own(key) | Self::Mount(key)) = self;
        key.clone()
    }
}

pub(crate) fn create_directory(key: &str, attributes: Attributes) -> Result<Directory, Reason> {
    memory(|memory| {
        let directories = &mut memory.machine.directories;
        if directories.contains_key(key) {
            return Err(Reason::AlreadyExists);
        }
        directories.insert(key.to_owned(), attributes);
        Ok(Directory::Own(key.to_owned()))
    })
}

pub(crate) fn open_directory(key: &str) -> Result<Directory, Reason> {
    memory(|memory| {
        let found = memory.machine.directories.contains_key(key);
        found
            .then(|| Directory::Own(key.to_owned()))
            .ok_or(Reason::NotFound)
    })
}

pub(crate) fn remove_directory(key: &str) -> Result<(), Reason> {
    memory(|memory| {
        let this = Directory::Own(key.to_owned());
        let uses = |mount: &testing::Mount| mount.directories.contains(&this);
        if memory.machine.mounts.values().any(uses) {
            return Err(Reason::InUse);
        }
        let removed = memory.machine.directories.remove(key);
        removed.map(drop).ok_or(Reason::NotFound)
    })
}

pub(crate) fn directory_keys() -> Vec<String> {
    memory(|memory| memory.machine.directories.keys().cloned().collect())
}
