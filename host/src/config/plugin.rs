//! `NAME.toml`: a plugin, or several that one driver serves.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use semver::{Version, VersionReq};
use serde::de::{Deserialize, Deserializer, Error as _};

use super::{ConfigError, PluginName, Value, deadlines, units};
use crate::sandbox::MAX_MEMORY;
use crate::store::Quota;

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// What the operator says of a plugin. The default is a plugin without a file.
#[derive(Debug, Clone, Default, PartialEq, serde::Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Plugin {
    /// The driver, if it is not the one that is called as this file is.
    #[serde(deserialize_with = "driver")]
    pub driver: Option<String>,
    /// The names under which Docker finds it; none is the name of this file. An empty list: it is here for others to name as `driver`.
    #[serde(deserialize_with = "names")]
    pub names: Option<Vec<PluginName>>,
    /// The versions that may serve; none is any.
    pub version: Option<Pin>,
    /// What the driver reads through `wasi:config`.
    pub config: BTreeMap<String, Value>,
    /// What the driver may do.
    pub grants: Grants,
    /// How much of the machine it may take.
    pub limits: Limits,
    /// How long its instances live.
    pub instances: Instances,
}

/// The versions that may serve: one (`1.2.3`) or those that meet a requirement (`^1.2`, `>=1.2, <1.5`, `1.*`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pin {
    /// Only this one.
    Exact(Version),
    /// Each that meets this.
    Requirement(VersionReq),
}

impl Pin {
    /// Whether a version may serve.
    pub fn matches(&self, version: &Version) -> bool {
        match self {
            Pin::Exact(only) => only == version,
            Pin::Requirement(requirement) => requirement.matches(version),
        }
    }
}

impl fmt::Display for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Pin::Exact(version) => version.fmt(f),
            Pin::Requirement(requirement) => requirement.fmt(f),
        }
    }
}

impl<'de> Deserialize<'de> for Pin {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Pin, D::Error> {
        let text = String::deserialize(deserializer)?;
        // A whole version means that version: with semver's own rule 1.2.3 would let 1.9.0 in.
        if let Ok(version) = Version::parse(&text) {
            return Ok(Pin::Exact(version));
        }
        VersionReq::parse(&text)
            .map(Pin::Requirement)
            .map_err(|error| {
                D::Error::custom(format!(
                    "{text:?} is neither a version such as \"1.2.3\" nor a requirement such as \"^1.2\" or \">=1.2, <1.5\": {error}"
                ))
            })
    }
}

/// What a driver may do. State is granted without being named.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Grants {
    /// Directories of the machine, below the plugin's own root (`dockside:host/directories`).
    pub directories: Option<Directories>,
    /// Durable keys and values (`wasi:keyvalue`).
    pub state: State,
}

impl Grants {
    /// What the store and the directories are held to.
    pub fn quota(&self) -> Quota {
        Quota {
            max_bytes: self.state.max_bytes,
            max_keys: self.state.max_keys,
            max_value_bytes: self.state.max_value_bytes,
            max_directories: self
                .directories
                .as_ref()
                .map_or(0, |directories| u64::from(directories.max)),
            ..Quota::default()
        }
    }
}

/// The grant `directories`.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
#[serde(
    default,
    deny_unknown_fields,
    rename_all = "kebab-case",
    expecting = "a table: directories = {} or directories = { max = 1000 }"
)]
pub struct Directories {
    /// Number of directories.
    #[serde(deserialize_with = "units::count::<_, 1, 10_000_000>")]
    pub max: u32,
}

impl Default for Directories {
    fn default() -> Self {
        Self { max: 10_000 }
    }
}

/// The grant `state`.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
#[serde(
    default,
    deny_unknown_fields,
    rename_all = "kebab-case",
    expecting = "a table: state = { max-bytes = \"16MiB\", max-keys = 100000 }"
)]
pub struct State {
    /// All keys and values together, in bytes.
    #[serde(deserialize_with = "units::size::<_, 0, { 4 * GIB }>")]
    pub max_bytes: u64,
    /// Number of keys.
    #[serde(deserialize_with = "max_keys")]
    pub max_keys: u64,
    /// Length of one value in bytes.
    #[serde(deserialize_with = "units::size::<_, 1, { 64 * MIB }>")]
    pub max_value_bytes: u64,
}

impl Default for State {
    fn default() -> Self {
        let quota = Quota::default();
        Self {
            max_bytes: quota.max_bytes,
            max_keys: quota.max_keys,
            max_value_bytes: quota.max_value_bytes,
        }
    }
}

/// How much of the machine a plugin may take.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Limits {
    /// Linear memory of an instance with everything in it, in bytes.
    #[serde(deserialize_with = "units::size::<_, { 64 * KIB }, MAX_MEMORY>")]
    pub memory: u64,
    /// Calls that run at once.
    #[serde(deserialize_with = "units::count::<_, 1, 10_000>")]
    pub concurrency: u32,
    /// Calls that wait for one of those to end. Further ones are refused.
    #[serde(deserialize_with = "units::count::<_, 0, 100_000>")]
    pub queue: u32,
    /// What one call may write to the log, in bytes. The rest is dropped.
    #[serde(deserialize_with = "units::size::<_, 0, { 16 * MIB }>")]
    pub log_bytes: u64,
    /// How long a call of any method may take. See [`Limits::deadline`].
    #[serde(deserialize_with = "units::some_span::<_, 10, 110_000>")]
    pub deadline: Option<Duration>,
    /// How long calls may take, by method (`VolumeDriver.Create`) or kind (`VolumeDriver`). See [`Limits::deadline`].
    #[serde(deserialize_with = "deadlines::read")]
    pub deadlines: BTreeMap<String, Duration>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            memory: 64 * MIB,
            concurrency: 32,
            queue: 256,
            log_bytes: 64 * KIB,
            deadline: None,
            deadlines: BTreeMap::new(),
        }
    }
}

impl Limits {
    /// How long a call of this method (`VolumeDriver.Create`) may take: what is set for the method, else for its kind, else for all, else
    /// 110 s for Create and Mount of volumes, 55 s for other volume methods, 30 s for networks, 10 s for IPAM and 5 s for authorization.
    /// Never longer than the engine waits, less the time to undo and answer.
    pub fn deadline(&self, method: &str) -> Duration {
        let kind = method.split_once('.').map_or(method, |(kind, _)| kind);
        self.deadlines
            .get(method)
            .or_else(|| self.deadlines.get(kind))
            .copied()
            .or(self.deadline)
            .unwrap_or_else(|| deadlines::usual(method))
            .min(deadlines::longest(method))
    }
}

/// How long instances live.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Instances {
    /// Calls that one instance may serve, one after another; none is one. For drivers that take long to start. Its memory is a cache
    /// that any call may find empty.
    #[serde(deserialize_with = "units::some_count::<_, 1, 1_000_000>")]
    pub reuse: Option<u32>,
}

impl Plugin {
    /// Reads a plugin's file from its text. Relative paths in it start at `directory`, where the file is. The error does not name the file.
    ///
    /// # Errors
    /// When it says something wrong.
    pub fn parse(text: &str, directory: &Path) -> Result<Plugin, ConfigError> {
        let mut plugin: Plugin = ConfigError::parse(text)?;
        for (key, value) in &mut plugin.config {
            if key.is_empty() {
                return Err(ConfigError::new("a key under [config] is empty"));
            }
            value.rooted(directory);
        }
        Ok(plugin)
    }

    /// The names under which Docker finds the plugin, where `stem` is the name of the file without its ending.
    pub fn names(&self, stem: &str) -> Vec<PluginName> {
        match &self.names {
            Some(names) => names.clone(),
            None => stem.parse().into_iter().collect(),
        }
    }

    /// Whether a version may serve. A driver file without a version in its name is below every version: it meets no pin.
    pub fn accepts(&self, version: Option<&Version>) -> bool {
        match (&self.version, version) {
            (None, _) => true,
            (Some(pin), Some(version)) => pin.matches(version),
            (Some(_), None) => false,
        }
    }

    /// The configuration values as text, read from where they are.
    ///
    /// # Errors
    /// When a file or a variable is not there or cannot be read. The text names the key, never a value.
    pub fn resolve(&self) -> Result<BTreeMap<String, String>, ConfigError> {
        self.resolve_with(|name| std::env::var_os(name))
    }

    pub(super) fn resolve_with(
        &self,
        environment: impl Fn(&str) -> Option<OsString>,
    ) -> Result<BTreeMap<String, String>, ConfigError> {
        self.config
            .iter()
            .map(|(key, value)| match value.resolve(&environment) {
                Ok(text) => Ok((key.clone(), text)),
                Err(reason) => Err(ConfigError::new(format!("config.{key}: {reason}"))),
            })
            .collect()
    }

    /// The files that configuration values come from: when one changes, so does what the driver reads.
    pub fn files(&self) -> Vec<PathBuf> {
        self.config
            .values()
            .filter_map(|value| match value {
                Value::File(file) => Some(file.clone()),
                Value::Literal(_) | Value::Env(_) => None,
            })
            .collect()
    }
}

fn driver<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let text = String::deserialize(deserializer)?;
    if PluginName::is_driver(&text) {
        return Ok(Some(text));
    }
    Err(D::Error::custom(
        match text.strip_suffix(".wasm").filter(|_| !text.contains('/')) {
            Some(stem) => {
                let stem = stem.split('@').next().unwrap_or(stem);
                format!("driver is the name without version and ending: driver = {stem:?}")
            }
            None => format!(
                "{text:?} cannot be the name of a driver: it is the name of a .wasm file beside this one, without version and ending"
            ),
        },
    ))
}

fn names<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<PluginName>>, D::Error> {
    let names = Vec::<PluginName>::deserialize(deserializer)?;
    for (index, name) in names.iter().enumerate() {
        if names.iter().take(index).any(|other| other == name) {
            return Err(D::Error::custom(format!("the name {name} is given twice")));
        }
    }
    Ok(Some(names))
}

fn max_keys<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    units::count::<D, 0, 100_000_000>(deserializer).map(u64::from)
}
