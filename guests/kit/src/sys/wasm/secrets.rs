use super::refused;
use crate::{Result, bindings::imports::dockside::host::secrets as wit};

pub(crate) use wit::Secret;

pub(crate) fn open_secret(name: &str) -> Result<Secret> {
    wit::open(name).map_err(refused)
}

pub(crate) fn reveal_secret(secret: &Secret) -> Result<Vec<u8>> {
    secret.reveal().map_err(refused)
}
