//! Places that a plugin may reach: paths, hosts, and what lies below them. Everything is compared in one spelling and on whole segments.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

use serde::de::{Deserialize, Deserializer, Error as _};

/// Length of a path in bytes: `PATH_MAX` less its NUL.
const MAX_PATH: usize = 4095;

/// Reads a type from TOML text.
macro_rules! from_text {
    ($($type:ty),+) => {$(
        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?
                    .parse()
                    .map_err(D::Error::custom)
            }
        }
    )+};
}

from_text!(HostPath, Export, Share, Remote);

/// A path as the names between its slashes. Two spellings of one path are equal; symbolic links are not followed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Segments(Vec<String>);

impl Segments {
    /// Reads what is between slashes. `..` is refused, as nobody can say where it leads.
    pub(super) fn parse(path: &str) -> Result<Segments, &'static str> {
        if path.len() > MAX_PATH {
            return Err("the path is longer than 4095 bytes");
        }
        if path.chars().any(char::is_control) {
            return Err("a path has no control characters");
        }
        let segments: Vec<String> = path
            .split('/')
            .filter(|segment| !matches!(*segment, "" | "."))
            .map(ToOwned::to_owned)
            .collect();
        if segments.iter().any(|segment| segment == "..") {
            return Err("a path with .. in it can lead anywhere");
        }
        Ok(Segments(segments))
    }

    /// Whether `other` is this place or lies below it.
    pub(super) fn cover(&self, other: &Segments) -> bool {
        other.0.starts_with(&self.0)
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for Segments {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("/"))
    }
}

/// A directory of the machine, with everything below it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostPath(Segments);

impl HostPath {
    /// Whether `other` is this directory or lies below it.
    pub fn covers(&self, other: &HostPath) -> bool {
        self.0.cover(&other.0)
    }
}

impl FromStr for HostPath {
    type Err = String;
    fn from_str(text: &str) -> Result<HostPath, String> {
        if !text.starts_with('/') {
            return Err(format!(
                "{text:?} is no absolute path: it must begin with /"
            ));
        }
        Segments::parse(text)
            .map(HostPath)
            .map_err(|reason| format!("{text:?}: {reason}"))
    }
}

impl fmt::Display for HostPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "/{}", self.0)
    }
}

/// A host on the network: a name or an address, in one spelling.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Host {
    /// A name, in lower case and without a final dot.
    Name(String),
    /// An address. An IPv4 address that is written as an IPv6 one is an IPv4 address.
    Address(IpAddr),
    /// A link-local IPv6 address with its interface.
    Scoped(Ipv6Addr, String),
}

impl FromStr for Host {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Host, &'static str> {
        const NO_HOST: &str = "the server is neither a host name nor an address";
        let bare = match text.strip_prefix('[') {
            Some(rest) => rest
                .strip_suffix(']')
                .filter(|inner| inner.contains(':'))
                .ok_or(NO_HOST)?,
            None => text,
        };
        if let Ok(address) = bare.parse::<IpAddr>() {
            return Ok(Host::Address(address.to_canonical()));
        }
        if let Some((address, zone)) = bare.split_once('%') {
            let address = address.parse().map_err(|_| NO_HOST)?;
            if !is_link_name(zone) {
                return Err(NO_HOST);
            }
            return Ok(Host::Scoped(address, zone.to_owned()));
        }
        let name = bare.strip_suffix('.').unwrap_or(bare).to_ascii_lowercase();
        let label = |label: &str| {
            (1..=63).contains(&label.len())
                && !label.starts_with('-')
                && label
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
        };
        if name.len() > 253 || !name.split('.').all(label) {
            return Err(NO_HOST);
        }
        // The resolver takes 10.1, 0x7f.1 and 2130706433 for addresses.
        let last = name.rsplit('.').next().unwrap_or_default();
        let digits = last.strip_prefix("0x").unwrap_or(last);
        if digits.bytes().all(|byte| byte.is_ascii_digit())
            || (digits.len() < last.len() && digits.bytes().all(|byte| byte.is_ascii_hexdigit()))
        {
            return Err(
                "the server is an address in an unusual spelling: write four numbers with dots between them",
            );
        }
        Ok(Host::Name(name))
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Host::Name(name) => f.write_str(name),
            Host::Address(IpAddr::V4(address)) => address.fmt(f),
            Host::Address(IpAddr::V6(address)) => write!(f, "[{address}]"),
            Host::Scoped(address, zone) => write!(f, "[{address}%{zone}]"),
        }
    }
}

/// Whether the kernel can have a link of this name (`dev_valid_name`: at most 15 bytes, no slash, colon or space, not `.` and `..`).
pub(super) fn is_link_name(name: &str) -> bool {
    (1..=15).contains(&name.len())
        && !matches!(name, "." | "..")
        && name.bytes().all(|byte| {
            byte.is_ascii_graphic() && !matches!(byte, b'/' | b':' | b'%' | b'"' | b'\\')
        })
}

/// What an NFS server exports: `server:/path`, with everything below.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Export {
    server: Host,
    path: HostPath,
}

impl Export {
    /// From its two parts.
    pub(super) fn new(server: &str, path: &str) -> Result<Export, String> {
        Ok(Export {
            server: server.parse()?,
            path: path.parse()?,
        })
    }

    pub(super) fn covers(&self, other: &Export) -> bool {
        self.server == other.server && self.path.covers(&other.path)
    }
}

impl FromStr for Export {
    type Err = String;
    fn from_str(text: &str) -> Result<Export, String> {
        let colon = match text.find(']') {
            Some(bracket) if text.starts_with('[') => text
                .get(bracket..)
                .and_then(|rest| rest.find(':'))
                .map(|colon| bracket + colon),
            _ => text.find(':'),
        };
        colon
            .and_then(|colon| Some((text.get(..colon)?, text.get(colon + 1..)?)))
            .filter(|(_, path)| path.starts_with('/'))
            .ok_or_else(|| {
                format!(
                    "{text:?} is no export: write \"server:/path\", an IPv6 address in brackets, or \"*\" for any"
                )
            })
            .and_then(|(server, path)| {
                Export::new(server, path).map_err(|reason| format!("{text:?}: {reason}"))
            })
    }
}

impl fmt::Display for Export {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.server, self.path)
    }
}

/// What an SMB server shares: `//server/share`, with everything below.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Share {
    server: Host,
    path: Segments,
}

impl Share {
    /// From its two parts, the second being the share and what is below it.
    pub(super) fn new(server: &str, path: &str) -> Result<Share, &'static str> {
        // The kernel takes a backslash for a slash.
        if path.contains('\\') {
            return Err("a share is written with / and not with \\");
        }
        let path = Segments::parse(path)?;
        if path.is_empty() {
            return Err("the share is missing");
        }
        // Windows takes no notice of dots and spaces at the end of a name.
        if path
            .0
            .iter()
            .any(|name| name.trim_end_matches(['.', ' ']).is_empty())
        {
            return Err("a name has more than dots and spaces");
        }
        Ok(Share {
            server: server.parse()?,
            path,
        })
    }

    pub(super) fn covers(&self, other: &Share) -> bool {
        self.server == other.server && self.path.cover(&other.path)
    }
}

impl FromStr for Share {
    type Err = String;
    fn from_str(text: &str) -> Result<Share, String> {
        text.strip_prefix("//")
            .and_then(|rest| rest.split_once('/'))
            .ok_or("the form is \"//server/share\", or \"*\" for any")
            .and_then(|(server, path)| Share::new(server, path))
            .map_err(|reason| format!("{text:?}: {reason}"))
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.server {
            // The kernel's CIFS takes IPv6 addresses without brackets.
            Host::Address(IpAddr::V6(address)) => write!(f, "//{address}/{}", self.path),
            server => write!(f, "//{server}/{}", self.path),
        }
    }
}

/// What a FUSE helper reaches: `user@host:/path`, `bucket:/path` or `remote:path`, with everything below. Without a path it is all of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remote {
    /// A host, a bucket or a remote of the helper's own configuration: compared byte for byte.
    name: String,
    /// Whether there is a colon.
    colon: bool,
    /// Whether the path begins with a slash. To sshfs and rclone `dir` and `/dir` are two places.
    absolute: bool,
    path: Segments,
}

impl Remote {
    pub(super) fn covers(&self, other: &Remote) -> bool {
        let everything = self.path.is_empty() && !self.absolute;
        self.name == other.name
            && (everything || self.absolute == other.absolute && self.path.cover(&other.path))
    }

    /// Whether a path, even an empty one, is set apart by a colon.
    pub(super) fn has_colon(&self) -> bool {
        self.colon
    }

    /// Whether there is a path that does not begin with a slash.
    pub(super) fn is_relative(&self) -> bool {
        !self.absolute && !self.path.is_empty()
    }
}

impl FromStr for Remote {
    type Err = String;
    fn from_str(text: &str) -> Result<Remote, String> {
        const FORM: &str = "the form is \"user@host:/path\", \"bucket:/path\" or \"remote:path\", or \"*\" for any";
        let wrong = |reason: &str| format!("{text:?}: {reason}");
        let colon = match text.find(']') {
            Some(bracket) => text
                .get(bracket..)
                .and_then(|rest| rest.find(':'))
                .map(|colon| bracket + colon),
            None => text.find(':'),
        };
        let (name, path) = match colon {
            Some(colon) => (text.get(..colon), text.get(colon + 1..)),
            None => (Some(text), None),
        };
        let name = name.unwrap_or_default();
        let (user, host) = match name.rsplit_once('@') {
            Some((user, host)) => (Some(user), host),
            None => (None, name),
        };
        // Helpers read more into these names than one would think: options after a dash, for rclone whole configurations after a colon or
        // a comma.
        let plain = |part: &str| {
            part.starts_with(|first: char| first.is_ascii_alphanumeric() || first == '_')
                && part
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"._+-".contains(&byte))
        };
        let host_fits = if host.starts_with('[') {
            host.parse::<Host>().is_ok()
        } else {
            plain(host)
        };
        if !host_fits || !user.is_none_or(plain) {
            return Err(wrong(FORM));
        }
        let colon = path.is_some();
        let path = path.unwrap_or_default();
        let segments = Segments::parse(path).map_err(wrong)?;
        let relative = path.strip_prefix('/').unwrap_or(path);
        let plain = relative.strip_suffix('/').unwrap_or(relative);
        if plain != segments.to_string() {
            // In a bucket a//b and a/./b are not below a/b.
            return Err(wrong("write the path without // and /./"));
        }
        Ok(Remote {
            name: name.to_owned(),
            colon,
            absolute: path.starts_with('/'),
            path: segments,
        })
    }
}

impl fmt::Display for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let colon = if self.colon { ":" } else { "" };
        let slash = if self.absolute { "/" } else { "" };
        write!(f, "{}{colon}{slash}{}", self.name, self.path)
    }
}

/// One entry of a list of places.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rule<T> {
    /// `"*"`: any place.
    Any,
    /// This one and everything below.
    Only(T),
}

impl<'de, T: FromStr<Err = String>> Deserialize<'de> for Rule<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Rule<T>, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text == "*" {
            return Ok(Rule::Any);
        }
        text.parse().map(Rule::Only).map_err(D::Error::custom)
    }
}

/// Whether one of the rules is for any place, or for one of which `covers` is true.
pub(super) fn allowed<T>(rules: &[Rule<T>], covers: impl Fn(&T) -> bool) -> bool {
    rules.iter().any(|rule| match rule {
        Rule::Any => true,
        Rule::Only(place) => covers(place),
    })
}
