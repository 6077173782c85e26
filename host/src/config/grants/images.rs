//! The grant `images`: file systems in files.

use serde::Deserialize;

use super::refusal::{Refusal, quoted};
use super::{GIB, MIB, PIB};
use crate::config::units::{self, show_size};

const TABLE: &str = "grants.images";
const MAX_SIZE: u64 = PIB;

/// The grant `images` (`dockside:host/images`).
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(
    default,
    deny_unknown_fields,
    rename_all = "kebab-case",
    expecting = "a table: images = { max-size = \"10GiB\" }"
)]
pub struct Images {
    /// Number of images, snapshots included.
    #[serde(deserialize_with = "units::count::<_, 1, 100_000>")]
    pub max: u32,
    /// Size of one image in bytes, as its file system sees it. On the disk it takes what is written to it.
    #[serde(deserialize_with = "units::size::<_, MIB, MAX_SIZE>")]
    pub max_size: u64,
    /// Size of all images together in bytes, counted in the same way.
    #[serde(deserialize_with = "units::size::<_, MIB, MAX_SIZE>")]
    pub max_total: u64,
    /// The file systems that may be made in them.
    pub filesystems: Vec<Filesystem>,
}

impl Default for Images {
    fn default() -> Self {
        Self {
            max: 100,
            max_size: 10 * GIB,
            max_total: 100 * GIB,
            filesystems: Filesystem::ALL.to_vec(),
        }
    }
}

/// A file system that an image can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Filesystem {
    /// ext4.
    Ext4,
    /// XFS.
    Xfs,
    /// Btrfs.
    Btrfs,
}

impl Filesystem {
    /// Each of them.
    pub const ALL: [Filesystem; 3] = [Filesystem::Ext4, Filesystem::Xfs, Filesystem::Btrfs];

    /// Its name, as the kernel writes it.
    pub fn name(self) -> &'static str {
        match self {
            Filesystem::Ext4 => "ext4",
            Filesystem::Xfs => "xfs",
            Filesystem::Btrfs => "btrfs",
        }
    }
}

impl Images {
    /// Whether one more image of `size` bytes may be made, by a plugin that has `count` images of `total` bytes together.
    ///
    /// # Errors
    /// When it may not.
    pub fn may_create(
        &self,
        size: u64,
        total: u64,
        count: u64,
        filesystem: Filesystem,
    ) -> Result<(), Refusal> {
        if !self.filesystems.contains(&filesystem) {
            let name = filesystem.name();
            let deed = format!("may not make images with {name}");
            return Err(Refusal::add(deed, name, "filesystems", TABLE));
        }
        super::room("images", count, self.max, TABLE)?;
        self.may_grow(0, size, total)
    }

    /// Whether an image of `from` bytes may become one of `to` bytes, in a plugin whose images have `total` bytes together.
    ///
    /// # Errors
    /// When it may not.
    pub fn may_grow(&self, from: u64, to: u64, total: u64) -> Result<(), Refusal> {
        if to > self.max_size {
            let deed = format!("may not have an image of {}", show_size(to));
            return Err(limit(deed, "max-size", to));
        }
        let all = total.saturating_sub(from).saturating_add(to);
        if all > self.max_total && to > from {
            let deed = format!("may not have images of {} together", show_size(all));
            return Err(limit(deed, "max-total", all));
        }
        Ok(())
    }
}

fn limit(deed: String, key: &str, needed: u64) -> Refusal {
    if needed > MAX_SIZE {
        return Refusal::invalid(
            deed,
            format!("at most {} can be granted", show_size(MAX_SIZE)),
        );
    }
    let line = format!("{key} = {}", quoted(&show_size(needed.max(MIB))));
    Refusal::limit(deed, line, TABLE)
}
