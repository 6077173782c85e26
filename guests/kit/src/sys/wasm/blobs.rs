use super::refused;
use crate::{Result, bindings::imports::dockside::host::blobs as wit, blobs::BlobInfo};

pub(crate) fn blob_stores() -> Vec<String> {
    wit::list_stores()
}

pub(crate) fn put_blob(store: &str, name: &str, data: &[u8]) -> Result<()> {
    wit::put(store, name, data).map_err(refused)
}

pub(crate) fn get_blob(store: &str, name: &str) -> Result<Vec<u8>> {
    wit::get(store, name).map_err(refused)
}

pub(crate) fn delete_blob(store: &str, name: &str) -> Result<()> {
    wit::delete(store, name).map_err(refused)
}

pub(crate) fn list_blobs(store: &str, prefix: &str) -> Result<Vec<BlobInfo>> {
    let info = |info: wit::BlobInfo| BlobInfo {
        name: info.name,
        size: info.size,
        modified: info.modified,
    };
    let found = wit::list_blobs(store, prefix).map_err(refused)?;
    Ok(found.into_iter().map(info).collect())
}
