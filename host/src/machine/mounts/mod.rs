//! Mounts made by the kernel: bind, tmpfs, overlay, disk images, NFS and CIFS.
//!
//! A mount is made on descriptors: its source is opened once, the new mount is complete, with all its flags, before anything can see it, and
//! then it is put onto the descriptor of its point. No path is looked up twice, so nothing that changes meanwhile can lead it astray. It takes
//! over the propagation of the mount that its point lies in, so that engines in other mount namespaces see what the operator lets them see.
//!
//! Whatever waits for another machine runs in a process of its own that is killed at the deadline: see [`worker`].

mod aside;
mod bind;
mod context;
mod disk;
mod flags;
mod network;
mod options;
mod overlay;
mod point;
mod table;
#[cfg(test)]
mod tests;
mod tmpfs;
pub mod worker;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::{ErrorKind, MachineError, Presence};
use point::Point;
use worker::{Request, Worker};

pub use super::images::Filesystem;
pub use table::{MountInfo, holding, mount_table, mounted_below};

/// A mount: all that is needed to make it, to take it away, and to find it again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// Minted by the host: lower-case hexadecimal digits. It is also the last part of `point`.
    pub id: String,
    /// Where it is. The directory is made and removed with the mount; its parent and the parent's parent are made when they are missing.
    pub point: PathBuf,
    /// What is mounted.
    pub source: Source,
    /// How.
    #[serde(default)]
    pub flags: Flags,
}

/// What holds for everything below a mount. Device files and set-user-id bits have no effect unless they are allowed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Flags {
    /// Nothing can be written through this mount.
    pub read_only: bool,
    /// Programs cannot be run from it.
    pub no_exec: bool,
    /// Reading does not update access times.
    pub no_atime: bool,
    /// Set-user-id and set-group-id bits take effect.
    pub allow_suid: bool,
    /// Device files take effect.
    pub allow_dev: bool,
}

/// What is mounted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Source {
    /// A directory of this machine. Mounts below it are not taken along.
    Bind {
        /// A directory that the operator granted or the host minted.
        root: PathBuf,
        /// Where below it, without a symbolic link anywhere; empty for the root itself.
        beneath: PathBuf,
    },
    /// Memory.
    Tmpfs {
        /// Bytes; at least 1.
        size: u64,
        /// Files and directories; without it, what the kernel gives.
        #[serde(default)]
        inodes: Option<u64>,
        /// The owner of its root; root without it.
        #[serde(default)]
        uid: Option<u32>,
        /// The group of its root; root without it.
        #[serde(default)]
        gid: Option<u32>,
        /// The permissions of its root; 0755 without it.
        #[serde(default)]
        mode: Option<u32>,
    },
    /// Directories one over another, all minted by the host.
    Overlay {
        /// The lower ones, the topmost first.
        lower: Vec<PathBuf>,
        /// Where changes go.
        upper: PathBuf,
        /// An empty directory on the same file system as `upper`, for the kernel's own use.
        work: PathBuf,
    },
    /// A disk image minted by the host, through a loop device that goes with its last mount.
    Disk {
        /// The image.
        file: PathBuf,
        /// What it was formatted with.
        filesystem: Filesystem,
    },
    /// An NFS export.
    Nfs {
        /// A host name, an IPv4 address, or an IPv6 address with or without brackets.
        server: String,
        /// The exported path, absolute.
        path: String,
        /// `3`, `4`, `4.0`, `4.1` or `4.2`; empty for what the option `vers` says, and 4.2 without one.
        version: String,
        /// Options of nfs(5), by name; the value of a switch is empty.
        #[serde(default)]
        options: Vec<(String, String)>,
    },
    /// A share of an SMB server.
    Cifs {
        /// A host name, an IPv4 address, or an IPv6 address with or without brackets.
        server: String,
        /// The share, and a path below it if wanted: `share` or `share/path`.
        share: String,
        /// Who logs in; without it, nobody.
        #[serde(default)]
        username: Option<String>,
        /// The domain of the user.
        #[serde(default)]
        domain: Option<String>,
        /// The name of the secret that holds the password. One newline at its end does not count.
        #[serde(default)]
        password: Option<String>,
        /// Options of mount.cifs(8), by name; the value of a switch is empty.
        #[serde(default)]
        options: Vec<(String, String)>,
    },
}

/// Whether a mount answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Health {
    /// It does.
    Alive,
    /// It answers with an error, which the text says, or there is no mount.
    Dead(String),
    /// It does not answer in time.
    Silent,
}

/// How long a mount that waits for another machine may take to be taken away politely, and again to be detached.
const PATIENCE: Duration = Duration::from_secs(5);

/// Makes a mount, and the directory of its point. One that is there already, as the record says, is left as it is. `secrets` gives the value
/// of a secret by its name.
///
/// # Errors
/// `Invalid` for a record that makes no sense or is not allowed, `Exists` when something else is at its point, `NotFound` for a source that
/// does not exist, `Unreachable` for a server that does not answer before the deadline or refuses, `Missing` for what the kernel lacks. Nothing
/// is left behind.
pub fn perform(
    mount: &Mount,
    secrets: &dyn Fn(&str) -> Result<Vec<u8>, MachineError>,
    deadline: Instant,
) -> Result<(), MachineError> {
    perform_with(&Worker::this_program(), mount, secrets, deadline)
}

/// Like [`perform`], with another program for what has to be killable.
///
/// # Errors
/// As [`perform`].
pub fn perform_with(
    worker: &Worker,
    mount: &Mount,
    secrets: &dyn Fn(&str) -> Result<Vec<u8>, MachineError>,
    deadline: Instant,
) -> Result<(), MachineError> {
    check(mount)?;
    match look(mount)? {
        Presence::Present => return Ok(()),
        Presence::Changed(difference) => {
            return Err(MachineError::new(
                ErrorKind::Exists,
                format!(
                    "{} is taken: it {difference}; unmount it",
                    mount.point.display()
                ),
            ));
        }
        Presence::Absent => {}
    }
    let made = make(worker, mount, secrets, deadline);
    if made.is_err()
        && let Err(error) = undo_with(worker, mount)
    {
        tracing::warn!(point = %mount.point.display(), %error, "a mount that failed could not be cleared away");
    }
    made
}

fn make(
    worker: &Worker,
    mount: &Mount,
    secrets: &dyn Fn(&str) -> Result<Vec<u8>, MachineError>,
    deadline: Instant,
) -> Result<(), MachineError> {
    Point::make(&mount.point)?;
    if !waits(mount)? {
        return place(mount, None, deadline);
    }
    let secret = match &mount.source {
        Source::Cifs {
            password: Some(name),
            ..
        } => Some(secrets(name)?),
        _ => None,
    };
    let left = deadline.saturating_duration_since(Instant::now());
    let request = Request::mount(mount, secret.as_deref(), left);
    worker.ask(&request, deadline)?.done()
}

/// Whether making this mount may wait for another machine, another process or a disk.
fn waits(mount: &Mount) -> Result<bool, MachineError> {
    Ok(match &mount.source {
        Source::Disk { .. } | Source::Nfs { .. } | Source::Cifs { .. } => true,
        Source::Bind { root, beneath } => table::walk(&mount_table()?, &root.join(beneath)).waits,
        Source::Tmpfs { .. } | Source::Overlay { .. } => false,
    })
}

/// Makes the mount onto its point, which is there. Called in the process that may wait for it.
fn place(mount: &Mount, secret: Option<&[u8]>, deadline: Instant) -> Result<(), MachineError> {
    let point = Point::open(&mount.point)?;
    let guard = point.guard()?;
    match &mount.source {
        Source::Bind { root, beneath } => bind::place(root, beneath, mount.flags, &point),
        Source::Tmpfs { .. } => tmpfs::place(mount, &point),
        Source::Overlay { lower, upper, work } => overlay::place(mount, lower, upper, work, &point),
        Source::Disk { file, filesystem } => {
            disk::place(file, *filesystem, mount.flags, &point, &guard, deadline)
        }
        Source::Nfs { .. } | Source::Cifs { .. } => network::place(mount, secret, &point),
    }
}

/// Takes a mount away, with whatever lies over it at the same point, and its directory. One that is in use is detached: it goes with its last
/// user.
///
/// # Errors
/// When the kernel refuses, or when the directory of the point holds files.
pub fn undo(mount: &Mount) -> Result<(), MachineError> {
    undo_with(&Worker::this_program(), mount)
}

/// Like [`undo`], with another program for what has to be killable.
///
/// # Errors
/// As [`undo`].
pub fn undo_with(worker: &Worker, mount: &Mount) -> Result<(), MachineError> {
    check_point(mount)?;
    if let Some(point) = Point::find(&mount.point)? {
        // Politely, so that what was written is at the server before this returns; then without waiting for it.
        for detach in [false, true] {
            while point.layers()?.last().is_some_and(MountInfo::waits) {
                let request = Request::unmount(mount, detach);
                let answer = worker.ask(&request, Instant::now() + PATIENCE);
                if let Err(error) = answer.and_then(worker::Answer::done) {
                    tracing::warn!(point = %mount.point.display(), %error, detach, "a mount does not go");
                    break;
                }
            }
        }
        point.clear()?;
        point.settle();
        point.clear()?;
        point.remove()?;
    }
    if let Source::Disk { file, .. } = &mount.source {
        disk::release(file)?;
    }
    Ok(())
}

/// Says whether a mount is there: what the kernel's mount table has at exactly its point.
///
/// # Errors
/// When the mount table cannot be read.
pub fn look(mount: &Mount) -> Result<Presence, MachineError> {
    check_point(mount)?;
    let layers = match Point::find(&mount.point)? {
        Some(point) => point.layers()?,
        None => return Ok(Presence::Absent),
    };
    let (info, covered) = match layers.split_last() {
        Some((info, covered)) => (info, covered),
        None => return Ok(Presence::Absent),
    };
    if covered.iter().any(|below| !info.is_copy_of(below)) {
        return Ok(Presence::Changed(format!(
            "holds {} mounts, one over another",
            layers.len()
        )));
    }
    let difference = match &mount.source {
        Source::Bind { root, beneath } => bind::difference(info, root, beneath)?,
        Source::Tmpfs { .. } => context::difference(info, "tmpfs", &mount.id),
        Source::Overlay { .. } => context::difference(info, "overlay", &mount.id),
        Source::Disk { file, filesystem } => disk::difference(info, file, *filesystem)?,
        Source::Nfs { .. } | Source::Cifs { .. } => network::difference(info, &mount.source)?,
    };
    Ok(
        match difference.or_else(|| flags::difference(info, mount.flags)) {
            Some(difference) => Presence::Changed(difference),
            None => Presence::Present,
        },
    )
}

/// Asks a mounted file system for its state, in a process that is killed after `timeout`.
pub fn health(point: &Path, timeout: Duration) -> Health {
    health_with(&Worker::this_program(), point, timeout)
}

/// Like [`health`], with another program.
pub fn health_with(worker: &Worker, point: &Path, timeout: Duration) -> Health {
    match Point::find(point).and_then(|found| match found {
        Some(point) => point.layers(),
        None => Ok(Vec::new()),
    }) {
        Ok(layers) if layers.is_empty() => {
            return Health::Dead("nothing is mounted there".to_owned());
        }
        Ok(_) => {}
        Err(error) => return Health::Dead(error.message),
    }
    match worker.ask(
        &Request::Health {
            point: point.to_path_buf(),
        },
        Instant::now() + timeout,
    ) {
        Ok(answer) => answer.health(),
        Err(error) if error.kind == ErrorKind::Unreachable => Health::Silent,
        Err(error) => Health::Dead(error.message),
    }
}

/// Refuses what makes no sense or is not allowed, before anything is touched.
fn check(mount: &Mount) -> Result<(), MachineError> {
    check_point(mount)?;
    match &mount.source {
        Source::Bind { root, beneath } => bind::check(root, beneath),
        Source::Tmpfs {
            size, inodes, mode, ..
        } => tmpfs::check(*size, *inodes, *mode),
        Source::Overlay { lower, upper, work } => overlay::check(lower, upper, work),
        Source::Disk { file, .. } => options::absolute("the disk image", file),
        Source::Nfs { .. } | Source::Cifs { .. } => network::check(&mount.source),
    }
}

/// A record whose point is not one that the host mints could lead an unmount anywhere.
fn check_point(mount: &Mount) -> Result<(), MachineError> {
    options::absolute("the mount point", &mount.point)?;
    let minted = (16..=64).contains(&mount.id.len())
        && mount
            .id
            .bytes()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
        && mount.point.file_name() == Some(mount.id.as_ref());
    if minted {
        return Ok(());
    }
    Err(MachineError::new(
        ErrorKind::Invalid,
        format!(
            "{} is no mount point of this daemon",
            options::shown(&mount.point)
        ),
    ))
}
