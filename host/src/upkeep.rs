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
use crate::ledger::{Fact, Fate, Health, Kind, Ledger, Probed};
use crate::plugin::Plugin;

/// How often anything is looked at. The shortest schedule that a driver can have.
const BEAT: Duration = Duration::from_secs(1);

/// How often what could not be undone is tried again.
const RETRY: Duration = Duration::from_secs(30);

/// The longest pause between two tries to settle a call.
const LONGEST_PAUSE: Duration = Duration::from_secs(600);

/// What is due when.
#[derive(Debug, Default)]
struct Diary {
    /// By plugin and schedule.
    ticks: HashMap<(String, String), Instant>,
    probes: HashMap<String, Instant>,
    /// By number, with the pause that came before.
    notes: HashMap<i64, (Instant, Duration)>,
}

/// Looks after everything until it is told to stop.
pub async fn run(catalog: Arc<Catalog>, ledger: Arc<Ledger>, mut stopped: watch::Receiver<bool>) {
    let mut beat = tokio::time::interval(BEAT);
    beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut diary = Diary::default();
    let mut retry = Instant::now();
    let mut jobs: JoinSet<Done> = JoinSet::new();
    // One job at a time for each plugin and purpose: a slow one must not pile up.
    let mut busy: HashSet<Done> = HashSet::new();
    // Which job a task does, for one that dies.
    let mut running: HashMap<Id, Done> = HashMap::new();
    loop {
        tokio::select! {
            _ = beat.tick() => {}
            _ = stopped.wait_for(|stopped| *stopped) => break,
        }
        while let Some(ended) = jobs.try_join_next_with_id() {
            let done = match ended {
                Ok((id, done)) => {
                    running.remove(&id);
                    Some(done)
                }
                Err(error) => {
                    tracing::error!(%error, "work between calls died; its next turn comes");
                    running.remove(&error.id())
                }
            };
            if let Some(done) = done {
                diary.done(&done);
                busy.remove(&done);
            }
        }
        let now = Instant::now();
        if now >= retry && busy.insert(Done::Retry) {
            retry = now + RETRY;
            let ledger = Arc::clone(&ledger);
            begin(&mut running, &mut jobs, Done::Retry, async move {
                if let Err(error) = ledger.retry().await {
                    tracing::warn!(%error, "what has to be undone cannot be read");
                }
                Done::Retry
            });
        }
        for plugin in catalog.plugins() {
            let Some(version) = plugin.version() else {
                continue;
            };
            for schedule in &version.driver.description().schedules {
                let at = (plugin.name().to_owned(), schedule.name.clone());
                let every = Duration::from_secs(u64::from(schedule.every.max(1)));
                let due = *diary.ticks.entry(at.clone()).or_insert(now + every);
                let job = Done::Tick(at.0.clone(), at.1.clone(), every);
                if now >= due && busy.insert(job.clone()) {
                    let plugin = Arc::clone(&plugin);
                    begin(&mut running, &mut jobs, job.clone(), async move {
                        plugin.tick(&at.1).await;
                        job
                    });
                }
            }
            if let Some(mounts) = &version.settings.grants.mounts {
                let name = plugin.name().to_owned();
                let due = *diary
                    .probes
                    .entry(name.clone())
                    .or_insert(now + mounts.probe_every);
                let job = Done::Probe(name.clone(), mounts.probe_every);
                if now >= due && busy.insert(job.clone()) {
                    let (plugin, ledger) = (Arc::clone(&plugin), Arc::clone(&ledger));
                    let on_dead = mounts.on_dead;
                    begin(&mut running, &mut jobs, job.clone(), async move {
                        look_after_mounts(&plugin, &ledger, on_dead).await;
                        job
                    });
                }
            }
        }
        settle(
            &catalog,
            &ledger,
            &mut diary,
            &mut busy,
            &mut running,
            &mut jobs,
        );
    }
    // What is under way is a transaction: it is either finished or undone.
    while jobs.join_next().await.is_some() {}
}

fn begin(
    running: &mut HashMap<Id, Done>,
    jobs: &mut JoinSet<Done>,
    job: Done,
    work: impl Future<Output = Done> + Send + 'static,
) {
    let task = jobs.spawn(work);
    running.insert(task.id(), job);
}

/// A job that was done, for the diary.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Done {
    Retry,
    Tick(String, String, Duration),
    Probe(String, Duration),
    Note(i64, Settled),
}

/// Whether a note was settled. Not part of what makes two jobs the same.
#[derive(Debug, Clone, Copy)]
struct Settled(bool);

impl PartialEq for Settled {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Settled {}

impl std::hash::Hash for Settled {
    fn hash<H: std::hash::Hasher>(&self, _: &mut H) {}
}

impl Diary {
    fn done(&mut self, job: &Done) {
        let now = Instant::now();
        match job {
            Done::Retry => {}
            Done::Tick(plugin, schedule, every) => {
                self.ticks
                    .insert((plugin.clone(), schedule.clone()), now + *every);
            }
            Done::Probe(plugin, every) => {
                self.probes.insert(plugin.clone(), now + *every);
            }
            Done::Note(number, Settled(true)) => {
                self.notes.remove(number);
            }
            Done::Note(number, Settled(false)) => {
                let pause = self
                    .notes
                    .get(number)
                    .map_or(BEAT, |(_, pause)| (*pause * 2).min(LONGEST_PAUSE));
                self.notes.insert(*number, (now + pause, pause));
            }
        }
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
                    "it was mounted again",
                    result.map_err(|error| error.to_string()),
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

fn settle(
    catalog: &Arc<Catalog>,
    ledger: &Arc<Ledger>,
    diary: &mut Diary,
    busy: &mut HashSet<Done>,
    running: &mut HashMap<Id, Done>,
    jobs: &mut JoinSet<Done>,
) {
    let notes = match ledger.store().notes() {
        Ok(notes) => notes,
        Err(error) => {
            tracing::warn!(%error, "what calls left to be settled cannot be read");
            return;
        }
    };
    let mut over: Vec<_> = notes
        .into_iter()
        .filter(|(_, note)| !ledger.is_live(&note.call))
        .collect();
    if over.is_empty() {
        return;
    }
    // Read once more: a call may have committed, and so dropped its notes, between the first look and its end. What it did must not be settled.
    // By call too: a number can be given again.
    let open: HashSet<(i64, String)> = match ledger.store().notes() {
        Ok(notes) => notes
            .into_iter()
            .map(|(_, note)| (note.number, note.call))
            .collect(),
        Err(error) => {
            tracing::warn!(%error, "what calls left to be settled cannot be read");
            return;
        }
    };
    over.retain(|(_, note)| open.contains(&(note.number, note.call.clone())));
    let now = Instant::now();
    for (name, note) in over {
        let (due, _) = *diary.notes.entry(note.number).or_insert((now, BEAT));
        let job = Done::Note(note.number, Settled(false));
        let Some(plugin) = catalog.plugin(&name).filter(|_| now >= due) else {
            continue;
        };
        if !busy.insert(job) {
            continue;
        }
        let ledger = Arc::clone(ledger);
        begin(
            running,
            jobs,
            Done::Note(note.number, Settled(false)),
            async move {
                let settled = plugin.compensate(&note).await;
                let forgotten = settled && ledger.store().forget_note(note.number).await.is_ok();
                Done::Note(note.number, Settled(forgotten))
            },
        );
    }
}
