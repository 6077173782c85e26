//! The drop-in directory decides what runs: read it, compare with what runs, make the difference disappear.

mod discovery;
mod files;
mod open;
mod reconcile;
mod relays;
mod scan;
mod watch;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

pub use files::component_version;
pub use scan::{Candidate, Refused, Scan, scan};
pub use watch::watch;

use crate::admin::report::Problem;
use crate::config::{Daemon, PluginName};
use crate::endpoint::{self, Owner};
use crate::ledger::{Finding, Item, Kind, Repair};
use crate::plugin::{Plugin, Shared, Standing};
use crate::sandbox::Sandbox;
use crate::store::StoreError;

/// Characters that stay as they are in the name of a plugin's directory.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'.').remove(b'_').remove(b'-');

/// Files that are read, hashed and linked at once.
const LOADING: usize = 4;

/// What runs, and what should.
pub struct Catalog {
    daemon: Daemon,
    sandbox: Arc<Sandbox>,
    shared: Shared,
    owner: Owner,
    entries: Mutex<BTreeMap<String, Entry>>,
    read: Mutex<reconcile::ReadFiles>,
    /// What each settings file asked for when it could be read: plugin names and driver.
    asked: Mutex<BTreeMap<String, (Vec<PluginName>, String)>>,
    problems: Mutex<Vec<Problem>>,
    /// Why a newer version or newer settings of a plugin are not used.
    notes: Mutex<BTreeMap<String, String>>,
    reconciling: tokio::sync::Mutex<()>,
    loading: tokio::sync::Semaphore,
    /// Listeners that nobody finds any more, with calls in flight.
    retired: Mutex<tokio::task::JoinSet<()>>,
}

impl std::fmt::Debug for Catalog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Catalog")
            .field("daemon", &self.daemon)
            .finish_non_exhaustive()
    }
}

struct Entry {
    plugin: Arc<Plugin>,
    open: Option<open::Open>,
}

/// Why a plugin was not forgotten.
#[derive(Debug, thiserror::Error)]
pub enum ForgetError {
    /// There is none.
    #[error("there is no plugin named {0:?}; `dockside ls` shows all")]
    Unknown(String),
    /// It holds something on the machine.
    #[error(
        "plugin {name} still holds this on the machine:\n  {holds}\nLet its driver release it (put the driver back and remove the volumes and networks), or take it away with `dockside forget --force {name}`, which deletes disk images with the data in them"
    )]
    Holds {
        /// The plugin.
        name: String,
        /// One line for each thing.
        holds: String,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Catalog {
    /// A catalog that has not looked yet.
    pub fn new(
        daemon: Daemon,
        sandbox: Arc<Sandbox>,
        shared: Shared,
        owner: Owner,
    ) -> Arc<Catalog> {
        Arc::new(Catalog {
            daemon,
            sandbox,
            shared,
            owner,
            entries: Mutex::default(),
            read: Mutex::default(),
            asked: Mutex::default(),
            problems: Mutex::default(),
            notes: Mutex::default(),
            reconciling: tokio::sync::Mutex::new(()),
            loading: tokio::sync::Semaphore::new(LOADING),
            retired: Mutex::default(),
        })
    }

    /// The directory of the drivers.
    pub fn drivers(&self) -> &Path {
        &self.daemon.drivers
    }

    /// Every plugin, by name.
    pub fn plugins(&self) -> Vec<Arc<Plugin>> {
        self.entries
            .lock()
            .values()
            .map(|entry| Arc::clone(&entry.plugin))
            .collect()
    }

    /// One plugin.
    pub fn plugin(&self, name: &str) -> Option<Arc<Plugin>> {
        self.entries
            .lock()
            .get(name)
            .map(|entry| Arc::clone(&entry.plugin))
    }

    /// Where a plugin listens: the path of its socket, or the address that Docker is told; and the file that tells it.
    pub fn address(&self, name: &str) -> Option<(String, Option<PathBuf>)> {
        let entries = self.entries.lock();
        let open = entries.get(name)?.open.as_ref()?;
        Some((open.address.clone(), open.file.clone()))
    }

    /// Files that are not used.
    pub fn problems(&self) -> Vec<Problem> {
        self.problems.lock().clone()
    }

    /// Why something newer of a plugin is not used.
    pub fn note(&self, name: &str) -> Option<String> {
        self.notes.lock().get(name).cloned()
    }

    /// See [`Sandbox::occupancy`].
    pub fn occupancy(&self) -> Option<(u64, usize)> {
        self.sandbox.occupancy()
    }

    /// Where the directories of a plugin are. The name is encoded, so that no name leads anywhere else.
    pub fn directory_root(&self, name: &str) -> PathBuf {
        directory_root(&self.daemon.data, name)
    }

    /// Lets go of what Docker was told of a plugin, and of its socket if its driver was removed. Its state and its directories are kept; what
    /// it holds on the machine is taken away with `force`.
    ///
    /// # Errors
    /// When there is no such plugin, it holds something, or the store fails.
    pub async fn forget(&self, name: &str, force: bool) -> Result<String, ForgetError> {
        let _one_at_a_time = self.reconciling.lock().await;
        let plugin = self
            .plugin(name)
            .ok_or_else(|| ForgetError::Unknown(name.to_owned()))?;
        let removed = matches!(&*plugin.standing(), Standing::Removed);
        let mut holds = self.holds(name);
        // They belong to its volumes, which stay.
        holds.retain(|item| item.kind != Kind::Secret);
        if removed && !holds.is_empty() {
            if !force {
                return Err(ForgetError::Holds {
                    name: name.to_owned(),
                    holds: holds
                        .iter()
                        .map(|item| format!("{} {}: {}", item.kind.word(), item.key, item.what))
                        .collect::<Vec<_>>()
                        .join("\n  "),
                });
            }
            self.shared.ledger.release(name).await?;
        }
        plugin.unpublish().await?;
        if !matches!(&*plugin.standing(), Standing::Removed) {
            return Ok(format!(
                "plugin {name} may now say other things of itself; engines that run still remember the old ones"
            ));
        }
        plugin.forget_calls();
        self.withdraw(name).await;
        let entry = self.entries.lock().remove(name);
        if let Some(open) = entry.and_then(|entry| entry.open) {
            open.endpoint.stop().await;
        }
        Ok(format!(
            "plugin {name} is forgotten; its state and its volumes are kept"
        ))
    }

    /// What a plugin holds on the machine.
    pub fn holds(&self, name: &str) -> Vec<Item> {
        self.shared.ledger.items(name).unwrap_or_default()
    }

    /// Compares what one plugin or all hold on the machine with what is there, and repairs it.
    ///
    /// # Errors
    /// When store or machine cannot be read.
    pub async fn repair(&self, name: Option<&str>, repair: Repair) -> anyhow::Result<Vec<Finding>> {
        let ledger = &self.shared.ledger;
        let mut findings = Vec::new();
        for plugin in self.plugins() {
            if name.is_some_and(|name| name != plugin.name()) {
                continue;
            }
            let version = plugin.version();
            let settings = version.as_ref().map(|version| &version.settings);
            findings.extend(ledger.reconcile(plugin.name(), settings, repair).await?);
            if let Some(version) = version.filter(|_| repair == Repair::Now) {
                plugin.tell(&version).await;
            }
        }
        if name.is_none() {
            findings.extend(ledger.strays(repair).await?);
        }
        Ok(findings)
    }

    /// Closes all sockets, after the calls in flight were answered.
    pub async fn stop(&self) {
        let open: Vec<(String, open::Open)> = self
            .entries
            .lock()
            .iter_mut()
            .filter_map(|(name, entry)| Some((name.clone(), entry.open.take()?)))
            .collect();
        let mut stopping = std::mem::take(&mut *self.retired.lock());
        for (name, open) in open {
            if open.file.is_some() {
                self.withdraw(&name).await;
            }
            stopping.spawn(open.endpoint.stop());
        }
        while stopping.join_next().await.is_some() {}
    }

    fn endpoint_limits(&self) -> endpoint::Limits {
        let limits = &self.daemon.limits;
        endpoint::Limits {
            header_deadline: limits.header_deadline,
            body_deadline: limits.body_deadline,
            max_body: usize::try_from(limits.max_body).unwrap_or(usize::MAX),
            max_authz_body: usize::try_from(limits.max_authz_body).unwrap_or(usize::MAX),
            connections: limits.max_connections as usize,
        }
    }
}

/// See [`Catalog::directory_root`].
pub fn directory_root(data: &Path, name: &str) -> PathBuf {
    plugin_root(data, "volumes", name)
}

/// Where the host keeps things of one kind for a plugin. The name is made into one segment.
pub fn plugin_root(data: &Path, what: &str, name: &str) -> PathBuf {
    data.join(what)
        .join(utf8_percent_encode(name, PLAIN).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_plugin_name_has_a_directory_of_its_own() {
        for (name, dir) in [
            ("files", "files"),
            ("vieux/sshfs", "vieux%2Fsshfs"),
            ("vieux%2Fsshfs", "vieux%252Fsshfs"),
            ("opa-docker-authz:readonly", "opa-docker-authz%3Areadonly"),
        ] {
            assert_eq!(
                directory_root(Path::new("/d"), name),
                Path::new("/d/volumes").join(dir)
            );
        }
    }
}
