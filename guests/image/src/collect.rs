//! Deleting backups, and the pieces that no backup needs any more.

use std::ops::RangeInclusive;

use dockside_driver::{Error, Result, blobs, log};
use serde::Serialize;

use crate::{
    lock::{self, Kind, Lock},
    repository::{self, Digest256, Reference, Summary},
};

/// How many pieces are kept in mind at once: 16 MiB of names. More are dealt with shelf by shelf.
const MOST: usize = 512 << 10;

/// What was deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Freed {
    /// How many pieces.
    pub(crate) pieces: u64,
    /// How many bytes.
    pub(crate) bytes: u64,
}

/// Deletes a backup and the pieces that only it had. None if somebody uses the store, so that its pieces stay until the next time.
pub(crate) fn delete(at: &Reference) -> Result<Option<Freed>> {
    // A damaged one can be deleted as well.
    let there = repository::backups(&at.store)?;
    if !there.contains(at) {
        repository::summary(at)?;
    }
    repository::retract(at)?;
    collect_or_leave(&at.store)
}

/// As [`collect`], unless somebody uses the store.
pub(crate) fn collect_or_leave(store: &str) -> Result<Option<Freed>> {
    let what = "old pieces are being deleted";
    let freed = lock::if_free(store, Kind::Exclusive, what, |lock| {
        collect(store, lock, 0..=u8::MAX, MOST)
    })?;
    if freed.is_none() {
        log::info!("the store {store} is in use: pieces that no backup needs stay for now");
    }
    Ok(freed)
}

/// Deletes the pieces on these shelves that no backup has. A backup that cannot be read keeps everything.
pub(crate) fn collect(
    store: &str,
    lock: &Lock,
    shelves: RangeInclusive<u8>,
    most: usize,
) -> Result<Freed> {
    let backups = repository::backups(store)?;
    for left in repository::manifests(store)? {
        // It was interrupted between its two last steps, for nobody is at work now.
        if !backups.contains(&left) {
            repository::retract(&left)?;
        }
    }
    let mut needed: Vec<Digest256> = Vec::new();
    for at in &backups {
        let manifest =
            repository::summary(at).and_then(|summary| repository::manifest(at, &summary));
        let manifest = manifest.map_err(|error| {
            Error::other(format!(
                "nothing was cleared away, for it is not known what is needed: {error}; delete that backup first"
            ))
        })?;
        let here = manifest.pieces.into_iter().map(|(_, digest)| digest);
        needed.extend(here.filter(|digest| shelves.contains(&digest.shelf())));
        needed.sort_unstable();
        needed.dedup();
        lock.keep()?;
        let (first, last) = (*shelves.start(), *shelves.end());
        if needed.len() > most && first < last {
            drop(needed);
            let middle = first + (last - first) / 2;
            let lower = collect(store, lock, first..=middle, most)?;
            let upper = collect(store, lock, middle + 1..=last, most)?;
            return Ok(Freed {
                pieces: lower.pieces + upper.pieces,
                bytes: lower.bytes + upper.bytes,
            });
        }
    }
    let mut freed = Freed::default();
    for shelf in shelves {
        for (digest, size) in repository::pieces(store, shelf)? {
            if needed.binary_search(&digest).is_err() {
                blobs::delete(store, &digest.name())?;
                freed.pieces += 1;
                freed.bytes += size;
                lock.keep()?;
            }
        }
    }
    Ok(freed)
}

/// All backups in a store that can be read, the oldest first, and those that cannot with the reason.
pub(crate) fn list(store: &str) -> Result<Vec<(Reference, Result<Summary>)>> {
    let mut found: Vec<_> = repository::backups(store)?
        .into_iter()
        .map(|at| {
            let summary = repository::summary(&at);
            (at, summary)
        })
        .collect();
    found.sort_by_key(|(at, summary)| {
        let made = summary.as_ref().map_or(0, |summary| summary.created_at);
        (made, at.id.clone())
    });
    Ok(found)
}
