//! The settings of a driver that is checked: those beside its file, made to hold in another directory.

use std::path::Path;

use anyhow::Context as _;
use toml::{Table, Value};

/// What says where Docker finds the plugin, and which of several files serves: not of the driver that is checked.
const LEFT_OUT: &[&str] = &["driver", "names", "version", "scope", "endpoint", "relay"];

/// Reads a plugin's file. Relative paths in it are made absolute.
///
/// # Errors
///
/// It cannot be read, or is no TOML.
pub(super) fn read(file: &Path) -> anyhow::Result<Table> {
    let text = std::fs::read_to_string(file)
        .with_context(|| format!("cannot read the settings {}", file.display()))?;
    let table: Table =
        toml::from_str(&text).with_context(|| format!("{} is no TOML", file.display()))?;
    rooted(table, file)
}

/// The same of settings that `file` holds.
pub(super) fn rooted(mut table: Table, file: &Path) -> anyhow::Result<Table> {
    for key in LEFT_OUT {
        table.remove(*key);
    }
    let directory = std::path::absolute(file)?
        .parent()
        .unwrap_or(Path::new("/"))
        .to_owned();
    for section in ["config", "secrets"] {
        for value in tables(table.get_mut(section)) {
            root(value.get_mut("file"), &directory);
        }
    }
    let Some(Value::Table(grants)) = table.get_mut("grants") else {
        return Ok(table);
    };
    if let Some(Value::Table(http)) = grants.get_mut("http") {
        root(http.get_mut("ca"), &directory);
        root(http.get_mut("client-certificate"), &directory);
    }
    for store in tables(grants.get_mut("blobs")) {
        if let Some(Value::Table(s3)) = store.get_mut("s3") {
            root(s3.get_mut("ca"), &directory);
        }
    }
    if let Some(Value::Table(files)) = grants.get_mut("files")
        && let Some(Value::Table(sets)) = files.get_mut("read")
    {
        for (_, set) in sets.iter_mut() {
            match set {
                Value::Table(set) => root(set.get_mut("path"), &directory),
                set => root(Some(set), &directory),
            }
        }
    }
    Ok(table)
}

/// Grants what is asked for and not granted, with nothing in it that need not be. Gives the lines that were added.
pub(super) fn grant(table: &mut Table, missing: &[String]) -> Vec<String> {
    let grants = table
        .entry("grants")
        .or_insert_with(|| Value::Table(Table::new()));
    let Value::Table(grants) = grants else {
        return Vec::new();
    };
    for name in missing {
        grants.insert(name.clone(), Value::Table(Table::new()));
    }
    missing
        .iter()
        .map(|name| format!("[grants.{name}]"))
        .collect()
}

fn tables(section: Option<&mut Value>) -> impl Iterator<Item = &mut Table> {
    section
        .and_then(Value::as_table_mut)
        .into_iter()
        .flat_map(|table| table.iter_mut())
        .filter_map(|(_, value)| value.as_table_mut())
}

fn root(value: Option<&mut Value>, directory: &Path) {
    if let Some(Value::String(path)) = value {
        *path = directory.join(&*path).display().to_string();
    }
}
