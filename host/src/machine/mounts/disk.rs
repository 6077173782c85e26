//! Disk images, mounted through loop devices.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::fs::{Mode, OFlags};

use super::context::{another, refused};
use super::point::Point;
use super::table::{MountInfo, mount_table};
use super::{Filesystem, Flags, aside, flags, options, worker};
use crate::machine::{ErrorKind, MachineError};

/// How long a loop device may take to go after its last mount went.
const LAST_CLOSE: Duration = Duration::from_secs(2);

/// Where a file system has its mark, and what it is.
fn mark(filesystem: Filesystem) -> (u64, &'static [u8]) {
    match filesystem {
        Filesystem::Ext4 => (1024 + 56, &[0x53, 0xef]),
        Filesystem::Xfs => (0, b"XFSB"),
        Filesystem::Btrfs => (0x1_0000 + 64, b"_BHRfS_M"),
    }
}

/// Options that every mount of an image has. An ext4 with errors stops taking writes; a copy of an XFS has the same id as the original, which
/// would keep the second of them from being mounted.
fn standing(filesystem: Filesystem) -> &'static str {
    match filesystem {
        Filesystem::Ext4 => "loop,nosuid,nodev,errors=remount-ro",
        Filesystem::Xfs => "loop,nosuid,nodev,nouuid",
        Filesystem::Btrfs => "loop,nosuid,nodev",
    }
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
                .args(["--options", standing(filesystem)])
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

/// The file behind a loop device, by the device's name in the kernel.
fn backing(device: &str) -> Option<PathBuf> {
    let text = std::fs::read(format!("/sys/block/{device}/loop/backing_file")).ok()?;
    let text = text.strip_suffix(b"\n").unwrap_or(&text);
    let text = text.strip_suffix(b" (deleted)").unwrap_or(text);
    Some(PathBuf::from(std::ffi::OsStr::from_bytes(text)))
}

/// The loop devices behind which a file is.
fn devices(file: &Path) -> Result<Vec<String>, MachineError> {
    let entries = match std::fs::read_dir("/sys/block") {
        Ok(entries) => entries,
        Err(error) => return Err(MachineError::io("look for loop devices", &error)),
    };
    let real = real(file);
    Ok(entries
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| name.starts_with("loop"))
        .filter(|name| backing(name).is_some_and(|path| path == real || path == file))
        .collect())
}

/// The path without symbolic links, also of a file that is gone.
fn real(file: &Path) -> PathBuf {
    let directory = file.parent().map(std::fs::canonicalize);
    match (directory, file.file_name()) {
        (Some(Ok(directory)), Some(name)) => directory.join(name),
        _ => file.to_path_buf(),
    }
}

/// Waits until a file has no loop device any more, and marks one that is not mounted for going.
pub(super) fn release(file: &Path) -> Result<(), MachineError> {
    let deadline = Instant::now() + LAST_CLOSE;
    let mut asked = false;
    loop {
        let devices = devices(file)?;
        if devices.is_empty() {
            return Ok(());
        }
        let mounted = mount_table()?.into_iter().any(|info| {
            Path::new(&info.source)
                .file_name()
                .is_some_and(|name| devices.iter().any(|device| name == device.as_str()))
        });
        if mounted {
            // By another record; the device goes with that one.
            return Ok(());
        }
        if Instant::now() >= deadline {
            // Another mount namespace has a copy of the mount; the device goes with it.
            tracing::warn!(image = %file.display(), ?devices, "a disk image is still in use in another mount namespace");
            return Ok(());
        }
        if !asked {
            asked = true;
            for device in &devices {
                let mut losetup = Command::new("losetup");
                losetup.arg("--detach").arg(Path::new("/dev").join(device));
                if let Err(error) = worker::run(&mut losetup, "free a loop device", deadline) {
                    tracing::debug!(device, %error, "a loop device was freed by somebody else");
                }
            }
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// In what a mount differs from that of this image.
pub(super) fn difference(info: &MountInfo, file: &Path, filesystem: Filesystem) -> Option<String> {
    let image = Path::new(&info.source)
        .file_name()
        .and_then(|name| name.to_str())
        .and_then(backing);
    if info.filesystem != filesystem.name() {
        return Some(another(info));
    }
    match image {
        Some(image) if image == file || image == real(file) => None,
        Some(image) => Some(format!("holds the disk image {}", image.display())),
        None => Some(another(info)),
    }
}
