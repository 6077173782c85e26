//! `dockside.toml`: the daemon.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use super::ConfigError;
use super::units;

/// The file that is read when none is named.
pub const DEFAULT_FILE: &str = "/etc/dockside/dockside.toml";

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
const MINUTE: u64 = 60_000;

/// How the daemon runs.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Daemon {
    /// Directory of the drivers and their settings.
    pub drivers: PathBuf,
    /// Directory in which Docker looks for plugin sockets.
    pub plugins: PathBuf,
    /// Directory in which Docker looks for `NAME.spec` and `NAME.json`, of plugins with an endpoint of their own.
    pub spec_directory: PathBuf,
    /// Directory of state, volumes and compiled code.
    pub data: PathBuf,
    /// The socket that `dockside ls` and the other verbs talk to. Not in `plugins`: Docker takes every socket there for a plugin.
    pub control: PathBuf,
    /// Directory through which relays reach the daemon; none is `relay` beside the control socket. See [`Daemon::relay_directory`].
    pub relay: Option<PathBuf>,
    /// Where `docker plugin install` gets relays from. None: there is no registry.
    pub registry: Option<SocketAddr>,
    /// Whether other machines may reach the registry.
    pub registry_for_others: bool,
    /// Group that may connect to the plugins' sockets, besides the daemon's own user. None: only that user.
    pub socket_group: Option<String>,
    /// Bounds on what Docker and drivers can make the daemon do.
    pub limits: DaemonLimits,
    /// The daemon's own log.
    pub log: Log,
}

impl Default for Daemon {
    fn default() -> Self {
        Self {
            drivers: "/var/lib/dockside/drivers".into(),
            plugins: "/run/docker/plugins".into(),
            spec_directory: "/etc/docker/plugins".into(),
            data: "/var/lib/dockside".into(),
            control: "/run/dockside/control.sock".into(),
            relay: None,
            registry: None,
            registry_for_others: false,
            socket_group: None,
            limits: DaemonLimits::default(),
            log: Log::default(),
        }
    }
}

/// Bounds over all plugins.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct DaemonLimits {
    /// Calls that run at once, over all plugins; each has an instance of its own.
    #[serde(deserialize_with = "units::count::<_, 1, 10_000>")]
    pub max_calls: u32,
    /// Connections to one plugin's socket at once. Further ones wait.
    #[serde(deserialize_with = "units::count::<_, 1, 65_536>")]
    pub max_connections: u32,
    /// Size of a driver file in bytes.
    #[serde(deserialize_with = "units::size::<_, 1024, GIB>")]
    pub max_driver_size: u64,
    /// Address space that compiling one driver may take, in bytes.
    #[serde(deserialize_with = "units::size::<_, { 256 * MIB }, { 64 * GIB }>")]
    pub compile_memory: u64,
    /// Processor time that compiling one driver may take.
    #[serde(deserialize_with = "units::span::<_, 1000, { 60 * MINUTE }>")]
    pub compile_time: Duration,
    /// How long the head of a request may take to arrive, counted from its first byte.
    #[serde(deserialize_with = "units::span::<_, 100, { 5 * MINUTE }>")]
    pub header_deadline: Duration,
    /// How long the body of a request may take to arrive.
    #[serde(deserialize_with = "units::span::<_, 100, { 5 * MINUTE }>")]
    pub body_deadline: Duration,
    /// Size of a request to a volume, network or IPAM plugin in bytes.
    #[serde(deserialize_with = "units::size::<_, 4096, { 64 * MIB }>")]
    pub max_body: u64,
    /// Size of a request to an authorization plugin in bytes. The engine shows up to 4 MiB of a body, in base64: 5.6 MiB and the headers.
    #[serde(deserialize_with = "units::size::<_, 4096, { 64 * MIB }>")]
    pub max_authz_body: u64,
}

impl Default for DaemonLimits {
    fn default() -> Self {
        Self {
            max_calls: 128,
            max_connections: 512,
            max_driver_size: 64 * MIB,
            compile_memory: 4 * GIB,
            compile_time: Duration::from_secs(60),
            header_deadline: Duration::from_secs(10),
            body_deadline: Duration::from_secs(30),
            max_body: MIB,
            max_authz_body: 8 * MIB,
        }
    }
}

/// The daemon's own log, on standard error.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Log {
    /// How lines look.
    pub format: LogFormat,
    /// What is logged: `error`, `warn`, `info`, `debug`, `trace`, or directives such as `info,dockside::catalog=debug`.
    pub level: String,
}

impl Default for Log {
    fn default() -> Self {
        Self {
            format: LogFormat::Text,
            level: "info".to_owned(),
        }
    }
}

/// How the lines of the log look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object for each line.
    Json,
}

/// What the command line and the environment say. It goes over the file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Overrides {
    /// See [`Daemon::drivers`].
    pub drivers: Option<PathBuf>,
    /// See [`Daemon::plugins`].
    pub plugins: Option<PathBuf>,
    /// See [`Daemon::spec_directory`].
    pub specs: Option<PathBuf>,
    /// See [`Daemon::data`].
    pub data: Option<PathBuf>,
    /// See [`Daemon::control`].
    pub control: Option<PathBuf>,
}

impl Daemon {
    /// Reads the file, or [`DEFAULT_FILE`] if none is named. Only the latter may be absent.
    ///
    /// # Errors
    /// When the file cannot be read or says something wrong.
    pub fn load(file: Option<&Path>) -> Result<Daemon, ConfigError> {
        Daemon::load_or(file, Path::new(DEFAULT_FILE))
    }

    pub(super) fn load_or(file: Option<&Path>, default: &Path) -> Result<Daemon, ConfigError> {
        let path = file.unwrap_or(default);
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if file.is_none() && error.kind() == std::io::ErrorKind::NotFound => {
                return Ok(Daemon::default());
            }
            Err(error) => {
                return Err(ConfigError::new(format!("cannot be read: {error}")).in_file(path));
            }
        };
        Daemon::parse(&text, path)
    }

    /// Reads the text of a file. Relative paths in it start at the file's directory.
    ///
    /// # Errors
    /// When it says something wrong.
    pub fn parse(text: &str, file: &Path) -> Result<Daemon, ConfigError> {
        let mut daemon: Daemon = ConfigError::parse(text).map_err(|error| error.in_file(file))?;
        let directory = file.parent().unwrap_or(Path::new(""));
        for path in [
            &mut daemon.drivers,
            &mut daemon.plugins,
            &mut daemon.spec_directory,
            &mut daemon.data,
            &mut daemon.control,
        ] {
            *path = directory.join(&*path);
        }
        if let Some(relay) = &mut daemon.relay {
            *relay = directory.join(&*relay);
        }
        daemon.check().map_err(|error| error.in_file(file))?;
        Ok(daemon)
    }

    fn check(&self) -> Result<(), ConfigError> {
        if self.control.starts_with(&self.plugins) {
            return Err(ConfigError::new(format!(
                "control = {:?} lies in the plugins directory, where Docker takes every socket for a plugin: move it, for example to /run/dockside/control.sock",
                self.control
            )));
        }
        if self.relay_directory().starts_with(&self.plugins) {
            return Err(ConfigError::new(format!(
                "relay = {:?} lies in the plugins directory, where Docker takes every socket for a plugin: move it, for example to /run/dockside/relay",
                self.relay_directory()
            )));
        }
        if let Some(registry) = self.registry
            && !registry.ip().is_loopback()
            && !self.registry_for_others
        {
            return Err(ConfigError::new(format!(
                "registry = \"{registry}\" can be reached from other machines: use 127.0.0.1:{}, or say registry-for-others = true",
                registry.port()
            )));
        }
        if self.socket_group.as_deref() == Some("") {
            return Err(ConfigError::new(
                "socket-group is empty: name a group, or leave the key out",
            ));
        }
        Ok(())
    }

    /// Directory through which relays reach the daemon. Docker mounts it into each of them, so it has to be there as long as they are.
    pub fn relay_directory(&self) -> PathBuf {
        let beside = self.control.parent().unwrap_or(Path::new("/"));
        self.relay.clone().unwrap_or_else(|| beside.join("relay"))
    }

    /// Puts what the command line and the environment say over the file.
    pub fn apply(&mut self, overrides: Overrides) {
        let pairs = [
            (&mut self.drivers, overrides.drivers),
            (&mut self.plugins, overrides.plugins),
            (&mut self.spec_directory, overrides.specs),
            (&mut self.data, overrides.data),
            (&mut self.control, overrides.control),
        ];
        for (place, path) in pairs {
            if let Some(path) = path {
                *place = path;
            }
        }
    }
}
