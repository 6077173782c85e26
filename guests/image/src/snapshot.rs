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

/// The snapshots of each volume that has any, the oldest first. One value for each volume, so that a call that takes long, as a copy can, loses
/// against no call for another.
static SNAPSHOTS: Table<Vec<Snapshot>> = Table::new("snapshots/");

/// A snapshot.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Snapshot {
    /// Its name.
    pub(crate) name: String,
    /// Its size in bytes.
    pub(crate) size: u64,
    /// Its file system.
    pub(crate) filesystem: String,
    /// When it was made, in seconds since 1970.
    pub(crate) created_at: u64,
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

/// A snapshot's name has no `@`, so that no other volume and snapshot have this key.
fn image_key(volume: &str, name: &str) -> String {
    format!("snapshot/{volume}@{name}")
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
    let snapshots = all(volume)?;
    if let Some(found) = snapshots.iter().find(|snapshot| snapshot.name == name) {
        return Ok(found.clone());
    }
    Err(Error::invalid(if snapshots.is_empty() {
        format!("volume {volume:?} has no snapshot {name:?}, nor any other")
    } else {
        let names = names(&snapshots).join(", ");
        format!("volume {volume:?} has no snapshot {name:?}: it has {names}")
    }))
}

/// Makes a snapshot. Without a name it is called after the time.
pub(crate) fn create(volume: &str, name: Option<&str>, schedule: Option<&str>) -> Result<String> {
    let record = volume::find(volume)?;
    let mut snapshots = all(volume)?;
    let now = time::unix_seconds();
    let taken = |name: &str| snapshots.iter().any(|snapshot| snapshot.name == name);
    let name = match name {
        Some(name) => name.to_owned(),
        None => {
            let stamp = stamp(now);
            let mut names = (0..).map(|further| match further {
                0 => stamp.clone(),
                further => format!("{stamp}-{further}"),
            });
            names.find(|name| !taken(name)).unwrap_or_default()
        }
    };
    check(&name)?;
    if taken(&name) {
        return Err(Error::already_exists(format!(
            "volume {volume:?} has a snapshot {name:?} already"
        )));
    }
    images::clone(&volume::image_key(volume), &image_key(volume, &name)).map_err(not_missing)?;
    snapshots.push(Snapshot {
        name: name.clone(),
        size: record.size,
        filesystem: record.filesystem,
        created_at: now,
        schedule: schedule.map(ToOwned::to_owned),
    });
    SNAPSHOTS.put(volume, &snapshots)?;
    Ok(name)
}

/// The snapshots of each volume that has any, the oldest first.
pub(crate) fn by_volume() -> Result<BTreeMap<String, Vec<Snapshot>>> {
    Ok(SNAPSHOTS.iter()?.collect())
}

/// The snapshots of a volume, the oldest first.
pub(crate) fn all(volume: &str) -> Result<Vec<Snapshot>> {
    Ok(SNAPSHOTS.get(volume)?.unwrap_or_default())
}

/// Their names.
pub(crate) fn names(snapshots: &[Snapshot]) -> Vec<&str> {
    snapshots
        .iter()
        .map(|snapshot| snapshot.name.as_str())
        .collect()
}

/// What a snapshot takes on the disk, by what images take.
pub(crate) fn used(volume: &str, name: &str, used: &BTreeMap<String, u64>) -> Option<u64> {
    used.get(&image_key(volume, name)).copied()
}

pub(crate) fn delete(volume: &str, name: &str) -> Result<()> {
    volume::find(volume)?;
    find(volume, name)?;
    remove(volume, |snapshot| snapshot.name == name)
}

pub(crate) fn remove_all(volume: &str) -> Result<()> {
    remove(volume, |_| true)
}

fn remove(volume: &str, doomed: impl Fn(&Snapshot) -> bool) -> Result<()> {
    let (gone, left): (Vec<_>, Vec<_>) = all(volume)?.into_iter().partition(doomed);
    for snapshot in &gone {
        unless_missing(images::delete(&image_key(volume, &snapshot.name)))?;
    }
    match left.as_slice() {
        [] => SNAPSHOTS.remove(volume),
        left => SNAPSHOTS.put(volume, &left.to_vec()),
    }
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
    let made = |snapshot: &Snapshot| snapshot.schedule.as_deref() == Some(schedule);
    let mut doomed = all(volume)?;
    doomed.retain(made);
    doomed.truncate(doomed.len().saturating_sub(keep));
    remove(volume, |snapshot| {
        doomed.iter().any(|doomed| doomed.name == snapshot.name)
    })
}
