//! Disk images: sparse files with a file system in them, new ones or copies of others, that can grow.
//!
//! An image is made in a file that has no name, is brought to the disk, and gets its name then, in one step that overwrites nothing. So
//! there is never half an image under its name, and a daemon that is killed leaves nothing: the kernel takes back what has no name. The
//! tools work on a descriptor and not on a path; one that outlives the daemon writes to a file that nobody will ever see. On file systems
//! that know no such files the name is a temporary one, which [`undo`] removes under such a tool's hands with the same effect.
//!
//! Images are mounted elsewhere, with [`Filesystem::options`] and under a [`hold`], so that nothing copies or grows the file behind the back
//! of who mounts it.

mod apart;
mod attached;
mod content;
mod copy;
mod format;
mod freeze;
mod grow;
mod temporary;
mod tool;

#[cfg(test)]
mod tests;

use std::ffi::{OsStr, OsString};
use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{AtFlags, Mode, OFlags, fstatvfs, openat, unlinkat};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::{ErrorKind, MachineError, Presence};
use format::Work;
use temporary::Temporary;

pub use attached::{Usage, attached, usage};
pub use content::{Extent, data, read, seal, write};
pub use format::Filesystem;
pub use freeze::{Hold, hold};
pub use grow::{Growth, can_grow, grow};

/// What every size is a multiple of, in bytes: the block of the three file systems, and of memory.
pub const BLOCK: u64 = 4096;

/// How long `undo` waits for a copy that a killed daemon left: the thaw, and a tool that is just freezing.
const LEFT: Duration = Duration::from_secs(30);

/// With less than this free, in bytes, a disk is full: a file system's own structures are larger.
const FULL: u64 = 256 << 10;

/// The root directory of a new file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// The user.
    pub uid: u32,
    /// The group.
    pub gid: u32,
    /// The permission bits, with the set-user, set-group and sticky bits.
    pub mode: u32,
}

impl Default for Owner {
    /// What the `mkfs` tools do: root's, 0755.
    fn default() -> Owner {
        Owner {
            uid: 0,
            gid: 0,
            mode: 0o755,
        }
    }
}

/// A disk image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    /// Minted by the host: letters, digits, `-` and `_`.
    pub id: String,
    /// An absolute path that ends in `<id>.img`. Its directory is made when it is missing, and stays.
    pub file: PathBuf,
    /// In bytes, a multiple of [`BLOCK`]. The size of a clone is that of its source.
    pub size: u64,
    /// What is in it.
    pub filesystem: Filesystem,
    /// The image that this one begins as a copy of, with the same file system: a snapshot, or what is restored from one. Without, it is
    /// formatted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<PathBuf>,
    /// There is no file system in it yet: its content is to be written as bytes, and sealed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub blank: bool,
    /// Of a new file system. A copy has its source's.
    #[serde(default)]
    pub owner: Owner,
}

/// The next size, from `bytes` upwards, that an image can have.
pub fn whole(bytes: u64) -> u64 {
    bytes
        .checked_next_multiple_of(BLOCK)
        .unwrap_or(u64::MAX - u64::MAX % BLOCK)
}

/// Makes an image. If its source is mounted, its writers wait until the copy is done: an instant where the file system shares blocks (xfs,
/// btrfs), the time to copy what is in it elsewhere.
///
/// # Errors
/// [`ErrorKind::Invalid`] for a size that the file system cannot have or a source that does not fit; [`ErrorKind::NotFound`] for a
/// missing source; [`ErrorKind::Exists`] if there is such a file, which stays as it is; [`ErrorKind::Busy`] if the source is being copied or
/// grown until the deadline, or is frozen by somebody else; [`ErrorKind::Exhausted`] if the disk is full; [`ErrorKind::Missing`] with the
/// package of a missing tool. Nothing is left then.
pub fn perform(image: &Image, deadline: Instant) -> Result<(), MachineError> {
    let name = image.name()?;
    image.filesystem.check(image.size)?;
    if image.owner.mode > 0o7777 {
        return Err(MachineError::new(
            ErrorKind::Invalid,
            format!("{:o} is not a mode of a directory", image.owner.mode),
        ));
    }
    let failed =
        |error: io::Error| MachineError::io(&format!("make {}", image.file.display()), &error);
    make_directory(image.directory()).map_err(failed)?;
    let directory = File::open(image.directory()).map_err(failed)?;
    if image.file.symlink_metadata().is_ok() {
        return Err(MachineError::new(
            ErrorKind::Exists,
            format!("{} exists already", image.file.display()),
        ));
    }
    let temporary = Temporary::new(&directory, name).map_err(failed)?;
    let work = Work {
        file: temporary.file(),
        name: &image.file,
        deadline,
    };
    match &image.from {
        _ if image.blank => work.file.set_len(image.size).map_err(failed)?,
        Some(from) => {
            clone(image, from, &directory, &work)?;
            format::renew(&work, image.filesystem)?;
        }
        None => {
            work.file.set_len(image.size).map_err(failed)?;
            format::format(&work, image.filesystem, image.owner)
                .map_err(|error| full(&work, error))?;
        }
    }
    temporary.publish().map_err(failed)
}

/// Removes an image, what is left of a killed [`perform`], and nothing else. Writers that such a one left waiting go on.
///
/// # Errors
/// [`ErrorKind::Busy`], with nothing removed, if a loop device has the file.
pub fn undo(image: &Image) -> Result<(), MachineError> {
    let name = image.name()?;
    let failed =
        |error: io::Error| MachineError::io(&format!("remove {}", image.file.display()), &error);
    let directory = match File::open(image.directory()) {
        Ok(directory) => directory,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(error)),
    };
    let mark = Mark::name(name);
    if image.directory().join(&mark).symlink_metadata().is_ok() {
        if let Some(from) = &image.from {
            release(from, image.filesystem)?;
        }
        remove(&directory, &mark).map_err(failed)?;
    }
    if let Some(device) = attached(&image.file)? {
        return Err(MachineError::new(
            ErrorKind::Busy,
            format!(
                "{} is in use by {}: unmount it first",
                image.file.display(),
                device.display()
            ),
        ));
    }
    remove(&directory, name).map_err(failed)?;
    remove(&directory, &temporary::name(name)).map_err(failed)?;
    directory.sync_all().map_err(failed)
}

/// Says whether an image is there: a file with the file system, at least as large as it was made.
///
/// # Errors
/// If the file cannot be read.
pub fn look(image: &Image) -> Result<Presence, MachineError> {
    image.name()?;
    let file = image.file.display();
    let failed = |error: io::Error| MachineError::io(&format!("look at {file}"), &error);
    let metadata = match image.file.symlink_metadata() {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Presence::Absent),
        Err(error) => return Err(failed(error)),
    };
    if !metadata.is_file() {
        return Ok(Presence::Changed(format!("{file} is not a file")));
    }
    if metadata.len() < image.size {
        return Ok(Presence::Changed(format!(
            "{file} has {} MB instead of {}",
            megabytes(metadata.len()),
            megabytes(image.size)
        )));
    }
    let opened = File::open(&image.file).map_err(failed)?;
    if !image.filesystem.is_in(&opened).map_err(failed)? {
        return Ok(Presence::Changed(format!(
            "there is no {} in {file}",
            image.filesystem
        )));
    }
    Ok(Presence::Present)
}

impl Image {
    /// The name of its file. Says no to a record that the host did not make: nothing else is ever removed.
    fn name(&self) -> Result<&OsStr, MachineError> {
        let minted = !self.id.is_empty()
            && self
                .id
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_');
        match self.file.file_name() {
            Some(name)
                if minted
                    && self.file.is_absolute()
                    && name == OsStr::new(&format!("{}.img", self.id)) =>
            {
                Ok(name)
            }
            _ => Err(MachineError::new(
                ErrorKind::Invalid,
                format!(
                    "{} is not the file of the image {:?}",
                    self.file.display(),
                    self.id
                ),
            )),
        }
    }

    fn directory(&self) -> &Path {
        self.file.parent().unwrap_or(Path::new("/"))
    }
}

/// Tells a disk that is full from other failures: not all tools say why they failed.
fn full(work: &Work<'_>, error: MachineError) -> MachineError {
    let room = fstatvfs(work.file).map(|disk| disk.f_bavail.saturating_mul(disk.f_frsize));
    match room {
        Ok(room) if error.kind == ErrorKind::Other && room < FULL => MachineError::new(
            ErrorKind::Exhausted,
            format!(
                "{} (its disk is full: {} kB are free)",
                error.message,
                room / 1000
            ),
        ),
        _ => error,
    }
}

/// Makes a directory with those above it, for root alone, so that they are still there when the machine stops.
fn make_directory(directory: &Path) -> io::Result<()> {
    if directory.is_dir() {
        return Ok(());
    }
    let Some(above) = directory.parent() else {
        return Ok(());
    };
    make_directory(above)?;
    match DirBuilder::new().mode(0o700).create(directory) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => File::open(above)?.sync_all(),
    }
}

/// Copies a source that holds still.
fn clone(
    image: &Image,
    from: &Path,
    directory: &File,
    work: &Work<'_>,
) -> Result<(), MachineError> {
    let failed = |error: io::Error| MachineError::io(&format!("copy {}", from.display()), &error);
    let source = OpenOptions::new()
        .read(true)
        .custom_flags(OFlags::NOFOLLOW.bits().cast_signed())
        .open(from)
        .map_err(failed)?;
    freeze::lock(&source, from, work.deadline)?;
    let size = source.metadata().map_err(failed)?.len();
    if size != image.size {
        return Err(MachineError::new(
            ErrorKind::Invalid,
            format!(
                "a copy of {} has its {} bytes, not {}: it can grow when it is made",
                from.display(),
                size,
                image.size
            ),
        ));
    }
    if !image.filesystem.is_in(&source).map_err(failed)? {
        return Err(MachineError::new(
            ErrorKind::Invalid,
            format!("there is no {} in {}", image.filesystem, from.display()),
        ));
    }
    match attached(from)? {
        Some(device) => {
            let mark = Mark::make(directory, image.name()?).map_err(failed)?;
            let frozen = freeze::freeze(&source, from, &device, image.filesystem, work.deadline)
                .inspect_err(|_| mark.remove())?;
            let copied = copy::copy(&source, work.file, from, work.deadline);
            // If this fails the mark stays, for `undo` to try again.
            frozen.thaw()?;
            mark.remove();
            copied
        }
        None => {
            copy::copy(&source, work.file, from, work.deadline)?;
            match attached(from)? {
                Some(_) => Err(MachineError::new(
                    ErrorKind::Busy,
                    format!(
                        "{} was mounted while it was copied: try again",
                        from.display()
                    ),
                )),
                None => Ok(()),
            }
        }
    }
}

/// Lets the writers of a source go on that a killed daemon left frozen.
fn release(from: &Path, filesystem: Filesystem) -> Result<(), MachineError> {
    // Whoever froze it, and the one who thaws for a killed daemon, have the lock.
    let _lock = match File::open(from) {
        Ok(source) => {
            freeze::lock(&source, from, Instant::now() + LEFT)?;
            Some(source)
        }
        Err(_) => None,
    };
    match attached(from)? {
        Some(device) => freeze::thaw(from, &device, filesystem),
        None => Ok(()),
    }
}

/// The file that says that a source may be frozen on behalf of an image. A restart of the machine thaws by itself, so it need not reach the
/// disk.
struct Mark<'a> {
    directory: &'a File,
    name: OsString,
}

impl<'a> Mark<'a> {
    fn name(image: &OsStr) -> OsString {
        hidden(image, ".frozen")
    }

    fn make(directory: &'a File, image: &OsStr) -> io::Result<Mark<'a>> {
        let name = Mark::name(image);
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        openat(directory, &name, flags, Mode::RUSR | Mode::WUSR)?;
        Ok(Mark { directory, name })
    }

    fn remove(&self) {
        // One that stays makes a later `undo` thaw what is not frozen, which does nothing.
        let _ = unlinkat(self.directory, &self.name, AtFlags::empty());
    }
}

fn hidden(image: &OsStr, end: &str) -> OsString {
    let mut name = OsString::from(".");
    name.push(image);
    name.push(end);
    name
}

fn remove(directory: &File, name: &OsStr) -> io::Result<()> {
    match unlinkat(directory, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// For messages: how `docker` and disks count, rounded up.
fn megabytes(bytes: u64) -> u64 {
    bytes.div_ceil(1_000_000)
}
