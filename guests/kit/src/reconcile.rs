//! What the host found on the machine that is not as the driver left it.
//!
//! ```
//! use dockside_driver::{
//!     Reconcile, Result, links::{self, Bridge, Settings}, reconcile::{Fact, Subject}, testing,
//! };
//!
//! struct Driver;
//!
//! impl Reconcile for Driver {
//!     fn reconcile(facts: &[Fact]) -> Result<()> {
//!         for fact in facts.iter().filter(|fact| fact.subject == Subject::Link) {
//!             links::create(&fact.key, Bridge::default(), Settings::up())?;
//!         }
//!         Ok(())
//!     }
//! }
//!
//! links::create("network", Bridge::default(), Settings::up())?;
//! let facts = testing::reboot();
//! assert!(testing::links().is_empty());
//! testing::call(|| Driver::reconcile(&facts))?;
//! assert_eq!(testing::links().len(), 1);
//! # Ok::<(), dockside_driver::Error>(())
//! ```

use std::fmt;

use crate::Result;

/// What is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// A mount of [`mounts`](crate::mounts).
    Mount,
    /// A link of [`links`](crate::links).
    Link,
    /// A set of rules of [`nat`](crate::nat).
    Rules,
    /// A disk image of [`images`](crate::images).
    Image,
    /// A directory of [`directories`](crate::directories).
    Directory,
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Mount => "mount",
            Self::Link => "link",
            Self::Rules => "rules",
            Self::Image => "image",
            Self::Directory => "directory",
        })
    }
}

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It went with a restart of the machine.
    Rebooted,
    /// Somebody else removed it.
    Removed,
    /// It is there and does not work.
    Degraded,
}

impl fmt::Display for Fate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Rebooted => "rebooted",
            Self::Removed => "removed",
            Self::Degraded => "degraded",
        })
    }
}

/// Something that the driver had made and that is not as it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fact {
    /// What it is.
    pub subject: Subject,
    /// The key that it was made under.
    pub key: String,
    /// What became of it.
    pub fate: Fate,
}

/// A driver that wants to know what it lost, and may make it again.
pub trait Reconcile {
    /// What the facts name as rebooted or removed is forgotten by the host already, so that its key is free. Runs as a call of its own before
    /// the plugin serves, and when `dockside reconcile` finds something later.
    fn reconcile(facts: &[Fact]) -> Result<()>;
}

#[cfg(target_family = "wasm")]
mod export {
    use std::marker::PhantomData;

    use crate::{
        bindings::{
            imports::dockside::driver::types,
            reconcile::exports::dockside::driver::reconcile as wit,
        },
        convert::to_error,
    };

    #[doc(hidden)]
    pub struct Export<T>(PhantomData<T>);

    fn fact(fact: wit::Fact) -> super::Fact {
        super::Fact {
            subject: match fact.subject {
                wit::Subject::Mount => super::Subject::Mount,
                wit::Subject::Link => super::Subject::Link,
                wit::Subject::Rules => super::Subject::Rules,
                wit::Subject::Image => super::Subject::Image,
                wit::Subject::Directory => super::Subject::Directory,
            },
            key: fact.key,
            fate: match fact.fate {
                wit::Fate::Rebooted => super::Fate::Rebooted,
                wit::Fate::Removed => super::Fate::Removed,
                wit::Fate::Degraded => super::Fate::Degraded,
            },
        }
    }

    impl<T: super::Reconcile> wit::Guest for Export<T> {
        fn reconcile(facts: Vec<wit::Fact>) -> Result<(), types::Error> {
            let facts: Vec<super::Fact> = facts.into_iter().map(fact).collect();
            T::reconcile(&facts).map_err(to_error)
        }
    }
}

#[cfg(target_family = "wasm")]
#[doc(hidden)]
pub use export::Export;
