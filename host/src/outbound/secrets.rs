//! Secrets by reference: a header says `{{secret NAME}}`, and the host puts the secret in just before it sends the request. The driver
//! never has it.
//!
//! A server that answers with what it was sent gives the secret to the driver all the same. That cannot be prevented here: grant a secret
//! only for servers that do not.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderValue;

use super::error::{HttpError, HttpErrorKind};

/// Where the host keeps its secrets.
pub trait Secrets: Send + Sync {
    /// The secret of this name. Must not wait for anything slow.
    ///
    /// # Errors
    /// A sentence that begins with what is wrong, without the secret.
    fn secret(&self, name: &str) -> Result<String, String>;
}

impl Secrets for BTreeMap<String, String> {
    fn secret(&self, name: &str) -> Result<String, String> {
        self.get(name)
            .cloned()
            .ok_or_else(|| format!("there is no secret {name}"))
    }
}

/// Whether this can be the name of a secret.
pub(super) fn is_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 128
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.'))
}

const SECRET: &str = "{{secret ";
const BASIC: &str = "{{basic ";

/// Whether a header's value names a secret.
pub(super) fn names_secret(value: &HeaderValue) -> bool {
    let has = |what: &str| {
        value
            .as_bytes()
            .windows(what.len())
            .any(|part| part == what.as_bytes())
    };
    has(SECRET) || has(BASIC)
}

/// Puts secrets in where a value names them. `secret` judges and reads.
///
/// # Errors
/// When a reference is not well formed, a secret is not to be had, or the result is no value for a header.
pub(super) fn fill(
    value: &HeaderValue,
    secret: impl Fn(&str) -> Result<String, HttpError>,
) -> Result<HeaderValue, HttpError> {
    let malformed = || {
        HttpError::new(
            HttpErrorKind::RequestHeaders,
            "a header names a secret in a wrong way: right are {{secret NAME}} and {{basic USER NAME}}",
        )
    };
    let mut rest = value.to_str().map_err(|_| malformed())?;
    let mut filled = String::new();
    while let Some(start) = [rest.find(SECRET), rest.find(BASIC)]
        .into_iter()
        .flatten()
        .min()
    {
        let (before, reference) = rest.split_at(start);
        let (reference, after) = reference.split_once("}}").ok_or_else(malformed)?;
        filled.push_str(before);
        if let Some(name) = reference.strip_prefix(SECRET) {
            if !is_name(name) {
                return Err(malformed());
            }
            filled.push_str(&secret(name)?);
        } else {
            let (user, name) = reference
                .strip_prefix(BASIC)
                .and_then(|words| words.split_once(' '))
                .filter(|(user, name)| !user.contains(':') && is_name(name))
                .ok_or_else(malformed)?;
            let pair = format!("{user}:{}", secret(name)?);
            filled.push_str("Basic ");
            filled.push_str(&STANDARD.encode(pair));
        }
        rest = after;
    }
    filled.push_str(rest);
    let mut value = HeaderValue::from_str(&filled).map_err(|_| {
        HttpError::new(
            HttpErrorKind::Configuration,
            "a secret cannot be sent in a header: it has a line break or a character that is not ASCII",
        )
    })?;
    value.set_sensitive(true);
    Ok(value)
}
