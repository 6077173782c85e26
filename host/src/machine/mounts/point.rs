//! The directory that a mount lies on.

use std::ffi::OsString;
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{AtFlags, CWD, FlockOperation, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{MoveMountFlags, UnmountFlags};

use super::context::refused;
use super::table::{MountInfo, mount_table};
use crate::machine::{ErrorKind, MachineError};

/// More mounts than this, one over another, are nothing that we made.
const MOST_LAYERS: usize = 64;

/// How long a process that was killed while it mounted may take to end.
const SETTLING: Duration = Duration::from_secs(1);

/// A mount point. It is reached from its parent's descriptor: looking at the point itself would ask the file system that is mounted there,
/// which may never answer.
pub(super) struct Point {
    parent: File,
    name: OsString,
    path: PathBuf,
}

impl Point {
    /// Makes the directory of a point, for nobody but root, in parents that can only be walked through.
    pub(super) fn make(path: &Path) -> Result<(), MachineError> {
        if let Some(parent) = path.parent() {
            if let Some(grandparent) = parent.parent() {
                make_directory(grandparent, 0o711)?;
            }
            make_directory(parent, 0o711)?;
        }
        make_directory(path, 0o700)?;
        let tried = || format!("look into {}", path.display());
        let mut entries =
            std::fs::read_dir(path).map_err(|error| MachineError::io(&tried(), &error))?;
        if entries.next().is_some() {
            return Err(MachineError::new(
                ErrorKind::Exists,
                format!(
                    "{} holds files although nothing is mounted there; move them away",
                    path.display()
                ),
            ));
        }
        Ok(())
    }

    /// The parent of a point that must be there.
    pub(super) fn open(path: &Path) -> Result<Point, MachineError> {
        Point::find(path)?.ok_or_else(|| {
            MachineError::new(
                ErrorKind::NotFound,
                format!("the directory of {} is gone", path.display()),
            )
        })
    }

    /// The parent of a point, if it is there.
    pub(super) fn find(path: &Path) -> Result<Option<Point>, MachineError> {
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Ok(None);
        };
        let tried = || format!("open {}", parent.display());
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let parent = match rustix::fs::open(parent, flags, Mode::empty()) {
            Ok(parent) => File::from(parent),
            Err(Errno::NOENT) => return Ok(None),
            Err(error) => return Err(MachineError::io(&tried(), &error.into())),
        };
        // The mount table has paths without symbolic links.
        let real = std::fs::read_link(handle(parent.as_fd()))
            .map_err(|error| MachineError::io(&tried(), &error))?;
        Ok(Some(Point {
            parent,
            name: name.to_owned(),
            path: real.join(name),
        }))
    }

    /// Its path, without symbolic links.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// What is mounted at exactly this point, the topmost last.
    pub(super) fn layers(&self) -> Result<Vec<MountInfo>, MachineError> {
        let mut table = mount_table()?;
        table.retain(|info| info.point == self.path);
        Ok(table)
    }

    /// The directory itself, or the root of what is mounted there.
    pub(super) fn directory(&self) -> Result<OwnedFd, MachineError> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        rustix::fs::openat(&self.parent, &self.name, flags, Mode::empty()).map_err(|error| {
            MachineError::io(&format!("open {}", self.path.display()), &error.into())
        })
    }

    /// Marks the directory, on which nothing is mounted yet, as being mounted onto by this process and by whoever gets this descriptor.
    pub(super) fn guard(&self) -> Result<File, MachineError> {
        let guard = self.bottom()?;
        match rustix::fs::flock(&guard, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(guard),
            Err(error) => Err(refused(
                &format!(
                    "mount onto {}: it is being mounted onto",
                    self.path.display()
                ),
                error,
            )),
        }
    }

    /// Waits until nobody mounts onto the directory any more. Whoever did was killed, so it takes no time to speak of.
    pub(super) fn settle(&self) {
        let Ok(guard) = self.bottom() else {
            return;
        };
        let deadline = Instant::now() + SETTLING;
        while rustix::fs::flock(&guard, FlockOperation::NonBlockingLockExclusive).is_err() {
            if Instant::now() >= deadline {
                tracing::warn!(point = %self.path.display(), "a process that mounts does not end");
                return;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    fn bottom(&self) -> Result<File, MachineError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        rustix::fs::openat(&self.parent, &self.name, flags, Mode::empty())
            .map(File::from)
            .map_err(|error| refused(&format!("open {}", self.path.display()), error))
    }

    /// Puts a mount that nothing can see yet onto a directory.
    pub(super) fn attach(
        &self,
        mount: BorrowedFd<'_>,
        directory: BorrowedFd<'_>,
    ) -> Result<(), MachineError> {
        let flags =
            MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
        rustix::mount::move_mount(mount, "", directory, "", flags)
            .map_err(|error| refused(&format!("mount onto {}", self.path.display()), error))
    }

    /// Unmounts all that lies at this point.
    pub(super) fn clear(&self) -> Result<(), MachineError> {
        for _ in 0..MOST_LAYERS {
            if self.layers()?.is_empty() {
                return Ok(());
            }
            self.unmount(UnmountFlags::empty())?;
        }
        Err(MachineError::new(
            ErrorKind::Busy,
            format!(
                "{} is mounted again and again by something else",
                self.path.display()
            ),
        ))
    }

    /// Unmounts the topmost layer, or detaches it when it is in use.
    pub(super) fn unmount(&self, flags: UnmountFlags) -> Result<(), MachineError> {
        let path = handle(self.parent.as_fd()).join(&self.name);
        let flags = flags | UnmountFlags::NOFOLLOW;
        let result = match rustix::mount::unmount(&path, flags) {
            Err(Errno::BUSY) => rustix::mount::unmount(&path, flags | UnmountFlags::DETACH),
            result => result,
        };
        match result {
            // Somebody was faster.
            Ok(()) | Err(Errno::INVAL | Errno::NOENT) => Ok(()),
            Err(error) => Err(refused(&format!("unmount {}", self.path.display()), error)),
        }
    }

    /// Removes the directory, which must be empty.
    pub(super) fn remove(&self) -> Result<(), MachineError> {
        match rustix::fs::unlinkat(&self.parent, &self.name, AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(Errno::NOTEMPTY | Errno::EXIST) => Err(MachineError::new(
                ErrorKind::Exists,
                format!(
                    "{} holds files although nothing is mounted there; move them away",
                    self.path.display()
                ),
            )),
            Err(error) => Err(MachineError::io(
                &format!("remove {}", self.path.display()),
                &error.into(),
            )),
        }
    }
}

/// The path by which system calls that take none but paths reach a descriptor.
pub(super) fn handle(descriptor: BorrowedFd<'_>) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", descriptor.as_raw_fd()))
}

fn make_directory(path: &Path, mode: u32) -> Result<(), MachineError> {
    let failed = |error| MachineError::io(&format!("make {}", path.display()), &error);
    match std::fs::DirBuilder::new().mode(mode).create(path) {
        // The process's umask may have taken bits away.
        Ok(()) => {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).map_err(failed)
        }
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            let found = rustix::fs::statat(CWD, path, AtFlags::SYMLINK_NOFOLLOW)
                .map_err(|error| failed(error.into()))?;
            if rustix::fs::FileType::from_raw_mode(found.st_mode) == rustix::fs::FileType::Directory
            {
                Ok(())
            } else {
                Err(MachineError::new(
                    ErrorKind::Exists,
                    format!("{} is there and is no directory", path.display()),
                ))
            }
        }
        Err(error) => Err(failed(error)),
    }
}
