//! Volumes as disk images: limited in size, with snapshots, clones, backups to a store of blobs, and schedules.

mod backup;
mod collect;
mod lock;
mod repository;
mod restore;
mod schedule;
mod snapshot;
mod units;
mod verbs;
mod volume;

use dockside_driver::{
    Admin, Directory, Error, ErrorCode, KeyValues, Options, Result, Settlement, Timers, Volume,
    VolumeInfo,
    admin::Verb,
    options::{self, Declaration},
    timers::Schedule,
};

struct ImageDriver;

/// The largest user or group ID: the one behind it means "unchanged" to `chown`.
const MAX_ID: i64 = 0xffff_fffe;

impl Options for ImageDriver {
    fn declare() -> Vec<Declaration> {
        vec![
            options::volume("size").size().help(
                "Size of the volume; of a clone or a restored backup, its size if that is smaller",
            ),
            options::volume("fs")
                .choice(["ext4", "xfs", "btrfs"])
                .help("File system of the volume"),
            options::volume("uid")
                .integer(0..=MAX_ID)
                .help("User ID that owns the volume's root"),
            options::volume("gid")
                .integer(0..=MAX_ID)
                .help("Group ID of the volume's root"),
            options::volume("mode").help("Permissions of the volume's root, in octal"),
            options::volume("from").help("Begins as a copy: VOLUME, or VOLUME@SNAPSHOT"),
            options::volume("backup").help(
                "Begins as what a backup holds: BACKUP, STORE/BACKUP, or a URL of Convoy's form",
            ),
        ]
    }
}

impl Volume for ImageDriver {
    fn create(name: &str, options: &KeyValues) -> Result<()> {
        volume::create(name, options)
    }
    fn remove(name: &str) -> Result<()> {
        volume::remove(name)
    }
    fn mount(name: &str, _id: &str) -> Result<Directory> {
        volume::mount(name)
    }
    fn unmount(name: &str, _id: &str) -> Result<()> {
        volume::unmount(name)
    }
    fn get(name: &str) -> Result<VolumeInfo> {
        volume::get(name)
    }
    fn list() -> Result<Vec<VolumeInfo>> {
        volume::list()
    }
}

impl Admin for ImageDriver {
    fn verbs() -> Vec<Verb> {
        verbs::all()
    }
    fn run(verb: &str, arguments: &KeyValues) -> Result<String> {
        verbs::run(verb, arguments)
    }
}

impl Timers for ImageDriver {
    fn schedules() -> Vec<Schedule> {
        // Two of them, so that a backup that takes hours holds no snapshot up.
        vec![
            Schedule::new(schedule::SNAPSHOTS, schedule::BEAT),
            Schedule::new(schedule::BACKUPS, schedule::BEAT),
        ]
    }
    fn tick(name: &str) -> Result<()> {
        schedule::tick(name)
    }
}

impl Settlement for ImageDriver {
    fn compensate(_call_key: &str, note: &[u8]) -> Result<()> {
        lock::settle(note)
    }
}

fn unless_missing<T>(result: Result<T>) -> Result<Option<T>> {
    match result {
        Err(error) if error.code() == ErrorCode::NotFound => Ok(None),
        other => other.map(Some),
    }
}

/// The same error as one that does not make the engine forget a volume.
fn not_missing(error: Error) -> Error {
    match error.code() {
        ErrorCode::NotFound => Error::unavailable(error.into_message()),
        _ => error,
    }
}

dockside_driver::export!(ImageDriver: volume, options, admin, timers, settlement);

#[cfg(test)]
mod tests;
