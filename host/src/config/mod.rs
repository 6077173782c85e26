//! The TOML files as types: `dockside.toml` for the daemon, `NAME.toml` for a plugin.
//!
//! Unknown keys are errors, and an error says where it is and what would be right. `examples/dockside.toml` and
//! `examples/plugin.toml` hold every key with its meaning.

mod daemon;
mod deadlines;
mod endpoint;
mod error;
pub mod grants;
mod name;
mod plugin;
mod record;
mod relay;
mod secret;
pub mod units;
mod value;

pub use daemon::{DEFAULT_FILE, Daemon, DaemonLimits, Log, LogFormat, Overrides};
pub use endpoint::{ClientTls, Endpoint, Key, Listen, ServerTls};
pub use error::ConfigError;
pub(crate) use error::unknown;
pub use grants::{
    BlobStore, Blobs, Directories, Filesystem, Grants, LinkKind, OnDead, Refusal, RefusalKind, S3,
    State,
};
pub use name::{NameError, PluginName};
pub use plugin::{Instances, Limits, Pin, Plugin};
pub use record::{Preflight, Record};
pub use relay::{OWN_MOUNT, Relay, Repository};
pub use secret::{SecretName, SecretSource};
pub use value::Value;

#[cfg(test)]
mod tests;
