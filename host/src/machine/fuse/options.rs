//! Options of helper programs: what is not in a helper's table does not reach it.

use std::ops::RangeInclusive;

use crate::machine::{ErrorKind, MachineError};

/// Longest value of an option, in bytes. A URL is the longest thing that makes sense.
const LONGEST: usize = 1024;

/// What an option takes. None of them lets through a comma, a blank, a quote, a backslash or a control character, with which a value could
/// become a second option.
#[derive(Debug, Clone)]
pub(super) enum Takes {
    /// Nothing, `true` or `yes`; with `false` or `no` it is as if it were not given.
    Switch,
    /// `true` or `false`, where the helper's own default may be either.
    Bool,
    /// A whole number.
    Number(RangeInclusive<u64>),
    /// Permission bits in octal.
    Mode,
    /// One of these words.
    OneOf(&'static [&'static str]),
    /// A number with a unit of time, as Go writes it: `90s`, `5m`, `1h30m`, `0`.
    Duration,
    /// A number of bytes with an optional unit: `64M`, `10Gi`, `off`.
    Size,
    /// Letters, digits, `.`, `_` and `-`.
    Word,
    /// The name of a method of SSH's: a word that can have an `@` and a `+` in it.
    Algorithm,
    /// A name of a host or an address, IPv6 without brackets.
    Host,
    /// A login name.
    User,
    /// `http://` or `https://`, without user and password.
    Url,
}

/// An option that may be given.
#[derive(Debug)]
pub(super) struct Known {
    /// What drivers call it.
    pub(super) name: &'static str,
    /// What it takes.
    pub(super) takes: Takes,
}

/// Short form for tables.
pub(super) const fn known(name: &'static str, takes: Takes) -> Known {
    Known { name, takes }
}

/// An option that was given and fits: its name from the table and its value, empty for a switch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Chosen {
    pub(super) name: &'static str,
    pub(super) value: String,
}

/// Checks options against a table.
pub(super) fn check(
    owner: &str,
    table: &[Known],
    given: &[(String, String)],
) -> Result<Vec<Chosen>, MachineError> {
    let mut chosen: Vec<Chosen> = Vec::with_capacity(given.len());
    let mut seen: Vec<&str> = Vec::with_capacity(given.len());
    for (name, value) in given {
        let Some(known) = table.iter().find(|known| known.name == name) else {
            return Err(unknown(owner, table, name));
        };
        if seen.contains(&known.name) {
            return Err(invalid(format!("{owner}: {name} is given twice")));
        }
        seen.push(known.name);
        match fit(&known.takes, value) {
            Ok(Some(value)) => chosen.push(Chosen {
                name: known.name,
                value,
            }),
            Ok(None) => {}
            Err(wanted) => {
                return Err(invalid(format!(
                    "{owner}: {name} takes {wanted}, not {}",
                    shown(value)
                )));
            }
        }
    }
    Ok(chosen)
}

/// The value of a chosen option.
pub(super) fn value<'a>(chosen: &'a [Chosen], name: &str) -> Option<&'a str> {
    chosen
        .iter()
        .find(|option| option.name == name)
        .map(|option| option.value.as_str())
}

/// A refusal of what makes no sense or is not allowed.
pub(super) fn invalid(message: impl Into<String>) -> MachineError {
    MachineError::new(ErrorKind::Invalid, message)
}

/// What somebody typed, cut and with everything odd made visible.
pub(super) fn shown(text: &str) -> String {
    let mut cut: String = text.chars().take(64).collect();
    if cut.len() < text.len() {
        cut.push('…');
    }
    format!("{cut:?}")
}

fn unknown(owner: &str, table: &[Known], name: &str) -> MachineError {
    let names: Vec<&str> = table.iter().map(|known| known.name).collect();
    let close = names
        .iter()
        .filter(|known| known.eq_ignore_ascii_case(name) || strsim::jaro_winkler(known, name) > 0.9)
        .max_by(|a, b| strsim::jaro_winkler(a, name).total_cmp(&strsim::jaro_winkler(b, name)));
    let hint = match close {
        Some(close) => format!("; did you mean {close}?"),
        None => format!("; it takes {}", names.join(", ")),
    };
    invalid(format!(
        "{owner} has no option {} that may be set{hint}",
        shown(name)
    ))
}

/// The value as the helper gets it, `None` for a switch that is off, or what would fit.
fn fit(takes: &Takes, value: &str) -> Result<Option<String>, String> {
    let as_is = |fits: bool, wanted: &str| {
        if fits && value.len() <= LONGEST {
            Ok(Some(value.to_owned()))
        } else {
            Err(wanted.to_owned())
        }
    };
    match takes {
        Takes::Switch => match value {
            "" | "true" | "yes" => Ok(Some(String::new())),
            "false" | "no" => Ok(None),
            _ => Err("true or false".to_owned()),
        },
        Takes::Bool => match value {
            "" | "true" | "yes" => Ok(Some("true".to_owned())),
            "false" | "no" => Ok(Some("false".to_owned())),
            _ => Err("true or false".to_owned()),
        },
        Takes::Number(range) => {
            let number = digits(value)
                .then(|| value.parse::<u64>().ok())
                .flatten()
                .filter(|number| range.contains(number));
            match number {
                Some(number) => Ok(Some(number.to_string())),
                None => Err(format!(
                    "a number from {} to {}",
                    range.start(),
                    range.end()
                )),
            }
        }
        Takes::Mode => as_is(
            (1..=4).contains(&value.len())
                && value.bytes().all(|byte| (b'0'..=b'7').contains(&byte)),
            "permission bits in octal such as 022",
        ),
        Takes::OneOf(words) => as_is(
            words.contains(&value),
            &format!("one of {}", words.join(", ")),
        ),
        Takes::Duration => as_is(is_duration(value), "a time such as 90s, 5m or 1h30m"),
        Takes::Size => as_is(is_size(value), "a size such as 512M or 10G"),
        Takes::Word => as_is(is_word(value), "letters, digits, '.', '_' and '-'"),
        Takes::Algorithm => as_is(
            is_word(&value.replace(['@', '+'], ".")),
            "the name of one method, such as aes128-gcm@openssh.com",
        ),
        Takes::Host => as_is(is_host(value), "the name or address of a host"),
        Takes::User => as_is(is_user(value), "a login name"),
        Takes::Url => as_is(
            is_url(value),
            "a URL such as https://host:9000 without a password",
        ),
    }
}

fn digits(text: &str) -> bool {
    (1..=20).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn is_duration(text: &str) -> bool {
    if text == "0" {
        return true;
    }
    let mut rest = text;
    let mut parts = 0;
    while !rest.is_empty() {
        let number = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (number, after) = rest.split_at(number);
        let unit = ["ms", "h", "m", "s"]
            .into_iter()
            .find_map(|unit| after.strip_prefix(unit));
        match unit {
            Some(after) if (1..=9).contains(&number.len()) => rest = after,
            _ => return false,
        }
        parts += 1;
    }
    (1..=4).contains(&parts)
}

fn is_size(text: &str) -> bool {
    let number = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(number);
    text == "off"
        || ((1..=15).contains(&number.len())
            && ["", "B", "K", "M", "G", "T", "Ki", "Mi", "Gi", "Ti"].contains(&unit))
}

fn is_word(text: &str) -> bool {
    (1..=128).contains(&text.len())
        && text.starts_with(|first: char| first.is_ascii_alphanumeric())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
}

/// Whether this is a login name that no program takes for anything else.
pub(super) fn is_user(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text.starts_with(|first: char| first.is_ascii_alphanumeric() || first == '_')
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"._+-".contains(&byte))
}

/// Whether this is the name of a host, an IPv4 address or an IPv6 address without brackets.
pub(super) fn is_host(text: &str) -> bool {
    text.parse::<std::net::Ipv6Addr>().is_ok() || is_host_name(text)
}

/// Whether this is the name of a host or an IPv4 address.
pub(super) fn is_host_name(text: &str) -> bool {
    (1..=253).contains(&text.len())
        && text.split('.').all(|label| {
            (1..=63).contains(&label.len())
                && label.starts_with(|first: char| first.is_ascii_alphanumeric() || first == '_')
                && label
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte))
        })
}

fn is_url(text: &str) -> bool {
    let Some(rest) = text
        .strip_prefix("https://")
        .or_else(|| text.strip_prefix("http://"))
    else {
        return false;
    };
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let path_fits = path
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b"/._~-%+=".contains(&byte))
        && path.split('/').all(|part| part != "..");
    path_fits && split_host_port(authority).is_some()
}

/// Host and port of `host`, `host:port`, `[v6]` or `[v6]:port`.
pub(super) fn split_host_port(authority: &str) -> Option<(&str, Option<u16>)> {
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest.split_once(']')?;
            host.parse::<std::net::Ipv6Addr>().ok()?;
            match port {
                "" => (host, None),
                port => (host, Some(port.strip_prefix(':')?)),
            }
        }
        None => match authority.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        },
    };
    if !is_host(host) {
        return None;
    }
    match port {
        None => Some((host, None)),
        Some(port) if digits(port) => match port.parse() {
            Ok(0) | Err(_) => None,
            Ok(port) => Some((host, Some(port))),
        },
        Some(_) => None,
    }
}

/// Checks a path on the other side: no `..`, nothing that cannot be seen, no longer than a path can be.
pub(super) fn remote_path(owner: &str, path: &str) -> Result<(), MachineError> {
    if path.len() > 4095 {
        return Err(invalid(format!(
            "{owner}: the remote path is longer than 4,095 bytes"
        )));
    }
    if path.chars().any(char::is_control) {
        return Err(invalid(format!(
            "{owner}: the remote path {} has control characters",
            shown(path)
        )));
    }
    if path.split('/').any(|part| part == "..") {
        return Err(invalid(format!(
            "{owner}: the remote path {} has \"..\" in it; nobody can say where that leads",
            shown(path)
        )));
    }
    Ok(())
}
