//! One look at the directory, and what follows from it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::Arc;

use tokio::task::JoinSet;

use super::scan::{Candidate, FileId, PluginFile, Scan, scan};
use super::{Catalog, files};
use crate::admin::report::Problem;
use crate::capability::{blobs, http};
use crate::config::{self, PluginName};
use crate::plugin::{Plugin, Standing, Version};
use crate::protocol::lifecycle::StartReason;
use crate::sandbox::{Driver, PluginEnvironment, WarmPool};

/// Files that were read before, by path. A file is read again when it is another one or has changed.
pub(super) type ReadFiles = HashMap<PathBuf, (FileId, Result<Loaded, String>)>;

/// What became of a file.
#[derive(Debug, Clone)]
pub(super) struct Loaded {
    driver: Arc<Driver>,
    semver: Option<semver::Version>,
}

/// What a plugin should be.
struct Wanted {
    name: PluginName,
    stem: String,
    settings: Result<Arc<config::Plugin>, String>,
    driver: String,
}

impl Catalog {
    /// Looks at the directory once and makes what runs what should run. `reason` is what drivers that begin to serve are told.
    pub async fn reconcile(self: &Arc<Self>, reason: StartReason) {
        let _one_at_a_time = self.reconciling.lock().await;
        let directory = self.daemon.drivers.clone();
        let limit = self.daemon.limits.max_driver_size;
        let seen = tokio::task::spawn_blocking(move || scan(&directory, limit)).await;
        let seen = match seen {
            Ok(Ok(seen)) => Arc::new(seen),
            Ok(Err(error)) => {
                tracing::error!(%error, "cannot read the drivers directory: what runs keeps running");
                *self.problems.lock() = vec![Problem {
                    file: self.daemon.drivers.display().to_string(),
                    reason: error.to_string(),
                }];
                return;
            }
            Err(error) => {
                tracing::error!(%error, "the scan of the drivers directory ended early");
                return;
            }
        };
        let mut problems: Vec<Problem> = seen
            .refused
            .iter()
            .map(|refused| Problem {
                file: refused.file.clone(),
                reason: refused.reason.to_string(),
            })
            .collect();
        self.forget_files(&seen);
        let wanted = self.wanted(&seen, &mut problems);
        let live: BTreeSet<String> = wanted.keys().cloned().collect();
        let mut tasks = JoinSet::new();
        for wanted in wanted.into_values() {
            let catalog = Arc::clone(self);
            let seen = Arc::clone(&seen);
            tasks.spawn(async move { catalog.settle(&seen, &wanted, reason).await });
        }
        while let Some(done) = tasks.join_next().await {
            match done {
                Ok(found) => problems.extend(found),
                Err(error) => tracing::error!(%error, "a plugin could not be settled"),
            }
        }
        for plugin in self.plugins() {
            if !live.contains(plugin.name()) && !matches!(&*plugin.standing(), Standing::Removed) {
                self.withdraw(plugin.name()).await;
                plugin.stand_down(Standing::Removed);
            }
        }
        let mut unique: Vec<Problem> = Vec::new();
        for problem in problems {
            if !unique
                .iter()
                .any(|known| known.file == problem.file && known.reason == problem.reason)
            {
                unique.push(problem);
            }
        }
        *self.problems.lock() = unique;
    }

    /// Listens for plugins that had a driver once, so that Docker is told at once that it is gone.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn open_tombstones(self: &Arc<Self>) -> Result<(), crate::store::StoreError> {
        for name in self.shared.store.plugin_names()? {
            if self.plugin(&name).is_some() {
                continue;
            }
            self.withdraw(&name).await;
            let Ok(parsed) = name.parse::<PluginName>() else {
                continue;
            };
            let plugin = Plugin::new(&name, self.shared.clone())?;
            if plugin.published().is_none() {
                continue;
            }
            plugin.stand_down(Standing::Removed);
            if let Err(error) = self.open(&parsed, &plugin, None).await {
                tracing::warn!(plugin = name, %error, "no socket for a plugin whose driver was removed");
            }
        }
        Ok(())
    }

    fn forget_files(&self, seen: &Scan) {
        self.read.lock().retain(|path, _| {
            seen.drivers
                .values()
                .flatten()
                .any(|candidate| &candidate.path == path)
        });
    }

    /// Makes one plugin what it should be. Returns what is wrong with its files.
    async fn settle(
        self: &Arc<Self>,
        seen: &Scan,
        wanted: &Wanted,
        reason: StartReason,
    ) -> Vec<Problem> {
        let name = wanted.name.to_string();
        let known = self.plugin(&name);
        let plugin = match known {
            Some(plugin) => plugin,
            None => match Plugin::new(&name, self.shared.clone()) {
                Ok(plugin) => plugin,
                Err(error) => {
                    return vec![Problem {
                        file: wanted.stem.clone(),
                        reason: error.to_string(),
                    }];
                }
            },
        };
        let first = plugin.published().is_none();
        let before = plugin.version();
        let mut problems = Vec::new();
        let standing = self.choose(seen, wanted, &plugin, &mut problems).await;
        if let Some(standing) = standing {
            let same = match (&standing, &*plugin.standing()) {
                (Standing::Blocked(new), Standing::Blocked(old))
                | (Standing::Broken(new), Standing::Broken(old)) => new == old,
                (Standing::Removed, Standing::Removed) => true,
                _ => false,
            };
            if !same {
                plugin.stand_down(standing);
            }
        }
        if let Some(version) = plugin.version() {
            let kinds = version.driver.description().kinds();
            problems.extend(kinds.filter_map(|kind| wanted.name.reserved_for(kind)).map(
                |reason| Problem {
                    file: format!("{}.toml", wanted.stem),
                    reason: reason.to_owned(),
                },
            ));
        }
        let settings = wanted.settings.as_deref().ok();
        let opened = self.open(&wanted.name, &plugin, settings).await;
        if let Err(error) = opened {
            problems.push(Problem {
                file: format!("{}.toml", wanted.stem),
                reason: error.to_string(),
            });
        }
        let note = problems
            .first()
            .map(|problem| format!("{}: {}", problem.file, problem.reason));
        match note.filter(|_| plugin.version().is_some()) {
            Some(note) => self.notes.lock().insert(name.clone(), note),
            None => self.notes.lock().remove(&name),
        };
        if before.is_none() && plugin.version().is_some() {
            let reason = if first {
                StartReason::Installed
            } else {
                reason
            };
            plugin.start(reason).await;
        }
        problems
    }

    /// Brings the best version into service. Returns what the plugin is to be if none can serve; none leaves it as it is.
    async fn choose(
        &self,
        seen: &Scan,
        wanted: &Wanted,
        plugin: &Arc<Plugin>,
        problems: &mut Vec<Problem>,
    ) -> Option<Standing> {
        let serving = plugin.version();
        let settings = match &wanted.settings {
            Ok(settings) => Arc::clone(settings),
            Err(reason) => {
                problems.push(Problem {
                    file: format!("{}.toml", wanted.stem),
                    reason: reason.clone(),
                });
                // A slip of the pen must not take a volume away from its containers.
                return serving
                    .is_none()
                    .then(|| Standing::Blocked(format!("{}.toml: {reason}", wanted.stem).into()));
            }
        };
        let none = Vec::new();
        let candidates = seen.drivers.get(&wanted.driver).unwrap_or(&none);
        let mut blocked = None;
        let mut bad = None;
        let mut any = false;
        if !candidates.is_empty()
            && !candidates
                .iter()
                .any(|candidate| settings.accepts(candidate.semver.as_ref()))
        {
            let files: Vec<&str> = candidates
                .iter()
                .map(|candidate| candidate.file.as_str())
                .collect();
            bad = Some(format!(
                "none of {} meets the version that {}.toml asks for",
                files.join(", "),
                wanted.stem
            ));
            any = true;
        }
        let candidates = candidates
            .iter()
            .filter(|candidate| settings.accepts(candidate.semver.as_ref()));
        let mut identities = Vec::new();
        let mut doubtful = None;
        for candidate in candidates {
            any = true;
            let version = match self.version(candidate, wanted, &settings).await {
                Ok(version) => version,
                Err(Unusable::Blocked(reason)) => {
                    problems.push(problem(candidate, &reason));
                    blocked.get_or_insert(reason);
                    continue;
                }
                Err(Unusable::Bad(reason)) => {
                    problems.push(problem(candidate, &reason));
                    bad.get_or_insert(reason);
                    continue;
                }
            };
            let identity = version.identity();
            identities.push(identity.clone());
            let serves = serving
                .as_ref()
                .is_some_and(|serving| serving.identity() == identity);
            let rejection = plugin.rejection(&identity).filter(|_| !serves);
            if let Some(reason) = rejection {
                problems.push(problem(candidate, &reason));
                bad.get_or_insert(reason);
                doubtful.get_or_insert((candidate, version));
                continue;
            }
            let swapped = if serves {
                Ok(())
            } else {
                plugin.swap(version).await
            };
            match swapped {
                Ok(()) => {
                    plugin
                        .retain_rejections(|rejected| {
                            identities.iter().any(|known| known == rejected)
                        })
                        .await;
                    return None;
                }
                Err(error) => {
                    let reason = error.to_string();
                    problems.push(problem(candidate, &reason));
                    bad.get_or_insert(reason);
                }
            }
        }
        // A driver that failed some calls serves its volumes better than none: after a restart nothing else may be left.
        if serving.is_none()
            && let Some((candidate, version)) = doubtful
        {
            match plugin.swap(version).await {
                Ok(()) => return None,
                Err(error) => problems.push(problem(candidate, &error.to_string())),
            }
        }
        let refused = seen
            .refused
            .iter()
            .find(|refused| refused.stem.as_deref() == Some(wanted.driver.as_str()));
        if let Some(refused) = refused.filter(|_| !any) {
            bad.get_or_insert(refused.reason.to_string());
        }
        // A bad file leaves what serves as it is. A grant that was taken away does not.
        if let Some(serving) = &serving
            && (any || refused.is_some())
            && (blocked.is_none() || *serving.settings == *settings)
        {
            return None;
        }
        Some(match (blocked, bad) {
            (Some(reason), _) => Standing::Blocked(reason.into()),
            (None, Some(reason)) => Standing::Broken(reason.into()),
            (None, None) if serving.is_some() || plugin.published().is_some() => Standing::Removed,
            (None, None) => Standing::Broken(
                format!(
                    "there is no driver {0}: drop {0}.wasm into {1}",
                    wanted.driver,
                    self.daemon.drivers.display()
                )
                .into(),
            ),
        })
    }

    async fn version(
        &self,
        candidate: &Candidate,
        wanted: &Wanted,
        settings: &Arc<config::Plugin>,
    ) -> Result<Version, Unusable> {
        let loaded = self.loaded(candidate).await.map_err(Unusable::Bad)?;
        let name = wanted.name.to_string();
        let asked = |grant: &str| loaded.driver.asks_for(grant);
        if let Some(missing) = settings.grants.missing(asked, &wanted.stem) {
            return Err(Unusable::Blocked(missing));
        }
        let (values, client, stores) = {
            let settings = Arc::clone(settings);
            tokio::task::spawn_blocking(move || {
                let values = settings.resolve().map_err(|error| error.to_string())?;
                let client = http::client(&settings).map_err(|error| error.message)?;
                let stores = blobs::stores(&settings).map_err(|error| error.message)?;
                Ok((values, client, stores))
            })
            .await
            .map_err(|error| Unusable::Bad(error.to_string()))?
            .map_err(Unusable::Bad)?
        };
        let environment = PluginEnvironment {
            stem: wanted.stem.clone(),
            settings: Arc::clone(settings),
            config: values,
            http: client,
            blobs: stores,
            quota: settings.grants.quota(),
            directories: settings
                .grants
                .directories
                .as_ref()
                .map(|_| self.directory_root(&name)),
            memory: settings.limits.memory.min(crate::sandbox::MAX_MEMORY),
            log_bytes: usize::try_from(settings.limits.log_bytes).unwrap_or(usize::MAX),
            plugin: name,
        };
        let digest: String = loaded.driver.digest().chars().take(12).collect();
        let label = match (&candidate.semver, &loaded.semver) {
            (Some(version), _) => version.to_string(),
            // Two files of one name and one version are still two versions.
            (None, Some(version)) => format!("{version}+{digest}"),
            (None, None) => digest,
        };
        Ok(Version {
            label: label.into(),
            file: candidate.file.clone(),
            driver: loaded.driver,
            environment: Arc::new(environment),
            warm: WarmPool::new(settings.instances.reuse.unwrap_or(1)),
            settings: Arc::clone(settings),
        })
    }

    /// What became of this very file when it was read before.
    fn read_before(&self, candidate: &Candidate) -> Option<Result<Loaded, String>> {
        let read = self.read.lock();
        let (id, loaded) = read.get(&candidate.path)?;
        (*id == candidate.id).then(|| loaded.clone())
    }

    /// The driver in a file: read once, hashed, compiled, linked, asked.
    async fn loaded(&self, candidate: &Candidate) -> Result<Loaded, String> {
        if let Some(loaded) = self.read_before(candidate) {
            return loaded;
        }
        // A few at a time: the bytes of a thousand drivers at once would cost more memory than all of them compiled.
        let _turn = self
            .loading
            .acquire()
            .await
            .map_err(|error| error.to_string())?;
        let file = candidate.clone();
        let limit = self.daemon.limits.max_driver_size;
        // Whoever had the turn before may have loaded it.
        if let Some(loaded) = self.read_before(candidate) {
            return loaded;
        }
        let read = tokio::task::spawn_blocking(move || files::read(&file, limit))
            .await
            .map_err(|error| error.to_string())?;
        let mut passing = false;
        let loaded = match read {
            Ok((bytes, digest)) => self
                .sandbox
                .load(&bytes, &digest)
                .await
                .map(|driver| Loaded {
                    driver,
                    semver: candidate
                        .semver
                        .clone()
                        .or_else(|| files::component_version(&bytes)),
                })
                .map_err(|error| {
                    passing = error.may_pass();
                    error.to_string()
                }),
            Err(refusal) => {
                passing = refusal.is_transient();
                Err(refusal.to_string())
            }
        };
        if passing {
            return loaded;
        }
        self.read
            .lock()
            .insert(candidate.path.clone(), (candidate.id, loaded.clone()));
        loaded
    }
}

enum Unusable {
    /// The operator has to say something first.
    Blocked(String),
    /// The file will not do.
    Bad(String),
}

fn problem(candidate: &Candidate, reason: &str) -> Problem {
    Problem {
        file: candidate.file.clone(),
        reason: reason.to_owned(),
    }
}

impl Catalog {
    /// The plugins that the directory asks for. A name that two files ask for goes to the first of them.
    fn wanted(&self, seen: &Scan, problems: &mut Vec<Problem>) -> BTreeMap<String, Wanted> {
        let mut asked = self.asked.lock();
        let mut wanted: BTreeMap<String, Wanted> = BTreeMap::new();
        let default = Arc::new(config::Plugin::default());
        let stems = seen.plugins.keys().chain(seen.drivers.keys()).chain(
            seen.refused
                .iter()
                .filter_map(|refused| refused.stem.as_ref()),
        );
        let mut stems: Vec<&String> = stems.collect();
        stems.sort();
        stems.dedup();
        for stem in stems {
            let settings = match seen.plugins.get(stem) {
                Some(PluginFile {
                    settings: Ok(settings),
                    ..
                }) => Ok(Arc::clone(settings)),
                Some(PluginFile {
                    settings: Err(error),
                    ..
                }) => Err(error.to_string()),
                None => Ok(Arc::clone(&default)),
            };
            // A slip of the pen in a file must not take the plugins down that it named before.
            let (names, driver) = match (&settings, asked.get(stem)) {
                (Ok(settings), _) => (
                    settings.names(stem),
                    settings.driver.clone().unwrap_or_else(|| stem.clone()),
                ),
                (Err(_), Some(before)) => before.clone(),
                (Err(_), None) => (stem.parse().into_iter().collect(), stem.clone()),
            };
            asked.insert(stem.clone(), (names.clone(), driver.clone()));
            for name in names {
                if let Some(other) = wanted.get(&name.to_string()) {
                    problems.push(Problem {
                        file: format!("{stem}.toml"),
                        reason: format!(
                            "the plugin name {name} is taken by {}.toml; choose another in `names`",
                            other.stem
                        ),
                    });
                    continue;
                }
                wanted.insert(
                    name.to_string(),
                    Wanted {
                        name,
                        stem: stem.clone(),
                        settings: settings.clone(),
                        driver: driver.clone(),
                    },
                );
            }
        }
        wanted
    }
}
