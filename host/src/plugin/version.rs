//! One version of a plugin: a driver with the settings that it runs under.

use std::sync::Arc;
use std::time::Duration;

use crate::config;
use crate::protocol::{Description, Method};
use crate::sandbox::{Driver, PluginEnvironment, WarmPool};

/// A driver and its settings. A change of either makes another version.
#[derive(Debug)]
pub struct Version {
    /// What people call it: its semver, or the first digits of its digest.
    pub label: Arc<str>,
    /// The file that it came from, without the directory.
    pub file: String,
    /// The compiled component.
    pub driver: Arc<Driver>,
    /// What its calls have in common.
    pub environment: Arc<PluginEnvironment>,
    /// Kept instances.
    pub warm: WarmPool,
    /// The operator's settings.
    pub settings: Arc<config::Plugin>,
}

impl Version {
    /// What tells this version from others: the component's digest and everything that the operator set, configuration values included.
    pub fn identity(&self) -> String {
        identity(self.driver.digest(), &self.settings, &self.environment)
    }

    /// What Docker is told of it: what the driver says of itself, with the operator's word over it.
    pub fn described(&self) -> Description {
        self.driver
            .description()
            .clone()
            .reaching(self.settings.scope)
    }

    /// How long a call of this method may take.
    pub fn deadline(&self, method: Method) -> Duration {
        self.settings.limits.deadline(method.path())
    }
}

/// See [`Version::identity`].
fn identity(digest: &str, settings: &config::Plugin, environment: &PluginEnvironment) -> String {
    use sha2::Digest;
    let mut hash = sha2::Sha256::new();
    hash.update(format!("{digest}\n{settings:?}\n{:?}", environment.config));
    hex::encode(hash.finalize())
}
