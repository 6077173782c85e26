#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod daemon;
mod endpoint;
mod errors;
mod files;
mod grants;
mod matchers;
mod names;
mod plugins;
mod reference;
mod relay;
mod secrets;
mod shipped;

use std::path::Path;

use super::{ConfigError, Daemon, Plugin};

fn daemon(text: &str) -> Result<Daemon, ConfigError> {
    Daemon::parse(text, Path::new("/etc/dockside/dockside.toml"))
}

fn plugin(text: &str) -> Result<Plugin, ConfigError> {
    Plugin::parse(text, Path::new("/drivers"))
}
