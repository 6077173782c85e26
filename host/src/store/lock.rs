//! The data directory belongs to one daemon, and to nobody else who could write into it.

use std::fmt::Write as _;
use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::OFlags;

use super::StoreError;

/// Longest text about a holder that is read back. A command line can be megabytes long.
const LONGEST_HOLDER: u64 = 2048;

/// The held lock. It ends with this value or with the process, whichever is first.
#[derive(Debug)]
pub(super) struct DataLock {
    file: File,
}

impl DataLock {
    /// Takes the lock of `directory`, which must exist.
    pub(super) fn acquire(directory: &Path) -> Result<Self, StoreError> {
        let path = directory.join("lock");
        let failed = |action, error: &std::io::Error| StoreError::file(&path, action, error);
        let mut file = open_private(&path).map_err(|e| failed("open", &e))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(StoreError::Locked {
                    directory: directory.to_path_buf(),
                    holder: holder(&file),
                });
            }
            Err(TryLockError::Error(e)) => return Err(failed("lock", &e)),
        }
        file.set_len(0)
            .and_then(|()| file.write_all(describe_self().as_bytes()))
            .map_err(|e| failed("write", &e))?;
        Ok(Self { file })
    }
}

impl Drop for DataLock {
    /// The file stays: whoever removes a lock file takes it away from one that has opened it and not locked it yet.
    fn drop(&mut self) {
        if let Err(error) = self.file.set_len(0) {
            tracing::debug!(%error, "the lock file of the data directory keeps the name of its last holder");
        }
    }
}

/// Makes the data directory if it is missing, and refuses one that anyone but root and the daemon's own user can write.
pub(super) fn prepare_directory(directory: &Path) -> Result<(), StoreError> {
    let failed = |action, error: &std::io::Error| StoreError::file(directory, action, error);
    let refused = |reason: String| StoreError::Directory {
        directory: directory.to_path_buf(),
        reason,
    };
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)
        .map_err(|e| failed("make the data directory", &e))?;
    let found = std::fs::metadata(directory).map_err(|e| failed("look at", &e))?;
    let user = rustix::process::geteuid().as_raw();
    if found.uid() != 0 && found.uid() != user {
        return Err(refused(format!(
            "it belongs to user {}, and the daemon runs as user {user}. Change its owner (chown -R {user} {1}), or \
             give another directory with --data",
            found.uid(),
            directory.display(),
        )));
    }
    if found.mode() & 0o022 != 0 {
        return Err(refused(format!(
            "others can write into it (mode {:03o}). Take that away (chmod go-w {}) once you know what is in it, or \
             give another directory with --data",
            found.mode() & 0o7777,
            directory.display(),
        )));
    }
    Ok(())
}

/// Opens a file for reading and writing that only the daemon's user can open, and makes it if it is missing.
pub(super) fn open_private(path: &Path) -> std::io::Result<File> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(flags.bits() as i32)
        .open(path)?;
    if !file.metadata()?.is_file() {
        return Err(std::io::Error::other("it is not a regular file"));
    }
    Ok(file)
}

fn describe_self() -> String {
    let mut text = format!(
        "process {}, started {:.0}: ",
        std::process::id(),
        jiff::Timestamp::now()
    );
    for (index, argument) in std::env::args_os().enumerate() {
        let separator = if index == 0 { "" } else { " " };
        let argument = argument.to_string_lossy();
        let plain = !argument.is_empty()
            && !argument.contains(|c: char| c.is_whitespace() || c.is_control());
        let _ = if plain {
            write!(text, "{separator}{argument}")
        } else {
            write!(text, "{separator}{argument:?}")
        };
    }
    text.push('\n');
    text
}

fn holder(mut file: &File) -> String {
    let mut text = Vec::new();
    let read = file
        .rewind()
        .and_then(|()| file.take(LONGEST_HOLDER).read_to_end(&mut text));
    let text = String::from_utf8_lossy(&text);
    match read {
        Ok(_) if !text.trim().is_empty() => text.trim().to_owned(),
        // The holder writes its name after it has the lock.
        _ => "another process that has not written its name into the file `lock` yet".to_owned(),
    }
}

#[cfg(test)]
#[allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_second_holder_learns_who_is_first() {
        let directory = tempfile::tempdir().unwrap();
        let first = DataLock::acquire(directory.path()).unwrap();
        let text = DataLock::acquire(directory.path()).unwrap_err().to_string();
        let program = std::env::args().next().unwrap();
        for part in [
            directory.path().to_str().unwrap(),
            &format!("process {},", std::process::id()),
            &program,
            "--data",
        ] {
            assert!(text.contains(part), "{text:?} lacks {part:?}");
        }
        drop(first);
        DataLock::acquire(directory.path()).unwrap();
    }

    #[test]
    fn a_missing_directory_is_made_for_the_daemon_alone() {
        let parent = tempfile::tempdir().unwrap();
        let directory = parent.path().join("a/b");
        prepare_directory(&directory).unwrap();
        let mode = std::fs::metadata(&directory).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o700);
    }

    #[test]
    fn a_directory_that_others_can_write_is_refused() {
        for (mode, taken) in [
            (0o700, true),
            (0o755, true),
            (0o750, true),
            (0o770, false),
            (0o702, false),
            (0o777, false),
            (0o1777, false),
        ] {
            let directory = tempfile::tempdir().unwrap();
            std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(mode))
                .unwrap();
            let result = prepare_directory(directory.path());
            assert_eq!(result.is_ok(), taken, "{mode:o}: {result:?}");
        }
    }

    #[test]
    fn a_lock_that_is_a_link_is_not_followed() {
        let directory = tempfile::tempdir().unwrap();
        let target = directory.path().join("target");
        std::fs::write(&target, "precious").unwrap();
        std::os::unix::fs::symlink(&target, directory.path().join("lock")).unwrap();
        DataLock::acquire(directory.path()).unwrap_err();
        assert_eq!(std::fs::read_to_string(target).unwrap(), "precious");
    }
}
