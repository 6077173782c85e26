//! Secrets that came with a call and stay in the host's keeping: each is a file that only the daemon's user can read.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{ErrorKind as Io, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::{ErrorKind, MachineError, Presence};

/// Length of a secret in bytes: as much as one of the operator's may have.
pub const MAX_BYTES: usize = 64 << 10;

/// What the name of a secret begins with where it is one that the host keeps. No secret of the operator's can have a slash in its name.
const PREFIX: &str = "kept/";

/// A secret that the host keeps. Its value is not in here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// Minted by the host: 32 lower-case hexadecimal digits. It is also the last part of `file`.
    pub id: String,
    /// Where it is.
    pub file: PathBuf,
}

impl Kept {
    /// The name by which records of mounts refer to it.
    pub fn name(&self) -> String {
        format!("{PREFIX}{}", self.id)
    }

    fn check(&self) -> Result<(), MachineError> {
        if is_minted(&self.id)
            && self.file.is_absolute()
            && self.file.file_name() == Some(self.id.as_ref())
        {
            return Ok(());
        }
        Err(MachineError::new(
            ErrorKind::Invalid,
            "the record of a secret that is kept is damaged",
        ))
    }
}

/// The ID in the name of a secret that the host keeps; none for one of the operator's.
pub fn id_in(name: &str) -> Option<&str> {
    name.strip_prefix(PREFIX).filter(|id| is_minted(id))
}

fn is_minted(id: &str) -> bool {
    id.len() == 32
        && id
            .bytes()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// Writes it down, durably. Its directory and the one above that are made when they are missing.
///
/// # Errors
/// `Invalid` for one that is empty or too long, or the reason why it cannot be written. Nothing is left behind.
pub fn perform(kept: &Kept, value: &[u8]) -> Result<(), MachineError> {
    kept.check()?;
    check_length(value)?;
    let directory = parent(&kept.file)?;
    for directory in [parent(directory)?, directory] {
        match DirBuilder::new().mode(0o700).create(directory) {
            Ok(()) => sync(parent(directory)?)?,
            Err(error) if error.kind() == Io::AlreadyExists => {}
            Err(error) => return Err(failed("make", directory, &error)),
        }
    }
    let found = directory
        .symlink_metadata()
        .map_err(|error| failed("look at", directory, &error))?;
    if !found.is_dir()
        || found.uid() != rustix::process::geteuid().as_raw()
        || found.mode() & 0o077 != 0
    {
        return Err(MachineError::new(
            ErrorKind::Other,
            format!(
                "{} will not hold secrets: it must be a directory of the daemon's user with mode 0700",
                directory.display()
            ),
        ));
    }
    let written = write(&kept.file, value);
    if written.is_err() {
        // What failed is what there is to tell.
        let _ = std::fs::remove_file(&kept.file);
    }
    written
}

/// Whether a secret can be kept.
///
/// # Errors
/// `Invalid` for one that is empty or too long.
pub fn check_length(value: &[u8]) -> Result<(), MachineError> {
    if (1..=MAX_BYTES).contains(&value.len()) {
        return Ok(());
    }
    Err(MachineError::new(
        ErrorKind::Invalid,
        format!("a secret has 1 to {MAX_BYTES} bytes"),
    ))
}

fn write(path: &Path, value: &[u8]) -> Result<(), MachineError> {
    let write = || {
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)?;
        file.write_all(value)?;
        file.sync_all()
    };
    write().map_err(|error| failed("write", path, &error))?;
    sync(parent(path)?)
}

/// Destroys it, whether or not it was ever written.
///
/// # Errors
/// When the file cannot be removed.
pub fn undo(kept: &Kept) -> Result<(), MachineError> {
    kept.check()?;
    match std::fs::remove_file(&kept.file) {
        Ok(()) => sync(parent(&kept.file)?),
        Err(error) if error.kind() == Io::NotFound => Ok(()),
        Err(error) => Err(failed("remove", &kept.file, &error)),
    }
}

/// Whether it is there.
///
/// # Errors
/// When the file cannot be looked at.
pub fn look(kept: &Kept) -> Result<Presence, MachineError> {
    kept.check()?;
    match kept.file.symlink_metadata() {
        Ok(found) if found.is_file() => Ok(Presence::Present),
        Ok(_) => Ok(Presence::Changed(format!(
            "{} is no regular file",
            kept.file.display()
        ))),
        Err(error) if error.kind() == Io::NotFound => Ok(Presence::Absent),
        Err(error) => Err(failed("look at", &kept.file, &error)),
    }
}

/// Reads it.
///
/// # Errors
/// `NotFound` when it is not there, or the reason why it cannot be read.
pub fn read(file: &Path) -> Result<Zeroizing<Vec<u8>>, MachineError> {
    match std::fs::read(file) {
        Ok(value) => Ok(Zeroizing::new(value)),
        Err(error) if error.kind() == Io::NotFound => Err(MachineError::new(
            ErrorKind::NotFound,
            "the secret that was given with it is not kept any more; make it again with its secret",
        )),
        Err(error) => Err(failed("read", file, &error)),
    }
}

fn parent(path: &Path) -> Result<&Path, MachineError> {
    path.parent().ok_or_else(|| {
        MachineError::new(
            ErrorKind::Invalid,
            "the root directory does not hold secrets",
        )
    })
}

/// The name of a file outlives a power cut only with its directory.
fn sync(directory: &Path) -> Result<(), MachineError> {
    File::open(directory)
        .and_then(|directory| directory.sync_all())
        .map_err(|error| failed("sync", directory, &error))
}

fn failed(tried: &str, path: &Path, error: &std::io::Error) -> MachineError {
    MachineError::io(&format!("{tried} {}", path.display()), error)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn kept(data: &Path) -> Kept {
        let id = "0123456789abcdef0123456789abcdef".to_owned();
        Kept {
            file: data.join("secrets/files").join(&id),
            id,
        }
    }

    #[test]
    fn a_secret_is_a_file_of_the_daemons_user_until_it_is_destroyed() {
        let data = tempfile::tempdir().unwrap();
        let kept = kept(data.path());
        assert_eq!(look(&kept).unwrap(), Presence::Absent);
        undo(&kept).unwrap();
        perform(&kept, b"hunter2").unwrap();
        assert_eq!(look(&kept).unwrap(), Presence::Present);
        assert_eq!(&**read(&kept.file).unwrap(), b"hunter2");
        for (path, mode) in [
            (data.path().join("secrets"), 0o700),
            (data.path().join("secrets/files"), 0o700),
            (kept.file.clone(), 0o600),
        ] {
            let found = path.metadata().unwrap().permissions().mode();
            assert_eq!(found & 0o777, mode, "{}", path.display());
        }
        undo(&kept).unwrap();
        assert_eq!(look(&kept).unwrap(), Presence::Absent);
        assert_eq!(read(&kept.file).unwrap_err().kind, ErrorKind::NotFound);
    }

    #[test]
    fn what_cannot_be_kept_leaves_nothing() {
        let data = tempfile::tempdir().unwrap();
        let good = kept(data.path());
        for value in [Vec::new(), vec![b'x'; MAX_BYTES + 1]] {
            assert_eq!(perform(&good, &value).unwrap_err().kind, ErrorKind::Invalid);
        }
        let elsewhere = Kept {
            file: data.path().join("etc/passwd"),
            ..good.clone()
        };
        let short = Kept {
            id: "ab".to_owned(),
            file: data.path().join("ab"),
        };
        for damaged in [elsewhere, short] {
            assert!(perform(&damaged, b"x").is_err());
            assert!(undo(&damaged).is_err());
        }
        assert_eq!(std::fs::read_dir(data.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_directory_that_others_can_enter_holds_no_secret() {
        let data = tempfile::tempdir().unwrap();
        let kept = kept(data.path());
        let directory = kept.file.parent().unwrap();
        std::fs::create_dir_all(directory).unwrap();
        std::fs::set_permissions(directory, std::fs::Permissions::from_mode(0o755)).unwrap();
        assert!(perform(&kept, b"x").is_err());
        assert!(!kept.file.exists());
    }

    #[test]
    fn names_of_the_operators_secrets_are_not_taken_for_kept_ones() {
        assert_eq!(
            id_in("kept/0123456789abcdef0123456789abcdef"),
            Some("0123456789abcdef0123456789abcdef")
        );
        for name in [
            "kept",
            "kept/",
            "kept/../../x",
            "key",
            "kept/ABCDEF0123456789abcdef0123456789",
        ] {
            assert_eq!(id_in(name), None, "{name}");
        }
    }
}
