//! Which loop device has a file, and what the file takes.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::machine::MachineError;

/// What an image takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// The size that its file system sees, in bytes.
    pub apparent: u64,
    /// What is allocated for it on the disk, in bytes. What it shares with its clones counts for each of them.
    pub allocated: u64,
}

/// What a file takes on the disk.
///
/// # Errors
/// If the file is not there or cannot be read.
pub fn usage(file: &Path) -> Result<Usage, MachineError> {
    let metadata = fs::metadata(file)
        .map_err(|error| MachineError::io(&format!("look at {}", file.display()), &error))?;
    Ok(Usage {
        apparent: metadata.len(),
        allocated: metadata.blocks().saturating_mul(512),
    })
}

/// The loop device that has a file, `/dev/loopN`, also if the file's name is gone already.
///
/// # Errors
/// If the list of block devices cannot be read.
pub fn attached(file: &Path) -> Result<Option<PathBuf>, MachineError> {
    let wrong = |error: io::Error| MachineError::io("list the loop devices", &error);
    let identity = |path: &Path| {
        fs::metadata(path)
            .map(|metadata| (metadata.dev(), metadata.ino()))
            .ok()
    };
    let wanted = identity(file);
    // The kernel shows the path without symbolic links.
    let resolved = file
        .parent()
        .and_then(|directory| directory.canonicalize().ok())
        .zip(file.file_name())
        .map(|(directory, name)| directory.join(name));
    for entry in fs::read_dir("/sys/block").map_err(wrong)? {
        let entry = entry.map_err(wrong)?;
        // A device that has no file, or that is just given free, has no such attribute.
        let Ok(text) = fs::read(entry.path().join("loop/backing_file")) else {
            continue;
        };
        let text = text.strip_suffix(b"\n").unwrap_or(&text);
        let shown = |text| Path::new(OsStr::from_bytes(text));
        // A device that was attached in a mount namespace which is gone shows the path below the root of its file system only. The name alone
        // tells images apart: it is minted.
        let is_it = |path: &Path| {
            let end = path.strip_prefix("/").unwrap_or(path);
            path == file
                || end.file_name().is_some()
                    && resolved
                        .as_deref()
                        .is_some_and(|resolved| resolved.ends_with(end))
        };
        let same = match text.strip_suffix(b" (deleted)") {
            Some(gone) => is_it(shown(gone)),
            None => is_it(shown(text)) || wanted.is_some() && identity(shown(text)) == wanted,
        };
        if same {
            return Ok(Some(Path::new("/dev").join(entry.file_name())));
        }
    }
    Ok(None)
}
