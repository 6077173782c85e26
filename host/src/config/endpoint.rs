//! `[endpoint]`: where a plugin listens when it is not at its usual socket, and what Docker is told of that.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};

use super::grants::Host;
use super::{ConfigError, PluginName, SecretName, SecretSource};

/// What to write so that a network can be listened on.
const OPEN: &str = "whoever reaches the plugin has what the Docker Engine has of it, which is as good as root on this machine: ask for a certificate with tls = { certificate = \"FILE\", key = { file = \"FILE\" }, client-ca = \"FILE\" }, listen on 127.0.0.1, or write insecure = true if something else keeps strangers away";

/// How Docker finds a plugin that has no socket in the plugins directory.
#[derive(Debug, Clone, PartialEq, serde::Deserialize)]
#[serde(
    deny_unknown_fields,
    rename_all = "kebab-case",
    expecting = "a table: endpoint = { listen = \"tcp://127.0.0.1:7070\" }"
)]
pub struct Endpoint {
    /// Where to listen.
    pub listen: Listen,
    /// The host that Docker is told to connect to, if it is not the one of `listen`.
    #[serde(default, deserialize_with = "host")]
    pub advertise: Option<String>,
    /// Strangers may connect.
    #[serde(default)]
    pub insecure: bool,
    /// The plugin speaks TLS.
    #[serde(default)]
    pub tls: Option<ServerTls>,
    /// What the engine uses for TLS.
    #[serde(default)]
    pub client: Option<ClientTls>,
}

/// An address to listen on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Listen {
    /// `tcp://HOST:PORT`: an address of this machine, or `localhost`.
    Tcp {
        /// As it was written.
        host: String,
        /// What is bound. Port 0: one that is free.
        address: SocketAddr,
    },
    /// `unix:///PATH`: a socket outside of the plugins directory.
    Unix(PathBuf),
}

/// The plugin's side of TLS.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
#[serde(
    deny_unknown_fields,
    rename_all = "kebab-case",
    expecting = "a table: tls = { certificate = \"FILE\", key = { file = \"FILE\" }, client-ca = \"FILE\" }"
)]
pub struct ServerTls {
    /// The certificate with its chain, as PEM.
    pub certificate: PathBuf,
    /// Its private key, as PEM.
    pub key: Key,
    /// The authorities whose certificates clients must have one of, as PEM. None: clients need none.
    #[serde(default)]
    pub client_ca: Option<PathBuf>,
}

/// Where a private key is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Key {
    /// In a secret of the table `[secrets]`.
    Secret(SecretName),
    /// Elsewhere.
    Source(SecretSource),
}

/// The engine's side of TLS: paths as the engine sees them. dockside writes them down and does not read the files.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
#[serde(
    deny_unknown_fields,
    rename_all = "kebab-case",
    expecting = "a table: client = { ca-file = \"PATH\", cert-file = \"PATH\", key-file = \"PATH\" }"
)]
pub struct ClientTls {
    /// The authority that the plugin's certificate must be from.
    pub ca_file: PathBuf,
    /// The engine's own certificate.
    #[serde(default)]
    pub cert_file: Option<PathBuf>,
    /// Its private key.
    #[serde(default)]
    pub key_file: Option<PathBuf>,
}

impl Endpoint {
    /// Makes relative paths start at `directory`, but for those that only the engine reads.
    pub(super) fn rooted(&mut self, directory: &Path) {
        if let Some(tls) = &mut self.tls {
            tls.certificate = directory.join(&tls.certificate);
            if let Key::Source(source) = &mut tls.key {
                source.rooted(directory);
            }
            if let Some(file) = &mut tls.client_ca {
                *file = directory.join(&*file);
            }
        }
    }

    /// What its keys say of each other. `names` are those that the file has, if it has any.
    pub(super) fn check(&self, names: Option<&[PluginName]>) -> Result<(), ConfigError> {
        let wrong = |text: String| Err(ConfigError::new(text));
        let tcp = match &self.listen {
            Listen::Tcp { address, .. } => Some(address),
            Listen::Unix(_) => None,
        };
        if names.is_some_and(|names| names.len() > 1)
            && tcp.is_none_or(|address| address.port() != 0)
        {
            return wrong(
                "endpoint.listen is one address and this file has several names, which Docker's calls do not tell apart: write port 0, so that each name gets a port of its own, or give each a file of its own".to_owned(),
            );
        }
        let Some(address) = tcp else {
            if self.tls.is_some() || self.client.is_some() || self.advertise.is_some() {
                return wrong(
                    "endpoint: tls, client and advertise are for listen = \"tcp://HOST:PORT\", and this is a unix socket".to_owned(),
                );
            }
            return Ok(());
        };
        let asks = self.tls.as_ref().is_some_and(|tls| tls.client_ca.is_some());
        if !address.ip().is_loopback() && !asks && !self.insecure {
            return wrong(format!(
                "endpoint.listen = \"{}\" can be reached from other machines, and {OPEN}",
                self.listen
            ));
        }
        match (&self.tls, &self.client) {
            (None, Some(_)) => wrong(
                "endpoint.client is there and endpoint.tls is not: without it the engine is told a plain address and reads no certificates".to_owned(),
            ),
            (Some(_), Some(client)) if client.cert_file.is_some() != client.key_file.is_some() => {
                wrong("endpoint.client: cert-file and key-file go together".to_owned())
            }
            (Some(_), client)
                if asks && client.as_ref().is_none_or(|client| client.cert_file.is_none()) =>
            {
                wrong("endpoint.tls.client-ca asks the engine for a certificate, and endpoint.client does not say which: client = { ca-file = \"PATH\", cert-file = \"PATH\", key-file = \"PATH\" }, each as the engine sees it".to_owned())
            }
            (_, Some(client)) => client.check(),
            (_, None) => Ok(()),
        }
    }

    /// Whether nobody but root and the daemon's own user may connect, who are told apart by the kernel alone.
    pub fn is_private(&self) -> bool {
        !self.insecure && self.tls.as_ref().is_none_or(|tls| tls.client_ca.is_none())
    }

    /// The files that are read for it, with the keys that name them.
    pub(super) fn files(&self) -> impl Iterator<Item = (&'static str, &PathBuf)> {
        let tls = self.tls.iter();
        tls.flat_map(|tls| {
            let key = match &tls.key {
                Key::Source(SecretSource::File(file)) => Some(file),
                _ => None,
            };
            [
                Some(("endpoint.tls.certificate", &tls.certificate)),
                key.map(|file| ("endpoint.tls.key", file)),
                tls.client_ca
                    .as_ref()
                    .map(|file| ("endpoint.tls.client-ca", file)),
            ]
            .into_iter()
            .flatten()
        })
    }

    /// The secret that is named.
    pub(super) fn named_secret(&self) -> Option<(&'static str, &SecretName)> {
        match &self.tls.as_ref()?.key {
            Key::Secret(name) => Some(("endpoint.tls.key", name)),
            Key::Source(_) => None,
        }
    }

    /// What Docker is told to connect to, when `port` is bound.
    pub fn address(&self, port: u16) -> String {
        match &self.listen {
            Listen::Unix(path) => format!("unix://{}", path.display()),
            Listen::Tcp { host, address } => {
                let scheme = if self.tls.is_some() { "https" } else { "tcp" };
                let host = match &self.advertise {
                    Some(host) => host.clone(),
                    // What is bound to every address answers on this one.
                    None if address.ip().is_unspecified() && address.is_ipv4() => {
                        Ipv4Addr::LOCALHOST.to_string()
                    }
                    None if address.ip().is_unspecified() => format!("[{}]", Ipv6Addr::LOCALHOST),
                    None => host.clone(),
                };
                format!("{scheme}://{host}:{port}")
            }
        }
    }
}

impl ClientTls {
    fn check(&self) -> Result<(), ConfigError> {
        let files = [
            ("ca-file", Some(&self.ca_file)),
            ("cert-file", self.cert_file.as_ref()),
            ("key-file", self.key_file.as_ref()),
        ];
        for (key, file) in files {
            if file.is_some_and(|file| !file.is_absolute()) {
                return Err(ConfigError::new(format!(
                    "endpoint.client.{key} must be an absolute path: the engine reads that file, and it starts somewhere else"
                )));
            }
        }
        Ok(())
    }
}

impl FromStr for Listen {
    type Err = String;

    fn from_str(text: &str) -> Result<Listen, String> {
        if let Some(path) = text.strip_prefix("unix://") {
            if !path.starts_with('/') || path.ends_with('/') {
                return Err(format!(
                    "{text:?}: write unix:// and an absolute path, which makes three slashes"
                ));
            }
            if path.len() > PluginName::MAX_SOCKET_PATH {
                return Err(format!(
                    "{text:?}: a socket's path has at most {} bytes",
                    PluginName::MAX_SOCKET_PATH
                ));
            }
            return Ok(Listen::Unix(path.into()));
        }
        let form = || {
            format!(
                "{text:?} is no address to listen on: write \"tcp://127.0.0.1:7070\", with an address of this machine or localhost and a port, or \"unix:///run/dockside/NAME.sock\""
            )
        };
        let (host, port) = text
            .strip_prefix("tcp://")
            .and_then(|rest| rest.rsplit_once(':'))
            .ok_or_else(form)?;
        let port: u16 = port.parse().map_err(|_| form())?;
        let ip = match host {
            "localhost" => IpAddr::V4(Ipv4Addr::LOCALHOST),
            _ => match host.strip_prefix('[') {
                Some(rest) => IpAddr::V6(
                    rest.strip_suffix(']')
                        .and_then(|host| host.parse().ok())
                        .ok_or_else(form)?,
                ),
                None => IpAddr::V4(host.parse().map_err(|_| form())?),
            },
        };
        Ok(Listen::Tcp {
            host: host.to_owned(),
            address: SocketAddr::new(ip, port),
        })
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Listen::Tcp { host, address } => write!(f, "tcp://{host}:{}", address.port()),
            Listen::Unix(path) => write!(f, "unix://{}", path.display()),
        }
    }
}

impl<'de> Deserialize<'de> for Listen {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Listen, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(D::Error::custom)
    }
}

/// A host that can stand in a URL.
fn host<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let text = String::deserialize(deserializer)?;
    let host: Host = text.parse().map_err(|reason| {
        D::Error::custom(format!(
            "{text:?} is no host to connect to, such as \"plugins.example.org\" or \"10.0.0.5\": {reason}"
        ))
    })?;
    Ok(Some(host.to_string()))
}

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Key, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Key;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the name of a secret of [secrets], or { file = \"PATH\" }")
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<Key, E> {
                text.parse().map(Key::Secret).map_err(|_| {
                    // Somebody may have written the key itself here.
                    E::custom("key is the name of a secret of [secrets], or { file = \"PATH\" }")
                })
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Key, A::Error> {
                SecretSource::deserialize(MapAccessDeserializer::new(map)).map(Key::Source)
            }
        }
        deserializer.deserialize_any(Any)
    }
}
