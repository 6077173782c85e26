//! From a name to the file, one directory after the other, by descriptors: what was looked at is what is used.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;

use super::{FilesError, LOOK, Set, stat, target};
use crate::machine::{ErrorKind, MachineError};

/// How many symbolic links the kernel follows in one path (path_resolution(7)).
const MOST_LINKS: usize = 40;

/// The directories on the way to a place, the first of which cannot be left.
#[derive(Debug, Clone)]
pub(super) struct Stack {
    floor: Step,
    above: Vec<Step>,
}

#[derive(Debug, Clone)]
struct Step {
    directory: Arc<OwnedFd>,
    path: PathBuf,
}

impl Stack {
    fn new(directory: OwnedFd, path: PathBuf) -> Stack {
        Stack {
            floor: Step {
                directory: Arc::new(directory),
                path,
            },
            above: Vec::new(),
        }
    }

    fn last(&self) -> &Step {
        self.above.last().unwrap_or(&self.floor)
    }

    /// The directory that it leads to.
    pub(super) fn top(&self) -> BorrowedFd<'_> {
        self.last().directory.as_fd()
    }

    /// Where that is, for people.
    pub(super) fn path(&self) -> PathBuf {
        self.last().path.clone()
    }

    /// The same place, which cannot be left any more.
    fn as_floor(&self) -> Stack {
        Stack {
            floor: self.last().clone(),
            above: Vec::new(),
        }
    }
}

/// What a name leads to.
#[derive(Debug)]
pub(super) enum Found {
    /// A directory, with the way to it.
    Directory(Stack),
    /// Anything else that is no symbolic link, looked at and not opened.
    Other { file: OwnedFd, path: PathBuf },
}

/// Walks in one set.
#[derive(Debug, Clone, Copy)]
pub(super) struct Walk<'a>(&'a Set);

impl<'a> Walk<'a> {
    pub(super) fn new(set: &'a Set) -> Walk<'a> {
        Walk(set)
    }

    pub(super) fn set(&self) -> &'a Set {
        self.0
    }

    /// The root of the set. Links on the way to it are the operator's own.
    pub(super) fn root(&self) -> Result<Found, FilesError> {
        let path = &self.0.path;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let top = rustix::fs::open("/", flags, Mode::empty())
            .map_err(|error| MachineError::io("open /", &error.into()))?;
        let top = Stack::new(top, PathBuf::from("/"));
        self.check(top.top(), Path::new("/"))?;
        match self.steps(&top, path, false)? {
            Found::Directory(stack) => Ok(Found::Directory(stack.as_floor())),
            other => Ok(other),
        }
    }

    /// What a name leads to that begins at the end of a way in the set, and stays in it.
    pub(super) fn follow(&self, from: &Stack, name: &Path) -> Result<Found, FilesError> {
        self.steps(from, name, true)
    }

    fn steps(&self, from: &Stack, name: &Path, beneath: bool) -> Result<Found, FilesError> {
        let mut stack = from.clone();
        let mut left: VecDeque<Part> = parts(name).collect();
        let mut links = 0;
        while let Some(part) = left.pop_front() {
            let name = match part {
                Part::Root if beneath => return Err(leaves(self.0, name)),
                Part::Root => {
                    stack.above.clear();
                    continue;
                }
                Part::Up => {
                    if stack.above.pop().is_none() && beneath {
                        return Err(leaves(self.0, name));
                    }
                    continue;
                }
                Part::Name(name) => name,
            };
            let path = stack.last().path.join(&name);
            let found = match rustix::fs::openat(stack.top(), &name, LOOK, Mode::empty()) {
                Ok(found) => found,
                Err(error) => return Err(failed(&path, error)),
            };
            let is = FileType::from_raw_mode(stat(&found, &path)?.st_mode);
            if is == FileType::Symlink {
                links += 1;
                if links > MOST_LINKS {
                    return Err(failed(&path, Errno::LOOP));
                }
                let target = target(&found).map_err(|error| failed(&path, error))?;
                for part in parts(&target).rev() {
                    left.push_front(part);
                }
                continue;
            }
            self.check(found.as_fd(), &path)?;
            if is == FileType::Directory {
                let directory = Arc::new(found);
                stack.above.push(Step { directory, path });
            } else if left.is_empty() {
                return Ok(Found::Other { file: found, path });
            } else {
                return Err(failed(&path, Errno::NOTDIR));
            }
        }
        Ok(Found::Directory(stack))
    }

    /// Whether something counts.
    fn check(&self, file: BorrowedFd<'_>, path: &Path) -> Result<(), FilesError> {
        if !self.0.root_only {
            return Ok(());
        }
        let stat = stat(file, path)?;
        // With an ACL that lets others write, the group's bits show it too (acl(5)).
        if stat.st_uid == 0 && stat.st_mode & 0o022 == 0 {
            return Ok(());
        }
        Err(FilesError::NotRootOnly(path.to_owned()))
    }
}

/// A step of a path.
enum Part {
    Root,
    Up,
    Name(OsString),
}

fn parts(path: &Path) -> impl DoubleEndedIterator<Item = Part> {
    path.components().filter_map(|component| match component {
        Component::RootDir => Some(Part::Root),
        Component::ParentDir => Some(Part::Up),
        Component::Normal(name) => Some(Part::Name(name.to_owned())),
        Component::CurDir | Component::Prefix(_) => None,
    })
}

fn failed(path: &Path, error: Errno) -> FilesError {
    let text = format!("find {}", path.display());
    let found = match error {
        Errno::NOTDIR => MachineError::new(ErrorKind::NotFound, format!("cannot {text}: {error}")),
        error => MachineError::io(&text, &error.into()),
    };
    found.into()
}

fn leaves(set: &Set, name: &Path) -> FilesError {
    let text = format!(
        "{} leads out of {} by a symbolic link, and links there must stay inside and be relative",
        name.display(),
        set.path.display()
    );
    MachineError::new(ErrorKind::Invalid, text).into()
}
