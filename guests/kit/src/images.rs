//! Disk images: file systems in files of a fixed size (`dockside:host/images`). Needs the grant `images`.
//!
//! ```
//! use dockside_driver::{images::{self, Attributes, Filesystem}, mounts::{self, Flags}};
//!
//! let image = images::create("data", 1 << 30, Filesystem::Ext4, Attributes::default())?;
//! let place = mounts::mount("data", &image, Flags::default())?;
//! images::clone("data", "yesterday")?;
//! images::grow("data", 2 << 30)?;
//! # Ok::<(), dockside_driver::Error>(())
//! ```
//!
//! What a call makes is gone again if the call fails. What it deletes, grows or restores changes once the call has succeeded.

use std::{fmt, str::FromStr};

use crate::{Error, Result, sys};

/// Owner and mode of the root of a new file system.
pub use crate::directories::Attributes;

/// An image that the host made for this plugin. Where it is only the host knows.
#[derive(Debug)]
pub struct Image(pub(crate) sys::Image);

impl Image {
    /// The key that it was made under.
    pub fn key(&self) -> String {
        self.0.key()
    }
}

/// A file system that the host can make. As text: `ext4`, `xfs`, `btrfs`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Filesystem {
    /// ext4. At least 8 MiB.
    #[default]
    Ext4,
    /// XFS. At least 300 MiB.
    Xfs,
    /// Btrfs. At least 109 MiB.
    Btrfs,
}

impl fmt::Display for Filesystem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ext4 => "ext4",
            Self::Xfs => "xfs",
            Self::Btrfs => "btrfs",
        })
    }
}

impl FromStr for Filesystem {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "ext4" => Ok(Self::Ext4),
            "xfs" => Ok(Self::Xfs),
            "btrfs" => Ok(Self::Btrfs),
            _ => Err(Error::invalid(format!(
                "{text:?} is no file system for images: say ext4, xfs or btrfs"
            ))),
        }
    }
}

/// What the host knows of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageInfo {
    /// The key that it was made under.
    pub key: String,
    /// Its size in bytes.
    pub size: u64,
    /// What it takes on the disk now, in bytes.
    pub allocated: u64,
    /// Its file system.
    pub filesystem: Filesystem,
}

/// A part of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Where it begins, in bytes.
    pub offset: u64,
    /// How long it is, in bytes.
    pub length: u64,
}

/// Makes an image of this many bytes, a multiple of 4096, with an empty file system. There must be none of that key. It takes no more of the
/// disk than is written to it.
pub fn create(
    key: &str,
    size: u64,
    filesystem: Filesystem,
    attributes: Attributes,
) -> Result<Image> {
    sys::create_image(key, size, filesystem, attributes).map(Image)
}

/// Finds an image. There must be one of that key: the error is `not-found` otherwise.
pub fn open(key: &str) -> Result<Image> {
    sys::open_image(key).map(Image)
}

/// Makes the image `key` as a copy of another as it is at this instant, mounted or not. It costs no space where the machine's file system can
/// share blocks.
pub fn clone(from: &str, key: &str) -> Result<Image> {
    sys::clone_image(from, key).map(Image)
}

/// Gives the image `key` the content of another, once the call has succeeded. Refused while it is mounted.
pub fn restore(key: &str, from: &str) -> Result<()> {
    sys::restore_image(key, from)
}

/// Makes an image larger, mounted or not, once the call has succeeded. It never shrinks.
pub fn grow(key: &str, size: u64) -> Result<()> {
    sys::grow_image(key, size)
}

/// Deletes an image, once the call has succeeded. Refused while it is mounted.
pub fn delete(key: &str) -> Result<()> {
    sys::delete_image(key)
}

/// Makes an image with nothing in it, for [`write`] to fill with what [`read`] gave of another of this size and file system. Nothing but
/// [`seal`] and [`delete`] can be done to it until it is sealed, in the same call.
pub fn receive(key: &str, size: u64, filesystem: Filesystem) -> Result<Image> {
    sys::receive_image(key, size, filesystem).map(Image)
}

/// Writes into an image that this call has made with [`receive`] and not sealed yet. At most 16 MiB at once. What is not written is zeros.
pub fn write(key: &str, offset: u64, data: &[u8]) -> Result<()> {
    sys::write_image(key, offset, data)
}

/// Makes an image of what was received: replays its journal and gives it an identity of its own.
pub fn seal(key: &str) -> Result<()> {
    sys::seal_image(key)
}

/// Reads at most 16 MiB of an image; less at its end. That of a mounted one changes while it is read: read a clone.
pub fn read(key: &str, offset: u64, length: u32) -> Result<Vec<u8>> {
    sys::read_image(key, offset, length)
}

/// The parts of an image that have something in them, in order and apart from each other. All else is zeros. At most 65,536 parts: small gaps count
/// as something.
pub fn data(key: &str) -> Result<Vec<Extent>> {
    sys::image_data(key)
}

/// All images of this plugin, sorted by key.
pub fn list() -> Result<Vec<ImageInfo>> {
    Ok(sys::images())
}
