//! Settling what failed calls left on other machines. Wanted by drivers that use the [`outbox`](crate::outbox).
//! There is an example there. In tests, [`testing::settle`](crate::testing::settle) does what the host does.

use crate::Result;

/// A driver that settles what its failed calls left elsewhere.
pub trait Settlement {
    /// Settles what one note of a failed call says. `call_key` is that call's. Runs as a call of its own, with growing pauses, until it succeeds.
    fn compensate(call_key: &str, note: &[u8]) -> Result<()>;
}

#[cfg(target_family = "wasm")]
mod export {
    use std::marker::PhantomData;

    use crate::{
        bindings::{
            imports::dockside::driver::types,
            settlement::exports::dockside::driver::settlement as wit,
        },
        convert::to_error,
    };

    #[doc(hidden)]
    pub struct Export<T>(PhantomData<T>);

    impl<T: super::Settlement> wit::Guest for Export<T> {
        fn compensate(call_key: String, note: Vec<u8>) -> Result<(), types::Error> {
            T::compensate(&call_key, &note).map_err(to_error)
        }
    }
}

#[cfg(target_family = "wasm")]
#[doc(hidden)]
pub use export::Export;
