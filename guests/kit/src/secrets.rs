//! Secrets by reference (`dockside:host/secrets`). Needs the grant `secrets`.
//!
//! The operator says where a secret is kept; a driver names it, and the host uses it on the driver's behalf: with a mount
//! ([`mounts`](crate::mounts)), or in a header of an HTTP request ([`http`](crate::http)). The driver itself never sees it.

use crate::{Result, sys};

/// A secret that the driver may use.
#[derive(Debug)]
pub struct Secret(pub(crate) sys::Secret);

impl Secret {
    /// The operator's name for it.
    pub fn name(&self) -> String {
        self.0.name()
    }

    /// The secret itself. Needs the name under `reveal` in the grant.
    pub fn reveal(&self) -> Result<Vec<u8>> {
        sys::reveal_secret(&self.0)
    }
}

/// Finds a secret by the operator's name for it.
pub fn open(name: &str) -> Result<Secret> {
    sys::open_secret(name).map(Secret)
}
