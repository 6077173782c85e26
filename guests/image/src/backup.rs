//! Backups: an image cut into pieces that are named by what is in them.

use dockside_driver::{
    Error, Result,
    images::{self, Extent},
    log, outbox, random, state, time,
};

use crate::{
    lock::{self, Kind, Lock},
    not_missing,
    repository::{self, About, Digest256, Known, Manifest, Reference, Summary, piece_size},
    snapshot::Source,
    units::show_size,
};

/// Where this installation's own name is kept.
const ORIGIN: &str = "origin";

/// The name of this installation, by which it knows its own backups in a store that others use too.
pub(crate) fn origin() -> Result<String> {
    if let Some(origin) = state::get::<String>(ORIGIN)? {
        return Ok(origin);
    }
    let origin = format!("{:016x}", random::number());
    state::set(ORIGIN, &origin)?;
    Ok(origin)
}

/// Makes a backup of a volume as it is now, or of a snapshot.
pub(crate) fn create(
    store: &str,
    source: &Source,
    schedule: Option<&str>,
) -> Result<(Reference, Summary)> {
    let origin = origin()?;
    let at = Reference {
        store: store.to_owned(),
        id: new_id(source, &origin),
    };
    let what = format!("a backup of {}", source.volume);
    let summary = lock::with(store, Kind::Shared, &what, |lock| {
        // A snapshot holds still; of a volume that may be written to, a copy does.
        match &source.snapshot {
            Some(_) => send(&at, source, &source.image, lock, schedule, &origin),
            None => {
                let copy = format!("backup/{}", at.id);
                images::clone(&source.image, &copy).map_err(not_missing)?;
                let sent = send(&at, source, &copy, lock, schedule, &origin);
                images::delete(&copy)?;
                sent
            }
        }
    })?;
    log::info!(
        "backup {}/{} of {}: {} pieces, {} sent",
        at.store,
        at.id,
        source.volume,
        summary.pieces,
        show_size(summary.sent)
    );
    Ok((at, summary))
}

/// Brings what is in an image into a store, and what makes a backup of it.
fn send(
    at: &Reference,
    source: &Source,
    image: &str,
    lock: &Lock,
    schedule: Option<&str>,
    origin: &str,
) -> Result<Summary> {
    let created_at = time::unix_seconds();
    let piece_size = piece_size(source.size)?;
    let length = u32::try_from(piece_size).map_err(|error| Error::other(error.to_string()))?;
    let mut known = Known::new(&at.store);
    let mut pieces = Vec::new();
    let mut sent = 0;
    for number in numbers(&images::data(image)?, source.size, piece_size) {
        let data = images::read(image, number * piece_size, length)?;
        if data.iter().all(|byte| *byte == 0) {
            continue;
        }
        let digest = Digest256::of(&data);
        if known.add(digest, &data)? {
            sent += data.len() as u64;
        }
        pieces.push((number, digest));
        lock.keep()?;
    }
    let manifest = Manifest { piece_size, pieces };
    let about = About {
        volume: &source.volume,
        snapshot: source.snapshot.as_deref(),
        created_at,
        size: source.size,
        filesystem: &source.filesystem,
        sent,
        schedule,
        origin,
    };
    repository::publish(at, &manifest, &about)
}

/// Reads all of a backup and compares it with its checksums. Returns how many bytes that were.
pub(crate) fn verify(at: &Reference) -> Result<u64> {
    let what = format!("a check of {}", at.id);
    lock::with(&at.store, Kind::Shared, &what, |lock| {
        let summary = repository::summary(at)?;
        let manifest = repository::manifest(at, &summary)?;
        let mut bytes = 0;
        for (number, digest) in &manifest.pieces {
            let left = summary.size - number * manifest.piece_size;
            let data = repository::piece(at, *digest, manifest.piece_size.min(left))?;
            bytes += data.len() as u64;
            lock.keep()?;
        }
        Ok(bytes)
    })
}

/// The same when the host runs the call again, so that one call leaves one backup.
fn new_id(source: &Source, origin: &str) -> String {
    let text = format!("{}\n{origin}\n{}", outbox::call_key(), source.image);
    let digest = Digest256::of(text.as_bytes()).to_string();
    let short: String = digest.chars().take(16).collect();
    format!("backup-{short}")
}

/// The numbers of the pieces that have data in them, each once and in order.
fn numbers(data: &[Extent], size: u64, piece_size: u64) -> impl Iterator<Item = u64> {
    let end = size.div_ceil(piece_size);
    let ranges: Vec<(u64, u64)> = data
        .iter()
        .map(|extent| {
            let first = extent.offset / piece_size;
            let behind = (extent.offset + extent.length).div_ceil(piece_size);
            (first, behind.min(end))
        })
        .collect();
    let mut next = 0;
    ranges.into_iter().flat_map(move |(first, behind)| {
        let first = first.max(next);
        next = next.max(behind);
        first..behind
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn each_piece_with_data_is_read_once() {
        let extents = |list: &[(u64, u64)]| -> Vec<Extent> {
            list.iter()
                .map(|&(offset, length)| Extent { offset, length })
                .collect()
        };
        for (data, size, expected) in [
            (&[][..], 100, &[][..]),
            (&[(0, 1)], 100, &[0]),
            (&[(0, 1), (5, 2), (9, 2)], 100, &[0, 1]),
            (&[(15, 30), (47, 1), (99, 1)], 100, &[1, 2, 3, 4, 9]),
            (&[(90, 20)], 95, &[9]),
        ] {
            let numbers: Vec<u64> = numbers(&extents(data), size, 10).collect();
            assert_eq!(numbers, expected, "{data:?}");
        }
    }
}
