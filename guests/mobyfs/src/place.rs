//! Paths, and which volumes are at them.

use dockside_driver::{Error, Result, Table};
use serde::{Deserialize, Serialize};

use crate::Wish;

/// The volumes at one path.
#[derive(Default, Serialize, Deserialize)]
pub(crate) struct Holders {
    names: Vec<String>,
    /// The directory goes with its volume, which is the only one then.
    delete_on_remove: bool,
}

static PATHS: Table<Holders> = Table::new("paths/");

impl Holders {
    /// Notes that a volume is at a path, if it may be there.
    pub(crate) fn add(path: &str, name: &str, wish: &Wish) -> Result<()> {
        for parent in parents(path) {
            if let Some(above) = PATHS.get(parent)?.filter(|above| above.delete_on_remove) {
                return Err(Error::invalid(format!(
                    "option mountpoint={path}: {parent} is deleted with volume {:?}, and this with it: name another path",
                    above.first()
                )));
            }
        }
        let mut holders = PATHS.get(path)?.unwrap_or_default();
        if !holders.names.is_empty() && (!wish.share || holders.delete_on_remove) {
            let cure = if holders.delete_on_remove {
                "which deletes it when it is removed: name another path"
            } else {
                "name another path, or let both have it with share=true"
            };
            return Err(Error::already_exists(format!(
                "option mountpoint={path}: volume {:?} is there, {cure}",
                holders.first()
            )));
        }
        holders.names.push(name.to_owned());
        holders.delete_on_remove = wish.delete_on_remove;
        PATHS.put(path, &holders)
    }

    /// Notes that a volume is not at a path any more.
    pub(crate) fn remove(path: &str, name: &str) -> Result<()> {
        let mut holders = PATHS.get(path)?.unwrap_or_default();
        holders.names.retain(|other| other != name);
        if holders.names.is_empty() {
            PATHS.remove(path)
        } else {
            PATHS.put(path, &holders)
        }
    }

    fn first(&self) -> &str {
        self.names.first().map_or("", String::as_str)
    }
}

/// One spelling of an absolute path.
pub(crate) fn normal(path: &str) -> Result<String> {
    let wrong = |reason: &str| {
        Err(Error::invalid(format!(
            "option mountpoint={}: {reason}",
            path.escape_debug()
        )))
    };
    if !path.starts_with('/') {
        return wrong("it is an absolute path of this machine, such as /srv/volumes/images");
    }
    if path.chars().any(char::is_control) {
        return wrong("a path has no control characters");
    }
    let parts: Vec<&str> = path
        .split('/')
        .filter(|part| !matches!(*part, "" | "."))
        .collect();
    if parts.contains(&"..") {
        return wrong("a path with .. in it can lead anywhere");
    }
    if parts.is_empty() {
        return wrong("the root of this machine is no volume");
    }
    Ok(format!("/{}", parts.join("/")))
}

/// The paths above one, but the root.
fn parents(path: &str) -> impl Iterator<Item = &str> {
    path.match_indices('/')
        .filter_map(|(end, _)| path.get(..end))
        .filter(|parent| !parent.is_empty())
}
