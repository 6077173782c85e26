//! The grant `http`: requests to servers.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ipnet::IpNet;
use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};

use super::links::networks;
use super::{GIB, MIB};
use crate::config::secret::SecretName;
use crate::config::units;
use crate::outbound::{Rule, SecretUse};

/// The grant `http` (`wasi:http/outgoing-handler`).
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
#[serde(
    default,
    deny_unknown_fields,
    rename_all = "kebab-case",
    expecting = "a table: http = { allow = [\"GET https://api.example.com/\"] }"
)]
pub struct Http {
    /// Requests that may be made: a method or `*`, and a URL of which the path is a prefix.
    #[serde(deserialize_with = "allow")]
    pub allow: Vec<String>,
    /// Networks that are not the public Internet and may be reached nevertheless.
    #[serde(deserialize_with = "networks")]
    pub private: Vec<IpNet>,
    /// Length of a request's or an answer's body in bytes.
    #[serde(deserialize_with = "units::size::<_, 0, GIB>")]
    pub max_body: u64,
    /// How long a request may take, redirects and bodies included.
    #[serde(deserialize_with = "units::span::<_, 100, 110_000>")]
    pub timeout: Duration,
    /// Redirects that one request may follow.
    #[serde(deserialize_with = "units::count::<_, 0, 20>")]
    pub redirects: u32,
    /// PEM file of the authorities that are trusted, in place of the machine's.
    pub ca: Option<PathBuf>,
    /// PEM file of the certificate that is shown to servers.
    pub client_certificate: Option<PathBuf>,
    /// The secret that is the certificate's private key, in PEM.
    pub client_key: Option<SecretName>,
    /// Secrets that may go out in headers, and where to.
    pub secrets: HeaderSecrets,
}

impl Default for Http {
    fn default() -> Self {
        Self {
            allow: Vec::new(),
            private: Vec::new(),
            max_body: 10 * MIB,
            timeout: Duration::from_secs(10),
            redirects: 5,
            ca: None,
            client_certificate: None,
            client_key: None,
            secrets: HeaderSecrets::default(),
        }
    }
}

impl Http {
    /// Makes relative paths start at `directory`.
    pub(super) fn rooted(&mut self, directory: &Path) {
        let files = [&mut self.ca, &mut self.client_certificate];
        for file in files.into_iter().flatten() {
            *file = directory.join(&*file);
        }
    }

    /// The files that it names, with the keys that name them.
    pub(super) fn files(&self) -> impl Iterator<Item = (&'static str, &PathBuf)> {
        let certificate = self.client_certificate.iter();
        let ca = self.ca.iter().map(|file| ("grants.http.ca", file));
        ca.chain(certificate.map(|file| ("grants.http.client-certificate", file)))
    }
}

/// Secrets by name, each with where it may be sent. As `["token"]`: to whatever may be asked, by https. As
/// `{ token = ["https://api.example.com/"] }`: there alone, and by http if that is what it says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HeaderSecrets(pub BTreeMap<SecretName, SecretUse>);

impl<'de> Deserialize<'de> for HeaderSecrets {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<HeaderSecrets, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = HeaderSecrets;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(
                    "names of secrets such as [\"api-token\"], or a table of where each may be sent such as { api-token = [\"https://api.example.com/\"] }",
                )
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<HeaderSecrets, A::Error> {
                let mut secrets = BTreeMap::new();
                while let Some(name) = seq.next_element()? {
                    secrets.insert(name, SecretUse::Allowed);
                }
                Ok(HeaderSecrets(secrets))
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<HeaderSecrets, A::Error> {
                let mut secrets = BTreeMap::new();
                while let Some((name, places)) = map.next_entry::<_, Vec<String>>()? {
                    let places = places.iter().map(|place| place.parse());
                    let places = places.collect::<Result<_, _>>().map_err(A::Error::custom)?;
                    secrets.insert(name, SecretUse::Only(places));
                }
                Ok(HeaderSecrets(secrets))
            }
        }
        deserializer.deserialize_any(Any)
    }
}

/// Reads texts that are rules: which requests they let through is for those who send them.
fn allow<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    let rules = Vec::<String>::deserialize(deserializer)?;
    for rule in &rules {
        rule.parse::<Rule>().map_err(D::Error::custom)?;
    }
    Ok(rules)
}
