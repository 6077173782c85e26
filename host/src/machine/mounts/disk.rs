//! Disk images, mounted through loop devices.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{Mode, OFlags};

use super::context::{Context, another, refused};
use super::point::Point;
use super::table::{MountInfo, mount_table};
use super::{Filesystem, Flags, options, worker};
use crate::machine::{ErrorKind, MachineError, images};

/// How long a loop device may take to go after its last mount went. It stays longer when another mount namespace has a copy of the mount, as
/// containers do that have the whole machine mounted; it goes with them then.
const LAST_CLOSE: Duration = Duration::from_millis(300);

/// How long a tool may take that frees a loop device; far more than it needs.
const FREEING: Duration = Duration::from_secs(10);

/// Where a file system has its mark, and what it is.
fn mark(filesystem: Filesystem) -> (u64, &'static [u8]) {
    match filesystem {
        Filesystem::Ext4 => (1024 + 56, &[0x53, 0xef]),
        Filesystem::Xfs => (0, b"XFSB"),
        Filesystem::Btrfs => (0x1_0000 + 64, b"_BHRfS_M"),
    }
}

pub(super) fn place(
    file: &Path,
    filesystem: Filesystem,
    wanted: Flags,
    point: &Point,
    guard: &File,
    deadline: Instant,
) -> Result<(), MachineError> {
    let _hold = images::hold(file, deadline)?;
    probe(file, filesystem)?;
    // Closed at the end: from then on the mount alone keeps the device.
    let (device, _open) = attach(file, guard, deadline)?;
    let context = Context::open(filesystem.name())?;
    context.set("source", device.as_os_str().as_bytes())?;
    for option in filesystem
        .options()
        .split(',')
        .filter(|option| !option.is_empty())
    {
        match option.split_once('=') {
            Some((name, value)) => context.set(name, value)?,
            None => context.switch(option)?,
        }
    }
    if filesystem == Filesystem::Ext4 {
        // One with errors takes no more writes.
        context.set("errors", "remount-ro")?;
    }
    context.create(&format!(
        "mount the {} image {}",
        filesystem.name(),
        file.display()
    ))?;
    context.place(wanted, point)
}

/// Attaches an image to a loop device that goes with its last user. A tool that outlives this process holds the guard of the point, so that
/// `undo` waits for its end.
fn attach(file: &Path, guard: &File, deadline: Instant) -> Result<(PathBuf, File), MachineError> {
    loop {
        if let Some(attached) = attach_once(file, guard, deadline)? {
            return Ok(attached);
        }
        // Another call of this image freed the device before it was open here, as it gave up a mount of its own.
        if Instant::now() >= deadline {
            return Err(MachineError::new(
                ErrorKind::Busy,
                format!("{} lost its loop device; try again", file.display()),
            ));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The same; nothing if the device went to somebody else before it was open.
fn attach_once(
    file: &Path,
    guard: &File,
    deadline: Instant,
) -> Result<Option<(PathBuf, File)>, MachineError> {
    let tried = format!("attach {} to a loop device", file.display());
    let failed = |error| MachineError::io(&tried, &error);
    let mut losetup = worker::tool("setpriv");
    losetup
        .args(["--pdeathsig", "SIGKILL"])
        // One that has the file already is taken again: two would destroy it.
        .args(["losetup", "--find", "--show", "--nooverlap", "--"])
        .arg(file)
        .stdin(guard.try_clone().map_err(failed)?);
    let printed = worker::run(&mut losetup, &tried, deadline)?;
    let device = PathBuf::from(printed.trim_end());
    let open = File::options()
        .read(true)
        .write(true)
        .open(&device)
        .map_err(failed)?;
    if images::attached(file)?.as_ref() != Some(&device) {
        return Ok(None);
    }
    // A device that is open is marked for going with its last user.
    let marked = detach(&device, deadline);
    if images::attached(file)?.as_ref() != Some(&device) {
        return Ok(None);
    }
    marked?;
    // What is read and written would be in the page cache a second time. File systems below that cannot do it go without.
    let mut losetup = worker::tool("losetup");
    losetup.arg("--direct-io=on").arg(&device);
    if let Err(error) = worker::run(&mut losetup, "set direct I/O", deadline) {
        tracing::debug!(device = %device.display(), %error, "a loop device goes through the page cache");
    }
    Ok(Some((device, open)))
}

fn detach(device: &Path, deadline: Instant) -> Result<(), MachineError> {
    let mut losetup = worker::tool("losetup");
    losetup.arg("--detach").arg(device);
    let tried = format!("free {}", device.display());
    worker::run(&mut losetup, &tried, deadline).map(|_| ())
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

/// Frees the loop device of a file that is not mounted any more, and waits a moment until it is gone.
pub(super) fn release(file: &Path) -> Result<(), MachineError> {
    let Some(device) = idle(file)? else {
        return Ok(());
    };
    if let Err(error) = detach(&device, Instant::now() + FREEING) {
        tracing::debug!(device = %device.display(), %error, "a loop device was freed by somebody else");
    }
    let deadline = Instant::now() + LAST_CLOSE;
    while idle(file)?.is_some() {
        if Instant::now() >= deadline {
            tracing::warn!(image = %file.display(), device = %device.display(), "a disk image is still in use in another mount namespace");
            break;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

/// The loop device of a file, unless it is mounted: by another record then, with which it goes.
fn idle(file: &Path) -> Result<Option<PathBuf>, MachineError> {
    let Some(device) = images::attached(file)? else {
        return Ok(None);
    };
    let mounted = mount_table()?
        .iter()
        .any(|info| device == Path::new(&info.source));
    Ok(Some(device).filter(|_| !mounted))
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
