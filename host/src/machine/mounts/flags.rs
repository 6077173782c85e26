//! What holds for everything below a mount.

use rustix::mount::{MountAttrFlags, MountFlags};

use super::{Flags, MountInfo};

/// Each flag as the kernel's table of mounts has it, and as its two interfaces have it.
const NAMES: [(&str, MountAttrFlags, MountFlags); 5] = [
    ("ro", MountAttrFlags::MOUNT_ATTR_RDONLY, MountFlags::RDONLY),
    (
        "nosuid",
        MountAttrFlags::MOUNT_ATTR_NOSUID,
        MountFlags::NOSUID,
    ),
    ("nodev", MountAttrFlags::MOUNT_ATTR_NODEV, MountFlags::NODEV),
    (
        "noexec",
        MountAttrFlags::MOUNT_ATTR_NOEXEC,
        MountFlags::NOEXEC,
    ),
    (
        "noatime",
        MountAttrFlags::MOUNT_ATTR_NOATIME,
        MountFlags::NOATIME,
    ),
];

fn wanted(flags: Flags, name: &str) -> bool {
    match name {
        "ro" => flags.read_only,
        "nosuid" => !flags.allow_suid,
        "nodev" => !flags.allow_dev,
        "noexec" => flags.no_exec,
        "noatime" => flags.no_atime,
        _ => false,
    }
}

/// For a mount that is new.
pub(super) fn attributes(flags: Flags) -> MountAttrFlags {
    NAMES
        .iter()
        .filter(|(name, ..)| wanted(flags, name))
        .fold(MountAttrFlags::empty(), |all, (_, attribute, _)| {
            all | *attribute
        })
}

/// For a copy of a mount, which keeps what the one it was copied from forbids.
pub(super) fn remount(flags: Flags, copied: Option<&MountInfo>) -> MountFlags {
    NAMES
        .iter()
        .filter(|(name, ..)| wanted(flags, name) || copied.is_some_and(|info| has(info, name)))
        .fold(MountFlags::BIND, |all, (_, _, flag)| all | *flag)
}

fn has(info: &MountInfo, name: &str) -> bool {
    info.options.iter().any(|option| option == name)
}

/// The first flag that a mount should have and has not.
pub(super) fn difference(info: &MountInfo, flags: Flags) -> Option<String> {
    NAMES
        .iter()
        .find(|(name, ..)| wanted(flags, name) && !has(info, name))
        .map(|(name, ..)| format!("is mounted without {name}"))
}
