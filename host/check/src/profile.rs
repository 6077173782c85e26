//! What a plugin's author says about it that cannot be found out over the socket.

mod authz;
mod ipam;
mod network;
mod volume;

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;

pub use authz::AuthzProfile;
pub use ipam::IpamProfile;
pub use network::NetworkProfile;
pub(crate) use volume::filled;
pub use volume::{VolumeOptions, VolumeProfile};

/// The profile file. Everything in it is optional; what is missing is tried without, or skipped with the reason.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct Profile {
    /// Commands (for the shell) that break what is behind the plugin.
    pub hooks: Hooks,
    /// About an authorization plugin.
    pub authz: AuthzProfile,
    /// About an IPAM driver.
    pub ipam: IpamProfile,
    /// About a volume driver.
    pub volume: VolumeProfile,
    /// About a network driver.
    pub network: NetworkProfile,
    /// Settings for a driver that the checks serve themselves: what `NAME.toml` would say.
    pub plugin: Option<toml::Table>,
    /// Checks that this plugin does not pass, each with the reason. They are reported, and do not fail the run.
    pub allow: BTreeMap<String, String>,
}

/// Commands that break what is behind the plugin.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct Hooks {
    /// Makes every operation of the backend wait for ever.
    pub hang: Option<String>,
    /// Makes every operation of the backend fail.
    pub fail: Option<String>,
    /// Fills the disk that the plugin keeps its state and data on.
    pub full: Option<String>,
    /// Makes that disk read-only.
    pub read_only: Option<String>,
    /// Ends all of that.
    pub mend: Option<String>,
    /// Restarts the Docker Engine of the checks that have one, and waits until it answers.
    pub restart_engine: Option<String>,
    /// Deletes the plugin's state. It does not run meanwhile.
    pub forget: Option<String>,
}

impl Profile {
    /// Reads a profile.
    ///
    /// # Errors
    ///
    /// A sentence with the file's name and what is wrong in it.
    pub fn read(path: &Path) -> Result<Self, String> {
        let text = std::fs::read_to_string(path)
            .map_err(|error| format!("{}: {error}", path.display()))?;
        toml::from_str(&text).map_err(|error| format!("{}: {error}", path.display()))
    }
}
