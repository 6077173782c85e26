//! What a driver may export to take part in its own life.
//!
//! ```
//! use dockside_driver::{Lifecycle, Result, StartReason, Table, testing};
//!
//! struct Driver;
//!
//! static USERS: Table<u32> = Table::new("users/");
//!
//! impl Lifecycle for Driver {
//!     fn start(reason: StartReason) -> Result<()> {
//!         if reason == StartReason::Rebooted {
//!             // No container is left from the time before.
//!             USERS.keys()?.iter().try_for_each(|user| USERS.remove(user))?;
//!         }
//!         Ok(())
//!     }
//! }
//!
//! USERS.put("container", &1)?;
//! testing::call(|| Driver::start(StartReason::Restarted))?;
//! assert!(USERS.contains("container")?);
//! testing::call(|| Driver::start(StartReason::Rebooted))?;
//! assert!(!USERS.contains("container")?);
//! # Ok::<(), dockside_driver::Error>(())
//! ```

use crate::Result;

/// Why the driver starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartReason {
    /// This plugin was not there before.
    Installed,
    /// The daemon was started again.
    Restarted,
    /// The machine was started again: mounts and links of the time before are gone.
    Rebooted,
}

/// A driver that wants to know when it starts and when it takes over from another version.
pub trait Lifecycle {
    /// A new version takes over from another. Runs once, in a transaction, before the new version serves: an error or a panic leaves the
    /// old one serving. `from` is the version that served before: its semver, or its digest where it has none.
    fn migrate(from: &str) -> Result<()> {
        let _ = from;
        Ok(())
    }

    /// The driver begins to serve. A failure is reported and does not keep it from serving.
    fn start(reason: StartReason) -> Result<()> {
        let _ = reason;
        Ok(())
    }
}

#[cfg(target_family = "wasm")]
mod export {
    use std::marker::PhantomData;

    use crate::{
        bindings::{
            imports::dockside::driver::types,
            lifecycle::exports::dockside::driver::lifecycle as wit,
        },
        convert::to_error,
    };

    #[doc(hidden)]
    pub struct Export<T>(PhantomData<T>);

    impl<T: super::Lifecycle> wit::Guest for Export<T> {
        fn migrate(from: String) -> Result<(), types::Error> {
            T::migrate(&from).map_err(to_error)
        }

        fn start(reason: wit::StartReason) -> Result<(), types::Error> {
            let reason = match reason {
                wit::StartReason::Installed => super::StartReason::Installed,
                wit::StartReason::Restarted => super::StartReason::Restarted,
                wit::StartReason::Rebooted => super::StartReason::Rebooted,
            };
            T::start(reason).map_err(to_error)
        }
    }
}

#[cfg(target_family = "wasm")]
#[doc(hidden)]
pub use export::Export;
