use super::{Machine, memory, refuse};
use crate::{
    Refusal, Result,
    images::{Attributes, Filesystem, ImageInfo},
    testing,
};

/// The real host's blocks, in bytes.
const BLOCK: u64 = 4096;

/// The least size of a file system, in bytes.
fn least(filesystem: Filesystem) -> u64 {
    match filesystem {
        Filesystem::Ext4 => 8 << 20,
        Filesystem::Xfs => 300 << 20,
        Filesystem::Btrfs => 109 << 20,
    }
}

fn check(size: u64, filesystem: Filesystem) -> Result<()> {
    let least = least(filesystem);
    if size < least {
        let text = format!("{size} bytes are too few for {filesystem}: it needs {least}");
        return refuse(Refusal::Invalid, text);
    }
    if !size.is_multiple_of(BLOCK) {
        let text = format!("the size of an image must be a multiple of {BLOCK} bytes, not {size}");
        return refuse(Refusal::Invalid, text);
    }
    Ok(())
}

#[derive(Debug)]
pub(crate) struct Image(String);

impl Image {
    pub(crate) fn key(&self) -> String {
        self.0.clone()
    }
}

impl Machine {
    pub(super) fn image(&mut self, key: &str) -> Result<&mut testing::Image> {
        match self.images.get_mut(key) {
            Some(image) => Ok(image),
            None => refuse(Refusal::NotFound, format!("there is no image for {key:?}")),
        }
    }

    /// An image that is not mounted.
    pub(super) fn free_image(&mut self, key: &str) -> Result<&mut testing::Image> {
        let mounted = |mount: &testing::Mount| mount.image.as_deref() == Some(key);
        if self.mounts.values().any(mounted) {
            return refuse(Refusal::InUse, format!("the image {key:?} is mounted"));
        }
        self.image(key)
    }

    fn add_image(&mut self, key: &str, image: testing::Image) -> Result<Image> {
        if self.images.contains_key(key) {
            return refuse(
                Refusal::AlreadyExists,
                format!("there is an image for {key:?} already"),
            );
        }
        self.images.insert(key.to_owned(), image);
        Ok(Image(key.to_owned()))
    }
}

pub(crate) fn create_image(
    key: &str,
    size: u64,
    filesystem: Filesystem,
    attributes: Attributes,
) -> Result<Image> {
    check(size, filesystem)?;
    memory(|memory| {
        let content = memory.next();
        let image = testing::Image {
            size,
            filesystem,
            attributes,
            content,
        };
        memory.machine.add_image(key, image)
    })
}

pub(crate) fn open_image(key: &str) -> Result<Image> {
    memory(|memory| memory.machine.image(key).map(|_| Image(key.to_owned())))
}

pub(crate) fn clone_image(from: &str, key: &str) -> Result<Image> {
    memory(|memory| {
        let copy = memory.machine.image(from)?.clone();
        memory.machine.add_image(key, copy)
    })
}

pub(crate) fn restore_image(key: &str, from: &str) -> Result<()> {
    memory(|memory| {
        let copy = memory.machine.image(from)?.clone();
        *memory.machine.free_image(key)? = copy;
        Ok(())
    })
}

pub(crate) fn grow_image(key: &str, size: u64) -> Result<()> {
    memory(|memory| {
        let image = memory.machine.image(key)?;
        if size < image.size {
            return refuse(
                Refusal::Invalid,
                format!(
                    "the image {key:?} has {} bytes already and never shrinks",
                    image.size
                ),
            );
        }
        check(size, image.filesystem)?;
        image.size = size;
        Ok(())
    })
}

pub(crate) fn delete_image(key: &str) -> Result<()> {
    memory(|memory| {
        memory.machine.free_image(key)?;
        memory.machine.images.remove(key);
        Ok(())
    })
}

pub(crate) fn images() -> Vec<ImageInfo> {
    memory(|memory| {
        let info = |(key, image): (&String, &testing::Image)| ImageInfo {
            key: key.clone(),
            size: image.size,
            allocated: 0,
            filesystem: image.filesystem,
        };
        memory.machine.images.iter().map(info).collect()
    })
}
