//! Secrets: where they come from. They are read when they are used, and never written into the settings.

use std::borrow::Borrow;
use std::ffi::OsString;
use std::fmt;
use std::fs::File;
use std::io::Read;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use rustix::fs::{Mode, OFlags};
use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};
use zeroize::Zeroizing;

use super::ConfigError;
use super::error::unknown;
use super::units::show_size;

/// Length of a secret in bytes.
const MAX_SECRET: u64 = 64 << 10;

/// Where systemd puts the credentials of a service (systemd.exec(5), "Credentials").
const CREDENTIALS: &str = "CREDENTIALS_DIRECTORY";

/// The name by which settings and drivers refer to a secret: 1 to 128 of `[a-zA-Z0-9_.-]`, the first a letter or a digit.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct SecretName(String);

impl SecretName {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for SecretName {
    type Err = String;
    fn from_str(text: &str) -> Result<SecretName, String> {
        let fits = (1..=128).contains(&text.len())
            && text.starts_with(|first: char| first.is_ascii_alphanumeric())
            && text
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'));
        if fits {
            return Ok(SecretName(text.to_owned()));
        }
        // Somebody may have written the secret itself here.
        Err("the name of a secret has 1 to 128 letters, digits, - _ and ., of which the first is a letter or a digit".to_owned())
    }
}

impl Borrow<str> for SecretName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SecretName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for SecretName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<SecretName, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(D::Error::custom)
    }
}

/// Where a secret comes from. There is no value in it, so that it can be shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretSource {
    /// It is the content of a file, without one final newline.
    File(PathBuf),
    /// It is a variable of the daemon's environment.
    Env(String),
    /// It is a credential that systemd hands to the daemon, without one final newline.
    Credential(String),
}

impl SecretSource {
    /// Makes a relative path start at `directory`.
    pub(super) fn rooted(&mut self, directory: &Path) {
        if let SecretSource::File(file) = self {
            *file = directory.join(&*file);
        }
    }

    /// Whether it is the content of this file. Paths are compared, not what they lead to.
    pub fn is_in(&self, path: &Path) -> bool {
        matches!(self, SecretSource::File(file) if file.components().eq(path.components()))
    }

    /// Reads the secret: of at most 64 KiB, and not empty. It is wiped from memory when it is dropped.
    ///
    /// # Errors
    /// When it is not there, cannot be read, or is in a file that everybody on the machine can read. The text says where it was looked
    /// for, and nothing of the secret.
    pub fn resolve(&self) -> Result<Zeroizing<Vec<u8>>, ConfigError> {
        self.resolve_with(|name| std::env::var_os(name))
    }

    pub(super) fn resolve_with(
        &self,
        environment: impl Fn(&str) -> Option<OsString>,
    ) -> Result<Zeroizing<Vec<u8>>, ConfigError> {
        let in_file = |file: &Path| {
            read(file).map_err(|reason| format!("the file {} {reason}", file.display()))
        };
        let secret = match self {
            SecretSource::File(file) => in_file(file),
            SecretSource::Credential(name) => match environment(CREDENTIALS) {
                Some(directory) => in_file(&Path::new(&directory).join(name)),
                None => Err(format!(
                    "the daemon has no credentials: give it this one with LoadCredential={name}:PATH in its systemd unit, and restart it"
                )),
            },
            SecretSource::Env(name) => match environment(name) {
                Some(value) => {
                    let value = Zeroizing::new(value.into_vec());
                    check(&value)
                        .map(|()| value)
                        .map_err(|reason| format!("the environment variable {name} {reason}"))
                }
                None => Err(format!(
                    "the environment variable {name} is not set: set it for the daemon, for example with EnvironmentFile= in its systemd unit, and restart it"
                )),
            },
        };
        secret.map_err(ConfigError::new)
    }
}

fn check(secret: &[u8]) -> Result<(), String> {
    if secret.is_empty() {
        return Err("is empty".to_owned());
    }
    if secret.len() as u64 > MAX_SECRET {
        return Err(format!("is larger than {}", show_size(MAX_SECRET)));
    }
    Ok(())
}

fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, String> {
    // Without O_NONBLOCK a fifo in place of the file would hold the call up.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
    let file = rustix::fs::open(path, flags, Mode::empty())
        .map_err(|error| format!("cannot be opened: {}", std::io::Error::from(error)))?;
    let file = File::from(file);
    let cannot_read = |error: std::io::Error| format!("cannot be read: {error}");
    let metadata = file.metadata().map_err(cannot_read)?;
    if !metadata.is_file() {
        return Err("is no regular file".to_owned());
    }
    if metadata.mode() & 0o007 != 0 {
        return Err(format!(
            "is open to everybody on this machine (mode {:04o}): run chmod o-rwx {}",
            metadata.mode() & 0o7777,
            path.display()
        ));
    }
    // All of it at once: a vector that grows leaves copies behind.
    let room = usize::try_from(MAX_SECRET).unwrap_or(usize::MAX) + 2;
    let mut secret = Zeroizing::new(Vec::with_capacity(room));
    file.take(MAX_SECRET + 2)
        .read_to_end(&mut secret)
        .map_err(cannot_read)?;
    // Editors and `echo` end files with a newline that nobody means to be part of a password.
    if secret.ends_with(b"\n") {
        secret.pop();
        if secret.ends_with(b"\r") {
            secret.pop();
        }
    }
    check(&secret)?;
    Ok(secret)
}

impl<'de> Deserialize<'de> for SecretSource {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<SecretSource, D::Error> {
        struct Any;
        /// Without the value, which must not get into the log.
        const LITERAL: &str = "a secret is not written into this file, which is copied, shown and kept in backups: put it into a file of its own that only root can read, and write { file = \"PATH\" } here";
        impl<'de> Visitor<'de> for Any {
            type Value = SecretSource;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(
                    "{ file = \"PATH\" }, { env = \"VARIABLE\" } or { credential = \"NAME\" }",
                )
            }
            fn visit_str<E: Error>(self, _: &str) -> Result<SecretSource, E> {
                Err(E::custom(LITERAL))
            }
            fn visit_bool<E: Error>(self, _: bool) -> Result<SecretSource, E> {
                Err(E::custom(LITERAL))
            }
            fn visit_i64<E: Error>(self, _: i64) -> Result<SecretSource, E> {
                Err(E::custom(LITERAL))
            }
            fn visit_u64<E: Error>(self, _: u64) -> Result<SecretSource, E> {
                Err(E::custom(LITERAL))
            }
            fn visit_f64<E: Error>(self, _: f64) -> Result<SecretSource, E> {
                Err(E::custom(LITERAL))
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<SecretSource, A::Error> {
                let mut source = None;
                while let Some(key) = map.next_key::<String>()? {
                    // toml hands dates over as tables with a key of its own.
                    if key.starts_with('$') {
                        return Err(A::Error::custom(LITERAL));
                    }
                    let next = match key.as_str() {
                        "file" => SecretSource::File(map.next_value()?),
                        "env" => SecretSource::Env(map.next_value()?),
                        "credential" => SecretSource::Credential(map.next_value()?),
                        _ => {
                            let known = ["file", "env", "credential"];
                            return Err(A::Error::custom(unknown("key", &key, &known)));
                        }
                    };
                    if source.replace(next).is_some() {
                        return Err(A::Error::custom("a secret comes from one place"));
                    }
                }
                match source {
                    Some(SecretSource::Env(name))
                        if name.is_empty() || name.contains(['=', '\0']) =>
                    {
                        Err(A::Error::custom(format!(
                            "{name:?} is no name of an environment variable"
                        )))
                    }
                    Some(SecretSource::File(file)) if file.as_os_str().is_empty() => {
                        Err(A::Error::custom("the name of the file is empty"))
                    }
                    Some(SecretSource::Credential(name))
                        if matches!(name.as_str(), "" | "." | "..")
                            || name.contains(['/', ':', '\0']) =>
                    {
                        Err(A::Error::custom(format!(
                            "{name:?} is no name of a credential: it is the one in LoadCredential=NAME:PATH"
                        )))
                    }
                    Some(source) => Ok(source),
                    None => Err(A::Error::custom(
                        "a secret needs { file = \"PATH\" }, { env = \"VARIABLE\" } or { credential = \"NAME\" }",
                    )),
                }
            }
        }
        deserializer.deserialize_any(Any)
    }
}
