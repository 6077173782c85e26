//! Work between calls: undoing what could not be undone, looking after mounts that can die, the drivers' own schedules, and settling what
//! failed calls left elsewhere.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::task::{Id, JoinSet};
use tracing::Level;

use crate::catalog::Catalog;
use crate::config::OnDead;
use crate::ledger::{Fact, Fate, Health, Kind, Ledger, Probed, Revival};
use crate::plugin::Plugin;
use crate::store::StoreError;

/// How often anything is looked at. The shortest schedule that a driver can have.
const BEAT: Duration = Duration::from_secs(1);

/// How often what could not be undone is tried again.
const RETRY: Duration = Duration::from_secs(30);

/// The longest pause between two tries to settle a call.
const LONGEST_PAUSE: Duration = Duration::from_secs(600);

/// How long the end of the daemon waits for what is under way. A driver may have been given hours for a turn of its timer.
const PATIENCE: Duration = Duration::from_secs(60);

/// Work that is done by one task at a time: a slow one must not pile up.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Job {
    /// Undoing what could not be undone.
    Retry,
    /// Taking away what relays showed that are gone.
    Relays,
    /// A plugin's schedule.
    Tick(String, String),
    /// Looking after a plugin's mounts.
    Probe(String),
    /// Settling what the note of this number says.
    Note(i64),
}

/// What is under way, and what is due when.
struct Upkeep {
    catalog: Arc<Catalog>,
    ledger: Arc<Ledger>,
    /// When jobs are due that are not under way.
    due: HashMap<Job, Instant>,
    /// How long the last pause was before a note is tried again.
    pauses: HashMap<i64, Duration>,
    /// Which job a task does.
    running: HashMap<Id, Job>,
    /// Each says whether its job went well.
    tasks: JoinSet<bool>,
}

/// Looks after everything until it is told to stop.
pub async fn run(catalog: Arc<Catalog>, ledger: Arc<Ledger>, mut stopped: watch::Receiver<bool>) {
    let mut beat = tokio::time::interval(BEAT);
    beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut upkeep = Upkeep {
        catalog,
        ledger,
        due: HashMap::new(),
        pauses: HashMap::new(),
        running: HashMap::new(),
        tasks: JoinSet::new(),
    };
    // What a start could not undo is tried again at once.
    upkeep.due.insert(Job::Retry, Instant::now());
    loop {
        tokio::select! {
            _ = beat.tick() => {}
            _ = stopped.wait_for(|stopped| *stopped) => break,
        }
        upkeep.collect();
        upkeep.begin_all();
    }
    // What is under way is a transaction: it is either finished or undone.
    let ended = async { while upkeep.tasks.join_next().await.is_some() {} };
    if tokio::time::timeout(PATIENCE, ended).await.is_err() {
        upkeep.tasks.shutdown().await;
    }
}

impl Upkeep {
    /// Notes which tasks have ended.
    fn collect(&mut self) {
        while let Some(ended) = self.tasks.try_join_next_with_id() {
            let (id, went_well) = match ended {
                Ok(ended) => ended,
                Err(error) => {
                    tracing::error!(%error, "work between calls died; its next turn comes");
                    (error.id(), false)
                }
            };
            let Some(job) = self.running.remove(&id) else {
                continue;
            };
            match job {
                Job::Note(number) if went_well => {
                    self.pauses.remove(&number);
                }
                Job::Note(number) => {
                    let last = self.pauses.get(&number);
                    let pause = last.map_or(BEAT * 2, |pause| (*pause * 2).min(LONGEST_PAUSE));
                    self.pauses.insert(number, pause);
                    self.due.insert(job, Instant::now() + pause);
                }
                Job::Retry | Job::Relays | Job::Tick(..) | Job::Probe(_) => {}
            }
        }
    }

    fn begin_all(&mut self) {
        let ledger = Arc::clone(&self.ledger);
        self.begin(Job::Retry, RETRY, async move {
            let retried = ledger.retry().await;
            if let Err(error) = &retried {
                tracing::warn!(%error, "what has to be undone cannot be read");
            }
            retried.is_ok()
        });
        let catalog = Arc::clone(&self.catalog);
        self.begin(Job::Relays, BEAT, async move {
            catalog.forget_relays().await;
            true
        });
        for plugin in self.catalog.plugins() {
            let Some(version) = plugin.version() else {
                continue;
            };
            let name = plugin.name().to_owned();
            for schedule in &version.driver.description().schedules {
                let every = Duration::from_secs(u64::from(schedule.every.max(1)));
                let schedule = schedule.name.clone();
                let plugin = Arc::clone(&plugin);
                self.begin(
                    Job::Tick(name.clone(), schedule.clone()),
                    every,
                    async move {
                        plugin.tick(&schedule).await;
                        true
                    },
                );
            }
            if let Some(mounts) = &version.settings.grants.mounts {
                let (ledger, on_dead) = (Arc::clone(&self.ledger), mounts.on_dead);
                let plugin = Arc::clone(&plugin);
                self.begin(Job::Probe(name), mounts.probe_every, async move {
                    look_after_mounts(&plugin, &ledger, on_dead).await;
                    true
                });
            }
        }
        if let Err(error) = self.settle() {
            tracing::warn!(%error, "what calls left to be settled cannot be read");
        }
    }

    /// Begins a job when it is due: for the first time, and after its end, when `every` has passed.
    fn begin(
        &mut self,
        job: Job,
        every: Duration,
        work: impl Future<Output = bool> + Send + 'static,
    ) {
        if self.running.values().any(|running| *running == job) {
            return;
        }
        let now = Instant::now();
        let due = *self.due.entry(job.clone()).or_insert(now + every);
        if now >= due {
            self.due.remove(&job);
            let task = self.tasks.spawn(work);
            self.running.insert(task.id(), job);
        }
    }

    /// Lets drivers settle what calls that have failed noted.
    fn settle(&mut self) -> Result<(), StoreError> {
        let mut over = self.ledger.store().notes()?;
        over.retain(|(_, note)| !self.ledger.is_live(&note.call));
        if over.is_empty() {
            return Ok(());
        }
        // Read once more: a call may have committed, and so dropped its notes, between the first look and its end. What it did must not be
        // settled. By call too: a number can be given again.
        let now = self.ledger.store().notes()?;
        let open: HashSet<(i64, String)> = now
            .into_iter()
            .map(|(_, note)| (note.number, note.call))
            .collect();
        over.retain(|(_, note)| open.contains(&(note.number, note.call.clone())));
        for (name, note) in over {
            let Some(plugin) = self.catalog.plugin(&name) else {
                continue;
            };
            let ledger = Arc::clone(&self.ledger);
            self.begin(Job::Note(note.number), Duration::ZERO, async move {
                plugin.compensate(&note).await
                    && ledger.store().forget_note(note.number).await.is_ok()
            });
        }
        Ok(())
    }
}

async fn look_after_mounts(plugin: &Arc<Plugin>, ledger: &Arc<Ledger>, on_dead: OnDead) {
    let name = plugin.name();
    let probed = match ledger.probe(name).await {
        Ok(probed) => probed,
        Err(error) => {
            tracing::warn!(plugin = name, %error, "mounts cannot be looked at");
            return;
        }
    };
    for Probed {
        key,
        health,
        is_new,
    } in probed
    {
        let label = plugin.version().map(|version| Arc::clone(&version.label));
        let say = |level: Level, text: String| {
            plugin
                .log()
                .host(level, label.as_deref().unwrap_or_default(), &text);
        };
        let reason = match &health {
            Health::Alive => {
                say(Level::INFO, format!("the mount {key:?} answers again"));
                continue;
            }
            Health::Degraded(reason) => reason.clone(),
            Health::Gone => "somebody else has unmounted it".to_owned(),
        };
        let (done, result) = match on_dead {
            OnDead::Alert if !is_new => continue,
            OnDead::Alert => ("nothing is done about it (on-dead)", Ok(())),
            OnDead::Remount => {
                let Some(version) = plugin.version() else {
                    continue;
                };
                let result = ledger.remount(name, &key, &version.settings).await;
                (
                    match result {
                        Ok(Revival::Answers) => "it answers again",
                        _ => "it was mounted again",
                    },
                    result.map(drop).map_err(|error| error.to_string()),
                )
            }
            OnDead::Unmount => {
                let result = ledger.give_up(name, &key).await;
                (
                    "it was unmounted",
                    result.map_err(|error| error.to_string()),
                )
            }
        };
        let fate = match on_dead {
            OnDead::Alert => Some(Fate::Degraded),
            OnDead::Unmount if result.is_ok() => Some(Fate::Removed),
            OnDead::Unmount | OnDead::Remount => None,
        };
        if let (Some(fate), Some(version)) = (fate, plugin.version()) {
            let fact = Fact {
                kind: Kind::Mount,
                key: key.clone(),
                fate,
            };
            ledger.tell(name, vec![fact]);
            plugin.tell(&version).await;
        }
        match result {
            Ok(()) => say(
                Level::WARN,
                format!("the mount {key:?} does not work: {reason}; {done}"),
            ),
            // Its server may come back, so it is tried again each time, and told once.
            Err(_) if !is_new => {}
            Err(error) => say(
                Level::ERROR,
                format!("the mount {key:?} does not work: {reason}; {error}"),
            ),
        }
    }
}
