//! A file system that is being set up, by the kernel's descriptor for it.

use std::ffi::OsStr;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::mount::{FsMountFlags, FsOpenFlags};

use super::flags::attributes;
use super::point::Point;
use super::{Flags, MountInfo};
use crate::machine::{ErrorKind, MachineError};

/// The longest text that the kernel takes for one option of a file system, from `fsconfig(2)`.
pub(super) const LONGEST: usize = 255;

/// A file system that is being set up.
pub(super) struct Context {
    descriptor: OwnedFd,
    filesystem: &'static str,
}

impl Context {
    /// Begins with nothing but the name of a file system.
    pub(super) fn open(filesystem: &'static str) -> Result<Context, MachineError> {
        match rustix::mount::fsopen(filesystem, FsOpenFlags::FSOPEN_CLOEXEC) {
            Ok(descriptor) => Ok(Context {
                descriptor,
                filesystem,
            }),
            Err(Errno::NODEV) => Err(MachineError::new(
                ErrorKind::Missing,
                format!(
                    "this kernel has no {filesystem}; load its module (modprobe {filesystem}) or install it"
                ),
            )),
            Err(error) => Err(refused(&format!("set up {filesystem}"), error)),
        }
    }

    /// Sets an option. Only its name gets into an error's text.
    pub(super) fn set(&self, name: &str, value: impl AsRef<[u8]>) -> Result<(), MachineError> {
        let value = value.as_ref();
        if value.len() > LONGEST {
            return Err(MachineError::new(
                ErrorKind::Invalid,
                format!(
                    "{} of {name} is {} bytes long; the kernel takes {LONGEST}",
                    self.filesystem,
                    value.len()
                ),
            ));
        }
        rustix::mount::fsconfig_set_string(&self.descriptor, name, value)
            .map_err(|error| self.failed(&format!("set {name} of {}", self.filesystem), error))
    }

    /// Sets an option that has no value.
    pub(super) fn switch(&self, name: &str) -> Result<(), MachineError> {
        rustix::mount::fsconfig_set_flag(&self.descriptor, name)
            .map_err(|error| self.failed(&format!("set {name} of {}", self.filesystem), error))
    }

    /// Sets an option to an open directory.
    pub(super) fn directory(&self, name: &str, value: BorrowedFd<'_>) -> Result<(), Errno> {
        rustix::mount::fsconfig_set_fd(&self.descriptor, name, value)
    }

    /// Makes the file system from what was set.
    pub(super) fn create(&self, tried: &str) -> Result<(), MachineError> {
        rustix::mount::fsconfig_create(&self.descriptor).map_err(|error| self.failed(tried, error))
    }

    /// Mounts it where nothing can see it yet, complete with its flags, and puts it onto its point.
    pub(super) fn place(&self, flags: Flags, point: &Point) -> Result<(), MachineError> {
        let mount = rustix::mount::fsmount(
            &self.descriptor,
            FsMountFlags::FSMOUNT_CLOEXEC,
            attributes(flags),
        )
        .map_err(|error| self.failed(&format!("mount {}", self.filesystem), error))?;
        point.attach(mount.as_fd(), point.directory()?.as_fd())
    }

    /// The kernel's own words say more than its error number.
    fn failed(&self, tried: &str, error: Errno) -> MachineError {
        let mut failure = refused(tried, error);
        let mut log = Vec::new();
        if let Ok(descriptor) = self.descriptor.try_clone() {
            let mut reader = std::fs::File::from(descriptor);
            let mut message = [0; 1024];
            // One message each time, until there is none.
            while let Ok(length) = reader.read(&mut message) {
                match message.get(..length) {
                    Some(text) if length > 0 => log.push(told(text)),
                    _ => break,
                }
            }
        }
        if !log.is_empty() {
            failure.message = format!("{} ({})", failure.message, log.join("; "));
        }
        failure
    }
}

/// A message without the letter of its severity.
fn told(message: &[u8]) -> String {
    let text = String::from_utf8_lossy(message);
    let text = text.trim_end();
    ["e ", "w ", "i "]
        .iter()
        .find_map(|severity| text.strip_prefix(severity))
        .unwrap_or(text)
        .replace(char::is_control, " ")
}

/// The name that a file system without a device has in the mount table: it tells ours from others.
pub(super) fn name(id: &str) -> String {
    format!("dockside-{id}")
}

/// In what a mount of a file system without a device differs from the one with this id.
pub(super) fn difference(info: &MountInfo, filesystem: &str, id: &str) -> Option<String> {
    if info.filesystem == filesystem && info.source == OsStr::new(&name(id)) {
        return None;
    }
    Some(another(info))
}

/// Says that something else is mounted.
pub(super) fn another(info: &MountInfo) -> String {
    format!(
        "holds another mount: {} of type {}",
        info.source.display(),
        info.filesystem
    )
}

/// What the kernel said of a mount, with the class that drivers can act on.
pub(super) fn refused(tried: &str, error: Errno) -> MachineError {
    let mut failure = MachineError::io(tried, &error.into());
    match error {
        Errno::INVAL | Errno::LOOP | Errno::NOTDIR | Errno::NAMETOOLONG => {
            failure.kind = ErrorKind::Invalid;
        }
        Errno::CONNREFUSED
        | Errno::HOSTUNREACH
        | Errno::HOSTDOWN
        | Errno::NETUNREACH
        | Errno::NETDOWN
        | Errno::TIMEDOUT
        | Errno::CONNRESET
        | Errno::CONNABORTED
        | Errno::NOTCONN
        | Errno::ACCESS => failure.kind = ErrorKind::Unreachable,
        Errno::MFILE | Errno::NFILE | Errno::NOMEM => failure.kind = ErrorKind::Exhausted,
        Errno::NODEV | Errno::OPNOTSUPP | Errno::PROTONOSUPPORT => {
            failure.kind = ErrorKind::Missing;
        }
        Errno::NOSYS => {
            failure.kind = ErrorKind::Missing;
            failure
                .message
                .push_str("; mounting on descriptors needs Linux 5.6 or later");
        }
        Errno::PERM => {
            failure.kind = ErrorKind::Missing;
            failure.message.push_str(
                "; mounting needs CAP_SYS_ADMIN in the host's user namespace, and no seccomp filter in its way",
            );
        }
        _ => {}
    }
    failure
}
