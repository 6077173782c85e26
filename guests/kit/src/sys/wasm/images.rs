use super::refused;
use crate::{
    Result,
    bindings::imports::dockside::host::images as wit,
    images::{Attributes, Extent, Filesystem, ImageInfo},
};

pub(crate) use wit::Image;

fn filesystem(filesystem: Filesystem) -> wit::Filesystem {
    match filesystem {
        Filesystem::Ext4 => wit::Filesystem::Ext4,
        Filesystem::Xfs => wit::Filesystem::Xfs,
        Filesystem::Btrfs => wit::Filesystem::Btrfs,
    }
}

pub(crate) fn create_image(
    key: &str,
    size: u64,
    format: Filesystem,
    attributes: Attributes,
) -> Result<Image> {
    let Attributes { uid, gid, mode } = attributes;
    wit::create(key, size, filesystem(format), wit::Root { uid, gid, mode }).map_err(refused)
}

pub(crate) fn open_image(key: &str) -> Result<Image> {
    wit::open(key).map_err(refused)
}

pub(crate) fn clone_image(from: &str, key: &str) -> Result<Image> {
    wit::clone(from, key).map_err(refused)
}

pub(crate) fn restore_image(key: &str, from: &str) -> Result<()> {
    wit::restore(key, from).map_err(refused)
}

pub(crate) fn grow_image(key: &str, size: u64) -> Result<()> {
    wit::grow(key, size).map_err(refused)
}

pub(crate) fn delete_image(key: &str) -> Result<()> {
    wit::delete(key).map_err(refused)
}

pub(crate) fn receive_image(key: &str, size: u64, format: Filesystem) -> Result<Image> {
    wit::receive(key, size, filesystem(format)).map_err(refused)
}

pub(crate) fn write_image(key: &str, offset: u64, data: &[u8]) -> Result<()> {
    wit::write(key, offset, data).map_err(refused)
}

pub(crate) fn seal_image(key: &str) -> Result<()> {
    wit::seal(key).map_err(refused)
}

pub(crate) fn read_image(key: &str, offset: u64, length: u32) -> Result<Vec<u8>> {
    wit::read(key, offset, length).map_err(refused)
}

pub(crate) fn image_data(key: &str) -> Result<Vec<Extent>> {
    let extent = |wit::Extent { offset, length }| Extent { offset, length };
    let found = wit::data(key).map_err(refused)?;
    Ok(found.into_iter().map(extent).collect())
}

pub(crate) fn images() -> Vec<ImageInfo> {
    let info = |info: wit::ImageInfo| ImageInfo {
        key: info.key,
        size: info.size,
        allocated: info.allocated,
        filesystem: match info.filesystem {
            wit::Filesystem::Ext4 => Filesystem::Ext4,
            wit::Filesystem::Xfs => Filesystem::Xfs,
            wit::Filesystem::Btrfs => Filesystem::Btrfs,
        },
    };
    wit::list_images().into_iter().map(info).collect()
}
