//! Directories at paths that people name: made where there was nothing, and taken away with what is in them only if that was asked for.
//!
//! What is made is made beside its place, marked, and then put there in one step that replaces nothing. The mark is an extended attribute
//! that only root can set. A directory without the mark is somebody else's and is never removed, whatever stands on record.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, Gid, Mode, OFlags, RenameFlags, ResolveFlags, Uid, XattrFlags};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::mounts::mounted_below;
use super::{ErrorKind, MachineError, Presence};

/// The extended attribute that holds the ID of what we made.
const MARK: &str = "trusted.dockside";

/// How often a walk is begun again because somebody renames directories underneath it.
const WALKS: usize = 64;

/// Permission bits of parents.
const PARENT: u32 = 0o755;

/// A directory that was not there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MadePath {
    /// Minted by the host.
    pub id: String,
    /// Where it is: absolute, without `.`, `..` and symbolic links.
    pub path: PathBuf,
    /// The first of its parents that was not there either, or itself.
    pub first: PathBuf,
    /// Owner; none is the daemon's own.
    pub uid: Option<u32>,
    /// Group; none is the daemon's own.
    pub gid: Option<u32>,
    /// Permission bits; none is 0o755.
    pub mode: Option<u32>,
}

/// A directory that goes, with everything in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Erasure {
    /// What [`perform`] made.
    pub made: MadePath,
}

/// What is at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found {
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Permission bits.
    pub mode: u32,
}

/// What is at a path, or the first part of it that is not there.
///
/// # Errors
/// When it leads through a symbolic link, or through something that is no directory.
pub fn find(path: &Path) -> Result<Result<Found, PathBuf>, MachineError> {
    check(path)?;
    let mut first = path;
    loop {
        match open(first)? {
            Some(directory) if first == path => {
                let stat = rustix::fs::fstat(&directory)
                    .map_err(|error| failed("look at", path, error))?;
                return Ok(Ok(Found {
                    uid: stat.st_uid,
                    gid: stat.st_gid,
                    mode: stat.st_mode & 0o7777,
                }));
            }
            Some(_) => break,
            None => match first.parent() {
                Some(parent) => first = parent,
                None => break,
            },
        }
    }
    let depth = first.components().count() + 1;
    Ok(Err(path.components().take(depth).collect()))
}

/// Makes a directory, with the parents that are missing.
///
/// # Errors
/// [`ErrorKind::Busy`] if somebody has made something there meanwhile; otherwise when the machine says no. Nothing is left then.
pub fn perform(made: &MadePath) -> Result<(), MachineError> {
    check(&made.path)?;
    if made.mode.is_some_and(|mode| mode > 0o7777) {
        return Err(MachineError::new(
            ErrorKind::Invalid,
            "a mode has at most 12 bits: 7777",
        ));
    }
    let place = Place::of(made)?.ok_or_else(|| busy(made))?;
    let placed = place
        .build(made)
        .and_then(|()| place.settle().map_err(|error| place_error(made, error)));
    if placed.is_err() {
        let _ = place.clear(made);
    }
    placed?;
    // The name must be on the disk before the record that points to it.
    match File::from(place.parent).sync_all() {
        // A file system that has nothing to write.
        Err(error) if error.kind() != std::io::ErrorKind::InvalidInput => Err(MachineError::io(
            &format!("make {}", made.path.display()),
            &error,
        )),
        _ => Ok(()),
    }
}

/// Takes back what was made, as far as there is nothing in it.
///
/// # Errors
/// When the machine says no.
pub fn undo(made: &MadePath) -> Result<(), MachineError> {
    let place = match Place::of(made) {
        Ok(Some(place)) => place,
        Ok(None) => return Ok(()),
        // Its parents are others now, so nothing of it can be reached any more.
        Err(error) if error.kind == ErrorKind::Invalid => {
            tracing::warn!(%error, "what a failed call may have made is not looked for");
            return Ok(());
        }
        Err(error) => return Err(error),
    };
    place
        .clear(made)
        .map_err(|error| failed("remove", &place.temporary_path(made), error))?;
    prune(made, &made.path)
}

/// Whether it is there.
///
/// # Errors
/// When the machine does not tell.
pub fn look(made: &MadePath) -> Result<Presence, MachineError> {
    let Some(directory) = open(&made.path)? else {
        return Ok(Presence::Absent);
    };
    Ok(match mark(directory.as_fd()) {
        Mark::Ours(id) if id == made.id => Presence::Present,
        _ => Presence::Changed("it is another directory than the one that was made".to_owned()),
    })
}

/// Whether what was made is known by its mark, so that it can be [erased](erase) one day. It is not on file systems that keep no marks.
pub fn is_marked(made: &MadePath) -> bool {
    matches!(look(made), Ok(Presence::Present))
}

/// Deletes what was made, with everything in it. Its parents stay, because somebody else may use them by now, and so does what somebody else
/// has put in its place.
///
/// # Errors
/// [`ErrorKind::Busy`] while something is mounted in it; otherwise when the machine says no.
pub fn erase(erasure: &Erasure) -> Result<(), MachineError> {
    let made = &erasure.made;
    let (Some(parent), Some(name)) = (made.path.parent(), made.path.file_name()) else {
        return Ok(());
    };
    let Some(parent) = open(parent)? else {
        return Ok(());
    };
    let aside = temporary(made);
    match look(made)? {
        Presence::Present => {
            if !mounted_below(&made.path)?.is_empty() {
                return Err(MachineError::new(
                    ErrorKind::Busy,
                    format!("something is mounted in {}", made.path.display()),
                ));
            }
            // From here on nobody finds it, however long the deletion takes.
            rustix::fs::renameat(&parent, name, &parent, &aside)
                .map_err(|error| failed("remove", &made.path, error))?;
        }
        Presence::Absent => {}
        Presence::Changed(how) => {
            tracing::warn!(path = %made.path.display(), "{how}: it stays");
            return Ok(());
        }
    }
    // Through the descriptor: the path could lead elsewhere by now.
    match fs::remove_dir_all(handle(parent.as_fd()).join(&aside)) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(MachineError::io(
            &format!("remove {}", made.path.display()),
            &error,
        )),
    }
}

/// Removes what was made from `path` upwards, as far as it is empty.
fn prune(made: &MadePath, path: &Path) -> Result<(), MachineError> {
    for path in path.ancestors() {
        if !path.starts_with(&made.first) {
            break;
        }
        let (Some(above), Some(name)) = (path.parent(), path.file_name()) else {
            break;
        };
        // A link in the way was put there by somebody else.
        let Ok(Some(directory)) = open(path) else {
            continue;
        };
        let ours = match mark(directory.as_fd()) {
            Mark::Ours(id) => id == made.id,
            Mark::None => false,
            Mark::Unknown => true,
        };
        let Some(above) = open(above)?.filter(|_| ours) else {
            break;
        };
        match rustix::fs::unlinkat(&above, name, AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT) => {}
            // It is not ours to judge what others have put there.
            Err(Errno::NOTEMPTY | Errno::EXIST | Errno::BUSY) => break,
            Err(error) => return Err(failed("remove", path, error)),
        }
    }
    Ok(())
}

/// Where something is made: beside its place.
struct Place {
    parent: OwnedFd,
    temporary: String,
    name: std::ffi::OsString,
    /// The names below the first one.
    below: Vec<std::ffi::OsString>,
}

impl Place {
    /// None if the directory that it is to be in is gone.
    fn of(made: &MadePath) -> Result<Option<Place>, MachineError> {
        let wrong = || {
            MachineError::new(
                ErrorKind::Other,
                format!("the record of {} is damaged", made.path.display()),
            )
        };
        let (Some(parent), Some(name)) = (made.first.parent(), made.first.file_name()) else {
            return Err(wrong());
        };
        let below = made.path.strip_prefix(&made.first).map_err(|_| wrong())?;
        Ok(open(parent)?.map(|parent| Place {
            parent,
            temporary: temporary(made),
            name: name.to_owned(),
            below: below.iter().map(OsStr::to_owned).collect(),
        }))
    }

    fn temporary_path(&self, made: &MadePath) -> PathBuf {
        made.first.with_file_name(&self.temporary)
    }

    fn build(&self, made: &MadePath) -> Result<(), MachineError> {
        let tried = |error| failed("make", &made.path, error);
        rustix::fs::mkdirat(&self.parent, &self.temporary, Mode::RWXU).map_err(tried)?;
        let mut directory = enter(self.parent.as_fd(), self.temporary.as_ref()).map_err(tried)?;
        for name in &self.below {
            stamp(directory.as_fd(), &made.id).map_err(tried)?;
            rustix::fs::fchmod(&directory, Mode::from_raw_mode(PARENT)).map_err(tried)?;
            rustix::fs::mkdirat(&directory, name, Mode::RWXU).map_err(tried)?;
            directory = enter(directory.as_fd(), name).map_err(tried)?;
        }
        stamp(directory.as_fd(), &made.id).map_err(tried)?;
        let owner = made.uid.map(Uid::from_raw);
        rustix::fs::fchown(&directory, owner, made.gid.map(Gid::from_raw)).map_err(tried)?;
        // After the change of owner, which clears the set-id bits.
        let mode = Mode::from_raw_mode(made.mode.unwrap_or(PARENT));
        rustix::fs::fchmod(&directory, mode).map_err(tried)
    }

    /// Puts it into its place, unless there is something by now.
    fn settle(&self) -> Result<(), Errno> {
        let (from, to) = (self.temporary.as_str(), &self.name);
        let parent = &self.parent;
        match rustix::fs::renameat_with(parent, from, parent, to, RenameFlags::NOREPLACE) {
            // A file system that does not know how, such as NFS.
            Err(Errno::INVAL) => match rustix::fs::statat(parent, to, AtFlags::SYMLINK_NOFOLLOW) {
                Err(Errno::NOENT) => rustix::fs::renameat(parent, from, parent, to),
                Ok(_) => Err(Errno::EXIST),
                Err(error) => Err(error),
            },
            done => done,
        }
    }

    /// Removes what [`build`](Place::build) has made so far: nobody else knows of it.
    fn clear(&self, made: &MadePath) -> Result<(), Errno> {
        let mut path = vec![PathBuf::from(temporary(made))];
        for name in &self.below {
            let next = path
                .last()
                .map_or_else(PathBuf::new, |last| last.join(name));
            path.push(next);
        }
        for path in path.iter().rev() {
            match rustix::fs::unlinkat(&self.parent, path, AtFlags::REMOVEDIR) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

fn temporary(made: &MadePath) -> String {
    format!(".dockside-{}", made.id)
}

/// Whose a directory is.
enum Mark {
    Ours(String),
    None,
    /// The file system keeps no marks, or we may not read them.
    Unknown,
}

fn mark(directory: BorrowedFd<'_>) -> Mark {
    let mut value = [0; 64];
    match rustix::fs::getxattr(handle(directory), MARK, &mut value) {
        Ok(length) => {
            let value = value.get(..length).unwrap_or_default();
            Mark::Ours(String::from_utf8_lossy(value).into_owned())
        }
        // Without root the kernel says of such an attribute that it is not there.
        Err(Errno::NODATA) if rustix::process::geteuid().is_root() => Mark::None,
        Err(_) => Mark::Unknown,
    }
}

fn stamp(directory: BorrowedFd<'_>, id: &str) -> Result<(), Errno> {
    match rustix::fs::setxattr(handle(directory), MARK, id.as_bytes(), XattrFlags::CREATE) {
        // It can be made and used all the same, but not be erased with what is in it.
        Err(Errno::NOTSUP | Errno::PERM) => Ok(()),
        done => done,
    }
}

fn enter(parent: BorrowedFd<'_>, name: &OsStr) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(parent, name, flags, Mode::empty())
}

/// Opens a directory by its path, link by link, whatever others rename meanwhile. None if it is not there.
fn open(path: &Path) -> Result<Option<OwnedFd>, MachineError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let resolve = ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    for _ in 0..WALKS {
        match rustix::fs::openat2(rustix::fs::CWD, path, flags, Mode::empty(), resolve) {
            Ok(directory) => return Ok(Some(directory)),
            Err(Errno::NOENT) => return Ok(None),
            Err(Errno::AGAIN) => std::thread::yield_now(),
            Err(Errno::LOOP) => {
                return Err(MachineError::new(
                    ErrorKind::Invalid,
                    format!(
                        "{} leads through a symbolic link: name the path that it leads to",
                        path.display()
                    ),
                ));
            }
            Err(Errno::NOTDIR) => {
                return Err(MachineError::new(
                    ErrorKind::Invalid,
                    format!("{} is no directory", path.display()),
                ));
            }
            Err(error) => return Err(failed("open", path, error)),
        }
    }
    Err(MachineError::new(
        ErrorKind::Busy,
        format!(
            "cannot open {}: somebody renames its directories all the time; try again",
            path.display()
        ),
    ))
}

fn check(path: &Path) -> Result<(), MachineError> {
    let plain = path
        .components()
        .all(|part| matches!(part, Component::Normal(_) | Component::RootDir));
    if plain && path.is_absolute() && path.parent().is_some() {
        return Ok(());
    }
    Err(MachineError::new(
        ErrorKind::Invalid,
        format!(
            "{} is no absolute path below /, without `..`",
            path.display()
        ),
    ))
}

/// The path by which system calls that take none but paths reach a descriptor.
fn handle(descriptor: BorrowedFd<'_>) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", descriptor.as_raw_fd()))
}

fn failed(tried: &str, path: &Path, error: Errno) -> MachineError {
    MachineError::io(&format!("{tried} {}", path.display()), &error.into())
}

fn busy(made: &MadePath) -> MachineError {
    MachineError::new(
        ErrorKind::Busy,
        format!(
            "somebody else makes or removes directories on the way to {}: try again",
            made.path.display()
        ),
    )
}

fn place_error(made: &MadePath, error: Errno) -> MachineError {
    match error {
        Errno::EXIST => busy(made),
        error => failed("make", &made.path, error),
    }
}

#[cfg(test)]
mod tests;
