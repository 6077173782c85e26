//! Blobs as files below a directory.
//!
//! A file is written beside its place, brought to the disk and moved into it. What a killed daemon leaves is a file whose name begins with a
//! dot, which no blob has; the next listing that comes across it removes it when it is a day old.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use super::name::is_part;
use super::{BlobInfo, MAX_BLOB, MAX_LISTED, Name, Prefix, too_many};
use crate::failpoint;
use crate::ledger::mint;
use crate::machine::{ErrorKind, MachineError};

/// The end of the name of a file that is not whole.
const PART: &str = ".part";

/// How old a file that is not whole has to be so that nobody writes it any more: no call lasts longer.
const LEFT: Duration = Duration::from_secs(24 * 60 * 60);

/// How deep directories are looked through: a name of 512 bytes has no more parts.
const DEEPEST: usize = 256;

/// A directory with blobs in it.
#[derive(Debug)]
pub struct Directory {
    path: PathBuf,
}

impl Directory {
    pub(super) fn new(path: &Path) -> Directory {
        Directory {
            path: path.to_owned(),
        }
    }

    /// Writes a blob.
    pub(super) fn put(&self, name: &Name, data: &[u8]) -> Result<(), MachineError> {
        let failed = |error: io::Error| self.error("write", name.as_str(), &error);
        let staged = self.stage(name, data).map_err(failed)?;
        staged.publish().map_err(failed)
    }

    /// Writes a blob beside its place.
    pub(super) fn stage<'a>(&self, name: &'a Name, data: &[u8]) -> io::Result<Staged<'a>> {
        let (above, last) = name.split();
        let directory = self.make(above)?;
        let temporary = format!(".{last}.{}{PART}", mint());
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mode = Mode::RUSR | Mode::WUSR;
        let file = rustix::fs::openat(&directory, &temporary, flags, mode)?;
        let staged = Staged {
            directory,
            temporary: Some(temporary),
            last,
        };
        let mut file = File::from(file);
        file.write_all(data)?;
        file.sync_all()?;
        Ok(staged)
    }

    /// Reads a blob.
    pub(super) fn get(&self, name: &Name) -> Result<Vec<u8>, MachineError> {
        let failed = |error: io::Error| self.error("read", name.as_str(), &error);
        // A fifo in place of the file would hold the call up.
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOFOLLOW;
        let file = self
            .beneath(name.as_str(), flags)
            .map(File::from)
            .map_err(failed)?;
        let metadata = file.metadata().map_err(failed)?;
        if !metadata.is_file() {
            return Err(failed(io::Error::other("it is no regular file")));
        }
        let length = usize::try_from(metadata.len()).unwrap_or(usize::MAX);
        if length > MAX_BLOB {
            return Err(failed(io::Error::other(format!(
                "it has {length} bytes, and a blob has at most {MAX_BLOB}"
            ))));
        }
        let mut data = Vec::with_capacity(length);
        file.take(MAX_BLOB as u64)
            .read_to_end(&mut data)
            .map_err(failed)?;
        Ok(data)
    }

    /// Deletes a blob.
    pub(super) fn delete(&self, name: &Name) -> Result<(), MachineError> {
        let failed = |error: io::Error| self.error("delete", name.as_str(), &error);
        let (above, last) = name.split();
        let above = above.collect::<Vec<_>>().join("/");
        let directory = match self.beneath(&above, OFlags::DIRECTORY | OFlags::RDONLY) {
            Ok(directory) => directory,
            Err(error) if error.kind() == io::ErrorKind::NotFound && self.path.is_dir() => {
                return Ok(());
            }
            Err(error) => return Err(failed(error)),
        };
        match rustix::fs::unlinkat(&directory, last, AtFlags::empty()) {
            Ok(()) => rustix::fs::fsync(&directory).map_err(|error| failed(error.into())),
            Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(failed(error.into())),
        }
    }

    /// The blobs below a prefix.
    pub(super) fn list(&self, prefix: &Prefix) -> Result<Vec<BlobInfo>, MachineError> {
        let failed = |error: io::Error| self.error("list", prefix.as_str(), &error);
        let place = prefix.parts().collect::<Vec<_>>().join("/");
        let mut found = Vec::new();
        match self.beneath(&place, OFlags::DIRECTORY | OFlags::RDONLY) {
            Ok(directory) => {
                let at = prefix.as_str().to_owned();
                match walk(directory, &at, DEEPEST, &mut found) {
                    Ok(()) if found.len() > MAX_LISTED => Err(too_many(prefix)),
                    Ok(()) => Ok(found),
                    Err(error) => Err(failed(error)),
                }
            }
            // Nothing was written there yet; but a disk that is not mounted is not an empty one.
            Err(error) if error.kind() == io::ErrorKind::NotFound && self.path.is_dir() => {
                Ok(found)
            }
            Err(error) => Err(failed(error)),
        }
    }

    fn root(&self) -> io::Result<OwnedFd> {
        let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
        Ok(rustix::fs::open(&self.path, flags, Mode::empty())?)
    }

    /// Opens something below the root: nothing leads out of it.
    fn beneath(&self, path: &str, flags: OFlags) -> io::Result<OwnedFd> {
        let root = self.root()?;
        match path {
            "" => Ok(root),
            path => Ok(beneath(root.as_fd(), path, flags)?),
        }
    }

    /// Opens a directory below the root, and makes what is missing of it.
    fn make<'a>(&self, parts: impl Iterator<Item = &'a str>) -> io::Result<OwnedFd> {
        let mut directory = self.root()?;
        for part in parts {
            let flags = OFlags::DIRECTORY | OFlags::RDONLY;
            directory = match beneath(directory.as_fd(), part, flags) {
                Ok(below) => below,
                Err(Errno::NOENT) => {
                    match rustix::fs::mkdirat(&directory, part, Mode::RWXU) {
                        Ok(()) | Err(Errno::EXIST) => {}
                        Err(error) => return Err(error.into()),
                    }
                    rustix::fs::fsync(&directory)?;
                    beneath(directory.as_fd(), part, flags)?
                }
                Err(error) => return Err(error.into()),
            };
        }
        Ok(directory)
    }

    fn error(&self, tried: &str, name: &str, error: &io::Error) -> MachineError {
        let path = self.path.display();
        if error.kind() == io::ErrorKind::NotFound && !self.path.is_dir() {
            return MachineError::new(
                ErrorKind::Missing,
                format!(
                    "the directory {path} of the blob store is not there: make it, or mount the disk that it is on"
                ),
            );
        }
        let mut failed = MachineError::io(&format!("{tried} {name:?} in {path}"), error);
        if error.raw_os_error() == Some(Errno::XDEV.raw_os_error())
            || error.raw_os_error() == Some(Errno::LOOP.raw_os_error())
        {
            failed.message = format!(
                "cannot {tried} {name:?} in {path}: there is a symbolic link in its path, and blobs are not looked for behind one"
            );
        }
        failed
    }
}

fn beneath(directory: impl AsFd, path: &str, flags: OFlags) -> Result<OwnedFd, Errno> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    loop {
        // The kernel asks to try again when something was renamed meanwhile.
        match rustix::fs::openat2(
            &directory,
            path,
            flags | OFlags::CLOEXEC,
            Mode::empty(),
            resolve,
        ) {
            Err(Errno::AGAIN | Errno::INTR) => {}
            opened => return opened,
        }
    }
}

/// Adds the blobs in a directory and below it, until there are too many.
fn walk(directory: OwnedFd, at: &str, depth: usize, found: &mut Vec<BlobInfo>) -> io::Result<()> {
    let mut below = Vec::new();
    for entry in Dir::read_from(&directory)? {
        let entry = entry?;
        let Ok(name) = entry.file_name().to_str() else {
            continue;
        };
        if name.starts_with('.') && name.ends_with(PART) {
            remove_left(&directory, name);
        }
        if !is_part(name) {
            continue;
        }
        let stat = match rustix::fs::statat(&directory, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(Errno::NOENT) => continue,
            Err(error) => return Err(error.into()),
        };
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => below.push(name.to_owned()),
            FileType::RegularFile => {
                if found.len() > MAX_LISTED {
                    return Ok(());
                }
                let seconds = u64::try_from(stat.st_mtime).unwrap_or(0);
                found.push(BlobInfo {
                    name: format!("{at}{name}"),
                    size: u64::try_from(stat.st_size).unwrap_or(0),
                    modified: seconds * 1000 + stat.st_mtime_nsec / 1_000_000,
                });
            }
            _ => {}
        }
    }
    for name in below {
        if depth == 0 || found.len() > MAX_LISTED {
            break;
        }
        let flags = OFlags::DIRECTORY | OFlags::RDONLY;
        match beneath(&directory, &name, flags) {
            Ok(next) => walk(next, &format!("{at}{name}/"), depth - 1, found)?,
            Err(Errno::NOENT | Errno::NOTDIR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Removes what a killed daemon has left.
fn remove_left(directory: &OwnedFd, name: &str) {
    let Ok(stat) = rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) else {
        return;
    };
    let written = u64::try_from(stat.st_mtime).unwrap_or(0);
    let written = SystemTime::UNIX_EPOCH + Duration::from_secs(written);
    let age = SystemTime::now().duration_since(written);
    if age.is_ok_and(|age| age > LEFT) {
        // The next listing tries again.
        let _ = rustix::fs::unlinkat(directory, name, AtFlags::empty());
    }
}

/// A blob that lies beside its place. It goes when it is dropped.
#[derive(Debug)]
pub(super) struct Staged<'a> {
    directory: OwnedFd,
    temporary: Option<String>,
    last: &'a str,
}

impl Staged<'_> {
    /// Moves it into its place.
    pub(super) fn publish(mut self) -> io::Result<()> {
        failpoint::hit("blob.rename")?;
        if let Some(temporary) = &self.temporary {
            rustix::fs::renameat(&self.directory, temporary, &self.directory, self.last)?;
        }
        self.temporary = None;
        Ok(rustix::fs::fsync(&self.directory)?)
    }

    /// Leaves it as a killed daemon does: the name of the file.
    #[cfg(test)]
    pub(super) fn abandon(mut self) -> OsString {
        self.temporary.take().unwrap_or_default().into()
    }
}

impl Drop for Staged<'_> {
    fn drop(&mut self) {
        if let Some(temporary) = &self.temporary {
            let name = OsString::from(temporary);
            let _ = rustix::fs::unlinkat(&self.directory, name.as_bytes(), AtFlags::empty());
        }
    }
}
