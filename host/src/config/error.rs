//! What is wrong with a configuration file, and what would be right.

use std::fmt;
use std::path::{Path, PathBuf};

/// A configuration that cannot be used.
///
/// Its text begins with file, line and column as far as they are known, in the form that editors and terminals turn into links.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    file: Option<PathBuf>,
    place: Option<(usize, usize)>,
    message: String,
}

impl ConfigError {
    pub(crate) fn new(message: impl Into<String>) -> ConfigError {
        ConfigError {
            file: None,
            place: None,
            message: message.into(),
        }
    }

    /// Reads a document into a type, with errors that say where and what instead.
    pub(super) fn parse<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, ConfigError> {
        toml::from_str(text).map_err(|error| ConfigError {
            file: None,
            place: error.span().map(|span| place(text, span.start)),
            message: explain(error.message()),
        })
    }

    pub(super) fn in_file(mut self, file: &Path) -> ConfigError {
        self.file = Some(file.to_owned());
        self
    }

    /// The file, if the error does not come from one whose name the caller knows.
    pub fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }

    /// Line and column, both counted from 1, the column in characters.
    pub fn place(&self) -> Option<(usize, usize)> {
        self.place
    }

    /// What is wrong and what would be right, without the place.
    pub fn message(&self) -> &str {
        &self.message
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.file, self.place) {
            (Some(file), Some((line, column))) => {
                write!(f, "{}:{line}:{column}: ", file.display())?;
            }
            (Some(file), None) => write!(f, "{}: ", file.display())?,
            (None, Some((line, column))) => write!(f, "line {line}, column {column}: ")?,
            (None, None) => {}
        }
        f.write_str(&self.message)
    }
}

impl std::error::Error for ConfigError {}

fn place(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset).unwrap_or(text);
    let line = before.rsplit('\n').next().unwrap_or_default();
    (before.split('\n').count(), line.chars().count() + 1)
}

/// Serde lists what it knows; people want to hear which of it they meant.
fn explain(message: &str) -> String {
    let message = message.trim();
    for (start, thing) in [("unknown field `", "key"), ("unknown variant `", "value")] {
        let Some((wrong, rest)) = message
            .strip_prefix(start)
            .and_then(|rest| rest.split_once("`, "))
        else {
            continue;
        };
        let known: Vec<&str> = rest.split('`').skip(1).step_by(2).collect();
        return unknown(thing, wrong, &known);
    }
    if let Some(key) = message
        .strip_prefix("missing field `")
        .and_then(|rest| rest.strip_suffix('`'))
    {
        return format!("the key `{key}` is missing");
    }
    message.replace('\n', ", ")
}

/// The text for a word that is not among those that are known.
pub(crate) fn unknown(thing: &str, wrong: &str, known: &[&str]) -> String {
    let wrong_text = format!("unknown {thing} `{}`", wrong.escape_debug());
    if let Some(meant) = closest(wrong, known) {
        return format!("{wrong_text}: did you mean `{meant}`?");
    }
    match known {
        [] => format!("{wrong_text}: none is known here"),
        [only] => format!("{wrong_text}: only `{only}` is known here"),
        many => format!("{wrong_text}: known here are `{}`", many.join("`, `")),
    }
}

/// The known word that was most probably meant: one that differs in few letters, or only in case and separators.
pub(crate) fn closest<'a>(wrong: &str, known: &[&'a str]) -> Option<&'a str> {
    fn plain(word: &str) -> String {
        word.chars()
            .filter(|character| !matches!(character, '-' | '_' | '.' | ' '))
            .flat_map(char::to_lowercase)
            .collect()
    }
    // The distance is quadratic in the lengths, and what a user of Docker types can be very long.
    if wrong.len() > 64 {
        return None;
    }
    let wrong = plain(wrong);
    known
        .iter()
        .map(|word| {
            let other = plain(word);
            let distance = strsim::damerau_levenshtein(&wrong, &other);
            let allowed = wrong.chars().count().max(other.chars().count()).div_ceil(3);
            (distance, allowed, *word)
        })
        .filter(|(distance, allowed, _)| distance <= allowed && *distance < 4)
        .min_by_key(|(distance, _, _)| *distance)
        .map(|(_, _, word)| word)
}
