//! The plugin's state. Every key that a call reads is watched for conflicting calls, so this driver reads few and lists none.

use dockside_driver::{Result, state};
use serde::{Serialize, de::DeserializeOwned};

/// The value of a key.
pub(crate) fn get<T: DeserializeOwned>(key: &str) -> Result<Option<T>> {
    #[cfg(test)]
    cost::count_read(key);
    state::get(key)
}

/// Sets a key.
pub(crate) fn set<T: Serialize + ?Sized>(key: &str, value: &T) -> Result<()> {
    #[cfg(test)]
    cost::count_write(key, value);
    state::set(key, value)
}

/// Removes a key; one that is not there is no error.
pub(crate) fn delete(key: &str) -> Result<()> {
    state::delete(key)
}

/// What calls cost, for tests.
#[cfg(test)]
pub(crate) mod cost {
    use std::{
        cell::{Cell, RefCell},
        collections::BTreeSet,
    };

    thread_local! {
        static READ: RefCell<BTreeSet<String>> = RefCell::default();
        static WRITTEN: Cell<usize> = Cell::default();
    }

    pub(super) fn count_read(key: &str) {
        READ.with_borrow_mut(|read| read.insert(key.to_owned()));
    }

    pub(super) fn count_write<T: serde::Serialize + ?Sized>(key: &str, value: &T) {
        let bytes = serde_json::to_vec(value).map_or(0, |bytes| bytes.len());
        WRITTEN.set(WRITTEN.get() + key.len() + bytes);
    }

    /// How many keys were read and how many bytes written since the last call.
    pub(crate) fn take() -> (usize, usize) {
        (READ.take().len(), WRITTEN.take())
    }

    /// The keys that there are.
    pub(crate) fn keys() -> Vec<String> {
        let state = dockside_driver::testing::state();
        state.into_iter().map(|(key, _)| key).collect()
    }
}
