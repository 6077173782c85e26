//! What is in an image, as bytes: to be carried elsewhere and back.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::time::Instant;

use rustix::fs::{OFlags, SeekFrom, seek};
use rustix::io::Errno;

use super::format::{self, Work};
use super::{Image, freeze};
use crate::machine::{ErrorKind, MachineError};

/// The most that is read or written at once, in bytes: it is in memory as a whole.
pub(super) const MOST: usize = 16 << 20;

/// The most parts that [`data`] tells apart.
const MOST_EXTENTS: u64 = 65_536;

/// Gaps smaller than this count as data, in bytes, also in a small image.
const FINEST: u64 = 64 << 10;

/// A part of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// Where it begins, in bytes.
    pub offset: u64,
    /// How long it is, in bytes.
    pub length: u64,
}

/// Reads a part of an image; less at its end, and nothing behind it.
///
/// # Errors
/// [`ErrorKind::Invalid`] for more than [`MOST`] bytes; if the file is not there or cannot be read.
pub fn read(name: &Path, offset: u64, length: usize) -> Result<Vec<u8>, MachineError> {
    limit(length)?;
    let failed = |error: io::Error| MachineError::io(&format!("read {}", name.display()), &error);
    let file = open(name, false).map_err(failed)?;
    let size = file.metadata().map_err(failed)?.len();
    let left = usize::try_from(size.saturating_sub(offset)).unwrap_or(usize::MAX);
    let mut data = vec![0; length.min(left)];
    let mut done = 0;
    while let Some(rest) = data.get_mut(done..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, offset + done as u64) {
            Ok(0) => break,
            Ok(read) => done += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(failed(error)),
        }
    }
    data.truncate(done);
    Ok(data)
}

/// Writes a part of an image that is not sealed.
///
/// # Errors
/// [`ErrorKind::Invalid`] for a part that is not within the image, or more than [`MOST`] bytes; [`ErrorKind::Exhausted`] if the disk is full.
pub fn write(image: &Image, offset: u64, data: &[u8]) -> Result<(), MachineError> {
    limit(data.len())?;
    let end = offset.checked_add(data.len() as u64);
    if end.is_none_or(|end| end > image.size) {
        return Err(MachineError::new(
            ErrorKind::Invalid,
            format!(
                "{} bytes at {offset} are not within the image: it has {}",
                data.len(),
                image.size
            ),
        ));
    }
    let failed =
        |error: io::Error| MachineError::io(&format!("write to {}", image.file.display()), &error);
    let file = open(&image.file, true).map_err(failed)?;
    file.write_all_at(data, offset).map_err(failed)
}

/// The parts of an image that have something in them, rounded outwards so that there are not too many.
///
/// # Errors
/// If the file is not there or cannot be read.
pub fn data(name: &Path) -> Result<Vec<Extent>, MachineError> {
    let failed = |error: io::Error| {
        MachineError::io(&format!("look for data in {}", name.display()), &error)
    };
    let file = open(name, false).map_err(failed)?;
    let size = file.metadata().map_err(failed)?.len();
    let grain = grain(size);
    let mut extents: Vec<Extent> = Vec::new();
    let mut position = 0;
    while position < size {
        let begin = match seek(&file, SeekFrom::Data(position)) {
            Ok(begin) => begin,
            Err(Errno::NXIO) => break,
            Err(error) => return Err(failed(error.into())),
        };
        let end = seek(&file, SeekFrom::Hole(begin)).map_err(|error| failed(error.into()))?;
        let start = (begin / grain * grain).max(position);
        let end = end.div_ceil(grain).saturating_mul(grain).min(size);
        match extents.last_mut() {
            Some(last) if last.offset + last.length == start => last.length += end - start,
            _ => extents.push(Extent {
                offset: start,
                length: end - start,
            }),
        }
        position = end;
    }
    Ok(extents)
}

/// What extents of an image of this size are multiples of.
fn grain(size: u64) -> u64 {
    // Between two extents is a gap of at least one grain.
    let least = size.div_ceil(2 * MOST_EXTENTS);
    least
        .checked_next_power_of_two()
        .unwrap_or(1 << 63)
        .max(FINEST)
}

/// Makes an image usable that was written as bytes: checks that the file system is in it, replays its journal, gives it an identity of its own
/// and brings it to the disk.
///
/// # Errors
/// [`ErrorKind::Invalid`] if there is no such file system in it; those of the tools.
pub fn seal(image: &Image, deadline: Instant) -> Result<(), MachineError> {
    let failed =
        |error: io::Error| MachineError::io(&format!("seal {}", image.file.display()), &error);
    let file = open(&image.file, true).map_err(failed)?;
    freeze::lock(&file, &image.file, deadline)?;
    if !image.filesystem.is_in(&file).map_err(failed)? {
        return Err(MachineError::new(
            ErrorKind::Invalid,
            format!("there is no {} in what was written", image.filesystem),
        ));
    }
    let work = Work {
        file: &file,
        name: &image.file,
        deadline,
    };
    format::renew(&work, image.filesystem)?;
    file.sync_all().map_err(failed)
}

fn open(name: &Path, write: bool) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(write)
        .custom_flags(OFlags::NOFOLLOW.bits().cast_signed())
        .open(name)
}

fn limit(length: usize) -> Result<(), MachineError> {
    if length <= MOST {
        return Ok(());
    }
    Err(MachineError::new(
        ErrorKind::Invalid,
        format!("at most {MOST} bytes of an image can be carried at once, not {length}"),
    ))
}
