//! The pools, and the file that they are read back from: one line for each change, written before the call is answered.
//! A process that is killed loses nothing; a machine that loses power may.

use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::io::Write;
use std::net::IpAddr;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::pool::Pool;

/// A change.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Entry {
    /// An engine has greeted the plugin.
    Epoch(u64),
    /// A pool is now so.
    Pool(String, Box<Pool>),
    /// A pool is no more.
    Gone(String),
    /// An address is held, for the engine of that epoch.
    Held(String, IpAddr, u64),
    /// An address is free.
    Freed(String, IpAddr),
}

/// The pools by their IDs.
#[derive(Debug)]
pub(super) struct Journal {
    file: File,
    pub(super) pools: BTreeMap<String, Pool>,
    pub(super) epoch: u64,
    pub(super) ahead: Ahead,
}

/// Addresses that were taken from the store before they were asked for.
#[derive(Debug, Default)]
pub(super) struct Ahead(BTreeMap<String, VecDeque<IpAddr>>);

impl Ahead {
    pub(super) fn push(&mut self, id: &str, address: IpAddr) {
        self.0.entry(id.to_owned()).or_default().push_back(address);
    }

    pub(super) fn pop_front_of(&mut self, id: &str) -> Option<IpAddr> {
        self.0.get_mut(id)?.pop_front()
    }
}

impl Journal {
    pub(super) fn open(path: &Path) -> Result<Self, String> {
        let problem = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(problem(&error)),
        };
        // A line without an end belongs to a call that was not answered.
        let whole = text.rfind('\n').map_or(0, |end| end + 1);
        let file = File::options()
            .create(true)
            .append(true)
            .open(path)
            .map_err(|error| problem(&error))?;
        file.set_len(whole as u64)
            .map_err(|error| problem(&error))?;
        let mut journal = Self {
            file,
            pools: BTreeMap::new(),
            epoch: 0,
            ahead: Ahead::default(),
        };
        for line in text.get(..whole).unwrap_or_default().lines() {
            journal.apply(serde_json::from_str(line).map_err(|error| problem(&error))?);
        }
        Ok(journal)
    }

    pub(super) fn write(&mut self, entry: Entry) -> Result<(), String> {
        let mut line = serde_json::to_vec(&entry).map_err(|error| error.to_string())?;
        line.push(b'\n');
        let before = self.file.metadata().map_err(unwritten)?.len();
        if let Err(error) = self.file.write_all(&line) {
            // A part of a line must not stand before the next one.
            self.file.set_len(before).map_err(unwritten)?;
            return Err(unwritten(error));
        }
        self.apply(entry);
        Ok(())
    }

    pub(super) fn apply(&mut self, entry: Entry) {
        match entry {
            Entry::Epoch(epoch) => self.epoch = epoch,
            Entry::Pool(id, pool) => {
                self.pools.insert(id, *pool);
            }
            Entry::Gone(id) => {
                self.pools.remove(&id);
                self.ahead.0.remove(&id);
            }
            Entry::Held(id, address, epoch) => {
                if let Some(pool) = self.pools.get_mut(&id) {
                    pool.hold(address, epoch);
                }
            }
            Entry::Freed(id, address) => {
                if let Some(pool) = self.pools.get_mut(&id) {
                    pool.free(address);
                }
            }
        }
    }

    pub(super) fn forget(&mut self) -> Result<(), String> {
        let ids: Vec<String> = self.pools.keys().cloned().collect();
        ids.into_iter()
            .try_for_each(|id| self.write(Entry::Gone(id)))
    }
}

fn unwritten(error: std::io::Error) -> String {
    format!("the journal: {error}")
}
