//! More room in an image: the file, the loop device, the file system, in this order, each of which can be done again.
//!
//! File systems grow while they are mounted: that way the journal keeps them whole if the machine stops in the middle, and it is the only
//! way for xfs and btrfs.

use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::fstatvfs;
use rustix::thread::{CapabilitySet, capabilities};
use serde::{Deserialize, Serialize};

use super::apart::Apart;
use super::attached::attached;
use super::format::Filesystem;
use super::freeze::lock;
use super::megabytes;
use super::tool::{INPUT, Tool};
use crate::machine::{ErrorKind, MachineError};

/// The least size, in bytes, that the kernel takes for a btrfs that is to change its size (`SZ_256M` in `btrfs_ioctl_resize`).
const BTRFS: u64 = 256 << 20;

/// An image that becomes larger. It is never undone: a file system does not shrink while it is in use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Growth {
    /// The image's file.
    pub file: PathBuf,
    /// What is in it.
    pub filesystem: Filesystem,
    /// The size before, in bytes.
    pub from: u64,
    /// The size after, in bytes, a multiple of [`BLOCK`](super::BLOCK).
    pub to: u64,
}

/// Says whether an image can grow: it is there, it does not shrink, the disk has the room, and the kernel lets it grow where it is mounted.
///
/// # Errors
/// [`ErrorKind::NotFound`], [`ErrorKind::Invalid`], [`ErrorKind::Missing`] or, with the figures, [`ErrorKind::Exhausted`].
pub fn can_grow(growth: &Growth) -> Result<(), MachineError> {
    check(growth, &open(growth)?)?;
    let allowed = growth.filesystem != Filesystem::Ext4
        || capabilities(None).is_ok_and(|own| own.effective.contains(CapabilitySet::SYS_RESOURCE));
    if !allowed && attached(&growth.file)?.is_some() {
        return Err(not_allowed(&growth.file));
    }
    Ok(())
}

/// Grows an image, mounted or not. Done again, it does what is left to do.
///
/// # Errors
/// Those of [`can_grow`]; [`ErrorKind::Busy`] if the image is mounted read-only or being copied; those of the tools. What has grown by
/// then stays so, and `grow` can be called again.
pub fn grow(growth: &Growth, deadline: Instant) -> Result<(), MachineError> {
    let name = growth.file.as_path();
    let file = open(growth)?;
    lock(&file, name, deadline)?;
    if check(growth, &file)? < growth.to {
        file.set_len(growth.to)
            .and_then(|()| file.sync_all())
            .map_err(|error| MachineError::io(&format!("extend {}", name.display()), &error))?;
    }
    let device = attached(name)?;
    if let Some(device) = &device {
        Tool::new("losetup", "mount", name)
            .args(["--set-capacity".as_ref(), device.as_os_str()])
            .run(deadline)?;
    }
    let apart = Apart {
        file: &file,
        name,
        device: device.as_deref(),
        filesystem: growth.filesystem,
        deadline,
    };
    let grown = apart.with(|place| {
        match fill(growth, &file, device.as_deref(), place, deadline) {
            Ok(()) => Ok(Grown::Yes),
            // Only for want of the capability, which ext4 alone asks for.
            Err(error) if error.message.contains("Permission denied to resize") => {
                Ok(Grown::NotAllowed)
            }
            Err(error) => Err(error),
        }
    })?;
    match (grown, device) {
        (Grown::Yes, _) => Ok(()),
        (Grown::NotAllowed, None) => at_rest(&file, name, deadline),
        (Grown::NotAllowed, Some(_)) => Err(not_allowed(name)),
    }
}

fn not_allowed(name: &Path) -> MachineError {
    MachineError::new(
        ErrorKind::Missing,
        format!(
            "the ext4 in {} cannot grow while it is mounted, for the daemon has no CAP_SYS_RESOURCE: give it that capability, or unmount the volume first",
            name.display()
        ),
    )
}

/// Whether the kernel let a mounted file system grow.
enum Grown {
    Yes,
    NotAllowed,
}

/// Grows an ext4 that is not mounted, where the kernel does not let one grow that is. The tools have the lock: if the daemon is killed they
/// finish, and nobody mounts the image before. If the machine stops, the file system is marked as one to be checked, and the check that is
/// the first step repairs it.
fn at_rest(file: &File, name: &Path, deadline: Instant) -> Result<(), MachineError> {
    while attached(name)?.is_some() {
        if Instant::now() >= deadline {
            return Err(MachineError::new(
                ErrorKind::Busy,
                format!("the loop device of {} does not become free", name.display()),
            ));
        }
        thread::sleep(Duration::from_millis(2));
    }
    let input = || {
        file.try_clone()
            .map_err(|error| MachineError::io("duplicate a descriptor", &error))
    };
    Tool::new("e2fsck", "e2fsprogs", name)
        .args(["-f", "-p", INPUT])
        .input(input()?)
        // 1 says that something was repaired.
        .good(1)
        .run(deadline)?;
    Tool::new("resize2fs", "e2fsprogs", name)
        .args([INPUT])
        .input(input()?)
        .run(deadline)?;
    Ok(())
}

fn open(growth: &Growth) -> Result<File, MachineError> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .open(&growth.file)
        .map_err(|error| MachineError::io(&format!("open {}", growth.file.display()), &error))
}

/// The size that the image has.
fn check(growth: &Growth, file: &File) -> Result<u64, MachineError> {
    let name = growth.file.display();
    let failed = |error: std::io::Error| MachineError::io(&format!("look at {name}"), &error);
    let size = file.metadata().map_err(failed)?.len();
    growth.filesystem.check(growth.to)?;
    if growth.to < growth.from {
        return Err(MachineError::new(
            ErrorKind::Invalid,
            format!(
                "{name} has {} MB and cannot shrink to {} MB",
                megabytes(growth.from),
                megabytes(growth.to)
            ),
        ));
    }
    if growth.filesystem == Filesystem::Btrfs && growth.to < BTRFS && growth.to > growth.from {
        return Err(MachineError::new(
            ErrorKind::Invalid,
            format!(
                "a btrfs grows to {} MB or more, not to {} MB",
                megabytes(BTRFS),
                megabytes(growth.to)
            ),
        ));
    }
    if !growth.filesystem.is_in(file).map_err(failed)? {
        return Err(MachineError::new(
            ErrorKind::Invalid,
            format!("there is no {} in {name}", growth.filesystem),
        ));
    }
    let disk = fstatvfs(file).map_err(|error| failed(error.into()))?;
    let free = disk.f_bavail.saturating_mul(disk.f_frsize);
    let more = growth.to.saturating_sub(size);
    if more > free {
        return Err(MachineError::new(
            ErrorKind::Exhausted,
            format!(
                "{name} cannot grow by {} MB: {} MB are free on its disk",
                megabytes(more),
                megabytes(free)
            ),
        ));
    }
    Ok(size)
}

/// Lets a mounted file system take the whole of its device.
fn fill(
    growth: &Growth,
    file: &File,
    device: Option<&Path>,
    place: &Path,
    deadline: Instant,
) -> Result<(), MachineError> {
    let name = growth.file.as_path();
    let tool = match growth.filesystem {
        Filesystem::Ext4 => {
            let device = match device {
                Some(device) => device.to_owned(),
                None => attached(name)?.ok_or_else(|| {
                    MachineError::new(
                        ErrorKind::Other,
                        format!("{} lost its loop device while it was grown", name.display()),
                    )
                })?,
            };
            Tool::new("resize2fs", "e2fsprogs", name).args([device])
        }
        Filesystem::Xfs => {
            Tool::new("xfs_growfs", "xfsprogs", name).args(["-d".as_ref(), place.as_os_str()])
        }
        Filesystem::Btrfs => Tool::new("btrfs", "btrfs-progs", name)
            .args(["filesystem", "resize", "max"])
            .args([place]),
    };
    // With the lock: a tool that outlives the daemon keeps others away.
    let lock = file
        .try_clone()
        .map_err(|error| MachineError::io("duplicate a descriptor", &error))?;
    Ok(tool.input(lock).run(deadline)?)
}
