//! What mounts are told by users: names, paths and options, each against a list of what is allowed.

use std::net::{IpAddr, Ipv6Addr};
use std::path::{Component, Path};

use crate::machine::{ErrorKind, MachineError};

/// The longest path that the kernel takes, from `PATH_MAX` less its final NUL.
pub(super) const LONGEST_PATH: usize = 4095;

/// The most characters of a wrong text that an error repeats.
const REPEATED: usize = 80;

/// What an option may be set to.
#[derive(Debug, Clone, Copy)]
pub(super) enum Rule {
    /// Nothing: it is there or not.
    Switch,
    /// A decimal number from the first to the second.
    Number(u32, u32),
    /// Permissions: octal digits.
    Mode,
    /// One of these words.
    Word(&'static [&'static str]),
    /// Letters, digits, dots, dashes and underscores.
    Name,
}

/// Options that are allowed, by name.
pub(super) type Allowed = [(&'static str, Rule)];

fn invalid(message: String) -> MachineError {
    MachineError::new(ErrorKind::Invalid, message)
}

/// A text for an error: short, and with nothing in it that moves a terminal.
pub(super) fn quoted(text: &str) -> String {
    let mut short: String = text.chars().take(REPEATED).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    format!("`{}`", short.escape_debug())
}

/// A path for an error.
pub(super) fn shown(path: &Path) -> String {
    quoted(&path.to_string_lossy())
}

/// Whether a path can be handed to the kernel at all.
pub(super) fn fits(path: &Path) -> bool {
    let bytes = path.as_os_str().as_encoded_bytes();
    bytes.len() <= LONGEST_PATH && !bytes.contains(&0)
}

/// Refuses a path that is not absolute, or that leads up.
pub(super) fn absolute(what: &str, path: &Path) -> Result<(), MachineError> {
    let plain = path
        .components()
        .all(|part| matches!(part, Component::RootDir | Component::Normal(_)));
    if path.is_absolute() && plain && fits(path) {
        return Ok(());
    }
    Err(invalid(format!(
        "{what} {} must be an absolute path without `..`, at most {LONGEST_PATH} bytes long",
        shown(path)
    )))
}

/// Refuses options that are not allowed, are there twice, or have a wrong value.
pub(super) fn check(
    filesystem: &str,
    options: &[(String, String)],
    allowed: &Allowed,
) -> Result<(), MachineError> {
    for (index, (name, value)) in options.iter().enumerate() {
        let Some((_, rule)) = allowed.iter().find(|(known, _)| known == name) else {
            let list: Vec<_> = allowed.iter().map(|(known, _)| *known).collect();
            return Err(invalid(format!(
                "option {} of {filesystem} is not allowed; allowed are {}",
                quoted(name),
                list.join(", ")
            )));
        };
        if options.iter().take(index).any(|(before, _)| before == name) {
            return Err(invalid(format!(
                "option `{name}` of {filesystem} is there twice"
            )));
        }
        let expected = match rule {
            Rule::Switch if !value.is_empty() => "no value".to_owned(),
            Rule::Number(least, most) if !number(value, *least, *most) => {
                format!("a number from {least} to {most}")
            }
            Rule::Mode if !mode(value) => "up to four octal digits".to_owned(),
            Rule::Word(words) if !words.contains(&value.as_str()) => {
                format!("one of {}", words.join(", "))
            }
            Rule::Name if !word(value, 64) => "letters, digits, `.`, `-` and `_`".to_owned(),
            _ => continue,
        };
        return Err(invalid(format!(
            "option `{name}` of {filesystem} takes {expected}, not {}",
            quoted(value)
        )));
    }
    Ok(())
}

fn number(text: &str, least: u32, most: u32) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit())
        && text
            .parse()
            .is_ok_and(|number: u32| (least..=most).contains(&number))
}

fn mode(text: &str) -> bool {
    (1..=4).contains(&text.len()) && text.bytes().all(|byte| matches!(byte, b'0'..=b'7'))
}

fn word(text: &str, longest: usize) -> bool {
    (1..=longest).contains(&text.len())
        && !text.starts_with(['-', '.'])
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_'))
}

/// A server that a user named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Server {
    /// By its address.
    Address(IpAddr),
    /// By a name to be looked up.
    Name(String),
}

impl Server {
    /// Reads a host name, an IPv4 address, or an IPv6 address with or without brackets.
    pub(super) fn parse(text: &str) -> Result<Server, MachineError> {
        let bracketed = text
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'));
        let found = match bracketed {
            Some(inner) => inner
                .parse::<Ipv6Addr>()
                .ok()
                .map(|address| Server::Address(address.into())),
            None => match text.parse() {
                Ok(address) => Some(Server::Address(address)),
                // What looks like an address and is none is no name either: resolvers read 0x7f.1 and 010.0.0.1 in ways of their own.
                Err(_) if text.split('.').next_back().is_some_and(numeric) => None,
                Err(_) => word(text, 253).then(|| Server::Name(text.to_owned())),
            },
        };
        found.ok_or_else(|| {
            invalid(format!(
                "server {} is no host name and no address",
                quoted(text)
            ))
        })
    }

    /// As it is written in front of a path: brackets keep the colons of IPv6 apart.
    pub(super) fn in_source(&self) -> String {
        match self {
            Server::Address(IpAddr::V6(address)) => format!("[{address}]"),
            Server::Address(IpAddr::V4(address)) => address.to_string(),
            Server::Name(name) => name.clone(),
        }
    }

    /// As it is written between slashes.
    pub(super) fn in_share(&self) -> String {
        match self {
            Server::Address(address) => address.to_string(),
            Server::Name(name) => name.clone(),
        }
    }
}

fn numeric(label: &str) -> bool {
    label.starts_with(|first: char| first.is_ascii_digit())
        && label
            .bytes()
            .all(|byte| byte.is_ascii_hexdigit() || byte == b'x' || byte == b'X')
}

/// Refuses a text that could be read as more than one thing: control characters and commas, and nothing at all.
pub(super) fn plain(what: &str, text: &str, longest: usize) -> Result<(), MachineError> {
    if (1..=longest).contains(&text.len()) && !text.chars().any(|c| c.is_control() || c == ',') {
        return Ok(());
    }
    Err(invalid(format!(
        "{what} {} must have 1 to {longest} bytes, without commas and control characters",
        quoted(text)
    )))
}

#[cfg(test)]
#[allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]
mod tests {
    use super::*;

    const ALLOWED: &Allowed = &[
        ("soft", Rule::Switch),
        ("port", Rule::Number(1, 65535)),
        ("mode", Rule::Mode),
        ("sec", Rule::Word(&["sys", "none"])),
        ("charset", Rule::Name),
    ];

    #[test]
    fn takes_options_that_are_allowed() {
        for (name, value) in [
            ("soft", ""),
            ("port", "1"),
            ("port", "65535"),
            ("mode", "0755"),
            ("mode", "7"),
            ("sec", "none"),
            ("charset", "utf8"),
        ] {
            check("nfs", &[(name.to_owned(), value.to_owned())], ALLOWED).unwrap();
        }
    }

    #[test]
    fn refuses_hostile_options() {
        let long = "9".repeat(5000);
        for (name, value) in [
            ("suid", ""),
            ("dev", ""),
            ("soft", ",suid"),
            ("soft,suid", ""),
            ("Soft", ""),
            ("", ""),
            ("-o", "suid"),
            ("port", "2049,suid"),
            ("port", "0"),
            ("port", "65536"),
            ("port", "+1"),
            ("port", " 1"),
            ("port", "1\n"),
            ("port", "1\0"),
            ("port", ""),
            ("port", long.as_str()),
            ("mode", "8"),
            ("mode", "00755"),
            ("mode", "-1"),
            ("sec", "sys,suid"),
            ("sec", "SYS"),
            ("sec", ""),
            ("charset", "utf8,suid"),
            ("charset", "../x"),
            ("charset", "-x"),
            ("charset", "a=b"),
            ("charset", long.as_str()),
        ] {
            let error = check("nfs", &[(name.to_owned(), value.to_owned())], ALLOWED).unwrap_err();
            assert_eq!(error.kind, ErrorKind::Invalid, "{name}={value}");
            assert!(error.message.len() < 400, "{}", error.message);
            assert!(!error.message.contains('\n') && !error.message.contains('\0'));
        }
    }

    #[test]
    fn refuses_an_option_that_is_there_twice() {
        let options = [
            ("soft".to_owned(), String::new()),
            ("soft".to_owned(), String::new()),
        ];
        assert!(
            check("nfs", &options, ALLOWED)
                .unwrap_err()
                .message
                .contains("twice")
        );
    }

    #[test]
    fn reads_servers() {
        for (text, source, share) in [
            ("nas.example.org", "nas.example.org", "nas.example.org"),
            ("10.0.2.2", "10.0.2.2", "10.0.2.2"),
            ("2001:DB8::1", "[2001:db8::1]", "2001:db8::1"),
            ("[2001:db8::1]", "[2001:db8::1]", "2001:db8::1"),
            ("9front", "9front", "9front"),
            ("my_nas", "my_nas", "my_nas"),
        ] {
            let server = Server::parse(text).unwrap();
            assert_eq!(
                (server.in_source().as_str(), server.in_share().as_str()),
                (source, share)
            );
        }
    }

    #[test]
    fn refuses_hostile_servers() {
        let long = "a".repeat(5000);
        for text in [
            "",
            "-o",
            "a,suid",
            "a:/etc",
            "a/b",
            "a b",
            "a\nb",
            "a\0b",
            "..",
            ".",
            "[10.0.0.1]",
            "[::1",
            "::1]",
            "[]",
            "fe80::1%eth0",
            "0x7f.1",
            "0177.0.0.1",
            "2130706433",
            "127.1",
            "ä",
            "a=b",
            "a\\b",
            long.as_str(),
        ] {
            assert!(Server::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn refuses_paths_that_are_not_plain() {
        let long = format!("/{}", "a".repeat(5000));
        for path in ["", "a", "../a", "/a/../b", "/a\0b", long.as_str()] {
            assert!(absolute("the path", Path::new(path)).is_err(), "{path}");
        }
        absolute("the path", Path::new("/a,b:c\\d/-o/e f\n")).unwrap();
    }
}
