//! The drop-in directory as data.
//!
//! | name | meaning |
//! | --- | --- |
//! | `NAME.wasm` | a driver without a version: below every version of `NAME` |
//! | `NAME@1.2.3.wasm` | version 1.2.3 of the driver; the highest version serves |
//! | `NAME.toml` | the settings of the plugin `NAME` |
//! | names that begin with a dot | never looked at: files that are being copied |
//!
//! Other files may lie there and do not count, except where somebody has probably meant a driver: those are refused with a reason.

use std::collections::BTreeMap;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use semver::Version;

use super::files::{self, Bound, Trusted};
pub(super) use super::files::{FileId, Refusal};
use crate::config::{ConfigError, Plugin, PluginName};

/// How often a file of settings is read again because it changes under the reader.
const ATTEMPTS: usize = 5;

/// A driver file that could serve.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// The driver: the file's name before `@` or the ending.
    pub stem: String,
    /// The file's name.
    pub file: String,
    /// The file.
    pub path: PathBuf,
    /// The version in the name.
    pub semver: Option<Version>,
    /// The content that the scan saw.
    pub id: FileId,
}

/// The settings of a plugin.
#[derive(Debug, Clone)]
pub struct PluginFile {
    /// What they say, or why they cannot be used.
    pub settings: Result<Arc<Plugin>, ConfigError>,
}

/// A file that is not used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// Its name.
    pub file: String,
    /// The driver that it was probably meant to be.
    pub stem: Option<String>,
    /// Why.
    pub reason: Refusal,
}

/// What lies in the directory.
#[derive(Debug, Clone, Default)]
pub struct Scan {
    /// The versions of each driver, the one to prefer first.
    pub drivers: BTreeMap<String, Vec<Candidate>>,
    /// The settings, by the file's name without its ending.
    pub plugins: BTreeMap<String, PluginFile>,
    /// Files that are not used, sorted by name.
    pub refused: Vec<Refused>,
}

/// Why the directory cannot be used at all.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    /// There is none.
    #[error("there is no drivers directory {}: make one with `install -d -m 0755 {}`, or name another with --drivers", .0.display(), .0.display())]
    Missing(PathBuf),
    /// Somebody else could put drivers there.
    #[error("the drivers directory {} {}", .0.display(), .1)]
    Unsafe(PathBuf, Refusal),
    /// The machine says no.
    #[error("the drivers directory {} cannot be read: {}", .0.display(), .1)]
    Unreadable(PathBuf, #[source] std::io::Error),
}

/// Reads the directory. `max_size` is the limit on the size of a driver, in bytes.
///
/// Of drivers only the first bytes are read. Settings are read whole, which takes up to 100 ms when one has only just been changed.
///
/// # Errors
/// When there is no such directory, others can write to it, or it cannot be read.
pub fn scan(directory: &Path, max_size: u64) -> Result<Scan, DirectoryError> {
    let failed = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::NotFound => DirectoryError::Missing(directory.to_owned()),
        _ => DirectoryError::Unreadable(directory.to_owned(), error),
    };
    let metadata = directory.metadata().map_err(failed)?;
    let user = rustix::process::geteuid().as_raw();
    files::trust(metadata.uid(), metadata.permissions().mode(), user)
        .map_err(|refusal| DirectoryError::Unsafe(directory.to_owned(), refusal))?;
    let mut paths = Vec::new();
    for entry in directory.read_dir().map_err(failed)? {
        paths.push(entry.map_err(failed)?.path());
    }
    paths.sort();
    let mut scan = Scan::default();
    for path in paths {
        scan.add(&path, max_size);
    }
    for candidates in scan.drivers.values_mut() {
        candidates.sort_by(|one, other| other.semver.cmp(&one.semver));
    }
    Ok(scan)
}

impl Scan {
    fn add(&mut self, path: &Path, max_size: u64) {
        let name = path.file_name().unwrap_or_default();
        let file = name.to_string_lossy().into_owned();
        let (stem, reason) = match Role::of(name.to_str(), &file, path.is_dir()) {
            Role::Nothing => return,
            Role::Driver { stem, semver } => {
                match candidate(path, &file, &stem, semver, max_size) {
                    Ok(candidate) => {
                        self.drivers.entry(stem).or_default().push(candidate);
                        return;
                    }
                    Err(reason) => (Some(stem), reason),
                }
            }
            Role::Settings { stem } => {
                if let Some(settings) = settings(path) {
                    self.plugins.insert(stem, PluginFile { settings });
                }
                return;
            }
            Role::Refused { stem, reason } => (stem, reason),
        };
        // What has gone in the meantime needs no excuse.
        if reason != Refusal::Gone {
            self.refused.push(Refused { file, stem, reason });
        }
    }
}

fn candidate(
    path: &Path,
    file: &str,
    stem: &str,
    semver: Option<Version>,
    max_size: u64,
) -> Result<Candidate, Refusal> {
    let mut opened = Trusted::open(path, Bound::driver(max_size))?;
    files::check_head(&opened.head()?)?;
    Ok(Candidate {
        stem: stem.to_owned(),
        file: file.to_owned(),
        path: path.to_owned(),
        semver,
        id: opened.id,
    })
}

/// The settings in a file; none if it is not there any more.
fn settings(path: &Path) -> Option<Result<Arc<Plugin>, ConfigError>> {
    let mut result = Err(Refusal::Changing);
    for _ in 0..ATTEMPTS {
        result = Trusted::open(path, Bound::SETTINGS).and_then(Trusted::read);
        if !matches!(result, Err(Refusal::Changing)) {
            break;
        }
    }
    let text = match result {
        Ok(bytes) => String::from_utf8(bytes).map_err(|_| "is not UTF-8 text".to_owned()),
        Err(Refusal::Gone) => return None,
        Err(refusal) => Err(refusal.to_string()),
    };
    let directory = path.parent().unwrap_or(Path::new(""));
    Some(match text {
        Ok(text) => Plugin::parse(&text, directory).map(Arc::new),
        Err(reason) => Err(ConfigError::new(format!("the file {reason}"))),
    })
}

/// What a file is for, going by its name.
#[derive(Debug, PartialEq, Eq)]
enum Role {
    Driver {
        stem: String,
        semver: Option<Version>,
    },
    Settings {
        stem: String,
    },
    Refused {
        stem: Option<String>,
        reason: Refusal,
    },
    Nothing,
}

impl Role {
    /// `name` is none if it is not UTF-8; `shown` is the nearest text to it.
    fn of(name: Option<&str>, shown: &str, is_directory: bool) -> Role {
        // Made by mkfs, not by people.
        if shown.starts_with('.') || shown == "lost+found" {
            return Role::Nothing;
        }
        let (base, ending) = shown.rsplit_once('.').unwrap_or((shown, ""));
        let refuse = |text: String| Role::Refused {
            stem: None,
            reason: Refusal::Name(text),
        };
        let role = match ending {
            "wasm" => Role::driver(base),
            "toml" => Role::settings(base),
            "cwasm" => Role::Refused {
                stem: Some(base.split('@').next().unwrap_or(base).to_owned())
                    .filter(|stem| PluginName::is_driver(stem)),
                reason: Refusal::Name(
                    "is precompiled code, which is never loaded: drop the .wasm component that it was made from, dockside compiles it"
                        .to_owned(),
                ),
            },
            "wat" => refuse(
                "is WebAssembly text: drop the .wasm component that `wasm-tools parse` makes of it"
                    .to_owned(),
            ),
            _ if matches!(ending.to_ascii_lowercase().as_str(), "wasm" | "toml") => refuse(format!(
                "ends in .{ending}, and only .{} counts: rename it",
                ending.to_ascii_lowercase()
            )),
            _ if is_directory => Role::Refused {
                stem: None,
                reason: Refusal::Directory,
            },
            _ => return Role::Nothing,
        };
        match name {
            Some(_) => role,
            None => refuse("has a name that is not UTF-8: rename it".to_owned()),
        }
    }

    fn driver(base: &str) -> Role {
        let (stem, version) = match base.split_once('@') {
            Some((stem, version)) => (stem, Some(version)),
            None => (base, None),
        };
        if let Err(reason) = driver_name(stem) {
            return Role::Refused { stem: None, reason };
        }
        let semver = match version.map(Version::parse) {
            None => None,
            Some(Ok(semver)) => Some(semver),
            Some(Err(error)) => {
                return Role::Refused {
                    stem: Some(stem.to_owned()),
                    reason: Refusal::Name(format!(
                        "has no version behind the @ ({error}): name it like {stem}@1.2.3.wasm, or {stem}.wasm"
                    )),
                };
            }
        };
        Role::Driver {
            stem: stem.to_owned(),
            semver,
        }
    }

    fn settings(base: &str) -> Role {
        let reason = match base.split_once('@') {
            Some((stem, _)) => Refusal::Name(format!(
                "settings are for all versions of a driver: name the file {stem}.toml, and put a version into it as version = \"1.2.3\""
            )),
            None => match driver_name(base) {
                Ok(()) => {
                    return Role::Settings {
                        stem: base.to_owned(),
                    };
                }
                Err(reason) => reason,
            },
        };
        Role::Refused { stem: None, reason }
    }
}

fn driver_name(stem: &str) -> Result<(), Refusal> {
    stem.parse::<PluginName>()
        .map(drop)
        .map_err(|error| Refusal::Name(format!("has a name that cannot be a plugin's: {error}")))
}

#[cfg(test)]
#[path = "scan_tests.rs"]
mod tests;
