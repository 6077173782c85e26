use super::{Machine, faults, memory};
use crate::{
    directories::{Attributes, Reason},
    testing,
};

/// What a handle of a directory stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Directory {
    /// A directory of the plugin's own.
    Own(String),
    /// The mount point of a mount.
    Mount(String),
}

impl Directory {
    pub(crate) fn key(&self) -> String {
        faults::infallible("Directory::key", || self.known().to_owned())
    }

    /// The key, without asking the host.
    pub(crate) fn known(&self) -> &str {
        let (Self::Own(key) | Self::Mount(key)) = self;
        key
    }
}

pub(crate) fn create_directory(key: &str, attributes: Attributes) -> Result<Directory, Reason> {
    memory(|memory| {
        if memory.machine.directories.contains_key(key) {
            return Err(Reason::AlreadyExists);
        }
        let born = memory.next();
        let machine = &mut memory.machine;
        machine.directories.insert(key.to_owned(), attributes);
        machine.born.insert(key.to_owned(), born);
        Ok(Directory::Own(key.to_owned()))
    })
}

pub(crate) fn open_directory(key: &str) -> Result<Directory, Reason> {
    memory(|memory| {
        let found = memory.machine.directories.contains_key(key);
        found
            .then(|| Directory::Own(key.to_owned()))
            .ok_or(Reason::NotFound)
    })
}

pub(crate) fn remove_directory(key: &str) -> Result<(), Reason> {
    memory(|memory| {
        let this = Directory::Own(key.to_owned());
        let uses = |mount: &testing::Mount| mount.directories.contains(&this);
        if memory.machine.mounts.values().any(uses) {
            return Err(Reason::InUse);
        }
        let removed = memory.machine.directories.remove(key);
        memory.machine.born.remove(key);
        removed.map(drop).ok_or(Reason::NotFound)
    })
}

pub(crate) fn directory_keys() -> Vec<String> {
    memory(|memory| memory.machine.directories.keys().cloned().collect())
}

impl Machine {
    /// What stands for the files in a directory: a number of its own for a directory and for an image, and what is mounted for anything
    /// else. None if nothing is there.
    #[cfg_attr(not(feature = "model"), allow(dead_code))]
    pub(crate) fn files(&self, directory: &Directory) -> Option<String> {
        let key = match directory {
            Directory::Own(key) => {
                return self.born.get(key).map(|born| format!("directory #{born}"));
            }
            Directory::Mount(key) => key,
        };
        let mount = self.mounts.get(key)?;
        if let Some(image) = &mount.image {
            let image = self.images.get(image)?;
            return Some(format!("image #{}", image.content));
        }
        match mount.directories.as_slice() {
            [] => Some(mount.source.clone()),
            all => all.iter().map(|layer| self.files(layer)).collect(),
        }
    }
}
