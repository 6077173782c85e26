//! The grant `http`: requests to servers.

use std::path::{Path, PathBuf};
use std::time::Duration;

use ipnet::IpNet;
use serde::de::{Deserialize, Deserializer, Error as _};

use super::links::networks;
use super::refusal::Refusal;
use super::{GIB, MIB};
use crate::config::secret::SecretName;
use crate::config::units;

const TABLE: &str = "grants.http";

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
    /// Secrets that may go out in headers.
    pub secrets: Vec<SecretName>,
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
            secrets: Vec::new(),
        }
    }
}

impl Http {
    /// Whether a secret may go out in a header.
    ///
    /// # Errors
    /// When it may not.
    pub fn may_send(&self, secret: &str) -> Result<(), Refusal> {
        super::secret(&self.secrets, secret, "send", "secrets", TABLE)
    }

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

/// Checks the form. What a URL means is for those who send the request.
fn allow<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    struct Allow(String);
    impl<'de> Deserialize<'de> for Allow {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Allow, D::Error> {
            let text = String::deserialize(deserializer)?;
            match check(&text) {
                Ok(()) => Ok(Allow(text)),
                Err(reason) => Err(D::Error::custom(format!(
                    "{text:?}: {reason}; the form is \"GET https://api.example.com/v1/\", with * for any method"
                ))),
            }
        }
    }
    let allow = Vec::<Allow>::deserialize(deserializer)?;
    Ok(allow.into_iter().map(|Allow(text)| text).collect())
}

fn check(text: &str) -> Result<(), &'static str> {
    let (method, url) = text.split_once(' ').ok_or("a method or a URL is missing")?;
    let token = |byte: u8| byte.is_ascii_uppercase() || matches!(byte, b'-' | b'_');
    if method != "*" && (method.is_empty() || !method.bytes().all(token)) {
        return Err("the method is in capital letters");
    }
    let rest = url
        .strip_prefix("https://")
        .or_else(|| url.strip_prefix("http://"))
        .ok_or("the URL begins with https:// or http://")?;
    let (host, _) = rest
        .split_once('/')
        .ok_or("the path is missing, which is at least /")?;
    if host.is_empty() {
        return Err("the host is missing");
    }
    if host.contains('@') {
        return Err("there is no user in the URL");
    }
    if !url.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err("the URL has characters that must be written with %");
    }
    if url.contains(['?', '#']) {
        return Err("the URL ends with the path");
    }
    Ok(())
}
