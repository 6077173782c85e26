//! Checking what a user of Docker gave with `-o`, or an operator with a verb, against what the driver declares.

use crate::config::units::parse_size;
use crate::config::unknown;
use crate::protocol::KeyValue;
use crate::protocol::describe::{Declaration, Parameter, Subject, ValueType, Verb};

/// The words for yes and no, in the order in which an error names them.
const BOOLEANS: [&str; 8] = ["true", "false", "1", "0", "yes", "no", "on", "off"];

/// Characters of a value that an error shows.
const SHOWN: usize = 64;

/// Why options or arguments are refused. The texts are for the user, and hold no value of a secret one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OptionError {
    /// The driver declares none of this name.
    #[error("{0}")]
    Unknown(String),
    /// One is there twice.
    #[error("{0} {1:?} is given twice")]
    Twice(&'static str, String),
    /// A value is not what it has to be.
    #[error("{0}")]
    Value(String),
    /// A required one is not there.
    #[error("{thing} {name:?} is required{}", if .help.is_empty() { String::new() } else { format!(": {}", .help) })]
    Missing {
        /// `option` or `argument`.
        thing: &'static str,
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
    let declared: Vec<&Parameter> = declared
        .iter()
        .filter(|declaration| declaration.subject == subject)
        .map(|declaration| &declaration.parameter)
        .collect();
    if declared.is_empty() {
        return Ok(given);
    }
    complete("option", &declared, given)
}

/// Checks the arguments of a verb and adds the defaults of those that were not given. Values stay as they were written.
///
/// # Errors
/// When an argument is unknown, given twice or missing, or its value is not of its type.
pub fn check_arguments(verb: &Verb, given: Vec<KeyValue>) -> Result<Vec<KeyValue>, OptionError> {
    let declared: Vec<&Parameter> = verb.arguments.iter().collect();
    complete("argument", &declared, given)
}

/// Whether a default is of its own type.
pub(crate) fn check_default(parameter: &Parameter) -> Result<(), OptionError> {
    match &parameter.default {
        Some(default) => check_value("argument", parameter, default),
        None => Ok(()),
    }
}

fn complete(
    thing: &'static str,
    declared: &[&Parameter],
    given: Vec<KeyValue>,
) -> Result<Vec<KeyValue>, OptionError> {
    for (index, (name, value)) in given.iter().enumerate() {
        if given.iter().take(index).any(|(other, _)| other == name) {
            return Err(OptionError::Twice(thing, short(name)));
        }
        let Some(parameter) = declared.iter().find(|known| known.name == *name) else {
            return Err(unknown_name(thing, declared, name));
        };
        check_value(thing, parameter, value)?;
    }
    let mut complete = given;
    for parameter in declared {
        if complete.iter().any(|(name, _)| *name == parameter.name) {
            continue;
        }
        match &parameter.default {
            Some(default) => complete.push((parameter.name.clone(), default.clone())),
            None if parameter.required => {
                return Err(OptionError::Missing {
                    thing,
                    name: parameter.name.clone(),
                    help: parameter.help.clone(),
                });
            }
            None => {}
        }
    }
    Ok(complete)
}

fn unknown_name(thing: &str, declared: &[&Parameter], name: &str) -> OptionError {
    let known: Vec<&str> = declared
        .iter()
        .map(|parameter| parameter.name.as_str())
        .collect();
    let text = unknown(thing, &short(name), &known);
    // With a suggestion the list follows all the same: the guess may be wrong, and Docker's users see nothing of the driver but this.
    OptionError::Unknown(if text.ends_with('?') {
        format!("{text} (known here are `{}`)", known.join("`, `"))
    } else {
        text
    })
}

fn check_value(thing: &str, parameter: &Parameter, value: &str) -> Result<(), OptionError> {
    let expected = match &parameter.value_type {
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
    let name = &parameter.name;
    Err(OptionError::Value(if parameter.secret {
        format!("the value of {thing} {name:?} {expected}")
    } else {
        format!("{thing} {name:?} {expected}, not {:?}", short(value))
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
