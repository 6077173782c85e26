//! Snapshots: copies of a volume's image at one instant, which share its blocks where the machine's file system can.

use std::collections::BTreeMap;

use dockside_driver::{Error, ErrorCode, Result, Table, images, time};
use serde::{Deserialize, Serialize};

use crate::{
    not_missing,
    units::stamp,
    unless_missing,
    volume::{self, VOLUMES},
};

/// Snapshots by volume and name: see [`key`].
static SNAPSHOTS: Table<Snapshot> = Table::new("snapshots/");

/// A snapshot.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Snapshot {
    /// Its size in bytes.
    pub(crate) size: u64,
    /// Its file system.
    pub(crate) filesystem: String,
    /// When it was made, in seconds since 1970.
    pub(crate) created_at: u64,
    /// Which of them, among those made in one second.
    number: u64,
    /// The schedule that made it.
    pub(crate) schedule: Option<String>,
}

/// What a copy or a backup is made of: a volume or a snapshot.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    /// The volume that it is, or is a snapshot of.
    pub(crate) volume: String,
    /// The snapshot.
    pub(crate) snapshot: Option<String>,
    /// The key of its image.
    pub(crate) image: String,
    /// Its size in bytes.
    pub(crate) size: u64,
    /// Its file system.
    pub(crate) filesystem: String,
}

impl Source {
    /// Finds `VOLUME` or `VOLUME@SNAPSHOT`. A volume whose whole name this is comes first.
    pub(crate) fn find(text: &str) -> Result<Self> {
        if let Some(record) = VOLUMES.get(text)? {
            return Ok(Self {
                volume: text.to_owned(),
                snapshot: None,
                image: volume::image_key(text),
                size: record.size,
                filesystem: record.filesystem,
            });
        }
        let Some((volume, name)) = text.rsplit_once('@') else {
            return Err(Error::invalid(format!("there is no volume {text:?}")));
        };
        if !VOLUMES.contains(volume)? {
            return Err(Error::invalid(format!("there is no volume {volume:?}")));
        }
        let snapshot = find(volume, name)?;
        Ok(Self {
            volume: volume.to_owned(),
            snapshot: Some(name.to_owned()),
            image: image_key(volume, name),
            size: snapshot.size,
            filesystem: snapshot.filesystem,
        })
    }
}

/// A snapshot's name has no `@`, so that the last one in the key is the one before it.
fn key(volume: &str, name: &str) -> String {
    format!("{volume}@{name}")
}

fn image_key(volume: &str, name: &str) -> String {
    format!("snapshot/{}", key(volume, name))
}

fn check(name: &str) -> Result<()> {
    let fits = (1..=100).contains(&name.len())
        && name.starts_with(|first: char| first.is_ascii_alphanumeric())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'));
    if fits {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "{name:?} is no name of a snapshot: it has 1 to 100 letters, digits, -, _ and ., of which the first is a letter or a digit"
    )))
}

fn find(volume: &str, name: &str) -> Result<Snapshot> {
    if let Some(snapshot) = SNAPSHOTS.get(&key(volume, name))? {
        return Ok(snapshot);
    }
    let names = names(volume)?;
    Err(Error::invalid(if names.is_empty() {
        format!("volume {volume:?} has no snapshot {name:?}, nor any other")
    } else {
        format!(
            "volume {volume:?} has no snapshot {name:?}: it has {}",
            names.join(", ")
        )
    }))
}

/// Makes a snapshot. Without a name it is called after the time.
pub(crate) fn create(volume: &str, name: Option<&str>, schedule: Option<&str>) -> Result<String> {
    let record = volume::find(volume)?;
    let now = time::unix_seconds();
    let made = all(volume)?;
    let number = made
        .iter()
        .filter(|(_, snapshot)| snapshot.created_at == now)
        .map(|(_, snapshot)| snapshot.number + 1)
        .max()
        .unwrap_or(0);
    let name = match name {
        Some(name) => name.to_owned(),
        None => {
            let stamp = stamp(now);
            let taken = |name: &String| made.iter().any(|(other, _)| other == name);
            let mut names = (0..).map(|further| match further {
                0 => stamp.clone(),
                further => format!("{stamp}-{further}"),
            });
            names.find(|name| !taken(name)).unwrap_or(stamp.clone())
        }
    };
    check(&name)?;
    if SNAPSHOTS.contains(&key(volume, &name))? {
        return Err(Error::already_exists(format!(
            "volume {volume:?} has a snapshot {name:?} already"
        )));
    }
    images::clone(&volume::image_key(volume), &image_key(volume, &name)).map_err(not_missing)?;
    let snapshot = Snapshot {
        size: record.size,
        filesystem: record.filesystem,
        created_at: now,
        number,
        schedule: schedule.map(ToOwned::to_owned),
    };
    SNAPSHOTS.put(&key(volume, &name), &snapshot)?;
    Ok(name)
}

/// The snapshots of each volume that has any, the oldest first.
pub(crate) fn by_volume() -> Result<BTreeMap<String, Vec<(String, Snapshot)>>> {
    let mut found: BTreeMap<String, Vec<(String, Snapshot)>> = BTreeMap::new();
    for (key, snapshot) in SNAPSHOTS.iter()? {
        if let Some((volume, name)) = key.rsplit_once('@') {
            let of_volume = found.entry(volume.to_owned()).or_default();
            of_volume.push((name.to_owned(), snapshot));
        }
    }
    for of_volume in found.values_mut() {
        of_volume.sort_by_key(|(_, snapshot)| (snapshot.created_at, snapshot.number));
    }
    Ok(found)
}

/// The snapshots of a volume, the oldest first.
pub(crate) fn all(volume: &str) -> Result<Vec<(String, Snapshot)>> {
    Ok(by_volume()?.remove(volume).unwrap_or_default())
}

/// The names of the snapshots of a volume, the oldest first.
pub(crate) fn names(volume: &str) -> Result<Vec<String>> {
    Ok(all(volume)?.into_iter().map(|(name, _)| name).collect())
}

/// What a snapshot takes on the disk, by what images take.
pub(crate) fn used(volume: &str, name: &str, used: &BTreeMap<String, u64>) -> Option<u64> {
    used.get(&image_key(volume, name)).copied()
}

pub(crate) fn delete(volume: &str, name: &str) -> Result<()> {
    volume::find(volume)?;
    find(volume, name)?;
    unless_missing(images::delete(&image_key(volume, name)))?;
    SNAPSHOTS.remove(&key(volume, name))
}

pub(crate) fn remove_all(volume: &str) -> Result<()> {
    for name in names(volume)? {
        unless_missing(images::delete(&image_key(volume, &name)))?;
        SNAPSHOTS.remove(&key(volume, &name))?;
    }
    Ok(())
}

/// Gives a volume, which nobody may be using, the content of a snapshot. It keeps its size if it has grown since.
pub(crate) fn revert(volume: &str, name: &str) -> Result<()> {
    let record = volume::find(volume)?;
    let snapshot = find(volume, name)?;
    let image = volume::image_key(volume);
    images::restore(&image, &image_key(volume, name)).map_err(|error| match error.code() {
        ErrorCode::InUse => error.context(format!(
            "volume {volume:?} is in use: stop the containers that use it"
        )),
        _ => not_missing(error),
    })?;
    if record.size > snapshot.size {
        images::grow(&image, record.size)?;
    }
    Ok(())
}

/// Deletes the oldest snapshots that a schedule has made, but for so many.
pub(crate) fn prune(volume: &str, schedule: &str, keep: usize) -> Result<()> {
    let mut made = all(volume)?;
    made.retain(|(_, snapshot)| snapshot.schedule.as_deref() == Some(schedule));
    let surplus = made.len().saturating_sub(keep);
    for (name, _) in made.into_iter().take(surplus) {
        delete(volume, &name)?;
    }
    Ok(())
}
