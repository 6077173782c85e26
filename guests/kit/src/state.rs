//! Durable state of the plugin (`wasi:keyvalue`): values as JSON under keys of any text.
//!
//! A call sees the state as it was when the call began, together with what it wrote itself. What it writes becomes final, all at
//! once, when it succeeds. If another call has changed in between what this one read, the host runs this one again: so a check
//! followed by a write needs no lock.
//!
//! ```
//! use dockside_driver::state;
//!
//! state::set("default-size", "1g")?;
//! assert_eq!(state::get::<String>("default-size")?.as_deref(), Some("1g"));
//! assert_eq!(state::increment("volumes-made", 1)?, 1);
//! assert_eq!(state::keys("default-")?, ["default-size"]);
//! # Ok::<(), dockside_driver::Error>(())
//! ```
//!
//! For values of one type there is [`Table`].

use serde::{Serialize, de::DeserializeOwned};
use std::{borrow::Cow, marker::PhantomData};

use crate::{Error, Result, sys};

/// The value under this key.
pub fn get<T: DeserializeOwned>(key: &str) -> Result<Option<T>> {
    sys::state_get(key)?
        .map(|bytes| decode(key, &bytes))
        .transpose()
}

/// Sets the value under this key.
pub fn set<T: Serialize + ?Sized>(key: &str, value: &T) -> Result<()> {
    sys::state_set(key, &encode(key, value)?)
}

/// Removes the value under this key. None there is no error.
pub fn delete(key: &str) -> Result<()> {
    sys::state_delete(key)
}

/// Whether there is a value under this key.
pub fn exists(key: &str) -> Result<bool> {
    sys::state_exists(key)
}

/// The keys that begin with `prefix`, in order of their bytes.
///
/// The host is asked for all keys of the plugin, so the call conflicts with every other call that adds or removes one.
pub fn keys(prefix: &str) -> Result<Vec<String>> {
    let mut found = Vec::new();
    let mut cursor = None;
    loop {
        let (page, next) = sys::state_keys(cursor)?;
        found.extend(page.into_iter().filter(|key| key.starts_with(prefix)));
        match next {
            Some(next) => cursor = Some(next),
            None => return Ok(found),
        }
    }
}

/// Adds to a number and returns the sum. None there counts as 0.
///
/// The host decides how such a number is kept: read it with `increment(key, 0)`, not with [`get`].
pub fn increment(key: &str, delta: u64) -> Result<u64> {
    sys::state_increment(key, delta)
}

fn decode<T: DeserializeOwned>(key: &str, bytes: &[u8]) -> Result<T> {
    serde_json::from_slice(bytes).map_err(|error| {
        Error::other(format!(
            "the driver's state {key:?} is not what this version of it expects: {error}"
        ))
    })
}

fn encode<T: Serialize + ?Sized>(key: &str, value: &T) -> Result<Vec<u8>> {
    serde_json::to_vec(value)
        .map_err(|error| Error::other(format!("state {key:?} cannot be written as JSON: {error}")))
}

/// Values of one type under keys with one prefix.
///
/// ```
/// use dockside_driver::Table;
/// static SIZES: Table<u64> = Table::new("sizes/");
///
/// SIZES.put("a/b", &10)?;
/// assert_eq!(SIZES.get("a/b")?, Some(10));
/// assert_eq!(dockside_driver::state::get::<u64>("sizes/a/b")?, Some(10));
/// # Ok::<(), dockside_driver::Error>(())
/// ```
#[derive(Debug)]
pub struct Table<T> {
    prefix: Cow<'static, str>,
    values: PhantomData<fn() -> T>,
}

impl<T> Table<T> {
    /// The table of this prefix. End it with a character that no other table's prefix has at that place, such as `/`.
    pub const fn new(prefix: &'static str) -> Self {
        Self {
            prefix: Cow::Borrowed(prefix),
            values: PhantomData,
        }
    }

    /// The table of a prefix that is only known at run time: `Table::with_prefix(format!("addresses/{pool}/"))`. Of two such
    /// prefixes none may begin with the other.
    pub fn with_prefix(prefix: impl Into<String>) -> Self {
        Self {
            prefix: Cow::Owned(prefix.into()),
            values: PhantomData,
        }
    }

    fn key(&self, key: &str) -> String {
        format!("{}{key}", self.prefix)
    }

    /// Whether there is a value under this key.
    pub fn contains(&self, key: &str) -> Result<bool> {
        exists(&self.key(key))
    }

    /// Removes the value under this key. None there is no error.
    pub fn remove(&self, key: &str) -> Result<()> {
        delete(&self.key(key))
    }

    /// All keys, without the prefix, in order of their bytes. See [`keys`] for what it costs.
    pub fn keys(&self) -> Result<Vec<String>> {
        let strip = |key: String| key.strip_prefix(&*self.prefix).map(str::to_owned);
        Ok(keys(&self.prefix)?.into_iter().filter_map(strip).collect())
    }
}

impl<T: DeserializeOwned> Table<T> {
    /// The value under this key.
    pub fn get(&self, key: &str) -> Result<Option<T>> {
        get(&self.key(key))
    }

    /// All keys, without the prefix, and their values, in order of the keys' bytes.
    pub fn iter(&self) -> Result<std::vec::IntoIter<(String, T)>> {
        let keys = keys(&self.prefix)?;
        let mut entries = Vec::with_capacity(keys.len());
        for (key, bytes) in sys::state_get_many(keys)? {
            let value = decode(&key, &bytes)?;
            entries.extend(
                key.strip_prefix(&*self.prefix)
                    .map(|key| (key.to_owned(), value)),
            );
        }
        Ok(entries.into_iter())
    }
}

impl<T: Serialize> Table<T> {
    /// Sets the value under this key.
    pub fn put(&self, key: &str, value: &T) -> Result<()> {
        set(&self.key(key), value)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::ErrorCode;

    #[test]
    fn a_table_holds_what_was_put_into_it() {
        static TABLE: Table<(u8, String)> = Table::new("t/");
        set("s/other", &1).unwrap();
        TABLE.put("b/../é", &(2, "two".into())).unwrap();
        TABLE.put("", &(1, "one".into())).unwrap();
        let all: Vec<_> = TABLE.iter().unwrap().collect();
        assert_eq!(
            all,
            [
                ("".into(), (1, "one".into())),
                ("b/../é".into(), (2, "two".into()))
            ]
        );
        assert_eq!(TABLE.keys().unwrap(), ["", "b/../é"]);
        TABLE.remove("").unwrap();
        assert!(!TABLE.contains("").unwrap());
        assert_eq!(TABLE.get("b/../é").unwrap(), Some((2, "two".into())));
    }

    #[test]
    fn values_of_another_type_are_an_error_that_names_the_key() {
        set("k", "text").unwrap();
        let error = get::<u32>("k").unwrap_err();
        assert_eq!(error.code(), ErrorCode::Other);
        assert!(error.message().contains("\"k\""), "{error}");
    }

    #[test]
    fn keys_come_from_every_page() {
        for number in 0..2500 {
            set(&format!("n/{number:04}"), &number).unwrap();
        }
        assert_eq!(keys("n/").unwrap().len(), 2500);
        assert_eq!(Table::<u32>::new("n/").iter().unwrap().count(), 2500);
    }

    #[test]
    fn a_counter_begins_at_zero() {
        assert_eq!(increment("c", 0).unwrap(), 0);
        assert_eq!(increment("c", 2).unwrap(), 2);
        assert_eq!(increment("c", 1).unwrap(), 3);
    }
}
