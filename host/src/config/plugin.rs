//! `NAME.toml`: a plugin, or several that one driver serves.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use semver::{Version, VersionReq};
use serde::de::{Deserialize, Deserializer, Error as _};

use super::error::unknown;
use super::grants::Grants;
use super::{
    ConfigError, Endpoint, PluginName, Record, Relay, SecretName, SecretSource, Value, deadlines,
    units,
};
use crate::protocol::describe::Scope;
use crate::sandbox::MAX_MEMORY;

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;

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
    /// How far Docker takes its networks and volumes to reach; none is what the driver says.
    pub scope: Option<Scope>,
    /// How Docker finds it; none is its socket in the plugins directory.
    pub endpoint: Option<Endpoint>,
    /// What the driver reads through `wasi:config`.
    pub config: BTreeMap<String, Value>,
    /// What the driver may do.
    pub grants: Grants,
    /// Where secrets come from.
    pub secrets: BTreeMap<SecretName, SecretSource>,
    /// How much of the machine it may take.
    pub limits: Limits,
    /// How long its instances live.
    pub instances: Instances,
    /// What is kept of its calls.
    pub record: Record,
    /// What Docker's own plugin commands show of it and let users set.
    pub relay: Relay,
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
    /// How long a call may go on behind its deadline, when it has been answered that it is still working. None: it ends at its deadline.
    #[serde(deserialize_with = "background")]
    pub background: Option<Duration>,
    /// How long a verb of `dockside run` may take: nobody but an operator waits for it.
    #[serde(deserialize_with = "units::span::<_, 10, 86_400_000>")]
    pub run: Duration,
    /// How long one turn of a driver's timer may take. The next turn begins when it is over.
    #[serde(deserialize_with = "units::span::<_, 10, 86_400_000>")]
    pub timers: Duration,
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
            background: None,
            run: Duration::from_secs(600),
            timers: Duration::from_secs(60),
        }
    }
}

impl Limits {
    /// How long a call of this method (`VolumeDriver.Create`) may take: what is set for the method, else for its kind, else for all, else
    /// 110 s for Create and Mount of volumes, 55 s for other volume methods, 25 s for networks, 10 s for IPAM and 5 s for authorization.
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
        for source in plugin.secrets.values_mut() {
            source.rooted(directory);
        }
        plugin.grants.rooted(directory);
        if let Some(endpoint) = &mut plugin.endpoint {
            endpoint.rooted(directory);
        }
        plugin.check()?;
        Ok(plugin)
    }

    /// What one table says of another.
    fn check(&self) -> Result<(), ConfigError> {
        self.relay.check()?;
        let endpoint = self.endpoint.iter().filter_map(Endpoint::named_secret);
        for (key, name) in self.grants.named_secrets().chain(endpoint) {
            if self.secrets.contains_key(name) {
                continue;
            }
            let known: Vec<&str> = self.secrets.keys().map(SecretName::as_str).collect();
            return Err(ConfigError::new(if known.is_empty() {
                format!(
                    "{key}: there is no secret {name}: say where it is, with {name} = {{ file = \"PATH\" }} under [secrets]"
                )
            } else {
                format!("{key}: {}", unknown("secret", name.as_str(), &known))
            }));
        }
        if let Some(http) = &self.grants.http
            && http.client_certificate.is_some() != http.client_key.is_some()
        {
            return Err(ConfigError::new(
                "grants.http: client-certificate and client-key go together: one is a file, the other the name of a secret",
            ));
        }
        if let Some(endpoint) = &self.endpoint {
            endpoint.check(self.names.as_deref())?;
        }
        Ok(())
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

    /// What is wrong now with the files that are read later: those of secrets, certificates and authorities.
    pub fn check_files(&self) -> Vec<ConfigError> {
        let secrets = self.secrets.iter().filter_map(|(name, source)| {
            // What the daemon's environment holds can only be known there.
            let SecretSource::File(_) = source else {
                return None;
            };
            let error = source.resolve().err()?;
            Some(ConfigError::new(format!("secrets.{name}: {error}")))
        });
        let files = self.named_files().filter_map(|(key, file)| {
            let error = File::open(file).err()?;
            Some(ConfigError::new(format!(
                "{key}: the file {} cannot be opened: {error}",
                file.display()
            )))
        });
        secrets.chain(files).collect()
    }

    /// The files that configuration values, certificates and authorities come from: when one changes, the plugin is loaded anew. Secrets are
    /// read when they are used, so their files are not among them, but for the key of the endpoint.
    pub fn files(&self) -> Vec<PathBuf> {
        self.config
            .values()
            .filter_map(|value| match value {
                Value::File(file) => Some(file.clone()),
                Value::Literal(_) | Value::Env(_) => None,
            })
            .chain(self.named_files().map(|(_, file)| file.clone()))
            .collect()
    }

    fn named_files(&self) -> impl Iterator<Item = (&'static str, &PathBuf)> {
        let endpoint = self.endpoint.iter().flat_map(Endpoint::files);
        self.grants.named_files().chain(endpoint)
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

fn background<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    const SHORTEST: Duration = Duration::from_secs(1);
    const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);
    let units::Span(span) = units::Span::deserialize(deserializer)?;
    if span.is_zero() {
        return Ok(None);
    }
    units::between(span, SHORTEST, LONGEST)
        .map(Some)
        .map_err(D::Error::custom)
}
