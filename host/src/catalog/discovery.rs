//! `NAME.spec` and `NAME.json`: how Docker finds a plugin that has no socket in the plugins directory.
//!
//! The directory is the operator's. What dockside writes there it remembers, and nothing else is changed or removed.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::config::{self, PluginName};
use crate::store::{Store, StoreError};

/// The host's own note of what it wrote for a plugin.
const NOTE: &str = "discovery";

/// A file, and what is to be in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Announcement {
    directory: PathBuf,
    pub(super) file: PathBuf,
    text: String,
}

/// What was written, or was about to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Note {
    directory: PathBuf,
    file: PathBuf,
    /// SHA-256 of what the file may hold.
    digests: Vec<String>,
}

/// Why Docker is not told.
#[derive(Debug, thiserror::Error)]
pub(super) enum DiscoveryError {
    #[error(
        "{} is there and dockside has not written it: move it away, so that Docker can be told where the plugin listens",
        .0.display()
    )]
    Foreign(PathBuf),
    #[error(
        "Docker finds {} first and never looks at {}: move it away",
        .0.display(), .1.display()
    )]
    Shadowed(PathBuf, PathBuf),
    #[error("cannot write or remove {}: {error}", .file.display())]
    Io { file: PathBuf, error: io::Error },
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Announcement {
    /// What Docker is to be told of a plugin that listens on `port`.
    pub(super) fn of(
        directory: &Path,
        name: &PluginName,
        settings: &config::Endpoint,
        port: u16,
    ) -> Announcement {
        let address = settings.address(port);
        // Docker never verifies the certificate of an address in a .spec.
        let (ending, text) = match (&settings.tls, &settings.client) {
            (None, _) => ("spec", format!("{address}\n")),
            (Some(_), None) => {
                let value = json!({ "Name": name.as_str(), "Addr": address });
                ("json", format!("{value:#}\n"))
            }
            (Some(_), Some(client)) => {
                let value = json!({
                    "Name": name.as_str(),
                    "Addr": address,
                    "TLSConfig": {
                        "InsecureSkipVerify": false,
                        "CAFile": client.ca_file,
                        "CertFile": client.cert_file.as_deref().unwrap_or(Path::new("")),
                        "KeyFile": client.key_file.as_deref().unwrap_or(Path::new("")),
                    },
                });
                ("json", format!("{value:#}\n"))
            }
        };
        Announcement {
            directory: directory.to_owned(),
            file: directory.join(format!("{name}.{ending}")),
            text,
        }
    }

    /// The files that Docker looks at before this one, as far as they are there. `sockets` is where it looks for sockets.
    fn shadow(&self, sockets: &Path) -> Option<PathBuf> {
        let name = self
            .file
            .strip_prefix(&self.directory)
            .ok()?
            .with_extension("");
        let twice = name.join(&name);
        let socket = [&name, &twice].map(|name| with_ending(sockets, name, "sock"));
        let spec = [&name, &twice].map(|name| with_ending(&self.directory, name, "spec"));
        socket
            .into_iter()
            .chain(spec)
            .take_while(|file| *file != self.file)
            .find(|file| file.exists())
    }
}

fn with_ending(directory: &Path, name: &Path, ending: &str) -> PathBuf {
    directory.join(format!("{}.{ending}", name.display()))
}

/// Makes the file of a plugin what it should be, and removes the one before if that was another.
///
/// # Errors
/// When a file is in the way, or cannot be written.
pub(super) async fn announce(
    store: &Store,
    plugin: &str,
    wanted: Option<&Announcement>,
    sockets: &Path,
) -> Result<(), DiscoveryError> {
    let known: Option<Note> = store
        .meta(plugin, NOTE)?
        .and_then(|text| serde_json::from_str(&text).ok());
    let known = match (known, wanted) {
        (Some(note), wanted) if wanted.is_none_or(|wanted| wanted.file != note.file) => {
            withdraw(&note).map_err(|error| DiscoveryError::Io {
                file: note.file.clone(),
                error,
            })?;
            store.set_meta(plugin, NOTE, None).await?;
            None
        }
        (known, _) => known,
    };
    let Some(wanted) = wanted else {
        return Ok(());
    };
    let failed = |error| DiscoveryError::Io {
        file: wanted.file.clone(),
        error,
    };
    let digest = digest(wanted.text.as_bytes());
    let mut note = Note {
        directory: wanted.directory.clone(),
        file: wanted.file.clone(),
        digests: vec![digest.clone()],
    };
    let there = match fs::read(&wanted.file) {
        Ok(bytes) => Some(self::digest(&bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(failed(error)),
    };
    if there.as_ref() != Some(&digest) {
        if let Some(there) = there {
            let ours = known
                .as_ref()
                .is_some_and(|known| known.digests.contains(&there));
            if !ours {
                return Err(DiscoveryError::Foreign(wanted.file.clone()));
            }
            note.digests.push(there);
        }
        // Before the file: what is there after a crash in between is known then.
        remember(store, plugin, &note).await?;
        write(wanted).map_err(failed)?;
        note.digests.truncate(1);
    }
    if known.as_ref() != Some(&note) {
        remember(store, plugin, &note).await?;
    }
    match wanted.shadow(sockets) {
        Some(first) => Err(DiscoveryError::Shadowed(first, wanted.file.clone())),
        None => Ok(()),
    }
}

async fn remember(store: &Store, plugin: &str, note: &Note) -> Result<(), DiscoveryError> {
    let text = serde_json::to_string(note).unwrap_or_default();
    Ok(store.set_meta(plugin, NOTE, Some(&text)).await?)
}

fn digest(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

fn write(wanted: &Announcement) -> io::Result<()> {
    let directory = wanted.file.parent().unwrap_or(&wanted.directory);
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o755)
        .create(directory)?;
    // Docker takes every .spec and .json for a plugin, so this one has neither ending.
    let name = wanted.file.file_name().unwrap_or_default();
    let partial = directory.join(format!(".{}.new", name.display()));
    let written = (|| {
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o644)
            .open(&partial)?;
        file.write_all(wanted.text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&partial, &wanted.file)?;
        File::open(directory)?.sync_all()
    })();
    if written.is_err() {
        let _ = fs::remove_file(&partial);
    }
    written
}

/// Removes what was written, unless somebody has changed it since, and the directories that a name with slashes needed.
fn withdraw(note: &Note) -> io::Result<()> {
    match fs::read(&note.file) {
        Ok(bytes) if note.digests.contains(&digest(&bytes)) => fs::remove_file(&note.file)?,
        Ok(_) => {
            tracing::warn!(file = %note.file.display(), "somebody has changed this file since dockside wrote it: it stays");
            return Ok(());
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    for parent in note.file.ancestors().skip(1) {
        // One that others use is not empty.
        if parent == note.directory || fs::remove_dir(parent).is_err() {
            break;
        }
    }
    Ok(())
}

#[cfg(test)]
#[path = "discovery_tests.rs"]
mod tests;
