//! The grant `secrets`: which of them a driver may name, and which it may read.

use serde::Deserialize;

use super::refusal::Refusal;
use crate::config::secret::SecretName;

const TABLE: &str = "grants.secrets";

/// The grant `secrets` (`dockside:host/secrets`).
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(
    default,
    deny_unknown_fields,
    rename_all = "kebab-case",
    expecting = "a table: secrets = { use = [\"api-token\"] }"
)]
pub struct Secrets {
    /// Secrets that the driver may name, for the host to use.
    #[serde(rename = "use")]
    pub usable: Vec<SecretName>,
    /// Secrets that the driver may read, and name.
    pub reveal: Vec<SecretName>,
}

impl Secrets {
    /// Whether the driver may name a secret for the host to use.
    ///
    /// # Errors
    /// When it may not.
    pub fn may_use(&self, name: &str) -> Result<(), Refusal> {
        if self.reveal.iter().any(|secret| secret.as_str() == name) {
            return Ok(());
        }
        super::secret(&self.usable, name, "use", "use", TABLE)
    }

    /// Whether the driver may read a secret.
    ///
    /// # Errors
    /// When it may not.
    pub fn may_reveal(&self, name: &str) -> Result<(), Refusal> {
        super::secret(&self.reveal, name, "read", "reveal", TABLE)
    }
}
