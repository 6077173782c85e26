//! What plugins hold on the machine: listed, looked at, repaired, released.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::{Effect, Fact, Fate, Kind, Ledger, decode};
use crate::config;
use crate::machine::{MachineError, Presence, links, mounts};
use crate::store::{Intent, ObjectRecord, Outcome, Quota, StoreError, Transaction};

/// How a mount does.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case", tag = "state", content = "reason")]
pub enum Health {
    /// It answers.
    Alive,
    /// It does not.
    Degraded(String),
    /// It is not there.
    Gone,
}

/// One thing that a plugin holds.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Item {
    /// What it is.
    pub kind: Kind,
    /// The driver's key for it.
    pub key: String,
    /// One line that says where it is.
    pub what: String,
    /// When it was made, in seconds since 1970.
    pub made_at: i64,
    /// How it did when it was looked at last; none if it was not.
    #[serde(flatten)]
    pub health: Option<Health>,
}

/// What a look at a mount has shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probed {
    /// The driver's key for it.
    pub key: String,
    /// How it does.
    pub health: Health,
    /// Whether the look before has shown something else.
    pub is_new: bool,
}

/// Something that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Finding {
    /// The plugin.
    pub plugin: String,
    /// What it is about.
    pub what: String,
    /// What is wrong.
    pub problem: String,
    /// What was done about it, or would be.
    pub repair: String,
    /// Whether that went well; none in a dry run.
    pub done: Option<bool>,
}

/// Whether to change anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repair {
    /// Only say what would be done.
    DryRun,
    /// Do it.
    Now,
}

/// How long a mount may take to answer a probe.
const PROBE: Duration = Duration::from_secs(5);

impl Ledger {
    /// Everything that a plugin holds.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn items(&self, plugin: &str) -> Result<Vec<Item>, StoreError> {
        let snapshot = self.store.plugin(plugin)?.snapshot();
        let health = self.health.lock();
        Ok(snapshot
            .objects()
            .filter_map(|object| {
                let (kind, key) = Kind::parse(&object.name)?;
                Some(Item {
                    kind,
                    key: key.to_owned(),
                    what: decode(&object.record)
                        .map_or_else(|error| error.to_string(), |effect| effect.describe()),
                    made_at: object.made_at,
                    health: health.get(&(plugin.to_owned(), key.to_owned())).cloned(),
                })
            })
            .collect())
    }

    /// How one mount of a plugin did when it was looked at last.
    pub fn health(&self, plugin: &str, key: &str) -> Option<Health> {
        let at = (plugin.to_owned(), key.to_owned());
        self.health.lock().get(&at).cloned()
    }

    /// Looks whether the mounts of a plugin that can die are alive, and returns those that are not and those that are again. Never waits for a
    /// dead one longer than a probe may take.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn probe(self: &Arc<Self>, plugin: &str) -> Result<Vec<Probed>, StoreError> {
        let snapshot = self.store.plugin(plugin)?.snapshot();
        let mut found = Vec::new();
        let mut seen = HashSet::new();
        for object in snapshot.objects() {
            let Some((Kind::Mount, key)) = Kind::parse(&object.name) else {
                continue;
            };
            let Ok(effect) = decode(&object.record) else {
                continue;
            };
            if !effect.can_die() {
                continue;
            }
            seen.insert(key.to_owned());
            let runtime = self.runtime.clone();
            let probed = tokio::task::spawn_blocking(move || probe(&effect, &runtime)).await;
            let now = probed.unwrap_or_else(|_| Health::Degraded("the probe failed".into()));
            let at = (plugin.to_owned(), key.to_owned());
            let before = self.health.lock().insert(at, now.clone());
            let is_new = before.unwrap_or(Health::Alive) != now;
            if is_new || now != Health::Alive {
                found.push(Probed {
                    key: key.to_owned(),
                    health: now,
                    is_new,
                });
            }
        }
        self.health
            .lock()
            .retain(|(of, key), _| of != plugin || seen.contains(key));
        Ok(found)
    }

    /// Unmounts a mount of a plugin and forgets it.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub async fn give_up(self: &Arc<Self>, plugin: &str, key: &str) -> Result<(), StoreError> {
        let name = Kind::Mount.name(key);
        self.release_if(plugin, |object| object.name == name)
            .await
            .map(drop)
    }

    /// Takes away what a relay of a plugin showed to Docker.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub async fn forget_relays(
        self: &Arc<Self>,
        plugin: &str,
        is_gone: impl Fn(&str) -> bool,
    ) -> Result<Vec<String>, StoreError> {
        self.release_if(plugin, |object| {
            matches!(
                Kind::parse(&object.name),
                Some((Kind::Relay, key)) if is_gone(super::relay_of(key))
            )
        })
        .await
    }

    /// Takes everything away that a plugin holds, and returns what that was.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub async fn release(self: &Arc<Self>, plugin: &str) -> Result<Vec<String>, StoreError> {
        self.release_if(plugin, |_| true).await
    }

    async fn release_if(
        self: &Arc<Self>,
        plugin: &str,
        which: impl Fn(&ObjectRecord) -> bool,
    ) -> Result<Vec<String>, StoreError> {
        loop {
            let state = self.store.plugin(plugin)?;
            let mut transaction = Transaction::new(state, Quota::default());
            let mut intents = Vec::new();
            let mut names = Vec::new();
            // Mounts show images, and rules name links: last things first.
            let mut objects = transaction.objects();
            objects.retain(|object| which(object));
            objects.sort_by_key(|object| {
                let kind = Kind::parse(&object.name).map(|(kind, _)| kind);
                (
                    match kind {
                        Some(Kind::Relay) => 0,
                        Some(Kind::Mount) => 1,
                        Some(Kind::Rules) => 2,
                        Some(Kind::Link) => 3,
                        _ => 4,
                    },
                    std::cmp::Reverse(object.made_at),
                )
            });
            for object in objects {
                transaction.remove_object(&object.name);
                let intent = Intent {
                    id: super::mint(),
                    record: object.record.clone(),
                    redo: false,
                };
                transaction.intend(intent.clone());
                self.live.lock().insert(intent.id.clone());
                intents.push(intent);
                names.push(object.name.clone());
            }
            if names.is_empty() {
                return Ok(names);
            }
            match self.store.commit(transaction).await? {
                Outcome::Conflict => {
                    let mut live = self.live.lock();
                    for intent in &intents {
                        live.remove(&intent.id);
                    }
                }
                Outcome::Committed { .. } => {
                    self.carry_out(plugin, intents).await;
                    return Ok(names);
                }
            }
        }
    }

    /// Looks at everything that a plugin holds, and makes it again where it is not as it was left. What cannot be made again is forgotten,
    /// so that its key is free, and becomes something that the plugin has to be told.
    ///
    /// # Errors
    /// When the store cannot be read or written.
    pub async fn reconcile(
        self: &Arc<Self>,
        plugin: &str,
        settings: Option<&Arc<config::Plugin>>,
        repair: Repair,
    ) -> Result<Vec<Finding>, StoreError> {
        let mut findings = Vec::new();
        let snapshot = self.store.plugin(plugin)?.snapshot();
        let mut lost = Vec::new();
        // By ID: a call can have made another one of the same key meanwhile.
        let mut gone = HashSet::new();
        // Bridges before what is in them: objects are sorted by name, so a second look comes after the first repairs.
        for object in snapshot.objects() {
            let Some((kind, key)) = Kind::parse(&object.name) else {
                continue;
            };
            let effect = match decode(&object.record) {
                Ok(effect) => effect,
                Err(error) => {
                    tracing::error!(plugin, %error, object = %object.name, "cannot be looked at");
                    continue;
                }
            };
            let runtime = self.runtime.clone();
            let looked = {
                let effect = effect.clone();
                tokio::task::spawn_blocking(move || problem_of(&effect, &runtime)).await
            };
            let problem = match looked {
                Ok(Ok(Some(problem))) => problem,
                Ok(Ok(None)) => continue,
                Ok(Err(error)) => Problem::Unclear(error.to_string()),
                Err(_) => Problem::Unclear("it cannot be looked at".into()),
            };
            let mut finding = Finding {
                plugin: plugin.to_owned(),
                what: format!("{} ({})", object.name, effect.describe()),
                problem: problem.text(),
                repair: problem.cure(kind).to_owned(),
                done: None,
            };
            if repair == Repair::Now {
                let done = match (&problem, kind, settings) {
                    (Problem::Unclear(_), ..) | (_, Kind::Secret, _) => Err(None),
                    // Docker takes them away with its own plugin.
                    (_, Kind::Relay, _)
                    | (Problem::Absent, Kind::Image, _)
                    | (Problem::LeftWithContainer, ..) => Err(Some(Fate::Removed)),
                    (_, _, None) => Err(None),
                    (_, _, Some(settings)) => self
                        .make_again(plugin, object, settings)
                        .await
                        .map_err(|error| {
                            finding.repair.push_str(&format!(": {error}"));
                            None
                        }),
                };
                finding.done = Some(match done {
                    Ok(()) => true,
                    Err(Some(fate)) => {
                        gone.insert(object.id.clone());
                        lost.push(Fact {
                            kind,
                            key: key.to_owned(),
                            fate,
                        });
                        true
                    }
                    Err(None) => false,
                });
            }
            findings.push(finding);
        }
        if repair == Repair::Now && !lost.is_empty() {
            self.release_if(plugin, |object| gone.contains(&object.id))
                .await?;
            // That a link left with its container is how links end.
            lost.retain(|fact| !matches!(fact.kind, Kind::Link | Kind::Relay));
            self.tell(plugin, lost);
        }
        Ok(findings)
    }

    /// Mounts below the data directory that are on no record. There are none unless somebody edited the database or mounted there.
    ///
    /// # Errors
    /// When the machine or the store cannot be read.
    pub async fn strays(self: &Arc<Self>, repair: Repair) -> anyhow::Result<Vec<Finding>> {
        let below = self.data.join("mounts");
        let mut found = mounts::mount_table()?;
        found.retain(|mount| mount.point.starts_with(&below));
        let mut findings = Vec::new();
        // What a call makes is an intent before it is mounted, and on record before it is none any more: so in this order, and for what a
        // commit under way is about to show, once more.
        for _ in 0..2 {
            if found.is_empty() {
                return Ok(findings);
            }
            let known = self.known_points()?;
            found.retain(|mount| !known.iter().any(|point| mount.point.starts_with(point)));
        }
        for mount in found {
            let mut finding = Finding {
                plugin: String::new(),
                what: mount.point.display().to_string(),
                problem: "something is mounted here that is on no record".into(),
                repair: "unmount it".into(),
                done: None,
            };
            if repair == Repair::Now {
                let unmounted = rustix::mount::unmount(
                    &mount.point,
                    rustix::mount::UnmountFlags::DETACH | rustix::mount::UnmountFlags::NOFOLLOW,
                );
                finding.done = Some(unmounted.is_ok());
            }
            findings.push(finding);
        }
        Ok(findings)
    }
}

impl Ledger {
    /// Mount points that are on record, or may be soon.
    fn known_points(&self) -> anyhow::Result<HashSet<std::path::PathBuf>> {
        let mut known = HashSet::new();
        for (_, intent) in self.store.intents()? {
            known.extend(decode(&intent.record)?.mount_point().cloned());
        }
        for plugin in self.store.plugin_names()? {
            let snapshot = self.store.plugin(&plugin)?.snapshot();
            for object in snapshot.objects() {
                known.extend(decode(&object.record)?.mount_point().cloned());
            }
        }
        Ok(known)
    }
}

enum Problem {
    Absent,
    LeftWithContainer,
    Changed(String),
    Unclear(String),
}

impl Problem {
    fn text(&self) -> String {
        match self {
            Problem::Absent => "it is gone".into(),
            Problem::LeftWithContainer => "it went with the container that had it".into(),
            Problem::Changed(how) | Problem::Unclear(how) => how.clone(),
        }
    }

    fn cure(&self, kind: Kind) -> &'static str {
        match (self, kind) {
            (Problem::LeftWithContainer, _) | (_, Kind::Relay) => "forget it",
            (Problem::Absent, Kind::Image) => "forget it and tell the driver",
            (Problem::Unclear(_), _) | (_, Kind::Secret) => "look into it by hand",
            (_, Kind::Mount) => "mount it again",
            (_, Kind::Link) => "make it again",
            (_, Kind::Rules) => "put them into effect again",
            (_, Kind::Image | Kind::Path) => "look into it by hand",
        }
    }
}

fn problem_of(effect: &Effect, runtime: &Path) -> Result<Option<Problem>, MachineError> {
    match effect.look(runtime)? {
        Presence::Present => match probe(effect, runtime) {
            Health::Degraded(reason) if effect.can_die() => Ok(Some(Problem::Changed(reason))),
            _ => Ok(None),
        },
        Presence::Changed(how) if matches!(effect, Effect::Path(_)) => {
            Ok(Some(Problem::Unclear(how)))
        }
        Presence::Changed(how) => Ok(Some(Problem::Changed(how))),
        Presence::Absent => match effect {
            Effect::Link(link) => match links::whereabouts(link)? {
                links::Whereabouts::Elsewhere => Ok(None),
                links::Whereabouts::Here => Ok(Some(Problem::Absent)),
                links::Whereabouts::Gone if link.is_pair() => Ok(Some(Problem::LeftWithContainer)),
                links::Whereabouts::Gone => Ok(Some(Problem::Absent)),
            },
            // Its file system may only be missing.
            Effect::Path(_) => Ok(Some(Problem::Unclear(
                "it is gone, or its file system is not mounted".into(),
            ))),
            _ => Ok(Some(Problem::Absent)),
        },
    }
}

pub(super) fn probe(effect: &Effect, runtime: &Path) -> Health {
    match effect.look(runtime) {
        Ok(Presence::Present) => {}
        Ok(Presence::Absent) => return Health::Gone,
        Ok(Presence::Changed(how)) => return Health::Degraded(how),
        Err(error) => return Health::Degraded(error.to_string()),
    }
    match effect.mount_point() {
        Some(point) => match mounts::health(point, PROBE) {
            mounts::Health::Alive => Health::Alive,
            mounts::Health::Dead(reason) => Health::Degraded(reason),
            mounts::Health::Silent => {
                Health::Degraded(format!("no answer within {} s", PROBE.as_secs()))
            }
        },
        None => Health::Alive,
    }
}
