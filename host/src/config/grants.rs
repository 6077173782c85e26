//! What a driver may do: one table for each capability. A table that is there grants it, even an empty one; without it the capability is
//! not granted.
//!
//! The questions of the kind "may it?" are answered here and nowhere else, and a refusal says what to write to change it.

mod blobs;
mod files;
mod http;
mod images;
mod links;
mod mounts;
mod nat;
mod place;
mod refusal;
mod secrets;

use std::path::{Path, PathBuf};

pub use blobs::{BlobStore, Blobs, S3, StoreName};
pub use files::{FileSet, Files};
pub use http::{HeaderSecrets, Http};
pub use images::{Filesystem, Images};
pub use links::{LinkKind, LinkName, Links};
pub use mounts::{Helpers, Mounts, OnDead};
pub use nat::{Nat, Ports};
pub use place::{Export, Host, HostPath, Remote, Rule, Share};
pub use refusal::{Refusal, RefusalKind};
pub use secrets::Secrets;

use super::secret::SecretName;
use super::units;
use crate::store::Quota;

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
const TIB: u64 = 1 << 40;
const PIB: u64 = 1 << 50;

/// What a driver may do. State is granted without being named.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Grants {
    /// Directories of the machine, below the plugin's own root (`dockside:host/directories`).
    pub directories: Option<Directories>,
    /// Durable keys and values (`wasi:keyvalue`).
    pub state: State,
    /// Mounts (`dockside:host/mounts`).
    pub mounts: Option<Mounts>,
    /// File systems in files (`dockside:host/images`).
    pub images: Option<Images>,
    /// Network links, their addresses and routes (`dockside:host/links`).
    pub links: Option<Links>,
    /// Addresses and ports of the machine for containers (`dockside:host/nat`).
    pub nat: Option<Nat>,
    /// Requests to servers (`wasi:http/outgoing-handler`).
    pub http: Option<Http>,
    /// Secrets (`dockside:host/secrets`).
    pub secrets: Option<Secrets>,
    /// Notes of what a failed call left elsewhere (`dockside:host/outbox`).
    pub outbox: Option<Outbox>,
    /// Files of the machine, to be read (`dockside:host/files`).
    pub files: Option<Files>,
    /// Stores of named pieces of data (`dockside:host/blobs`).
    pub blobs: Option<Blobs>,
}

/// A capability that is granted by a table of its own.
struct Grant {
    name: &'static str,
    /// What a driver asks for that imports it.
    what: &'static str,
    /// The smallest table that is of use.
    toml: &'static str,
}

/// Every grant but `state`, which needs no table.
const GRANTS: &[Grant] = &[
    Grant {
        name: "directories",
        what: "directories on this machine",
        toml: "[grants.directories]\n",
    },
    Grant {
        name: "mounts",
        what: "mounts",
        toml: "[grants.mounts]\ntmpfs = \"64MiB\"\n",
    },
    Grant {
        name: "images",
        what: "disk images",
        toml: "[grants.images]\nmax-size = \"10GiB\"\n",
    },
    Grant {
        name: "links",
        what: "network links",
        toml: "[grants.links]\nkinds = [\"bridge\", \"veth\"]\n",
    },
    Grant {
        name: "nat",
        what: "address translation and forwarding",
        toml: "[grants.nat]\nmasquerade = true\nforward = true\n",
    },
    Grant {
        name: "http",
        what: "HTTP requests",
        toml: "[grants.http]\nallow = [\"GET https://api.example.com/\"]\n",
    },
    Grant {
        name: "secrets",
        what: "secrets",
        // With a table of its own the secret can be added whatever else the file says of secrets.
        toml: "[grants.secrets]\nuse = [\"api-token\"]\n\n[secrets.api-token]\nfile = \"/etc/dockside/api-token\"\n",
    },
    Grant {
        name: "outbox",
        what: "an outbox",
        toml: "[grants.outbox]\n",
    },
    Grant {
        name: "files",
        what: "files of this machine",
        toml: "[grants.files]\nread = { policies = \"/etc/dockside/policies\" }\n",
    },
    Grant {
        name: "blobs",
        what: "a store of blobs",
        toml: "[grants.blobs.backup]\ndirectory = \"/srv/backup\"\n",
    },
];

impl Grants {
    /// Whether a capability is granted, by the name of its table. What is no name of a grant is not granted.
    pub fn granted(&self, grant: &str) -> bool {
        match grant {
            "state" => true,
            "directories" => self.directories.is_some(),
            "mounts" => self.mounts.is_some(),
            "images" => self.images.is_some(),
            "links" => self.links.is_some(),
            "nat" => self.nat.is_some(),
            "http" => self.http.is_some(),
            "secrets" => self.secrets.is_some(),
            "outbox" => self.outbox.is_some(),
            "files" => self.files.is_some(),
            "blobs" => self.blobs.is_some(),
            _ => false,
        }
    }

    /// Why a driver that asks for these grants cannot serve with `STEM.toml`, and what to write there so that it can. None if it can.
    pub fn missing(&self, asked: impl Fn(&str) -> bool, stem: &str) -> Option<String> {
        let missing: Vec<&Grant> = GRANTS
            .iter()
            .filter(|grant| asked(grant.name) && !self.granted(grant.name))
            .collect();
        if missing.is_empty() {
            return None;
        }
        let whats: Vec<&str> = missing.iter().map(|grant| grant.what).collect();
        let tables: Vec<&str> = missing.iter().map(|grant| grant.toml).collect();
        Some(format!(
            "it asks for {}, which this plugin is not granted; to grant it, put this at the end of {stem}.toml:\n\n{}",
            enumerate(&whats),
            tables.join("\n").trim_end()
        ))
    }

    /// The grant `mounts`.
    ///
    /// # Errors
    /// When it is not granted.
    pub fn mounts(&self) -> Result<&Mounts, Refusal> {
        self.mounts.as_ref().ok_or_else(|| absent("mounts"))
    }

    /// The grant `images`.
    ///
    /// # Errors
    /// When it is not granted.
    pub fn images(&self) -> Result<&Images, Refusal> {
        self.images.as_ref().ok_or_else(|| absent("images"))
    }

    /// The grant `links`.
    ///
    /// # Errors
    /// When it is not granted.
    pub fn links(&self) -> Result<&Links, Refusal> {
        self.links.as_ref().ok_or_else(|| absent("links"))
    }

    /// The grant `nat`.
    ///
    /// # Errors
    /// When it is not granted.
    pub fn nat(&self) -> Result<&Nat, Refusal> {
        self.nat.as_ref().ok_or_else(|| absent("nat"))
    }

    /// The grant `http`.
    ///
    /// # Errors
    /// When it is not granted.
    pub fn http(&self) -> Result<&Http, Refusal> {
        self.http.as_ref().ok_or_else(|| absent("http"))
    }

    /// The grant `secrets`.
    ///
    /// # Errors
    /// When it is not granted.
    pub fn secrets(&self) -> Result<&Secrets, Refusal> {
        self.secrets.as_ref().ok_or_else(|| absent("secrets"))
    }

    /// The grant `outbox`.
    ///
    /// # Errors
    /// When it is not granted.
    pub fn outbox(&self) -> Result<&Outbox, Refusal> {
        self.outbox.as_ref().ok_or_else(|| absent("outbox"))
    }

    /// The grant `blobs`.
    ///
    /// # Errors
    /// When it is not granted.
    pub fn blobs(&self) -> Result<&Blobs, Refusal> {
        self.blobs.as_ref().ok_or_else(|| absent("blobs"))
    }

    /// The grant `files`.
    ///
    /// # Errors
    /// When it is not granted.
    pub fn files(&self) -> Result<&Files, Refusal> {
        self.files.as_ref().ok_or_else(|| absent("files"))
    }

    /// What the store and the directories are held to.
    pub fn quota(&self) -> Quota {
        Quota {
            max_bytes: self.state.max_bytes,
            max_keys: self.state.max_keys,
            max_value_bytes: self.state.max_value_bytes,
            max_directories: self
                .directories
                .as_ref()
                .map_or(0, |directories| u64::from(directories.max)),
            ..Quota::default()
        }
    }

    /// Makes relative paths start at `directory`.
    pub(super) fn rooted(&mut self, directory: &Path) {
        if let Some(http) = &mut self.http {
            http.rooted(directory);
        }
        if let Some(files) = &mut self.files {
            files.rooted(directory);
        }
        if let Some(blobs) = &mut self.blobs {
            blobs.rooted(directory);
        }
    }

    /// The files that are read when a version is loaded, with the keys that name them.
    pub(super) fn named_files(&self) -> impl Iterator<Item = (&'static str, &PathBuf)> {
        let blobs = self.blobs.iter().flat_map(Blobs::files);
        self.http.iter().flat_map(Http::files).chain(blobs)
    }

    /// Every secret that is named, with the key that names it.
    pub(super) fn named_secrets(&self) -> impl Iterator<Item = (&'static str, &SecretName)> {
        let http = self.http.iter().flat_map(|http| {
            let headers = http
                .secrets
                .0
                .keys()
                .map(|name| ("grants.http.secrets", name));
            let key = http.client_key.iter();
            headers.chain(key.map(|name| ("grants.http.client-key", name)))
        });
        let own = self.secrets.iter().flat_map(|secrets| {
            let usable = secrets.usable.iter();
            let reveal = secrets.reveal.iter();
            usable
                .map(|name| ("grants.secrets.use", name))
                .chain(reveal.map(|name| ("grants.secrets.reveal", name)))
        });
        let blobs = self.blobs.iter().flat_map(Blobs::named_secrets);
        http.chain(own).chain(blobs)
    }
}

/// The grant `directories`.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
#[serde(
    default,
    deny_unknown_fields,
    rename_all = "kebab-case",
    expecting = "a table: directories = {} or directories = { max = 1000 }"
)]
pub struct Directories {
    /// Number of directories.
    #[serde(deserialize_with = "units::count::<_, 1, 10_000_000>")]
    pub max: u32,
}

impl Default for Directories {
    fn default() -> Self {
        Self { max: 10_000 }
    }
}

/// The grant `state`.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
#[serde(
    default,
    deny_unknown_fields,
    rename_all = "kebab-case",
    expecting = "a table: state = { max-bytes = \"16MiB\", max-keys = 100000 }"
)]
pub struct State {
    /// All keys and values together, in bytes.
    #[serde(deserialize_with = "units::size::<_, 0, { 4 * GIB }>")]
    pub max_bytes: u64,
    /// Number of keys.
    #[serde(deserialize_with = "max_keys")]
    pub max_keys: u64,
    /// Length of one value in bytes.
    #[serde(deserialize_with = "units::size::<_, 1, { 64 * MIB }>")]
    pub max_value_bytes: u64,
}

impl Default for State {
    fn default() -> Self {
        let quota = Quota::default();
        Self {
            max_bytes: quota.max_bytes,
            max_keys: quota.max_keys,
            max_value_bytes: quota.max_value_bytes,
        }
    }
}

fn max_keys<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    units::count::<D, 0, 100_000_000>(deserializer).map(u64::from)
}

/// The grant `outbox`.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
#[serde(
    default,
    deny_unknown_fields,
    rename_all = "kebab-case",
    expecting = "a table: outbox = {} or outbox = { max = 1000 }"
)]
pub struct Outbox {
    /// Number of notes that are not settled yet.
    #[serde(deserialize_with = "units::count::<_, 1, 1_000_000>")]
    pub max: u32,
}

impl Default for Outbox {
    fn default() -> Self {
        Self { max: 1000 }
    }
}

impl Outbox {
    /// Whether one more note may be left, by a plugin of which `held` are not settled yet.
    ///
    /// # Errors
    /// When it may not.
    pub fn may_add(&self, held: u64) -> Result<(), Refusal> {
        room("notes in its outbox", held, self.max, "grants.outbox")
    }
}

fn absent(name: &str) -> Refusal {
    let (what, toml) = GRANTS
        .iter()
        .find(|grant| grant.name == name)
        .map_or((name, ""), |grant| (grant.what, grant.toml));
    Refusal::table(format!("has no grant for {what}"), toml)
}

/// A limit on the number of things held.
fn room(things: &str, held: u64, max: u32, table: &'static str) -> Result<(), Refusal> {
    if held < u64::from(max) {
        return Ok(());
    }
    let deed = format!("may not have more than {max} {things}");
    let line = format!("max = {}", held.saturating_add(1));
    Err(Refusal::limit(deed, line, table))
}

/// A key that is true or false.
fn switch(on: bool, deed: &str, key: &str, table: &'static str) -> Result<(), Refusal> {
    if on {
        return Ok(());
    }
    Err(Refusal::set(
        deed.to_owned(),
        format!("{key} = true"),
        table,
    ))
}

/// A list of secrets.
fn secret(
    names: &[SecretName],
    name: &str,
    verb: &str,
    key: &str,
    table: &'static str,
) -> Result<(), Refusal> {
    if names.iter().any(|secret| secret.as_str() == name) {
        return Ok(());
    }
    let deed = format!("may not {verb} the secret {}", refusal::shown(name));
    match name.parse::<SecretName>() {
        Ok(name) => Err(Refusal::add(deed, name.as_str(), key, table)),
        Err(reason) => Err(Refusal::invalid(deed, refusal::shown(&reason))),
    }
}

/// Words as one enumeration: `a, b and c`.
fn enumerate(words: &[&str]) -> String {
    match words {
        [] => String::new(),
        [only] => (*only).to_owned(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}
