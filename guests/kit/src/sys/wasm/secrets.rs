use super::refused;
use crate::{Result, bindings::imports::dockside::host::secrets as wit};

pub(crate) use wit::Secret;

pub(crate) fn open_secret(name: &str) -> Result<Secret> {
    wit::open(name).map_err(refused)
}

pub(crate) fn open_secret_file(path: &str) -> Result<Secret> {
    wit::open_file(path).map_err(refused)
}

pub(crate) fn keep_secret(name: &str, value: &[u8]) -> Result<Secret> {
    wit::keep(name, value).map_err(refused)
}

pub(crate) fn kept_secret(name: &str) -> Result<Secret> {
    wit::kept(name).map_err(refused)
}

pub(crate) fn forget_secret(name: &str) -> Result<()> {
    wit::forget(name).map_err(refused)
}

pub(crate) fn reveal_secret(secret: &Secret) -> Result<Vec<u8>> {
    secret.reveal().map_err(refused)
}
