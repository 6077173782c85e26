//! Where a path leads.

use std::collections::VecDeque;
use std::io::ErrorKind as Io;
use std::path::{Component, Path, PathBuf};

use crate::machine::{ErrorKind, MachineError};

/// How many symbolic links the kernel follows in one path (path_resolution(7)).
const MOST_LINKS: usize = 40;

/// Bytes of a path, with the NUL at its end (PATH_MAX of the kernel).
const MAX_PATH: usize = 4096;

/// An absolute path with its symbolic links followed. What does not exist stays as it is, also behind a link: that is where an engine would make
/// it.
///
/// # Errors
/// [`ErrorKind::Invalid`] when it is no absolute path or goes round in circles, and whatever the kernel says of its parts.
pub fn resolve(path: &str) -> Result<String, MachineError> {
    let shown = crate::protocol::one_line(&format!("{path:?}"), 300);
    let invalid =
        |problem: &str| MachineError::new(ErrorKind::Invalid, format!("{shown} {problem}"));
    if !path.starts_with('/') || path.contains('\0') || path.len() >= MAX_PATH {
        return Err(invalid("is no absolute path"));
    }
    let mut resolved = PathBuf::from("/");
    let mut left: VecDeque<PathBuf> = parts(Path::new(path)).collect();
    let mut links = 0;
    while let Some(part) = left.pop_front() {
        if part == Path::new("/") {
            resolved = part;
            continue;
        }
        if part == Path::new("..") {
            resolved.pop();
            continue;
        }
        let here = resolved.join(&part);
        match std::fs::read_link(&here) {
            Ok(target) => {
                links += 1;
                if links > MOST_LINKS {
                    return Err(invalid("has too many symbolic links"));
                }
                for part in parts(&target).rev() {
                    left.push_front(part);
                }
            }
            // It is no link, or not there, or below something that is no directory.
            Err(error)
                if matches!(
                    error.kind(),
                    Io::InvalidInput | Io::NotFound | Io::NotADirectory
                ) =>
            {
                resolved = here;
            }
            Err(error) => {
                return Err(MachineError::io(&format!("follow {shown}"), &error));
            }
        }
        if resolved.as_os_str().len() >= MAX_PATH {
            return Err(invalid("leads to a path that is too long"));
        }
    }
    resolved
        .into_os_string()
        .into_string()
        .map_err(|_| invalid("leads to a path that is not UTF-8"))
}

fn parts(path: &Path) -> impl DoubleEndedIterator<Item = PathBuf> {
    path.components().filter_map(|component| match component {
        Component::CurDir | Component::Prefix(_) => None,
        other => Some(PathBuf::from(other.as_os_str())),
    })
}
