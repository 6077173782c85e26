//! Docker's `NetworkDriver` on the wire.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::Decoded;
use super::address::{Mac, cidr_to_guest, ip_to_guest};
use super::method::Method;
use super::wire::{KeyValue, Object, Problem};
use crate::sandbox::bindings::network::{
    Discovery, EndpointInterface, EndpointOptions, IpamData, NetworkOptions, NodeDiscovery,
};
use crate::sandbox::bindings::types;

/// Names of Docker's own options.
mod label {
    pub(super) const GENERIC: &str = "com.docker.network.generic";
    pub(super) const ENABLE_IPV4: &str = "com.docker.network.enable_ipv4";
    pub(super) const ENABLE_IPV6: &str = "com.docker.network.enable_ipv6";
    pub(super) const INTERNAL: &str = "com.docker.network.internal";
    pub(super) const EXPOSED_PORTS: &str = "com.docker.network.endpoint.exposedports";
    pub(super) const PORT_MAP: &str = "com.docker.network.portmap";
    pub(super) const MAC_ADDRESS: &str = "com.docker.network.endpoint.macaddress";
    pub(super) const DNS_SERVERS: &str = "com.docker.network.endpoint.dnsservers";
}

/// The number of the one type of discovery that reaches plugins.
const NODE_DISCOVERY: u32 = 1;

/// A network and an endpoint of it.
#[derive(Debug, Clone, PartialEq)]
pub struct EndpointRef {
    /// The network.
    pub network_id: String,
    /// The endpoint.
    pub endpoint_id: String,
}

/// A call of a network driver.
#[derive(Debug, Clone)]
pub enum Call {
    /// `NetworkDriver.CreateNetwork`.
    CreateNetwork {
        /// The network.
        network_id: String,
        /// Its options.
        options: NetworkOptions,
        /// Its IPv4 addresses.
        ipv4: Vec<IpamData>,
        /// Its IPv6 addresses.
        ipv6: Vec<IpamData>,
    },
    /// `NetworkDriver.DeleteNetwork`.
    DeleteNetwork {
        /// The network.
        network_id: String,
    },
    /// `NetworkDriver.AllocateNetwork`.
    AllocateNetwork {
        /// The network.
        network_id: String,
        /// The user's options.
        options: Vec<KeyValue>,
        /// Its IPv4 addresses.
        ipv4: Vec<IpamData>,
        /// Its IPv6 addresses.
        ipv6: Vec<IpamData>,
    },
    /// `NetworkDriver.FreeNetwork`.
    FreeNetwork {
        /// The network.
        network_id: String,
    },
    /// `NetworkDriver.GwAllocCheck`.
    GwAllocCheck {
        /// The options of the network to come.
        options: NetworkOptions,
    },
    /// `NetworkDriver.CreateEndpoint`.
    CreateEndpoint {
        /// The endpoint.
        endpoint: EndpointRef,
        /// The addresses that it has already.
        interface: EndpointInterface,
        /// Its options.
        options: EndpointOptions,
    },
    /// `NetworkDriver.DeleteEndpoint`.
    DeleteEndpoint(EndpointRef),
    /// `NetworkDriver.EndpointOperInfo`.
    EndpointOperInfo(EndpointRef),
    /// `NetworkDriver.Join`.
    Join {
        /// The endpoint.
        endpoint: EndpointRef,
        /// Path of the container's network namespace.
        sandbox_key: String,
        /// Its options.
        options: EndpointOptions,
    },
    /// `NetworkDriver.Leave`.
    Leave(EndpointRef),
    /// `NetworkDriver.ProgramExternalConnectivity`.
    ProgramExternalConnectivity {
        /// The endpoint.
        endpoint: EndpointRef,
        /// Its options.
        options: EndpointOptions,
    },
    /// `NetworkDriver.RevokeExternalConnectivity`.
    RevokeExternalConnectivity(EndpointRef),
    /// `NetworkDriver.DiscoverNew`.
    DiscoverNew(Discovery),
    /// `NetworkDriver.DiscoverDelete`.
    DiscoverDelete(Discovery),
}

impl Call {
    /// The method that it came by.
    pub fn method(&self) -> Method {
        match self {
            Call::CreateNetwork { .. } => Method::NetworkCreateNetwork,
            Call::DeleteNetwork { .. } => Method::NetworkDeleteNetwork,
            Call::AllocateNetwork { .. } => Method::NetworkAllocateNetwork,
            Call::FreeNetwork { .. } => Method::NetworkFreeNetwork,
            Call::GwAllocCheck { .. } => Method::NetworkGwAllocCheck,
            Call::CreateEndpoint { .. } => Method::NetworkCreateEndpoint,
            Call::DeleteEndpoint(_) => Method::NetworkDeleteEndpoint,
            Call::EndpointOperInfo(_) => Method::NetworkEndpointOperInfo,
            Call::Join { .. } => Method::NetworkJoin,
            Call::Leave(_) => Method::NetworkLeave,
            Call::ProgramExternalConnectivity { .. } => Method::NetworkProgramExternalConnectivity,
            Call::RevokeExternalConnectivity(_) => Method::NetworkRevokeExternalConnectivity,
            Call::DiscoverNew(_) => Method::NetworkDiscoverNew,
            Call::DiscoverDelete(_) => Method::NetworkDiscoverDelete,
        }
    }

    /// The network that it is about.
    pub fn network_id(&self) -> Option<&str> {
        match self {
            Call::CreateNetwork { network_id, .. }
            | Call::DeleteNetwork { network_id }
            | Call::AllocateNetwork { network_id, .. }
            | Call::FreeNetwork { network_id } => Some(network_id),
            Call::CreateEndpoint { endpoint, .. }
            | Call::Join { endpoint, .. }
            | Call::ProgramExternalConnectivity { endpoint, .. }
            | Call::DeleteEndpoint(endpoint)
            | Call::EndpointOperInfo(endpoint)
            | Call::Leave(endpoint)
            | Call::RevokeExternalConnectivity(endpoint) => Some(&endpoint.network_id),
            Call::GwAllocCheck { .. } | Call::DiscoverNew(_) | Call::DiscoverDelete(_) => None,
        }
    }
}

fn endpoint(body: &Object) -> Result<EndpointRef, Problem> {
    Ok(EndpointRef {
        network_id: body.required_name("NetworkID")?,
        endpoint_id: body.required_name("EndpointID")?,
    })
}

fn network_options(body: &Object) -> Result<NetworkOptions, Problem> {
    let options = body.object("Options")?;
    Ok(NetworkOptions {
        generic: options.loose_map(label::GENERIC)?,
        enable_ipv4: options.boolean(label::ENABLE_IPV4)?,
        enable_ipv6: options.boolean(label::ENABLE_IPV6)?.unwrap_or(false),
        internal: options.boolean(label::INTERNAL)?.unwrap_or(false),
        raw: options.to_json(),
    })
}

fn ipam_data(body: &Object, key: &str) -> Result<Vec<IpamData>, Problem> {
    body.objects(key)?
        .iter()
        .map(|entry| {
            Ok(IpamData {
                address_space: entry.name("AddressSpace")?,
                pool: entry.subnet("Pool")?.map(cidr_to_guest),
                gateway: entry.cidr("Gateway")?.map(cidr_to_guest),
                aux_addresses: entry
                    .cidr_map("AuxAddresses")?
                    .into_iter()
                    .map(|(name, net)| (name, cidr_to_guest(net)))
                    .collect(),
            })
        })
        .collect()
}

fn interface(body: &Object) -> Result<EndpointInterface, Problem> {
    let interface = body.object("Interface")?;
    Ok(EndpointInterface {
        address: interface.cidr("Address")?.map(cidr_to_guest),
        address_ipv6: interface.cidr("AddressIPv6")?.map(cidr_to_guest),
        mac_address: interface.mac("MacAddress")?.map(Into::into),
    })
}

fn transport(entry: &Object) -> Result<types::Transport, Problem> {
    Ok(match entry.number("Proto")? {
        6 => types::Transport::Tcp,
        17 => types::Transport::Udp,
        132 => types::Transport::Sctp,
        other => types::Transport::Other(other),
    })
}

fn port(entry: &Object) -> Result<types::Port, Problem> {
    Ok(types::Port {
        transport: transport(entry)?,
        number: entry.number("Port")?,
    })
}

fn port_binding(entry: &Object) -> Result<types::PortBinding, Problem> {
    let host_port: u16 = entry.number("HostPort")?;
    let mut host_port_end: u16 = entry.number("HostPortEnd")?;
    if host_port_end == 0 {
        host_port_end = host_port;
    }
    if host_port_end < host_port {
        return Err(format!(
            "the published ports {host_port} to {host_port_end} are no range"
        ));
    }
    Ok(types::PortBinding {
        transport: transport(entry)?,
        container_address: entry.ip("IP")?.map(ip_to_guest),
        container_port: entry.number("Port")?,
        host_address: entry.ip("HostIP")?.map(ip_to_guest),
        host_port,
        host_port_end,
    })
}

fn mac_option(options: &Object) -> Result<Option<types::MacAddress>, Problem> {
    let text = options.text(label::MAC_ADDRESS)?;
    if text.is_empty() {
        return Ok(None);
    }
    // Bytes in Go, so base64 in JSON; the colon form is what a client that is no engine would write.
    STANDARD
        .decode(&text)
        .ok()
        .and_then(|bytes| <[u8; 6]>::try_from(bytes).ok())
        .map(Mac)
        .or_else(|| Mac::parse(&text))
        .map(|mac| Some(mac.into()))
        .ok_or_else(|| {
            format!(
                "Options: {} is not the base64 form of the 6 bytes of an Ethernet address",
                label::MAC_ADDRESS
            )
        })
}

fn endpoint_options(body: &Object) -> Result<EndpointOptions, Problem> {
    let mut options = body.object("Options")?;
    let exposed_ports = options
        .objects(label::EXPOSED_PORTS)?
        .iter()
        .map(port)
        .collect::<Result<_, _>>()?;
    let port_map = options
        .objects(label::PORT_MAP)?
        .iter()
        .map(port_binding)
        .collect::<Result<_, _>>()?;
    let mac_address = mac_option(&options)?;
    let dns_servers = options.texts(label::DNS_SERVERS)?;
    let raw = options.to_json();
    for known in [
        label::EXPOSED_PORTS,
        label::PORT_MAP,
        label::MAC_ADDRESS,
        label::DNS_SERVERS,
    ] {
        options.take(known);
    }
    Ok(EndpointOptions {
        exposed_ports,
        port_map,
        mac_address,
        dns_servers,
        generic: options.into_loose_entries(),
        raw,
    })
}

fn discovery(body: &Object) -> Result<Discovery, Problem> {
    let kind: u32 = body.number("DiscoveryType")?;
    if kind != NODE_DISCOVERY {
        let data = body.get("DiscoveryData").unwrap_or(&Value::Null);
        return Ok(Discovery::Other((kind, data.to_string())));
    }
    let node = body.object("DiscoveryData")?;
    Ok(Discovery::Node(NodeDiscovery {
        address: node.name("Address")?,
        bind_address: node.name("BindAddress")?,
        self_: node.boolean("Self")?.unwrap_or(false),
    }))
}

/// The call that a request asks for; none for a method of another kind or one without a driver's part.
pub(super) fn decode(method: Method, body: &Object) -> Result<Option<Decoded>, Problem> {
    let network_id = || body.required_name("NetworkID");
    let call = match method {
        Method::NetworkGwAllocCheck => Call::GwAllocCheck {
            options: network_options(body)?,
        },
        Method::NetworkCreateNetwork => Call::CreateNetwork {
            network_id: network_id()?,
            options: network_options(body)?,
            ipv4: ipam_data(body, "IPv4Data")?,
            ipv6: ipam_data(body, "IPv6Data")?,
        },
        Method::NetworkDeleteNetwork => Call::DeleteNetwork {
            network_id: network_id()?,
        },
        Method::NetworkAllocateNetwork => Call::AllocateNetwork {
            network_id: network_id()?,
            options: body.loose_map("Options")?,
            ipv4: ipam_data(body, "IPv4Data")?,
            ipv6: ipam_data(body, "IPv6Data")?,
        },
        Method::NetworkFreeNetwork => Call::FreeNetwork {
            network_id: network_id()?,
        },
        Method::NetworkCreateEndpoint => Call::CreateEndpoint {
            endpoint: endpoint(body)?,
            interface: interface(body)?,
            options: endpoint_options(body)?,
        },
        Method::NetworkDeleteEndpoint => Call::DeleteEndpoint(endpoint(body)?),
        Method::NetworkEndpointOperInfo => Call::EndpointOperInfo(endpoint(body)?),
        Method::NetworkJoin => Call::Join {
            endpoint: endpoint(body)?,
            sandbox_key: body.name("SandboxKey")?,
            options: endpoint_options(body)?,
        },
        Method::NetworkLeave => Call::Leave(endpoint(body)?),
        Method::NetworkProgramExternalConnectivity => Call::ProgramExternalConnectivity {
            endpoint: endpoint(body)?,
            options: endpoint_options(body)?,
        },
        Method::NetworkRevokeExternalConnectivity => {
            Call::RevokeExternalConnectivity(endpoint(body)?)
        }
        Method::NetworkDiscoverNew => Call::DiscoverNew(discovery(body)?),
        Method::NetworkDiscoverDelete => Call::DiscoverDelete(discovery(body)?),
        _ => return Ok(None),
    };
    Ok(Some(Decoded::Call(super::Call::Network(call))))
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing
    )]
    use super::super::decode;
    use super::*;
    use crate::protocol::address::{cidr_from_guest, ip_from_guest};

    fn call(method: &str, body: &str) -> Result<Call, String> {
        let method = Method::parse(&format!("NetworkDriver.{method}")).unwrap();
        match decode(method, body.as_bytes()) {
            Ok(Decoded::Call(super::super::Call::Network(call))) => {
                assert_eq!(call.method(), method);
                Ok(call)
            }
            Ok(other) => panic!("{method} {body}: {other:?}"),
            Err(error) => Err(error.to_string()),
        }
    }

    fn text(cidr: Option<types::Cidr>) -> String {
        cidr.map(|cidr| cidr_from_guest(cidr).unwrap().to_string())
            .unwrap_or_default()
    }

    fn data(entries: &[IpamData]) -> Vec<String> {
        entries
            .iter()
            .map(|entry| {
                let aux: Vec<String> = entry
                    .aux_addresses
                    .iter()
                    .map(|(name, cidr)| format!("{name}={}", text(Some(*cidr))))
                    .collect();
                format!(
                    "{} {} {} {}",
                    entry.address_space,
                    text(entry.pool),
                    text(entry.gateway),
                    aux.join(",")
                )
            })
            .collect()
    }

    fn pairs(pairs: &[(&str, &str)]) -> Vec<KeyValue> {
        pairs
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect()
    }

    const PORTS: &str = r#"{"com.docker.network.endpoint.exposedports":[{"Proto":6,"Port":80}],"com.docker.network.portmap":[{"Proto":6,"IP":"","Port":80,"HostIP":"","HostPort":8080,"HostPortEnd":8080}]}"#;

    fn check_ports(options: &EndpointOptions) {
        assert_eq!(options.raw, PORTS);
        assert!(options.generic.is_empty());
        assert!(matches!(
            options.exposed_ports.as_slice(),
            [types::Port {
                transport: types::Transport::Tcp,
                number: 80
            }]
        ));
        assert!(matches!(
            options.port_map.as_slice(),
            [types::PortBinding {
                transport: types::Transport::Tcp,
                container_address: None,
                container_port: 80,
                host_address: None,
                host_port: 8080,
                host_port_end: 8080,
            }]
        ));
    }

    #[test]
    fn a_network_is_created_with_what_engines_send() {
        let body = r#"{"NetworkID":"204f990c","Options":{"com.docker.network.enable_ipv6":false,"com.docker.network.generic":{"parent":"eth9"}},
            "IPv4Data":[{"AddressSpace":"LocalDefault","Gateway":"10.77.0.1/24","Pool":"10.77.0.0/24"}],"IPv6Data":[]}"#;
        let Ok(Call::CreateNetwork {
            network_id,
            options,
            ipv4,
            ipv6,
        }) = call("CreateNetwork", body)
        else {
            panic!()
        };
        assert_eq!(network_id, "204f990c");
        assert_eq!(options.generic, pairs(&[("parent", "eth9")]));
        assert_eq!(
            (options.enable_ipv4, options.enable_ipv6, options.internal),
            (None, false, false)
        );
        assert_eq!(
            options.raw,
            r#"{"com.docker.network.enable_ipv6":false,"com.docker.network.generic":{"parent":"eth9"}}"#
        );
        assert_eq!(data(&ipv4), ["LocalDefault 10.77.0.0/24 10.77.0.1/24 "]);
        assert!(ipv6.is_empty());

        let body = r#"{"NetworkID":"n","Options":{"com.docker.network.enable_ipv6":false,"com.docker.network.generic":{},"com.docker.network.internal":true},
            "IPv4Data":[{"AddressSpace":"x-local","AuxAddresses":{"h1":"10.88.5.5/16","h2":"10.88.200.7/16"},"Gateway":"10.88.0.9/16","Pool":"10.88.0.0/16"}],"IPv6Data":null}"#;
        let Ok(Call::CreateNetwork { options, ipv4, .. }) = call("CreateNetwork", body) else {
            panic!()
        };
        assert!(options.internal);
        assert_eq!(
            data(&ipv4),
            ["x-local 10.88.0.0/16 10.88.0.9/16 h1=10.88.5.5/16,h2=10.88.200.7/16"]
        );

        let body = r#"{"NetworkID":"n","Options":{"com.docker.network.enable_ipv4":true,"com.docker.network.enable_ipv6":true,"com.docker.network.generic":{"a":"b","n":5,"l":[1]}},
            "IPv4Data":[{"AddressSpace":"x-local","Pool":"10.200.0.0/24"}],"IPv6Data":[{"AddressSpace":"x-local","Gateway":"fd99:2::1/64","Pool":"fd99:2::/64"}]}"#;
        let Ok(Call::CreateNetwork {
            options,
            ipv4,
            ipv6,
            ..
        }) = call("CreateNetwork", body)
        else {
            panic!()
        };
        assert_eq!(
            (options.enable_ipv4, options.enable_ipv6),
            (Some(true), true)
        );
        assert_eq!(
            options.generic,
            pairs(&[("a", "b"), ("n", "5"), ("l", "[1]")])
        );
        assert_eq!(data(&ipv4), ["x-local 10.200.0.0/24  "]);
        assert_eq!(data(&ipv6), ["x-local fd99:2::/64 fd99:2::1/64 "]);

        let body = r#"{"NetworkID":"n","Options":null,"IPv4Data":[{"AddressSpace":"null","Pool":"0.0.0.0/0"}]}"#;
        let Ok(Call::CreateNetwork { options, ipv4, .. }) = call("CreateNetwork", body) else {
            panic!()
        };
        assert_eq!((options.raw.as_str(), options.generic.len()), ("{}", 0));
        assert_eq!(data(&ipv4), ["null 0.0.0.0/0  "]);
    }

    #[test]
    fn an_endpoint_is_created_with_what_engines_send() {
        let body = format!(
            r#"{{"NetworkID":"204f990c","EndpointID":"ec57ba5b","Interface":{{"Address":"10.77.0.2/24","AddressIPv6":"","MacAddress":""}},"Options":{PORTS}}}"#
        );
        let Ok(Call::CreateEndpoint {
            endpoint,
            interface,
            options,
        }) = call("CreateEndpoint", &body)
        else {
            panic!()
        };
        assert_eq!(
            (endpoint.network_id.as_str(), endpoint.endpoint_id.as_str()),
            ("204f990c", "ec57ba5b")
        );
        assert_eq!(text(interface.address), "10.77.0.2/24");
        assert!(interface.address_ipv6.is_none() && interface.mac_address.is_none());
        check_ports(&options);

        let body = r#"{"NetworkID":"n","EndpointID":"e","Interface":{"Address":"","AddressIPv6":"fd99:2::5/64","MacAddress":"02:11:22:33:44:55"},
            "Options":{"com.docker.network.endpoint.exposedports":null,"com.docker.network.portmap":[{"Proto":132,"IP":"10.0.0.2","Port":1,"HostIP":"::1","HostPort":0,"HostPortEnd":0}],
            "com.docker.network.endpoint.dnsservers":["8.8.8.8"],"com.docker.network.endpoint.macaddress":"AhEiM0RV","com.docker.network.endpoint.ifname":"x0","k":{"a":1}}}"#;
        let Ok(Call::CreateEndpoint {
            interface, options, ..
        }) = call("CreateEndpoint", body)
        else {
            panic!()
        };
        let mac = (0x02, 0x11, 0x22, 0x33, 0x44, 0x55);
        assert_eq!(interface.mac_address, Some(mac));
        assert_eq!(text(interface.address_ipv6), "fd99:2::5/64");
        assert_eq!(options.mac_address, Some(mac));
        assert_eq!(options.dns_servers, ["8.8.8.8"]);
        assert_eq!(
            options.generic,
            pairs(&[
                ("com.docker.network.endpoint.ifname", "x0"),
                ("k", r#"{"a":1}"#)
            ])
        );
        let binding = &options.port_map[0];
        assert!(matches!(binding.transport, types::Transport::Sctp));
        assert_eq!(
            binding
                .host_address
                .map(|ip| ip_from_guest(ip).unwrap().to_string())
                .as_deref(),
            Some("::1")
        );
    }

    #[test]
    fn the_rest_of_an_endpoints_life_is_read_as_engines_send_it() {
        let body = format!(
            r#"{{"NetworkID":"n","EndpointID":"e","SandboxKey":"/var/run/docker/netns/9b4a3e1e1f31","Options":{PORTS}}}"#
        );
        let Ok(Call::Join {
            endpoint,
            sandbox_key,
            options,
        }) = call("Join", &body)
        else {
            panic!()
        };
        assert_eq!(
            (endpoint.endpoint_id.as_str(), sandbox_key.as_str()),
            ("e", "/var/run/docker/netns/9b4a3e1e1f31")
        );
        check_ports(&options);
        let body = format!(r#"{{"NetworkID":"n","EndpointID":"e","Options":{PORTS}}}"#);
        let Ok(Call::ProgramExternalConnectivity { options, .. }) =
            call("ProgramExternalConnectivity", &body)
        else {
            panic!()
        };
        check_ports(&options);
        for method in [
            "DeleteEndpoint",
            "EndpointOperInfo",
            "Leave",
            "RevokeExternalConnectivity",
        ] {
            let call = call(method, "{\"NetworkID\":\"n\",\"EndpointID\":\"e\"}\n").unwrap();
            assert_eq!(call.network_id(), Some("n"));
        }
        for method in ["DeleteNetwork", "FreeNetwork"] {
            assert_eq!(
                call(method, "{\"NetworkID\":\"n\"}\n")
                    .unwrap()
                    .network_id(),
                Some("n")
            );
        }
    }

    #[test]
    fn what_only_managers_and_clusters_send_is_read() {
        let body = r#"{"NetworkID":"kc1v","Options":{"opt1":"val1"},"IPv4Data":[{"AddressSpace":"","Gateway":"10.62.0.1/24","Pool":"10.62.0.0/24"}],"IPv6Data":null}"#;
        let Ok(Call::AllocateNetwork {
            options,
            ipv4,
            ipv6,
            ..
        }) = call("AllocateNetwork", body)
        else {
            panic!()
        };
        assert_eq!(options, pairs(&[("opt1", "val1")]));
        assert_eq!(
            (data(&ipv4), ipv6.len()),
            (vec![" 10.62.0.0/24 10.62.0.1/24 ".to_owned()], 0)
        );

        let body = r#"{"Options":{"com.docker.network.enable_ipv4":"true","com.docker.network.enable_ipv6":true,"com.docker.network.generic":{"a":"b"}}}"#;
        let Ok(Call::GwAllocCheck { options }) = call("GwAllocCheck", body) else {
            panic!()
        };
        assert_eq!(
            (options.enable_ipv4, options.enable_ipv6),
            (Some(true), true)
        );

        let body = r#"{"DiscoveryType":1,"DiscoveryData":{"Address":"192.168.88.2","BindAddress":"","Self":false}}"#;
        for method in ["DiscoverNew", "DiscoverDelete"] {
            let (Call::DiscoverNew(what) | Call::DiscoverDelete(what)) =
                call(method, body).unwrap()
            else {
                panic!()
            };
            let Discovery::Node(node) = what else {
                panic!("{what:?}")
            };
            assert_eq!(
                (
                    node.address.as_str(),
                    node.bind_address.as_str(),
                    node.self_
                ),
                ("192.168.88.2", "", false)
            );
        }
        let body = r#"{"DiscoveryType":3,"DiscoveryData":[{"k":1}]}"#;
        let Ok(Call::DiscoverNew(Discovery::Other((3, json)))) = call("DiscoverNew", body) else {
            panic!()
        };
        assert_eq!(json, r#"[{"k":1}]"#);
    }

    #[test]
    fn nonsense_is_refused_with_the_field() {
        let options = |options: &str| {
            format!(r#"{{"NetworkID":"n","EndpointID":"e","Options":{{{options}}}}}"#)
        };
        let cases = [
            ("CreateNetwork", "{}".to_owned(), "NetworkID"),
            (
                "DeleteNetwork",
                r#"{"NetworkID":""}"#.to_owned(),
                "NetworkID",
            ),
            ("Leave", r#"{"NetworkID":"n"}"#.to_owned(), "EndpointID"),
            (
                "CreateNetwork",
                r#"{"NetworkID":"n","IPv4Data":{}}"#.to_owned(),
                "IPv4Data",
            ),
            (
                "CreateNetwork",
                r#"{"NetworkID":"n","IPv4Data":[7]}"#.to_owned(),
                "IPv4Data[0]",
            ),
            (
                "CreateNetwork",
                r#"{"NetworkID":"n","IPv4Data":[{"Pool":"10.0.0.0"}]}"#.to_owned(),
                "IPv4Data[0].Pool",
            ),
            (
                "CreateNetwork",
                r#"{"NetworkID":"n","IPv4Data":[{"AuxAddresses":{"h":""}}]}"#.to_owned(),
                "AuxAddresses.h",
            ),
            (
                "CreateNetwork",
                options(r#""com.docker.network.generic":[]"#),
                "generic",
            ),
            (
                "CreateNetwork",
                options(r#""com.docker.network.enable_ipv6":"maybe""#),
                "enable_ipv6",
            ),
            (
                "CreateEndpoint",
                r#"{"NetworkID":"n","EndpointID":"e","Interface":{"Address":"10.0.0.1"}}"#
                    .to_owned(),
                "Interface.Address",
            ),
            (
                "CreateEndpoint",
                r#"{"NetworkID":"n","EndpointID":"e","Interface":{"MacAddress":"x"}}"#.to_owned(),
                "Interface.MacAddress",
            ),
            (
                "CreateEndpoint",
                options(r#""com.docker.network.endpoint.macaddress":"AhEiM0Q=""#),
                "macaddress",
            ),
            (
                "CreateEndpoint",
                options(r#""com.docker.network.endpoint.exposedports":[{"Proto":256,"Port":80}]"#),
                "Proto",
            ),
            (
                "CreateEndpoint",
                options(r#""com.docker.network.endpoint.exposedports":[{"Proto":6,"Port":65536}]"#),
                "65536",
            ),
            (
                "CreateEndpoint",
                options(
                    r#""com.docker.network.portmap":[{"Proto":6,"Port":1,"HostPort":9,"HostPortEnd":8}]"#,
                ),
                "9 to 8",
            ),
            (
                "CreateEndpoint",
                options(r#""com.docker.network.portmap":[{"Proto":6,"Port":1,"HostIP":"x"}]"#),
                "HostIP",
            ),
            (
                "CreateEndpoint",
                options(r#""com.docker.network.endpoint.dnsservers":[1]"#),
                "dnsservers",
            ),
            (
                "DiscoverNew",
                r#"{"DiscoveryType":-1}"#.to_owned(),
                "DiscoveryType",
            ),
            (
                "DiscoverNew",
                r#"{"DiscoveryType":1,"DiscoveryData":[]}"#.to_owned(),
                "DiscoveryData",
            ),
        ];
        for (method, body, field) in cases {
            let error = call(method, &body).unwrap_err();
            assert!(error.contains(field), "{body}: {error}");
            assert!(
                error.contains(&format!("NetworkDriver.{method}")),
                "{body}: {error}"
            );
            assert!(!error.contains('\n'), "{error}");
        }
    }
}
