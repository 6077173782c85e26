//! Work in a mount namespace that nobody else sees and that leaves nothing.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use nix::sched::CloneFlags;
use rustix::fs::CWD;
use rustix::mount::{
    MountFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags,
};

use super::context::refused;
use super::point::{Point, handle};
use super::table::mounted_below;
use crate::machine::{ErrorKind, MachineError};

/// A mount that nothing can see, made in a mount namespace of its own: `make` is called in it and mounts something onto the point, which
/// there is a private copy; the result is attached to the real one. When this process dies at any instant, what was not attached is gone.
pub(super) fn prepared(
    point: &Point,
    make: impl FnOnce(&Path) -> Result<(), MachineError> + Send,
    flags: MountFlags,
) -> Result<(), MachineError> {
    let directory = point.directory()?;
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new()
            .name("mount".to_owned())
            .spawn_scoped(scope, || {
                let home = File::open("/proc/thread-self/ns/mnt")
                    .map_err(|error| MachineError::io("open this mount namespace", &error))?;
                nix::sched::unshare(CloneFlags::CLONE_NEWNS)
                    .map_err(|error| refused("make a mount namespace", from_nix(error)))?;
                let mount = alone(point).and_then(|()| {
                    make(point.path())?;
                    dressed(point, flags)
                })?;
                nix::sched::setns(&home, CloneFlags::CLONE_NEWNS)
                    .map_err(|error| refused("go back to this mount namespace", from_nix(error)))?;
                point.attach(mount.as_fd(), directory.as_fd())
            })
            .map_err(|error| MachineError::io("start a thread", &error))?;
        thread.join().unwrap_or_else(|_| {
            Err(MachineError::new(
                ErrorKind::Other,
                "a thread that mounts ended without an answer",
            ))
        })
    })
}

fn from_nix(error: nix::errno::Errno) -> rustix::io::Errno {
    rustix::io::Errno::from_raw_os_error(error as i32)
}

/// Cuts this namespace off, and lets go of the other mounts next to the point: a copy keeps a file system, and its loop device, in use.
fn alone(point: &Point) -> Result<(), MachineError> {
    let flags = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    rustix::mount::mount_change("/", flags)
        .map_err(|error| refused("cut off a mount namespace", error))?;
    let parent = point.path().parent().unwrap_or(Path::new("/"));
    let beside = parent.parent().unwrap_or(parent);
    for info in mounted_below(beside)?.iter().rev() {
        if !point.path().starts_with(&info.point) {
            let flags = UnmountFlags::DETACH | UnmountFlags::NOFOLLOW;
            // One that stays for some milliseconds harms nobody.
            let _ = rustix::mount::unmount(&info.point, flags);
        }
    }
    Ok(())
}

/// A copy, without a place, of what lies on the point, with its flags. They cannot be set later: what is mounted below a shared mount is
/// copied at once to the namespaces that share it, and setting flags afterwards would not reach the copies.
fn dressed(point: &Point, flags: MountFlags) -> Result<OwnedFd, MachineError> {
    let top = rustix::mount::open_tree(
        CWD,
        point.path(),
        OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_SYMLINK_NOFOLLOW,
    )
    .map_err(|error| refused(&format!("open {}", point.path().display()), error))?;
    let path = handle(top.as_fd());
    rustix::mount::mount_change(&path, MountPropagationFlags::PRIVATE)
        .map_err(|error| refused("cut off a new mount", error))?;
    rustix::mount::mount_remount(&path, flags, "")
        .map_err(|error| refused("set the flags of a new mount", error))?;
    copy(top.as_fd())
}

/// A copy of a mount, or of a directory in one, without a place.
pub(super) fn copy(directory: BorrowedFd<'_>) -> Result<OwnedFd, MachineError> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_EMPTY_PATH;
    rustix::mount::open_tree(directory, "", flags)
        .map_err(|error| refused("take a directory for mounting", error))
}

/// Puts a copy onto a directory of this namespace.
pub(super) fn put(mount: BorrowedFd<'_>, path: &Path) -> Result<(), MachineError> {
    rustix::mount::move_mount(
        mount,
        "",
        CWD,
        path,
        MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH,
    )
    .map_err(|error| refused("mount in a namespace of its own", error))
}
