//! The three file systems: making one, telling them apart, a new identity for a copy.

use std::fmt;
use std::fs::{self, File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, PermissionsExt, chown};
use std::path::Path;
use std::str::FromStr;
use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::apart::Apart;
use super::tool::{INPUT, OUTPUT, Tool};
use super::{BLOCK, Owner, megabytes};
use crate::machine::{ErrorKind, MachineError};

/// A file system that an image can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Filesystem {
    /// Small, quick, everywhere.
    Ext4,
    /// For large files and many writers.
    Xfs,
    /// With checksums and subvolumes.
    Btrfs,
}

impl Filesystem {
    /// All of them.
    pub const ALL: [Filesystem; 3] = [Filesystem::Ext4, Filesystem::Xfs, Filesystem::Btrfs];

    /// The name that `mount` and `/proc/filesystems` have for it.
    pub const fn name(self) -> &'static str {
        match self {
            Filesystem::Ext4 => "ext4",
            Filesystem::Xfs => "xfs",
            Filesystem::Btrfs => "btrfs",
        }
    }

    /// The smallest image, in bytes. ext4: with less there is no room for a journal, without which a crash loses data. xfs: what
    /// `mkfs.xfs` demands since 5.19. btrfs: what `mkfs.btrfs` demands with its defaults.
    pub const fn minimum(self) -> u64 {
        match self {
            Filesystem::Ext4 => 8 << 20,
            Filesystem::Xfs => 300 << 20,
            Filesystem::Btrfs => 109 << 20,
        }
    }

    /// What every mount of an image needs as the file system's own options. A clone of an xfs keeps the UUID of its source, for its log
    /// must be replayed before that can be changed, and the kernel refuses two of one UUID unless told not to look.
    pub const fn options(self) -> &'static str {
        match self {
            Filesystem::Xfs => "nouuid",
            Filesystem::Ext4 | Filesystem::Btrfs => "",
        }
    }

    /// Says no to a size that the file system cannot have.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`], with the figure.
    pub fn check(self, size: u64) -> Result<(), MachineError> {
        if size < self.minimum() {
            return Err(MachineError::new(
                ErrorKind::Invalid,
                format!(
                    "an image of {} MB is too small for {self}: it needs at least {} MB",
                    megabytes(size),
                    megabytes(self.minimum())
                ),
            ));
        }
        if !size.is_multiple_of(BLOCK) {
            return Err(MachineError::new(
                ErrorKind::Invalid,
                format!("the size of an image must be a multiple of {BLOCK} bytes, not {size}"),
            ));
        }
        Ok(())
    }

    /// Where its magic number is, and what it is.
    const fn magic(self) -> (u64, &'static [u8]) {
        match self {
            Filesystem::Ext4 => (0x438, &[0x53, 0xef]),
            Filesystem::Xfs => (0, b"XFSB"),
            Filesystem::Btrfs => (0x1_0040, b"_BHRfS_M"),
        }
    }

    /// Whether a file begins as this file system does.
    pub(super) fn is_in(self, file: &File) -> io::Result<bool> {
        let (offset, magic) = self.magic();
        let mut found = vec![0; magic.len()];
        match file.read_exact_at(&mut found, offset) {
            Ok(()) => Ok(found == magic),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
            Err(error) => Err(error),
        }
    }
}

impl fmt::Display for Filesystem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

impl FromStr for Filesystem {
    type Err = MachineError;

    fn from_str(text: &str) -> Result<Filesystem, MachineError> {
        Filesystem::ALL
            .into_iter()
            .find(|filesystem| filesystem.name() == text)
            .ok_or_else(|| {
                MachineError::new(
                    ErrorKind::Invalid,
                    format!("there are images with ext4, xfs and btrfs, not with {text:?}"),
                )
            })
    }
}

/// What all steps of one making work on.
pub(super) struct Work<'a> {
    /// The file, opened for reading and writing.
    pub(super) file: &'a File,
    /// What errors call it.
    pub(super) name: &'a Path,
    pub(super) deadline: Instant,
}

impl Work<'_> {
    fn tool(&self, program: &'static str, package: &'static str) -> Result<Tool<'_>, MachineError> {
        let file = self
            .file
            .try_clone()
            .map_err(|error| MachineError::io("duplicate a descriptor", &error))?;
        Ok(Tool::new(program, package, self.name).input(file))
    }
}

/// Makes an empty file system whose root directory has an owner and a mode.
pub(super) fn format(
    work: &Work<'_>,
    filesystem: Filesystem,
    owner: Owner,
) -> Result<(), MachineError> {
    match filesystem {
        Filesystem::Ext4 => ext4(work, owner),
        Filesystem::Xfs => xfs(work, owner),
        Filesystem::Btrfs => btrfs(work, owner),
    }
}

fn btrfs(work: &Work<'_>, owner: Owner) -> Result<(), MachineError> {
    work.tool("mkfs.btrfs", "btrfs-progs")?
        .args(["--quiet", "--force", "--nodiscard", INPUT])
        .run(work.deadline)?;
    if owner == Owner::default() {
        return Ok(());
    }
    // No tool sets the owner.
    let apart = Apart {
        file: work.file,
        name: work.name,
        device: None,
        filesystem: Filesystem::Btrfs,
        deadline: work.deadline,
    };
    apart.with(|place| {
        chown(place, Some(owner.uid), Some(owner.gid))
            .and_then(|()| fs::set_permissions(place, Permissions::from_mode(owner.mode)))
            .map_err(|error| {
                MachineError::io(&format!("set the owner in {}", work.name.display()), &error)
            })
    })
}

fn ext4(work: &Work<'_>, owner: Owner) -> Result<(), MachineError> {
    let make = |zeroed: &str| -> Result<(), MachineError> {
        let extended = format!(
            "nodiscard,lazy_itable_init=1,lazy_journal_init=1,root_owner={}:{}{zeroed}",
            owner.uid, owner.gid
        );
        // The checksum seed lets a copy have a UUID of its own without all its checksums being made again. Blocks of 4 KiB, whatever
        // the size: an image that begins small may grow.
        let arguments = [
            "-q",
            "-F",
            "-t",
            "ext4",
            "-b",
            "4096",
            "-m",
            "0",
            "-O",
            "metadata_csum,metadata_csum_seed,64bit",
            "-E",
            extended.as_str(),
            INPUT,
        ];
        Ok(work
            .tool("mke2fs", "e2fsprogs")?
            .args(arguments)
            .run(work.deadline)?)
    };
    // A new file reads as zeros: said so, nothing writes zeros to it later. e2fsprogs before 1.46.6 does not know the word.
    match make(",assume_storage_prezeroed=1") {
        Err(error) if error.kind == ErrorKind::Other => make("")?,
        made => made?,
    }
    // Docker fills a volume from the image's directory only if the volume is empty.
    let mut commands = vec!["rmdir lost+found".to_owned()];
    if owner.mode != Owner::default().mode {
        commands.push(format!("set_inode_field / mode 04{:04o}", owner.mode));
    }
    for command in commands {
        work.tool("debugfs", "e2fsprogs")?
            .args(["-w", "-R", &command, INPUT])
            .run(work.deadline)?;
    }
    Ok(())
}

fn xfs(work: &Work<'_>, owner: Owner) -> Result<(), MachineError> {
    let failed = |error: io::Error| MachineError::io("make a file in memory", &error);
    let mut prototype = rustix::fs::memfd_create("prototype", rustix::fs::MemfdFlags::CLOEXEC)
        .map(File::from)
        .map_err(|error| failed(error.into()))?;
    let flag = |bit, letter| {
        if owner.mode & bit == 0 { '-' } else { letter }
    };
    writeln!(
        prototype,
        "/\n0 0\nd{}{}{:03o} {} {}\n$",
        flag(0o4000, 'u'),
        flag(0o2000, 'g'),
        owner.mode & 0o777,
        owner.uid,
        owner.gid
    )
    .map_err(failed)?;
    work.tool("mkfs.xfs", "xfsprogs")?
        .output(prototype)
        .args(["-q", "-f", "-K", "-p", OUTPUT, INPUT])
        .run(work.deadline)?;
    // A prototype has no sticky bit.
    if owner.mode & 0o1000 != 0 {
        let mode = format!("write core.mode 04{:04o}", owner.mode);
        work.tool("xfs_db", "xfsprogs")?
            .args([
                "-f",
                "-x",
                "-c",
                "sb 0",
                "-c",
                "addr rootino",
                "-c",
                &mode,
                INPUT,
            ])
            .run(work.deadline)?;
    }
    Ok(())
}

/// Gives a copy a UUID of its own, where that can be.
pub(super) fn renew(work: &Work<'_>, filesystem: Filesystem) -> Result<(), MachineError> {
    match filesystem {
        Filesystem::Ext4 => {
            // What was copied from a machine that went down has a journal to be replayed, without which the UUID stays.
            work.tool("e2fsck", "e2fsprogs")?
                .args(["-E", "journal_only", "-y", INPUT])
                // 1 says that something was repaired: the journal was replayed.
                .good(1)
                .run(work.deadline)?;
            work.tool("tune2fs", "e2fsprogs")?
                .args(["-U", "random", INPUT])
                .run(work.deadline)?;
        }
        // See `Filesystem::options`.
        Filesystem::Xfs => {}
        // Two of one UUID are one file system for the kernel: a mount of the copy would show the source.
        Filesystem::Btrfs => work
            .tool("btrfstune", "btrfs-progs")?
            .args(["-f", "-m", INPUT])
            .run(work.deadline)?,
    }
    Ok(())
}
