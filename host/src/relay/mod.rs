//! Plugins as Docker's own plugin commands know them.
//!
//! `docker plugin ls`, `inspect`, `set` and the networks of a swarm know only plugins that Docker runs itself. So there is a relay for each of
//! dockside's: a small program that Docker installs and runs without any right, and that hands each of Docker's connections on to dockside.

mod context;
mod engine;
#[path = "../../relay/src/layout.rs"]
mod layout;
mod package;
mod preamble;
mod presence;
pub mod registry;

pub use context::{Context, Settings};
pub(crate) use layout::VOLUMES;
pub use package::{Package, write};
pub use preamble::{Preamble, PreambleError, welcome};
pub use presence::{Attached, Presence, Relays};

/// The directory, in that of the relays, that stands for one which the user has not chosen.
pub const UNSET: &str = "unset";

/// The socket in the directory of the relays.
pub const SOCKET: &str = "relay.sock";
