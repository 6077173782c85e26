//! Write a Docker plugin driver for dockside in Rust.
//!
//! A driver is a type without data that implements one trait for each kind of plugin that it is: [`Volume`], [`Network`],
//! [`Ipam`], [`Authz`]. The methods have Docker's names. [`export!`] makes a component of it:
//!
//! ```
//! use dockside_driver::{Directory, Error, KeyValues, Result, Volume, VolumeInfo, directories};
//!
//! struct Plain;
//!
//! impl Volume for Plain {
//!     fn create(name: &str, _options: &KeyValues) -> Result<()> {
//!         directories::create(name, directories::Attributes::default()).map(drop)
//!     }
//!     fn remove(name: &str) -> Result<()> {
//!         directories::remove(name)
//!     }
//!     fn mount(name: &str, _id: &str) -> Result<Directory> {
//!         directories::open(name)
//!     }
//!     fn get(name: &str) -> Result<VolumeInfo> {
//!         Ok(VolumeInfo::new(name).at(directories::open(name)?))
//!     }
//!     fn list() -> Result<Vec<VolumeInfo>> {
//!         directories::keys()?.iter().map(|name| Self::get(name)).collect()
//!     }
//! }
//!
//! dockside_driver::export!(Plain: volume);
//! ```
//!
//! Every call runs in an instance of its own, so a `static` is empty each time: what has to last goes into [`state`]. Every call
//! is also one transaction: when the method returns an error, panics or runs out of time, nothing that it wrote remains. So a
//! driver needs no clean-up code and no locks.
//!
//! That holds for the machine too: [`directories`], [`mounts`], [`images`], [`links`] and [`nat`] make things by keys that the driver
//! chooses, and what a failed call made is gone. What is done to other machines, by [`http`], the host cannot take back: [`outbox`] is for
//! that. [`blobs`] are kept elsewhere. [`secrets`] are names for what the driver need not see, and [`files`] are what the operator lets it
//! read. The component imports what the driver uses of all this, and the operator
//! grants it.
//!
//! Beside the kinds there is what a driver wants to be told: [`Lifecycle`], [`Timers`], [`Reconcile`], [`Settlement`]; [`Options`], the
//! options that its users can give; and [`Admin`], what an operator can ask of it.
//!
//! # Where to look
//!
//! | for | see |
//! | --- | --- |
//! | a whole driver of each kind | [`volume`], [`network`], [`ipam`], [`authz`] |
//! | what has to last | [`state`], [`Table`] |
//! | what is made on the machine | [`directories`], [`mounts`], [`images`], [`links`], [`nat`] |
//! | other machines | [`http`], [`outbox`], [`settlement`], [`blobs`] |
//! | what the operator gives | [`config`], [`secrets`], [`files`], [`options`] |
//! | work between calls, and on demand | [`timers`], [`lifecycle`], [`reconcile`], [`admin`] |
//! | what the user is told | [`Error`], [`machine`], [`mod@log`] |
//!
//! # Test it
//!
//! A driver compiled for the machine itself, as `cargo test` does it, finds a host in memory instead: see [`testing`]. There host calls can be made
//! to fail, one after the other ([`testing::each_fault`]), and with the feature `model` a driver is asked everything that Docker may ask, in any
//! order (`testing::model`).
//!
//! # Versions
//!
//! The first two numbers of the crate's version are those of the contract that it is for: 0.1.x is for the packages `dockside:driver` and
//! `dockside:host` in version [`CONTRACT`]. An author can rely on this:
//!
//! - A component made with any 0.1.x runs on every dockside that has this contract. It carries what it needs of the contract in itself, so that
//!   nothing has to be rebuilt when dockside is replaced.
//! - A change of the contract that a component can notice gets another number, in the middle until there is a 1.0.
//! - Within 0.1.x the crate only gains; a driver that compiles goes on compiling. What is hidden in this documentation is not for drivers.
//!
//! The crate inherits nothing and asks for nothing around it: a copy of its folder, with the contract as the folder `wit` in it, can lie in any
//! project and be depended on by its path.

#[doc(hidden)]
pub mod bindings;
#[cfg_attr(not(target_family = "wasm"), allow(dead_code))]
mod convert;
mod error;
mod mac;
mod sys;
mod transport;
mod values;

pub mod admin;
pub mod authz;
pub mod blobs;
pub mod config;
pub mod directories;
pub mod files;
pub mod http;
pub mod images;
pub mod ipam;
pub mod lifecycle;
pub mod links;
pub mod log;
pub mod machine;
pub mod mounts;
pub mod nat;
pub mod network;
pub mod options;
pub mod outbox;
pub mod random;
pub mod reconcile;
pub mod secrets;
pub mod settlement;
pub mod state;
#[cfg(not(target_family = "wasm"))]
pub mod testing;
pub mod time;
pub mod timers;
pub mod volume;

pub use admin::Admin;
pub use authz::Authz;
pub use directories::Directory;
pub use error::{Error, ErrorCode, Result};
pub use images::Image;
pub use ipam::Ipam;
pub use ipnet::{self, IpNet, Ipv4Net, Ipv6Net};
pub use lifecycle::{Lifecycle, StartReason};
pub use links::Link;
pub use mac::MacAddr;
pub use machine::Refusal;
pub use network::Network;
pub use options::Options;
pub use reconcile::Reconcile;
pub use secrets::Secret;
pub use serde;
pub use serde_json;
pub use settlement::Settlement;
pub use state::Table;
pub use timers::Timers;
pub use transport::Transport;
pub use values::KeyValues;
pub use volume::{Volume, VolumeInfo};

/// The version of the contract (`dockside:driver` and `dockside:host`) that components made with this crate are for.
pub const CONTRACT: &str = "0.1.0";

/// How far a volume or a network reaches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scope {
    /// This machine only.
    #[default]
    Local,
    /// All machines of a cluster. Outside a swarm old engines refuse such networks, inside one all engines do.
    Global,
}

/// Makes a component of a driver: `export!(MyDriver: volume, options)`.
///
/// Behind the colon stand the interfaces that it exports, each at most once: `volume`, `network`, `ipam`, `authz`, `lifecycle`,
/// `options`, `timers`, `reconcile`, `settlement`, `admin`. The driver has to implement the trait of each.
///
/// The component also carries the version and the description from the crate's `Cargo.toml`, as custom sections of its module
/// with these names. Use the macro once in a crate.
#[macro_export]
macro_rules! export {
    ($driver:ident: $($interface:ident),+ $(,)?) => {
        $($crate::__export!($driver, $interface);)+
        $crate::__section!("version", env!("CARGO_PKG_VERSION"));
        $crate::__section!("description", env!("CARGO_PKG_DESCRIPTION"));
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __section {
    ($name:literal, $text:expr) => {
        #[cfg(target_family = "wasm")]
        const _: () = {
            #[allow(unsafe_code)]
            #[unsafe(link_section = $name)]
            static SECTION: [u8; $text.len()] = $crate::__bytes($text);
        };
    };
}

/// The first bytes of a text, as an array for a static.
#[doc(hidden)]
pub const fn __bytes<const N: usize>(text: &str) -> [u8; N] {
    match text.as_bytes().first_chunk() {
        Some(bytes) => *bytes,
        None => [0; N],
    }
}

#[doc(hidden)]
#[macro_export]
macro_rules! __export {
    ($driver:ident, volume) => {
        $crate::__export!($driver, volume, Volume, export_volume);
    };
    ($driver:ident, network) => {
        $crate::__export!($driver, network, Network, export_network);
    };
    ($driver:ident, ipam) => {
        $crate::__export!($driver, ipam, Ipam, export_ipam);
    };
    ($driver:ident, authz) => {
        $crate::__export!($driver, authz, Authz, export_authz);
    };
    ($driver:ident, lifecycle) => {
        $crate::__export!($driver, lifecycle, Lifecycle, export_lifecycle);
    };
    ($driver:ident, options) => {
        $crate::__export!($driver, options, Options, export_options);
    };
    ($driver:ident, timers) => {
        $crate::__export!($driver, timers, Timers, export_timers);
    };
    ($driver:ident, reconcile) => {
        $crate::__export!($driver, reconcile, Reconcile, export_reconcile);
    };
    ($driver:ident, settlement) => {
        $crate::__export!($driver, settlement, Settlement, export_settlement);
    };
    ($driver:ident, admin) => {
        $crate::__export!($driver, admin, Admin, export_admin);
    };
    ($driver:ident, $other:ident) => {
        compile_error!(concat!(
            "a driver cannot export `",
            stringify!($other),
            "`: it is one of volume, network, ipam, authz, lifecycle, options, timers, reconcile, settlement, admin"
        ));
    };
    ($driver:ident, $module:ident, $interface:ident, $export:ident) => {
        const _: () = {
            const fn implements<T: $crate::$interface>() {}
            implements::<$driver>();
        };
        #[cfg(target_family = "wasm")]
        const _: () = {
            type Exported = $crate::$module::Export<$driver>;
    $crate::bindings::$module::$export!(Exported with_types_in $crate::bindings::$module);
        };
    };
}
