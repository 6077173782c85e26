//! How backups lie in a store of blobs.
//!
//! | name | content |
//! | --- | --- |
//! | `chunks/AB/ABCD…` | a piece of an image, named by its SHA-256 |
//! | `manifests/BACKUP` | which pieces an image has, and where |
//! | `backups/BACKUP` | what the backup is of; written last: without it there is no backup |
//! | `locks/shared-…`, `locks/exclusive-…` | who is at work: see `lock` |
//!
//! A piece that is there is not written again, whichever backup brought it. A piece of zeros is nowhere.

use std::collections::{HashMap, HashSet};
use std::fmt;

use dockside_driver::{Error, ErrorCode, Result, blobs, config};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use sha2::{Digest, Sha256};

use crate::units::parse_size;

/// The version of the format.
const VERSION: u32 = 1;

/// The longest manifest, in bytes: a blob has no more.
const MAX_MANIFEST: usize = 16 << 20;

/// The SHA-256 of a piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Digest256([u8; 32]);

impl Digest256 {
    pub(crate) fn of(data: &[u8]) -> Self {
        Self(Sha256::digest(data).into())
    }

    /// The first byte: which of the 256 directories its piece is in.
    pub(crate) fn shelf(self) -> u8 {
        self.0.first().copied().unwrap_or_default()
    }

    fn parse(text: &str) -> Option<Self> {
        let mut bytes = [0; 32];
        if text.len() != 64 || !text.is_ascii() {
            return None;
        }
        for (index, byte) in bytes.iter_mut().enumerate() {
            let pair = text.get(2 * index..2 * index + 2)?;
            *byte = u8::from_str_radix(pair, 16).ok()?;
        }
        Some(Self(bytes))
    }

    /// The name of its piece.
    pub(crate) fn name(self) -> String {
        format!("{}{self}", shelf_name(self.shelf()))
    }
}

impl fmt::Display for Digest256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl Serialize for Digest256 {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest256 {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct Text;
        impl de::Visitor<'_> for Text {
            type Value = Digest256;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("64 hexadecimal digits")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> std::result::Result<Digest256, E> {
                Digest256::parse(text)
                    .ok_or_else(|| E::invalid_value(de::Unexpected::Str(text), &self))
            }
        }
        deserializer.deserialize_str(Text)
    }
}

fn shelf_name(shelf: u8) -> String {
    format!("chunks/{shelf:02x}/")
}

/// What a backup is of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Summary {
    version: u32,
    /// The volume.
    pub(crate) volume: String,
    /// The snapshot that it was made of, if it was not made of the volume as it was then.
    pub(crate) snapshot: Option<String>,
    /// When it was made, in seconds since 1970.
    pub(crate) created_at: u64,
    /// The size of the image in bytes.
    pub(crate) size: u64,
    /// Its file system.
    pub(crate) filesystem: String,
    /// How many pieces it has.
    pub(crate) pieces: u64,
    /// How many bytes of them were not in the store before.
    pub(crate) sent: u64,
    /// The schedule that made it.
    pub(crate) schedule: Option<String>,
    /// Which dockside made it: stores can be shared.
    pub(crate) origin: String,
    /// The SHA-256 of the manifest.
    manifest: Digest256,
}

/// Which pieces an image has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Manifest {
    /// The length of each piece, but for the last one of the image.
    pub(crate) piece_size: u64,
    /// Numbers of pieces, in order, and what is in them.
    pub(crate) pieces: Vec<(u64, Digest256)>,
}

/// What a manifest is about.
pub(crate) struct About<'a> {
    pub(crate) volume: &'a str,
    pub(crate) snapshot: Option<&'a str>,
    pub(crate) created_at: u64,
    pub(crate) size: u64,
    pub(crate) filesystem: &'a str,
    pub(crate) sent: u64,
    pub(crate) schedule: Option<&'a str>,
    pub(crate) origin: &'a str,
}

/// The name of a backup, in a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reference {
    pub(crate) store: String,
    pub(crate) id: String,
}

impl Reference {
    /// Reads `BACKUP`, which is in the usual store, `STORE/BACKUP`, or what Convoy writes: `…?backup=BACKUP&volume=VOLUME`, of which only the
    /// name of the backup counts.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let (store, id) = match text.split_once('?') {
            Some((_, query)) => {
                let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
                let backup = pairs.find(|(key, _)| *key == "backup");
                (None, backup.map_or("", |(_, id)| id))
            }
            None => match text.rsplit_once('/') {
                Some((store, id)) => (Some(store), id),
                None => (None, text),
            },
        };
        if !is_id(id) {
            return Err(Error::invalid(format!(
                "{text:?} is no backup: say BACKUP or STORE/BACKUP, as `dockside run` with the verb backups lists them"
            )));
        }
        Ok(Self {
            store: self::store(store)?,
            id: id.to_owned(),
        })
    }
}

fn is_id(id: &str) -> bool {
    id.strip_prefix("backup-").is_some_and(|rest| {
        (1..=64).contains(&rest.len())
            && rest
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
    })
}

/// The store of this name, or the usual one: the setting `store`, or the only one there is.
pub(crate) fn store(name: Option<&str>) -> Result<String> {
    let stores = blobs::stores();
    let has = |name: &str| stores.iter().any(|store| store == name);
    if let Some(name) = name {
        return match has(name) {
            true => Ok(name.to_owned()),
            // The host's words for it say what to grant.
            false => Err(blobs::list(name, "backups/")
                .err()
                .unwrap_or_else(|| Error::invalid(format!("there is no blob store {name:?}")))),
        };
    }
    match (config::get("store")?, stores.as_slice()) {
        (Some(name), _) if has(&name) => Ok(name),
        (Some(name), _) => Err(Error::invalid(format!(
            "store = {name:?} under [config] of this plugin is no store under [grants.blobs]"
        ))),
        (None, [only]) => Ok(only.clone()),
        (None, []) => Err(Error::invalid(
            "there is no place for backups: name a directory or a bucket under [grants.blobs] in this plugin's TOML file",
        )),
        (None, several) => Err(Error::invalid(format!(
            "there are several places for backups: say which with store=NAME, one of {}, or set store under [config] of this plugin",
            several.join(", ")
        ))),
    }
}

/// The length of the pieces of an image of this size: the setting `chunk-size`, or one that keeps the manifest within a blob.
pub(crate) fn piece_size(size: u64) -> Result<u64> {
    const LEAST: u64 = 4 << 10;
    const MOST: u64 = 16 << 20;
    if let Some(text) = config::get("chunk-size")? {
        let wrong = || {
            Error::invalid(format!(
                "chunk-size = {text:?} under [config] of this plugin: say a power of two from 4k to 16m"
            ))
        };
        let size = parse_size(&text).map_err(|_| wrong())?;
        let fits = (LEAST..=MOST).contains(&size) && size.is_power_of_two();
        return fits.then_some(size).ok_or_else(wrong);
    }
    Ok(match size {
        0..=0x40_0000_0000 => 2 << 20,
        0x40_0000_0001..=0x100_0000_0000 => 8 << 20,
        _ => MOST,
    })
}

/// The pieces that a store has, looked up shelf by shelf as they are needed.
pub(crate) struct Known<'a> {
    store: &'a str,
    shelves: HashMap<u8, HashSet<Digest256>>,
}

impl<'a> Known<'a> {
    pub(crate) fn new(store: &'a str) -> Self {
        Self {
            store,
            shelves: HashMap::new(),
        }
    }

    /// Writes a piece if it is not there. Says whether it was written.
    pub(crate) fn add(&mut self, digest: Digest256, data: &[u8]) -> Result<bool> {
        let shelf = digest.shelf();
        if !self.shelves.contains_key(&shelf) {
            let there = pieces(self.store, shelf)?;
            let there = there.into_iter().map(|(digest, _)| digest).collect();
            self.shelves.insert(shelf, there);
        }
        let there = self.shelves.entry(shelf).or_default();
        if there.contains(&digest) {
            return Ok(false);
        }
        blobs::put(self.store, &digest.name(), data)?;
        there.insert(digest);
        Ok(true)
    }
}

/// The pieces on one shelf, with their lengths.
pub(crate) fn pieces(store: &str, shelf: u8) -> Result<Vec<(Digest256, u64)>> {
    let prefix = shelf_name(shelf);
    let found = blobs::list(store, &prefix)?.into_iter();
    let piece = |blob: blobs::BlobInfo| {
        let digest = Digest256::parse(blob.name.strip_prefix(&prefix)?)?;
        Some((digest, blob.size))
    };
    Ok(found.filter_map(piece).collect())
}

/// Writes a manifest, and then what makes it count.
pub(crate) fn publish(at: &Reference, manifest: &Manifest, about: &About<'_>) -> Result<Summary> {
    let text = encode(manifest)?;
    if text.len() > MAX_MANIFEST {
        return Err(Error::exhausted(format!(
            "the list of the pieces of {} is too long for one blob: set a larger chunk-size under [config] of this plugin",
            about.volume
        )));
    }
    let summary = Summary {
        version: VERSION,
        volume: about.volume.to_owned(),
        snapshot: about.snapshot.map(ToOwned::to_owned),
        created_at: about.created_at,
        size: about.size,
        filesystem: about.filesystem.to_owned(),
        pieces: manifest.pieces.len() as u64,
        sent: about.sent,
        schedule: about.schedule.map(ToOwned::to_owned),
        origin: about.origin.to_owned(),
        manifest: Digest256::of(&text),
    };
    blobs::put(&at.store, &format!("manifests/{}", at.id), &text)?;
    blobs::put(&at.store, &format!("backups/{}", at.id), &encode(&summary)?)?;
    Ok(summary)
}

/// What a backup is of.
pub(crate) fn summary(at: &Reference) -> Result<Summary> {
    let text = match blobs::get(&at.store, &format!("backups/{}", at.id)) {
        Err(error) if error.code() == ErrorCode::NotFound => {
            return Err(Error::invalid(format!(
                "there is no backup {} in the store {}",
                at.id, at.store
            )));
        }
        found => found?,
    };
    let summary: Summary =
        serde_json::from_slice(&text).map_err(|error| damaged(at, &error.to_string()))?;
    if summary.version != VERSION {
        return Err(damaged(at, "a newer version of this driver wrote it"));
    }
    Ok(summary)
}

/// Which pieces a backup has.
pub(crate) fn manifest(at: &Reference, summary: &Summary) -> Result<Manifest> {
    let text =
        blobs::get(&at.store, &format!("manifests/{}", at.id)).map_err(|error| {
            match error.code() {
                ErrorCode::NotFound => damaged(at, "its manifest is gone"),
                _ => error,
            }
        })?;
    if Digest256::of(&text) != summary.manifest {
        return Err(damaged(at, "its manifest is not the one that was written"));
    }
    let manifest: Manifest =
        serde_json::from_slice(&text).map_err(|error| damaged(at, &error.to_string()))?;
    let last = summary.size.div_ceil(manifest.piece_size.max(1));
    let sensible = (1..=16 << 20).contains(&manifest.piece_size)
        && manifest.pieces.iter().all(|(number, _)| *number < last);
    match sensible {
        true => Ok(manifest),
        false => Err(damaged(at, "its manifest makes no sense")),
    }
}

fn damaged(at: &Reference, reason: &str) -> Error {
    Error::other(format!(
        "the backup {}/{} is damaged: {reason}",
        at.store, at.id
    ))
}

/// Reads a piece.
pub(crate) fn piece(at: &Reference, digest: Digest256, length: u64) -> Result<Vec<u8>> {
    let data = blobs::get(&at.store, &digest.name()).map_err(|error| match error.code() {
        ErrorCode::NotFound => damaged(at, &format!("its piece {digest} is gone")),
        _ => error,
    })?;
    if data.len() as u64 == length && Digest256::of(&data) == digest {
        return Ok(data);
    }
    Err(damaged(
        at,
        &format!("its piece {digest} is not what was written"),
    ))
}

/// The backups in a store, without looking into them.
pub(crate) fn backups(store: &str) -> Result<Vec<Reference>> {
    named(store, "backups/")
}

/// The manifests in a store, also those that no backup came to.
pub(crate) fn manifests(store: &str) -> Result<Vec<Reference>> {
    named(store, "manifests/")
}

fn named(store: &str, prefix: &str) -> Result<Vec<Reference>> {
    let found = blobs::list(store, prefix)?.into_iter();
    let reference = |blob: blobs::BlobInfo| {
        let id = blob.name.strip_prefix(prefix).filter(|id| is_id(id))?;
        Some(Reference {
            store: store.to_owned(),
            id: id.to_owned(),
        })
    };
    Ok(found.filter_map(reference).collect())
}

/// Makes a backup count no more. Its pieces stay until `collect`.
pub(crate) fn retract(at: &Reference) -> Result<()> {
    blobs::delete(&at.store, &format!("backups/{}", at.id))?;
    blobs::delete(&at.store, &format!("manifests/{}", at.id))
}

fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>> {
    serde_json::to_vec(value)
        .map_err(|error| Error::other(format!("it cannot be written as JSON: {error}")))
}
