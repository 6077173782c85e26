//! Snapshots and backups that are made again and again.
//!
//! When one is due is part of the state, so that it is made late and once after the daemon was down. A failure is noted, logged, and tried again
//! soon.

use std::collections::BTreeMap;

use dockside_driver::{Error, Result, Table, log, time};
use serde::{Deserialize, Serialize};

use crate::{
    backup, collect, repository,
    snapshot::{self, Source},
    units::show_span,
    volume,
};

/// The timer for snapshots.
pub(crate) const SNAPSHOTS: &str = "snapshots";

/// The timer for backups.
pub(crate) const BACKUPS: &str = "backups";

/// How often it is looked whether anything is due, in seconds.
pub(crate) const BEAT: u32 = 5;

/// How soon a failure is tried again, in seconds, unless it is due before.
const AGAIN: u64 = 300;

/// How long one turn makes snapshots before it leaves the others to the next one, in seconds.
const TURN: u64 = 20;

/// The schedules of each kind, by volume and name. One value for each kind, so that a backup that takes hours loses against no snapshot.
static SCHEDULES: Table<Schedules> = Table::new("schedules/");

/// Keys are `VOLUME@NAME`. A name has no `@`.
type Schedules = BTreeMap<String, Schedule>;

/// What is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum What {
    /// A snapshot.
    Snapshot,
    /// A backup.
    Backup,
}

impl What {
    const ALL: [Self; 2] = [Self::Backup, Self::Snapshot];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Snapshot => "snapshot",
            Self::Backup => "backup",
        }
    }
}

/// Something that is made again and again.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Schedule {
    pub(crate) what: What,
    /// Seconds from one to the next.
    pub(crate) every: u64,
    /// How many of them stay.
    pub(crate) keep: u64,
    /// Where backups go; none is the usual store.
    pub(crate) store: Option<String>,
    /// When the next one is due, in seconds since 1970.
    pub(crate) next: u64,
    /// When the last one was made.
    pub(crate) last: Option<u64>,
    /// Why the last try failed.
    pub(crate) error: Option<String>,
}

impl Schedule {
    fn is_due(&self, now: u64) -> bool {
        // A clock that was set back must not keep it from being made for long.
        self.next <= now || self.next > now + self.every
    }
}

fn key(volume: &str, name: &str) -> String {
    format!("{volume}@{name}")
}

fn load(what: What) -> Result<Schedules> {
    Ok(SCHEDULES.get(what.name())?.unwrap_or_default())
}

fn save(what: What, schedules: &Schedules) -> Result<()> {
    match schedules.is_empty() {
        true => SCHEDULES.remove(what.name()),
        false => SCHEDULES.put(what.name(), schedules),
    }
}

/// The name of a schedule: what it makes and how often.
fn name(what: What, every: u64) -> String {
    format!("{}-{}", what.name(), show_span(every))
}

/// Begins a schedule, or changes how many it keeps and where it puts them. The first one is made at once.
pub(crate) fn add(
    volume: &str,
    what: What,
    every: u64,
    keep: u64,
    store: Option<&str>,
) -> Result<String> {
    volume::find(volume)?;
    if every < u64::from(BEAT) {
        return Err(Error::invalid(format!(
            "every {every}s is too often: at least {BEAT}s"
        )));
    }
    if keep == 0 {
        return Err(Error::invalid(
            "at least one has to be kept: say keep=1 or more",
        ));
    }
    if what == What::Backup {
        repository::store(store)?;
    }
    let name = name(what, every);
    let key = key(volume, &name);
    let now = time::unix_seconds();
    let mut schedules = load(what)?;
    let schedule = match schedules.remove(&key) {
        Some(known) => Schedule {
            keep,
            store: store.map(ToOwned::to_owned),
            ..known
        },
        None => Schedule {
            what,
            every,
            keep,
            store: store.map(ToOwned::to_owned),
            next: now,
            last: None,
            error: None,
        },
    };
    schedules.insert(key, schedule);
    save(what, &schedules)?;
    Ok(name)
}

/// Ends a schedule. What it has made stays.
pub(crate) fn remove(volume: &str, name: &str) -> Result<()> {
    for what in What::ALL {
        let mut schedules = load(what)?;
        if schedules.remove(&key(volume, name)).is_some() {
            return save(what, &schedules);
        }
    }
    let all = all()?.into_iter();
    let known: Vec<String> = all
        .filter_map(|(of, name, _)| (of == volume).then_some(name))
        .collect();
    Err(Error::invalid(match known.as_slice() {
        [] => format!("volume {volume:?} has no schedule"),
        known => format!(
            "volume {volume:?} has no schedule {name:?}: it has {}",
            known.join(", ")
        ),
    }))
}

pub(crate) fn remove_all(volume: &str) -> Result<()> {
    for what in What::ALL {
        let mut schedules = load(what)?;
        let before = schedules.len();
        schedules.retain(|key, _| key.rsplit_once('@').is_none_or(|(of, _)| of != volume));
        if schedules.len() < before {
            save(what, &schedules)?;
        }
    }
    Ok(())
}

/// All schedules: volume, name and what it says.
pub(crate) fn all() -> Result<Vec<(String, String, Schedule)>> {
    let mut found = Vec::new();
    for what in What::ALL {
        for (key, schedule) in load(what)? {
            if let Some((volume, name)) = key.rsplit_once('@') {
                found.push((volume.to_owned(), name.to_owned(), schedule));
            }
        }
    }
    found.sort_by(|(volume, name, _), (other, next, _)| (volume, name).cmp(&(other, next)));
    Ok(found)
}

/// Makes what is due.
pub(crate) fn tick(timer: &str) -> Result<()> {
    let (what, turn) = match timer {
        SNAPSHOTS => (What::Snapshot, TURN),
        // One backup is one call: what is due besides comes with the next one.
        _ => (What::Backup, 0),
    };
    let begun = time::unix_seconds();
    let mut schedules = load(what)?;
    let mut due: Vec<(u64, String)> = schedules
        .iter()
        .filter(|(_, schedule)| schedule.is_due(begun))
        .map(|(key, schedule)| (schedule.next, key.clone()))
        .collect();
    due.sort_unstable();
    for (_, key) in due {
        let Some((schedule, (volume, name))) = schedules.get_mut(&key).zip(key.rsplit_once('@'))
        else {
            continue;
        };
        let made = make(volume, name, schedule);
        let now = time::unix_seconds();
        schedule.error = None;
        match made {
            Ok(()) => {
                schedule.last = Some(now);
                let missed = now.saturating_sub(schedule.next) / schedule.every;
                let next = schedule.next + (missed + 1) * schedule.every;
                schedule.next = next.min(now + schedule.every);
            }
            Err(error) => {
                log::error!("the {} of {volume:?} failed: {error}", schedule.what.name());
                schedule.error = Some(error.into_message());
                schedule.next = now + schedule.every.min(AGAIN);
            }
        }
        save(what, &schedules)?;
        if now.saturating_sub(begun) >= turn {
            break;
        }
    }
    Ok(())
}

/// Makes one, and deletes the oldest ones that are too many.
fn make(volume: &str, name: &str, schedule: &Schedule) -> Result<()> {
    let keep = usize::try_from(schedule.keep).unwrap_or(usize::MAX);
    match schedule.what {
        What::Snapshot => {
            snapshot::create(volume, None, Some(name))?;
            snapshot::prune(volume, name, keep)
        }
        What::Backup => {
            let store = repository::store(schedule.store.as_deref())?;
            backup::create(&store, &Source::find(volume)?, Some(name))?;
            prune(&store, volume, name, keep)
        }
    }
}

/// Deletes the oldest backups that a schedule of this installation has made, but for so many.
fn prune(store: &str, volume: &str, schedule: &str, keep: usize) -> Result<()> {
    let origin = backup::origin()?;
    let mut made = collect::list(store)?;
    made.retain(|(_, summary)| {
        summary.as_ref().is_ok_and(|summary| {
            summary.volume == volume
                && summary.origin == origin
                && summary.schedule.as_deref() == Some(schedule)
        })
    });
    let surplus = made.len().saturating_sub(keep);
    if surplus == 0 {
        return Ok(());
    }
    for (at, _) in made.into_iter().take(surplus) {
        repository::retract(&at)?;
    }
    collect::collect_or_leave(store).map(drop)
}
