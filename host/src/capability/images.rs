//! `dockside:host/images`.

use std::sync::Arc;

use serde_json::{Value, json};
use wasmtime::component::Resource;

use super::held::{Answer, answered, error};
use crate::config;
use crate::ledger::{self, Effect, Kind};
use crate::machine::images::{self as machine, Growth, Image, Owner};
use crate::sandbox::CallContext;
use crate::sandbox::bindings::effects::images::{
    Extent, Filesystem, Host, HostImage, ImageInfo, Root,
};
use crate::sandbox::bindings::machine::{Error, ErrorCode};
use crate::store::ObjectRecord;
use crate::trace::Handle;

/// A disk image that the host made for the plugin that is called.
#[derive(Debug)]
pub struct ImageHandle {
    key: String,
}

impl Handle for ImageHandle {
    fn show(&self) -> Value {
        json!({ "key": self.key })
    }

    fn restore(value: &Value) -> Option<ImageHandle> {
        let key = value.get("key")?.as_str()?.to_owned();
        Some(ImageHandle { key })
    }
}

/// What an image begins as.
enum Begin {
    /// An empty file system.
    New(Owner),
    /// The same as another.
    Copy(Image),
    /// Nothing at all.
    Blank,
}

impl Host for CallContext {
    async fn create(
        &mut self,
        key: String,
        size: u64,
        filesystem: Filesystem,
        root: Root,
    ) -> wasmtime::Result<Answer<Resource<ImageHandle>>> {
        let filesystem = from_wit(filesystem);
        let usual = Owner::default();
        let owner = Owner {
            uid: root.uid.unwrap_or(usual.uid),
            gid: root.gid.unwrap_or(usual.gid),
            mode: root.mode.unwrap_or(usual.mode),
        };
        let made = self
            .make_image(&key, size, filesystem, Begin::New(owner))
            .await;
        answered(self.hand_out_image(key, made)?)
    }

    async fn open(&mut self, key: String) -> wasmtime::Result<Answer<Resource<ImageHandle>>> {
        let found = self.held(Kind::Image, &key).map(drop);
        answered(self.hand_out_image(key, found)?)
    }

    async fn clone(
        &mut self,
        from: String,
        key: String,
    ) -> wasmtime::Result<Answer<Resource<ImageHandle>>> {
        let made = async {
            let source = self.image(&from)?;
            let (size, filesystem) = (source.size, source.filesystem);
            self.make_image(&key, size, filesystem, Begin::Copy(source))
                .await
        }
        .await;
        answered(self.hand_out_image(key, made)?)
    }

    async fn restore(&mut self, key: String, from: String) -> wasmtime::Result<Answer<()>> {
        let restored = async {
            let (object, _) = self.held(Kind::Image, &key)?;
            let before = self.image(&key)?;
            self.not_mounted(&key, &before)?;
            let source = self.image(&from)?;
            if source.size > before.size {
                let (total, _) = self.images_held()?;
                self.granted(|grants| grants.images()?.may_grow(before.size, source.size, total))?;
            }
            let id = ledger::mint();
            let plugin = self.environment.plugin.clone();
            let image = Image {
                file: self.effects.ledger()?.image_file(&plugin, &id),
                id: id.clone(),
                size: source.size,
                filesystem: source.filesystem,
                from: Some(source.file),
                blank: false,
                owner: source.owner,
            };
            let effect = Effect::Image(image);
            self.alter(effect.clone()).await?;
            let mut object = ObjectRecord::clone(&object);
            self.behind(object.record.clone(), false)?;
            object.id = id;
            self.rewrite(&object, &effect)
        };
        let restored = restored.await;
        answered(restored)
    }

    async fn grow(&mut self, key: String, size: u64) -> wasmtime::Result<Answer<()>> {
        answered(self.grow_image(&key, size).await)
    }

    async fn delete(&mut self, key: String) -> wasmtime::Result<Answer<()>> {
        let deleted = match self.held(Kind::Image, &key) {
            Ok((_, Effect::Image(image))) => self
                .not_mounted(&key, &image)
                .and_then(|()| self.end(Kind::Image, &key)),
            Ok(_) => Err(damaged()),
            Err(error) => Err(error),
        };
        answered(deleted)
    }

    async fn receive(
        &mut self,
        key: String,
        size: u64,
        filesystem: Filesystem,
    ) -> wasmtime::Result<Answer<Resource<ImageHandle>>> {
        let filesystem = from_wit(filesystem);
        let made = self.make_image(&key, size, filesystem, Begin::Blank).await;
        answered(self.hand_out_image(key, made)?)
    }

    async fn write(
        &mut self,
        key: String,
        offset: u64,
        data: Vec<u8>,
    ) -> wasmtime::Result<Answer<()>> {
        let written = async {
            let image = self.received(&key)?;
            Ok(ledger::blocking(move || machine::write(&image, offset, &data)).await?)
        };
        let written = written.await;
        answered(written)
    }

    async fn seal(&mut self, key: String) -> wasmtime::Result<Answer<()>> {
        let sealed = async {
            let mut image = self.received(&key)?;
            let (sealing, deadline) = (image.clone(), self.deadline);
            ledger::blocking(move || machine::seal(&sealing, deadline)).await?;
            image.blank = false;
            let (object, _) = self.held(Kind::Image, &key)?;
            self.rewrite(&object, &Effect::Image(image))
        };
        let sealed = sealed.await;
        answered(sealed)
    }

    async fn read(
        &mut self,
        key: String,
        offset: u64,
        length: u32,
    ) -> wasmtime::Result<Answer<Vec<u8>>> {
        let read = async {
            let file = self.image(&key)?.file;
            let length = usize::try_from(length).unwrap_or(usize::MAX);
            Ok(ledger::blocking(move || machine::read(&file, offset, length)).await?)
        };
        let read = read.await;
        answered(read)
    }

    async fn data(&mut self, key: String) -> wasmtime::Result<Answer<Vec<Extent>>> {
        let found = async {
            let file = self.image(&key)?.file;
            let found = ledger::blocking(move || machine::data(&file)).await?;
            let extent = |extent: machine::Extent| Extent {
                offset: extent.offset,
                length: extent.length,
            };
            Ok(found.into_iter().map(extent).collect())
        };
        let found = found.await;
        answered(found)
    }

    async fn list_images(&mut self) -> wasmtime::Result<Vec<ImageInfo>> {
        let mut list = Vec::new();
        for (key, object) in self.all(Kind::Image).unwrap_or_default() {
            let Ok(Effect::Image(image)) = ledger::decode(&object.record) else {
                continue;
            };
            let file = image.file.clone();
            let usage = ledger::blocking(move || machine::usage(&file)).await;
            list.push(ImageInfo {
                key,
                size: image.size,
                allocated: usage.map_or(0, |usage| usage.allocated),
                filesystem: to_wit(image.filesystem),
            });
        }
        answered(list)
    }
}

impl HostImage for CallContext {
    async fn key(&mut self, image: Resource<ImageHandle>) -> wasmtime::Result<String> {
        Ok(self.table.get(&image)?.key.clone())
    }

    async fn drop(&mut self, image: Resource<ImageHandle>) -> wasmtime::Result<()> {
        self.table.delete(image)?;
        Ok(())
    }
}

impl CallContext {
    async fn make_image(
        &mut self,
        key: &str,
        size: u64,
        filesystem: machine::Filesystem,
        begin: Begin,
    ) -> Answer<()> {
        self.free(Kind::Image, key)?;
        let size = machine::whole(size);
        let (total, count) = self.images_held()?;
        self.granted(|grants| {
            grants
                .images()?
                .may_create(size, total, count, grant_of(filesystem))
        })?;
        let id = ledger::mint();
        let plugin = self.environment.plugin.clone();
        let image = Image {
            file: self.effects.ledger()?.image_file(&plugin, &id),
            id: id.clone(),
            size,
            filesystem,
            blank: matches!(begin, Begin::Blank),
            owner: match begin {
                Begin::New(owner) => owner,
                Begin::Copy(_) | Begin::Blank => Owner::default(),
            },
            from: match begin {
                Begin::Copy(source) => Some(source.file),
                Begin::New(_) | Begin::Blank => None,
            },
        };
        self.hold(Kind::Image, key, &id, Effect::Image(image)).await
    }

    async fn grow_image(&mut self, key: &str, size: u64) -> Answer<()> {
        let (object, _) = self.held(Kind::Image, key)?;
        let mut image = self.image(key)?;
        let size = machine::whole(size);
        if size < image.size {
            return Err(error(
                ErrorCode::Invalid,
                format!(
                    "the image {key:?} has {} bytes and cannot shrink",
                    image.size
                ),
            ));
        }
        if size == image.size {
            return Ok(());
        }
        let (total, _) = self.images_held()?;
        self.granted(|grants| grants.images()?.may_grow(image.size, size, total))?;
        let growth = Growth {
            file: image.file.clone(),
            filesystem: image.filesystem,
            from: image.size,
            to: size,
        };
        let check = growth.clone();
        ledger::blocking(move || machine::can_grow(&check)).await?;
        image.size = size;
        self.rewrite(&object, &Effect::Image(image))?;
        let record = ledger::encode(&Effect::Grow(growth))?;
        self.behind(record, true)
    }

    /// An image that is being received by this call.
    fn received(&mut self, key: &str) -> Answer<Image> {
        let wrong = |text| error(ErrorCode::Invalid, format!("the image {key:?} {text}"));
        match self.held(Kind::Image, key)? {
            (_, Effect::Image(image)) if !image.blank => {
                Err(wrong("is no image that is being received"))
            }
            (_, Effect::Image(_)) if !self.has_made(Kind::Image, key)? => {
                Err(wrong("was begun by another call: delete it"))
            }
            (_, Effect::Image(image)) => Ok(image),
            _ => Err(damaged()),
        }
    }

    /// An image with a file system in it.
    pub(super) fn image(&mut self, key: &str) -> Answer<Image> {
        match self.held(Kind::Image, key)? {
            (_, Effect::Image(image)) if image.blank => Err(error(
                ErrorCode::Invalid,
                format!("the image {key:?} is being received: seal it first"),
            )),
            (_, Effect::Image(image)) => Ok(image),
            _ => Err(damaged()),
        }
    }

    /// Bytes and number of all images. The call loses against others only if they exceed the grant together: a copy can take long.
    fn images_held(&mut self) -> Answer<(u64, u64)> {
        let (most, total) =
            self.granted(|grants| grants.images().map(|images| (images.max, images.max_total)))?;
        let prefix = Kind::Image.name("");
        let records = self.records()?;
        records.limit_objects(&prefix, u64::from(most));
        records.limit_weight(&prefix, size_of, total);
        let all = records.peek_objects(&prefix);
        let sum = |sum: u64, object: &Arc<ObjectRecord>| sum.saturating_add(size_of(object));
        Ok((all.iter().fold(0, sum), all.len() as u64))
    }

    fn not_mounted(&mut self, key: &str, image: &Image) -> Answer<()> {
        let shown = match self.has_made(Kind::Image, key)? {
            true => self.shown_by_own(&image.file)?,
            false => self.shown_by(&image.file)?,
        };
        match shown {
            None => Ok(()),
            Some(by) => Err(error(
                ErrorCode::InUse,
                format!("the image {key:?} is mounted as {by:?}"),
            )),
        }
    }

    pub(super) fn image_key(&self, image: &Resource<ImageHandle>) -> Answer<String> {
        self.table
            .get(image)
            .map(|image| image.key.clone())
            .map_err(|reason| error(ErrorCode::Invalid, reason.to_string()))
    }

    fn hand_out_image(
        &mut self,
        key: String,
        made: Answer<()>,
    ) -> wasmtime::Result<Answer<Resource<ImageHandle>>> {
        match made {
            Ok(()) => Ok(Ok(self.table.push(ImageHandle { key })?)),
            Err(error) => Ok(Err(error)),
        }
    }
}

fn damaged() -> Error {
    error(ErrorCode::Other, "the record of the image is damaged")
}

/// The bytes of a recorded image.
fn size_of(object: &ObjectRecord) -> u64 {
    match ledger::decode(&object.record) {
        Ok(Effect::Image(image)) => image.size,
        _ => 0,
    }
}

fn from_wit(filesystem: Filesystem) -> machine::Filesystem {
    match filesystem {
        Filesystem::Ext4 => machine::Filesystem::Ext4,
        Filesystem::Xfs => machine::Filesystem::Xfs,
        Filesystem::Btrfs => machine::Filesystem::Btrfs,
    }
}

fn to_wit(filesystem: machine::Filesystem) -> Filesystem {
    match filesystem {
        machine::Filesystem::Ext4 => Filesystem::Ext4,
        machine::Filesystem::Xfs => Filesystem::Xfs,
        machine::Filesystem::Btrfs => Filesystem::Btrfs,
    }
}

fn grant_of(filesystem: machine::Filesystem) -> config::Filesystem {
    match filesystem {
        machine::Filesystem::Ext4 => config::Filesystem::Ext4,
        machine::Filesystem::Xfs => config::Filesystem::Xfs,
        machine::Filesystem::Btrfs => config::Filesystem::Btrfs,
    }
}
