//! Recordings: a header and then one event a line.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use rustix::fs::OFlags;
use serde::{Deserialize, Serialize};

use super::call::known_secrets;
use super::mask::Mask;
use super::{CallRecord, Event, VersionId, secret_names};
use crate::call::Client;
use crate::plugin::Version;

/// What the first line of a recording begins with.
const FORMAT: &str = "dockside-recording";

/// The version of the format that this dockside writes. It reads this one only.
const FORMAT_VERSION: u32 = 1;

/// Bytes of one line. An event has at most some megabytes.
const MAX_LINE: u64 = 64 << 20;

/// The first line of a recording.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// `dockside-recording`.
    pub format: String,
    /// The version of the format.
    pub version: u32,
    /// The dockside that wrote it.
    pub dockside: String,
    /// When it began, as RFC 3339 in UTC.
    pub began: String,
    /// The plugin.
    pub plugin: String,
    /// The version that served then.
    pub driver: VersionId,
    /// What it is for Docker: `VolumeDriver` and so on.
    pub kinds: Vec<String>,
    /// What it could read through `wasi:config`, without secrets.
    pub config: BTreeMap<String, String>,
    /// What it was granted: the names of the tables.
    pub grants: Vec<String>,
    /// Bytes of memory that an instance may take.
    pub memory: u64,
}

impl Header {
    /// The header of a recording of a plugin that begins now.
    pub fn new(plugin: &str, version: &Version) -> Header {
        let description = version.driver.description();
        let names = secret_names(description);
        let mut mask = Mask::new(&names, known_secrets(version, &Client::default()));
        let mut config = serde_json::to_value(&version.environment.config).unwrap_or_default();
        mask.find(&mut config);
        // Keys are the driver's, which asks for them when it is replayed.
        let values = config.as_object_mut().into_iter().flatten();
        values.for_each(|(_, value)| mask.hide(value));
        let grants = version.driver.asks().iter().filter_map(|ask| ask.grant);
        Header {
            format: FORMAT.to_owned(),
            version: FORMAT_VERSION,
            dockside: env!("CARGO_PKG_VERSION").to_owned(),
            began: jiff::Timestamp::now().to_string(),
            plugin: plugin.to_owned(),
            driver: VersionId {
                label: version.label.to_string(),
                digest: version.driver.digest().to_owned(),
            },
            kinds: description
                .implements()
                .iter()
                .map(ToString::to_string)
                .collect(),
            config: serde_json::from_value(config).unwrap_or_default(),
            grants: grants
                .filter(|grant| version.settings.grants.granted(grant))
                .map(str::to_owned)
                .collect(),
            memory: version.environment.memory,
        }
    }
}

/// A recording that was read.
#[derive(Debug, Clone, PartialEq)]
pub struct Recording {
    /// Its first line.
    pub header: Header,
    /// The calls, in the order in which they ended.
    pub calls: Vec<CallRecord>,
    /// What of it could not be read, a sentence each. The rest is not less true for it.
    pub damage: Vec<String>,
}

/// Why a file is no recording.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The file cannot be opened or read.
    #[error("cannot read the recording {file}: {reason}")]
    File {
        /// The file.
        file: String,
        /// Why.
        reason: std::io::Error,
    },
    /// It does not begin as recordings do.
    #[error("{0} is no recording: its first line is not a header as `dockside record` writes it")]
    Header(String),
    /// It is in a format of another dockside.
    #[error(
        "{file} is a recording in format {version}, written by dockside {dockside}; this dockside reads format {FORMAT_VERSION}: record it again, or replay it with that one"
    )]
    Version {
        /// The file.
        file: String,
        /// The format.
        version: u32,
        /// Who wrote it.
        dockside: String,
    },
}

impl Recording {
    /// Reads a recording.
    ///
    /// # Errors
    /// When the file is no recording, or in another format. Damaged lines are no error: they are named in [`Recording::damage`].
    pub fn read(path: &Path) -> Result<Recording, ReadError> {
        let file = path.display().to_string();
        let failed = |reason| ReadError::File {
            file: path.display().to_string(),
            reason,
        };
        // Without O_NONBLOCK a fifo in place of the file would wait for ever.
        let opened = File::options()
            .read(true)
            .custom_flags(OFlags::NONBLOCK.bits() as i32)
            .open(path)
            .map_err(failed)?;
        Recording::from_lines(&file, BufReader::new(opened)).map_err(|error| match error {
            ReadError::File { reason, .. } => failed(reason),
            other => other,
        })
    }

    /// Reads a recording line by line; `file` is what errors call it.
    ///
    /// # Errors
    /// See [`read`](Self::read).
    pub fn from_lines(file: &str, mut lines: impl BufRead) -> Result<Recording, ReadError> {
        let mut header = None;
        let mut calls = Vec::new();
        let mut damage = Vec::new();
        let mut number = 0_u64;
        loop {
            let mut line = Vec::new();
            let read = lines
                .by_ref()
                .take(MAX_LINE)
                .read_until(b'\n', &mut line)
                .map_err(|reason| ReadError::File {
                    file: file.to_owned(),
                    reason,
                })?;
            if read == 0 {
                break;
            }
            number += 1;
            let is_whole = line.ends_with(b"\n");
            if header.is_none() {
                header = Some(read_header(file, &line)?);
                continue;
            }
            if line.trim_ascii().is_empty() {
                continue;
            }
            match serde_json::from_slice::<Event>(&line) {
                Ok(Event::End(call)) => calls.push(*call),
                Ok(Event::Lost { count }) => damage.push(format!(
                    "{count} calls before line {number} were not recorded: the recorder was too slow"
                )),
                Ok(Event::Begin(_) | Event::Note(_)) => {}
                // A header again: the plugin was loaded anew while it was recorded.
                Err(_) if read_header(file, &line).is_ok() => {}
                Err(error) => damage.push(match is_whole {
                    true => format!("line {number} is damaged and left out: {error}"),
                    false => format!("line {number} is cut off and left out"),
                }),
            }
        }
        let header = header.ok_or_else(|| ReadError::Header(file.to_owned()))?;
        Ok(Recording {
            header,
            calls,
            damage,
        })
    }
}

fn read_header(file: &str, line: &[u8]) -> Result<Header, ReadError> {
    #[derive(Deserialize)]
    struct Any {
        format: String,
        version: u32,
        #[serde(default)]
        dockside: String,
    }
    let no_header = || ReadError::Header(file.to_owned());
    let any: Any = serde_json::from_slice(line).map_err(|_| no_header())?;
    if any.format != FORMAT {
        return Err(no_header());
    }
    if any.version != FORMAT_VERSION {
        return Err(ReadError::Version {
            file: file.to_owned(),
            version: any.version,
            dockside: any.dockside,
        });
    }
    serde_json::from_slice(line).map_err(|_| no_header())
}
