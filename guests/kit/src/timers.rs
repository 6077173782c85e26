//! Work between calls.
//!
//! ```
//! use dockside_driver::{Result, Table, Timers, testing, time, timers::Schedule};
//!
//! struct Leases;
//!
//! /// When each lease ends, in seconds since 1970.
//! static ENDS: Table<u64> = Table::new("ends/");
//!
//! impl Timers for Leases {
//!     fn schedules() -> Vec<Schedule> {
//!         vec![Schedule::new("expire", 60)]
//!     }
//!     fn tick(_name: &str) -> Result<()> {
//!         for (lease, end) in ENDS.iter()? {
//!             if end <= time::unix_seconds() {
//!                 ENDS.remove(&lease)?;
//!             }
//!         }
//!         Ok(())
//!     }
//! }
//!
//! ENDS.put("a", &1_000)?;
//! testing::set_time(1_000);
//! testing::call(|| Leases::tick("expire"))?;
//! assert!(!ENDS.contains("a")?);
//! # Ok::<(), dockside_driver::Error>(())
//! ```

use crate::Result;

/// Something to be done again and again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// The driver's name for it.
    pub name: String,
    /// Seconds from the end of one run to the beginning of the next; at least 1.
    pub every: u32,
}

impl Schedule {
    /// Every so many seconds, under this name.
    pub fn new(name: impl Into<String>, every: u32) -> Self {
        Self {
            name: name.into(),
            every,
        }
    }
}

/// A driver with work to do between calls.
pub trait Timers {
    /// All schedules. A constant: the host asks once, when it loads the component, without state, without configuration and without grants.
    /// What depends on the state belongs into `tick`.
    fn schedules() -> Vec<Schedule>;

    /// The time has come. Runs as a call of its own: in a transaction, with a deadline, never twice at once for one schedule. A failure is
    /// reported, undone and tried again the next time.
    fn tick(name: &str) -> Result<()>;
}

#[cfg(target_family = "wasm")]
mod export {
    use std::marker::PhantomData;

    use crate::{
        bindings::{
            imports::dockside::driver::types, timers::exports::dockside::driver::timers as wit,
        },
        convert::to_error,
    };

    #[doc(hidden)]
    pub struct Export<T>(PhantomData<T>);

    impl<T: super::Timers> wit::Guest for Export<T> {
        fn schedules() -> Vec<wit::Schedule> {
            T::schedules()
                .into_iter()
                .map(|super::Schedule { name, every }| wit::Schedule { name, every })
                .collect()
        }

        fn tick(name: String) -> Result<(), types::Error> {
            T::tick(&name).map_err(to_error)
        }
    }
}

#[cfg(target_family = "wasm")]
#[doc(hidden)]
pub use export::Export;
