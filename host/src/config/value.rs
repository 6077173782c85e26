//! Values that a driver reads through `wasi:config`.

use std::ffi::OsString;
use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};

use super::error::unknown;
use super::units::show_size;

/// Size of a file that a value is read from, in bytes.
const MAX_FILE: u64 = 1 << 20;

/// Where a configuration value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// It is in the TOML file. Numbers and booleans are the text that they are written as in TOML's canonical form.
    Literal(String),
    /// It is the content of a file, without one final newline.
    File(PathBuf),
    /// It is a variable of the daemon's environment.
    Env(String),
}

impl Value {
    /// Makes a relative path start at `directory`.
    pub(super) fn rooted(&mut self, directory: &Path) {
        if let Value::File(file) = self {
            *file = directory.join(&*file);
        }
    }

    /// The text, or why there is none: a text that fits behind the key's name.
    pub(super) fn resolve(
        &self,
        environment: &impl Fn(&str) -> Option<OsString>,
    ) -> Result<String, String> {
        match self {
            Value::Literal(text) => Ok(text.clone()),
            Value::File(file) => {
                read(file).map_err(|reason| format!("the file {} {reason}", file.display()))
            }
            Value::Env(name) => match environment(name) {
                Some(value) => value
                    .into_string()
                    .map_err(|_| format!("the environment variable {name} is not UTF-8")),
                None => Err(format!(
                    "the environment variable {name} is not set: set it for the daemon, for example with Environment= or EnvironmentFile= in its systemd unit, and restart it"
                )),
            },
        }
    }
}

fn read(path: &Path) -> Result<String, String> {
    // Without O_NONBLOCK a fifo in place of the file would hold the daemon up.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
    let file = rustix::fs::open(path, flags, Mode::empty())
        .map_err(|error| format!("cannot be opened: {}", std::io::Error::from(error)))?;
    let file = File::from(file);
    let cannot_read = |error: std::io::Error| format!("cannot be read: {error}");
    if !file.metadata().map_err(cannot_read)?.is_file() {
        return Err("is no regular file".to_owned());
    }
    let mut bytes = Vec::new();
    file.take(MAX_FILE + 1)
        .read_to_end(&mut bytes)
        .map_err(cannot_read)?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(format!("is larger than {}", show_size(MAX_FILE)));
    }
    let mut text = String::from_utf8(bytes).map_err(|_| "is not UTF-8 text".to_owned())?;
    // Editors and `echo` end files with a newline that nobody means to be part of a password.
    if text.ends_with('\n') {
        text.pop();
        if text.ends_with('\r') {
            text.pop();
        }
    }
    Ok(text)
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Value, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Value;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(
                    "text, a number, true, false, { file = \"PATH\" } or { env = \"VARIABLE\" }",
                )
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<Value, E> {
                Ok(Value::Literal(text.to_owned()))
            }
            fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
                Ok(Value::Literal(value.to_string()))
            }
            fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
                Ok(Value::Literal(value.to_string()))
            }
            fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
                Ok(Value::Literal(value.to_string()))
            }
            fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
                // Debug keeps the point of 1.0.
                Ok(Value::Literal(format!("{value:?}")))
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
                let mut value = None;
                while let Some(key) = map.next_key::<String>()? {
                    // toml hands dates over as tables with a key of its own.
                    if key.starts_with('$') {
                        return Err(A::Error::custom(
                            "a date must be in quotes: configuration values are text",
                        ));
                    }
                    let next = match key.as_str() {
                        "file" => Value::File(map.next_value()?),
                        "env" => Value::Env(map.next_value()?),
                        _ => {
                            return Err(A::Error::custom(unknown("key", &key, &["file", "env"])));
                        }
                    };
                    if value.replace(next).is_some() {
                        return Err(A::Error::custom(
                            "a value comes from a file or from the environment, not from both",
                        ));
                    }
                }
                match value {
                    Some(Value::Env(name)) if name.is_empty() || name.contains(['=', '\0']) => Err(
                        A::Error::custom(format!("{name:?} is no name of an environment variable")),
                    ),
                    Some(Value::File(file)) if file.as_os_str().is_empty() => {
                        Err(A::Error::custom("the name of the file is empty"))
                    }
                    Some(value) => Ok(value),
                    None => Err(A::Error::custom(
                        "a value needs { file = \"PATH\" } or { env = \"VARIABLE\" }",
                    )),
                }
            }
        }
        deserializer.deserialize_any(Any)
    }
}
