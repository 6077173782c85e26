//! The grant `secrets`: which of them a driver may name, and which it may read.

use serde::Deserialize;

use super::refusal::{Refusal, shown};
use crate::config::secret::SecretName;
use crate::config::units;

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
    /// How many secrets that came with calls the host keeps for the driver.
    #[serde(deserialize_with = "units::count::<_, 0, 1_000_000>")]
    pub keep: u32,
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

    /// Whether the driver may use what is in a file. `name` is the operator's name for the secret there, if there is one; it is returned.
    ///
    /// # Errors
    /// When it may not.
    pub fn may_use_file(&self, path: &str, name: Option<&str>) -> Result<String, Refusal> {
        if let Some(name) = name {
            return self.may_use(name).map(|()| name.to_owned());
        }
        let deed = format!("may not use the file {} as a secret", shown(path));
        if !path.starts_with('/') {
            return Err(Refusal::invalid(deed, "the path does not begin with /"));
        }
        if path.chars().any(char::is_control) {
            return Err(Refusal::invalid(deed, "a path has no control characters"));
        }
        Err(Refusal::secret(deed, &name_for(path), path, TABLE))
    }

    /// Whether the host keeps one secret more for the driver, which has `held` in its keeping.
    ///
    /// # Errors
    /// When it does not.
    pub fn may_keep(&self, held: u64) -> Result<(), Refusal> {
        if held < u64::from(self.keep) {
            return Ok(());
        }
        if self.keep == 0 {
            return Err(Refusal::set(
                "may not have secrets kept that come with a call".to_owned(),
                "keep = 100".to_owned(),
                TABLE,
            ));
        }
        Err(Refusal::limit(
            format!("may not have more than {} secrets kept", self.keep),
            format!("keep = {}", held.saturating_add(1)),
            TABLE,
        ))
    }

    /// Whether the driver may read a secret.
    ///
    /// # Errors
    /// When it may not.
    pub fn may_reveal(&self, name: &str) -> Result<(), Refusal> {
        super::secret(&self.reveal, name, "read", "reveal", TABLE)
    }
}

/// A name for the secret in a file: that of the file, as far as it can be one.
fn name_for(path: &str) -> String {
    let file = path.rsplit('/').find(|part| !part.is_empty());
    let name: String = file
        .unwrap_or_default()
        .chars()
        .filter(|letter| letter.is_ascii_alphanumeric() || matches!(letter, '-' | '_' | '.'))
        .skip_while(|letter| !letter.is_ascii_alphanumeric())
        .take(64)
        .collect();
    match name.is_empty() {
        true => "secret".to_owned(),
        false => name,
    }
}
