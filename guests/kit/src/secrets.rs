//! Secrets by reference (`dockside:host/secrets`). Needs the grant `secrets`.
//!
//! The operator says where a secret is kept; a driver names it, and the host uses it on the driver's behalf: with a mount
//! ([`mounts`](crate::mounts)), or in a header of an HTTP request ([`http`](crate::http)). The driver itself never sees it.
//!
//! A secret that a user gives with a call, such as an option `password`, the driver hands over into the host's keeping, and names it later:
//!
//! ```
//! use dockside_driver::secrets;
//!
//! secrets::keep("password of v", b"hunter2")?;
//! assert!(secrets::kept("password of v")?.reveal().is_err());
//! secrets::forget("password of v")?;
//! # Ok::<(), dockside_driver::Error>(())
//! ```

use crate::{Result, sys};

/// A secret that the driver may use.
#[derive(Debug)]
pub struct Secret(pub(crate) sys::Secret);

impl Secret {
    /// The operator's name for it, or the driver's for one that the host keeps.
    pub fn name(&self) -> String {
        self.0.name()
    }

    /// The secret itself. Needs the name under `reveal` in the grant. One that the host keeps is never revealed.
    pub fn reveal(&self) -> Result<Vec<u8>> {
        sys::reveal_secret(&self.0)
    }
}

/// Finds a secret by the operator's name for it.
pub fn open(name: &str) -> Result<Secret> {
    sys::open_secret(name).map(Secret)
}

/// Finds the secret that the operator keeps in this file of the machine, by the file's absolute path.
pub fn open_file(path: &str) -> Result<Secret> {
    sys::open_secret_file(path).map(Secret)
}

/// Gives a secret into the host's keeping until it is [forgotten](forget). There must be none of that name in keeping. If the call fails, the
/// host has never had it. Needs `keep` in the grant.
pub fn keep(name: &str, value: &[u8]) -> Result<Secret> {
    sys::keep_secret(name, value).map(Secret)
}

/// Finds a secret that the host keeps.
pub fn kept(name: &str) -> Result<Secret> {
    sys::kept_secret(name).map(Secret)
}

/// Destroys a secret that the host keeps, once the call has succeeded.
pub fn forget(name: &str) -> Result<()> {
    sys::forget_secret(name)
}
