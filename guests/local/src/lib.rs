//! Volumes as directories: what a container writes stays until the volume is removed.

use dockside_driver::{
    Directory, Error, ErrorCode, KeyValues, Options, Result, Table, Volume, VolumeInfo,
    directories::{self, Attributes},
    options::{self, Declaration},
    time,
};
use serde::{Deserialize, Serialize};

struct Local;

/// A volume: how its directory was made, and when, in seconds since 1970.
#[derive(Serialize, Deserialize)]
struct Record {
    uid: Option<u32>,
    gid: Option<u32>,
    mode: u32,
    created_at: u64,
}

static VOLUMES: Table<Record> = Table::new("volumes/");

/// The largest user or group ID: the one behind it means "unchanged" to `chown`.
const MAX_ID: i64 = 0xffff_fffe;

impl Record {
    fn new(options: &KeyValues) -> Result<Self> {
        let mode = octal(options.get("mode").unwrap_or("0755"))?;
        Ok(Self {
            uid: options.parse("uid")?,
            gid: options.parse("gid")?,
            mode,
            created_at: time::unix_seconds(),
        })
    }

    fn find(name: &str) -> Result<Self> {
        VOLUMES
            .get(name)?
            .ok_or_else(|| Error::not_found(format!("there is no volume {name:?}")))
    }

    fn attributes(&self) -> Attributes {
        Attributes {
            uid: self.uid,
            gid: self.gid,
            mode: Some(self.mode),
        }
    }

    fn info(&self, name: &str) -> Result<VolumeInfo> {
        let mut info = VolumeInfo::new(name)
            .created_at(self.created_at)
            .status("mode", format!("{:04o}", self.mode));
        for (option, id) in [("uid", self.uid), ("gid", self.gid)] {
            id.into_iter().for_each(|id| info.status.insert(option, id));
        }
        // A directory that is gone does not mean that the volume is: "not found" would make the engine forget it.
        info.mountpoint = unless_missing(directories::open(name))?;
        Ok(info)
    }
}

fn octal(mode: &str) -> Result<u32> {
    let wrong = || {
        Error::invalid(format!(
            "option mode={mode}: say permissions in octal, from 0 to 7777, such as 0750"
        ))
    };
    u32::from_str_radix(mode, 8)
        .ok()
        .filter(|mode| *mode <= 0o7777)
        .ok_or_else(wrong)
}

fn unless_missing<T>(result: Result<T>) -> Result<Option<T>> {
    match result {
        Err(error) if error.code() == ErrorCode::NotFound => Ok(None),
        other => other.map(Some),
    }
}

impl Options for Local {
    fn declare() -> Vec<Declaration> {
        vec![
            options::volume("uid")
                .integer(0..=MAX_ID)
                .help("User ID that owns the volume's directory"),
            options::volume("gid")
                .integer(0..=MAX_ID)
                .help("Group ID of the volume's directory"),
            options::volume("mode")
                .default("0755")
                .help("Permissions of the volume's directory, in octal"),
        ]
    }
}

impl Volume for Local {
    fn create(name: &str, options: &KeyValues) -> Result<()> {
        let record = Record::new(options)?;
        match VOLUMES.get(name)? {
            None => {
                directories::create(name, record.attributes())?;
                VOLUMES.put(name, &record)
            }
            Some(existing) if existing.attributes() == record.attributes() => Ok(()),
            Some(_) => Err(Error::already_exists(format!(
                "volume {name:?} exists already, with other options"
            ))),
        }
    }

    fn remove(name: &str) -> Result<()> {
        if VOLUMES.contains(name)? {
            unless_missing(directories::remove(name))?;
            VOLUMES.remove(name)?;
        }
        Ok(())
    }

    fn mount(name: &str, _id: &str) -> Result<Directory> {
        Record::find(name)?;
        let missing = || {
            Error::unavailable(format!(
                "the directory of volume {name:?} is gone from this machine"
            ))
        };
        unless_missing(directories::open(name))?.ok_or_else(missing)
    }

    fn get(name: &str) -> Result<VolumeInfo> {
        Record::find(name)?.info(name)
    }

    fn list() -> Result<Vec<VolumeInfo>> {
        VOLUMES
            .iter()?
            .map(|(name, record)| record.info(&name))
            .collect()
    }
}

dockside_driver::export!(Local: volume, options);

#[cfg(test)]
mod tests;
