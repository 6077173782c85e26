//! Stopping the writers of a mounted image for the time of a copy, in a way that nothing leaves stopped.
//!
//! A process apart, the watcher, starts before the file system is frozen. It holds the file system, the image's lock and the reading
//! end of a pipe, and thaws when nobody has the writing end any more: the daemon, or the tool that freezes. So it thaws also when the
//! daemon is killed, at whatever instant, and not before a freeze that is still under way. It ignores the signals that a service
//! manager sends to what is left of a service. If it is killed as well, the mark that lies next to the copy lets `undo` thaw.
//!
//! The watcher is `xargs`: it reads its input to the end and runs a command then.

use std::fs::File;
use std::io::PipeWriter;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::Child;
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, Mode, OFlags, flock, openat};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsconfig_set_flag,
    fsconfig_set_string, fsmount, fsopen,
};

use super::format::Filesystem;
use super::tool::{self, INPUT, OUTPUT, Tool};
use crate::machine::{ErrorKind, MachineError};

/// How long a thaw may take: it only wakes the writers, but a machine without memory is slow at that as well.
const THAW: Duration = Duration::from_secs(30);

/// A frozen file system. Thawed when dropped.
pub(super) struct Frozen<'a> {
    name: &'a Path,
    root: File,
    watcher: Option<(PipeWriter, Child)>,
}

/// Keeps an image from being copied and grown, until it is dropped.
#[derive(Debug)]
pub struct Hold {
    _file: File,
}

/// Waits until no copy of an image is under way, nor its growth, also those of a daemon that was killed, and keeps new ones away. For the time
/// of a mount or of a removal; any number of holds go together.
///
/// # Errors
/// [`ErrorKind::Busy`] if that is not so by the deadline; if there is no such file.
pub fn hold(file: &Path, deadline: Instant) -> Result<Hold, MachineError> {
    let opened = File::open(file)
        .map_err(|error| MachineError::io(&format!("open {}", file.display()), &error))?;
    take(
        &opened,
        file,
        FlockOperation::NonBlockingLockShared,
        deadline,
    )?;
    Ok(Hold { _file: opened })
}

/// Waits until no other copy of the image is under way, nor its growth. Free again when the file, and what inherited it, is closed.
pub(super) fn lock(file: &File, name: &Path, deadline: Instant) -> Result<(), MachineError> {
    take(
        file,
        name,
        FlockOperation::NonBlockingLockExclusive,
        deadline,
    )
}

fn take(
    file: &File,
    name: &Path,
    how: FlockOperation,
    deadline: Instant,
) -> Result<(), MachineError> {
    loop {
        match flock(file, how) {
            Ok(()) => return Ok(()),
            Err(Errno::WOULDBLOCK) if Instant::now() < deadline => {
                thread::sleep(Duration::from_millis(5));
            }
            Err(Errno::WOULDBLOCK) => {
                return Err(MachineError::new(
                    ErrorKind::Busy,
                    format!(
                        "{} is being copied, grown or mounted: try again later",
                        name.display()
                    ),
                ));
            }
            Err(error) => {
                return Err(MachineError::io(
                    &format!("lock {}", name.display()),
                    &error.into(),
                ));
            }
        }
    }
}

/// Freezes what is on a loop device. `image` is its file, opened for reading and locked; `name` is what errors call it.
pub(super) fn freeze<'a>(
    image: &File,
    name: &'a Path,
    device: &Path,
    filesystem: Filesystem,
    deadline: Instant,
) -> Result<Frozen<'a>, MachineError> {
    let failed =
        |error: std::io::Error| MachineError::io(&format!("freeze {}", name.display()), &error);
    let thawing = tool::require("fsfreeze", "util-linux")?;
    let reading = tool::require("xargs", "findutils")?;
    let root = root(device, filesystem, name)?;
    let (reader, writer) = std::io::pipe().map_err(failed)?;
    // The image is open for reading only, so that as standard error it takes the lock along and no text.
    let watcher = Tool::new("env", "coreutils", name)
        .args([
            "--ignore-signal=TERM",
            "--ignore-signal=INT",
            "--ignore-signal=HUP",
        ])
        .args([reading, thawing])
        .args(["--unfreeze", OUTPUT])
        .input(reader)
        .output(root.try_clone().map_err(failed)?)
        .start(image.try_clone().map_err(failed)?)?;
    let frozen = Frozen {
        name,
        root,
        watcher: Some((writer, watcher)),
    };
    frozen.begin(deadline)
}

/// Thaws what a killed daemon left frozen. Nothing if it is not frozen.
pub(super) fn thaw(name: &Path, device: &Path, filesystem: Filesystem) -> Result<(), MachineError> {
    let root = root(device, filesystem, name)?;
    unfreeze(&root, name)
}

impl Frozen<'_> {
    fn begin(mut self, deadline: Instant) -> Result<Self, MachineError> {
        let failed = |error: std::io::Error| MachineError::io("duplicate a descriptor", &error);
        let Some((writer, _)) = &self.watcher else {
            return Ok(self);
        };
        let tool = Tool::new("fsfreeze", "util-linux", self.name)
            .args(["--freeze", INPUT])
            .input(self.root.try_clone().map_err(failed)?)
            .output(writer.try_clone().map_err(failed)?);
        match tool.run(deadline) {
            Ok(()) => Ok(self),
            Err(failure) => {
                if let Some((writer, watcher)) = self.watcher.take() {
                    if failure.late {
                        // The freeze may yet come. The watcher waits for that.
                        drop(writer);
                        tool::leave(watcher, Instant::now());
                    } else {
                        // It is frozen by somebody else, or cannot be: not ours to thaw.
                        tool::end(watcher);
                    }
                }
                Err(failure.error)
            }
        }
    }

    /// Lets the writers go on.
    pub(super) fn thaw(mut self) -> Result<(), MachineError> {
        self.end()
    }

    fn end(&mut self) -> Result<(), MachineError> {
        let Some((writer, mut watcher)) = self.watcher.take() else {
            return Ok(());
        };
        drop(writer);
        match tool::wait(&mut watcher, Instant::now() + THAW) {
            Ok(Some(status)) if status.success() => Ok(()),
            _ => {
                tool::leave(watcher, Instant::now());
                unfreeze(&self.root, self.name)
            }
        }
    }
}

impl Drop for Frozen<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.end() {
            tracing::error!("{error}");
        }
    }
}

fn unfreeze(root: &File, name: &Path) -> Result<(), MachineError> {
    let input = root
        .try_clone()
        .map_err(|error| MachineError::io("duplicate a descriptor", &error))?;
    let done = Tool::new("fsfreeze", "util-linux", name)
        .args(["--unfreeze", INPUT])
        .input(input)
        .run(Instant::now() + THAW);
    match done {
        // What the kernel says of one that is not frozen.
        Err(failure) if failure.error.message.contains("Invalid argument") => Ok(()),
        done => Ok(done?),
    }
}

/// The root directory of what is on a device, by a mount that has no place and goes with its descriptor. Mounted in another place already,
/// it is the same file system.
fn root(device: &Path, filesystem: Filesystem, name: &Path) -> Result<File, MachineError> {
    let mounted = match mount(device, filesystem, false) {
        // It is mounted read-only.
        Err(Errno::BUSY | Errno::ROFS | Errno::ACCESS) => mount(device, filesystem, true),
        mounted => mounted,
    };
    let opened = mounted.and_then(|mount| {
        openat(
            mount,
            ".",
            OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
        )
    });
    match opened {
        Ok(root) => Ok(File::from(root)),
        Err(Errno::NOSYS) => Err(MachineError::new(
            ErrorKind::Missing,
            "a copy of a mounted image needs Linux 5.2 or newer: unmount it first",
        )),
        Err(error) => Err(MachineError::io(
            &format!("open the file system in {}", name.display()),
            &error.into(),
        )),
    }
}

fn mount(device: &Path, filesystem: Filesystem, read_only: bool) -> Result<OwnedFd, Errno> {
    let context = fsopen(filesystem.name(), FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_set_string(&context, "source", device)?;
    if !filesystem.options().is_empty() {
        fsconfig_set_flag(&context, filesystem.options())?;
    }
    if read_only {
        fsconfig_set_flag(&context, "ro")?;
    }
    fsconfig_create(&context)?;
    fsmount(
        &context,
        FsMountFlags::FSMOUNT_CLOEXEC,
        MountAttrFlags::MOUNT_ATTR_NOSUID
            | MountAttrFlags::MOUNT_ATTR_NODEV
            | MountAttrFlags::MOUNT_ATTR_NOEXEC
            | MountAttrFlags::MOUNT_ATTR_NOATIME,
    )
}
