//! A directory that a verb works in, and that is gone afterwards.
//!
//! Drivers mount below it, also directories of the machine that users name. Removing a directory with everything in it goes into mounts, so
//! those have to be gone before: otherwise the data in them would be deleted.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use rustix::mount::{UnmountFlags, unmount};

use crate::machine::mounts::mounted_below;

/// Mounts can lie on mounts, and each round takes away the uppermost.
const ROUNDS: usize = 64;

/// The directory. It is cleared with its drop.
#[derive(Debug)]
pub(super) struct Scratch {
    path: PathBuf,
}

impl Scratch {
    /// Makes one. A socket's path has at most 107 bytes, so it is not below a long `TMPDIR`.
    ///
    /// # Errors
    /// There is no place for it.
    pub(super) fn new(prefix: &str) -> anyhow::Result<Self> {
        let usual = std::env::temp_dir();
        let place = if usual.as_os_str().len() > 30 {
            Path::new("/tmp")
        } else {
            &usual
        };
        let made = tempfile::Builder::new()
            .prefix(prefix)
            .tempdir_in(place)
            .with_context(|| format!("no directory could be made in {}", place.display()))?;
        // The mount table has no symbolic links in it.
        let path = std::fs::canonicalize(made.path())?;
        let _ = made.keep();
        Ok(Self { path })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = clear(&self.path) {
            eprintln!(
                "dockside: {} is left behind: {error:#}",
                self.path.display()
            );
        }
    }
}

/// Takes away what is mounted below a directory, and then the directory.
///
/// # Errors
/// Something is still mounted there; then nothing is deleted.
pub(super) fn clear(path: &Path) -> anyhow::Result<()> {
    for _ in 0..ROUNDS {
        let mounts = mounted_below(path).map_err(anyhow::Error::new)?;
        if mounts.is_empty() {
            return match std::fs::remove_dir_all(path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
                _ => Ok(()),
            };
        }
        for mount in mounts.iter().rev() {
            unmount(&mount.point, UnmountFlags::DETACH)
                .with_context(|| format!("{} cannot be unmounted", mount.point.display()))?;
        }
    }
    anyhow::bail!("something is mounted below it again and again")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use rustix::mount::mount_bind;

    #[test]
    fn what_is_mounted_below_a_directory_is_not_deleted_with_it() {
        if !rustix::process::geteuid().is_root() {
            println!("skipped: mounts need root");
            return;
        }
        let data = tempfile::tempdir().unwrap();
        let precious = data.path().join("precious");
        std::fs::write(&precious, "data").unwrap();
        let scratch = Scratch::new("dockside-scratch-test-").unwrap();
        let path = scratch.path().to_owned();
        for point in ["one", "two"] {
            let point = path.join(point);
            std::fs::create_dir(&point).unwrap();
            mount_bind(data.path(), &point).unwrap();
            mount_bind(data.path(), &point).unwrap();
        }
        drop(scratch);
        assert!(!path.exists());
        assert_eq!(std::fs::read_to_string(precious).unwrap(), "data");
    }
}
