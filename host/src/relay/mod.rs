//! Plugins as Docker's own plugin commands know them.
//!
//! `docker plugin ls`, `inspect`, `set` and the networks of a swarm know only plugins that Docker runs itself. So there is a relay for each of
//! dockside's: a small program that Docker installs and runs without any right, and that hands each of Docker's connections on to dockside.

mod context;

pub use context::{Context, Settings};
