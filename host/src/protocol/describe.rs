//! What a driver says of itself, and the answers of the host that follow from it.

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::method::{Kind, Method};

/// What a driver is and says of itself. Docker asks for most of it once and keeps it until the engine ends.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Description {
    /// What it is as a volume driver, if it is one.
    pub volume: Option<VolumeCapabilities>,
    /// What it is as a network driver, if it is one.
    pub network: Option<NetworkCapabilities>,
    /// What it is as an IPAM driver, if it is one.
    pub ipam: Option<IpamCapabilities>,
    /// Whether it is an authorization driver.
    pub authz: bool,
    /// Whether it takes part in its own life.
    pub lifecycle: bool,
    /// The options that it declares. Docker never sees them.
    pub options: Vec<Declaration>,
    /// What it wants to do again and again. Docker never sees it.
    #[serde(default)]
    pub schedules: Vec<Schedule>,
    /// What an operator can ask of it. Docker never sees it.
    pub verbs: Vec<Verb>,
}

/// Something that an operator can ask of a driver.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verb {
    /// Its name.
    pub name: String,
    /// One line of explanation.
    pub help: String,
    /// What can be said with it.
    pub arguments: Vec<Parameter>,
}

/// Something that a driver does again and again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Schedule {
    /// The driver's name for it.
    pub name: String,
    /// Seconds from the end of one run to the beginning of the next.
    pub every: u32,
}

/// How far volumes or networks reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// This machine.
    Local,
    /// A cluster.
    Global,
}

impl Scope {
    /// Docker's word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Scope::Local => "local",
            Scope::Global => "global",
        }
    }
}

/// The answer of `VolumeDriver.Capabilities`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumeCapabilities {
    /// How far its volumes reach.
    pub scope: Scope,
}

/// The answer of `NetworkDriver.GetCapabilities`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkCapabilities {
    /// Where its networks are allocated.
    pub scope: Scope,
    /// How far its networks connect, if that is said.
    pub connectivity_scope: Option<Scope>,
    /// Whether Docker asks `GwAllocCheck`.
    pub gw_alloc_checker: bool,
}

/// The answers of `IpamDriver.GetCapabilities` and `IpamDriver.GetDefaultAddressSpaces`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IpamCapabilities {
    /// Whether Docker sends the Ethernet address with a request for an address.
    pub requires_mac_address: bool,
    /// Whether Docker repeats what is allocated when the engine starts.
    pub requires_request_replay: bool,
    /// The default address space of this machine.
    pub local_address_space: String,
    /// The default address space of a cluster.
    pub global_address_space: String,
}

/// Which of Docker's commands an option belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Subject {
    /// `docker volume create -o`.
    Volume,
    /// `docker network create -o`.
    Network,
    /// `docker network create --ipam-opt`.
    Ipam,
}

/// The values that an option or an argument can have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ValueType {
    /// Any text.
    Text,
    /// True or false.
    Boolean,
    /// A whole number in a range, both ends included.
    Integer {
        /// The smallest value.
        min: i64,
        /// The largest value.
        max: i64,
    },
    /// A number of bytes with an optional unit.
    Size,
    /// One of these words.
    Choice(Vec<String>),
}

/// An option that a driver declares.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Declaration {
    /// Where it is given.
    pub subject: Subject,
    /// What it is.
    #[serde(flatten)]
    pub parameter: Parameter,
}

/// An option, or an argument of a verb.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parameter {
    /// Its name.
    pub name: String,
    /// What it can be.
    pub value_type: ValueType,
    /// What it is when the user does not say.
    pub default: Option<String>,
    /// Whether the user has to give it.
    pub required: bool,
    /// Whether its value must not be shown.
    pub secret: bool,
    /// One line of explanation.
    pub help: String,
}

impl Description {
    /// Whether the driver is of this kind.
    pub fn has(&self, kind: Kind) -> bool {
        match kind {
            Kind::Volume => self.volume.is_some(),
            Kind::Network => self.network.is_some(),
            Kind::Ipam => self.ipam.is_some(),
            Kind::Authz => self.authz,
        }
    }

    /// The same with the operator's word on how far its networks and volumes reach, if there is one.
    #[must_use]
    pub fn reaching(mut self, scope: Option<Scope>) -> Description {
        if let Some(scope) = scope {
            self.volume = self.volume.map(|_| VolumeCapabilities { scope });
            self.network = self
                .network
                .map(|network| NetworkCapabilities { scope, ..network });
        }
        self
    }

    /// The kinds of the driver.
    pub fn kinds(&self) -> impl Iterator<Item = Kind> + '_ {
        Kind::ALL.into_iter().filter(|kind| self.has(*kind))
    }

    /// The `Implements` list of the handshake.
    pub fn implements(&self) -> Vec<&'static str> {
        self.kinds().map(Kind::implements).collect()
    }

    /// The answer to a method whose answer is constant; none for other methods and for a kind that the driver is not of.
    pub fn answer(&self, method: Method) -> Option<Vec<u8>> {
        let fields = match method {
            Method::VolumeCapabilities => {
                json!({ "Capabilities": { "Scope": self.volume?.scope.as_str() }, "Err": "" })
            }
            Method::NetworkGetCapabilities => {
                let network = self.network?;
                json!({
                    "Scope": network.scope.as_str(),
                    "ConnectivityScope": network.connectivity_scope.map(Scope::as_str).unwrap_or_default(),
                    "GwAllocChecker": network.gw_alloc_checker,
                    "Err": "",
                })
            }
            Method::IpamGetCapabilities => {
                let ipam = self.ipam.as_ref()?;
                json!({
                    "RequiresMACAddress": ipam.requires_mac_address,
                    "RequiresRequestReplay": ipam.requires_request_replay,
                    "Error": "",
                })
            }
            Method::IpamGetDefaultAddressSpaces => {
                let ipam = self.ipam.as_ref()?;
                json!({
                    "LocalDefaultAddressSpace": ipam.local_address_space,
                    "GlobalDefaultAddressSpace": ipam.global_address_space,
                    "Error": "",
                })
            }
            _ => return None,
        };
        Some(fields.to_string().into_bytes())
    }

    /// What Docker keeps of it: the description without what Docker never sees.
    pub fn identity(&self) -> Description {
        Description {
            lifecycle: false,
            options: Vec::new(),
            schedules: Vec::new(),
            verbs: Vec::new(),
            ..self.clone()
        }
    }

    /// What Docker would have to learn anew if `other` served under the name of this one; none if nothing. An engine that is running
    /// keeps the first answers, so such a change needs a name of its own or a restart of the engine.
    pub fn difference(&self, other: &Description) -> Option<String> {
        if self.implements() != other.implements() {
            let list = |description: &Description| description.implements().join(", ");
            return Some(format!(
                "Implements was {} and becomes {}",
                list(self),
                list(other)
            ));
        }
        Method::ALL.iter().find_map(|&method| {
            let (before, after) = (self.answer(method)?, other.answer(method)?);
            (before != after).then(|| {
                format!(
                    "{method} answered {} and would answer {}",
                    String::from_utf8_lossy(&before),
                    String::from_utf8_lossy(&after)
                )
            })
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing
    )]
    use super::*;
    use serde_json::Value;

    fn everything() -> Description {
        Description {
            volume: Some(VolumeCapabilities {
                scope: Scope::Local,
            }),
            network: Some(NetworkCapabilities {
                scope: Scope::Local,
                connectivity_scope: None,
                gw_alloc_checker: true,
            }),
            ipam: Some(IpamCapabilities {
                requires_mac_address: false,
                requires_request_replay: true,
                local_address_space: "x-local".to_owned(),
                global_address_space: "x-global".to_owned(),
            }),
            authz: true,
            lifecycle: false,
            options: vec![],
            schedules: vec![],
            verbs: vec![],
        }
    }

    #[test]
    fn constants_have_the_fields_that_engines_read() {
        let description = everything();
        let json = |body: Vec<u8>| -> Value { serde_json::from_slice(&body).unwrap() };
        assert_eq!(
            json(super::super::Handshake::answer(&description)),
            json!({"Implements":["VolumeDriver","NetworkDriver","IpamDriver","authz"]})
        );
        let cases = [
            (
                Method::VolumeCapabilities,
                json!({"Capabilities":{"Scope":"local"},"Err":""}),
            ),
            (
                Method::NetworkGetCapabilities,
                json!({"Scope":"local","ConnectivityScope":"","GwAllocChecker":true,"Err":""}),
            ),
            (
                Method::IpamGetCapabilities,
                json!({"RequiresMACAddress":false,"RequiresRequestReplay":true,"Error":""}),
            ),
            (
                Method::IpamGetDefaultAddressSpaces,
                json!({"LocalDefaultAddressSpace":"x-local","GlobalDefaultAddressSpace":"x-global","Error":""}),
            ),
        ];
        for (method, expected) in cases {
            assert!(method.is_capabilities());
            assert_eq!(json(description.answer(method).unwrap()), expected);
            assert_eq!(Description::default().answer(method), None);
        }
        let constants = Method::ALL.iter().filter(|method| method.is_capabilities());
        assert_eq!(constants.count(), 4);
        assert_eq!(description.answer(Method::VolumeGet), None);
    }

    #[test]
    fn the_operator_can_say_how_far_a_plugin_reaches() {
        let said = everything();
        assert_eq!(said.clone().reaching(None), said);
        let global = said.clone().reaching(Some(Scope::Global));
        for method in [Method::VolumeCapabilities, Method::NetworkGetCapabilities] {
            let text = String::from_utf8(global.answer(method).unwrap()).unwrap();
            assert!(text.contains(r#""Scope":"global""#), "{text}");
        }
        assert_eq!(global.reaching(Some(Scope::Local)), said);
        let none = Description::default();
        assert_eq!(none.clone().reaching(Some(Scope::Global)), none);
    }

    #[test]
    fn a_change_that_docker_would_not_notice_is_named() {
        let before = everything();
        assert_eq!(before.difference(&before), None);
        let fewer = Description {
            authz: false,
            ..everything()
        };
        assert!(before.difference(&fewer).unwrap().contains("Implements"));
        let global = Description {
            volume: Some(VolumeCapabilities {
                scope: Scope::Global,
            }),
            ..everything()
        };
        assert!(
            before
                .difference(&global)
                .unwrap()
                .contains("VolumeDriver.Capabilities")
        );
        let options = Description {
            lifecycle: true,
            ..everything()
        };
        assert_eq!(before.difference(&options), None);
    }
}
