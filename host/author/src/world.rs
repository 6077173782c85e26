//! Reading WIT: a directory or a file, and one world of it.

use std::path::Path;

use anyhow::{anyhow, bail};
use wit_parser::{Resolve, WorldId};

/// Reads the package at `wit` and finds a world in it; without a name, its only one.
///
/// # Errors
///
/// The path cannot be read, is no valid WIT, or has no such world: the text lists the worlds that it has.
pub(crate) fn load(wit: &Path, world: Option<&str>) -> anyhow::Result<(Resolve, WorldId)> {
    if !wit.exists() {
        bail!(
            "there is no {}: --wit names the directory of the project's .wit files",
            wit.display()
        );
    }
    let mut resolve = Resolve::default();
    let package = match resolve.push_path(wit) {
        Ok((package, _)) => package,
        Err(error) => bail!(
            "cannot use {}: {}",
            wit.display(),
            resolve.render_error(&error)
        ),
    };
    let has: Vec<String> = resolve
        .packages
        .get(package)
        .map(|package| package.worlds.keys().cloned().collect())
        .unwrap_or_default();
    let name = match (world, has.as_slice()) {
        (Some(name), _) => name,
        (None, [only]) => only,
        (None, []) => bail!("{} has no world", wit.display()),
        (None, several) => bail!(
            "{} has several worlds: say which with --world ({})",
            wit.display(),
            several.join(", ")
        ),
    };
    let id = resolve.select_world(&[package], Some(name)).map_err(|_| {
        anyhow!(
            "no world {name} in {}, which has {}",
            wit.display(),
            match has.as_slice() {
                [] => "none".to_owned(),
                some => some.join(", "),
            }
        )
    })?;
    Ok((resolve, id))
}
