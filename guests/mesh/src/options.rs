//! What users can give to `docker network create -o`, and what that means.

use std::net::IpAddr;

use dockside_driver::{
    Error, KeyValues, Options, Result,
    network::NetworkOptions,
    options::{self, Declaration},
};
use serde::{Deserialize, Serialize};

use crate::{Mesh, cluster};

/// Docker's own name for the option.
const MTU: &str = "com.docker.network.driver.mtu";
/// Options of Docker's own bridge driver.
const ICC: &str = "com.docker.network.bridge.enable_icc";
const MASQUERADE: &str = "com.docker.network.bridge.enable_ip_masquerade";
const HOST_ADDRESS: &str = "com.docker.network.bridge.host_binding_ipv4";
/// Weave Net's.
const MULTICAST: &str = "works.weave.multicast";
const GATEWAY: &str = "gateway";
const PEERS: &str = cluster::PEERS;
const ADDRESSES: &str = "addresses";
/// The VXLAN network identifier. What a swarm's manager chose reaches the nodes as this option.
pub(crate) const VNI: &str = "vni";

/// How containers reach what is not on the network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Gateway {
    /// By the network's bridge and the machine's address.
    #[default]
    Mesh,
    /// By `docker_gwbridge`, Docker's own, which has the published ports then.
    Docker,
    /// Not at all.
    None,
}

/// A network as its user wants it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wishes {
    pub(crate) mtu: Option<u32>,
    /// Whether containers on it reach each other.
    pub(crate) connected: bool,
    pub(crate) masquerade: bool,
    pub(crate) host_address: Option<IpAddr>,
    pub(crate) multicast: bool,
    pub(crate) gateway: Gateway,
    pub(crate) vni: Option<u32>,
    /// Whether the user answers for it that no other host gives the same addresses.
    pub(crate) trusts_addresses: bool,
}

impl Wishes {
    pub(crate) fn read(options: &NetworkOptions) -> Result<Self> {
        let given = &options.generic;
        let is = |name, default| Ok::<_, Error>(given.boolean(name)?.unwrap_or(default));
        Ok(Self {
            mtu: given.parse(MTU)?,
            connected: is(ICC, true)?,
            masquerade: is(MASQUERADE, true)?,
            host_address: given.parse(HOST_ADDRESS)?,
            multicast: is(MULTICAST, false)?,
            gateway: match given.get(GATEWAY) {
                _ if options.internal => Gateway::None,
                None | Some("mesh") => Gateway::Mesh,
                Some("docker") => Gateway::Docker,
                Some("none") => Gateway::None,
                Some(other) => {
                    return Err(Error::invalid(format!(
                        "option {GATEWAY}={other}: say mesh, docker or none"
                    )));
                }
            },
            vni: vni(given)?,
            trusts_addresses: given.get(ADDRESSES) == Some("trusted"),
        })
    }
}

/// The network identifier that the user gave.
pub(crate) fn vni(given: &KeyValues) -> Result<Option<u32>> {
    match given.parse(VNI)? {
        Some(vni @ 1..=0x00ff_ffff) => Ok(Some(vni)),
        Some(other) => Err(Error::invalid(format!(
            "option {VNI}={other}: a VXLAN network identifier is from 1 to 16777215"
        ))),
        None => Ok(None),
    }
}

impl Options for Mesh {
    fn declare() -> Vec<Declaration> {
        vec![
            options::network(MTU)
                .integer(68..=65535)
                .help("MTU of the network; across hosts by default what the tunnel leaves of `underlay-mtu`"),
            options::network(GATEWAY)
                .choice(["mesh", "docker", "none"])
                .help("Way outward: the network's bridge, Docker's docker_gwbridge, or none (default mesh)"),
            options::network(MULTICAST)
                .boolean()
                .help("Route 224.0.0.0/4 to this network in its containers"),
            options::network(PEERS)
                .help("Addresses of the hosts that share the network, or `none` (default from [config])"),
            options::network(VNI)
                .integer(1..=0x00ff_ffff)
                .help("VXLAN network identifier across hosts (default from the subnet)"),
            options::network(ADDRESSES)
                .choice(["checked", "trusted"])
                .help("`trusted`: hosts share the network though this driver does not give its addresses"),
            options::network(ICC)
                .boolean()
                .help("Whether containers on the network reach each other (default true)"),
            options::network(MASQUERADE)
                .boolean()
                .help("Whether they reach the outside under the machine's address (default true)"),
            options::network(HOST_ADDRESS)
                .help("The machine's address for published ports that name none"),
            options::ipam(PEERS)
                .choice(["none"])
                .help("`none`: a pool of this host alone, though [config] names peers"),
            options::ipam("ipv4-size")
                .integer(8..=32)
                .help("Prefix length of the IPv4 subnet, if the driver chooses it"),
            options::ipam("ipv6-size")
                .integer(48..=128)
                .help("Prefix length of the IPv6 subnet, if the driver chooses it"),
        ]
    }
}
