//! Directories of this machine, mounted a second time.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use super::context::{another, refused};
use super::point::Point;
use super::table::{MountInfo, holding, mount_table, walk};
use super::{Flags, aside, flags, options};
use crate::machine::{ErrorKind, MachineError};

/// How often a walk is begun again because somebody renames directories underneath it.
const WALKS: usize = 64;

pub(super) fn check(root: &Path, beneath: &Path) -> Result<(), MachineError> {
    options::absolute("the root of a bind mount", root)?;
    let plain = beneath
        .components()
        .all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
    if plain && options::fits(beneath) {
        return Ok(());
    }
    Err(MachineError::new(
        ErrorKind::Invalid,
        format!(
            "{} is no path below {}: it must be relative, without `..`, and at most {} bytes long",
            options::shown(beneath),
            root.display(),
            options::LONGEST_PATH
        ),
    ))
}

/// Opens the source, whatever others rename or link meanwhile, at or below its root or not at all.
fn open(root: &Path, beneath: &Path) -> Result<OwnedFd, MachineError> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root_directory = rustix::fs::open(root, flags, Mode::empty())
        .map_err(|error| refused(&format!("open {}", root.display()), error))?;
    if beneath.as_os_str().is_empty() {
        return Ok(root_directory);
    }
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let shown = || format!("{} below {}", options::shown(beneath), root.display());
    for _ in 0..WALKS {
        let flags = flags | OFlags::NOFOLLOW;
        match rustix::fs::openat2(&root_directory, beneath, flags, Mode::empty(), resolve) {
            Ok(directory) => return Ok(directory),
            Err(Errno::AGAIN) => std::thread::yield_now(),
            Err(Errno::LOOP | Errno::XDEV) => {
                return Err(MachineError::new(
                    ErrorKind::Invalid,
                    format!("cannot mount {}: it leads through a symbolic link", shown()),
                ));
            }
            Err(Errno::NOTDIR) => {
                return Err(MachineError::new(
                    ErrorKind::Invalid,
                    format!("cannot mount {}: it is no directory", shown()),
                ));
            }
            Err(error) => return Err(refused(&format!("open {}", shown()), error)),
        }
    }
    Err(MachineError::new(
        ErrorKind::Busy,
        format!(
            "cannot open {}: somebody renames its directories all the time; try again",
            shown()
        ),
    ))
}

pub(super) fn place(
    root: &Path,
    beneath: &Path,
    wanted: Flags,
    point: &Point,
) -> Result<(), MachineError> {
    let source = open(root, beneath)?;
    let table = mount_table()?;
    let copied = mount_number(&source).and_then(|id| table.iter().find(|info| info.id == id));
    let flags = flags::remount(wanted, copied);
    let copy = aside::copy(source.as_fd())?;
    aside::prepared(point, |path| aside::put(copy.as_fd(), path), flags)
}

/// The number of the mount that an open directory is in.
fn mount_number(directory: &OwnedFd) -> Option<u64> {
    let path = format!("/proc/thread-self/fdinfo/{}", directory.as_raw_fd());
    let info = std::fs::read_to_string(path).ok()?;
    info.lines()
        .find_map(|line| line.strip_prefix("mnt_id:"))?
        .trim()
        .parse()
        .ok()
}

/// In what a mount differs from the directory that it should show.
pub(super) fn difference(
    info: &MountInfo,
    root: &Path,
    beneath: &Path,
) -> Result<Option<String>, MachineError> {
    let table = mount_table()?;
    let path = walk(&table, &root.join(beneath)).path;
    // The mount itself is in the table, and says nothing of its source.
    let shows = holding(&table, &path).is_some_and(|holder| {
        let below = path.strip_prefix(&holder.point).unwrap_or(Path::new(""));
        holder.device == info.device && joined(&holder.root, below) == info.root
    });
    Ok((!shows).then(|| {
        format!(
            "{}, not {}",
            another(info),
            options::shown(&root.join(beneath))
        )
    }))
}

/// Joining with nothing would add a slash.
fn joined(root: &Path, below: &Path) -> PathBuf {
    if below.as_os_str().is_empty() {
        root.to_path_buf()
    } else {
        root.join(below)
    }
}
