//! Docker's `NetworkDriver`.
//! A whole driver: a bridge for each network, and a pair of links for each container, of which one end goes into it:
//!
//! ```
//! use dockside_driver::{
//!     Error, ErrorCode, Network, Result,
//!     links::{self, Bridge, Settings},
//!     network::{EndpointInterface, EndpointOptions, IpamData, JoinResponse, NetworkOptions},
//!     testing,
//! };
//!
//! struct Bridges;
//!
//! fn unless_missing(result: Result<()>) -> Result<()> {
//!     match result {
//!         Err(error) if error.code() == ErrorCode::NotFound => Ok(()),
//!         other => other,
//!     }
//! }
//!
//! impl Network for Bridges {
//!     fn create_network(
//!         network_id: &str,
//!         _options: &NetworkOptions,
//!         ipv4: &[IpamData],
//!         _ipv6: &[IpamData],
//!     ) -> Result<()> {
//!         let bridge = links::create(network_id, Bridge::default(), Settings::up())?;
//!         let mut gateways = ipv4.iter().filter_map(|data| data.gateway);
//!         gateways.try_for_each(|gateway| bridge.add_address(gateway))
//!     }
//!     fn delete_network(network_id: &str) -> Result<()> {
//!         unless_missing(links::delete(network_id))
//!     }
//!     fn create_endpoint(
//!         network_id: &str,
//!         endpoint_id: &str,
//!         interface: &EndpointInterface,
//!         _options: &EndpointOptions,
//!     ) -> Result<EndpointInterface> {
//!         let settings = Settings { mac: interface.mac_address, ..Settings::up() };
//!         let port = format!("{endpoint_id} port");
//!         let (_, port) = links::create_pair(endpoint_id, &port, settings)?;
//!         port.set_master(Some(&links::open(network_id)?))?;
//!         // Nothing that Docker chose may come back.
//!         Ok(EndpointInterface::default())
//!     }
//!     fn delete_endpoint(_network_id: &str, endpoint_id: &str) -> Result<()> {
//!         unless_missing(links::delete(endpoint_id))
//!     }
//!     fn join(
//!         _network_id: &str,
//!         endpoint_id: &str,
//!         _sandbox_key: &str,
//!         _options: &EndpointOptions,
//!     ) -> Result<JoinResponse> {
//!         Ok(JoinResponse {
//!             interface: Some(links::open(endpoint_id)?),
//!             dst_prefix: "eth".into(),
//!             ..JoinResponse::default()
//!         })
//!     }
//! }
//!
//! dockside_driver::export!(Bridges: network);
//!
//! let data = IpamData { gateway: Some("10.0.0.1/24".parse()?), ..IpamData::default() };
//! let options = EndpointOptions::default();
//! testing::call(|| Bridges::create_network("n", &Default::default(), &[data.clone()], &[]))?;
//! testing::call(|| Bridges::create_endpoint("n", "e", &Default::default(), &options))?;
//! let joined = testing::call(|| Bridges::join("n", "e", "/sandbox", &options))?;
//! assert_eq!(joined.interface.map(|link| link.key()).as_deref(), Some("e"));
//! # Ok::<(), Error>(())
//! ```

use ipnet::IpNet;
use std::{collections::BTreeMap, net::IpAddr};

use crate::{Error, KeyValues, Link, MacAddr, Result, Scope};

pub use crate::Transport;

#[cfg(target_family = "wasm")]
mod export;

#[cfg(target_family = "wasm")]
#[doc(hidden)]
pub use export::Export;

/// What a network driver says of itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// Where its networks are allocated.
    pub scope: Scope,
    /// How far its networks connect; none means the same as `scope`. Only with `Global` does Docker send `discover_new`.
    pub connectivity_scope: Option<Scope>,
    /// Whether Docker asks `gw_alloc_check` before it creates a network (engine 28 and later).
    pub gw_alloc_checker: bool,
}

/// The options of a network.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NetworkOptions {
    /// What the user gave with `-o`. A value that is not text comes as JSON.
    pub generic: KeyValues,
    /// Whether IPv4 is on; none from engines before 28, which always have it on.
    pub enable_ipv4: Option<bool>,
    /// Whether IPv6 is on.
    pub enable_ipv6: bool,
    /// Whether the network must not reach the outside.
    pub internal: bool,
    /// Everything that Docker sent, as one JSON object.
    pub raw: String,
}

/// The addresses that IPAM gave to a network, for one pool.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IpamData {
    /// The address space that the pool comes from.
    pub address_space: String,
    /// The subnet, if there is one.
    pub pool: Option<IpNet>,
    /// The gateway's address in it, if one was allocated.
    pub gateway: Option<IpNet>,
    /// Addresses that were set aside, by name.
    pub aux_addresses: BTreeMap<String, IpNet>,
}

/// The addresses of an endpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EndpointInterface {
    /// IPv4 address and prefix.
    pub address: Option<IpNet>,
    /// IPv6 address and prefix.
    pub address_ipv6: Option<IpNet>,
    /// Ethernet address.
    pub mac_address: Option<MacAddr>,
}

/// A port that a container offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Port {
    /// The protocol.
    pub transport: Transport,
    /// The port number.
    pub number: u16,
}

/// A port of a container that is published on the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortBinding {
    /// The protocol.
    pub transport: Transport,
    /// The container's address, when Docker knows one.
    pub container_address: Option<IpAddr>,
    /// The port in the container.
    pub container_port: u16,
    /// The address of the host to listen on; none means all of them.
    pub host_address: Option<IpAddr>,
    /// First port of the range on the host; 0 lets the driver choose.
    pub host_port: u16,
    /// Last port of the range on the host.
    pub host_port_end: u16,
}

/// The options of an endpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EndpointOptions {
    /// Ports that the container offers.
    pub exposed_ports: Vec<Port>,
    /// Ports to publish on the host. Publishing is the driver's work.
    pub port_map: Vec<PortBinding>,
    /// The Ethernet address that the user wants.
    pub mac_address: Option<MacAddr>,
    /// Name servers that the user gave.
    pub dns_servers: Vec<String>,
    /// The user's own endpoint options. A value that is not text comes as JSON.
    pub generic: KeyValues,
    /// Everything that Docker sent, as one JSON object.
    pub raw: String,
}

/// A route in the container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StaticRoute {
    /// Where it leads.
    pub destination: IpNet,
    /// The next hop; none means that the destination is on the link.
    pub next_hop: Option<IpAddr>,
}

/// What Docker does with a container that joins.
#[derive(Debug, Default)]
pub struct JoinResponse {
    /// The link that becomes the container's interface; none gives it no interface of this network.
    pub interface: Option<Link>,
    /// Prefix of the interface's name in the container, to which Docker adds a number. Usually `eth`.
    pub dst_prefix: String,
    /// Default gateway for IPv4.
    pub gateway: Option<IpAddr>,
    /// Default gateway for IPv6.
    pub gateway_ipv6: Option<IpAddr>,
    /// Further routes.
    pub static_routes: Vec<StaticRoute>,
    /// Whether to keep Docker from giving a container without gateway its own bridge to the outside.
    pub disable_gateway_service: bool,
}

/// Which gateways a network can do without.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GwAllocResponse {
    /// Allocate no IPv4 gateway.
    pub skip_ipv4: bool,
    /// Allocate no IPv6 gateway.
    pub skip_ipv6: bool,
}

/// News of the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Discovery {
    /// A node that came or went.
    Node {
        /// Its address as others see it.
        address: String,
        /// The address that it listens on.
        bind_address: String,
        /// Whether it is this node.
        own: bool,
    },
    /// Another type of news: its number, and Docker's data as JSON.
    Other(u32, String),
}

fn lacks(method: &str) -> Error {
    Error::not_implemented(format!("this driver does not have NetworkDriver.{method}"))
}

/// A network driver.
///
/// `create_network` is never repeated after a restart of the engine, and `delete_network`, `leave` and `delete_endpoint` get one attempt
/// each, whatever they answer: keep in the state what you were told.
pub trait Network {
    /// `NetworkDriver.GetCapabilities`. A constant: the host asks once, when it loads the component, without state, without configuration
    /// and without grants.
    fn get_capabilities() -> Capabilities {
        Capabilities::default()
    }

    /// `NetworkDriver.CreateNetwork`.
    fn create_network(
        network_id: &str,
        options: &NetworkOptions,
        ipv4: &[IpamData],
        ipv6: &[IpamData],
    ) -> Result<()>;

    /// `NetworkDriver.DeleteNetwork`. Docker has removed the network, whatever the answer is.
    fn delete_network(network_id: &str) -> Result<()>;

    /// `NetworkDriver.AllocateNetwork`, on a swarm manager. The options returned replace the user's on every node.
    fn allocate_network(
        network_id: &str,
        options: &KeyValues,
        ipv4: &[IpamData],
        ipv6: &[IpamData],
    ) -> Result<KeyValues> {
        let _ = (network_id, options, ipv4, ipv6);
        Err(lacks("AllocateNetwork"))
    }

    /// `NetworkDriver.FreeNetwork`, on a swarm manager.
    fn free_network(network_id: &str) -> Result<()> {
        let _ = network_id;
        Err(lacks("FreeNetwork"))
    }

    /// `NetworkDriver.GwAllocCheck`, engine 28 and later. Only asked with `gw_alloc_checker`.
    fn gw_alloc_check(options: &NetworkOptions) -> Result<GwAllocResponse> {
        let _ = options;
        Err(lacks("GwAllocCheck"))
    }

    /// `NetworkDriver.CreateEndpoint`. Return only what was none in `interface`: Docker fails the start of the container when a field
    /// that it sent comes back, so the host refuses such an answer.
    fn create_endpoint(
        network_id: &str,
        endpoint_id: &str,
        interface: &EndpointInterface,
        options: &EndpointOptions,
    ) -> Result<EndpointInterface>;

    /// `NetworkDriver.DeleteEndpoint`.
    fn delete_endpoint(network_id: &str, endpoint_id: &str) -> Result<()>;

    /// `NetworkDriver.EndpointOperInfo`.
    fn endpoint_oper_info(network_id: &str, endpoint_id: &str) -> Result<KeyValues> {
        let _ = (network_id, endpoint_id);
        Ok(KeyValues::new())
    }

    /// `NetworkDriver.Join`. The sandbox may not exist yet (engines before 28).
    fn join(
        network_id: &str,
        endpoint_id: &str,
        sandbox_key: &str,
        options: &EndpointOptions,
    ) -> Result<JoinResponse>;

    /// `NetworkDriver.Leave`.
    fn leave(network_id: &str, endpoint_id: &str) -> Result<()> {
        let _ = (network_id, endpoint_id);
        Ok(())
    }

    /// `NetworkDriver.ProgramExternalConnectivity`.
    fn program_external_connectivity(
        network_id: &str,
        endpoint_id: &str,
        options: &EndpointOptions,
    ) -> Result<()> {
        let _ = (network_id, endpoint_id, options);
        Ok(())
    }

    /// `NetworkDriver.RevokeExternalConnectivity`.
    fn revoke_external_connectivity(network_id: &str, endpoint_id: &str) -> Result<()> {
        let _ = (network_id, endpoint_id);
        Ok(())
    }

    /// `NetworkDriver.DiscoverNew`. Repeats happen.
    fn discover_new(what: &Discovery) -> Result<()> {
        let _ = what;
        Ok(())
    }

    /// `NetworkDriver.DiscoverDelete`.
    fn discover_delete(what: &Discovery) -> Result<()> {
        let _ = what;
        Ok(())
    }
}
