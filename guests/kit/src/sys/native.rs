use std::{cell::RefCell, collections::BTreeMap};

mod blobs;
mod calls;
mod directories;
pub(crate) mod faults;
mod files;
mod images;
mod links;
mod mounts;
mod nat;
mod outside;
mod process;
mod state;

pub(crate) use self::{
    calls::*, directories::Directory, files::Set, images::Image, links::Link, outside::Secret,
    process::set_random,
};

use crate::{
    Error, KeyValues, Refusal, Result,
    directories::Attributes,
    http::{Request, Response},
    log::Level,
    testing,
};

/// What a failed call leaves as it was.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
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
    /// Which directory each is, for one that is made again is another one.
    pub(crate) born: BTreeMap<String, u64>,
    names: u64,
}

type BlobJudge = Box<dyn FnMut(testing::BlobOperation, &str) -> Result<()>>;

type Answerer = Box<dyn FnMut(&Request) -> Result<Response>>;

type Other = Box<dyn FnOnce()>;

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
    /// Calls that have begun.
    pub(crate) calls: u64,
    /// Which of them is under way; 0 is none.
    pub(crate) call: u64,
    /// What the call loses against when it has succeeded.
    pub(crate) conflict: Option<Other>,
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
}

#[cfg(feature = "model")]
impl Machine {
    /// Makes the numbers that were drawn those of another machine.
    pub(crate) fn forget_numbers(&mut self, other: &Self) {
        self.names = other.names;
    }
}

impl Memory {
    /// A number that was not there before.
    pub(crate) fn next(&mut self) -> u64 {
        self.machine.names += 1;
        self.machine.names
    }
}

thread_local!(static MEMORY: RefCell<Memory> = RefCell::default());

pub(crate) fn memory<T>(operation: impl FnOnce(&mut Memory) -> T) -> T {
    MEMORY.with_borrow_mut(operation)
}

fn refuse<T>(refusal: Refusal, text: impl Into<String>) -> Result<T> {
    Err(Error::refused(refusal, text))
}
