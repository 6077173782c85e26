//! Checking what a user of Docker gave with `-o` against the options that the driver declares.

use crate::config::units::parse_size;
use crate::config::unknown;
use crate::protocol::KeyValue;
use crate::protocol::describe::{Declaration, Subject, ValueType};

/// The words for yes and no, in the order in which an error names them.
const BOOLEANS: [&str; 8] = ["true", "false", "1", "0", "yes", "no", "on", "off"];

/// Characters of a value that an error shows.
const SHOWN: usize = 64;

/// Why options are refused. The texts are for the user of `docker` and hold no value of a secret option.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OptionError {
    /// The driver declares no option of this name.
    #[error("{0}")]
    Unknown(String),
    /// An option is there twice.
    #[error("option {0:?} is given twice")]
    Twice(String),
    /// A value is not what it has to be.
    #[error("{0}")]
    Value(String),
    /// A required option is not there.
    #[error("option {name:?} is required{}", if .help.is_empty() { String::new() } else { format!(": {}", .help) })]
    Missing {
        /// Its name.
        name: String,
        /// What it is for.
        help: String,
    },
}

/// Checks the options of one command and adds the defaults of those that were not given. Values stay as they were written.
///
/// A subject without any declaration takes everything.
///
/// # Errors
/// When an option is unknown, given twice or missing, or its value is not of its type.
pub fn check(
    declared: &[Declaration],
    subject: Subject,
    given: Vec<KeyValue>,
) -> Result<Vec<KeyValue>, OptionError> {
    let declared: Vec<&Declaration> = declared
        .iter()
        .filter(|declaration| declaration.subject == subject)
        .collect();
    if declared.is_empty() {
        return Ok(given);
    }
    for (index, (name, value)) in given.iter().enumerate() {
        if given.iter().take(index).any(|(other, _)| other == name) {
            return Err(OptionError::Twice(short(name)));
        }
        let Some(declaration) = declared.iter().find(|known| known.name == *name) else {
            return Err(unknown_option(&declared, name));
        };
        check_value(declaration, value)?;
    }
    let mut options = given;
    for declaration in declared {
        if options.iter().any(|(name, _)| *name == declaration.name) {
            continue;
        }
        match &declaration.default {
            Some(default) => options.push((declaration.name.clone(), default.clone())),
            None if declaration.required => {
                return Err(OptionError::Missing {
                    name: declaration.name.clone(),
                    help: declaration.help.clone(),
                });
            }
            None => {}
        }
    }
    Ok(options)
}

fn unknown_option(declared: &[&Declaration], name: &str) -> OptionError {
    let known: Vec<&str> = declared
        .iter()
        .map(|declaration| declaration.name.as_str())
        .collect();
    let text = unknown("option", &short(name), &known);
    // With a suggestion the list follows all the same: the guess may be wrong, and Docker's users see nothing of the driver but this.
    OptionError::Unknown(if text.ends_with('?') {
        format!("{text} (known here are `{}`)", known.join("`, `"))
    } else {
        text
    })
}

fn check_value(declaration: &Declaration, value: &str) -> Result<(), OptionError> {
    let expected = match &declaration.value_type {
        ValueType::Text => return Ok(()),
        ValueType::Boolean => {
            if BOOLEANS.contains(&value) {
                return Ok(());
            }
            format!("must be one of {}", BOOLEANS.join(", "))
        }
        ValueType::Integer { min, max } => {
            // A plus sign is Rust's idea of a number, and leaves drivers to disagree.
            let number = value
                .parse::<i64>()
                .ok()
                .filter(|_| !value.starts_with('+'));
            if number.is_some_and(|number| (*min..=*max).contains(&number)) {
                return Ok(());
            }
            format!("must be a whole number from {min} to {max}")
        }
        ValueType::Size => match parse_size(value) {
            Ok(_) => return Ok(()),
            Err(expected) => expected,
        },
        ValueType::Choice(words) => {
            if words.iter().any(|word| word == value) {
                return Ok(());
            }
            format!("must be one of {}", words.join(", "))
        }
    };
    let name = &declaration.name;
    Err(OptionError::Value(if declaration.secret {
        format!("the value of option {name:?} {expected}")
    } else {
        format!("option {name:?} {expected}, not {:?}", short(value))
    }))
}

/// Docker passes names and values of any length on, and errors end up in terminals and logs.
fn short(text: &str) -> String {
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

#[cfg(test)]
#[path = "options_tests.rs"]
mod tests;
