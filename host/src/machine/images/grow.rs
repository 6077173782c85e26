//! More room in an image: the file, the loop device, the file system, in this order, each of which can be done again.
//!
//! File systems grow while they are mounted: that way the journal keeps them whole if the machine stops in the middle, and it is the only
//! way for xfs and btrfs. The mount is one in a mount namespace of its own: nobody sees it, and it ends with the thread and the tools that
//! are in the namespace, the loop device with it. If the image is mounted in another place, both are the same file system.

use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Instant;

use nix::sched::{CloneFlags, unshare};
use rustix::fs::fstatvfs;
use rustix::io::Errno;
use rustix::mount::{
    MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_change, unmount,
};
use serde::{Deserialize, Serialize};

use super::attached::attached;
use super::format::Filesystem;
use super::freeze::lock;
use super::megabytes;
use super::tool::Tool;
use crate::machine::{ErrorKind, MachineError};

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

/// Says whether an image can grow: it is there, it does not shrink, and the disk has the room.
///
/// # Errors
/// [`ErrorKind::NotFound`], [`ErrorKind::Invalid`] or, with the figures, [`ErrorKind::Exhausted`].
pub fn can_grow(growth: &Growth) -> Result<(), MachineError> {
    check(growth, &open(growth)?).map(|_| ())
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
    thread::scope(|scope| {
        thread::Builder::new()
            .name("grow".to_owned())
            .spawn_scoped(scope, || apart(growth, &file, device.as_deref(), deadline))
            .map_err(|error| MachineError::io("start a thread", &error))?
            .join()
            .unwrap_or_else(|_| {
                Err(MachineError::new(
                    ErrorKind::Other,
                    format!("growing {} ended in an unexpected way", name.display()),
                ))
            })
    })
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

/// Grows the file system. On a thread of its own, which it takes to a mount namespace of its own.
fn apart(
    growth: &Growth,
    file: &File,
    device: Option<&Path>,
    deadline: Instant,
) -> Result<(), MachineError> {
    let name = growth.file.as_path();
    let failed = |error: Errno| {
        MachineError::io(
            &format!("mount {} to grow it", name.display()),
            &error.into(),
        )
    };
    unshare(CloneFlags::CLONE_NEWNS)
        .map_err(|error| failed(Errno::from_raw_os_error(error as i32)))?;
    // What is unmounted outside is unmounted here too, and nothing from here is seen outside.
    mount_change(
        "/",
        MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC,
    )
    .map_err(failed)?;
    // Any directory will do. This one is there.
    let place = name.parent().unwrap_or(Path::new("/"));
    let options = growth.filesystem.options();
    match device {
        Some(device) => {
            let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
            let options = std::ffi::CString::new(options).unwrap_or_default();
            match mount(
                device,
                place,
                growth.filesystem.name(),
                flags,
                Some(options.as_c_str()),
            ) {
                Err(Errno::BUSY | Errno::ROFS | Errno::ACCESS) => {
                    return Err(MachineError::new(
                        ErrorKind::Busy,
                        format!(
                            "{} is mounted read-only: mount it for writing to grow it",
                            name.display()
                        ),
                    ));
                }
                mounted => mounted.map_err(failed)?,
            }
        }
        None => {
            // `mount` lets the kernel give the loop device free with the last mount, and takes one that has the file already.
            let input = file
                .try_clone()
                .map_err(|error| MachineError::io("duplicate a descriptor", &error))?;
            let options = ["loop,nosuid,nodev,noexec", options].join(",");
            Tool::new("mount", "mount", name)
                .input(input)
                .args([
                    "--internal-only",
                    "--no-mtab",
                    "--types",
                    growth.filesystem.name(),
                    "--options",
                ])
                .args([options.trim_end_matches(','), "--"])
                .args([name, place])
                .run(deadline)?;
        }
    }
    let grown = fill(growth, file, device, place, deadline);
    let ended = unmount(place, UnmountFlags::empty())
        .or_else(|_| unmount(place, UnmountFlags::DETACH))
        .map_err(failed);
    grown.and(ended)
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
