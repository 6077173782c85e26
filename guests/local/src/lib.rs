//! Volumes as directories: what a container writes stays until the volume is removed.

use dockside_driver::{
    Directory, Error, KeyValues, Options, Result, Table, Volume, VolumeInfo,
    directories::{self, Attributes},
    options::{self, Declaration},
    time,
};
use serde::{Deserialize, Serialize};

struct Local;

/// A volume: what it was made with.
#[derive(Serialize, Deserialize)]
struct Record {
    options: KeyValues,
    created_at: u64,
}

static VOLUMES: Table<Record> = Table::new("volumes/");

/// The largest user or group ID: the one behind it means "unchanged" to `chown`.
const MAX_ID: i64 = 0xffff_fffe;

fn record(name: &str) -> Result<Record> {
    VOLUMES
        .get(name)?
        .ok_or_else(|| Error::not_found(format!("there is no volume {name:?}")))
}

fn mode(octal: &str) -> Result<u32> {
    let wrong = || {
        Error::invalid(format!(
            "option mode={octal}: say permissions in octal, from 0 to 7777, such as 0750"
        ))
    };
    u32::from_str_radix(octal, 8)
        .ok()
        .filter(|mode| *mode <= 0o7777)
        .ok_or_else(wrong)
}

fn info(name: &str, record: Record) -> Result<VolumeInfo> {
    let mut info = VolumeInfo::new(name)
        .at(directories::open(name)?)
        .created_at(record.created_at);
    info.status = record.options;
    Ok(info)
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
        if let Some(existing) = VOLUMES.get(name)? {
            return match existing.options == *options {
                true => Ok(()),
                false => Err(Error::already_exists(format!(
                    "volume {name:?} exists already, with other options"
                ))),
            };
        }
        let mode = options.get("mode").map(mode).transpose()?;
        directories::create(
            name,
            Attributes {
                uid: options.parse("uid")?,
                gid: options.parse("gid")?,
                mode,
            },
        )?;
        VOLUMES.put(
            name,
            &Record {
                options: options.clone(),
                created_at: time::unix_seconds(),
            },
        )
    }

    fn remove(name: &str) -> Result<()> {
        if VOLUMES.contains(name)? {
            directories::remove(name)?;
            VOLUMES.remove(name)?;
        }
        Ok(())
    }

    fn mount(name: &str, _id: &str) -> Result<Directory> {
        record(name)?;
        directories::open(name)
    }

    fn get(name: &str) -> Result<VolumeInfo> {
        info(name, record(name)?)
    }

    fn list() -> Result<Vec<VolumeInfo>> {
        VOLUMES
            .iter()?
            .map(|(name, record)| info(&name, record))
            .collect()
    }
}

dockside_driver::export!(Local: volume, options);
