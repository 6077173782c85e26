//! Network links (`dockside:host/links`). Hosts of this version make none.

use crate::sys;

/// A network link that the host made for this plugin.
#[derive(Debug)]
pub struct Link(pub(crate) sys::Link);

impl Link {
    /// The key that it was made under.
    pub fn key(&self) -> String {
        self.0.key()
    }
}
