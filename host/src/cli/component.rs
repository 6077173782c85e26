//! `dockside component`: a component from a core module.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use dockside_author::component::{World, encode};

use super::OK;

pub(super) fn run(module: &Path, world: Option<World<'_>>, output: &Path) -> anyhow::Result<u8> {
    let bytes =
        std::fs::read(module).with_context(|| format!("cannot read {}", module.display()))?;
    let component = encode(&bytes, world)
        .with_context(|| format!("cannot make a component of {}", module.display()))?;
    // Under another name first: the output may lie in a drivers directory.
    let mut name = output
        .file_name()
        .map(OsString::from)
        .with_context(|| format!("{} is no file name", output.display()))?;
    name.push(".new");
    let new: PathBuf = output.with_file_name(name);
    std::fs::write(&new, component)
        .and_then(|()| std::fs::rename(&new, output))
        .with_context(|| format!("cannot write {}", output.display()))?;
    Ok(OK)
}
