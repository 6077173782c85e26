//! Mounts that died come to work again: by themselves, or made anew.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::inventory::{Health, probe};
use super::{Effect, Kind, Ledger, decode, effects};
use crate::config;
use crate::machine::{ErrorKind, MachineError, Presence, links};
use crate::store::ObjectRecord;

/// How a mount that did not work came to work again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Revival {
    /// By itself.
    Answers,
    /// It was made again.
    Remade,
}

/// How often a mount whose server is back is asked before it is made again.
const AGAIN: usize = 2;

/// How long a mount may take to be made again.
const REMAKE: Duration = Duration::from_secs(60);

impl Ledger {
    /// Looks whether one mount of a plugin is there, and alive if it can die at all. One that somebody has unmounted is made again, for nobody
    /// who sees the empty directory below is served by it; one that died is made again if `dead`. The reason why it did not work comes before
    /// what went wrong then.
    ///
    /// # Errors
    /// When the machine says no.
    pub async fn revive(
        self: &Arc<Self>,
        plugin: &str,
        key: &str,
        settings: &Arc<config::Plugin>,
        dead: bool,
    ) -> Result<(), MachineError> {
        let state = self.store.plugin(plugin).map_err(|error| other(&error))?;
        let snapshot = state.snapshot();
        let Some(object) = snapshot.object(&Kind::Mount.name(key)) else {
            return Ok(());
        };
        let effect = decode(&object.record)?;
        let runtime = self.runtime.clone();
        let health = effects::blocking(move || {
            Ok(match dead && effect.can_die() {
                true => probe(&effect, &runtime),
                false if matches!(effect.look(&runtime), Ok(Presence::Absent)) => Health::Gone,
                false => Health::Alive,
            })
        });
        let health = health.await?;
        let reason = match health {
            Health::Alive => return Ok(()),
            Health::Degraded(reason) => reason,
            Health::Gone if settings.grants.mounts.is_none() => {
                return Err(MachineError::new(
                    ErrorKind::Other,
                    format!(
                        "somebody else has unmounted it, and plugin {plugin} may mount nothing any more: give it [grants.mounts] back"
                    ),
                ));
            }
            Health::Gone => "somebody else has unmounted it".to_owned(),
        };
        match self.remount(plugin, key, settings).await {
            Ok(_) => Ok(()),
            Err(error) => Err(MachineError::new(
                error.kind,
                format!("its mount does not work: {reason}; {error}"),
            )),
        }
    }

    /// Makes a mount of a plugin again, at the same place, unless it answers after all.
    ///
    /// # Errors
    /// When its helper waits for its server, or the machine says no.
    pub async fn remount(
        self: &Arc<Self>,
        plugin: &str,
        key: &str,
        settings: &Arc<config::Plugin>,
    ) -> Result<Revival, MachineError> {
        let snapshot = self
            .store
            .plugin(plugin)
            .map_err(|error| other(&error))?
            .snapshot();
        let Some(object) = snapshot.object(&Kind::Mount.name(key)) else {
            return Ok(Revival::Answers);
        };
        let effect = decode(&object.record)?;
        let runtime = self.runtime.clone();
        let at = (plugin.to_owned(), key.to_owned());
        let turn = {
            let mut turns = self.remaking.lock();
            turns.retain(|_, turn| Arc::strong_count(turn) > 1);
            Arc::clone(turns.entry(at.clone()).or_default())
        };
        // Who comes second finds what the first one made.
        let _turn = turn.lock().await;
        let answers = effects::blocking(move || {
            if probe(&effect, &runtime) == Health::Alive {
                return Ok(true);
            }
            if !effect.may_come_back(&runtime)? {
                return Ok(false);
            }
            // Its helper has noticed the end of the connection only with the last question.
            Ok((0..AGAIN).any(|_| probe(&effect, &runtime) == Health::Alive))
        });
        let revival = match answers.await? {
            true => Revival::Answers,
            false => {
                self.make_again(plugin, object, settings).await?;
                Revival::Remade
            }
        };
        self.health.lock().insert(at, Health::Alive);
        Ok(revival)
    }

    /// Makes something on record again. Calls go on meanwhile: what one of them ended, nobody else would take away.
    pub(super) async fn make_again(
        self: &Arc<Self>,
        plugin: &str,
        object: &ObjectRecord,
        settings: &Arc<config::Plugin>,
    ) -> Result<(), MachineError> {
        let effect = decode(&object.record)?;
        let state = self.store.plugin(plugin).map_err(|error| other(&error))?;
        let (name, id) = (object.name.clone(), object.id.clone());
        let ledger = Arc::clone(self);
        let plugin = plugin.to_owned();
        let settings = Arc::clone(settings);
        effects::blocking(move || {
            let held = || {
                let now = state.snapshot();
                now.object(&name).is_some_and(|object| object.id == id)
            };
            if !held() {
                return Ok(());
            }
            ledger.remake(&plugin, &effect, &settings)?;
            // What ends it undoes it behind its commit: whoever comes second, that or this, finds it.
            if held() {
                Ok(())
            } else {
                effect.undo(&ledger.runtime)
            }
        })
        .await
    }

    fn remake(
        &self,
        plugin: &str,
        effect: &Effect,
        settings: &config::Plugin,
    ) -> Result<(), MachineError> {
        match effect {
            Effect::Link(link) => return links::repair(link).map(drop),
            Effect::Image(_) | Effect::Secret(_) | Effect::Path(_) => return Ok(()),
            _ => {}
        }
        effect.undo(&self.runtime)?;
        let secret = |name: &str| self.secret(plugin, settings, name);
        effect.perform(&self.runtime, &secret, Instant::now() + REMAKE)
    }
}

fn other(error: &dyn std::fmt::Display) -> MachineError {
    MachineError::new(ErrorKind::Other, error.to_string())
}
