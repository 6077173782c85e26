//! The grant `http` of a plugin: `[grants.http]` in its file.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http::Method;
use ipnet::IpNet;
use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};

use super::error::{HttpError, HttpErrorKind};
use super::rule::{Place, Rule};
use super::secrets::is_name;
use super::target::Target;
use crate::config::units;

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// Which requests a plugin may make, and how.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
#[serde(
    default,
    deny_unknown_fields,
    rename_all = "kebab-case",
    expecting = "a table: http = { allow = [\"GET https://api.example.com/path/\"] }"
)]
pub struct Allowed {
    /// What may be asked for. Nothing without a rule.
    pub allow: Vec<Rule>,
    /// Addresses that are not public and may be reached all the same. Metadata services of clouds need an entry of their very address.
    #[serde(deserialize_with = "nets")]
    pub private: Vec<IpNet>,
    /// The secrets that requests may name, and where they may be sent.
    pub secrets: SecretUse,
    /// The largest body of a response, in bytes.
    #[serde(deserialize_with = "units::size::<_, 0, { 4 * GIB }>")]
    pub max_body: u64,
    /// The largest body of a request, in bytes.
    #[serde(deserialize_with = "units::size::<_, 0, { 4 * GIB }>")]
    pub max_request_body: u64,
    /// How long a request may take with all redirects, to the end of the body.
    #[serde(deserialize_with = "units::span::<_, 10, 110_000>")]
    pub timeout: Duration,
    /// How many redirects are followed for GET and HEAD. 0: the driver gets them.
    #[serde(deserialize_with = "units::count::<_, 0, 20>")]
    pub redirects: u32,
    /// How many requests may run at once. Further ones wait.
    #[serde(deserialize_with = "units::count::<_, 1, 1_000>")]
    pub connections: u32,
    /// A PEM file with authorities to trust besides those of the machine.
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
            secrets: SecretUse::default(),
            max_body: 10 * MIB,
            max_request_body: 10 * MIB,
            timeout: Duration::from_secs(10),
            redirects: 5,
            connections: 16,
            ca: None,
            client_certificate: None,
            client_key: None,
        }
    }
}

/// Where secrets may be sent.
///
/// `["token"]`: by https to all that is allowed, and to this machine itself without. `{ token = ["https://api.example.com"] }`: only there,
/// by http if that is what it says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SecretUse(BTreeMap<String, Option<Vec<Place>>>);

impl Allowed {
    /// Makes relative paths start at `directory`.
    pub fn rooted(&mut self, directory: &Path) {
        for file in [&mut self.ca, &mut self.client_certificate]
            .into_iter()
            .flatten()
        {
            *file = directory.join(&*file);
        }
    }

    /// The files that are read when a client is made.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        [&self.ca, &self.client_certificate]
            .into_iter()
            .flatten()
            .map(PathBuf::as_path)
    }

    /// The names of all secrets that the host needs to have.
    pub fn secret_names(&self) -> impl Iterator<Item = &str> {
        let named = self.secrets.0.keys().map(String::as_str);
        named.chain(self.client_key.as_deref())
    }

    /// Checks what one key says against another.
    ///
    /// # Errors
    /// A sentence that begins with the key.
    pub fn check(&self) -> Result<(), String> {
        match (&self.client_certificate, &self.client_key) {
            (Some(_), None) => Err(
                "grants.http.client-certificate needs client-key, the name of the secret that is its key"
                    .to_owned(),
            ),
            (None, Some(_)) => Err(
                "grants.http.client-key needs client-certificate, the file with the certificate".to_owned(),
            ),
            _ => Ok(()),
        }
    }

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
        let advice = match self.secrets.0.get(name) {
            Some(None) if origin.secure || local => return Ok(()),
            Some(Some(places)) if places.iter().any(|place| place.holds(target)) => return Ok(()),
            None => format!(
                "is not granted: add it to secrets under [grants.http]: secrets = {{ {name} = [\"{origin}\"] }}"
            ),
            Some(None) => format!(
                "would be readable on its way to {origin}: use https, or say under [grants.http]: secrets = {{ {name} = [\"{origin}\"] }}"
            ),
            Some(Some(_)) => format!(
                "is not granted for {origin}: add \"{origin}\" to {name} in secrets under [grants.http]"
            ),
        };
        Err(HttpError::new(
            HttpErrorKind::Denied,
            format!("the secret {name} {advice}"),
        ))
    }
}

impl<'de> Deserialize<'de> for SecretUse {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<SecretUse, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = SecretUse;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(
                    "names of secrets such as [\"token\"], or a table that says where each may be sent, such as { token = [\"https://api.example.com\"] }",
                )
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<SecretUse, A::Error> {
                let mut uses = BTreeMap::new();
                while let Some(name) = seq.next_element::<String>()? {
                    uses.insert(secret_name(name)?, None);
                }
                Ok(SecretUse(uses))
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<SecretUse, A::Error> {
                let mut uses = BTreeMap::new();
                while let Some(name) = map.next_key::<String>()? {
                    let name = secret_name(name)?;
                    let places: Vec<Place> = map.next_value()?;
                    uses.insert(name, Some(places));
                }
                Ok(SecretUse(uses))
            }
        }
        deserializer.deserialize_any(Any)
    }
}

fn secret_name<E: serde::de::Error>(name: String) -> Result<String, E> {
    if is_name(&name) {
        return Ok(name);
    }
    Err(E::custom(format!(
        "{name:?} cannot be the name of a secret: letters, digits and _ - . make one"
    )))
}

fn nets<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<IpNet>, D::Error> {
    Vec::<String>::deserialize(deserializer)?
        .into_iter()
        .map(|text| {
            text.parse::<IpNet>()
                .or_else(|_| text.parse::<std::net::IpAddr>().map(IpNet::from))
                .map(|net| net.trunc())
                .map_err(|_| {
                    D::Error::custom(format!(
                        "{text:?} is no range of addresses such as \"10.0.0.0/8\" or \"fd00::/8\""
                    ))
                })
        })
        .collect()
}
