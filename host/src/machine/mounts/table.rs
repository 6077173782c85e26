//! The kernel's table of mounts.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Component, Path, PathBuf};

use crate::machine::{ErrorKind, MachineError};

/// The most symbolic links that the kernel follows in a path, from `MAXSYMLINKS`.
const MOST_LINKS: usize = 40;

/// One line of the mount table, as this thread's mount namespace has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountInfo {
    /// The number of this mount.
    pub id: u64,
    /// The number of the mount that it lies in or over.
    pub parent: u64,
    /// The number of the file system's device, `major:minor`.
    pub device: String,
    /// The directory of the file system that is mounted.
    pub root: PathBuf,
    /// Where it is mounted.
    pub point: PathBuf,
    /// What holds for this mount: `rw`, `nosuid` and so on.
    pub options: Vec<String>,
    /// How mounts below it spread: `shared:1`, `master:2`; empty when they do not.
    pub propagation: Vec<String>,
    /// The type of the file system.
    pub filesystem: String,
    /// What the file system calls its source.
    pub source: OsString,
    /// What holds for the file system.
    pub super_options: String,
}

impl MountInfo {
    /// Whether using this file system may wait for another machine or for a process.
    pub fn waits(&self) -> bool {
        let name = self.filesystem.as_str();
        name.starts_with("fuse")
            || matches!(
                name,
                "nfs"
                    | "nfs4"
                    | "cifs"
                    | "smb3"
                    | "smbfs"
                    | "ceph"
                    | "9p"
                    | "afs"
                    | "virtiofs"
                    | "autofs"
                    | "lustre"
                    | "glusterfs"
                    | "gfs2"
                    | "ocfs2"
                    | "beegfs"
            )
    }

    /// Whether both are the same mount, which was made once and spread from one place to the other. A directory that is mounted onto itself
    /// shares what is mounted below it with what it covers.
    pub(super) fn is_copy_of(&self, other: &MountInfo) -> bool {
        !self.propagation.is_empty()
            && self.propagation == other.propagation
            && (&self.device, &self.root) == (&other.device, &other.root)
    }

    /// Reads a line of the table; none if it makes no sense.
    pub fn parse(line: &[u8]) -> Option<MountInfo> {
        let mut fields = line.split(|byte| *byte == b' ');
        let id = number(fields.next()?)?;
        let parent = number(fields.next()?)?;
        let device = text(fields.next()?);
        let root = PathBuf::from(unescaped(fields.next()?));
        let point = PathBuf::from(unescaped(fields.next()?));
        let options = text(fields.next()?).split(',').map(str::to_owned).collect();
        let mut propagation = Vec::new();
        loop {
            match fields.next()? {
                b"-" => break,
                field => propagation.push(text(field)),
            }
        }
        Some(MountInfo {
            id,
            parent,
            device,
            root,
            point,
            options,
            propagation,
            filesystem: text(&unescaped(fields.next()?).into_vec()),
            source: unescaped(fields.next()?),
            super_options: fields
                .next()
                .map(|field| text(&unescaped(field).into_vec()))
                .unwrap_or_default(),
        })
    }
}

fn number(field: &[u8]) -> Option<u64> {
    std::str::from_utf8(field).ok()?.parse().ok()
}

fn text(field: &[u8]) -> String {
    String::from_utf8_lossy(field).into_owned()
}

/// The kernel writes blanks, newlines and backslashes as a backslash and three octal digits.
fn unescaped(field: &[u8]) -> OsString {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let [first, after @ ..] = rest {
        rest = match (first, after) {
            (
                b'\\',
                [
                    high @ b'0'..=b'3',
                    middle @ b'0'..=b'7',
                    low @ b'0'..=b'7',
                    after @ ..,
                ],
            ) => {
                bytes.push(((high - b'0') << 6) | ((middle - b'0') << 3) | (low - b'0'));
                after
            }
            _ => {
                bytes.push(*first);
                after
            }
        };
    }
    OsString::from_vec(bytes)
}

/// Reads the mount table, in the order in which things were mounted one over another.
///
/// # Errors
/// When it cannot be read.
pub fn mount_table() -> Result<Vec<MountInfo>, MachineError> {
    // The thread's and not the process's: mounting goes on in threads with a mount namespace of their own.
    let table = std::fs::read("/proc/thread-self/mountinfo")
        .map_err(|error| MachineError::io("read the mount table", &error))?;
    parse(&table)
}

fn parse(table: &[u8]) -> Result<Vec<MountInfo>, MachineError> {
    table
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| {
            MountInfo::parse(line).ok_or_else(|| {
                MachineError::new(
                    ErrorKind::Other,
                    format!(
                        "cannot read the mount table: a line makes no sense: {}",
                        String::from_utf8_lossy(line).escape_debug()
                    ),
                )
            })
        })
        .collect()
}

/// What is mounted at a directory or anywhere below it. The path must have no symbolic link in it.
///
/// # Errors
/// When the mount table cannot be read.
pub fn mounted_below(path: &Path) -> Result<Vec<MountInfo>, MachineError> {
    let mut table = mount_table()?;
    table.retain(|info| info.point.starts_with(path));
    Ok(table)
}

/// The mount that a path lies in, as far as the table alone tells.
pub fn holding<'a>(table: &'a [MountInfo], path: &Path) -> Option<&'a MountInfo> {
    // Of mounts at one place the last one covers the others.
    table
        .iter()
        .filter(|info| path.starts_with(&info.point))
        .max_by_key(|info| info.point.components().count())
}

/// Where a path leads.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Walk {
    /// The path without symbolic links, as far as it could be walked without waiting for anybody.
    pub(super) path: PathBuf,
    /// Whether it enters a file system that may never answer. What is below that is not looked at.
    pub(super) waits: bool,
}

/// Follows the symbolic links of a path, but asks no file system that may never answer.
pub(super) fn walk(table: &[MountInfo], path: &Path) -> Walk {
    let mut left: VecDeque<OsString> = parts(path);
    let mut reached = PathBuf::from("/");
    let mut links = 0;
    while let Some(part) = left.pop_front() {
        if part == ".." {
            reached.pop();
            continue;
        }
        let next = reached.join(&part);
        if holding(table, &next).is_some_and(MountInfo::waits) {
            return Walk {
                path: left.iter().fold(next, |path, part| path.join(part)),
                waits: true,
            };
        }
        match std::fs::read_link(&next) {
            Ok(target) if links < MOST_LINKS => {
                links += 1;
                if target.is_absolute() {
                    reached = PathBuf::from("/");
                }
                let mut rest = parts(&target);
                rest.append(&mut left);
                left = rest;
            }
            _ => reached = next,
        }
    }
    Walk {
        path: reached,
        waits: false,
    }
}

fn parts(path: &Path) -> VecDeque<OsString> {
    path.components()
        .filter(|part| matches!(part, Component::Normal(_) | Component::ParentDir))
        .map(|part| part.as_os_str().to_owned())
        .collect()
}

#[cfg(test)]
#[allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]
mod tests {
    use super::*;

    #[test]
    fn reads_every_field_of_a_line() {
        let table = parse(
            b"36 35 98:0 /mnt1 /mnt2 rw,noatime shared:1 master:2 - ext3 /dev/root rw,errors=continue\n\
              41 36 0:38 / /a\\040b\\134c\\012d\\011e ro,nosuid - fuse.sshfs user@host:/x\\040y rw\n",
        )
        .unwrap();
        assert_eq!(
            table[0],
            MountInfo {
                id: 36,
                parent: 35,
                device: "98:0".into(),
                root: "/mnt1".into(),
                point: "/mnt2".into(),
                options: vec!["rw".into(), "noatime".into()],
                propagation: vec!["shared:1".into(), "master:2".into()],
                filesystem: "ext3".into(),
                source: "/dev/root".into(),
                super_options: "rw,errors=continue".into(),
            }
        );
        assert_eq!(table[1].point, PathBuf::from("/a b\\c\nd\te"));
        assert_eq!(table[1].source, OsString::from("user@host:/x y"));
        assert!(table[1].propagation.is_empty());
        assert!(table[1].waits() && !table[0].waits());
    }

    #[test]
    fn unescapes_only_what_the_kernel_escapes() {
        for (written, meant) in [
            (&b"plain"[..], &b"plain"[..]),
            (b"\\040", b" "),
            (b"\\", b"\\"),
            (b"\\04", b"\\04"),
            (b"\\777", b"\\777"),
            (b"\\377\\000", b"\xff\x00"),
            (b"a\\134040", b"a\\040"),
            (b"", b""),
        ] {
            assert_eq!(unescaped(written).into_vec(), meant, "{written:?}");
        }
    }

    #[test]
    fn says_which_line_of_a_mount_table_makes_no_sense() {
        for line in [
            &b"36"[..],
            b"x 35 98:0 / / rw - ext4 a rw",
            b"36 35 98:0 / / rw ext4",
        ] {
            let error = parse(line).unwrap_err();
            assert!(error.message.contains("makes no sense"), "{error}");
        }
    }

    #[test]
    fn reads_the_table_of_this_machine() {
        let table = mount_table().unwrap();
        assert!(table.iter().any(|info| info.point == Path::new("/")));
        assert_eq!(mounted_below(Path::new("/")).unwrap().len(), table.len());
    }

    #[test]
    fn a_path_lies_in_the_last_of_the_nearest_mounts() {
        let table = parse(
            b"1 0 8:0 / / rw - ext4 a rw\n2 1 8:1 / /data rw - ext4 b rw\n\
              3 2 8:2 / /data rw - ext4 c rw\n4 1 8:3 / /database rw - ext4 d rw\n",
        )
        .unwrap();
        for (path, id) in [
            ("/data/x", 3),
            ("/data", 3),
            ("/dat", 1),
            ("/database/x", 4),
        ] {
            assert_eq!(holding(&table, Path::new(path)).unwrap().id, id, "{path}");
        }
    }

    #[test]
    fn a_walk_follows_links_and_stops_before_what_may_never_answer() {
        let directory = tempfile::tempdir().unwrap();
        let real = std::fs::canonicalize(directory.path()).unwrap();
        let at = |name: &str| real.join(name);
        std::fs::create_dir_all(at("a/b")).unwrap();
        for (link, target) in [
            ("absolute", at("a")),
            ("relative", "a/b".into()),
            ("up", "a/../a".into()),
            ("away", at("far/x")),
            ("loop", "loop".into()),
        ] {
            std::os::unix::fs::symlink(target, at(link)).unwrap();
        }
        let line = format!("2 1 0:9 / {} rw - nfs4 s:/ rw\n", at("far").display());
        let table = parse(&[b"1 0 8:0 / / rw - ext4 a rw\n", line.as_bytes()].concat()).unwrap();
        for (path, leads, waits) in [
            ("a/b", "a/b", false),
            ("absolute/b", "a/b", false),
            ("relative", "a/b", false),
            ("up/b", "a/b", false),
            ("absent/x", "absent/x", false),
            ("loop/x", "loop/x", false),
            ("far", "far", true),
            ("far/y/z", "far/y/z", true),
            ("away/y", "far/x/y", true),
            ("farther", "farther", false),
        ] {
            let found = walk(&table, &at(path));
            assert_eq!((found.path, found.waits), (at(leads), waits), "{path}");
        }
    }
}
