//! Docker's `VolumeDriver`.
//! A whole driver, whose volumes are file systems in memory:
//!
//! ```
//! use dockside_driver::{
//!     Directory, Error, ErrorCode, KeyValues, Result, Table, Volume, VolumeInfo,
//!     mounts::{self, Flags, Tmpfs}, testing,
//! };
//!
//! struct Memory;
//!
//! /// Sizes in bytes.
//! static VOLUMES: Table<u64> = Table::new("volumes/");
//!
//! impl Volume for Memory {
//!     fn create(name: &str, options: &KeyValues) -> Result<()> {
//!         let size = options.parse("size")?.unwrap_or(64 << 20);
//!         match VOLUMES.get(name)? {
//!             Some(known) if known == size => Ok(()),
//!             Some(_) => Err(Error::already_exists(format!("volume {name:?} has another size"))),
//!             None => VOLUMES.put(name, &size),
//!         }
//!     }
//!     fn remove(name: &str) -> Result<()> {
//!         VOLUMES.remove(name)
//!     }
//!     fn mount(name: &str, _id: &str) -> Result<Directory> {
//!         let missing = || Error::not_found(format!("there is no volume {name:?}"));
//!         let size = VOLUMES.get(name)?.ok_or_else(missing)?;
//!         mounts::mount(name, Tmpfs::new(size), Flags::default())
//!     }
//!     fn unmount(name: &str, _id: &str) -> Result<()> {
//!         match mounts::unmount(name) {
//!             // The machine was started again in between.
//!             Err(error) if error.code() == ErrorCode::NotFound => Ok(()),
//!             unmounted => unmounted,
//!         }
//!     }
//!     fn get(name: &str) -> Result<VolumeInfo> {
//!         let missing = || Error::not_found(format!("there is no volume {name:?}"));
//!         let size = VOLUMES.get(name)?.ok_or_else(missing)?;
//!         let mut info = VolumeInfo::new(name).status("size", size);
//!         info.mountpoint = mounts::open(name).ok();
//!         Ok(info)
//!     }
//!     fn list() -> Result<Vec<VolumeInfo>> {
//!         VOLUMES.keys()?.iter().map(|name| Self::get(name)).collect()
//!     }
//! }
//!
//! dockside_driver::export!(Memory: volume);
//!
//! let small = KeyValues::new().with("size", 1 << 20);
//! testing::call(|| Memory::create("v", &small))?;
//! let place = testing::call(|| Memory::mount("v", "one"))?;
//! assert_eq!(testing::mounts()[0].1.source, "tmpfs 1048576");
//! assert_eq!(Memory::path("v")?.map(|path| path.key()), Some(place.key()));
//! # Ok::<(), Error>(())
//! ```

use crate::{Directory, KeyValues, Result, Scope};

/// What a volume driver says of itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// How far its volumes reach. Docker shows it and does nothing else with it.
    pub scope: Scope,
}

/// One volume.
#[derive(Debug, Default)]
pub struct VolumeInfo {
    /// The name it was created under, byte for byte.
    pub name: String,
    /// Where its files are, if that is known now. Docker shows it and does not use it.
    pub mountpoint: Option<Directory>,
    /// When it was made, in seconds since 1970. The host fills in its own record if there is none.
    pub created_at: Option<u64>,
    /// Anything that `docker volume inspect` should show.
    pub status: KeyValues,
}

impl VolumeInfo {
    /// A volume of which only the name is known.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            ..Self::default()
        }
    }

    /// The same with the place of its files.
    #[must_use]
    pub fn at(self, mountpoint: Directory) -> Self {
        Self {
            mountpoint: Some(mountpoint),
            ..self
        }
    }

    /// The same with the time when it was made, in seconds since 1970.
    #[must_use]
    pub fn created_at(self, seconds: u64) -> Self {
        Self {
            created_at: Some(seconds),
            ..self
        }
    }

    /// The same with one line of status more.
    #[must_use]
    pub fn status(mut self, name: impl Into<String>, value: impl std::fmt::Display) -> Self {
        self.status.insert(name, value);
        self
    }
}

/// A volume driver.
///
/// Docker calls `get` before almost everything and believes it: answer `not-found` only when the volume is known not to exist.
pub trait Volume {
    /// `VolumeDriver.Capabilities`. A constant: the host asks once, when it loads the component, without state, without configuration
    /// and without grants.
    fn capabilities() -> Capabilities {
        Capabilities::default()
    }

    /// `VolumeDriver.Create`. Creating a volume again with the same options succeeds and changes nothing.
    fn create(name: &str, options: &KeyValues) -> Result<()>;

    /// `VolumeDriver.Remove`. Removing a volume that does not exist succeeds.
    fn remove(name: &str) -> Result<()>;

    /// `VolumeDriver.Mount`. Makes the volume's files available for one use and returns where they are. `id` labels the use: it may
    /// come twice, and a use may end without an `unmount`.
    fn mount(name: &str, id: &str) -> Result<Directory>;

    /// `VolumeDriver.Unmount`. The use with this ID has ended. An ID that is not known is no error.
    fn unmount(name: &str, id: &str) -> Result<()> {
        let _ = (name, id);
        Ok(())
    }

    /// `VolumeDriver.Get`.
    fn get(name: &str) -> Result<VolumeInfo>;

    /// `VolumeDriver.List`.
    fn list() -> Result<Vec<VolumeInfo>>;

    /// `VolumeDriver.Path`: where the volume's files are, if that is known now.
    fn path(name: &str) -> Result<Option<Directory>> {
        Ok(Self::get(name)?.mountpoint)
    }
}

#[cfg(target_family = "wasm")]
mod export {
    use std::marker::PhantomData;

    use crate::{
        bindings::{
            imports::dockside::{driver::types, host::directories},
            volume::exports::dockside::driver::volume as wit,
        },
        convert::{Pairs, pairs, to_error, to_scope},
    };

    #[doc(hidden)]
    pub struct Export<T>(PhantomData<T>);

    fn info(info: super::VolumeInfo) -> wit::VolumeInfo {
        wit::VolumeInfo {
            name: info.name,
            mountpoint: info.mountpoint.map(|directory| directory.0),
            created_at: info.created_at,
            status: pairs(info.status),
        }
    }

    impl<T: super::Volume> wit::Guest for Export<T> {
        fn capabilities() -> wit::VolumeCapabilities {
            wit::VolumeCapabilities {
                scope: to_scope(T::capabilities().scope),
            }
        }

        fn create(name: String, options: Pairs) -> Result<(), types::Error> {
            T::create(&name, &options.into_iter().collect()).map_err(to_error)
        }

        fn remove(name: String) -> Result<(), types::Error> {
            T::remove(&name).map_err(to_error)
        }

        fn mount(name: String, id: String) -> Result<directories::Directory, types::Error> {
            T::mount(&name, &id)
                .map(|directory| directory.0)
                .map_err(to_error)
        }

        fn unmount(name: String, id: String) -> Result<(), types::Error> {
            T::unmount(&name, &id).map_err(to_error)
        }

        fn get(name: String) -> Result<wit::VolumeInfo, types::Error> {
            T::get(&name).map(info).map_err(to_error)
        }

        fn list() -> Result<Vec<wit::VolumeInfo>, types::Error> {
            T::list()
                .map(|all| all.into_iter().map(info).collect())
                .map_err(to_error)
        }

        fn path(name: String) -> Result<Option<directories::Directory>, types::Error> {
            T::path(&name)
                .map(|found| found.map(|directory| directory.0))
                .map_err(to_error)
        }
    }
}

#[cfg(target_family = "wasm")]
#[doc(hidden)]
pub use export::Export;
