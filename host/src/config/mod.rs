//! The TOML files as types: `dockside.toml` for the daemon, `NAME.toml` for a plugin.
//!
//! Unknown keys are errors, and an error says where it is and what would be right. `examples/dockside.toml` and
//! `examples/plugin.toml` hold every key with its meaning.

mod daemon;
mod deadlines;
mod error;
mod name;
mod plugin;
pub mod units;
mod value;

pub use daemon::{DEFAULT_FILE, Daemon, DaemonLimits, Log, LogFormat, Overrides};
pub use error::ConfigError;
pub(crate) use error::unknown;
pub use name::{NameError, PluginName};
pub use plugin::{Directories, Grants, Instances, Limits, Pin, Plugin, State};
pub use value::Value;

#[cfg(test)]
mod tests;
