//! `dockside bindings`: bindings of a driver's world for languages whose toolchains bring no generator.

use std::path::Path;

use dockside_author::bindings::{Language, generate};

use super::OK;

pub(super) fn run(
    lang: &str,
    wit: &Path,
    world: Option<&str>,
    package: Option<&str>,
    out: &Path,
) -> anyhow::Result<u8> {
    for path in generate(Language::named(lang)?, wit, world, package, out)? {
        say!("{}", path.display());
    }
    Ok(OK)
}
