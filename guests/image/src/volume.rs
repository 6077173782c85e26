//! Volumes: what Docker asks for.

use std::collections::BTreeMap;

use dockside_driver::{
    Directory, Error, ErrorCode, KeyValues, Result, Table, VolumeInfo, config,
    images::{self, Attributes, Filesystem},
    mounts::{self, Flags},
    time,
};
use serde::{Deserialize, Serialize};

use crate::{
    not_missing,
    repository::Reference,
    restore, schedule,
    snapshot::{self, Snapshot, Source},
    units::{parse_size, show_size},
    unless_missing,
};

/// The size of a volume if nobody says another.
const USUAL_SIZE: &str = "1g";

pub(crate) static VOLUMES: Table<Record> = Table::new("volumes/");

/// A volume.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Record {
    /// Its size in bytes.
    pub(crate) size: u64,
    /// Its file system.
    pub(crate) filesystem: String,
    /// What it was made with.
    asked: Asked,
    /// When it was made, in seconds since 1970.
    created_at: u64,
}

/// The options that a volume was made with.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Asked {
    size: Option<u64>,
    filesystem: Option<String>,
    uid: Option<u32>,
    gid: Option<u32>,
    mode: Option<u32>,
    from: Option<String>,
    backup: Option<String>,
}

/// The key of a volume's image. Those of snapshots and of what a backup reads begin otherwise.
pub(crate) fn image_key(name: &str) -> String {
    format!("volume/{name}")
}

pub(crate) fn find(name: &str) -> Result<Record> {
    VOLUMES
        .get(name)?
        .ok_or_else(|| Error::not_found(format!("there is no volume {name:?}")))
}

impl Asked {
    pub(crate) fn new(options: &KeyValues) -> Result<Self> {
        let asked = Self {
            size: options.get("size").map(parse_size).transpose()?,
            filesystem: options.get("fs").map(ToOwned::to_owned),
            uid: options.parse("uid")?,
            gid: options.parse("gid")?,
            mode: options.get("mode").map(octal).transpose()?,
            from: options.get("from").map(ToOwned::to_owned),
            backup: options.get("backup").map(ToOwned::to_owned),
        };
        let source = match (&asked.from, &asked.backup) {
            (Some(_), Some(_)) => {
                return Err(Error::invalid(
                    "a volume begins either as a copy (from) or as a backup holds it (backup): say one of them",
                ));
            }
            (Some(_), None) => "from",
            (None, Some(_)) => "backup",
            (None, None) => return Ok(asked),
        };
        for (option, given) in [
            ("fs", asked.filesystem.is_some()),
            ("uid", asked.uid.is_some()),
            ("gid", asked.gid.is_some()),
            ("mode", asked.mode.is_some()),
        ] {
            if given {
                return Err(Error::invalid(format!(
                    "option {option} does not go with {source}: the volume has file system and owner of what it begins as"
                )));
            }
        }
        Ok(asked)
    }

    /// A copy.
    pub(crate) fn from(source: &str, size: Option<u64>) -> Self {
        Self {
            size,
            from: Some(source.to_owned()),
            ..Self::default()
        }
    }

    /// What a backup holds.
    pub(crate) fn backup(reference: &str, size: Option<u64>) -> Self {
        Self {
            size,
            backup: Some(reference.to_owned()),
            ..Self::default()
        }
    }
}

pub(crate) fn create(name: &str, options: &KeyValues) -> Result<()> {
    let asked = Asked::new(options)?;
    match VOLUMES.get(name)? {
        None => make(name, asked).map(drop),
        Some(existing) if existing.asked == asked => Ok(()),
        Some(_) => Err(Error::already_exists(format!(
            "volume {name:?} exists already, with other options"
        ))),
    }
}

/// Makes a volume of which there is none yet.
pub(crate) fn make(name: &str, asked: Asked) -> Result<Record> {
    if VOLUMES.contains(name)? {
        return Err(Error::already_exists(format!(
            "there is a volume {name:?} already"
        )));
    }
    let key = image_key(name);
    let (has, filesystem) = match (&asked.from, &asked.backup) {
        (Some(from), _) => {
            let source = Source::find(from)?;
            images::clone(&source.image, &key).map_err(not_missing)?;
            (source.size, source.filesystem)
        }
        (None, Some(backup)) => restore::restore(&Reference::parse(backup)?, &key)?,
        (None, None) => {
            let size = match asked.size {
                Some(size) => size,
                None => setting("size", USUAL_SIZE, parse_size)?,
            };
            let filesystem = match &asked.filesystem {
                Some(name) => name.parse()?,
                None => setting("fs", "ext4", |name| name.parse::<Filesystem>())?,
            };
            let attributes = Attributes {
                uid: asked.uid,
                gid: asked.gid,
                mode: asked.mode,
            };
            images::create(&key, size, filesystem, attributes)?;
            (size, filesystem.to_string())
        }
    };
    let size = has.max(asked.size.unwrap_or(0));
    if size > has {
        images::grow(&key, size)?;
    }
    let record = Record {
        size,
        filesystem,
        asked,
        created_at: time::unix_seconds(),
    };
    VOLUMES.put(name, &record)?;
    Ok(record)
}

/// A setting of the operator's, or what it is without one.
fn setting<T>(key: &str, usual: &str, read: impl Fn(&str) -> Result<T>) -> Result<T> {
    let value = config::get(key)?;
    read(value.as_deref().unwrap_or(usual))
        .map_err(|error| error.context(format!("{key} under [config] of this plugin")))
}

fn octal(mode: &str) -> Result<u32> {
    u32::from_str_radix(mode, 8)
        .ok()
        .filter(|mode| *mode <= 0o7777)
        .ok_or_else(|| {
            Error::invalid(format!(
                "option mode={mode}: say permissions in octal, from 0 to 7777, such as 0750"
            ))
        })
}

pub(crate) fn remove(name: &str) -> Result<()> {
    if VOLUMES.contains(name)? {
        unless_missing(images::delete(&image_key(name)))?;
        snapshot::remove_all(name)?;
        schedule::remove_all(name)?;
        VOLUMES.remove(name)?;
    }
    Ok(())
}

pub(crate) fn mount(name: &str) -> Result<Directory> {
    find(name)?;
    match mounts::open(name) {
        Err(error) if error.code() == ErrorCode::NotFound => {
            let image = images::open(&image_key(name)).map_err(not_missing)?;
            mounts::mount(name, &image, Flags::default())
        }
        mounted => mounted,
    }
}

pub(crate) fn unmount(name: &str) -> Result<()> {
    unless_missing(mounts::unmount(name)).map(drop)
}

/// Makes a volume larger, mounted or not.
pub(crate) fn grow(name: &str, size: u64) -> Result<Record> {
    let mut record = find(name)?;
    if size < record.size {
        return Err(Error::invalid(format!(
            "volume {name:?} has {} already, and a volume never shrinks: make a smaller one and copy the files",
            show_size(record.size)
        )));
    }
    images::grow(&image_key(name), size)?;
    record.size = size;
    VOLUMES.put(name, &record)?;
    Ok(record)
}

pub(crate) fn get(name: &str) -> Result<VolumeInfo> {
    let record = find(name)?;
    info(name, &record, &used()?, &snapshot::all(name)?)
}

pub(crate) fn list() -> Result<Vec<VolumeInfo>> {
    let used = used()?;
    let snapshots = snapshot::by_volume()?;
    let volumes = VOLUMES.iter()?.map(|(name, record)| {
        let snapshots = snapshots.get(&name).map_or(&[][..], Vec::as_slice);
        info(&name, &record, &used, snapshots)
    });
    volumes.collect()
}

/// What images take on the disk, by their keys.
pub(crate) fn used() -> Result<BTreeMap<String, u64>> {
    let images = images::list()?.into_iter();
    Ok(images.map(|image| (image.key, image.allocated)).collect())
}

fn info(
    name: &str,
    record: &Record,
    used: &BTreeMap<String, u64>,
    snapshots: &[Snapshot],
) -> Result<VolumeInfo> {
    let mut info = VolumeInfo::new(name)
        .created_at(record.created_at)
        .status("size", show_size(record.size))
        .status("fs", &record.filesystem);
    match used.get(&image_key(name)) {
        Some(used) => info.status.insert("used", show_size(*used)),
        None => info
            .status
            .insert("state", "its image is gone from this machine"),
    }
    if !snapshots.is_empty() {
        info.status
            .insert("snapshots", snapshot::names(snapshots).join(", "));
    }
    for (option, value) in [
        ("from", &record.asked.from),
        ("backup", &record.asked.backup),
    ] {
        if let Some(value) = value {
            info.status.insert(option, value);
        }
    }
    info.mountpoint = unless_missing(mounts::open(name))?;
    Ok(info)
}
