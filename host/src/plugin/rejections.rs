//! Versions that must not be tried again: those that were taken back in their first calls, those that failed recorded calls, and those whose
//! migration failed.

use std::collections::BTreeMap;

use parking_lot::Mutex;

use crate::store::{Store, StoreError};

/// Where the store keeps which versions were taken back.
const TAKEN_BACK: &str = "taken-back";

/// By [`Version::identity`](super::Version::identity), with the reason: another file or other settings are another chance.
#[derive(Debug, Default)]
pub(super) struct Rejections {
    /// Failed in their first calls. Durable: a restart of the daemon must not let Docker's calls find it out again.
    taken_back: Mutex<BTreeMap<String, String>>,
    /// Failed to migrate, which fails no call. A restart tries again.
    not_migrated: Mutex<BTreeMap<String, String>>,
}

impl Rejections {
    /// What an earlier daemon found out.
    pub(super) fn read(store: &Store, plugin: &str) -> Result<Self, StoreError> {
        let text = store.meta(plugin, TAKEN_BACK)?;
        let known = text.and_then(|text| serde_json::from_str(&text).ok());
        Ok(Self {
            taken_back: Mutex::new(known.unwrap_or_default()),
            not_migrated: Mutex::default(),
        })
    }

    pub(super) fn reason(&self, identity: &str) -> Option<String> {
        let taken_back = self.taken_back.lock().get(identity).cloned();
        taken_back.or_else(|| self.not_migrated.lock().get(identity).cloned())
    }

    /// All of them, with the reasons.
    pub(super) fn all(&self) -> Vec<(String, String)> {
        let taken_back = self.taken_back.lock().clone();
        let not_migrated = self.not_migrated.lock().clone();
        taken_back.into_iter().chain(not_migrated).collect()
    }

    pub(super) fn not_migrated(&self, identity: String, reason: String) {
        self.not_migrated.lock().insert(identity, reason);
    }

    /// Durable once it is written.
    pub(super) fn taken_back(&self, identity: String, reason: String) {
        self.taken_back.lock().insert(identity, reason);
    }

    /// Forgets all but those in `keep`.
    pub(super) async fn retain(
        &self,
        store: &Store,
        plugin: &str,
        keep: impl Fn(&str) -> bool,
    ) -> Result<(), StoreError> {
        self.not_migrated
            .lock()
            .retain(|identity, _| keep(identity));
        let changed = {
            let mut taken_back = self.taken_back.lock();
            let before = taken_back.len();
            taken_back.retain(|identity, _| keep(identity));
            taken_back.len() != before
        };
        if changed {
            self.write(store, plugin).await?;
        }
        Ok(())
    }

    /// Makes what was taken back durable.
    pub(super) async fn write(&self, store: &Store, plugin: &str) -> Result<(), StoreError> {
        let text = {
            let taken_back = self.taken_back.lock();
            (!taken_back.is_empty())
                .then(|| serde_json::to_string(&*taken_back).unwrap_or_default())
        };
        store.set_meta(plugin, TAKEN_BACK, text.as_deref()).await
    }
}
