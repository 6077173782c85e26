//! After a start: undoing what was not committed, finishing what was, and forgetting what went with the last start of the machine.

use std::collections::HashSet;
use std::sync::Arc;

use super::{Effect, Kind, Ledger, decode};
use crate::store::{Intent, Outcome, Quota, StoreError, Transaction};

/// Where the store keeps what a restart of the machine took from a plugin, until the plugin has been told.
const FACTS: &str = "facts";

/// What became of something that a plugin holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fate {
    /// It went with a restart of the machine.
    Rebooted,
    /// Somebody else removed it.
    Removed,
    /// It is there and does not work.
    Degraded,
}

/// Something that is not as a plugin left it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Fact {
    /// What it is.
    pub kind: Kind,
    /// The driver's key for it.
    pub key: String,
    /// What became of it.
    pub fate: Fate,
}

/// What an earlier daemon left half done.
#[derive(Debug)]
pub struct Unfinished {
    undo: Vec<(String, Intent)>,
    redo: Vec<(String, Intent)>,
}

impl Ledger {
    /// Finds what an earlier daemon left half done, and forgets what went with the last start of the machine. No call may run yet.
    ///
    /// # Errors
    /// When the store cannot be read or written.
    pub async fn recover(self: &Arc<Self>) -> Result<Unfinished, StoreError> {
        let all = self.store.intents()?;
        let ids = all.iter().map(|(_, intent)| intent.id.clone());
        self.live.lock().extend(ids);
        let (redo, mut undo): (Vec<_>, Vec<_>) =
            all.into_iter().partition(|(_, intent)| intent.redo);
        if !undo.is_empty() || !redo.is_empty() {
            tracing::info!(
                undo = undo.len(),
                redo = redo.len(),
                "bringing the machine in line with what was committed before the last stop"
            );
        }
        // What was made last may stand on what was made before.
        undo.reverse();
        for plugin in self.store.plugin_names()? {
            self.forget_earlier_boots(&plugin).await?;
        }
        Ok(Unfinished { undo, redo })
    }

    /// Undoes and does what an earlier daemon left. Calls may run meanwhile: all of it has names that the host minted and that no call gets.
    pub async fn finish(self: &Arc<Self>, unfinished: Unfinished) {
        self.carry_out_all(unfinished.undo).await;
        self.carry_out_all(unfinished.redo).await;
    }

    /// Tries once more what could not be undone or done so far.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn retry(self: &Arc<Self>) -> Result<usize, StoreError> {
        let claimed: HashSet<String> = {
            let all = self.store.intents()?;
            let mut live = self.live.lock();
            all.into_iter()
                .map(|(_, intent)| intent.id)
                // From here on they are this one's.
                .filter(|id| live.insert(id.clone()))
                .collect()
        };
        // Read once more: a call may have committed one and let go of it after the first look, and what it made must stay.
        let now = match self.store.intents() {
            Ok(now) => now,
            Err(error) => {
                self.release_claims(&claimed);
                return Err(error);
            }
        };
        let mut due: Vec<(String, Intent)> = now
            .into_iter()
            .filter(|(_, intent)| claimed.contains(&intent.id))
            .collect();
        let mut over = claimed;
        for (_, intent) in &due {
            over.remove(&intent.id);
        }
        self.release_claims(&over);
        due.reverse();
        let count = due.len();
        self.carry_out_all(due).await;
        Ok(count)
    }

    fn release_claims(&self, ids: &HashSet<String>) {
        self.live.lock().retain(|id| !ids.contains(id));
    }

    async fn carry_out_all(self: &Arc<Self>, intents: Vec<(String, Intent)>) {
        let mut rest = intents.into_iter().peekable();
        while let Some((plugin, first)) = rest.next() {
            let mut group = vec![first];
            while let Some((_, intent)) = rest.next_if(|(next, _)| *next == plugin) {
                group.push(intent);
            }
            self.carry_out(&plugin, group).await;
        }
    }

    async fn forget_earlier_boots(self: &Arc<Self>, plugin: &str) -> Result<(), StoreError> {
        let state = self.store.plugin(plugin)?;
        // Of a start before that ended before it could tell.
        let untold = self.store.meta(plugin, FACTS)?;
        let mut facts: Vec<Fact> = untold
            .and_then(|text| serde_json::from_str(&text).ok())
            .unwrap_or_default();
        let lost: Vec<_> = state
            .snapshot()
            .objects()
            .filter(|object| object.boot != self.boot)
            .filter(|object| {
                Kind::parse(&object.name).is_some_and(|(kind, _)| !kind.is_persistent())
            })
            .cloned()
            .collect();
        if lost.is_empty() {
            self.tell(plugin, facts);
            return Ok(());
        }
        let mut transaction = Transaction::new(state, Quota::default());
        let mut remains: Vec<Effect> = Vec::new();
        for object in &lost {
            transaction.remove_object(&object.name);
            if let Some((kind, key)) = Kind::parse(&object.name)
                && kind != Kind::Relay
            {
                facts.push(Fact {
                    kind,
                    key: key.to_owned(),
                    fate: Fate::Rebooted,
                });
            }
            remains.extend(decode(&object.record).ok());
        }
        tracing::info!(
            plugin,
            count = lost.len(),
            "the machine was restarted: mounts, links and rules of the time before are forgotten"
        );
        let runtime = self.runtime.clone();
        // Empty mount points, and whatever else does outlive a restart of the machine.
        let swept = tokio::task::spawn_blocking(move || {
            for effect in remains.iter().rev() {
                if let Err(error) = effect.undo(&runtime) {
                    tracing::warn!(%error, effect = %effect.describe(), "something of before the restart cannot be cleaned up");
                }
            }
        });
        let _ = swept.await;
        let text = serde_json::to_string(&facts).ok();
        transaction.set_meta(FACTS, text.as_deref());
        match self.store.commit(transaction).await? {
            Outcome::Committed { .. } => {}
            Outcome::Conflict => tracing::error!(plugin, "the store was changed during the start"),
        }
        self.tell(plugin, facts);
        Ok(())
    }

    /// Notes what a plugin has to be told.
    pub fn tell(&self, plugin: &str, facts: Vec<Fact>) {
        if !facts.is_empty() {
            self.facts
                .lock()
                .entry(plugin.to_owned())
                .or_default()
                .extend(facts);
        }
    }

    /// Notes that a plugin has been told all that was kept for it.
    ///
    /// # Errors
    /// When the store cannot be written: then it is told once more after the next start.
    pub async fn told(&self, plugin: &str) -> Result<(), StoreError> {
        if self.store.meta(plugin, FACTS)?.is_some() {
            self.store.set_meta(plugin, FACTS, None).await?;
        }
        Ok(())
    }

    /// Takes what a plugin has to be told.
    pub fn news(&self, plugin: &str) -> Vec<Fact> {
        self.facts.lock().remove(plugin).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use crate::store::{ObjectRecord, Store};

    #[tokio::test]
    async fn what_a_restart_of_the_machine_took_is_told_even_if_the_daemon_ends_before() {
        let data = tempfile::tempdir().unwrap();
        let store = Store::open(data.path()).unwrap();
        let state = store.plugin("p").unwrap();
        let mut transaction = Transaction::new(state, Quota::default());
        transaction.put_object(ObjectRecord {
            name: Kind::Rules.name("n"),
            id: "1".to_owned(),
            record: String::new(),
            boot: "before".to_owned(),
            made_at: 0,
        });
        let outcome = store.commit(transaction).await.unwrap();
        assert_ne!(outcome, Outcome::Conflict);
        let start = async || {
            let ledger = Ledger::new(store.clone(), data.path().join("run"), "after");
            ledger.recover().await.unwrap();
            (ledger.news("p"), ledger)
        };
        let lost = [Fact {
            kind: Kind::Rules,
            key: "n".to_owned(),
            fate: Fate::Rebooted,
        }];
        assert_eq!(start().await.0, lost);
        let (news, ledger) = start().await;
        assert_eq!(news, lost);
        ledger.told("p").await.unwrap();
        assert_eq!(start().await.0, []);
    }
}
