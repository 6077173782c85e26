//! What plugins hold on the machine, and what has still to be done to it.
//!
//! An effect is written down before it is performed, with everything that is needed to take it back. The commit of the call that made it
//! turns it into an object of the plugin, in the same durable write as the call's state; whatever is not committed is undone, after a crash by
//! the next start. What a call ends is undone behind its commit, under an intent of that same commit.

mod effect;
mod effects;
mod inventory;
mod recover;
mod revive;

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

pub use effect::{Effect, Kind, Secrets, relay_of};
pub use effects::{Effects, Given, Guard, blocking, remove_unused, take_back};
pub use inventory::{Finding, Health, Item, Probed, Repair};
pub use recover::{Fact, Fate};
pub use revive::Revival;

use crate::catalog::plugin_root;
use crate::config;
use crate::machine::{ErrorKind, MachineError, kept};
use crate::store::{Intent, ObjectRecord, Store};

/// The ledger of the daemon.
#[derive(Debug)]
pub struct Ledger {
    store: Store,
    /// The data directory.
    data: PathBuf,
    /// Where helper programs keep what must not outlive the machine's memory. Root's only.
    runtime: PathBuf,
    /// Which start of the machine this is.
    boot: String,
    /// Intents of calls that are under way: nobody else may undo them.
    live: Mutex<HashSet<String>>,
    /// Keys of calls that are under way: nobody may settle them.
    calls: Mutex<HashSet<String>>,
    /// What plugins have still to be told, by name.
    facts: Mutex<HashMap<String, Vec<Fact>>>,
    /// Whose turn it is to make a dead mount again, by plugin and key.
    remaking: Mutex<HashMap<(String, String), Arc<Turn>>>,
    /// Things that one call at a time may change, by their IDs.
    turns: Mutex<HashMap<String, Weak<Turn>>>,
    /// How mounts did when they were looked at last, by plugin and key.
    health: Mutex<HashMap<(String, String), Health>>,
}

impl Ledger {
    /// The ledger of a store.
    pub fn new(store: Store, runtime: PathBuf, boot: &str) -> Arc<Ledger> {
        Arc::new(Ledger {
            data: store.directory().to_owned(),
            store,
            runtime,
            boot: boot.to_owned(),
            live: Mutex::default(),
            calls: Mutex::default(),
            facts: Mutex::default(),
            remaking: Mutex::default(),
            turns: Mutex::default(),
            health: Mutex::default(),
        })
    }

    /// The store.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Which start of the machine this is.
    pub fn boot(&self) -> &str {
        &self.boot
    }

    /// Where a new mount of a plugin goes.
    pub fn mount_point(&self, plugin: &str, id: &str) -> PathBuf {
        plugin_root(&self.data, "mounts", plugin).join(id)
    }

    /// Where a new disk image of a plugin goes.
    pub fn image_file(&self, plugin: &str, id: &str) -> PathBuf {
        plugin_root(&self.data, "images", plugin).join(format!("{id}.img"))
    }

    /// Where a secret of a plugin's goes that the host keeps.
    pub fn secret_file(&self, plugin: &str, id: &str) -> PathBuf {
        plugin_root(&self.data, "secrets", plugin).join(id)
    }

    /// Where helper programs of a plugin write down which keys of servers they have taken for good.
    pub fn learned_hosts(&self, plugin: &str) -> PathBuf {
        let directory = plugin_root(Path::new(""), "", plugin);
        // ssh would take a % for the beginning of a word to be replaced. No name of a plugin has a = in it.
        let directory = directory.to_string_lossy().replace('%', "=");
        self.data
            .join("known-hosts")
            .join(directory)
            .join("known_hosts")
    }

    /// Reads a secret of a plugin: one of the operator's, or one that the host keeps.
    ///
    /// # Errors
    /// When there is none of that name, or it cannot be read.
    pub fn secret(
        &self,
        plugin: &str,
        settings: &config::Plugin,
        name: &str,
    ) -> Result<Vec<u8>, MachineError> {
        match kept::id_in(name) {
            Some(id) => Ok(kept::read(&self.secret_file(plugin, id))?.to_vec()),
            None => effects::resolve(settings, name),
        }
    }

    /// The record of something that was just made.
    ///
    /// # Errors
    /// When it cannot be written as JSON, which a path that is not UTF-8 would do.
    pub fn record(
        &self,
        kind: Kind,
        key: &str,
        id: &str,
        effect: &Effect,
    ) -> Result<ObjectRecord, MachineError> {
        Ok(ObjectRecord {
            name: kind.name(key),
            id: id.to_owned(),
            record: encode(effect)?,
            boot: self.boot.clone(),
            made_at: jiff::Timestamp::now().as_second(),
        })
    }

    /// Begins a call under a new key: until the value is dropped nobody settles what the call notes.
    pub fn begin(self: &Arc<Self>) -> CallKey {
        let key = mint();
        self.calls.lock().insert(key.clone());
        CallKey {
            ledger: Arc::clone(self),
            key,
        }
    }

    /// The turn to change something.
    fn turn(&self, id: &str) -> Arc<Turn> {
        let mut turns = self.turns.lock();
        if let Some(turn) = turns.get(id).and_then(Weak::upgrade) {
            return turn;
        }
        turns.retain(|_, turn| turn.strong_count() > 0);
        let turn = Arc::new(Turn::new(()));
        turns.insert(id.to_owned(), Arc::downgrade(&turn));
        turn
    }

    /// Whether a call is under way.
    pub fn is_live(&self, call: &str) -> bool {
        self.calls.lock().contains(call)
    }

    /// Records that intents are done with. If that fails they are done once more, which changes nothing.
    async fn settled(&self, ids: Vec<String>) {
        let result = self.store.settle(ids.clone()).await;
        let mut live = self.live.lock();
        for id in &ids {
            live.remove(id);
        }
        if let Err(error) = result {
            tracing::warn!(%error, "what was done to the machine cannot be written down; it is done once more later");
        }
    }

    /// Does, or undoes, what a commit left to be done.
    async fn carry_out(self: &Arc<Self>, plugin: &str, intents: Vec<Intent>) {
        let ledger = Arc::clone(self);
        let name = plugin.to_owned();
        let ids: Vec<String> = intents.iter().map(|intent| intent.id.clone()).collect();
        let done = tokio::task::spawn_blocking(move || ledger.carry_out_now(&name, &intents)).await;
        match done {
            Ok(done) => self.settled(done).await,
            // A fault of the host's: the next retry does them all once more.
            Err(_) => self.live.lock().retain(|id| !ids.contains(id)),
        }
    }

    /// Returns the IDs of those that are done with.
    fn carry_out_now(&self, plugin: &str, intents: &[Intent]) -> Vec<String> {
        let mut done = Vec::new();
        for intent in intents {
            let effect = match decode(&intent.record) {
                Ok(effect) => effect,
                Err(error) => {
                    tracing::error!(plugin, %error, intent = %intent.id, "an intent cannot be read; it is left alone");
                    self.live.lock().remove(&intent.id);
                    continue;
                }
            };
            let result = if intent.redo {
                let no_secrets = |name: &str| {
                    let text = format!("the secret {name:?} is not at hand");
                    Err(MachineError::new(ErrorKind::Other, text))
                };
                let deadline = std::time::Instant::now() + std::time::Duration::from_secs(600);
                effect.perform(&self.runtime, &no_secrets, deadline)
            } else {
                effect.undo(&self.runtime)
            };
            match result {
                Ok(()) => done.push(intent.id.clone()),
                // What was to grow has been deleted since.
                Err(_) if matches!(&effect, Effect::Grow(growth) if !growth.file.exists()) => {
                    done.push(intent.id.clone());
                }
                Err(error) => {
                    self.live.lock().remove(&intent.id);
                    tracing::warn!(
                        plugin, %error, effect = %effect.describe(),
                        "{} is not possible yet; it is tried again",
                        if intent.redo { "what a call left to be done" } else { "the clean-up" }
                    );
                }
            }
        }
        done
    }
}

/// What a call holds that changes something nobody else may change meanwhile.
type Turn = tokio::sync::Mutex<()>;

/// A call that is under way.
#[derive(Debug)]
pub struct CallKey {
    ledger: Arc<Ledger>,
    key: String,
}

impl CallKey {
    /// The key.
    pub fn as_str(&self) -> &str {
        &self.key
    }
}

impl Drop for CallKey {
    fn drop(&mut self) {
        self.ledger.calls.lock().remove(&self.key);
    }
}

/// A name for something on the machine: 32 random hex digits.
pub fn mint() -> String {
    hex::encode(rand::random::<[u8; 16]>())
}

/// Writes a record.
///
/// # Errors
/// When it cannot be JSON: a path in it is not UTF-8.
pub fn encode(effect: &Effect) -> Result<String, MachineError> {
    serde_json::to_string(effect).map_err(|error| {
        MachineError::new(
            ErrorKind::Invalid,
            format!("what is to be done to the machine cannot be written down: {error}"),
        )
    })
}

/// Reads a record.
///
/// # Errors
/// When it was written by a version of dockside that knows other effects.
pub fn decode(record: &str) -> Result<Effect, MachineError> {
    serde_json::from_str(record).map_err(|error| {
        MachineError::new(
            ErrorKind::Other,
            format!("the record of something on the machine cannot be read: {error}"),
        )
    })
}
