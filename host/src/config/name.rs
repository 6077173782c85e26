//! The names of plugins.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::de::{Deserialize, Deserializer, Error as _};

use crate::protocol::Kind;

/// A name by which Docker knows a plugin: one or more parts of `[a-zA-Z0-9][a-zA-Z0-9_.:-]*`, joined by `/`.
///
/// Docker takes any text for a name and makes a path of it. The rules here keep that path below the sockets directory.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PluginName(String);

/// Why a text is no plugin name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// It is empty, or has an empty part.
    #[error(
        "{0:?} is no plugin name: a name, and each part of it between slashes, needs at least one character"
    )]
    Empty(String),
    /// A part begins with something else than a letter or a digit.
    #[error("{0:?} is no plugin name: each part must begin with an ASCII letter or digit")]
    Start(String),
    /// It has a character that names do not have.
    #[error(
        "{0:?} is no plugin name: {1:?} is not allowed, only ASCII letters, digits and _ . : - and / between parts"
    )]
    Character(String, char),
    /// It is longer than [`PluginName::MAX_BYTES`].
    #[error("a plugin name of {0} bytes is too long: at most {max}", max = PluginName::MAX_BYTES)]
    TooLong(usize),
    /// A part before the last one ends in `.sock`.
    #[error(
        "{0:?} is no plugin name: a directory for it would take the place of another plugin's socket; only the last part may end in .sock"
    )]
    Socket(String),
    /// The path of its socket is too long for the kernel.
    #[error("the socket {0} would have a path of {1} bytes, and Linux allows {max}: choose a shorter name, or a shorter directory with --plugins", max = PluginName::MAX_SOCKET_PATH)]
    SocketPath(PathBuf, usize),
}

impl PluginName {
    /// Length of a name in bytes.
    pub const MAX_BYTES: usize = 100;

    /// Length of a socket's path in bytes: `sun_path` of `struct sockaddr_un` is 108, one of them for the final NUL (unix(7)).
    pub const MAX_SOCKET_PATH: usize = 107;

    /// The name as Docker writes it.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Where Docker looks for the socket below `plugins`, the directory of sockets.
    ///
    /// # Errors
    /// When the path is too long for a socket.
    pub fn socket_path(&self, plugins: &Path) -> Result<PathBuf, NameError> {
        let path = plugins.join(format!("{}.sock", self.0));
        let length = path.as_os_str().len();
        if length > PluginName::MAX_SOCKET_PATH {
            return Err(NameError::SocketPath(path, length));
        }
        Ok(path)
    }

    /// What to tell the operator if Docker keeps this name for itself, for plugins of this kind: calls never arrive. None if the name is free.
    ///
    /// No error, because a driver of several kinds, or one that serves under other names, can have such a name.
    pub fn reserved_for(&self, kind: Kind) -> Option<&'static str> {
        Some(match (kind, self.as_str()) {
            (Kind::Volume, "local") => {
                "Docker never asks a plugin named `local` for volumes: give it another name with names = [\"NAME\"]"
            }
            (
                Kind::Network,
                "bridge" | "default" | "host" | "ipvlan" | "macvlan" | "none" | "null" | "overlay",
            ) => {
                "Docker has a network driver of its own under this name and never asks the plugin: give it another name with names = [\"NAME\"]"
            }
            (Kind::Network, name) if name == "container" || name.starts_with("container:") => {
                "Docker takes this name for the network of a container and never asks the plugin: give it another name with names = [\"NAME\"]"
            }
            (Kind::Ipam, "default" | "null" | "windowsipam") => {
                "Docker has an IPAM driver of its own under this name and never asks the plugin: give it another name with names = [\"NAME\"]"
            }
            _ => return None,
        })
    }

    /// Whether a text can be the name of a driver: a plugin name of one part.
    pub(crate) fn is_driver(text: &str) -> bool {
        !text.contains('/') && text.parse::<PluginName>().is_ok()
    }
}

impl FromStr for PluginName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<PluginName, NameError> {
        if text.len() > PluginName::MAX_BYTES {
            return Err(NameError::TooLong(text.len()));
        }
        let mut parts = text.split('/').peekable();
        while let Some(part) = parts.next() {
            let Some(first) = part.chars().next() else {
                return Err(NameError::Empty(text.to_owned()));
            };
            let stray = part.chars().find(|character| {
                !character.is_ascii_alphanumeric() && !matches!(character, '_' | '.' | ':' | '-')
            });
            if let Some(stray) = stray {
                return Err(NameError::Character(text.to_owned(), stray));
            }
            // This refuses `.` and `..` as well.
            if !first.is_ascii_alphanumeric() {
                return Err(NameError::Start(text.to_owned()));
            }
            if parts.peek().is_some() && part.ends_with(".sock") {
                return Err(NameError::Socket(text.to_owned()));
            }
        }
        Ok(PluginName(text.to_owned()))
    }
}

impl fmt::Display for PluginName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl AsRef<str> for PluginName {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl<'de> Deserialize<'de> for PluginName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<PluginName, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(D::Error::custom)
    }
}
