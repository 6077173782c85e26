//! Files that the operator lets drivers read: one file, or a directory with everything below it.
//!
//! Whatever is found is found from the descriptor of the set's own root, so that nothing outside is reached while names are changed meanwhile.
//! Only plain files are opened: opening a fifo waits for somebody, and opening a device can do anything.

mod resolve;
mod walk;

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Dir, FileType, OFlags, Stat};
use rustix::io::Errno;
use sha2::{Digest, Sha256};

pub use resolve::resolve;
use walk::{Found, Stack, Walk};

use crate::machine::{ErrorKind, MachineError};

/// Files and directories that one listing may pass. Links from directory to directory multiply them.
const MOST_ENTRIES: usize = 10_000;

/// Directories below one another. The kernel's own limit of a path leaves room for two thousand, and each is a descriptor.
const DEEPEST: usize = 64;

/// A change may not show in the times of a file while its last one is younger than this: the kernel's clock for them ticks each 1 to 10 ms.
const YOUNG_NANOSECONDS: i128 = 100_000_000;

/// What the operator named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Set {
    /// Where it is, absolute.
    pub path: PathBuf,
    /// Whether it counts only while nobody but root can change it, or any directory above it.
    pub root_only: bool,
}

/// A file of a set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileInfo {
    /// Its name in the set; empty for a set that is one file.
    pub name: String,
    /// Its length in bytes.
    pub size: u64,
    /// Another number whenever the file has changed.
    pub stamp: u64,
}

/// Why files cannot be had.
#[derive(Debug, Clone, thiserror::Error)]
pub enum FilesError {
    /// The machine says no.
    #[error(transparent)]
    Machine(#[from] MachineError),
    /// Somebody besides root could have put it there: the path.
    #[error("{} counts only while nobody but root can change it, and others can: chown root:root and chmod go-w", .0.display())]
    NotRootOnly(PathBuf),
    /// It is longer than may be read: this many bytes, or more.
    #[error("it is too long")]
    TooLong(u64),
}

/// All files of a set, sorted by name. What is neither a plain file nor a directory is left out, and so are links that lead nowhere or out of the
/// set, and names that begin with `..`: behind those Kubernetes keeps the versions of what its links show.
///
/// # Errors
/// [`ErrorKind::NotFound`] when nothing of it is there, [`FilesError::NotRootOnly`] when others than root can change any of it and may not.
pub fn list(set: &Set) -> Result<Vec<FileInfo>, FilesError> {
    let walk = Walk::new(set);
    let mut files = match walk.root()? {
        Found::Directory(stack) => {
            let mut lister = Lister {
                walk,
                passed: 0,
                files: Vec::new(),
            };
            lister.visit(&stack, &mut Vec::new(), "")?;
            lister.files
        }
        Found::Other { file, path } => {
            let stat = stat(&file, &path)?;
            plain(&stat, &path)?;
            vec![info(String::new(), &stat)]
        }
    };
    files.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(files)
}

/// A number that is another one whenever anything in the set has changed.
///
/// # Errors
/// See [`list`].
pub fn stamp(set: &Set) -> Result<u64, FilesError> {
    let mut hash = Sha256::new();
    for file in list(set)? {
        hash.update((file.name.len() as u64).to_le_bytes());
        hash.update(file.name);
        hash.update(file.stamp.to_le_bytes());
    }
    Ok(first_bytes(hash))
}

/// What is in a file of at most `max` bytes.
///
/// # Errors
/// As for [`list`]; [`FilesError::TooLong`] when it is longer, [`ErrorKind::Invalid`] when the name leads out of the set or is no plain file's.
pub fn read(set: &Set, name: &str, max: u64) -> Result<Vec<u8>, FilesError> {
    let walk = Walk::new(set);
    let (file, path) = match (walk.root()?, name) {
        (Found::Other { file, path }, "") => (file, path),
        (Found::Other { path, .. }, _) => {
            let text = format!("there is no file {name:?} in {}", path.display());
            return Err(MachineError::new(ErrorKind::NotFound, text).into());
        }
        (Found::Directory(stack), name) => {
            check_name(name)?;
            match walk.follow(&stack, Path::new(name))? {
                Found::Other { file, path } => (file, path),
                Found::Directory(stack) => return Err(no_plain_file(&stack.path()).into()),
            }
        }
    };
    let stat = stat(&file, &path)?;
    plain(&stat, &path)?;
    let size = u64::try_from(stat.st_size).unwrap_or(0);
    if size > max {
        return Err(FilesError::TooLong(size));
    }
    let tried = || format!("read {}", path.display());
    let failed = |error: &std::io::Error| MachineError::io(&tried(), error);
    // The very file that was looked at, which a second look by name might miss.
    let again = format!("/proc/self/fd/{}", file.as_fd().as_raw_fd());
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let opened = rustix::fs::open(again, flags, rustix::fs::Mode::empty())
        .map_err(|error| failed(&error.into()))?;
    let mut content = Vec::new();
    File::from(opened)
        .take(max.saturating_add(1))
        .read_to_end(&mut content)
        .map_err(|error| failed(&error))?;
    let length = content.len() as u64;
    if length > max {
        return Err(FilesError::TooLong(length));
    }
    Ok(content)
}

/// A name is one that a listing gives.
fn check_name(name: &str) -> Result<(), MachineError> {
    let odd = |part: &str| matches!(part, "" | "." | "..");
    let problem = if name.contains('\0') || name.len() > 4095 {
        "cannot be a file's"
    } else if name.split('/').any(odd) {
        "is not as in the list of files: parts between slashes, without . and .."
    } else {
        return Ok(());
    };
    let shown = crate::protocol::one_line(&format!("{name:?}"), 200);
    Err(MachineError::new(
        ErrorKind::Invalid,
        format!("the name {shown} {problem}"),
    ))
}

fn stat(file: impl AsFd, path: &Path) -> Result<Stat, MachineError> {
    rustix::fs::fstat(file)
        .map_err(|error| MachineError::io(&format!("look at {}", path.display()), &error.into()))
}

fn plain(stat: &Stat, path: &Path) -> Result<(), MachineError> {
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => Ok(()),
        _ => Err(no_plain_file(path)),
    }
}

fn no_plain_file(path: &Path) -> MachineError {
    MachineError::new(
        ErrorKind::Invalid,
        format!("{} is no plain file", path.display()),
    )
}

fn info(name: String, stat: &Stat) -> FileInfo {
    let mut hash = Sha256::new();
    for number in [
        i128::from(stat.st_dev),
        i128::from(stat.st_ino),
        i128::from(stat.st_size),
        i128::from(stat.st_mode),
        i128::from(stat.st_uid),
        i128::from(stat.st_gid),
        i128::from(stat.st_mtime),
        i128::from(stat.st_mtime_nsec),
        changed(stat),
    ] {
        hash.update(number.to_le_bytes());
    }
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
    let now = i128::from(now.tv_sec) * 1_000_000_000 + i128::from(now.tv_nsec);
    if (now - changed(stat)).abs() < YOUNG_NANOSECONDS {
        hash.update(now.to_le_bytes());
    }
    FileInfo {
        name,
        size: u64::try_from(stat.st_size).unwrap_or(0),
        stamp: first_bytes(hash),
    }
}

fn changed(stat: &Stat) -> i128 {
    i128::from(stat.st_ctime) * 1_000_000_000 + i128::from(stat.st_ctime_nsec)
}

fn first_bytes(hash: Sha256) -> u64 {
    let mut first = [0; 8];
    for (to, from) in first.iter_mut().zip(hash.finalize()) {
        *to = from;
    }
    u64::from_le_bytes(first)
}

/// A walk through a whole set.
struct Lister<'a> {
    walk: Walk<'a>,
    passed: usize,
    files: Vec<FileInfo>,
}

impl Lister<'_> {
    /// Lists a directory whose name is `prefix`, and which is below those of `above` by way of links or not.
    fn visit(
        &mut self,
        stack: &Stack,
        above: &mut Vec<(u64, u64)>,
        prefix: &str,
    ) -> Result<(), FilesError> {
        let directory = stack.top();
        let path = stack.path();
        let own = stat(directory, &path)?;
        let own = (own.st_dev, own.st_ino);
        // A link to a directory above it: everything in there is listed already.
        if above.contains(&own) {
            return Ok(());
        }
        if above.len() >= DEEPEST {
            let text = format!("{} is more than {DEEPEST} directories deep", path.display());
            return Err(MachineError::new(ErrorKind::Exhausted, text).into());
        }
        above.push(own);
        for name in names(directory, &path)? {
            self.passed += 1;
            if self.passed > MOST_ENTRIES {
                let root = self.walk.set().path.display();
                let text = format!("there are more than {MOST_ENTRIES} files in {root}");
                return Err(MachineError::new(ErrorKind::Exhausted, text).into());
            }
            let full = if prefix.is_empty() {
                name.clone()
            } else {
                format!("{prefix}/{name}")
            };
            match self.walk.follow(stack, Path::new(&name)) {
                Ok(Found::Directory(below)) => self.visit(&below, above, &full)?,
                Ok(Found::Other { file, path }) => {
                    let stat = stat(&file, &path)?;
                    if plain(&stat, &path).is_ok() {
                        self.files.push(info(full, &stat));
                    }
                }
                Err(error @ FilesError::NotRootOnly(_)) => return Err(error),
                // Gone since, or a link that leads nowhere.
                Err(_) => {}
            }
        }
        above.pop();
        Ok(())
    }
}

/// The names in a directory, without those that begin with `..` and those that are not UTF-8, which no driver could say.
fn names(directory: impl AsFd, path: &Path) -> Result<Vec<String>, MachineError> {
    let failed =
        |error: Errno| MachineError::io(&format!("list {}", path.display()), &error.into());
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let opened = rustix::fs::openat(directory, ".", flags, rustix::fs::Mode::empty());
    let mut names = Vec::new();
    for entry in Dir::new(opened.map_err(failed)?).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name().to_bytes();
        if name == b"." || name.starts_with(b"..") {
            continue;
        }
        if let Ok(name) = std::str::from_utf8(name) {
            names.push(name.to_owned());
        }
    }
    Ok(names)
}

/// Flags by which a file is looked at and not opened.
const LOOK: OFlags = OFlags::PATH.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Where a symbolic link leads that is open as `link`.
fn target(link: impl AsFd) -> Result<PathBuf, Errno> {
    let target = rustix::fs::readlinkat(link, "", Vec::new())?;
    Ok(PathBuf::from(std::ffi::OsStr::from_bytes(
        target.as_bytes(),
    )))
}

#[cfg(test)]
mod tests;
