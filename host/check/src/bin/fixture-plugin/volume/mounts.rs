//! Directories, and the kernel's mounts of them.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, StatxAttributes, StatxFlags};
use rustix::mount::{
    MountFlags, MountPropagationFlags, UnmountFlags, mount_bind, mount_change, mount_remount,
    unmount,
};

fn told(path: &Path) -> impl Fn(std::io::Error) -> String + '_ {
    move |error| format!("{}: {error}", path.display())
}

/// A directory that only root can look into.
pub(crate) fn directory(path: &Path) -> Result<(), String> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(told(path))
}

/// What no plugin should do with a directory of its own.
pub(crate) fn open_to_all(path: &Path) -> Result<(), String> {
    fs::set_permissions(path, fs::Permissions::from_mode(0o777)).map_err(told(path))
}

/// An empty directory for a volume's data, whatever was there.
pub(crate) fn data(path: &Path) -> Result<(), String> {
    discard(path)?;
    fs::create_dir(path).map_err(told(path))?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).map_err(told(path))
}

/// Deletes a directory with everything in it. One that is not there is no error.
pub(crate) fn discard(path: &Path) -> Result<(), String> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(told(path)(error)),
        _ => Ok(()),
    }
}

/// Whether something is mounted there.
pub(crate) fn is_mounted(path: &Path) -> bool {
    rustix::fs::statx(
        CWD,
        path,
        AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT,
        StatxFlags::empty(),
    )
    .is_ok_and(|stat| stat.stx_attributes.contains(StatxAttributes::MOUNT_ROOT))
}

/// Mounts `from` at `to`, `confined`: without devices and privileges of programs, and without an echo in other namespaces.
pub(crate) fn bind(from: &Path, to: &Path, confined: bool) -> Result<(), String> {
    let failed = |error: rustix::io::Errno| {
        format!(
            "cannot mount {} at {}: {error}",
            from.display(),
            to.display()
        )
    };
    match fs::create_dir(to) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(told(to)(error)),
        _ => {}
    }
    let mount = || {
        mount_bind(from, to)?;
        if !confined {
            return Ok(());
        }
        mount_change(to, MountPropagationFlags::PRIVATE)?;
        mount_remount(
            to,
            MountFlags::BIND | MountFlags::NOSUID | MountFlags::NODEV,
            "",
        )
    };
    mount().map_err(|error| {
        let _ = unbind(to);
        failed(error)
    })
}

/// Ends every mount there and removes the mount point. Where there is none, nothing happens.
pub(crate) fn unbind(at: &Path) -> Result<(), String> {
    while is_mounted(at) {
        unmount(at, UnmountFlags::DETACH)
            .map_err(|error| format!("cannot unmount {}: {error}", at.display()))?;
    }
    match fs::remove_dir(at) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(told(at)(error)),
        _ => Ok(()),
    }
}

/// The places of one volume.
pub(crate) struct Places {
    pub(crate) data: PathBuf,
    pub(crate) mount: PathBuf,
}
