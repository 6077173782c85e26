//! The bytes of one file in another: shared where the file system can, copied with its holes otherwise.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::time::Instant;

use rustix::fs::{SeekFrom, copy_file_range, fstatvfs, ioctl_ficlone, seek};
use rustix::io::Errno;

use super::megabytes;
use crate::machine::{ErrorKind, MachineError};

/// How much is copied between two looks at the clock.
const STEP: u64 = 8 << 20;

/// The buffer for file systems between which the kernel does not copy.
const BUFFER: usize = 1 << 20;

/// Makes `to`, an empty file, equal to `from`, a file called `name`. Nothing must write to `from` meanwhile, except where blocks can be
/// shared: that happens at one instant.
pub(super) fn copy(
    from: &File,
    to: &File,
    name: &Path,
    deadline: Instant,
) -> Result<(), MachineError> {
    let failed = |error: io::Error| MachineError::io(&format!("copy {}", name.display()), &error);
    match ioctl_ficlone(to, from) {
        Ok(()) => return Ok(()),
        Err(Errno::OPNOTSUPP | Errno::NOTTY | Errno::XDEV | Errno::INVAL | Errno::NOSYS) => {}
        Err(error) => return Err(failed(error.into())),
    }
    let metadata = from.metadata().map_err(failed)?;
    let needed = metadata.blocks().saturating_mul(512);
    let disk = fstatvfs(to).map_err(|error| failed(error.into()))?;
    let free = disk.f_bavail.saturating_mul(disk.f_frsize);
    if needed > free {
        return Err(MachineError::new(
            ErrorKind::Exhausted,
            format!(
                "a copy of {} needs {} MB and {} MB are free: make room, or keep the images on a file system that shares blocks (xfs, btrfs)",
                name.display(),
                megabytes(needed),
                megabytes(free)
            ),
        ));
    }
    let length = metadata.len();
    to.set_len(length).map_err(failed)?;
    let mut kernel = true;
    let mut buffer = Vec::new();
    let mut position = 0;
    while position < length {
        let start = match seek(from, SeekFrom::Data(position)) {
            Ok(start) => start,
            Err(Errno::NXIO) => break,
            Err(error) => return Err(failed(error.into())),
        };
        let end = seek(from, SeekFrom::Hole(start)).map_err(|error| failed(error.into()))?;
        position = start;
        while position < end {
            if Instant::now() >= deadline {
                return Err(MachineError::new(
                    ErrorKind::Other,
                    format!(
                        "{} was not copied in the time that the call has: {} of {} MB were done",
                        name.display(),
                        megabytes(position),
                        megabytes(length)
                    ),
                ));
            }
            let step = (end - position).min(STEP);
            let mut done = 0;
            if kernel {
                done = in_kernel(from, to, position, step).map_err(failed)?;
                kernel = done > 0;
            }
            if !kernel {
                buffer.resize(BUFFER, 0);
                done = by_buffer(from, to, position, step, &mut buffer).map_err(failed)?;
            }
            position += done;
        }
    }
    Ok(())
}

/// Copies by the kernel. 0 says that it cannot.
fn in_kernel(from: &File, to: &File, position: u64, step: u64) -> io::Result<u64> {
    let (mut input, mut output) = (position, position);
    let step = usize::try_from(step).unwrap_or(BUFFER);
    match copy_file_range(from, Some(&mut input), to, Some(&mut output), step) {
        Ok(done) => Ok(done as u64),
        Err(Errno::XDEV | Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => Ok(0),
        Err(error) => Err(error.into()),
    }
}

fn by_buffer(
    from: &File,
    to: &File,
    position: u64,
    step: u64,
    buffer: &mut [u8],
) -> io::Result<u64> {
    let step = usize::try_from(step)
        .unwrap_or(usize::MAX)
        .min(buffer.len());
    let (part, _) = buffer.split_at_mut(step);
    let read = from.read_at(part, position)?;
    if read == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let (part, _) = part.split_at(read);
    to.write_all_at(part, position)?;
    Ok(read as u64)
}
