use ipnet::{IpNet, Ipv4Net};
use proptest::prelude::*;
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::{self, Display},
    net::IpAddr,
};

use super::{Common, Trouble, explore};
use crate::{
    ErrorCode, KeyValues, MacAddr, Network, Result, Transport,
    network::{
        EndpointInterface, EndpointOptions, IpamData, JoinResponse, NetworkOptions, PortBinding,
    },
    reconcile::Subject,
    sys::memory,
    testing,
};

/// Networks that are there at once, at most.
const NETWORKS: usize = 2;

/// Endpoints of each, at most.
const ENDPOINTS: usize = 3;

/// What a network driver is asked by [`network`].
#[derive(Clone, Debug)]
pub struct NetworkModel {
    common: Common,
    driver: Driver,
    options: NetworkOptions,
}

#[derive(Clone, Copy, Debug)]
struct Driver {
    create_network: fn(&str, &NetworkOptions, &[IpamData], &[IpamData]) -> Result<()>,
    delete_network: fn(&str) -> Result<()>,
    create_endpoint:
        fn(&str, &str, &EndpointInterface, &EndpointOptions) -> Result<EndpointInterface>,
    delete_endpoint: fn(&str, &str) -> Result<()>,
    info: fn(&str, &str) -> Result<KeyValues>,
    join: fn(&str, &str, &str, &EndpointOptions) -> Result<JoinResponse>,
    leave: fn(&str, &str) -> Result<()>,
    program: fn(&str, &str, &EndpointOptions) -> Result<()>,
    revoke: fn(&str, &str) -> Result<()>,
}

/// Asks a network driver for networks that containers join and leave, while the machine starts again and host calls fail. What it has to do:
///
/// - A network takes endpoints from its creation to its deletion, and after a restart of the machine too; others are refused.
/// - Nothing that Docker chose comes back from `create_endpoint`. An Ethernet address that comes back is one of a single interface, and no two
///   endpoints have the same.
/// - `join` names a link that is on the machine and that no other endpoint has. An endpoint that is not there cannot join.
/// - Leaving and deleting succeed whatever is there, also when the container's links went with it.
/// - A network that is deleted takes its endpoints with it, or is kept from going by them.
/// - A call that fails changes nothing, and when all is deleted nothing is left.
pub fn network<D: Network>() -> NetworkModel {
    NetworkModel {
        common: Common::new(),
        driver: Driver {
            create_network: D::create_network,
            delete_network: D::delete_network,
            create_endpoint: D::create_endpoint,
            delete_endpoint: D::delete_endpoint,
            info: D::endpoint_oper_info,
            join: D::join,
            leave: D::leave,
            program: D::program_external_connectivity,
            revoke: D::revoke_external_connectivity,
        },
        options: NetworkOptions::default(),
    }
}

common!(NetworkModel);

impl NetworkModel {
    /// Networks are created with these options.
    #[must_use]
    pub fn options(mut self, options: NetworkOptions) -> Self {
        self.options = options;
        self
    }

    /// Runs it.
    ///
    /// # Errors
    /// What was found, in words: what is wrong, and the calls that lead to it.
    pub fn check(self) -> Result<(), String> {
        explore("networks", &self.common, Step::strategy(), |steps| {
            World::play(&self, steps)
        })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Create(usize),
    Delete(usize),
    CreateEndpoint(usize, usize),
    DeleteEndpoint(usize, usize),
    Info(usize, usize),
    Join(usize, usize),
    /// Whether the container's links went with it.
    Leave(usize, usize, bool),
    Publish(usize, usize),
    Revoke(usize, usize),
    /// Whether the engine deletes the endpoints that were there.
    Reboot(bool),
}

impl Step {
    fn strategy() -> impl Strategy<Value = Self> {
        let network = || 0..NETWORKS;
        let endpoint = || (0..NETWORKS, 0..ENDPOINTS);
        prop_oneof![
            4 => network().prop_map(Self::Create),
            1 => network().prop_map(Self::Delete),
            6 => endpoint().prop_map(|(n, e)| Self::CreateEndpoint(n, e)),
            2 => endpoint().prop_map(|(n, e)| Self::DeleteEndpoint(n, e)),
            1 => endpoint().prop_map(|(n, e)| Self::Info(n, e)),
            6 => endpoint().prop_map(|(n, e)| Self::Join(n, e)),
            3 => (endpoint(), any::<bool>()).prop_map(|((n, e), gone)| Self::Leave(n, e, gone)),
            2 => endpoint().prop_map(|(n, e)| Self::Publish(n, e)),
            1 => endpoint().prop_map(|(n, e)| Self::Revoke(n, e)),
            1 => any::<bool>().prop_map(Self::Reboot),
        ]
    }
}

impl Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Create(n) => write!(f, "create network {n}"),
            Self::Delete(n) => write!(f, "delete network {n}"),
            Self::CreateEndpoint(n, e) => write!(f, "create endpoint {e} of network {n}"),
            Self::DeleteEndpoint(n, e) => write!(f, "delete endpoint {e} of network {n}"),
            Self::Info(n, e) => write!(f, "ask about endpoint {e} of network {n}"),
            Self::Join(n, e) => write!(f, "endpoint {e} joins network {n}"),
            Self::Leave(n, e, false) => write!(f, "endpoint {e} leaves network {n}"),
            Self::Leave(n, e, true) => {
                write!(f, "endpoint {e}, whose links are gone, leaves network {n}")
            }
            Self::Publish(n, e) => write!(f, "publish a port of endpoint {e} of network {n}"),
            Self::Revoke(n, e) => write!(f, "revoke the ports of endpoint {e} of network {n}"),
            Self::Reboot(false) => f.write_str("the machine starts again"),
            Self::Reboot(true) => {
                f.write_str("the machine starts again, and the engine deletes what containers had")
            }
        }
    }
}

#[derive(Default)]
struct Endpoint {
    id: String,
    joined: bool,
    /// Docker deletes one that has left, and makes another when the container starts again.
    left: bool,
    /// The key of the link that it has in its container.
    link: Option<String>,
    mac: Option<MacAddr>,
}

struct Net {
    id: String,
    endpoints: BTreeMap<usize, Endpoint>,
}

struct World<'a> {
    common: &'a Common,
    driver: Driver,
    options: &'a NetworkOptions,
    networks: BTreeMap<usize, Net>,
    /// IDs that were given: Docker gives none twice.
    ids: u32,
}

fn subnet(network: usize) -> IpNet {
    let third = u8::try_from(network).unwrap_or(u8::MAX);
    let net = Ipv4Net::new([10, 88, third, 1].into(), 24);
    net.unwrap_or_default().into()
}

fn data(network: usize) -> IpamData {
    IpamData {
        address_space: "local".into(),
        pool: Some(subnet(network).trunc()),
        gateway: Some(subnet(network)),
        aux_addresses: BTreeMap::new(),
    }
}

fn interface(network: usize, endpoint: usize) -> EndpointInterface {
    let host = u8::try_from(endpoint + 2).unwrap_or(u8::MAX);
    let address = match subnet(network).addr() {
        IpAddr::V4(gateway) => {
            let [a, b, c, _] = gateway.octets();
            Ipv4Net::new([a, b, c, host].into(), 24).ok()
        }
        IpAddr::V6(_) => None,
    };
    EndpointInterface {
        address: address.map(IpNet::V4),
        ..EndpointInterface::default()
    }
}

fn publish() -> EndpointOptions {
    let binding = PortBinding {
        transport: Transport::Tcp,
        container_address: None,
        container_port: 80,
        host_address: None,
        host_port: 0,
        host_port_end: 0,
    };
    EndpointOptions {
        port_map: vec![binding],
        ..EndpointOptions::default()
    }
}

impl<'a> World<'a> {
    fn play(model: &'a NetworkModel, steps: &[(Step, Trouble)]) -> Result<(), String> {
        let before = model.common.begin()?;
        let mut world = Self {
            common: &model.common,
            driver: model.driver,
            options: &model.options,
            networks: BTreeMap::new(),
            ids: 0,
        };
        for (step, trouble) in steps {
            world.step(*step, *trouble)?;
        }
        for network in 0..NETWORKS {
            for endpoint in 0..ENDPOINTS {
                world.leave(network, endpoint, false, Trouble::None)?;
                world.delete_endpoint(network, endpoint, Trouble::None)?;
            }
            world.delete(network, Trouble::None)?;
        }
        world.common.nothing_is_left(&before)
    }

    fn step(&mut self, step: Step, trouble: Trouble) -> Result<(), String> {
        match step {
            Step::Create(n) => self.create(n, trouble),
            Step::Delete(n) => self.delete(n, trouble),
            Step::CreateEndpoint(n, e) => self.create_endpoint(n, e, trouble),
            Step::DeleteEndpoint(n, e) => self.delete_endpoint(n, e, trouble),
            Step::Info(n, e) => self.info(n, e, trouble),
            Step::Join(n, e) => self.join(n, e, trouble),
            Step::Leave(n, e, gone) => self.leave(n, e, gone, trouble),
            Step::Publish(n, e) => self.publish(n, e, trouble),
            Step::Revoke(n, e) => self.revoke(n, e, trouble),
            Step::Reboot(deletes) => self.reboot(deletes),
        }
    }

    fn new_id(&mut self) -> String {
        self.ids += 1;
        // Docker's have 64 hex digits, and differ from the first on.
        format!("{:08x}{:056}", self.ids.wrapping_mul(0x9e37_79b1), self.ids)
    }

    /// The IDs of an endpoint; those of one that is not there are ones that nobody has.
    fn ids(&self, network: usize, endpoint: usize) -> (String, String) {
        let nobody = || "f".repeat(64);
        let net = self.networks.get(&network);
        let known = net.and_then(|net| net.endpoints.get(&endpoint));
        (
            net.map_or_else(nobody, |net| net.id.clone()),
            known.map_or_else(nobody, |known| known.id.clone()),
        )
    }

    fn known(&mut self, network: usize, endpoint: usize) -> Option<&mut Endpoint> {
        self.networks
            .get_mut(&network)?
            .endpoints
            .get_mut(&endpoint)
    }

    fn create(&mut self, network: usize, trouble: Trouble) -> Result<(), String> {
        if self.networks.contains_key(&network) {
            return Ok(());
        }
        let id = self.new_id();
        let create = self.driver.create_network;
        let answer = self
            .common
            .ask(trouble, || create(&id, self.options, &[data(network)], &[]));
        if let Err(failed) = answer {
            return failed.expect(format!("create network {network}"));
        }
        let endpoints = BTreeMap::new();
        self.networks.insert(network, Net { id, endpoints });
        Ok(())
    }

    fn delete(&mut self, network: usize, trouble: Trouble) -> Result<(), String> {
        let (id, _) = self.ids(network, 0);
        let delete = self.driver.delete_network;
        let answer = self.common.ask(trouble, || delete(&id));
        let net = self.networks.get(&network);
        match answer {
            Ok(()) => {
                let gone = self.networks.remove(&network);
                let endpoints = gone.into_iter().flat_map(|net| net.endpoints.into_values());
                let left = endpoints
                    .filter_map(|endpoint| endpoint.link)
                    .find(|key| memory(|memory| memory.machine.links.contains_key(key)));
                match left {
                    None => Ok(()),
                    Some(key) => Err(format!(
                        "network {network} was deleted, and the link {key:?} of an endpoint is there"
                    )),
                }
            }
            Err(_) if net.is_some_and(|net| !net.endpoints.is_empty()) => Ok(()),
            Err(failed) => failed.expect(format!("delete network {network}")),
        }
    }

    fn create_endpoint(
        &mut self,
        network: usize,
        index: usize,
        trouble: Trouble,
    ) -> Result<(), String> {
        if self.known(network, index).is_some() {
            return Ok(());
        }
        let (network_id, _) = self.ids(network, index);
        let (id, interface) = (self.new_id(), interface(network, index));
        let create = self.driver.create_endpoint;
        let answer = self.common.ask(trouble, || {
            create(&network_id, &id, &interface, &EndpointOptions::default())
        });
        let what = format!("create endpoint {index} of network {network}");
        let Some(net) = self.networks.get_mut(&network) else {
            return match answer {
                Ok(_) => Err(format!("{what} succeeds, and there is no such network")),
                Err(_) => Ok(()),
            };
        };
        let made = match answer {
            Ok(made) => made,
            Err(failed) => return failed.expect(what),
        };
        if made.address.is_some() {
            return Err(format!(
                "{what} answers the address that Docker chose, at which Docker fails the container's start"
            ));
        }
        if let Some(mac) = made.mac_address
            && (mac.0[0] & 1 != 0 || mac == MacAddr::ANY)
        {
            return Err(format!(
                "{what} answers {mac}, which is no interface's address"
            ));
        }
        let endpoint = Endpoint {
            id,
            mac: made.mac_address,
            ..Endpoint::default()
        };
        net.endpoints.insert(index, endpoint);
        let all = self
            .networks
            .values()
            .flat_map(|net| net.endpoints.values());
        let macs: Vec<MacAddr> = all.filter_map(|endpoint| endpoint.mac).collect();
        match macs.iter().collect::<BTreeSet<_>>().len() == macs.len() {
            true => Ok(()),
            false => Err(format!(
                "{what} answers an Ethernet address that another one has"
            )),
        }
    }

    fn delete_endpoint(
        &mut self,
        network: usize,
        index: usize,
        trouble: Trouble,
    ) -> Result<(), String> {
        let (network_id, id) = self.ids(network, index);
        let delete = self.driver.delete_endpoint;
        if let Err(failed) = self.common.ask(trouble, || delete(&network_id, &id)) {
            return failed.expect(format!("delete endpoint {index} of network {network}"));
        }
        let net = self.networks.get_mut(&network);
        let gone = net.and_then(|net| net.endpoints.remove(&index));
        match gone.and_then(|endpoint| endpoint.link) {
            Some(key) if memory(|memory| memory.machine.links.contains_key(&key)) => Err(format!(
                "endpoint {index} of network {network} was deleted, and its link {key:?} is there"
            )),
            _ => Ok(()),
        }
    }

    fn info(&mut self, network: usize, index: usize, trouble: Trouble) -> Result<(), String> {
        let (network_id, id) = self.ids(network, index);
        let info = self.driver.info;
        match self.common.ask(trouble, || info(&network_id, &id)) {
            Err(failed)
                if self.known(network, index).is_some()
                    && failed.error.code() != ErrorCode::NotImplemented =>
            {
                failed.expect(format!(
                    "asking about endpoint {index} of network {network}"
                ))
            }
            _ => Ok(()),
        }
    }

    fn join(&mut self, network: usize, index: usize, trouble: Trouble) -> Result<(), String> {
        if self
            .known(network, index)
            .is_some_and(|known| known.joined || known.left)
        {
            return Ok(());
        }
        let (network_id, id) = self.ids(network, index);
        let sandbox = format!("/var/run/docker/netns/{network}{index}");
        let join = self.driver.join;
        let what = format!("endpoint {index} joins network {network}");
        let answer = self.common.ask(trouble, || {
            join(&network_id, &id, &sandbox, &EndpointOptions::default())
        });
        let all = self
            .networks
            .values()
            .flat_map(|net| net.endpoints.values());
        let taken: BTreeSet<String> = all
            .filter(|endpoint| endpoint.id != id)
            .filter_map(|endpoint| endpoint.link.clone())
            .collect();
        let subnet = subnet(network).trunc();
        let Some(endpoint) = self.known(network, index) else {
            return match answer {
                Ok(_) => Err(format!("{what}, and there is no such endpoint")),
                Err(_) => Ok(()),
            };
        };
        let joined = match answer {
            Ok(joined) => joined,
            Err(failed) => return failed.expect(what),
        };
        if joined.dst_prefix.is_empty() {
            return Err(format!("{what}, and dst_prefix is empty"));
        }
        if joined
            .gateway
            .is_some_and(|gateway| !subnet.contains(&gateway))
        {
            return Err(format!("{what}, and the gateway is not in {subnet}"));
        }
        endpoint.joined = true;
        endpoint.link = joined.interface.map(|link| link.0.known().to_owned());
        let Some(key) = &endpoint.link else {
            return Ok(());
        };
        if taken.contains(key) {
            return Err(format!("{what} by the link {key:?} of another endpoint"));
        }
        let is_here = |link: &testing::Link| link.here;
        if !memory(|memory| memory.machine.links.get(key).is_some_and(is_here)) {
            return Err(format!(
                "{what} by the link {key:?}, which is not on the machine"
            ));
        }
        testing::move_link(key, false);
        Ok(())
    }

    fn leave(
        &mut self,
        network: usize,
        index: usize,
        gone: bool,
        trouble: Trouble,
    ) -> Result<(), String> {
        let (network_id, id) = self.ids(network, index);
        let link = self
            .known(network, index)
            .and_then(|endpoint| endpoint.link.clone());
        if gone && let Some(key) = &link {
            // It is as if the host had not looked yet, so the driver is not told.
            testing::lose(Subject::Link, key);
        }
        // One attempt is all that Docker makes.
        if let Some(endpoint) = self.known(network, index) {
            endpoint.left = true;
        }
        let leave = self.driver.leave;
        if let Err(failed) = self.common.ask(trouble, || leave(&network_id, &id)) {
            return failed.expect(format!("endpoint {index} leaves network {network}: it"));
        }
        if let Some(key) = &link {
            // Docker takes it out of the container, if the driver has not deleted it.
            testing::move_link(key, true);
        }
        if let Some(endpoint) = self.known(network, index) {
            endpoint.joined = false;
        }
        Ok(())
    }

    fn publish(&mut self, network: usize, index: usize, trouble: Trouble) -> Result<(), String> {
        if !self
            .known(network, index)
            .is_some_and(|known| known.joined && !known.left)
        {
            return Ok(());
        }
        let (network_id, id) = self.ids(network, index);
        let (program, options) = (self.driver.program, publish());
        match self
            .common
            .ask(trouble, || program(&network_id, &id, &options))
        {
            Ok(()) => Ok(()),
            Err(failed) if failed.error.code() == ErrorCode::NotImplemented => Ok(()),
            Err(failed) => failed.expect(format!(
                "publishing a port of endpoint {index} of network {network}"
            )),
        }
    }

    fn revoke(&mut self, network: usize, index: usize, trouble: Trouble) -> Result<(), String> {
        let (network_id, id) = self.ids(network, index);
        let revoke = self.driver.revoke;
        match self.common.ask(trouble, || revoke(&network_id, &id)) {
            Ok(()) => Ok(()),
            Err(failed) if failed.error.code() == ErrorCode::NotImplemented => Ok(()),
            Err(failed) => failed.expect(format!(
                "revoking the ports of endpoint {index} of network {network}"
            )),
        }
    }

    fn reboot(&mut self, deletes: bool) -> Result<(), String> {
        self.common.reboot()?;
        for network in 0..NETWORKS {
            for endpoint in 0..ENDPOINTS {
                if deletes && self.known(network, endpoint).is_some() {
                    self.delete_endpoint(network, endpoint, Trouble::None)?;
                }
            }
        }
        // No container of before comes back, and an endpoint is a container's.
        self.networks
            .values_mut()
            .for_each(|net| net.endpoints.clear());
        Ok(())
    }
}
