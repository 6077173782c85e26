use std::collections::BTreeMap;

use super::{Machine, faults, memory, refuse};
use crate::{
    Refusal, Result,
    images::{Attributes, Extent, Filesystem, ImageInfo},
    testing,
};

/// The real host's blocks, in bytes.
const BLOCK: u64 = 4096;

/// The same.
const BLOCK_BYTES: usize = 4096;

/// The most that is read or written at once, in bytes, by the contract.
const MOST: usize = 16 << 20;

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
        faults::infallible("Image::key", || self.0.clone())
    }

    /// The key, without asking the host.
    pub(super) fn known(&self) -> &str {
        &self.0
    }
}

impl testing::Image {
    /// Writes data, block by block.
    pub(crate) fn write(&mut self, offset: u64, data: &[u8]) {
        for (position, byte) in (offset..).zip(data) {
            let block = self
                .data
                .entry(position / BLOCK)
                .or_insert_with(|| vec![0; BLOCK_BYTES]);
            let place = usize::try_from(position % BLOCK).unwrap_or_default();
            if let Some(place) = block.get_mut(place) {
                *place = *byte;
            }
        }
    }

    fn read(&self, offset: u64, length: u64) -> Vec<u8> {
        let end = offset.saturating_add(length).min(self.size);
        if end <= offset {
            return Vec::new();
        }
        let mut data = vec![0; usize::try_from(end - offset).unwrap_or_default()];
        for (block, bytes) in self.data.range(offset / BLOCK..end.div_ceil(BLOCK)) {
            for (position, byte) in (block * BLOCK..).zip(bytes) {
                let place = position.checked_sub(offset).map(usize::try_from);
                if let Some(Ok(place)) = place
                    && let Some(place) = data.get_mut(place)
                {
                    *place = *byte;
                }
            }
        }
        data
    }
}

impl Machine {
    /// An image that is being received.
    fn received_image(&mut self, key: &str) -> Result<&mut testing::Image> {
        match self.images.get_mut(key) {
            Some(image) if image.blank => Ok(image),
            Some(_) => refuse(
                Refusal::Invalid,
                format!("the image {key:?} is no image that is being received"),
            ),
            None => refuse(Refusal::NotFound, format!("there is no image for {key:?}")),
        }
    }

    pub(super) fn image(&mut self, key: &str) -> Result<&mut testing::Image> {
        match self.images.get_mut(key) {
            Some(image) if image.blank => refuse(
                Refusal::Invalid,
                format!("the image {key:?} is being received: seal it first"),
            ),
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
        let mut image = testing::Image {
            size,
            filesystem,
            attributes,
            content,
            data: BTreeMap::new(),
            blank: false,
        };
        image.write(0, &content.to_le_bytes());
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
        // One that is being received can go as well.
        if memory.machine.received_image(key).is_err() {
            memory.machine.free_image(key)?;
        }
        memory.machine.images.remove(key);
        Ok(())
    })
}

pub(crate) fn receive_image(key: &str, size: u64, filesystem: Filesystem) -> Result<Image> {
    check(size, filesystem)?;
    memory(|memory| {
        let image = testing::Image {
            size,
            filesystem,
            attributes: Attributes::default(),
            content: 0,
            data: BTreeMap::new(),
            blank: true,
        };
        memory.machine.add_image(key, image)
    })
}

pub(crate) fn write_image(key: &str, offset: u64, data: &[u8]) -> Result<()> {
    memory(|memory| {
        let image = memory.machine.received_image(key)?;
        let end = offset.checked_add(data.len() as u64);
        if data.len() > MOST || end.is_none_or(|end| end > image.size) {
            return refuse(
                Refusal::Invalid,
                format!("{} bytes at {offset} are not within the image", data.len()),
            );
        }
        image.write(offset, data);
        Ok(())
    })
}

pub(crate) fn seal_image(key: &str) -> Result<()> {
    memory(|memory| {
        let image = memory.machine.received_image(key)?;
        let number = image.read(0, 8).try_into().map_or(0, u64::from_le_bytes);
        if number == 0 {
            return refuse(
                Refusal::Invalid,
                format!("there is no {} in what was written", image.filesystem),
            );
        }
        (image.content, image.blank) = (number, false);
        Ok(())
    })
}

pub(crate) fn read_image(key: &str, offset: u64, length: u32) -> Result<Vec<u8>> {
    memory(|memory| {
        let image = memory.machine.image(key)?;
        if length as usize > MOST {
            return refuse(
                Refusal::Invalid,
                format!("at most {MOST} bytes of an image can be carried at once"),
            );
        }
        Ok(image.read(offset, u64::from(length)))
    })
}

pub(crate) fn image_data(key: &str) -> Result<Vec<Extent>> {
    memory(|memory| {
        let mut extents: Vec<Extent> = Vec::new();
        for block in memory.machine.image(key)?.data.keys() {
            let offset = block * BLOCK;
            match extents.last_mut() {
                Some(last) if last.offset + last.length == offset => last.length += BLOCK,
                _ => extents.push(Extent {
                    offset,
                    length: BLOCK,
                }),
            }
        }
        Ok(extents)
    })
}

pub(crate) fn images() -> Vec<ImageInfo> {
    memory(|memory| {
        let info = |(key, image): (&String, &testing::Image)| ImageInfo {
            key: key.clone(),
            size: image.size,
            allocated: image.data.len() as u64 * BLOCK,
            filesystem: image.filesystem,
        };
        memory.machine.images.iter().map(info).collect()
    })
}
