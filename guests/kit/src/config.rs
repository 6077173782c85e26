//! What the operator wrote under `[config]` in the plugin's TOML file (`wasi:config/store`).
//!
//! ```
//! use dockside_driver::{config, testing};
//!
//! testing::set_config("retries", "3");
//! assert_eq!(config::parse::<u32>("retries")?, Some(3));
//! assert_eq!(config::get("server")?, None);
//! # Ok::<(), dockside_driver::Error>(())
//! ```

use std::{fmt, str::FromStr};

use crate::{Error, KeyValues, Result, sys};

/// The value of this key.
pub fn get(key: &str) -> Result<Option<String>> {
    sys::config_get(key)
}

/// All values.
pub fn all() -> Result<KeyValues> {
    sys::config_all()
}

/// The value of a key that the driver cannot do without.
pub fn require(key: &str) -> Result<String> {
    get(key)?.ok_or_else(|| {
        Error::unavailable(format!(
            "this plugin needs a value for {key:?} under [config] in its TOML file"
        ))
    })
}

/// The value of this key as a number, an address or whatever else can be read from text.
pub fn parse<T>(key: &str) -> Result<Option<T>>
where
    T: FromStr<Err: fmt::Display>,
{
    let read = |value: String| {
        value
            .parse()
            .map_err(|error| Error::invalid(format!("{key} = {value:?} under [config]: {error}")))
    };
    get(key)?.map(read).transpose()
}
