//! The request target, read as Go's `net/url` and the engine's router read it.

use percent_encoding::percent_decode_str;

use super::Denial;

/// More query parameters than any request of Docker's has. Newer Go refuses more than 10,000.
const MAX_PARAMETERS: usize = 1000;

/// A request target in its parts.
pub(super) struct Target {
    pub(super) api_version: Option<(u16, u16)>,
    pub(super) path: Vec<String>,
    /// All pairs in their order, repeated ones too.
    pub(super) query: Vec<(String, String)>,
}

/// Splits `uri` as the engine does.
///
/// # Errors
/// A target that the engine redirects or refuses, or that engines read differently.
pub(super) fn split(uri: &str) -> Result<Target, Denial> {
    if uri.is_empty() {
        return Err(Denial::new(
            "the engine named no request target, as it does when it repeats a call to the plugin: try the command again",
        ));
    }
    if let Some(odd) = uri.chars().find(|c| !c.is_ascii_graphic()) {
        return Err(Denial::new(format!(
            "the URL has the character {odd:?} as it is: percent-encode it"
        )));
    }
    if uri.contains('#') {
        return Err(Denial::new(
            "the URL has a '#', which Docker takes as a part of a name: write %23",
        ));
    }
    let target = origin_form(uri)?;
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let mut path = segments(path)?;
    let api_version = take_version(&mut path)?;
    if path.is_empty() {
        return Err(Denial::new("the URL has no path behind the API version"));
    }
    Ok(Target {
        api_version,
        path,
        query: pairs(query)?,
    })
}

/// The target from its path on. A proxy's absolute form is routed by its path.
fn origin_form(uri: &str) -> Result<&str, Denial> {
    if uri.starts_with('/') {
        return Ok(uri);
    }
    let refused =
        || Denial::new("the URL is neither a path nor http://HOST/PATH: send the path alone");
    let (scheme, rest) = uri.split_once("://").ok_or_else(refused)?;
    if !scheme.eq_ignore_ascii_case("http") && !scheme.eq_ignore_ascii_case("https") {
        return Err(refused());
    }
    let host_len = rest
        .find(|c: char| {
            !(c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':' | '[' | ']'))
        })
        .ok_or_else(refused)?;
    match rest.get(host_len..) {
        Some(path) if path.starts_with('/') && host_len > 0 => Ok(path),
        _ => Err(refused()),
    }
}

fn segments(path: &str) -> Result<Vec<String>, Denial> {
    let mut segments = Vec::new();
    for raw in path.split('/').skip(1) {
        let segment = decode(raw)?;
        if segment.contains('/') {
            return Err(Denial::new(
                "the URL's path has an encoded slash (%2F), which Docker takes for a separator: write it as /",
            ));
        }
        if matches!(segment.as_str(), "" | "." | "..") {
            return Err(Denial::new(
                "the URL's path has an empty, '.' or '..' part, or ends in a slash: send it in its short form",
            ));
        }
        if segment.chars().any(char::is_control) {
            return Err(Denial::new(
                "the URL's path has a control character, which no name of Docker's has",
            ));
        }
        segments.push(segment);
    }
    Ok(segments)
}

/// Takes the version off the front of `path`. The engine's router has `/v{version:[0-9.]+}` and compares versions number by number, so that a
/// dot at the end changes nothing.
fn take_version(path: &mut Vec<String>) -> Result<Option<(u16, u16)>, Denial> {
    let Some(first) = path.first() else {
        return Ok(None);
    };
    let Some(rest) = first.strip_prefix(['v', 'V']) else {
        return Ok(None);
    };
    if !rest.is_empty() && !rest.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
        return Ok(None);
    }
    let number = |text: &str| -> Option<u16> {
        let plain = matches!(text.len(), 1..=4) && text.bytes().all(|b| b.is_ascii_digit());
        let padded = text.len() > 1 && text.starts_with('0');
        if plain && !padded {
            text.parse().ok()
        } else {
            None
        }
    };
    let dotted = rest.strip_suffix('.').unwrap_or(rest);
    let version = dotted
        .split_once('.')
        .and_then(|(major, minor)| Some((number(major)?, number(minor)?)));
    match version {
        Some(version) if first.starts_with('v') => {
            path.remove(0);
            Ok(Some(version))
        }
        _ => Err(Denial::new(format!(
            "the URL starts with /{first}, which is not an API version such as /v1.41"
        ))),
    }
}

/// The pairs of a query as Go's `url.ParseQuery` makes them.
fn pairs(query: &str) -> Result<Vec<(String, String)>, Denial> {
    if query.contains(';') {
        return Err(Denial::new(
            "the URL's query has a ';', which some engines split at and others drop: write %3B in a value, and & between values",
        ));
    }
    let mut pairs = Vec::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        if pairs.len() == MAX_PARAMETERS {
            return Err(Denial::new(format!(
                "the URL's query has more than {MAX_PARAMETERS} parameters"
            )));
        }
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        pairs.push((
            decode(&key.replace('+', " "))?,
            decode(&value.replace('+', " "))?,
        ));
    }
    Ok(pairs)
}

/// Percent-decodes once, as Go does.
fn decode(raw: &str) -> Result<String, Denial> {
    let mut rest = raw;
    while let Some((_, escape)) = rest.split_once('%') {
        let mut digits = escape.bytes();
        if !matches!((digits.next(), digits.next()), (Some(a), Some(b)) if a.is_ascii_hexdigit() && b.is_ascii_hexdigit())
        {
            return Err(Denial::new(
                "the URL has a '%' that two hexadecimal digits do not follow: write %25 for a percent sign",
            ));
        }
        rest = escape;
    }
    match percent_decode_str(raw).decode_utf8() {
        Ok(text) => Ok(text.into_owned()),
        Err(_) => Err(Denial::new(
            "the URL has percent-encoded bytes that are not UTF-8",
        )),
    }
}
