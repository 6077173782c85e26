//! Disk images, mounted through loop devices.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::fs::{Mode, OFlags};

use super::context::{another, refused};
use super::point::Point;
use super::table::{MountInfo, mount_table};
use super::{Filesystem, Flags, aside, flags, options, worker};
use crate::machine::{ErrorKind, MachineError, images};

/// How long a loop device may take to go after its last mount went. It stays longer when another mount namespace has a copy of the mount, as
/// containers do that have the whole machine mounted; it goes with them then.
const LAST_CLOSE: Duration = Duration::from_millis(300);

/// Where a file system has its mark, and what it is.
fn mark(filesystem: Filesystem) -> (u64, &'static [u8]) {
    match filesystem {
        Filesystem::Ext4 => (1024 + 56, &[0x53, 0xef]),
        Filesystem::Xfs => (0, b"XFSB"),
        Filesystem::Btrfs => (0x1_0000 + 64, b"_BHRfS_M"),
    }
}

/// Options that every mount of an image has. An ext4 with errors takes no more writes.
fn standing(filesystem: Filesystem) -> String {
    let own = match filesystem {
        Filesystem::Ext4 => "errors=remount-ro",
        Filesystem::Xfs | Filesystem::Btrfs => "",
    };
    let all = ["loop", "nosuid", "nodev", own, filesystem.options()];
    let given: Vec<_> = all
        .into_iter()
        .filter(|option| !option.is_empty())
        .collect();
    given.join(",")
}

pub(super) fn place(
    file: &Path,
    filesystem: Filesystem,
    wanted: Flags,
    point: &Point,
    deadline: Instant,
) -> Result<(), MachineError> {
    probe(file, filesystem)?;
    let flags = flags::remount(wanted, None);
    aside::prepared(
        point,
        // mount(8) attaches the loop device and marks it for going with its last user in one step. When it, or this process, dies before the
        // mount is complete, the namespace goes, and with it the mount and the device.
        |path| {
            let mut mount = Command::new("mount");
            mount
                .args(["--no-mtab", "--internal-only", "--no-canonicalize"])
                .args(["--types", filesystem.name()])
                .args(["--options", &standing(filesystem)])
                .arg("--source")
                .arg(file)
                .arg("--target")
                .arg(path);
            let what = format!("mount the {} image {}", filesystem.name(), file.display());
            worker::run(&mut mount, &what, deadline)?;
            if let Some(device) = device_at(path)? {
                read_directly(&device, deadline);
            }
            Ok(())
        },
        flags,
    )
}

/// Says in plain words what the kernel would call a wrong option or a bad superblock.
fn probe(file: &Path, filesystem: Filesystem) -> Result<(), MachineError> {
    let tried = || format!("open the disk image {}", options::shown(file));
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let mut image = File::from(
        rustix::fs::open(file, flags, Mode::empty()).map_err(|error| refused(&tried(), error))?,
    );
    let about = image
        .metadata()
        .map_err(|error| MachineError::io(&tried(), &error))?;
    let (offset, mark) = mark(filesystem);
    let mut found = vec![0; mark.len()];
    let marked = about.is_file()
        && image.seek(SeekFrom::Start(offset)).is_ok()
        && image.read_exact(&mut found).is_ok()
        && found == mark;
    if marked {
        return Ok(());
    }
    Err(MachineError::new(
        ErrorKind::Invalid,
        format!(
            "{} holds no {} file system",
            file.display(),
            filesystem.name()
        ),
    ))
}

/// The device that is mounted at a path.
fn device_at(path: &Path) -> Result<Option<PathBuf>, MachineError> {
    Ok(mount_table()?
        .into_iter()
        .rfind(|info| info.point == path)
        .map(|info| PathBuf::from(info.source)))
}

/// Keeps what is read and written out of the page cache of the file below, where it would be a second time. File systems that cannot do that
/// go without.
fn read_directly(device: &Path, deadline: Instant) {
    let mut losetup = Command::new("losetup");
    losetup.arg("--direct-io=on").arg(device);
    if let Err(error) = worker::run(&mut losetup, "set direct I/O", deadline) {
        tracing::debug!(device = %device.display(), %error, "a loop device goes through the page cache");
    }
}

/// Waits until a file has no loop device any more, and marks one that is not mounted for going.
pub(super) fn release(file: &Path) -> Result<(), MachineError> {
    let deadline = Instant::now() + LAST_CLOSE;
    let mut asked = false;
    while let Some(device) = images::attached(file)? {
        // By another record: the device goes with that one.
        let mounted = mount_table()?
            .iter()
            .any(|info| device == Path::new(&info.source));
        if mounted {
            break;
        }
        if Instant::now() >= deadline {
            tracing::warn!(image = %file.display(), device = %device.display(), "a disk image is still in use in another mount namespace");
            break;
        }
        if !asked {
            asked = true;
            let mut losetup = Command::new("losetup");
            losetup.arg("--detach").arg(&device);
            if let Err(error) = worker::run(&mut losetup, "free a loop device", deadline) {
                tracing::debug!(device = %device.display(), %error, "a loop device was freed by somebody else");
            }
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

/// In what a mount differs from that of this image.
pub(super) fn difference(
    info: &MountInfo,
    file: &Path,
    filesystem: Filesystem,
) -> Result<Option<String>, MachineError> {
    let same = info.filesystem == filesystem.name()
        && images::attached(file)?.is_some_and(|device| device == Path::new(&info.source));
    Ok((!same).then(|| another(info)))
}
