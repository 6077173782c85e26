//! Directories one over another.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};

use super::Mount;
use super::context::{Context, LONGEST, name, refused};
use super::options;
use super::point::{Point, handle};
use crate::machine::{ErrorKind, MachineError};

/// The most lower directories that the kernel takes, from `OVL_MAX_STACK`.
const MOST_LOWER: usize = 500;

pub(super) fn check(lower: &[PathBuf], upper: &Path, work: &Path) -> Result<(), MachineError> {
    if lower.is_empty() || lower.len() > MOST_LOWER {
        return Err(MachineError::new(
            ErrorKind::Invalid,
            format!(
                "an overlay has 1 to {MOST_LOWER} lower directories, not {}",
                lower.len()
            ),
        ));
    }
    for path in lower {
        options::absolute("a lower directory", path)?;
    }
    options::absolute("the upper directory", upper)?;
    options::absolute("the work directory", work)
}

pub(super) fn place(
    mount: &Mount,
    lower: &[PathBuf],
    upper: &Path,
    work: &Path,
    point: &Point,
) -> Result<(), MachineError> {
    let lower = lower
        .iter()
        .map(|path| open(path))
        .collect::<Result<Vec<_>, _>>()?;
    let (upper, work) = (open(upper)?, open(work)?);
    let layers: Vec<(&str, &OwnedFd)> = lower
        .iter()
        .map(|directory| ("lowerdir+", directory))
        .chain([("upperdir", &upper), ("workdir", &work)])
        .collect();
    // Kernels from 6.13 on take descriptors.
    let context = begun(mount)?;
    if layers
        .iter()
        .all(|(option, directory)| context.directory(option, directory.as_fd()).is_ok())
    {
        return finish(&context, mount, point);
    }
    // A path by way of a descriptor leads to the same directory, and has no character that means something to overlay.
    let context = begun(mount)?;
    let result = layers
        .iter()
        .try_for_each(|(option, directory)| context.set(option, bytes(directory)))
        .and_then(|()| finish(&context, mount, point));
    let all = lower.iter().map(bytes).collect::<Vec<_>>().join(&b':');
    match result {
        // Kernels before 6.5 take all lower directories at once.
        Err(error) if error.kind == ErrorKind::Invalid && all.len() <= LONGEST => {}
        result => return result,
    }
    let context = begun(mount)?;
    context.set("lowerdir", all)?;
    context.set("upperdir", bytes(&upper))?;
    context.set("workdir", bytes(&work))?;
    finish(&context, mount, point)
}

fn begun(mount: &Mount) -> Result<Context, MachineError> {
    let context = Context::open("overlay")?;
    context.set("source", name(&mount.id))?;
    Ok(context)
}

fn finish(context: &Context, mount: &Mount, point: &Point) -> Result<(), MachineError> {
    context.create("mount an overlay")?;
    context.place(mount.flags, point)
}

fn bytes(directory: &OwnedFd) -> Vec<u8> {
    handle(directory.as_fd())
        .into_os_string()
        .into_encoded_bytes()
}

fn open(path: &Path) -> Result<OwnedFd, MachineError> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::openat2(CWD, path, flags, Mode::empty(), ResolveFlags::NO_MAGICLINKS)
        .map_err(|error| refused(&format!("open {}", options::shown(path)), error))
}
