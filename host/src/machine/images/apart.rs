//! A mount that nobody else sees: in a mount namespace that a thread of its own makes. It ends with the thread and the tools that are in
//! the namespace, the loop device with it, also when the daemon is killed.

use std::ffi::CString;
use std::fs::File;
use std::path::Path;
use std::thread;
use std::time::Instant;

use nix::sched::{CloneFlags, unshare};
use rustix::io::Errno;
use rustix::mount::{
    MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_change, unmount,
};

use super::format::Filesystem;
use super::tool::{INPUT, Tool};
use crate::machine::{ErrorKind, MachineError};

/// What is mounted.
pub(super) struct Apart<'a> {
    pub(super) file: &'a File,
    /// What errors call the file. Its directory is where it is mounted: any would do, this one is there.
    pub(super) name: &'a Path,
    /// The loop device that has the file already: then it is the same file system as where else it is mounted.
    pub(super) device: Option<&'a Path>,
    pub(super) filesystem: Filesystem,
    pub(super) deadline: Instant,
}

impl Apart<'_> {
    /// Mounts, does something in the directory, and unmounts.
    pub(super) fn with<T: Send>(
        &self,
        work: impl FnOnce(&Path) -> Result<T, MachineError> + Send,
    ) -> Result<T, MachineError> {
        thread::scope(|scope| {
            thread::Builder::new()
                .name("apart".to_owned())
                .spawn_scoped(scope, || self.here(work))
                .map_err(|error| MachineError::io("start a thread", &error))?
                .join()
                .unwrap_or_else(|_| {
                    Err(MachineError::new(
                        ErrorKind::Other,
                        format!(
                            "the work on {} ended in an unexpected way",
                            self.name.display()
                        ),
                    ))
                })
        })
    }

    fn here<T>(
        &self,
        work: impl FnOnce(&Path) -> Result<T, MachineError>,
    ) -> Result<T, MachineError> {
        unshare(CloneFlags::CLONE_NEWNS)
            .map_err(|error| self.failed(Errno::from_raw_os_error(error as i32)))?;
        // What is unmounted outside is unmounted here too, and nothing from here is seen outside.
        let propagation = MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC;
        mount_change("/", propagation).map_err(|error| self.failed(error))?;
        let place = self.name.parent().unwrap_or(Path::new("/"));
        match self.device {
            Some(device) => self.mount(device, place)?,
            None => self.mount_file(place)?,
        }
        let worked = work(place);
        let ended = unmount(place, UnmountFlags::empty())
            .or_else(|_| unmount(place, UnmountFlags::DETACH))
            .map_err(|error| self.failed(error));
        ended.and(worked)
    }

    fn mount(&self, device: &Path, place: &Path) -> Result<(), MachineError> {
        let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
        let options = CString::new(self.filesystem.options()).unwrap_or_default();
        match mount(
            device,
            place,
            self.filesystem.name(),
            flags,
            Some(options.as_c_str()),
        ) {
            Err(Errno::BUSY | Errno::ROFS | Errno::ACCESS) => Err(MachineError::new(
                ErrorKind::Busy,
                format!(
                    "{} is mounted read-only: mount it for writing first",
                    self.name.display()
                ),
            )),
            mounted => mounted.map_err(|error| self.failed(error)),
        }
    }

    /// `mount` has the kernel give the loop device free with the last mount, from the beginning.
    fn mount_file(&self, place: &Path) -> Result<(), MachineError> {
        let input = self
            .file
            .try_clone()
            .map_err(|error| MachineError::io("duplicate a descriptor", &error))?;
        let mut options = "loop,nosuid,nodev,noexec".to_owned();
        let own = self.filesystem.options();
        if !own.is_empty() {
            options.push(',');
            options.push_str(own);
        }
        Tool::new("mount", "mount", self.name)
            .input(input)
            .args(["--internal-only", "--no-mtab", "--no-canonicalize"])
            .args(["--types", self.filesystem.name(), "--options", &options])
            .args(["--source", INPUT, "--target"])
            .args([place])
            .run(self.deadline)?;
        Ok(())
    }

    fn failed(&self, error: Errno) -> MachineError {
        let tried = format!("mount {} for a moment", self.name.display());
        MachineError::io(&tried, &error.into())
    }
}
