use super::refused;
use crate::{Result, bindings::imports::dockside::host::files as wit, files::FileInfo};

pub(crate) fn list_files(set: &str) -> Result<Vec<FileInfo>> {
    let info = |wit::FileInfo { name, size, stamp }| FileInfo { name, size, stamp };
    let files = wit::list_files(set).map_err(refused)?;
    Ok(files.into_iter().map(info).collect())
}

pub(crate) fn read_file(set: &str, name: &str) -> Result<Vec<u8>> {
    wit::read(set, name).map_err(refused)
}

pub(crate) fn stamp(set: &str) -> Result<u64> {
    wit::stamp(set).map_err(refused)
}

pub(crate) fn resolve_path(path: &str) -> Result<String> {
    wit::resolve_path(path).map_err(refused)
}
