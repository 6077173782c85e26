//! Secrets by reference: a header says `{{secret NAME}}`, and the host puts the secret in just before it sends the request. The driver
//! never has it.
//!
//! A server that answers with what it was sent gives the secret to the driver all the same. That cannot be prevented here: grant a secret
//! only for servers that do not. What a user of Docker types can name a secret too, if the driver copies it into a header: it goes to where
//! it may go anyway.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderValue;
use zeroize::Zeroizing;

use super::error::{HttpError, HttpErrorKind};

/// A secret itself.
pub type Secret = Zeroizing<Vec<u8>>;

/// Where the host keeps its secrets.
pub trait Secrets: Send + Sync {
    /// The secret of this name. It may wait for a disk.
    ///
    /// # Errors
    /// A sentence that says what is wrong, without the secret.
    fn secret(&self, name: &str) -> Result<Secret, String>;
}

const SECRET: &str = "{{secret ";
const BASIC: &str = "{{basic ";

/// A header's value in its parts.
enum Part<'a> {
    Text(&'a str),
    Secret(&'a str),
    Basic { user: &'a str, name: &'a str },
}

/// The names of the secrets that a header's value refers to.
///
/// # Errors
/// When a reference is not well formed.
pub(super) fn names(value: &HeaderValue) -> Result<Vec<String>, HttpError> {
    let names = parts(value)?.into_iter().filter_map(|part| match part {
        Part::Text(_) => None,
        Part::Secret(name) | Part::Basic { name, .. } => Some(name.to_owned()),
    });
    Ok(names.collect())
}

/// Puts secrets in where a value refers to them.
///
/// # Errors
/// When a reference is not well formed, or the result is no value for a header.
pub(super) fn fill(
    value: &HeaderValue,
    secrets: &BTreeMap<String, Secret>,
) -> Result<HeaderValue, HttpError> {
    let mut filled: Secret = Zeroizing::default();
    for part in parts(value)? {
        let (user, name) = match part {
            Part::Text(text) => {
                filled.extend_from_slice(text.as_bytes());
                continue;
            }
            Part::Secret(name) => (None, name),
            Part::Basic { user, name } => (Some(user), name),
        };
        let secret = secrets.get(name).ok_or_else(malformed)?;
        match user {
            None => filled.extend_from_slice(secret),
            Some(user) => {
                let pair = Zeroizing::new([user.as_bytes(), b":", secret].concat());
                let pair = Zeroizing::new(STANDARD.encode(&pair));
                filled.extend_from_slice(b"Basic ");
                filled.extend_from_slice(pair.as_bytes());
            }
        }
    }
    let mut value = HeaderValue::from_bytes(&filled).map_err(|_| {
        HttpError::new(
            HttpErrorKind::Configuration,
            "a secret cannot be sent in a header: it has a line break or another control character",
        )
    })?;
    value.set_sensitive(true);
    Ok(value)
}

fn parts(value: &HeaderValue) -> Result<Vec<Part<'_>>, HttpError> {
    let mut parts = Vec::new();
    // A value that is no text cannot hold a reference that was meant.
    let Ok(mut rest) = value.to_str() else {
        return Ok(parts);
    };
    while let Some(start) = [rest.find(SECRET), rest.find(BASIC)]
        .into_iter()
        .flatten()
        .min()
    {
        let (before, reference) = rest.split_at(start);
        let (reference, after) = reference.split_once("}}").ok_or_else(malformed)?;
        parts.push(Part::Text(before));
        let part = match reference.strip_prefix(SECRET) {
            Some(name) => Some(Part::Secret(name)),
            None => reference
                .strip_prefix(BASIC)
                .and_then(|words| words.split_once(' '))
                .map(|(user, name)| Part::Basic { user, name }),
        };
        match part {
            Some(Part::Secret(name)) if is_name(name) => {}
            Some(Part::Basic { user, name }) if !user.contains(':') && is_name(name) => {}
            _ => return Err(malformed()),
        }
        parts.extend(part);
        rest = after;
    }
    parts.push(Part::Text(rest));
    Ok(parts)
}

fn is_name(name: &str) -> bool {
    !name.is_empty()
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.'))
}

fn malformed() -> HttpError {
    HttpError::new(
        HttpErrorKind::RequestHeaders,
        "a header names a secret in a wrong way: right are {{secret NAME}} and {{basic USER NAME}}",
    )
}
