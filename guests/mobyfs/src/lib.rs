//! Volumes at paths of the machine that users name, as far as the operator lets them; without a path, directories of the plugin's own.

mod place;

use dockside_driver::{
    Directory, Error, ErrorCode, KeyValues, Options, Refusal, Result, Table, Volume, VolumeInfo,
    directories::{self, Attributes},
    mounts::{self, Flags, PathInfo, Source},
    options::{self, Declaration},
    time,
};
use serde::{Deserialize, Serialize};

use place::Holders;

struct Mobyfs;

/// A volume: what it was created with, and when, in seconds since 1970.
#[derive(Serialize, Deserialize)]
struct Record {
    wish: Wish,
    created_at: u64,
}

/// What `docker volume create` says.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Wish {
    /// Where it is; none is a directory of the plugin's own.
    path: Option<String>,
    uid: Option<u32>,
    gid: Option<u32>,
    mode: Option<u32>,
    share: bool,
    delete_on_remove: bool,
}

static VOLUMES: Table<Record> = Table::new("volumes/");

/// The largest user or group ID: the one behind it means "unchanged" to `chown`.
const MAX_ID: i64 = 0xffff_fffe;

impl Wish {
    fn new(options: &KeyValues) -> Result<Self> {
        let wish = Self {
            path: options.get("mountpoint").map(place::normal).transpose()?,
            uid: options.parse("uid")?,
            gid: options.parse("gid")?,
            mode: options.get("mode").map(octal).transpose()?,
            share: options.boolean("share")?.unwrap_or(false),
            delete_on_remove: options.boolean("delete-on-remove")?.unwrap_or(false),
        };
        if wish.path.is_none() {
            for option in ["share", "delete-on-remove"] {
                if options.contains(option) {
                    return Err(Error::invalid(format!(
                        "option {option} goes with mountpoint=/PATH: without it a volume is a directory of its own, which is removed with it"
                    )));
                }
            }
        }
        Ok(wish)
    }

    fn attributes(&self) -> Attributes {
        Attributes {
            uid: self.uid,
            gid: self.gid,
            mode: Some(self.mode.unwrap_or(0o755)),
        }
    }

    /// Makes the directory of a new volume.
    fn make(&self, name: &str) -> Result<()> {
        let Some(path) = &self.path else {
            return directories::create(name, self.attributes()).map(drop);
        };
        Holders::add(path, name, self)?;
        let found = mounts::make_path(name, path, self.attributes())?;
        if !found.made {
            return self.take_over(path, &found);
        }
        match (self.delete_on_remove, found.removable) {
            (false, _) => mounts::keep_path(name),
            (true, true) => Ok(()),
            (true, false) => Err(Error::invalid(format!(
                "option delete-on-remove: the file system of {path} does not keep the mark by which dockside knows what it has made, so it will not delete there: leave the option out"
            ))),
        }
    }

    /// What is there is taken as it is, if that is what was asked for.
    fn take_over(&self, path: &str, found: &PathInfo) -> Result<()> {
        if self.delete_on_remove {
            return Err(Error::invalid(format!(
                "option delete-on-remove: {path} is there already, and only what was made for the volume is ever deleted: leave the option out, or name a directory that is not there"
            )));
        }
        let wrong = [("uid", self.uid, found.uid), ("gid", self.gid, found.gid)]
            .into_iter()
            .find_map(|(option, wanted, is)| {
                let wanted = wanted.filter(|wanted| *wanted != is)?;
                Some((option, wanted.to_string(), is.to_string()))
            })
            .or_else(|| {
                let wanted = self.mode.filter(|wanted| *wanted != found.mode)?;
                Some((
                    "mode",
                    format!("{wanted:04o}"),
                    format!("{:04o}", found.mode),
                ))
            });
        match wrong {
            Some((option, wanted, is)) => Err(Error::invalid(format!(
                "option {option}={wanted}: {path} is there already, with {option} {is}, and is taken as it is: leave the option out, or change the directory"
            ))),
            None => Ok(()),
        }
    }

    /// Takes away what the volume had.
    fn unmake(&self, name: &str) -> Result<()> {
        let Some(path) = &self.path else {
            return unless_missing(directories::remove(name)).map(drop);
        };
        unless_missing(mounts::unmount(name))?;
        if self.delete_on_remove {
            unless_missing(mounts::remove_path(name))?;
        }
        Holders::remove(path, name)
    }
}

impl Record {
    fn find(name: &str) -> Result<Self> {
        VOLUMES
            .get(name)?
            .ok_or_else(|| Error::not_found(format!("there is no volume {name:?}")))
    }

    fn info(&self, name: &str) -> Result<VolumeInfo> {
        let wish = &self.wish;
        let mut info = VolumeInfo::new(name).created_at(self.created_at);
        // A directory that is gone does not mean that the volume is: "not found" would make the engine forget it.
        info.mountpoint = unless_missing(match &wish.path {
            Some(_) => mounts::open(name),
            None => directories::open(name),
        })?;
        let status = &mut info.status;
        if let Some(path) = &wish.path {
            status.insert("mountpoint", path);
            status.insert("delete-on-remove", wish.delete_on_remove);
            status.insert("share", wish.share);
        }
        for (option, id) in [("uid", wish.uid), ("gid", wish.gid)] {
            id.into_iter().for_each(|id| status.insert(option, id));
        }
        if let Some(mode) = wish.mode {
            status.insert("mode", format!("{mode:04o}"));
        }
        Ok(info)
    }
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

fn unless_missing<T>(result: Result<T>) -> Result<Option<T>> {
    match result {
        Err(error) if error.code() == ErrorCode::NotFound => Ok(None),
        other => other.map(Some),
    }
}

impl Options for Mobyfs {
    fn declare() -> Vec<Declaration> {
        vec![
            options::volume("mountpoint")
                .help("Absolute path of the volume's directory; without it, a directory of its own"),
            options::volume("uid")
                .integer(0..=MAX_ID)
                .help("User ID that owns a new directory"),
            options::volume("gid")
                .integer(0..=MAX_ID)
                .help("Group ID of a new directory"),
            options::volume("mode").help("Permissions of a new directory, in octal: 0755 if none are given"),
            options::volume("share")
                .boolean()
                .help("Whether other volumes may have the same mountpoint"),
            options::volume("delete-on-remove")
                .boolean()
                .help("Whether a directory that is made for the volume goes with it, with everything in it"),
        ]
    }
}

impl Volume for Mobyfs {
    fn create(name: &str, options: &KeyValues) -> Result<()> {
        let wish = Wish::new(options)?;
        match VOLUMES.get(name)? {
            Some(existing) if existing.wish == wish => Ok(()),
            Some(_) => Err(Error::already_exists(format!(
                "volume {name:?} exists already, with other options"
            ))),
            None => {
                wish.make(name)?;
                let created_at = time::unix_seconds();
                VOLUMES.put(name, &Record { wish, created_at })
            }
        }
    }

    fn remove(name: &str) -> Result<()> {
        if let Some(record) = VOLUMES.get(name)? {
            record.wish.unmake(name)?;
            VOLUMES.remove(name)?;
        }
        Ok(())
    }

    fn mount(name: &str, _id: &str) -> Result<Directory> {
        let gone = |error: Error| match error.refusal() {
            Some(Refusal::NotFound) => Error::unavailable(format!(
                "the directory of volume {name:?} is gone from this machine: {error}"
            )),
            _ => error,
        };
        match Record::find(name)?.wish.path {
            None => directories::open(name).map_err(gone),
            Some(path) => match unless_missing(mounts::open(name))? {
                Some(mounted) => Ok(mounted),
                None => mounts::mount(name, Source::HostPath(path), Flags::default()).map_err(gone),
            },
        }
    }

    fn unmount(name: &str, _id: &str) -> Result<()> {
        match VOLUMES.get(name)? {
            Some(record) if record.wish.path.is_some() => {
                unless_missing(mounts::unmount(name)).map(drop)
            }
            _ => Ok(()),
        }
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

dockside_driver::export!(Mobyfs: volume, options);

#[cfg(test)]
mod tests;
