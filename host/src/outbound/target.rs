//! Where a request goes: a URI that can be understood in one way only.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use http::Uri;
use percent_encoding::percent_decode_str;

use super::MAX_URI;
use super::error::{HttpError, HttpErrorKind};

/// How often a path may be percent-encoded over and over.
const MAX_DEPTH: usize = 4;

/// A host as it is written in a URI.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Host {
    /// A name in lower case.
    Name(String),
    /// An address in its usual form.
    Address(IpAddr),
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Host::Name(name) => f.write_str(name),
            Host::Address(IpAddr::V4(address)) => address.fmt(f),
            Host::Address(IpAddr::V6(address)) => write!(f, "[{address}]"),
        }
    }
}

/// Scheme, host and port.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Origin {
    /// `https`, and not `http`.
    pub secure: bool,
    /// The host.
    pub host: Host,
    /// The port, which is never 0.
    pub port: u16,
}

impl Origin {
    /// The host with the port, unless that is the scheme's own: what the header `host` says.
    pub fn authority(&self) -> String {
        if self.port == default_port(self.secure) {
            self.host.to_string()
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.secure { "https" } else { "http" };
        write!(f, "{scheme}://{}", self.authority())
    }
}

fn default_port(secure: bool) -> u16 {
    if secure { 443 } else { 80 }
}

/// Where a request goes. All parts are printable ASCII.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// To whom.
    pub origin: Origin,
    /// The path as it is sent; it begins with a slash.
    pub path: String,
    /// The query as it is sent, without its question mark.
    pub query: Option<String>,
    /// The segments of the path, decoded. None is a dot segment, however often it is decoded.
    pub segments: Vec<String>,
}

/// Without the query, where drivers may have put what is nobody's business.
impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.origin, self.path)
    }
}

impl Target {
    /// Understands a URI.
    ///
    /// # Errors
    /// When it is no `http` or `https` URI, or when another program might understand it in another way.
    pub fn of(uri: &Uri) -> Result<Target, HttpError> {
        let secure = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(invalid("the scheme must be http or https")),
        };
        let authority = uri.authority().ok_or_else(|| invalid("it has no host"))?;
        let (host, port) = authority_parts(authority.as_str()).map_err(invalid)?;
        let path = match uri.path() {
            "" => "/",
            path => path,
        };
        let query = uri.query();
        if path.len() + query.map_or(0, str::len) > MAX_URI {
            return Err(HttpError::new(
                HttpErrorKind::UriTooLong,
                format!("the URI is longer than {MAX_URI} bytes"),
            ));
        }
        if !query.unwrap_or_default().bytes().all(is_plain) {
            return Err(invalid("its query has characters that must be encoded"));
        }
        Ok(Target {
            origin: Origin {
                secure,
                host,
                port: port.unwrap_or_else(|| default_port(secure)),
            },
            segments: segments(path).map_err(invalid)?,
            path: path.to_owned(),
            query: query.map(str::to_owned),
        })
    }

    /// Where a `location` leads from here.
    ///
    /// # Errors
    /// As of [`Target::of`].
    pub fn join(&self, location: &[u8]) -> Result<Target, HttpError> {
        let location = std::str::from_utf8(location)
            .ok()
            .filter(|text| text.bytes().all(is_plain))
            .ok_or_else(|| invalid("it has characters that must be encoded"))?;
        let location = location.split('#').next().unwrap_or_default();
        let scheme = if self.origin.secure { "https" } else { "http" };
        let first = location.split(['/', '?']).next().unwrap_or_default();
        let text = if first.contains(':') {
            let lower = location.get(..8).unwrap_or(location).to_ascii_lowercase();
            if !lower.starts_with("http://") && !lower.starts_with("https://") {
                return Err(invalid("the scheme must be http or https"));
            }
            location.to_owned()
        } else if location.starts_with("//") {
            format!("{scheme}:{location}")
        } else if location.starts_with('/') {
            format!("{}{location}", self.origin)
        } else if location.starts_with('?') {
            format!("{}{}{location}", self.origin, self.path)
        } else if location.is_empty() {
            return Ok(self.clone());
        } else {
            let (path, query) = match location.split_once('?') {
                Some((path, query)) => (path, format!("?{query}")),
                None => (location, String::new()),
            };
            format!("{}{}{query}", self.origin, relative(&self.path, path))
        };
        let uri = text
            .parse()
            .map_err(|error| invalid(&format!("it is no URI: {error}")))?;
        Target::of(&uri)
    }

    /// What the request line says.
    pub fn request_target(&self) -> String {
        match &self.query {
            Some(query) => format!("{}?{query}", self.path),
            None => self.path.clone(),
        }
    }
}

fn invalid(reason: &str) -> HttpError {
    HttpError::new(
        HttpErrorKind::UriInvalid,
        format!("the URI cannot be used: {reason}"),
    )
}

/// Printable, and not a backslash, which some take for a slash.
fn is_plain(byte: u8) -> bool {
    byte.is_ascii_graphic() && byte != b'\\'
}

/// A relative path from where `base` is, by RFC 3986, section 5.2.
fn relative(base: &str, path: &str) -> String {
    let mut segments: Vec<&str> = base.split('/').skip(1).collect();
    segments.pop();
    let mut open = false;
    for segment in path.split('/') {
        open = false;
        match segment {
            "." => open = true,
            ".." => {
                segments.pop();
                open = true;
            }
            other => segments.push(other),
        }
    }
    if open {
        segments.push("");
    }
    format!("/{}", segments.join("/"))
}

/// Host and port of an authority.
pub(super) fn authority_parts(authority: &str) -> Result<(Host, Option<u16>), &'static str> {
    if !authority.bytes().all(is_plain) {
        return Err("the host must be printable ASCII; write other names in their xn-- form");
    }
    if authority.contains('@') {
        return Err("it has a user name");
    }
    if let Some(rest) = authority.strip_prefix('[') {
        let (address, port) = rest
            .split_once(']')
            .ok_or("the address has no closing bracket")?;
        let address: Ipv6Addr = address
            .parse()
            .map_err(|_| "the host is no IPv6 address in brackets")?;
        return Ok((Host::Address(IpAddr::V6(address)), parse_port(port)?));
    }
    let (host, port) = match authority.find(':') {
        Some(colon) => authority.split_at(colon),
        None => (authority, ""),
    };
    Ok((parse_host(host)?, parse_port(port)?))
}

fn parse_port(text: &str) -> Result<Option<u16>, &'static str> {
    const WRONG: &str = "the port must be a number from 1 to 65535";
    let Some(digits) = text.strip_prefix(':') else {
        return if text.is_empty() {
            Ok(None)
        } else {
            Err(WRONG)
        };
    };
    if digits.starts_with('0') || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(WRONG);
    }
    digits.parse().map(Some).map_err(|_| WRONG)
}

fn parse_host(host: &str) -> Result<Host, &'static str> {
    if host.is_empty() {
        return Err("it has no host");
    }
    if host.len() > 253 {
        return Err("the name of the host is longer than 253 bytes");
    }
    let host = host.to_ascii_lowercase();
    let last = host.rsplit('.').next().unwrap_or_default();
    // Resolvers also take one to four decimal, octal or hexadecimal numbers for an address, and do not agree on which.
    let numeric = !last.is_empty() && last.bytes().all(|byte| byte.is_ascii_digit())
        || last
            .strip_prefix("0x")
            .is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()));
    if numeric {
        return host
            .parse::<Ipv4Addr>()
            .map(|address| Host::Address(IpAddr::V4(address)))
            .map_err(|_| "an IPv4 address is written as four decimal numbers");
    }
    for label in host.split('.') {
        let outer = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
        let bytes = label.as_bytes();
        if bytes.len() > 63
            || !bytes.first().is_some_and(outer)
            || !bytes.last().is_some_and(outer)
            || !bytes.iter().all(|byte| outer(byte) || *byte == b'-')
        {
            return Err(
                "the name of the host has an empty, too long or odd part; a dot at its end is one",
            );
        }
    }
    Ok(Host::Name(host))
}

/// The decoded segments of a path, where none could lead up or out in any server's reading.
fn segments(path: &str) -> Result<Vec<String>, &'static str> {
    if !path.bytes().all(is_plain) {
        return Err("its path has characters that must be encoded");
    }
    let path = path
        .strip_prefix('/')
        .ok_or("its path must begin with a slash")?;
    // `//host` at the start of a request line is an authority for some.
    if path.starts_with('/') {
        return Err("its path begins with two slashes");
    }
    path.split('/').map(decode).collect()
}

fn decode(segment: &str) -> Result<String, &'static str> {
    let decoded = decode_once(segment)?;
    // Proxies and servers behind each other may each decode once.
    let mut deeper = decoded.clone();
    for _ in 0..MAX_DEPTH {
        if deeper.contains('\\') || deeper.contains(char::is_control) {
            return Err("its path has an encoded backslash or control character");
        }
        // Some servers cut parameters such as `;x` off before they look for dot segments.
        let dots = |part: &str| matches!(part.split(';').next(), Some("." | ".."));
        if deeper.split('/').any(dots) {
            return Err("its path has a segment of dots, which would lead elsewhere");
        }
        let next = decode_once(&deeper)?;
        if next == deeper {
            return Ok(decoded);
        }
        deeper = next;
    }
    Err("its path is encoded many times over")
}

fn decode_once(segment: &str) -> Result<String, &'static str> {
    percent_decode_str(segment)
        .decode_utf8()
        .map(std::borrow::Cow::into_owned)
        .map_err(|_| "its path is not UTF-8 when it is decoded")
}
