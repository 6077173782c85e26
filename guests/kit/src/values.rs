use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, fmt, str::FromStr};

use crate::{Error, Result};

/// Named texts: a user's options, a volume's status, a request's headers. Sorted by name, each name once.
///
/// Names and values that Docker sends are arbitrary text.
///
/// ```
/// use dockside_driver::KeyValues;
///
/// let options: KeyValues = [("size", "5"), ("shared", "yes")].into_iter().collect();
/// options.allow_only(&["size", "shared"])?;
/// assert_eq!(options.parse::<u64>("size")?, Some(5));
/// assert_eq!(options.boolean("shared")?, Some(true));
/// assert_eq!(options.get("uid"), None);
/// # Ok::<(), dockside_driver::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct KeyValues(BTreeMap<String, String>);

impl KeyValues {
    /// None at all.
    pub const fn new() -> Self {
        Self(BTreeMap::new())
    }

    /// The value of this name.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// The value of this name as a number, an address or whatever else can be read from text.
    pub fn parse<T>(&self, name: &str) -> Result<Option<T>>
    where
        T: FromStr<Err: fmt::Display>,
    {
        let read = |value: &str| {
            value
                .parse()
                .map_err(|error| Error::invalid(format!("option {name}={value}: {error}")))
        };
        self.get(name).map(read).transpose()
    }

    /// The value of this name as yes or no: `true`, `1`, `yes`, `on`, or `false`, `0`, `no`, `off`, in either case.
    pub fn boolean(&self, name: &str) -> Result<Option<bool>> {
        let Some(value) = self.get(name) else {
            return Ok(None);
        };
        match value.to_ascii_lowercase().as_str() {
            "true" | "1" | "yes" | "on" => Ok(Some(true)),
            "false" | "0" | "no" | "off" => Ok(Some(false)),
            _ => Err(Error::invalid(format!(
                "option {name}={value}: say true or false"
            ))),
        }
    }

    /// Whether there is this name.
    pub fn contains(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// Sets a value.
    pub fn insert(&mut self, name: impl Into<String>, value: impl fmt::Display) {
        self.0.insert(name.into(), value.to_string());
    }

    /// The same with one value more.
    #[must_use]
    pub fn with(mut self, name: impl Into<String>, value: impl fmt::Display) -> Self {
        self.insert(name, value);
        self
    }

    /// All of them, sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// An error that names the first option that is none of `known`.
    ///
    /// A driver that exports `options` needs no such check.
    pub fn allow_only(&self, known: &[&str]) -> Result<()> {
        match self.iter().find(|(name, _)| !known.contains(name)) {
            None => Ok(()),
            Some((name, _)) => Err(Error::invalid(format!(
                "unknown option {name:?}: there are {}",
                known.join(", ")
            ))),
        }
    }
}

impl<K: Into<String>, V: Into<String>> FromIterator<(K, V)> for KeyValues {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(pairs: I) -> Self {
        Self(
            pairs
                .into_iter()
                .map(|(name, value)| (name.into(), value.into()))
                .collect(),
        )
    }
}

impl IntoIterator for KeyValues {
    type Item = (String, String);
    type IntoIter = std::collections::btree_map::IntoIter<String, String>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn options() -> KeyValues {
        [("uid", "1000"), ("ro", "Yes"), ("odd", "maybe")]
            .into_iter()
            .collect()
    }

    #[test]
    fn values_are_read_as_what_they_stand_for() {
        assert_eq!(options().parse::<u32>("uid").unwrap(), Some(1000));
        assert_eq!(options().parse::<u32>("gid").unwrap(), None);
        assert_eq!(options().boolean("ro").unwrap(), Some(true));
    }

    #[test]
    fn errors_name_the_option() {
        assert_eq!(
            options().parse::<u8>("uid").unwrap_err().message(),
            "option uid=1000: number too large to fit in target type"
        );
        assert_eq!(
            options().boolean("odd").unwrap_err().message(),
            "option odd=maybe: say true or false"
        );
        assert_eq!(
            options().allow_only(&["uid", "ro"]).unwrap_err().message(),
            "unknown option \"odd\": there are uid, ro"
        );
    }

    #[test]
    fn order_of_options_does_not_matter() {
        let other: KeyValues = [("odd", "maybe"), ("ro", "Yes"), ("uid", "1000")]
            .into_iter()
            .collect();
        assert_eq!(options(), other);
    }
}
