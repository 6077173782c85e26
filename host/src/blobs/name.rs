//! Names of blobs, which become paths and parts of URLs.

use std::fmt;
use std::str::FromStr;

use crate::machine::{ErrorKind, MachineError};
use crate::protocol::one_line;

/// Bytes of a name. S3 takes 1,024, of which the operator's prefix has some.
const MAX_NAME: usize = 512;

/// Bytes of one part of a name: a file's name has at most 255, of which a temporary one needs some for itself.
const MAX_PART: usize = 200;

/// Bytes of a wrong name that are shown.
const SHOWN: usize = 100;

/// The name of a blob: parts of lower-case letters, digits, `-`, `.` and `_`, none of which begins with a dot, with slashes between them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name(String);

/// What names begin with: nothing, or parts that each end with a slash.
#[derive(Clone, PartialEq, Eq)]
pub struct Prefix(String);

impl Name {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The parts above the last one, and the last one.
    pub(super) fn split(&self) -> (impl Iterator<Item = &str>, &str) {
        let (above, last) = self.0.rsplit_once('/').unwrap_or(("", &self.0));
        (above.split('/').filter(|part| !part.is_empty()), last)
    }
}

impl Prefix {
    /// The prefix.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub(super) fn parts(&self) -> impl Iterator<Item = &str> {
        self.0.split('/').filter(|part| !part.is_empty())
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for Name {
    type Err = MachineError;
    fn from_str(text: &str) -> Result<Name, MachineError> {
        if text.len() <= MAX_NAME && text.split('/').all(is_part) {
            return Ok(Name(text.to_owned()));
        }
        Err(wrong("name", text))
    }
}

impl FromStr for Prefix {
    type Err = MachineError;
    fn from_str(text: &str) -> Result<Prefix, MachineError> {
        let whole = text.strip_suffix('/');
        if text.is_empty()
            || text.len() <= MAX_NAME && whole.is_some_and(|text| text.split('/').all(is_part))
        {
            return Ok(Prefix(text.to_owned()));
        }
        Err(wrong("prefix", text))
    }
}

/// Whether this can be a part of a name. What stores make for themselves begins with a dot.
pub(super) fn is_part(text: &str) -> bool {
    (1..=MAX_PART).contains(&text.len())
        && !text.starts_with('.')
        && text.bytes().all(|byte| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'.' | b'_')
        })
}

fn wrong(what: &str, text: &str) -> MachineError {
    MachineError::new(
        ErrorKind::Invalid,
        format!(
            "{:?} is no {what} of a blob: it has parts of at most {MAX_PART} lower-case letters, digits, -, . and _ that do not begin with a dot, with slashes between them, and at most {MAX_NAME} bytes in all",
            one_line(text, SHOWN)
        ),
    )
}
