//! One change of the firewall at a time, also between daemons, and between a daemon and what a killed one has left running.

use std::fs::{DirBuilder, File, Metadata, OpenOptions};
use std::io::{Error, ErrorKind as IoErrorKind};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::sync::mpsc;
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use rustix::fs::{FlockOperation, OFlags, flock};
use rustix::io::Errno;

use crate::machine::{ErrorKind, MachineError};

/// A directory that only root can look into, or anyone could hold the lock.
const DIRECTORY: &str = "/run/dockside";
const FILE: &str = "/run/dockside/firewall.lock";

/// Longer than one program may take, and shorter than the 60 s that Docker waits for.
const PATIENCE: Duration = Duration::from_secs(45);

/// Within the daemon.
static TURN: Mutex<()> = Mutex::new(());

/// Held as long as this lives, and as long as any program that it was handed to: one whose daemon was killed may be about to change the
/// kernel's rules, and whoever undoes that must come after it.
pub(super) struct Lock {
    file: File,
    _turn: MutexGuard<'static, ()>,
}

impl Lock {
    /// Waits for it.
    pub(super) fn take() -> Result<Lock, MachineError> {
        let turn = TURN.lock();
        // Only a thread of its own can wait for a lock up to a deadline. One that is late gets the lock and gives it back at once.
        let (sender, receiver) = mpsc::sync_channel(0);
        std::thread::Builder::new()
            .name("firewall lock".to_owned())
            .spawn(move || {
                let _ = sender.send(acquire());
            })
            .map_err(|error| MachineError::io("start a thread", &error))?;
        match receiver.recv_timeout(PATIENCE) {
            Ok(Ok(file)) => Ok(Lock { file, _turn: turn }),
            Ok(Err(error)) => Err(MachineError::io(&format!("lock {FILE}"), &error)),
            Err(_) => Err(MachineError::new(
                ErrorKind::Busy,
                format!(
                    "the firewall is locked: look for another dockside, or an nft or iptables that hangs and has {FILE} open"
                ),
            )),
        }
    }

    /// For a program to hold.
    pub(super) fn share(&self) -> Result<File, MachineError> {
        self.file
            .try_clone()
            .map_err(|error| MachineError::io("duplicate a descriptor", &error))
    }

    /// Removes the file: nothing is left to be locked.
    pub(super) fn remove(&self) -> Result<(), MachineError> {
        match std::fs::remove_file(FILE) {
            Err(error) if error.kind() != IoErrorKind::NotFound => {
                Err(MachineError::io(&format!("remove {FILE}"), &error))
            }
            _ => Ok(()),
        }
    }
}

fn acquire() -> Result<File, Error> {
    loop {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(DIRECTORY)?;
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(OFlags::NOFOLLOW.bits().cast_signed())
            .open(FILE)?;
        match flock(&file, FlockOperation::LockExclusive) {
            Ok(()) => {}
            Err(Errno::INTR) => continue,
            Err(error) => return Err(error.into()),
        }
        // Whoever had it may have removed it, and another may have made it again.
        let held = file.metadata()?;
        let is_same = |there: Metadata| (there.dev(), there.ino()) == (held.dev(), held.ino());
        if Path::new(FILE).symlink_metadata().is_ok_and(is_same) {
            return Ok(file);
        }
    }
}
