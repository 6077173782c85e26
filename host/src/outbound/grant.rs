//! Which requests a plugin may make, and how.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use http::Method;
use ipnet::IpNet;

use super::error::{HttpError, HttpErrorKind};
use super::rule::{Place, Rule};
use super::target::Target;

/// The operator's grant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Allowed {
    /// What may be asked for. Nothing without a rule.
    pub allow: Vec<Rule>,
    /// Addresses that are not public and may be reached all the same. Metadata services of clouds need an entry of their very address.
    pub private: Vec<IpNet>,
    /// The secrets that headers may name, and where each may be sent.
    pub secrets: BTreeMap<String, SecretUse>,
    /// The largest body of a request and of a response, in bytes.
    pub max_body: u64,
    /// How long a request may take with all redirects, to the end of the body.
    pub timeout: Duration,
    /// How many redirects are followed for GET and HEAD. 0: the driver gets them.
    pub redirects: u32,
    /// How many requests may run at once. Further ones wait.
    pub connections: u32,
    /// A PEM file with authorities to trust in place of those of the machine.
    pub ca: Option<PathBuf>,
    /// A PEM file with the certificate, and those between it and its authority, that is shown to whoever asks for one.
    pub client_certificate: Option<PathBuf>,
    /// The secret that is the key of this certificate, in PEM.
    pub client_key: Option<String>,
}

impl Default for Allowed {
    fn default() -> Self {
        Self {
            allow: Vec::new(),
            private: Vec::new(),
            secrets: BTreeMap::new(),
            max_body: 10 << 20,
            timeout: Duration::from_secs(10),
            redirects: 5,
            connections: 16,
            ca: None,
            client_certificate: None,
            client_key: None,
        }
    }
}

/// Where a secret may be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretUse {
    /// By https to all that is allowed, and without it to this machine itself.
    Allowed,
    /// Only there, and by http where that is what it says.
    Only(Vec<Place>),
}

impl Allowed {
    pub(super) fn judge(&self, method: &Method, target: &Target) -> Result<(), HttpError> {
        if self.allow.iter().any(|rule| rule.allows(method, target)) {
            return Ok(());
        }
        Err(HttpError::new(
            HttpErrorKind::Denied,
            format!(
                "{method} {target}: not allowed by the grant http: add \"{method} {target}\" to allow under [grants.http]"
            ),
        ))
    }

    /// Whether a secret may go there. `local`: the address is one of this machine's own.
    pub(super) fn judge_secret(
        &self,
        name: &str,
        target: &Target,
        local: bool,
    ) -> Result<(), HttpError> {
        let origin = &target.origin;
        let advice = match self.secrets.get(name) {
            Some(SecretUse::Allowed) if origin.secure || local => return Ok(()),
            Some(SecretUse::Only(places)) if places.iter().any(|place| place.holds(target)) => {
                return Ok(());
            }
            None => "may not be sent: add it to secrets under [grants.http]".to_owned(),
            Some(SecretUse::Allowed) => {
                format!("would be readable on its way to {origin}: use https")
            }
            Some(SecretUse::Only(_)) => format!(
                "may not be sent to {origin}: add \"{origin}/\" to what secrets under [grants.http] says of it"
            ),
        };
        Err(HttpError::new(
            HttpErrorKind::Denied,
            format!("the secret {name} {advice}"),
        ))
    }
}
