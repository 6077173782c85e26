//! One file of the drop-in directory: whether it may be used, and its bytes.
//!
//! A driver is code and its settings are authority, so a file counts only if nobody but root and the daemon's own user can have written
//! it, and only whole. The bytes that were checked are the bytes that are compiled: a file is opened once and read once.

use std::fs::{File, Metadata};
use std::io::Read;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::fs::{Mode, OFlags};
use semver::Version;
use sha2::{Digest, Sha256};
use wasmparser::{Parser, Payload};

use super::scan::Candidate;
use crate::config::units::show_size;

/// How long a file must have been left alone before it is read. A component that was cut off between two of its sections looks
/// whole, so the content alone cannot tell that somebody is still writing.
const QUIET: Duration = Duration::from_millis(100);

/// What tells a file, and a state of its content, from others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FileId {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    /// Tools can set the time of modification back; this one they cannot.
    changed: (i64, i64),
}

impl FileId {
    fn new(metadata: &Metadata) -> FileId {
        FileId {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }

    /// How long to wait until the file has been left alone for [`QUIET`].
    fn unquiet(&self, now: SystemTime) -> Duration {
        let (Ok(seconds), Ok(nanos)) =
            (u64::try_from(self.changed.0), u32::try_from(self.changed.1))
        else {
            return Duration::ZERO;
        };
        // A change in the future comes from a clock that was set back: waiting for it could take for ever.
        now.duration_since(UNIX_EPOCH + Duration::new(seconds, nanos))
            .map_or(Duration::ZERO, |age| QUIET.saturating_sub(age))
    }
}

/// Why a file is not used. The texts fit behind the file's name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Its name is no driver's and no plugin's.
    #[error("{0}")]
    Name(String),
    /// It is no regular file.
    #[error("is {0}, and only regular files are used: copy the file itself into the directory")]
    NotRegular(&'static str),
    /// It is a directory.
    #[error("is a directory, and drivers are not looked for in it: move its files one level up")]
    Directory,
    /// It belongs to somebody else.
    #[error(
        "belongs to user {0}, who could change it at any time; it must belong to root or to the user that dockside runs as: chown it"
    )]
    Owner(u32),
    /// Others can write it.
    #[error("can be written by {who} (mode {mode:04o}): chmod go-w it", who = if .0 & 0o002 == 0 { "its group" } else { "everybody" }, mode = .0)]
    Writable(u32),
    /// It has other names.
    #[error(
        "has {0} hard links, and could be changed under one of its other names: put a copy in its place"
    )]
    HardLinks(u64),
    /// It is too large.
    #[error("is too large: {} bytes, and at most {} are allowed ({key})", .size, show_size(*.limit))]
    TooLarge {
        /// Its size in bytes.
        size: u64,
        /// The limit in bytes.
        limit: u64,
        /// Where the limit comes from.
        key: &'static str,
    },
    /// It has no content.
    #[error("is empty (still being written?)")]
    Empty,
    /// Something is missing at its end.
    #[error("is incomplete or damaged (still being written?): {0}")]
    Incomplete(String),
    /// It is something else than a component.
    #[error("{0}")]
    NotComponent(&'static str),
    /// It was changed while it was looked at.
    #[error("is being written; it is looked at again when that is over")]
    Changing,
    /// It is not there any more.
    #[error("was removed while it was looked at")]
    Gone,
    /// The machine says no.
    #[error("cannot be read: {0}")]
    Unreadable(String),
}

impl Refusal {
    /// Whether the reason is likely to go away by itself, because somebody is at work on the file.
    pub fn is_transient(&self) -> bool {
        matches!(
            self,
            Refusal::Empty | Refusal::Incomplete(_) | Refusal::Changing | Refusal::Gone
        )
    }
}

/// How large a file may be.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bound {
    pub(super) bytes: u64,
    /// What to turn.
    pub(super) key: &'static str,
}

impl Bound {
    pub(super) fn driver(bytes: u64) -> Bound {
        Bound {
            bytes,
            key: "limits.max-driver-size in dockside.toml",
        }
    }

    /// Far more than anybody writes by hand.
    pub(super) const SETTINGS: Bound = Bound {
        bytes: 1 << 20,
        key: "the limit for settings",
    };
}

/// A file that may be used, as far as it can be told without its content.
#[derive(Debug)]
pub(super) struct Trusted {
    file: File,
    pub(super) id: FileId,
}

impl Trusted {
    /// Opens a file, once and for all that follows.
    pub(super) fn open(path: &Path, bound: Bound) -> Result<Trusted, Refusal> {
        let user = rustix::process::geteuid().as_raw();
        // A device can do something when it is opened, so look before, and again at what was opened.
        judge(&path.symlink_metadata().map_err(failed)?, user, bound)?;
        // Without O_NONBLOCK a fifo that has just come here would hold the daemon up.
        let flags =
            OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
        let file = match rustix::fs::open(path, flags, Mode::empty()) {
            Ok(file) => File::from(file),
            Err(rustix::io::Errno::LOOP) => return Err(Refusal::NotRegular("a symbolic link")),
            Err(error) => return Err(failed(error.into())),
        };
        let metadata = file.metadata().map_err(failed)?;
        judge(&metadata, user, bound)?;
        let id = FileId::new(&metadata);
        Ok(Trusted { file, id })
    }

    /// The first bytes of the content.
    pub(super) fn head(&mut self) -> Result<Vec<u8>, Refusal> {
        let mut head = Vec::new();
        (&self.file)
            .take(HEAD as u64)
            .read_to_end(&mut head)
            .map_err(failed)?;
        Ok(head)
    }

    /// The whole content, if nobody is at work on it.
    pub(super) fn read(self) -> Result<Vec<u8>, Refusal> {
        let wait = self.id.unquiet(SystemTime::now());
        if !wait.is_zero() {
            std::thread::sleep(wait);
        }
        self.unchanged()?;
        let size = usize::try_from(self.id.size).unwrap_or(usize::MAX);
        let mut bytes = Vec::with_capacity(size);
        (&self.file)
            .take(self.id.size.saturating_add(1))
            .read_to_end(&mut bytes)
            .map_err(failed)?;
        // The last change is older than the resolution of the clock, so a write since then shows.
        self.unchanged()?;
        if bytes.len() != size {
            return Err(Refusal::Changing);
        }
        Ok(bytes)
    }

    fn unchanged(&self) -> Result<(), Refusal> {
        if FileId::new(&self.file.metadata().map_err(failed)?) == self.id {
            Ok(())
        } else {
            Err(Refusal::Changing)
        }
    }
}

fn failed(error: std::io::Error) -> Refusal {
    match error.kind() {
        std::io::ErrorKind::NotFound => Refusal::Gone,
        _ => Refusal::Unreadable(error.to_string()),
    }
}

fn judge(metadata: &Metadata, user: u32, bound: Bound) -> Result<(), Refusal> {
    let kind = metadata.file_type();
    if kind.is_dir() {
        return Err(Refusal::Directory);
    }
    for (is, what) in [
        (kind.is_symlink(), "a symbolic link"),
        (kind.is_fifo(), "a fifo"),
        (kind.is_socket(), "a socket"),
        (kind.is_block_device(), "a block device"),
        (kind.is_char_device(), "a character device"),
        (!kind.is_file(), "something special"),
    ] {
        if is {
            return Err(Refusal::NotRegular(what));
        }
    }
    trust(metadata.uid(), metadata.permissions().mode(), user)?;
    if metadata.nlink() > 1 {
        return Err(Refusal::HardLinks(metadata.nlink()));
    }
    if metadata.size() > bound.bytes {
        return Err(Refusal::TooLarge {
            size: metadata.size(),
            limit: bound.bytes,
            key: bound.key,
        });
    }
    Ok(())
}

/// Whether only root and `user` could have written something of this owner and mode.
pub(super) fn trust(owner: u32, mode: u32, user: u32) -> Result<(), Refusal> {
    if owner != 0 && owner != user {
        return Err(Refusal::Owner(owner));
    }
    if mode & 0o022 != 0 {
        return Err(Refusal::Writable(mode & 0o7777));
    }
    Ok(())
}

/// Bytes that [`check_head`] wants to see.
const HEAD: usize = 8;

/// Whether a file that begins like this can be a component: the magic number, the version of the component format and its layer.
pub(super) fn check_head(head: &[u8]) -> Result<(), Refusal> {
    const MAGIC: &[u8] = b"\0asm";
    const COMPONENT: &[u8] = &[0x0d, 0, 1, 0];
    const MODULE: &[u8] = &[1, 0, 0, 0];
    if head.is_empty() {
        return Err(Refusal::Empty);
    }
    let rest = match head.strip_prefix(MAGIC) {
        Some(rest) if rest.len() < COMPONENT.len() => {
            return Err(Refusal::Incomplete(
                "it ends in its first eight bytes".to_owned(),
            ));
        }
        Some(rest) => rest,
        None if MAGIC.starts_with(head) => {
            return Err(Refusal::Incomplete(
                "it ends in its first eight bytes".to_owned(),
            ));
        }
        None => return Err(Refusal::NotComponent(what_else(head))),
    };
    if rest.starts_with(COMPONENT) {
        Ok(())
    } else if rest.starts_with(MODULE) {
        Err(Refusal::NotComponent(
            "is a core module, not a component: build for wasm32-wasip2, or make a component of it with `wasm-tools component new`",
        ))
    } else if matches!(rest, [_, _, 1, 0, ..]) {
        Err(Refusal::NotComponent(
            "is a component in another version of the binary format: build it with a newer toolchain",
        ))
    } else {
        Err(Refusal::NotComponent(
            "is WebAssembly in a version of the binary format that is not known",
        ))
    }
}

fn what_else(head: &[u8]) -> &'static str {
    const OTHERS: &[(&[u8], &str)] = &[
        // Before the text: it begins with a parenthesis too.
        (
            b"\x28\xb5\x2f\xfd",
            "is compressed with zstd: unpack it first",
        ),
        (
            b"\x7fELF",
            "is precompiled or native code (ELF), which is never loaded: drop the .wasm component that it was made from",
        ),
        (
            b"(",
            "is WebAssembly text: make a component of it with `wasm-tools parse`",
        ),
        (b"\x1f\x8b", "is compressed with gzip: unpack it first"),
        (b"\xfd7zXZ", "is compressed with xz: unpack it first"),
        (b"PK\x03\x04", "is a zip archive: unpack it first"),
        (b"BC\xc0\xde", "is LLVM bitcode, not a component"),
        (b"!<arch>", "is an archive of object files, not a component"),
        (
            b"<",
            "is a web page or XML, not a component (a failed download?)",
        ),
        (b"#!", "is a script, not a component"),
    ];
    OTHERS
        .iter()
        .find(|(start, _)| head.starts_with(start))
        .map_or("is no WebAssembly component", |(_, what)| what)
}

/// Reads a driver: its bytes and their SHA-256 in hexadecimal digits.
///
/// # Errors
/// When the file may not be used, is not the one that the scan saw, is being written or is no whole component. Waits up to 100 ms if
/// it has only just been changed.
pub(super) fn read(candidate: &Candidate, limit: u64) -> Result<(Vec<u8>, String), Refusal> {
    let file = Trusted::open(&candidate.path, Bound::driver(limit))?;
    if file.id != candidate.id {
        return Err(Refusal::Changing);
    }
    let bytes = file.read()?;
    check_head(bytes.get(..HEAD).unwrap_or(&bytes))?;
    check_whole(&bytes)?;
    let digest = hex::encode(Sha256::digest(&bytes));
    Ok((bytes, digest))
}

/// Walks over all sections, those of nested modules and components included, and checks that none reaches beyond the end.
fn check_whole(bytes: &[u8]) -> Result<(), Refusal> {
    for payload in Parser::new(0).parse_all(bytes) {
        let payload = payload.map_err(|error| Refusal::Incomplete(error.to_string()))?;
        // The parser takes the end of the file for the end of whatever is nested, if it falls between two sections.
        if let Payload::ModuleSection {
            unchecked_range, ..
        }
        | Payload::ComponentSection {
            unchecked_range, ..
        } = payload
            && unchecked_range.end > bytes.len() as u64
        {
            return Err(Refusal::Incomplete(format!(
                "it ends at byte {} inside a section that goes on to byte {}",
                bytes.len(),
                unchecked_range.end
            )));
        }
    }
    Ok(())
}

/// The version that a component says it has: its custom section `version`, as `wasm-tools metadata add --version` writes it, or that of
/// the module inside it, where the driver kit has to leave it.
pub fn component_version(bytes: &[u8]) -> Option<Version> {
    let mut depth = 0_usize;
    let mut inner = None;
    for payload in Parser::new(0).parse_all(bytes) {
        match payload.ok()? {
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
            Payload::End(_) => depth = depth.saturating_sub(1),
            Payload::CustomSection(section) if section.name() == "version" => {
                let version = std::str::from_utf8(section.data())
                    .ok()
                    .and_then(|text| Version::parse(text.trim()).ok());
                if depth == 0 {
                    return version;
                }
                inner = inner.or(version);
            }
            _ => {}
        }
    }
    inner
}

#[cfg(test)]
#[path = "files_tests.rs"]
pub(super) mod tests;
