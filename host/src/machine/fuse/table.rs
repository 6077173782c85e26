//! The mounts of helpers in the kernel's mount table.

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::Duration;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{MountFlags, UnmountFlags};

use super::FuseMount;
use crate::machine::mounts::{Flags, MountInfo, mounted_below};
use crate::machine::{ErrorKind, MachineError};

/// More mounts than this, one over another, are nothing that we made.
const MOST_LAYERS: usize = 16;

/// What is mounted at a point, the topmost last, and below it.
pub(super) struct Layers {
    at: Vec<MountInfo>,
    below: Vec<MountInfo>,
}

impl Layers {
    /// Reads the mount table.
    pub(super) fn at(point: &Path) -> Result<Layers, MachineError> {
        let (at, below) = mounted_below(point)?
            .into_iter()
            .partition(|info| info.point == point);
        Ok(Layers { at, below })
    }

    /// Whether nothing is mounted at the point.
    pub(super) fn is_empty(&self) -> bool {
        self.at.is_empty()
    }

    /// What differs from the mount that should be there, if anything is there.
    pub(super) fn difference(&self, mount: &FuseMount) -> Option<String> {
        match self.at.as_slice() {
            [] => Some("nothing is mounted".to_owned()),
            [info] if is_ours(info, mount) => {
                let lacks = wanted(mount.flags)
                    .into_iter()
                    .find(|(word, set)| info.options.iter().any(|option| option == word) != *set);
                lacks.map(|(word, set)| match set {
                    true => format!("lacks the flag {word}"),
                    false => format!("has the flag {word}"),
                })
            }
            [info] => Some(format!(
                "{} of {} is mounted there",
                info.filesystem,
                info.source.to_string_lossy()
            )),
            many => Some(format!("{} mounts lie one over another", many.len())),
        }
    }

    /// Refuses to touch what others mounted.
    pub(super) fn check_ours(&self, mount: &FuseMount) -> Result<(), MachineError> {
        let foreign = self
            .at
            .iter()
            .find(|info| !is_ours(info, mount))
            .or(self.below.first());
        match foreign {
            None => Ok(()),
            Some(info) => Err(MachineError::new(
                ErrorKind::Busy,
                format!(
                    "{} stays: something else ({} of {}) is mounted at {}; unmount that first",
                    mount.point.display(),
                    info.filesystem,
                    info.source.to_string_lossy(),
                    info.point.display()
                ),
            )),
        }
    }
}

/// The helper was told a source that no one else uses.
fn is_ours(info: &MountInfo, mount: &FuseMount) -> bool {
    (info.filesystem == "fuse" || info.filesystem.starts_with("fuse."))
        && info.source == mount.source().as_str()
}

fn wanted(flags: Flags) -> [(&'static str, bool); 4] {
    [
        ("nosuid", !flags.allow_suid),
        ("nodev", !flags.allow_dev),
        ("noexec", flags.no_exec),
        ("ro", flags.read_only),
    ]
}

/// Sets the flags of a mount. The helpers differ in what they let through, the kernel does not.
pub(super) fn set_flags(point: &Path, mount: &FuseMount) -> Result<(), MachineError> {
    let mut flags = MountFlags::BIND;
    flags.set(MountFlags::NOSUID, !mount.flags.allow_suid);
    flags.set(MountFlags::NODEV, !mount.flags.allow_dev);
    flags.set(MountFlags::NOEXEC, mount.flags.no_exec);
    flags.set(MountFlags::RDONLY, mount.flags.read_only);
    match mount.flags.no_atime {
        true => flags.insert(MountFlags::NOATIME),
        false => flags.insert(MountFlags::RELATIME),
    }
    rustix::mount::mount_remount(point, flags, "").map_err(|error| {
        MachineError::io(
            &format!("set the flags of {}", point.display()),
            &error.into(),
        )
    })
}

/// Wakes whoever polls it when the mount table changes.
pub(super) struct Watch(File);

impl Watch {
    pub(super) fn new() -> Result<Watch, MachineError> {
        let failed = |error| MachineError::io("watch the mount table", &error);
        let mut file = File::open("/proc/thread-self/mountinfo").map_err(failed)?;
        // What has changed since it was read counts.
        file.read_to_end(&mut Vec::new()).map_err(failed)?;
        Ok(Watch(file))
    }
}

impl AsFd for Watch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Unmounts, so that the helper can finish what it has to write; detaches what is in use. With `written`, nobody can reach the mount any more
/// and the helper still serves it until that returns. It takes no longer than `patience`: the kernel may wait for a helper that hangs, and goes
/// on when that is killed.
pub(super) fn unmount_politely(
    point: &Path,
    patience: Duration,
    written: Option<impl FnOnce() + Send + 'static>,
) {
    let (sender, done) = mpsc::channel();
    let point: PathBuf = point.to_owned();
    std::thread::spawn(move || {
        let held = written.and_then(|written| {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let held = rustix::fs::open(&point, flags, Mode::empty()).ok()?;
            Some((held, written))
        });
        if matches!(unmount(&point, UnmountFlags::empty()), Err(Errno::BUSY)) {
            // What it comes to is seen in the mount table.
            let _ = unmount(&point, UnmountFlags::DETACH);
        }
        if let Some((held, written)) = held {
            written();
            drop(held);
        }
        let _ = sender.send(());
    });
    let _ = done.recv_timeout(patience);
}

/// Detaches everything of ours that is mounted at a point.
pub(super) fn unmount_all(mount: &FuseMount, point: &Path) -> Result<(), MachineError> {
    let failed =
        |error: Errno| MachineError::io(&format!("unmount {}", point.display()), &error.into());
    for _ in 0..MOST_LAYERS {
        let layers = Layers::at(point)?;
        layers.check_ours(mount)?;
        if layers.is_empty() {
            return Ok(());
        }
        match unmount(point, UnmountFlags::DETACH) {
            // Somebody was faster.
            Ok(()) | Err(Errno::INVAL | Errno::NOENT) => {}
            Err(error) => return Err(failed(error)),
        }
    }
    Err(failed(Errno::BUSY))
}

fn unmount(point: &Path, flags: UnmountFlags) -> Result<(), Errno> {
    rustix::mount::unmount(point, flags | UnmountFlags::NOFOLLOW)
}
