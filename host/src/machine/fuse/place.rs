//! Files and directories of a mount: its point, the directory with its secrets, and its cache.

use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io::{ErrorKind as Io, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Component, Path, PathBuf};

use super::options::invalid;
use super::process::Mark;
use super::{FuseMount, Place};
use crate::machine::mounts::mounted_below;
use crate::machine::{ErrorKind, MachineError};

/// Where everything of one mount is.
pub(super) struct Places {
    /// The mount point, without symbolic links above it, as the mount table has it.
    pub(super) point: PathBuf,
    /// Secrets, log and process id.
    pub(super) directory: PathBuf,
    /// Data of files, on disk.
    pub(super) cache: PathBuf,
}

impl Places {
    /// Where they are, or would be.
    pub(super) fn of(mount: &FuseMount, place: &Place) -> Result<Places, MachineError> {
        check_path_for_ssh("the directory for helpers", &place.runtime)?;
        let parent = mount.point.parent().unwrap_or(Path::new("/"));
        let parent = match parent.canonicalize() {
            Ok(parent) => parent,
            Err(error) if error.kind() == Io::NotFound => parent.to_owned(),
            Err(error) => {
                return Err(MachineError::io(
                    &format!("open {}", parent.display()),
                    &error,
                ));
            }
        };
        check_path("the mount point", &parent)?;
        Ok(Places {
            point: parent.join(&mount.id),
            cache: parent.join(format!("{}.cache", mount.id)),
            directory: place.runtime.join(&mount.id),
        })
    }

    /// Makes them.
    pub(super) fn make(
        mount: &FuseMount,
        place: &Place,
        cache: bool,
    ) -> Result<Places, MachineError> {
        make_directory(&place.runtime, 0o700)?;
        let found = place.runtime.symlink_metadata().map_err(|error| {
            MachineError::io(&format!("look at {}", place.runtime.display()), &error)
        })?;
        let ours = found.is_dir()
            && found.uid() == rustix::process::geteuid().as_raw()
            && found.mode() & 0o077 == 0;
        if !ours {
            return Err(invalid(format!(
                "{} will not hold secrets: it must be a directory of the daemon's user with mode 0700",
                place.runtime.display()
            )));
        }
        if let Some(parent) = mount.point.parent() {
            if let Some(grandparent) = parent.parent() {
                make_directory(grandparent, 0o711)?;
            }
            make_directory(parent, 0o711)?;
        }
        let places = Places::of(mount, place)?;
        make_directory(&places.directory, 0o700)?;
        make_directory(&places.point, 0o700)?;
        if cache {
            make_directory(&places.cache, 0o700)?;
        }
        Ok(places)
    }

    /// How processes of this mount are known.
    pub(super) fn mark(&self) -> Mark {
        Mark::new(&self.point, &self.directory)
    }

    /// Writes down which process is the helper. It is only a hint, to find it sooner.
    pub(super) fn record_process(&self, pid: u32) {
        let _ = std::fs::write(self.directory.join("pid"), pid.to_string());
    }

    /// The process that was written down.
    pub(super) fn recorded_process(&self) -> Option<i32> {
        let text = std::fs::read_to_string(self.directory.join("pid")).ok()?;
        text.parse().ok()
    }

    /// Empties the helper's log when it has become too long. The helper appends to it, so it goes on at its beginning.
    pub(super) fn trim_log(&self, longest: u64) {
        let log = self.directory.join("log");
        if log
            .symlink_metadata()
            .is_ok_and(|found| found.len() > longest)
            && let Ok(log) = OpenOptions::new().write(true).open(log)
        {
            // It is only a log.
            let _ = log.set_len(0);
        }
    }

    /// Removes them. What is on the other side of a mount is never reached: a directory is emptied only with nothing mounted in it, and the
    /// mount point not at all.
    pub(super) fn remove(&self) -> Result<(), MachineError> {
        for directory in [&self.directory, &self.cache] {
            if let Some(inner) = mounted_below(directory)?.first() {
                return Err(MachineError::new(
                    ErrorKind::Busy,
                    format!(
                        "{} is not removed: something is mounted at {}; unmount it",
                        directory.display(),
                        inner.point.display()
                    ),
                ));
            }
            match std::fs::remove_dir_all(directory) {
                Ok(()) => {}
                Err(error) if error.kind() == Io::NotFound => {}
                Err(error) => {
                    return Err(MachineError::io(
                        &format!("remove {}", directory.display()),
                        &error,
                    ));
                }
            }
        }
        match std::fs::remove_dir(&self.point) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == Io::NotFound => Ok(()),
            Err(error) if error.kind() == Io::DirectoryNotEmpty => Err(MachineError::new(
                ErrorKind::Exists,
                format!(
                    "{} holds files although nothing is mounted there; move them away",
                    self.point.display()
                ),
            )),
            Err(error) => Err(MachineError::io(
                &format!("remove {}", self.point.display()),
                &error,
            )),
        }
    }
}

/// A record whose point is not one that the host mints could lead an unmount anywhere.
pub(super) fn check_point(mount: &FuseMount) -> Result<(), MachineError> {
    let minted = (16..=64).contains(&mount.id.len())
        && mount
            .id
            .bytes()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
        && mount.point.file_name() == Some(mount.id.as_ref());
    if !minted {
        return Err(invalid(
            "the id of a mount must be 16 to 64 lower-case hexadecimal digits, and the last part of its mount point",
        ));
    }
    check_path("the mount point", &mount.point)
}

/// Paths of the host's own end up in lists of options, where some characters would end them.
fn check_path(what: &str, path: &Path) -> Result<(), MachineError> {
    let plain = path.to_str().is_some_and(|text| {
        text.len() <= 3000
            && text
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"/._:@%+=-".contains(&byte))
    });
    let absolute = path.is_absolute()
        && path.components().count() > 1
        && path
            .components()
            .all(|part| matches!(part, Component::RootDir | Component::Normal(_)));
    if plain && absolute {
        return Ok(());
    }
    Err(invalid(format!(
        "{what} {:?} cannot be passed to a helper: it must be an absolute path without \"..\", of ASCII letters, digits and ._:@%+=-",
        path.to_string_lossy()
    )))
}

/// Makes the directory of a file in which keys of servers are kept, and the one above it.
pub(super) fn make_room_for(file: &Path) -> Result<(), MachineError> {
    check_path_for_ssh("the file for keys of servers", file)?;
    if let Some(directory) = file.parent() {
        if let Some(above) = directory.parent() {
            make_directory(above, 0o700)?;
        }
        make_directory(directory, 0o700)?;
    }
    Ok(())
}

/// Makes what was written into a file outlive a power cut. One that is not there has nothing in it.
pub(super) fn make_durable(file: &Path) -> Result<(), MachineError> {
    let sync = |path: &Path| match File::open(path) {
        Ok(opened) => opened.sync_all(),
        Err(error) if error.kind() == Io::NotFound => Ok(()),
        Err(error) => Err(error),
    };
    for path in [Some(file), file.parent()].into_iter().flatten() {
        sync(path)
            .map_err(|error| MachineError::io(&format!("sync {}", path.display()), &error))?;
    }
    Ok(())
}

/// As [`check_path`], for ssh, which replaces what begins with a % in the names of its files.
fn check_path_for_ssh(what: &str, path: &Path) -> Result<(), MachineError> {
    check_path(what, path)?;
    if path.as_os_str().as_encoded_bytes().contains(&b'%') {
        return Err(invalid(format!(
            "{what} {} cannot be passed to ssh: it has a % in it",
            path.display()
        )));
    }
    Ok(())
}

/// Writes a secret to a file that only its owner can read.
pub(super) fn write_secret(path: &Path, content: &[u8]) -> Result<(), MachineError> {
    create(path)?
        .write_all(content)
        .map_err(|error| MachineError::io(&format!("write {}", path.display()), &error))
}

/// A new file that only its owner can read, to be read and appended to.
pub(super) fn create(path: &Path) -> Result<File, MachineError> {
    OpenOptions::new()
        .read(true)
        .append(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map_err(|error| MachineError::io(&format!("make {}", path.display()), &error))
}

fn make_directory(path: &Path, mode: u32) -> Result<(), MachineError> {
    let failed = |error| MachineError::io(&format!("make {}", path.display()), &error);
    match DirBuilder::new().mode(mode).create(path) {
        // The process's umask may have taken bits away.
        Ok(()) => std::fs::set_permissions(path, Permissions::from_mode(mode)).map_err(failed),
        Err(error) if error.kind() == Io::AlreadyExists => {
            match path.symlink_metadata().map_err(failed)?.is_dir() {
                true => Ok(()),
                false => Err(MachineError::new(
                    ErrorKind::Exists,
                    format!("{} is there and is no directory", path.display()),
                )),
            }
        }
        Err(error) => Err(failed(error)),
    }
}
