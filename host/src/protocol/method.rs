//! The methods of Docker's plugin APIs.

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::describe::Description;

/// The first request to a plugin, which every plugin answers whatever it implements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Handshake;

impl Handshake {
    /// The request's path without the slash.
    pub const PATH: &'static str = "Plugin.Activate";

    /// The answer: the kinds that the plugin implements.
    pub fn answer(description: &Description) -> Vec<u8> {
        json!({ "Implements": description.implements() })
            .to_string()
            .into_bytes()
    }
}

/// A kind of Docker plugin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Volumes.
    Volume,
    /// Networks.
    Network,
    /// Address management.
    Ipam,
    /// Authorization of API requests.
    Authz,
}

impl Kind {
    /// All kinds, in the order in which the handshake names them.
    pub const ALL: [Kind; 4] = [Kind::Volume, Kind::Network, Kind::Ipam, Kind::Authz];

    /// The name in the `Implements` list of the handshake.
    pub fn implements(self) -> &'static str {
        match self {
            Kind::Volume => "VolumeDriver",
            Kind::Network => "NetworkDriver",
            Kind::Ipam => "IpamDriver",
            Kind::Authz => "authz",
        }
    }

    /// The part of a method's path before the dot.
    pub fn prefix(self) -> &'static str {
        match self {
            Kind::Volume => "VolumeDriver",
            Kind::Network => "NetworkDriver",
            Kind::Ipam => "IpamDriver",
            Kind::Authz => "AuthZPlugin",
        }
    }

    /// The interface that a component exports to implement the kind, without version.
    pub fn interface(self) -> &'static str {
        match self {
            Kind::Volume => "dockside:driver/volume",
            Kind::Network => "dockside:driver/network",
            Kind::Ipam => "dockside:driver/ipam",
            Kind::Authz => "dockside:driver/authz",
        }
    }
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Kind::Volume => "volume",
            Kind::Network => "network",
            Kind::Ipam => "ipam",
            Kind::Authz => "authz",
        })
    }
}

/// What one row of the table says of a method.
struct Facts {
    kind: Kind,
    path: &'static str,
    function: &'static str,
    nature: Nature,
}

/// How a method behaves.
#[derive(PartialEq)]
enum Nature {
    /// Changes something. Has arguments.
    Change,
    /// Changes nothing. Has arguments.
    Question,
    /// Changes nothing and has no arguments, so that an empty body is a whole request.
    Bare,
    /// As `Bare`, and the answer never changes.
    Constant,
}

macro_rules! methods {
    ($($(#[$doc:meta])* $variant:ident = $kind:ident $path:literal $function:literal $nature:ident;)*) => {
        /// A method of one of Docker's four plugin APIs.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Method {
            $(#[doc = concat!("`", $path, "`.")] $variant,)*
        }

        impl Method {
            /// Every method.
            pub const ALL: &'static [Method] = &[$(Method::$variant,)*];

            fn facts(self) -> Facts {
                match self {
                    $(Method::$variant => Facts {
                        kind: Kind::$kind,
                        path: $path,
                        function: $function,
                        nature: Nature::$nature,
                    },)*
                }
            }

            /// The method that Docker calls by this name. Names are case-sensitive and come without the slash of the path.
            pub fn parse(name: &str) -> Option<Method> {
                match name {
                    $($path => Some(Method::$variant),)*
                    _ => None,
                }
            }
        }
    };
}

methods! {
    VolumeCapabilities = Volume "VolumeDriver.Capabilities" "volume.capabilities" Constant;
    VolumeCreate = Volume "VolumeDriver.Create" "volume.create" Change;
    VolumeRemove = Volume "VolumeDriver.Remove" "volume.remove" Change;
    VolumeMount = Volume "VolumeDriver.Mount" "volume.mount" Change;
    VolumeUnmount = Volume "VolumeDriver.Unmount" "volume.unmount" Change;
    VolumeGet = Volume "VolumeDriver.Get" "volume.get" Question;
    VolumeList = Volume "VolumeDriver.List" "volume.list" Bare;
    VolumePath = Volume "VolumeDriver.Path" "volume.path" Question;
    NetworkGetCapabilities = Network "NetworkDriver.GetCapabilities" "network.get-capabilities" Constant;
    NetworkGwAllocCheck = Network "NetworkDriver.GwAllocCheck" "network.gw-alloc-check" Question;
    NetworkCreateNetwork = Network "NetworkDriver.CreateNetwork" "network.create-network" Change;
    NetworkDeleteNetwork = Network "NetworkDriver.DeleteNetwork" "network.delete-network" Change;
    NetworkAllocateNetwork = Network "NetworkDriver.AllocateNetwork" "network.allocate-network" Change;
    NetworkFreeNetwork = Network "NetworkDriver.FreeNetwork" "network.free-network" Change;
    NetworkCreateEndpoint = Network "NetworkDriver.CreateEndpoint" "network.create-endpoint" Change;
    NetworkDeleteEndpoint = Network "NetworkDriver.DeleteEndpoint" "network.delete-endpoint" Change;
    NetworkEndpointOperInfo = Network "NetworkDriver.EndpointOperInfo" "network.endpoint-oper-info" Question;
    NetworkJoin = Network "NetworkDriver.Join" "network.join" Change;
    NetworkLeave = Network "NetworkDriver.Leave" "network.leave" Change;
    NetworkProgramExternalConnectivity = Network "NetworkDriver.ProgramExternalConnectivity" "network.program-external-connectivity" Change;
    NetworkRevokeExternalConnectivity = Network "NetworkDriver.RevokeExternalConnectivity" "network.revoke-external-connectivity" Change;
    NetworkDiscoverNew = Network "NetworkDriver.DiscoverNew" "network.discover-new" Change;
    NetworkDiscoverDelete = Network "NetworkDriver.DiscoverDelete" "network.discover-delete" Change;
    IpamGetCapabilities = Ipam "IpamDriver.GetCapabilities" "ipam.get-capabilities" Constant;
    IpamGetDefaultAddressSpaces = Ipam "IpamDriver.GetDefaultAddressSpaces" "ipam.get-default-address-spaces" Constant;
    IpamRequestPool = Ipam "IpamDriver.RequestPool" "ipam.request-pool" Change;
    IpamReleasePool = Ipam "IpamDriver.ReleasePool" "ipam.release-pool" Change;
    IpamRequestAddress = Ipam "IpamDriver.RequestAddress" "ipam.request-address" Change;
    IpamReleaseAddress = Ipam "IpamDriver.ReleaseAddress" "ipam.release-address" Change;
    AuthzReq = Authz "AuthZPlugin.AuthZReq" "authz.authz-req" Question;
    AuthzRes = Authz "AuthZPlugin.AuthZRes" "authz.authz-res" Question;
}

impl Method {
    /// The kind that it belongs to.
    pub fn kind(self) -> Kind {
        self.facts().kind
    }

    /// Docker's name for it, which is the request's path without the slash: `VolumeDriver.Create`.
    pub fn path(self) -> &'static str {
        self.facts().path
    }

    /// The interface and the function of a driver that answer it, for logs: `volume.create`.
    pub fn function(self) -> &'static str {
        self.facts().function
    }

    /// Whether it has arguments. A request for such a method with an empty body is what an engine sends after a cut
    /// connection: the arguments are lost, and nothing may be done.
    pub fn needs_body(self) -> bool {
        matches!(self.facts().nature, Nature::Change | Nature::Question)
    }

    /// Whether it may change something.
    pub fn is_mutation(self) -> bool {
        self.facts().nature == Nature::Change
    }

    /// Whether its answer is a constant that the host knows from [`Description`](super::Description) without asking the driver.
    pub fn is_capabilities(self) -> bool {
        self.facts().nature == Nature::Constant
    }
}

impl std::fmt::Display for Method {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.path())
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

    #[test]
    fn every_method_is_found_by_its_name_and_named_after_its_kind() {
        for &method in Method::ALL {
            assert_eq!(Method::parse(method.path()), Some(method));
            let (prefix, _) = method.path().split_once('.').unwrap();
            assert_eq!(prefix, method.kind().prefix(), "{method}");
            assert!(
                method
                    .function()
                    .starts_with(&format!("{}.", method.kind())),
                "{method}"
            );
        }
        assert_eq!(Method::ALL.len(), 31);
    }

    #[test]
    fn names_are_matched_exactly() {
        for name in [
            "volumedriver.create",
            "VolumeDriver.create",
            "VolumeDriver.Create ",
            "VolumeDriver",
            "Create",
            "authz.AuthZReq",
            "VolumeDriver.Nope",
            "Plugin.Activate",
            "/VolumeDriver.Create",
            "",
        ] {
            assert_eq!(Method::parse(name), None, "{name}");
        }
    }

    #[test]
    fn methods_without_arguments_are_the_ones_that_engines_call_without_a_body() {
        let bare: Vec<&str> = Method::ALL
            .iter()
            .filter(|m| !m.needs_body())
            .map(|m| m.path())
            .collect();
        assert_eq!(
            bare,
            [
                "VolumeDriver.Capabilities",
                "VolumeDriver.List",
                "NetworkDriver.GetCapabilities",
                "IpamDriver.GetCapabilities",
                "IpamDriver.GetDefaultAddressSpaces"
            ]
        );
    }
}
