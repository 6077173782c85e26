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

const IPV4: &str = "IPv4";
const IPV6: &str = "IPv6";

/// What the IPAM driver gave for one family. libnetwork sends each family in a list of its own, so what is in the wrong one is no network.
fn ipam_data(body: &Object, key: &str, family: &str) -> Result<Vec<IpamData>, Problem> {
    body.objects(key)?
        .iter()
        .map(|entry| {
            let pool = entry.subnet("Pool")?;
            let gateway = entry.cidr("Gateway")?;
            let aux_addresses = entry.cidr_map("AuxAddresses")?;
            let addresses = || {
                gateway
                    .iter()
                    .chain(aux_addresses.iter().map(|(_, net)| net))
            };
            let mut all = pool.iter().chain(addresses());
            if let Some(stray) = all.find(|net| net.addr().is_ipv4() != (family == IPV4)) {
                return Err(format!("{stray} in {key} is not of {family}"));
            }
            if let Some(pool) = pool
                && let Some(stray) = addresses().find(|net| !pool.contains(&net.addr()))
            {
                return Err(format!("{stray} in {key} is outside of its subnet {pool}"));
            }
            Ok(IpamData {
                address_space: entry.name("AddressSpace")?,
                pool: pool.map(cidr_to_guest),
                gateway: gateway.map(cidr_to_guest),
                aux_addresses: aux_addresses
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
            ipv4: ipam_data(body, "IPv4Data", IPV4)?,
            ipv6: ipam_data(body, "IPv6Data", IPV6)?,
        },
        Method::NetworkDeleteNetwork => Call::DeleteNetwork {
            network_id: network_id()?,
        },
        Method::NetworkAllocateNetwork => Call::AllocateNetwork {
            network_id: network_id()?,
            options: body.loose_map("Options")?,
            ipv4: ipam_data(body, "IPv4Data", IPV4)?,
            ipv6: ipam_data(body, "IPv6Data", IPV6)?,
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
mod tests;
