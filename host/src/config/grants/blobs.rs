//! The grant `blobs`: stores of named pieces of data.

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use ipnet::IpNet;
use serde::de::{Deserialize, Deserializer, Error as _};

use super::links::networks;
use super::refusal::{Refusal, shown};
use crate::config::secret::SecretName;
use crate::config::units;
use crate::outbound::Place;

/// The region that servers take who have none.
const REGION: &str = "us-east-1";

/// The grant `blobs` (`dockside:host/blobs`): stores by the names that drivers know them by.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(
    transparent,
    expecting = "a table of stores: backup = { directory = \"/srv/backup\" }"
)]
pub struct Blobs(pub BTreeMap<StoreName, BlobStore>);

impl Blobs {
    /// A store by its name.
    ///
    /// # Errors
    /// When there is none.
    pub fn store(&self, name: &str) -> Result<&BlobStore, Refusal> {
        if let Some(store) = self.0.get(name) {
            return Ok(store);
        }
        let known: Vec<&str> = self.0.keys().map(|name| name.0.as_str()).collect();
        let known = match known.as_slice() {
            [] => String::new(),
            known => format!(" (it has {})", super::enumerate(known)),
        };
        let deed = format!("has no blob store {}{known}", shown(name));
        match name.parse::<StoreName>() {
            Ok(name) => Err(Refusal::table(
                deed,
                &format!("[grants.blobs.{name}]\ndirectory = \"/srv/{name}\"\n"),
            )),
            Err(reason) => Err(Refusal::invalid(deed, reason)),
        }
    }

    /// Makes relative paths start at `directory`.
    pub(super) fn rooted(&mut self, directory: &Path) {
        for store in self.0.values_mut() {
            if let BlobStore::S3(S3 { ca: Some(ca), .. }) = store {
                *ca = directory.join(&*ca);
            }
        }
    }

    /// The files that it names, with the keys that name them.
    pub(super) fn files(&self) -> impl Iterator<Item = (&'static str, &PathBuf)> {
        self.s3()
            .filter_map(|s3| s3.ca.as_ref())
            .map(|ca| ("grants.blobs.*.s3.ca", ca))
    }

    /// The secrets that it names, with the keys that name them.
    pub(super) fn named_secrets(&self) -> impl Iterator<Item = (&'static str, &SecretName)> {
        self.s3().flat_map(|s3| {
            [
                ("grants.blobs.*.s3.access-key", &s3.access_key),
                ("grants.blobs.*.s3.secret-key", &s3.secret_key),
            ]
        })
    }

    fn s3(&self) -> impl Iterator<Item = &S3> {
        self.0.values().filter_map(|store| match store {
            BlobStore::S3(s3) => Some(s3),
            BlobStore::Directory(_) => None,
        })
    }
}

/// The name of a store: 1 to 64 of `[a-z0-9_-]`, the first a letter or a digit.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct StoreName(String);

impl Borrow<str> for StoreName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for StoreName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for StoreName {
    type Err = String;
    fn from_str(text: &str) -> Result<StoreName, String> {
        let letter = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let fits = (1..=64).contains(&text.len())
            && text.bytes().next().is_some_and(letter)
            && text
                .bytes()
                .all(|byte| letter(byte) || matches!(byte, b'-' | b'_'));
        if fits {
            return Ok(StoreName(text.to_owned()));
        }
        Err("the name of a blob store has 1 to 64 lower-case letters, digits, - and _, of which the first is a letter or a digit".to_owned())
    }
}

impl<'de> Deserialize<'de> for StoreName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<StoreName, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(D::Error::custom)
    }
}

/// Where the blobs of a store are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BlobStore {
    /// Files in a directory of this machine, which must be there.
    Directory(PathBuf),
    /// Objects in a bucket of an S3 server.
    S3(S3),
}

impl<'de> Deserialize<'de> for BlobStore {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<BlobStore, D::Error> {
        #[derive(serde::Deserialize)]
        #[serde(
            deny_unknown_fields,
            expecting = "a table: { directory = \"/srv/backup\" } or { s3 = { url = \"https://s3.example.com\", bucket = \"backup\", access-key = \"SECRET\", secret-key = \"SECRET\" } }"
        )]
        struct Either {
            directory: Option<PathBuf>,
            s3: Option<S3>,
        }
        match Either::deserialize(deserializer)? {
            Either {
                directory: Some(directory),
                s3: None,
            } if directory.is_absolute() => Ok(BlobStore::Directory(directory)),
            Either {
                directory: Some(directory),
                s3: None,
            } => Err(D::Error::custom(format!(
                "directory = {directory:?}: an absolute path is needed"
            ))),
            Either {
                directory: None,
                s3: Some(s3),
            } => Ok(BlobStore::S3(s3)),
            _ => Err(D::Error::custom(
                "a blob store is either a directory or s3: say one of them",
            )),
        }
    }
}

/// A bucket of an S3 server.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct S3 {
    /// The server, without the bucket: `https://s3.eu-central-1.amazonaws.com`.
    #[serde(deserialize_with = "url")]
    pub url: String,
    /// The bucket, which must be there.
    #[serde(deserialize_with = "bucket")]
    pub bucket: String,
    /// What the names of the objects begin with; empty or with a slash at its end.
    #[serde(default, deserialize_with = "prefix")]
    pub prefix: String,
    /// The server's region.
    #[serde(default = "region")]
    pub region: String,
    /// The secret that is the access key's ID.
    pub access_key: SecretName,
    /// The secret that is the access key itself.
    pub secret_key: SecretName,
    /// Networks that are not the public Internet and may be reached nevertheless.
    #[serde(default, deserialize_with = "networks")]
    pub private: Vec<IpNet>,
    /// PEM file of the authorities that are trusted, in place of the machine's.
    pub ca: Option<PathBuf>,
    /// How long one request may take.
    #[serde(
        default = "timeout",
        deserialize_with = "units::span::<_, 100, 110_000>"
    )]
    pub timeout: Duration,
}

fn region() -> String {
    REGION.to_owned()
}

fn timeout() -> Duration {
    Duration::from_secs(60)
}

fn url<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let text = String::deserialize(deserializer)?;
    match text.parse::<Place>() {
        Ok(_) if !text.contains('*') => Ok(text.trim_end_matches('/').to_owned()),
        Ok(_) => Err(D::Error::custom(format!(
            "url = {text:?}: it is one server, without *"
        ))),
        Err(reason) => Err(D::Error::custom(reason)),
    }
}

/// <https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html>, and the names that older buckets have.
fn bucket<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let text = String::deserialize(deserializer)?;
    let fits = (3..=255).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
        && text.starts_with(|first: char| first.is_ascii_alphanumeric());
    if fits {
        return Ok(text);
    }
    Err(D::Error::custom(format!(
        "bucket = {text:?}: the name of a bucket has 3 to 255 letters, digits, -, . and _, of which the first is a letter or a digit"
    )))
}

fn prefix<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let text = String::deserialize(deserializer)?;
    let parts: Vec<&str> = text.split('/').filter(|part| !part.is_empty()).collect();
    let fits = text.len() <= 256
        && parts.iter().all(|part| {
            !part.starts_with('.')
                && part
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
        });
    if fits {
        return Ok(parts.iter().map(|part| format!("{part}/")).collect());
    }
    Err(D::Error::custom(format!(
        "prefix = {text:?}: it has letters, digits, -, . and _ between its slashes, and no part begins with a dot"
    )))
}
