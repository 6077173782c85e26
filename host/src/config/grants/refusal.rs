//! What the operator has not granted, and what to write to grant it.

use std::fmt;

use crate::protocol::one_line;

/// Bytes of a text from outside that a refusal repeats.
const SHOWN: usize = 200;

/// The class of a refusal, as far as drivers tell them apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefusalKind {
    /// The operator can grant it.
    NotGranted,
    /// It is granted, but the plugin has as much of it as it may have.
    Exhausted,
    /// It makes no sense, and nothing that the operator writes changes that.
    Invalid,
}

/// A thing that a plugin may not do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    kind: RefusalKind,
    deed: String,
    remedy: Remedy,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Remedy {
    /// An item for a list.
    Add {
        item: String,
        key: String,
        table: &'static str,
    },
    /// A key with its value.
    Set { line: String, table: &'static str },
    /// A secret in a file, which is to be named.
    Secret {
        name: String,
        line: String,
        table: &'static str,
    },
    /// A whole table.
    Table(String),
    /// There is none: the reason.
    None(String),
}

impl Refusal {
    /// An item is missing in a list. `deed` begins with "may".
    pub(super) fn add(deed: String, item: &str, key: &str, table: &'static str) -> Refusal {
        Refusal {
            kind: RefusalKind::NotGranted,
            deed,
            remedy: Remedy::Add {
                item: quoted(item),
                key: key.to_owned(),
                table,
            },
        }
    }

    /// An entry is missing in a table that is the value of a key.
    pub(super) fn entry(deed: String, entry: String, key: &str, table: &'static str) -> Refusal {
        Refusal {
            kind: RefusalKind::NotGranted,
            deed,
            remedy: Remedy::Add {
                item: entry,
                key: key.to_owned(),
                table,
            },
        }
    }

    /// A key is missing or has another value.
    pub(super) fn set(deed: String, line: String, table: &'static str) -> Refusal {
        Refusal {
            kind: RefusalKind::NotGranted,
            deed,
            remedy: Remedy::Set { line, table },
        }
    }

    /// A limit is too low.
    pub(super) fn limit(deed: String, line: String, table: &'static str) -> Refusal {
        Refusal {
            kind: RefusalKind::Exhausted,
            ..Refusal::set(deed, line, table)
        }
    }

    /// A file is no secret yet.
    pub(super) fn secret(deed: String, name: &str, file: &str, table: &'static str) -> Refusal {
        let key = match name.contains('.') {
            true => quoted(name),
            false => name.to_owned(),
        };
        Refusal {
            kind: RefusalKind::NotGranted,
            deed,
            remedy: Remedy::Secret {
                name: quoted(name),
                line: format!("{key} = {{ file = {} }}", quoted(file)),
                table,
            },
        }
    }

    /// A grant is missing altogether.
    pub(super) fn table(deed: String, toml: &str) -> Refusal {
        Refusal {
            kind: RefusalKind::NotGranted,
            deed,
            remedy: Remedy::Table(toml.to_owned()),
        }
    }

    /// No grant would help.
    pub(super) fn invalid(deed: String, reason: impl Into<String>) -> Refusal {
        Refusal {
            kind: RefusalKind::Invalid,
            deed,
            remedy: Remedy::None(reason.into()),
        }
    }

    /// The class.
    pub fn kind(&self) -> RefusalKind {
        self.kind
    }

    /// The text for whoever waits for the call: which plugin may not do what, and what to write into `STEM.toml` so that it may.
    pub fn text(&self, plugin: &str, stem: &str) -> String {
        self.sentence(&format!("plugin {plugin}"), &format!("{stem}.toml"))
    }

    /// The piece of TOML that would grant it: the item of a list, the line, or the table. None if nothing would.
    pub fn toml(&self) -> Option<&str> {
        match &self.remedy {
            Remedy::Add { item, .. } => Some(item),
            Remedy::Set { line, .. } | Remedy::Secret { line, .. } => Some(line),
            Remedy::Table(toml) => Some(toml),
            Remedy::None(_) => None,
        }
    }

    fn sentence(&self, who: &str, file: &str) -> String {
        let deed = &self.deed;
        match &self.remedy {
            Remedy::Add { item, key, table } => {
                format!("{who} {deed}: add {item} to {key} under [{table}] in {file}")
            }
            Remedy::Set { line, table } => {
                format!("{who} {deed}: put {line} under [{table}] in {file}")
            }
            Remedy::Secret { name, line, table } => format!(
                "{who} {deed}: put {line} under [secrets] in {file}, and add {name} to use under [{table}] there"
            ),
            Remedy::Table(toml) => format!("{who} {deed}: put at the end of {file}:\n\n{toml}"),
            Remedy::None(reason) => format!("{who} {deed}: {reason}"),
        }
    }
}

/// For those who do not know the names.
impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.sentence("the plugin", "its TOML file"))
    }
}

impl std::error::Error for Refusal {}

/// A text as a TOML string.
pub(super) fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for character in text.chars() {
        match character {
            '"' | '\\' => quoted.extend(['\\', character]),
            _ if character.is_control() => {
                quoted.push_str(&format!("\\u{:04X}", u32::from(character)));
            }
            _ => quoted.push(character),
        }
    }
    quoted.push('"');
    quoted
}

/// A text from outside, fit to stand in a message.
pub(super) fn shown(text: &str) -> String {
    one_line(text, SHOWN)
}
