//! File systems in memory.

use super::context::{Context, name};
use super::point::Point;
use super::{Mount, Source};
use crate::machine::{ErrorKind, MachineError};

/// Permissions of the root of a tmpfs that says nothing of them. The kernel's own default lets every user of the machine write.
const MODE: u32 = 0o755;

pub(super) fn check(size: u64, inodes: Option<u64>, mode: Option<u32>) -> Result<(), MachineError> {
    let wrong = if size == 0 {
        "a tmpfs of size 0 has no limit; give a size in bytes"
    } else if inodes == Some(0) {
        "a tmpfs of 0 inodes has no limit on files; give a number or leave it out"
    } else if mode.is_some_and(|mode| mode > 0o7777) {
        "the mode of a tmpfs has at most four octal digits"
    } else {
        return Ok(());
    };
    Err(MachineError::new(ErrorKind::Invalid, wrong))
}

pub(super) fn place(mount: &Mount, point: &Point) -> Result<(), MachineError> {
    let Source::Tmpfs {
        size,
        inodes,
        uid,
        gid,
        mode,
    } = &mount.source
    else {
        return Ok(());
    };
    let context = Context::open("tmpfs")?;
    context.set("source", name(&mount.id))?;
    context.set("size", size.to_string())?;
    context.set("mode", format!("{:o}", mode.unwrap_or(MODE)))?;
    for (option, value) in [
        ("nr_inodes", *inodes),
        ("uid", uid.map(u64::from)),
        ("gid", gid.map(u64::from)),
    ] {
        if let Some(value) = value {
            context.set(option, value.to_string())?;
        }
    }
    context.create("mount a tmpfs")?;
    context.place(mount.flags, point)
}
