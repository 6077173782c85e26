//! `[relay]` of `NAME.toml`: the plugin that Docker installs and runs itself.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::de::{Deserialize, Deserializer, Error as _};

use super::ConfigError;

/// What Docker's own plugin commands show of a plugin and let users set.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Relay {
    /// Names under which `docker plugin install` finds it at dockside's registry, besides its own.
    pub names: Vec<Repository>,
    /// What `docker plugin inspect` shows as its description.
    pub description: Option<String>,
    /// The arguments that users can set.
    pub args: Option<Arguments>,
    /// Variables that users can set, by name.
    pub env: BTreeMap<String, Variable>,
    /// Directories of the machine that users can choose, by name.
    pub mounts: BTreeMap<String, Mount>,
}

/// Arguments: one setting of Docker's for all of them.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Arguments {
    /// What the setting is called: `docker plugin set PLUGIN NAME="-a b"`.
    pub name: String,
    /// What they are when nobody has set them.
    pub value: Vec<String>,
    /// For `docker plugin inspect`.
    pub description: String,
}

impl Default for Arguments {
    fn default() -> Self {
        Arguments {
            name: "args".to_owned(),
            value: Vec::new(),
            description: String::new(),
        }
    }
}

/// A variable. A text alone is its value.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Variable {
    /// What it is when nobody has set it; none is not set at all.
    pub value: Option<String>,
    /// For `docker plugin inspect`.
    pub description: String,
}

/// A directory of the machine. A text alone is its path.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mount {
    /// Where it is when nobody has set it; none is nowhere.
    pub source: Option<String>,
    /// For `docker plugin inspect`.
    pub description: String,
}

/// The name of a repository, as Docker writes it without host and tag: `vieux/sshfs`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Repository(String);

impl Repository {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why a text is no [`Repository`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RepositoryError {
    /// It has a tag or a digest.
    #[error("{0:?} names a tag: leave it out, for every tag leads to the same relay")]
    Tag(String),
    /// It breaks Docker's rules.
    #[error(
        "{0:?} cannot be the name of a repository: Docker takes lower-case letters and digits, with single . _ or - between them, in parts joined by /, at most 200 bytes"
    )]
    Name(String),
}

impl FromStr for Repository {
    type Err = RepositoryError;

    fn from_str(text: &str) -> Result<Repository, RepositoryError> {
        if text.contains([':', '@']) {
            return Err(RepositoryError::Tag(text.to_owned()));
        }
        if text.len() <= 200 && text.split('/').all(is_part) {
            Ok(Repository(text.to_owned()))
        } else {
            Err(RepositoryError::Name(text.to_owned()))
        }
    }
}

/// Letters and digits; between them one `.`, one or two `_`, or any number of `-`.
fn is_part(part: &str) -> bool {
    let alphanumeric = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let mut separators = part.as_bytes().split(alphanumeric);
    // What is before the first and behind the last letter or digit has to be nothing.
    let ends = separators.next().is_some_and(<[u8]>::is_empty)
        && separators.next_back().is_some_and(<[u8]>::is_empty);
    ends && separators.all(|separator| {
        matches!(separator, b"" | b"." | b"_" | b"__") || separator.iter().all(|byte| *byte == b'-')
    })
}

impl<'de> Deserialize<'de> for Repository {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Repository, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(D::Error::custom)
    }
}

#[derive(serde::Deserialize)]
#[serde(untagged, deny_unknown_fields)]
enum VariableText {
    Value(String),
    Table {
        value: Option<String>,
        #[serde(default)]
        description: String,
    },
}

impl<'de> Deserialize<'de> for Variable {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Variable, D::Error> {
        let text = VariableText::deserialize(deserializer).map_err(|_| {
            D::Error::custom(
                "a variable is its value, \"0\", or a table: { value = \"0\", description = \"…\" }",
            )
        })?;
        Ok(match text {
            VariableText::Value(value) => Variable {
                value: Some(value),
                description: String::new(),
            },
            VariableText::Table { value, description } => Variable { value, description },
        })
    }
}

#[derive(serde::Deserialize)]
#[serde(untagged, deny_unknown_fields)]
enum MountText {
    Source(String),
    Table {
        source: Option<String>,
        #[serde(default)]
        description: String,
    },
}

impl<'de> Deserialize<'de> for Mount {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Mount, D::Error> {
        let text = MountText::deserialize(deserializer).map_err(|_| {
            D::Error::custom(
                "a mount is its path, \"/srv\", or a table: { source = \"/srv\", description = \"…\" }",
            )
        })?;
        let mount = match text {
            MountText::Source(source) => Mount {
                source: Some(source),
                description: String::new(),
            },
            MountText::Table {
                source,
                description,
            } => Mount {
                source,
                description,
            },
        };
        if let Some(source) = mount.source.as_deref()
            && !source.starts_with('/')
        {
            return Err(D::Error::custom(format!(
                "{source:?} is no absolute path; leave `source` out for a directory that the user has to choose"
            )));
        }
        Ok(mount)
    }
}

impl Relay {
    /// Checks what the parts of the table say of each other: Docker sets them all by name.
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        let args = self.args.as_ref().map(|args| ("args", args.name.as_str()));
        let env = self.env.keys().map(|name| ("env", name.as_str()));
        let mounts = self.mounts.keys().map(|name| ("mounts", name.as_str()));
        let mut known: BTreeMap<&str, &str> = BTreeMap::new();
        for (table, name) in env.chain(mounts).chain(args) {
            let plain = !name.is_empty()
                && name
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte));
            if !plain {
                return Err(ConfigError::new(format!(
                    "relay.{table}: {name:?} cannot be set with `docker plugin set`: a name has letters, digits, _ and - alone"
                )));
            }
            if name == OWN_MOUNT {
                return Err(ConfigError::new(format!(
                    "relay.{table}: the name {name:?} is the relay's own; choose another"
                )));
            }
            if let Some(other) = known.insert(name, table) {
                return Err(ConfigError::new(format!(
                    "relay.{table}: the name {name:?} is in relay.{other} too, and Docker sets all of them by name; choose another"
                )));
            }
        }
        for (number, name) in self.names.iter().enumerate() {
            if self.names.iter().take(number).any(|other| other == name) {
                return Err(ConfigError::new(format!(
                    "relay.names: {name} is given twice"
                )));
            }
        }
        Ok(())
    }
}

/// What the mount is called by which a relay reaches dockside.
pub const OWN_MOUNT: &str = "dockside";
