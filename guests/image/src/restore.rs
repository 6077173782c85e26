//! Images made of backups.

use dockside_driver::{Result, images, log};

use crate::{
    lock::{self, Kind},
    repository::{self, Reference, piece},
};

/// Makes an image of what a backup holds: its size and its file system.
pub(crate) fn restore(at: &Reference, key: &str) -> Result<(u64, String)> {
    let what = format!("a restore of {}", at.id);
    let summary = lock::with(&at.store, Kind::Shared, &what, |lock| {
        let summary = repository::summary(at)?;
        let manifest = repository::manifest(at, &summary)?;
        images::receive(key, summary.size, summary.filesystem.parse()?)?;
        for (number, digest) in &manifest.pieces {
            let offset = number * manifest.piece_size;
            let length = manifest.piece_size.min(summary.size - offset);
            images::write(key, offset, &piece(at, *digest, length)?)?;
            lock.keep()?;
        }
        images::seal(key)?;
        Ok(summary)
    })?;
    log::info!("restored the backup {}/{}", at.store, at.id);
    Ok((summary.size, summary.filesystem))
}
