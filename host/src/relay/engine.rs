//! Which engine runs a relay.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::{major, minor};

/// A database that an engine keeps locked as long as it runs, below its data directory.
const LOCKED: &str = "volumes/metadata.db";

/// The process of the engine with this data directory, by the lock that it holds. A relay outlives its engine where containers do.
///
/// `device` is the device of the directory's file system as the kernel's tables name it, `major:minor`: some file systems tell programs
/// another.
pub(super) fn of(data_root: &Path, device: &str) -> Option<u32> {
    let database = std::fs::metadata(data_root.join(LOCKED)).ok()?;
    let told = format!("{}:{}", major(database.dev()), minor(database.dev()));
    let locks = std::fs::read_to_string("/proc/locks").ok()?;
    locks
        .lines()
        .filter_map(Lock::parse)
        .find(|lock| lock.inode == database.ino() && (lock.device == device || lock.device == told))
        .map(|lock| lock.pid)
}

/// A line of `/proc/locks` (proc_locks(5)).
#[derive(Debug, PartialEq, Eq)]
struct Lock {
    pid: u32,
    /// In decimal.
    device: String,
    inode: u64,
}

impl Lock {
    fn parse(line: &str) -> Option<Lock> {
        // Those that wait for a lock have an arrow before their kind.
        let mut fields = line.split_ascii_whitespace().skip(1);
        if fields.next()? != "FLOCK" {
            return None;
        }
        let mut fields = fields.skip(2);
        let pid = fields.next()?.parse().ok()?;
        let mut place = fields.next()?.splitn(3, ':');
        let major = u32::from_str_radix(place.next()?, 16).ok()?;
        let minor = u32::from_str_radix(place.next()?, 16).ok()?;
        Some(Lock {
            pid,
            device: format!("{major}:{minor}"),
            inode: place.next()?.parse().ok()?,
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn an_engine_is_known_by_the_lock_that_it_holds() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join("volumes")).unwrap();
        let file = std::fs::File::create(root.path().join(LOCKED)).unwrap();
        assert_eq!(of(root.path(), "0:0"), None);
        file.lock().unwrap();
        assert_eq!(of(root.path(), "0:0"), Some(std::process::id()));
        drop(file);
        assert_eq!(of(root.path(), "0:0"), None);
        assert_eq!(of(Path::new("/nowhere"), "0:0"), None);
    }

    #[test]
    fn only_held_locks_of_whole_files_count() {
        let lock = Lock::parse("3: FLOCK  ADVISORY  WRITE 731 fe:1f:131090 0 EOF").unwrap();
        assert_eq!(
            (lock.pid, lock.device.as_str(), lock.inode),
            (731, "254:31", 131_090)
        );
        for other in [
            "3: -> FLOCK  ADVISORY  WRITE 731 fe:01:131090 0 EOF",
            "1: POSIX  ADVISORY  READ  5433 08:01:7864448 128 128",
            "1: FLOCK",
            "",
        ] {
            assert_eq!(Lock::parse(other), None, "{other}");
        }
    }
}
