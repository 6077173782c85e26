//! What a connection through a relay has that one to a plugin's own socket has not.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

/// What the user gave with `docker plugin set`, as keys of `wasi:config`: `env.NAME`, `args` (an argument a line) and `mounts.NAME` (a path of
/// this machine). It goes over what the operator wrote under `[config]`.
pub type Settings = BTreeMap<String, String>;

/// Where a call through a relay comes from.
#[derive(Debug, PartialEq, Eq)]
pub struct Context {
    /// Docker's own ID of the plugin: 64 hexadecimal digits.
    pub id: String,
    /// Docker's directory of what the plugin mounts, as this process sees it. An error says why it cannot be used.
    pub shows: Result<PathBuf, String>,
    /// What the user has set.
    pub settings: Arc<Settings>,
}
