//! The grant `nat`: addresses of the machine, and ports of it, for containers.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, Visitor};

use super::refusal::Refusal;
use crate::config::units;

const TABLE: &str = "grants.nat";

/// The grant `nat` (`dockside:host/nat`).
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
#[serde(
    default,
    deny_unknown_fields,
    rename_all = "kebab-case",
    expecting = "a table: nat = { publish = [\"1024-65535\"] }"
)]
pub struct Nat {
    /// Rules held at once.
    #[serde(deserialize_with = "units::count::<_, 1, 100_000>")]
    pub max: u32,
    /// Ports of the machine that may be published, of every protocol.
    pub publish: Vec<Ports>,
    /// Whether containers may reach other networks under the machine's address.
    pub masquerade: bool,
    /// Whether packets may be forwarded between links.
    pub forward: bool,
}

impl Default for Nat {
    fn default() -> Self {
        Self {
            max: 1000,
            publish: Vec::new(),
            masquerade: true,
            forward: true,
        }
    }
}

/// Ports from one to another, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ports {
    first: u16,
    last: u16,
}

impl Ports {
    /// Whether a port is among them.
    pub fn contains(&self, port: u16) -> bool {
        (self.first..=self.last).contains(&port)
    }
}

impl<'de> Deserialize<'de> for Ports {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Ports, D::Error> {
        struct Any;
        impl Visitor<'_> for Any {
            type Value = Ports;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a port such as \"8080\" or a range such as \"1024-65535\"")
            }
            fn visit_i64<E: Error>(self, port: i64) -> Result<Ports, E> {
                self.visit_str(&port.to_string())
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<Ports, E> {
                let (first, last) = text.split_once('-').unwrap_or((text, text));
                let port = |text: &str| {
                    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
                    text.parse().ok().filter(|port| digits && *port > 0)
                };
                match (port(first), port(last)) {
                    (Some(first), Some(last)) if first <= last => Ok(Ports { first, last }),
                    (Some(_), Some(_)) => Err(E::custom(format!(
                        "{text:?}: the first port of a range is not above the last"
                    ))),
                    _ => Err(E::custom(format!(
                        "{text:?}: ports are from 1 to 65535, one (\"8080\") or a range (\"1024-65535\")"
                    ))),
                }
            }
        }
        deserializer.deserialize_any(Any)
    }
}

impl Nat {
    /// Whether one more rule may be set, by a plugin that holds `held`.
    ///
    /// # Errors
    /// When it may not.
    pub fn may_add(&self, held: u64) -> Result<(), Refusal> {
        super::room("rules", held, self.max, TABLE)
    }

    /// Whether a port of the machine may be published.
    ///
    /// # Errors
    /// When it may not.
    pub fn may_publish(&self, port: u16) -> Result<(), Refusal> {
        let deed = format!("may not publish port {port}");
        if port == 0 {
            return Err(Refusal::invalid(deed, "ports are from 1 to 65535"));
        }
        if self.publish.iter().any(|ports| ports.contains(port)) {
            return Ok(());
        }
        Err(Refusal::add(deed, &port.to_string(), "publish", TABLE))
    }

    /// Whether containers may reach other networks under the machine's address.
    ///
    /// # Errors
    /// When they may not.
    pub fn may_masquerade(&self) -> Result<(), Refusal> {
        super::switch(self.masquerade, "may not masquerade", "masquerade", TABLE)
    }

    /// Whether packets may be forwarded between links.
    ///
    /// # Errors
    /// When they may not.
    pub fn may_forward(&self) -> Result<(), Refusal> {
        super::switch(self.forward, "may not forward packets", "forward", TABLE)
    }
}
