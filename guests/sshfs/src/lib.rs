//! Volumes over SSH: directories of SSH servers, mounted by sshfs.
//!
//! It takes the options of vieux/docker-volume-sshfs. What is on the server is never deleted: removing a volume forgets how to reach it.

mod hosts;
mod login;
mod options;
mod remote;
mod settings;

use dockside_driver::{
    Directory, Error, ErrorCode, KeyValues, Options, Result, Table, Volume, VolumeInfo,
    mounts::{self, Flags, Health, Helper},
    options::Declaration,
    time,
};
use serde::{Deserialize, Serialize};

use login::Login;
use options::Chosen;
use remote::Remote;

struct Sshfs;

/// A volume: what to mount and how. The password is not in here.
#[derive(Serialize, Deserialize, PartialEq)]
struct Record {
    /// `user@host:/path`.
    sshcmd: String,
    login: Login,
    /// What the user chose for this volume; the operator's defaults are laid under it when it is mounted.
    chosen: Chosen,
    /// The server's own key, as the user gave it.
    hostkey: Option<String>,
    /// In seconds since 1970.
    created_at: u64,
}

static VOLUMES: Table<Record> = Table::new("volumes/");

impl Record {
    fn find(name: &str) -> Result<Self> {
        VOLUMES
            .get(name)?
            .ok_or_else(|| Error::not_found(format!("there is no volume {name:?}")))
    }

    /// Whether this is the same volume, whenever it was made.
    fn is_like(&self, other: &Self) -> bool {
        Self {
            created_at: self.created_at,
            sshcmd: other.sshcmd.clone(),
            login: other.login.clone(),
            chosen: other.chosen.clone(),
            hostkey: other.hostkey.clone(),
        } == *self
    }

    /// Everything that sshfs is told, with the operator's defaults.
    fn all_options(&self) -> Result<Chosen> {
        Ok(settings::defaults()?.under(&self.chosen))
    }

    fn mount(&self, name: &str) -> Result<Directory> {
        let remote = Remote::parse(&self.sshcmd)?;
        let all = self.all_options()?;
        let mut helper = Helper::new("sshfs", &self.sshcmd);
        for (option, value) in all.for_helper() {
            helper = helper.option(option, value);
        }
        let secret = self.login.open(name)?;
        helper = helper.secret(self.login.role(), &secret);
        let known = hosts::find(&remote, &all, self.hostkey.as_deref())?;
        if let Some(secret) = &known.secret {
            helper = helper.secret("known-hosts", secret);
        }
        if let Some(text) = &known.text {
            helper = helper.text("known-hosts", text);
        }
        let flags = Flags {
            read_only: all.has("ro"),
            no_exec: all.has("noexec"),
            no_atime: all.has("noatime"),
            ..Flags::default()
        };
        mounts::mount(name, helper, flags)
    }

    fn info(&self, name: &str, health: Option<Health>) -> Result<VolumeInfo> {
        let all = self.all_options()?;
        let mut info = VolumeInfo::new(name)
            .created_at(self.created_at)
            .status("sshcmd", &self.sshcmd)
            .status("server", Remote::parse(&self.sshcmd)?.server(&all))
            .status("login", self.login.describe())
            .status("host-key", hosts::describe(&all, self.hostkey.as_deref()))
            .status(
                "state",
                match health {
                    None => "not mounted",
                    Some(Health::Alive) => "mounted",
                    Some(Health::Degraded) => "mounted, and does not answer",
                    Some(Health::Gone) => "unmounted by somebody else",
                },
            );
        let shown = all.to_string();
        if !shown.is_empty() {
            info = info.status("options", shown);
        }
        info.mountpoint = unless_missing(mounts::open(name))?;
        Ok(info)
    }
}

fn unless_missing<T>(result: Result<T>) -> Result<Option<T>> {
    match result {
        Err(error) if error.code() == ErrorCode::NotFound => Ok(None),
        other => other.map(Some),
    }
}

fn health(name: &str) -> Result<Option<Health>> {
    let all = mounts::list()?;
    Ok(all
        .into_iter()
        .find(|mount| mount.key == name)
        .map(|mount| mount.health))
}

impl Options for Sshfs {
    fn declare() -> Vec<Declaration> {
        options::declare()
    }
}

impl Volume for Sshfs {
    fn create(name: &str, given: &KeyValues) -> Result<()> {
        let wish = options::read(given)?;
        let remote = Remote::parse(&wish.sshcmd)?;
        let known = VOLUMES.get(name)?;
        let login = Login::choose(&wish)?;
        let record = Record {
            sshcmd: wish.sshcmd,
            login,
            chosen: wish.chosen,
            hostkey: wish.hostkey,
            created_at: time::unix_seconds(),
        };
        hosts::check(&remote, &record.all_options()?, record.hostkey.as_deref())?;
        settings::debug(|| format!("create {name:?}: {}", record.sshcmd));
        match known {
            Some(known) if known.is_like(&record) => Ok(()),
            Some(_) => Err(Error::already_exists(format!(
                "volume {name:?} exists already, with other options; remove it first, which leaves everything on the server as it is"
            ))),
            None => {
                if let Some(password) = wish.password {
                    login::keep(name, &password)?;
                }
                VOLUMES.put(name, &record)
            }
        }
    }

    fn remove(name: &str) -> Result<()> {
        let Some(record) = VOLUMES.get(name)? else {
            return Ok(());
        };
        settings::debug(|| format!("remove {name:?}"));
        // A use that nobody ended.
        unless_missing(mounts::unmount(name))?;
        record.login.forget(name)?;
        VOLUMES.remove(name)
    }

    fn mount(name: &str, id: &str) -> Result<Directory> {
        let record = Record::find(name)?;
        settings::debug(|| format!("mount {name:?} for {id}: {}", record.sshcmd));
        match health(name)? {
            None => {}
            Some(Health::Alive) => return mounts::open(name),
            // Nobody uses it: the host asks for the first use only.
            Some(Health::Degraded | Health::Gone) => mounts::unmount(name)?,
        }
        record.mount(name)
    }

    fn unmount(name: &str, id: &str) -> Result<()> {
        settings::debug(|| format!("unmount {name:?} for {id}"));
        unless_missing(mounts::unmount(name)).map(drop)
    }

    fn get(name: &str) -> Result<VolumeInfo> {
        Record::find(name)?.info(name, health(name)?)
    }

    fn list() -> Result<Vec<VolumeInfo>> {
        let mounted = mounts::list()?;
        VOLUMES
            .iter()?
            .map(|(name, record)| {
                let mount = mounted.iter().find(|mount| mount.key == name);
                record.info(&name, mount.map(|mount| mount.health))
            })
            .collect()
    }
}

dockside_driver::export!(Sshfs: volume, options);

#[cfg(test)]
mod tests;
