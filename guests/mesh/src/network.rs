//! Networks: a bridge, its rules, and for several hosts a tunnel between their bridges.

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr},
};

use dockside_addresses::subnet;
use dockside_driver::{
    Error, IpNet, KeyValues, Link, MacAddr, Network, Refusal, Result, Table, config,
    links::{self, Bridge, Settings, Vxlan},
    log,
    nat::{self, Rule},
    network::{
        Capabilities, Discovery, EndpointInterface, EndpointOptions, IpamData, JoinResponse,
        NetworkOptions, StaticRoute,
    },
    state,
};
use serde::{Deserialize, Serialize};

use crate::{
    Mesh,
    cluster::{self, Peers},
    endpoint,
    options::{self, Gateway, Wishes},
    vni,
};

/// Where multicast goes: 224.0.0.0/4.
const MULTICAST: (Ipv4Addr, u8) = (Ipv4Addr::new(224, 0, 0, 0), 4);

/// What VXLAN adds to a packet: an outer Ethernet header is not counted, the inner one is; RFC 7348, section 5.
const OVERHEAD_V4: u32 = 50;
const OVERHEAD_V6: u32 = 70;

/// The address space of the engine's own IPAM driver for networks of one host.
const ENGINES_OWN: &str = "LocalDefault";

/// A network.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Net {
    pub(crate) gateway: Gateway,
    pub(crate) connected: bool,
    masquerade: bool,
    multicast: bool,
    pub(crate) host_address: Option<IpAddr>,
    pub(crate) mtu: Option<u32>,
    subnets: Vec<IpNet>,
    gateways: Vec<IpNet>,
    tunnel: Option<Tunnel>,
}

/// The way to the bridges of the other hosts.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Tunnel {
    vni: u32,
    port: u16,
    peers: Peers,
    /// The hosts that it leads to.
    ends: Vec<IpAddr>,
}

static NETWORKS: Table<Net> = Table::new("network/");

/// State: the identifiers of all networks. One key, because to list keys is to conflict with every call that makes one.
const ALL: &str = "networks";

/// State: the hosts of the configuration that the tunnels were last made to lead to.
pub(crate) const FOLLOWED: &str = "followed";

/// The identifiers of all networks.
pub(crate) fn all() -> Result<BTreeSet<String>> {
    Ok(state::get(ALL)?.unwrap_or_default())
}

/// A network, if there is one.
pub(crate) fn get(network_id: &str) -> Result<Option<Net>> {
    NETWORKS.get(network_id)
}

pub(crate) fn find(network_id: &str) -> Result<Net> {
    get(network_id)?.ok_or_else(|| {
        Error::not_found(format!(
            "there is no network {network_id}; remove it with `docker network rm` and create it again"
        ))
    })
}

pub(crate) fn bridge(network_id: &str) -> String {
    format!("bridge/{network_id}")
}

pub(crate) fn tunnel(network_id: &str) -> String {
    format!("tunnel/{network_id}")
}

/// The result, where a link that is gone already is as good as deleted.
pub(crate) fn unless_missing(result: Result<()>) -> Result<()> {
    match result {
        Err(error) if error.refusal() == Some(Refusal::NotFound) => Ok(()),
        other => other,
    }
}

impl Tunnel {
    fn choose(
        options: &NetworkOptions,
        wishes: &Wishes,
        ipv4: &[IpamData],
        ipv6: &[IpamData],
    ) -> Result<Option<Self>> {
        let option = options.generic.get(cluster::PEERS);
        let Some(peers) = Peers::choose(option, wishes.vni.is_some())? else {
            return Ok(None);
        };
        let mut data = ipv4.iter().chain(ipv6);
        if peers != Peers::Swarm
            && !wishes.trusts_addresses
            && data.clone().any(|data| data.address_space == ENGINES_OWN)
        {
            return Err(Error::invalid(
                "each host's engine would give the same addresses: add --ipam-driver with this driver's name; or say -o addresses=trusted if no address can be given twice, or -o peers=none for a network of this host alone",
            ));
        }
        let vni = match (wishes.vni, data.find_map(|data| data.pool)) {
            (Some(vni), _) => vni,
            (None, Some(subnet)) => vni::of_subnet(subnet),
            (None, None) => {
                return Err(Error::invalid(
                    "a network across hosts needs a subnet or -o vni=NUMBER that is the same on each of them",
                ));
            }
        };
        Ok(Some(Self {
            vni,
            port: config::parse("port")?.unwrap_or(Vxlan::PORT),
            peers,
            ends: Vec::new(),
        }))
    }

    /// The MTU that it leaves.
    fn mtu(&self) -> Result<u32> {
        let below: u32 = config::parse("underlay-mtu")?.unwrap_or(1500);
        let hosts = self.peers.hosts()?;
        let is_v6 = hosts.own.iter().chain(&hosts.others).any(IpAddr::is_ipv6);
        Ok(below.saturating_sub(if is_v6 { OVERHEAD_V6 } else { OVERHEAD_V4 }))
    }

    /// Makes it a port of the bridge.
    fn make(&mut self, network_id: &str, net: &Net, bridge: &Link) -> Result<()> {
        let hosts = self.peers.hosts()?;
        let mut kind = Vxlan::new(self.vni).port(self.port).learning();
        if let Some(own) = hosts.own {
            kind = kind.local(own);
        }
        let settings = Settings {
            mtu: net.mtu,
            ..Settings::up()
        };
        let link = match links::create(&tunnel(network_id), kind, settings) {
            Err(error) if error.refusal() == Some(Refusal::AlreadyExists) => {
                return Err(error.context(format!(
                    "VXLAN network identifier {} is taken on this machine; choose another with -o vni=NUMBER, on each host",
                    self.vni
                )));
            }
            other => other?,
        };
        link.set_master(Some(bridge))?;
        if !net.connected {
            link.set_isolated(true)?;
        }
        self.ends.clear();
        self.lead(&link, hosts.others)
    }

    /// Makes it lead to these hosts.
    fn lead(&mut self, link: &Link, hosts: Vec<IpAddr>) -> Result<()> {
        for gone in self.ends.iter().filter(|end| !hosts.contains(end)) {
            link.remove_fdb(MacAddr::ANY, *gone)?;
        }
        for new in hosts.iter().filter(|host| !self.ends.contains(host)) {
            link.add_fdb(MacAddr::ANY, *new)?;
        }
        self.ends = hosts;
        Ok(())
    }
}

impl Net {
    fn new(options: &NetworkOptions, ipv4: &[IpamData], ipv6: &[IpamData]) -> Result<Self> {
        let wishes = Wishes::read(options)?;
        let tunnel = Tunnel::choose(options, &wishes, ipv4, ipv6)?;
        let mtu = match (wishes.mtu, &tunnel) {
            (None, Some(tunnel)) => Some(tunnel.mtu()?),
            (mtu, _) => mtu,
        };
        // The IPAM driver that gives no addresses says so with a subnet that is everything.
        let data = || {
            let subnet = |data: &IpamData| data.pool.is_some_and(|pool| pool.prefix_len() > 0);
            ipv4.iter().chain(ipv6).filter(move |data| subnet(data))
        };
        Ok(Self {
            gateway: wishes.gateway,
            connected: wishes.connected,
            masquerade: wishes.masquerade,
            multicast: wishes.multicast,
            host_address: wishes.host_address,
            mtu,
            subnets: data().filter_map(|data| data.pool).collect(),
            gateways: data().filter_map(|data| data.gateway).collect(),
            tunnel,
        })
    }

    /// Refuses a subnet that another network's bridge has an address in, if its own is to have one: packets would go to either.
    fn overlap(&self) -> Result<()> {
        if self.gateways.is_empty() {
            return Ok(());
        }
        for network_id in all()? {
            let Some(other) = get(&network_id)?.filter(|other| !other.gateways.is_empty()) else {
                continue;
            };
            for one in &self.subnets {
                let mut others = other.subnets.iter();
                if let Some(two) = others.find(|two| subnet::overlap(*one, **two)) {
                    return Err(Error::in_use(format!(
                        "{one} overlaps with {two} of network {network_id}; choose another --subnet or remove that network (if Docker does not know it, `dockside call NAME NetworkDriver.DeleteNetwork '{{\"NetworkID\":\"{network_id}\"}}'` does)"
                    )));
                }
            }
        }
        Ok(())
    }

    /// Whether it was asked for in the same words. Where its tunnel leads is not among them.
    fn is_like(&self, other: &Self) -> bool {
        let tunnel = |net: &Self| net.tunnel.as_ref().map(|tunnel| tunnel.vni);
        self.gateway == other.gateway
            && self.connected == other.connected
            && self.masquerade == other.masquerade
            && self.multicast == other.multicast
            && self.host_address == other.host_address
            && self.mtu == other.mtu
            && self.subnets == other.subnets
            && self.gateways == other.gateways
            && tunnel(self) == tunnel(other)
    }

    /// The Ethernet address of the bridge. Bridges of several hosts that have one gateway's address have one Ethernet address too, so that a
    /// container's gateway is its own host's bridge, whoever answers first.
    fn mac(&self) -> Option<MacAddr> {
        let tunnel = self.tunnel.as_ref()?;
        let [_, a, b, c] = tunnel.vni.to_be_bytes();
        let gateway = match self.gateways.first()?.addr() {
            IpAddr::V4(address) => u128::from(u32::from(address)),
            IpAddr::V6(address) => u128::from(address),
        };
        let folded = (0..8).fold(0, |folded, word| folded ^ (gateway >> (16 * word)) as u16);
        let [d, e] = folded.to_be_bytes();
        Some(MacAddr::locally_administered([0x02, a, b, c, d, e]))
    }

    fn make(&mut self, network_id: &str) -> Result<Link> {
        let settings = Settings {
            mtu: self.mtu,
            mac: self.mac(),
            up: true,
        };
        let bridge = links::create(&bridge(network_id), Bridge::default(), settings)?;
        self.gateways
            .iter()
            .try_for_each(|gateway| bridge.add_address(*gateway))?;
        self.apply(network_id, &bridge)?;
        Ok(bridge)
    }

    fn dig(&mut self, network_id: &str, bridge: &Link) -> Result<()> {
        let Some(mut tunnel) = self.tunnel.take() else {
            return Ok(());
        };
        let made = tunnel.make(network_id, self, bridge);
        self.tunnel = Some(tunnel);
        made
    }

    fn apply(&self, network_id: &str, link: &Link) -> Result<()> {
        let mut rules = vec![Rule::Isolate(link)];
        if self.gateway == Gateway::Mesh {
            rules.push(Rule::Forward(link));
            if self.masquerade {
                let sources = self.subnets.iter().copied();
                rules.extend(sources.map(|source| Rule::Masquerade { source, link }));
            }
        } else {
            rules.push(Rule::Internal(link));
        }
        nat::apply(&bridge(network_id), rules).map(drop)
    }

    fn leads_outward(&self, is_family: impl Fn(&IpAddr) -> bool) -> Option<IpAddr> {
        let mut addresses = self.gateways.iter().map(IpNet::addr);
        addresses
            .find(is_family)
            .filter(|_| self.gateway == Gateway::Mesh)
    }

    /// Makes again what is not there.
    pub(crate) fn repair(
        &mut self,
        network_id: &str,
        links: &BTreeSet<String>,
        rules: &BTreeSet<String>,
    ) -> Result<()> {
        let key = bridge(network_id);
        let is_new = !links.contains(&key);
        let bridge = if is_new {
            log::info!("making the bridge of network {network_id} again");
            nat::remove(&key)?;
            self.make(network_id)?
        } else {
            let bridge = links::open(&key)?;
            if !rules.contains(&key) {
                self.apply(network_id, &bridge)?;
            }
            bridge
        };
        if self.tunnel.is_none() {
        } else if !links.contains(&tunnel(network_id)) {
            self.dig(network_id, &bridge)?;
        } else if is_new {
            links::open(&tunnel(network_id))?.set_master(Some(&bridge))?;
        }
        endpoint::repair(network_id, self, is_new.then_some(&bridge), rules)?;
        NETWORKS.put(network_id, self)
    }

    /// Makes the tunnel lead to the hosts that there are now.
    fn follow(&mut self, network_id: &str) -> Result<()> {
        let Some(tunnel) = &mut self.tunnel else {
            return Ok(());
        };
        let hosts = tunnel.peers.hosts()?.others;
        if hosts != tunnel.ends {
            let link = links::open(&self::tunnel(network_id))?;
            tunnel.lead(&link, hosts)?;
            NETWORKS.put(network_id, self)?;
        }
        Ok(())
    }
}

/// Makes the tunnels of all networks lead to the hosts that there are now.
pub(crate) fn follow() -> Result<()> {
    for network_id in all()? {
        if let Some(mut net) = get(&network_id)? {
            net.follow(&network_id)?;
        }
    }
    Ok(())
}

fn discovered(what: &Discovery, learn: impl Fn(IpAddr, bool) -> Result<bool>) -> Result<()> {
    let Discovery::Node { address, own, .. } = what else {
        return Ok(());
    };
    match address.parse() {
        Ok(address) if learn(address, *own)? => follow(),
        Ok(_) => Ok(()),
        Err(_) => {
            log::warn!("Docker tells of a node at {address:?}, which is no IP address");
            Ok(())
        }
    }
}

impl Network for Mesh {
    fn get_capabilities() -> Capabilities {
        Capabilities {
            scope: dockside_driver::Scope::Local,
            connectivity_scope: Some(dockside_driver::Scope::Global),
            gw_alloc_checker: false,
        }
    }

    fn create_network(
        network_id: &str,
        options: &NetworkOptions,
        ipv4: &[IpamData],
        ipv6: &[IpamData],
    ) -> Result<()> {
        let mut net = Net::new(options, ipv4, ipv6)?;
        if let Some(there) = get(network_id)? {
            return if there.is_like(&net) {
                Ok(())
            } else {
                Err(Error::already_exists(format!(
                    "network {network_id} is there already, with another subnet or other options"
                )))
            };
        }
        net.overlap()?;
        let bridge = net.make(network_id)?;
        net.dig(network_id, &bridge)?;
        NETWORKS.put(network_id, &net)?;
        let mut all = all()?;
        all.insert(network_id.to_owned());
        state::set(ALL, &all)
    }

    fn delete_network(network_id: &str) -> Result<()> {
        if !NETWORKS.contains(network_id)? {
            return Ok(());
        }
        // An engine that was killed has not taken its endpoints away.
        for endpoint_id in endpoint::members(network_id)? {
            endpoint::delete(&endpoint_id)?;
        }
        nat::remove(&bridge(network_id))?;
        unless_missing(links::delete(&tunnel(network_id)))?;
        unless_missing(links::delete(&bridge(network_id)))?;
        NETWORKS.remove(network_id)?;
        let mut all = all()?;
        all.remove(network_id);
        if all.is_empty() {
            state::delete(FOLLOWED)?;
            return state::delete(ALL);
        }
        state::set(ALL, &all)
    }

    fn allocate_network(
        network_id: &str,
        options: &KeyValues,
        _ipv4: &[IpamData],
        _ipv6: &[IpamData],
    ) -> Result<KeyValues> {
        let vni = vni::allocate(network_id, options)?;
        Ok(options.clone().with(options::VNI, vni))
    }

    fn free_network(network_id: &str) -> Result<()> {
        vni::free(network_id)
    }

    fn create_endpoint(
        network_id: &str,
        endpoint_id: &str,
        interface: &EndpointInterface,
        options: &EndpointOptions,
    ) -> Result<EndpointInterface> {
        let net = find(network_id)?;
        if !options.port_map.is_empty() {
            // A port of a container that ended without an engine must be free when the container comes again.
            endpoint::sweep()?;
        }
        let mac = endpoint::create(network_id, &net, endpoint_id, interface)?;
        Ok(EndpointInterface {
            mac_address: interface.mac_address.is_none().then_some(mac),
            ..EndpointInterface::default()
        })
    }

    fn delete_endpoint(_network_id: &str, endpoint_id: &str) -> Result<()> {
        endpoint::delete(endpoint_id)
    }

    fn endpoint_oper_info(network_id: &str, endpoint_id: &str) -> Result<KeyValues> {
        Ok(endpoint::find(network_id, endpoint_id)?.info())
    }

    fn join(
        network_id: &str,
        endpoint_id: &str,
        _sandbox_key: &str,
        _options: &EndpointOptions,
    ) -> Result<JoinResponse> {
        let net = find(network_id)?;
        endpoint::join(network_id, endpoint_id)?;
        let (address, prefix) = MULTICAST;
        let multicast = StaticRoute {
            destination: IpNet::new(address.into(), prefix)?,
            next_hop: None,
        };
        Ok(JoinResponse {
            interface: Some(links::open(&endpoint::container(endpoint_id))?),
            dst_prefix: "eth".into(),
            gateway: net.leads_outward(IpAddr::is_ipv4),
            gateway_ipv6: net.leads_outward(IpAddr::is_ipv6),
            static_routes: net.multicast.then_some(multicast).into_iter().collect(),
            // Docker would give a container without a gateway a way out by its own bridge.
            disable_gateway_service: net.gateway == Gateway::None,
        })
    }

    fn leave(_network_id: &str, endpoint_id: &str) -> Result<()> {
        endpoint::leave(endpoint_id)
    }

    fn program_external_connectivity(
        network_id: &str,
        endpoint_id: &str,
        options: &EndpointOptions,
    ) -> Result<()> {
        endpoint::publish(network_id, endpoint_id, &options.port_map)
    }

    fn revoke_external_connectivity(_network_id: &str, endpoint_id: &str) -> Result<()> {
        endpoint::revoke(endpoint_id)
    }

    fn discover_new(what: &Discovery) -> Result<()> {
        discovered(what, cluster::node_came)
    }

    fn discover_delete(what: &Discovery) -> Result<()> {
        discovered(what, |address, _| cluster::node_left(address))
    }
}
