//! Replacing a plugin's version: check, migrate, publish by one pointer, and take it back if its first calls fail.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tracing::Level;

use super::answer::in_a_line;
use super::{Counters, Gate, Plugin, Serving, Standing, TRIAL_CALLS, Trial, Version};
use crate::call::Fault;
use crate::protocol::{Call, Description, lifecycle};
use crate::store::{StoreError, UndoKey};

/// How long `lifecycle.migrate` and `lifecycle.start` may take.
pub(super) const LIFECYCLE_DEADLINE: Duration = Duration::from_secs(60);

/// How long a migration waits for calls that run. The rest of the plugin's calls wait with it.
const QUIET: Duration = Duration::from_secs(2);

/// Where the store keeps which version wrote the state: its digest, a space, its label.
const STATE_VERSION: &str = "state-version";

/// Where the store keeps what Docker may have cached.
const PUBLISHED: &str = "published";

/// Why a version does not serve.
#[derive(Debug, thiserror::Error)]
pub enum SwapError {
    /// It says other things of itself than Docker remembers.
    #[error(
        "it would change what Docker remembers of plugin {plugin} until the engine restarts: {difference}. Serve it under another name, or stop the engine and run `dockside forget {plugin}`"
    )]
    Identity {
        /// The plugin.
        plugin: String,
        /// What differs.
        difference: String,
    },
    /// Its migration failed.
    #[error("lifecycle.migrate failed: {0}; the version before keeps serving")]
    Migration(String),
    /// Recorded calls come out worse on it.
    #[error("{0}")]
    Preflight(String),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Plugin {
    /// What Docker was told under this name, by this daemon or one before it.
    pub fn published(&self) -> Option<Description> {
        let text = self.shared.store.meta(&self.name, PUBLISHED).ok()??;
        serde_json::from_str(&text).ok()
    }

    /// Forgets what Docker was told.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn unpublish(&self) -> Result<(), StoreError> {
        self.shared
            .store
            .set_meta(&self.name, PUBLISHED, None)
            .await
    }

    /// Makes `version` the one that serves.
    ///
    /// # Errors
    /// When it must not serve. The version before keeps serving then.
    pub async fn swap(&self, version: Version) -> Result<(), SwapError> {
        // Before the turn is taken: calls that fail on the version that serves need it to take that version back.
        self.try_calls(&version)
            .await
            .map_err(SwapError::Preflight)?;
        let _one_at_a_time = self.swapping.lock().await;
        let description = version.described();
        match self.published() {
            Some(published) => {
                if let Some(difference) = published.difference(&description) {
                    return Err(SwapError::Identity {
                        plugin: self.name.clone(),
                        difference,
                    });
                }
            }
            None => {
                let text = serde_json::to_string(&description.identity()).unwrap_or_default();
                self.shared
                    .store
                    .set_meta(&self.name, PUBLISHED, Some(&text))
                    .await?;
            }
        }
        let previous = match &*self.standing() {
            Standing::Serving(serving) => Some(Arc::clone(serving)),
            _ => None,
        };
        let from = self.migrates_from(&version)?;
        // While the state changes its meaning nobody may begin a call on the version before. A call that takes long is not waited for: its
        // commit is refused and it runs again.
        let _alone = match &from {
            Some(_) => tokio::time::timeout(QUIET, self.turn.write()).await.ok(),
            None => None,
        };
        let undo = self.migrate(&version, from).await?;
        let limits = &version.settings.limits;
        self.gate.store(Arc::new(Gate::new(
            limits.concurrency,
            limits.queue,
            Arc::clone(&self.shared.calls),
        )));
        let text = match &previous {
            Some(previous) => format!("serves in place of {}", previous.version.label),
            None => "serves".to_owned(),
        };
        self.log.host(Level::INFO, &version.label, &text);
        if let Some(previous) = &previous {
            previous.forget_behind(1);
        }
        // New settings for the same driver are the operator's word: no fault of the driver's may take a tightened policy or a revoked grant
        // back.
        let trial = previous
            .filter(|previous| previous.version.driver.digest() != version.driver.digest())
            .map(|previous| Trial {
                previous: Mutex::new(Some(previous)),
                left: AtomicI64::new(TRIAL_CALLS),
                undo: Mutex::new(undo),
            });
        Counters::add(&self.counters.swaps);
        self.keep_calls(&version);
        self.standing
            .store(Arc::new(Standing::Serving(Arc::new(Serving {
                version: Arc::new(version),
                trial,
            }))));
        Ok(())
    }

    /// Stops serving.
    pub fn stand_down(&self, standing: Standing) {
        let text = match &standing {
            Standing::Serving(_) => return,
            Standing::Blocked(reason) => format!("blocked: {reason}"),
            Standing::Broken(reason) => format!("broken: {reason}"),
            Standing::Removed => "its driver was removed".to_owned(),
        };
        self.log.host(Level::WARN, "", &in_a_line(&text));
        self.standing.store(Arc::new(standing));
    }

    /// Forgets which versions must not be tried again, but for those in `keep`.
    pub async fn retain_rejections(&self, keep: impl Fn(&str) -> bool) {
        let store = &self.shared.store;
        let retained = self.rejections.retain(store, &self.name, keep).await;
        if let Err(error) = retained {
            tracing::warn!(plugin = self.name, %error, "the list of versions that were taken back stays as it was");
        }
    }

    /// The version that wrote the state, if `version` has to migrate it.
    fn migrates_from(&self, version: &Version) -> Result<Option<String>, StoreError> {
        let Some(written) = self.shared.store.meta(&self.name, STATE_VERSION)? else {
            return Ok(None);
        };
        let (digest, label) = written.split_once(' ').unwrap_or((&written, &written));
        let other = digest != version.driver.digest();
        Ok((other && version.driver.has_lifecycle()).then(|| label.to_owned()))
    }

    async fn migrate(
        &self,
        version: &Version,
        from: Option<String>,
    ) -> Result<Vec<UndoKey>, SwapError> {
        let written = state_version(version);
        let Some(from) = from else {
            let store = &self.shared.store;
            if store.meta(&self.name, STATE_VERSION)?.as_ref() != Some(&written) {
                store
                    .set_meta(&self.name, STATE_VERSION, Some(&written))
                    .await?;
            }
            return Ok(Vec::new());
        };
        let call = Call::Lifecycle(lifecycle::Call::Migrate { from });
        self.hook(
            version,
            &call,
            LIFECYCLE_DEADLINE,
            Some((STATE_VERSION, &written)),
        )
        .await
        .map_err(|error| {
            // Not again at every look at the directory: it may take a minute to fail.
            self.rejections.not_migrated(
                version.identity(),
                format!("lifecycle.migrate failed: {error}"),
            );
            SwapError::Migration(error)
        })
    }

    /// Takes a version back that failed on trial. Returns what serves now, if that is another version.
    pub(super) async fn revert(
        &self,
        failed: &Arc<Serving>,
        fault: &Fault,
        deadline: Instant,
    ) -> Option<Arc<Serving>> {
        let trial = failed.trial.as_ref()?;
        let swapping = tokio::time::timeout_at(deadline.into(), self.swapping.lock());
        let _one_at_a_time = swapping.await.ok()?;
        let standing = self.standing();
        let Standing::Serving(now) = &*standing else {
            // The operator has taken it out of service meanwhile.
            return None;
        };
        if !Arc::ptr_eq(now, failed) {
            // Somebody else has swapped or taken it back already.
            return (now.version.identity() != failed.version.identity()).then(|| Arc::clone(now));
        }
        if trial.left.load(Ordering::Relaxed) <= 0 {
            return None;
        }
        let previous = trial.previous.lock().clone()?;
        let version = &failed.version;
        let reason = format!(
            "version {} failed in its first calls: {fault}",
            version.label
        );
        let store = &self.shared.store;
        self.rejections
            .taken_back(version.identity(), reason.clone());
        let undo = std::mem::take(&mut *trial.undo.lock());
        let restored = async {
            if !undo.is_empty() {
                store.restore(&self.name, undo).await?;
            }
            let written = state_version(&previous.version);
            store
                .set_meta(&self.name, STATE_VERSION, Some(&written))
                .await
        };
        if let Err(error) = restored.await {
            self.log.host(
                Level::ERROR,
                &version.label,
                &format!("what lifecycle.migrate wrote could not be put back: {error}"),
            );
        }
        self.standing
            .store(Arc::new(Standing::Serving(Arc::clone(&previous))));
        // Not before: every call that comes until then fails on the version first.
        if let Err(error) = self.rejections.write(store, &self.name).await {
            tracing::warn!(plugin = self.name, version = &*version.label, %error, "after a restart this version is tried once more");
        }
        Counters::add(&self.counters.reverted);
        self.log.host(
            Level::ERROR,
            &version.label,
            &format!("{reason}; version {} serves again", previous.version.label),
        );
        Some(previous)
    }

    /// A call that fails on both versions says nothing about the new one: it may be tried again.
    pub(super) async fn acquit(&self, version: &Version) {
        let acquitted = version.identity();
        self.retain_rejections(|identity| identity != acquitted)
            .await;
    }
}

fn state_version(version: &Version) -> String {
    format!("{} {}", version.driver.digest(), version.label)
}
