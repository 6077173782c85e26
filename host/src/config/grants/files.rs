//! The grant `files`: which files of the machine may be read.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};

use super::MIB;
use super::refusal::{Refusal, quoted, shown};
use crate::config::units::{self, show_size};

const TABLE: &str = "grants.files";
const MAX_BYTES: u64 = 256 * MIB;

/// The grant `files` (`dockside:host/files`).
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
#[serde(
    default,
    deny_unknown_fields,
    rename_all = "kebab-case",
    expecting = "a table: files = { read = { policies = \"/etc/dockside/policies\" } }"
)]
pub struct Files {
    /// Sets of files that may be read, by the names by which drivers ask for them.
    #[serde(deserialize_with = "sets")]
    pub read: BTreeMap<String, FileSet>,
    /// Whether it may ask where paths of the machine lead.
    pub resolve: bool,
    /// Length of a file in bytes.
    #[serde(deserialize_with = "units::size::<_, 1, MAX_BYTES>")]
    pub max_bytes: u64,
}

impl Default for Files {
    fn default() -> Self {
        Self {
            read: BTreeMap::new(),
            resolve: false,
            max_bytes: 16 * MIB,
        }
    }
}

/// A file, or a directory with everything below it. In TOML its path, or a table if there is more to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileSet {
    /// Where it is.
    pub path: PathBuf,
    /// Whether it counts only while nobody but root can change it, or any directory above it.
    pub root_only: bool,
}

impl Files {
    /// The set of this name.
    ///
    /// # Errors
    /// When there is none.
    pub fn set(&self, name: &str) -> Result<&FileSet, Refusal> {
        if let Some(set) = self.read.get(name) {
            return Ok(set);
        }
        let deed = format!("may not read the files {}", shown(name));
        if let Err(reason) = check_name(name) {
            return Err(Refusal::invalid(deed, reason));
        }
        let entry = format!("{name} = {}", quoted(&format!("/etc/dockside/{name}")));
        Err(if self.read.is_empty() {
            Refusal::set(deed, format!("read = {{ {entry} }}"), TABLE)
        } else {
            Refusal::entry(deed, entry, "read", TABLE)
        })
    }

    /// Whether it may ask where a path of the machine leads.
    ///
    /// # Errors
    /// When it may not.
    pub fn may_resolve(&self) -> Result<(), Refusal> {
        super::switch(
            self.resolve,
            "may not ask where paths of this machine lead",
            "resolve",
            TABLE,
        )
    }

    /// Whether a file of this many bytes may be read.
    ///
    /// # Errors
    /// When it may not.
    pub fn may_read(&self, name: &str, size: u64) -> Result<(), Refusal> {
        if size <= self.max_bytes {
            return Ok(());
        }
        let deed = format!(
            "may not read {}, which has more than {}",
            shown(name),
            show_size(self.max_bytes)
        );
        if size > MAX_BYTES {
            let most = format!("at most {} can be granted", show_size(MAX_BYTES));
            return Err(Refusal::invalid(deed, most));
        }
        let enough = size.div_ceil(MIB) * MIB;
        let line = format!("max-bytes = {}", quoted(&show_size(enough)));
        Err(Refusal::limit(deed, line, TABLE))
    }

    /// Makes relative paths start at `directory`.
    pub(super) fn rooted(&mut self, directory: &Path) {
        for set in self.read.values_mut() {
            set.path = directory.join(&set.path);
        }
    }
}

fn check_name(name: &str) -> Result<(), &'static str> {
    let fits = (1..=64).contains(&name.len())
        && name.starts_with(|first: char| first.is_ascii_alphanumeric())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
    if fits {
        return Ok(());
    }
    Err(
        "the name of a set of files has 1 to 64 letters, digits, - and _, of which the first is a letter or a digit",
    )
}

fn sets<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, FileSet>, D::Error> {
    struct Sets;
    impl<'de> Visitor<'de> for Sets {
        type Value = BTreeMap<String, FileSet>;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a table: read = { policies = \"/etc/dockside/policies\" }")
        }
        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut sets = BTreeMap::new();
            while let Some(name) = map.next_key::<String>()? {
                check_name(&name)
                    .map_err(|reason| A::Error::custom(format!("{name:?}: {reason}")))?;
                sets.insert(name, map.next_value()?);
            }
            Ok(sets)
        }
    }
    deserializer.deserialize_map(Sets)
}

impl<'de> Deserialize<'de> for FileSet {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<FileSet, D::Error> {
        #[derive(serde::Deserialize)]
        #[serde(deny_unknown_fields, rename_all = "kebab-case")]
        struct Table {
            path: PathBuf,
            #[serde(default)]
            root_only: bool,
        }
        struct PathOrTable;
        impl<'de> Visitor<'de> for PathOrTable {
            type Value = FileSet;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(
                    "a path, or a table: { path = \"/etc/dockside/policies\", root-only = true }",
                )
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<FileSet, E> {
                check_path(text.into(), false)
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<FileSet, A::Error> {
                let Table { path, root_only } =
                    Table::deserialize(MapAccessDeserializer::new(map))?;
                check_path(path, root_only)
            }
        }
        deserializer.deserialize_any(PathOrTable)
    }
}

fn check_path<E: Error>(path: PathBuf, root_only: bool) -> Result<FileSet, E> {
    if path.as_os_str().is_empty() {
        return Err(E::custom("the path is empty"));
    }
    Ok(FileSet { path, root_only })
}
