//! A container's place on a network: a cable between the network's bridge and the container, and its ports on this machine.

use std::{collections::BTreeSet, net::IpAddr};

use dockside_driver::{
    Error, IpNet, KeyValues, Link, MacAddr, Result, Table,
    links::{self, Settings},
    log, nat,
    network::{EndpointInterface, PortBinding},
    state,
};
use serde::{Deserialize, Serialize};

use crate::{
    network::{self, Net, unless_missing},
    ports::{self, Binding},
};

/// An endpoint.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Endpoint {
    network: String,
    addresses: Vec<IpNet>,
    /// None: it was made before this was kept.
    #[serde(default)]
    mac: Option<MacAddr>,
    /// Whether it is in a container.
    #[serde(default)]
    joined: bool,
    /// Its ports on this machine.
    #[serde(default)]
    ports: Vec<Port>,
    /// Keys of the sets of rules for them.
    #[serde(default)]
    published: Vec<String>,
}

/// A port of an endpoint on this machine.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Port {
    /// As it was chosen.
    #[serde(flatten)]
    chosen: Binding,
    /// As the engine asked for it. None: it was published before this was kept.
    #[serde(default)]
    asked: Option<Binding>,
    /// What its rules' keys have in them, counted on for each endpoint. Before this was kept it was the place in the list.
    #[serde(default)]
    number: u32,
}

impl Port {
    fn new(asked: Binding, number: u32) -> Self {
        Self {
            chosen: asked.clone(),
            asked: Some(asked),
            number,
        }
    }
}

static ENDPOINTS: Table<Endpoint> = Table::new("endpoint/");
/// The endpoints of each network.
static MEMBERS: Table<BTreeSet<String>> = Table::new("members/");
/// State: endpoints whose ports are to be published again, which takes a call of its own: rules that are in the way go with the end of this one.
const LATER: &str = "publish-later";

/// The end of an endpoint's cable that is in the bridge.
fn port(endpoint_id: &str) -> String {
    format!("port/{endpoint_id}")
}

/// The end that the container gets.
pub(crate) fn container(endpoint_id: &str) -> String {
    format!("container/{endpoint_id}")
}

/// The endpoints of a network.
pub(crate) fn members(network_id: &str) -> Result<BTreeSet<String>> {
    Ok(MEMBERS.get(network_id)?.unwrap_or_default())
}

fn change_members(network_id: &str, change: impl FnOnce(&mut BTreeSet<String>)) -> Result<()> {
    let mut members = members(network_id)?;
    change(&mut members);
    if members.is_empty() {
        return MEMBERS.remove(network_id);
    }
    MEMBERS.put(network_id, &members)
}

/// An address made of the container's IPv4 address, as Docker's own bridge makes it: whoever gets the address next gets both, and what
/// neighbours remember stays true.
fn ethernet_address(interface: &EndpointInterface) -> MacAddr {
    if let Some(mac) = interface.mac_address {
        return mac;
    }
    match interface.address.map(|address| address.addr()) {
        Some(IpAddr::V4(address)) => {
            let [a, b, c, d] = address.octets();
            MacAddr::locally_administered([0x02, 0x42, a, b, c, d])
        }
        _ => MacAddr::random(),
    }
}

/// Makes an endpoint with its cable, and returns the Ethernet address of the container's end.
pub(crate) fn create(
    network_id: &str,
    net: &Net,
    endpoint_id: &str,
    interface: &EndpointInterface,
) -> Result<MacAddr> {
    let addresses: Vec<IpNet> = [interface.address, interface.address_ipv6]
        .into_iter()
        .flatten()
        .collect();
    if let Some(endpoint) = ENDPOINTS.get(endpoint_id)? {
        let mac = endpoint.mac.unwrap_or_else(|| ethernet_address(interface));
        let is_same = endpoint.network == network_id
            && endpoint.addresses == addresses
            && interface.mac_address.is_none_or(|wanted| wanted == mac);
        return if is_same {
            Ok(mac)
        } else {
            Err(Error::already_exists(format!(
                "endpoint {endpoint_id} is there already, with other addresses"
            )))
        };
    }
    let bridge = links::open(&network::bridge(network_id))?;
    let mac = ethernet_address(interface);
    // The Ethernet address is for the first of the two.
    let settings = Settings {
        mtu: net.mtu,
        ..Settings::up().mac(mac)
    };
    let (_, port) = links::create_pair(&container(endpoint_id), &port(endpoint_id), settings)?;
    port.set_master(Some(&bridge))?;
    if !net.connected {
        port.set_isolated(true)?;
    }
    let endpoint = Endpoint {
        network: network_id.to_owned(),
        addresses,
        mac: Some(mac),
        joined: false,
        ports: Vec::new(),
        published: Vec::new(),
    };
    ENDPOINTS.put(endpoint_id, &endpoint)?;
    change_members(network_id, |members| {
        members.insert(endpoint_id.to_owned());
    })?;
    Ok(mac)
}

/// Takes an endpoint away. One that is not there is no error.
pub(crate) fn delete(endpoint_id: &str) -> Result<()> {
    let Some(mut endpoint) = Endpoint::get(endpoint_id)? else {
        return Ok(());
    };
    endpoint.withdraw_all()?;
    unless_missing(links::delete(&port(endpoint_id)))?;
    ENDPOINTS.remove(endpoint_id)?;
    change_members(&endpoint.network, |members| {
        members.remove(endpoint_id);
    })
}

/// An endpoint of this network.
pub(crate) fn find(network_id: &str, endpoint_id: &str) -> Result<Endpoint> {
    let endpoint = Endpoint::get(endpoint_id)?;
    endpoint
        .filter(|endpoint| endpoint.network == network_id)
        .ok_or_else(|| {
            Error::not_found(format!(
                "there is no endpoint {endpoint_id} on network {network_id}"
            ))
        })
}

/// Notes that an endpoint is in a container now.
pub(crate) fn join(network_id: &str, endpoint_id: &str) -> Result<()> {
    let mut endpoint = find(network_id, endpoint_id)?;
    if endpoint.joined {
        return Err(Error::already_exists(format!(
            "endpoint {endpoint_id} is in a container already"
        )));
    }
    endpoint.joined = true;
    ENDPOINTS.put(endpoint_id, &endpoint)
}

/// Takes an endpoint out of its container, with its ports.
pub(crate) fn leave(endpoint_id: &str) -> Result<()> {
    let Some(mut endpoint) = Endpoint::get(endpoint_id)? else {
        return Ok(());
    };
    endpoint.withdraw_all()?;
    endpoint.ports.clear();
    endpoint.joined = false;
    ENDPOINTS.put(endpoint_id, &endpoint)
}

/// Publishes the ports of an endpoint.
pub(crate) fn publish(network_id: &str, endpoint_id: &str, map: &[PortBinding]) -> Result<()> {
    let missing = || Error::not_found(format!("there is no endpoint {endpoint_id}"));
    let mut endpoint = Endpoint::get(endpoint_id)?.ok_or_else(missing)?;
    if map.is_empty() {
        return revoke(endpoint_id);
    }
    let net = network::find(network_id)?;
    // What is asked for again stays as it is: what is removed would be in the way of the same port until the end of the call.
    let mut before = endpoint.named(endpoint_id);
    endpoint.ports.clear();
    let next = before.iter().map(|(_, port)| port.number + 1).max();
    let numbers = next.unwrap_or_default()..;
    for (binding, number) in map.iter().zip(numbers) {
        let asked = Binding::new(binding, net.host_address);
        let is_up = |(key, port): &(String, Port)| {
            port.asked.as_ref().unwrap_or(&port.chosen) == &asked && endpoint.has_up(key)
        };
        let kept = before.iter().position(is_up);
        let port = match kept.map(|at| before.swap_remove(at).1) {
            Some(port) => Port {
                asked: Some(asked),
                ..port
            },
            None => Port::new(asked, number),
        };
        endpoint.ports.push(port);
    }
    for (key, _) in before {
        endpoint.withdraw(&key)?;
    }
    endpoint.put_up(endpoint_id)?;
    ENDPOINTS.put(endpoint_id, &endpoint)
}

/// Takes the ports of an endpoint back.
pub(crate) fn revoke(endpoint_id: &str) -> Result<()> {
    let Some(mut endpoint) = Endpoint::get(endpoint_id)? else {
        return Ok(());
    };
    if endpoint.ports.is_empty() {
        return Ok(());
    }
    endpoint.withdraw_all()?;
    endpoint.ports.clear();
    ENDPOINTS.put(endpoint_id, &endpoint)
}

impl Endpoint {
    /// An endpoint, if there is one.
    pub(crate) fn get(endpoint_id: &str) -> Result<Option<Self>> {
        ENDPOINTS.get(endpoint_id)
    }

    /// What Docker may know of it.
    pub(crate) fn info(&self) -> KeyValues {
        let ports: Vec<String> = self
            .ports
            .iter()
            .map(|port| port.chosen.to_string())
            .collect();
        let mut info = KeyValues::new();
        if !ports.is_empty() {
            info.insert("published", ports.join(", "));
        }
        info
    }

    /// Publishes those of its ports that are not.
    fn put_up(&mut self, endpoint_id: &str) -> Result<()> {
        let named = self.named(endpoint_id).into_iter().enumerate();
        let missing: Vec<_> = named.filter(|(_, (key, _))| !self.has_up(key)).collect();
        // The engine repeats its call, and most of the time with nothing new in it.
        if missing.is_empty() {
            return Ok(());
        }
        // A container may use its own port by the machine's address, and where bridges ask the packet filter, that is a frame which goes
        // back to where it came from.
        links::open(&port(endpoint_id))?.set_hairpin(true)?;
        let link = links::open(&network::bridge(&self.network))?;
        let addresses: Vec<IpAddr> = self.addresses.iter().map(IpNet::addr).collect();
        for (number, (key, _)) in missing {
            if let Some(port) = self.ports.get_mut(number) {
                let keys = ports::publish(&key, &mut port.chosen, &addresses, &link)?;
                self.published.extend(keys);
            }
        }
        Ok(())
    }

    /// Its ports, each with the key of its rules.
    fn named(&self, endpoint_id: &str) -> Vec<(String, Port)> {
        let mut ports = self.ports.clone();
        for (place, port) in (0..).zip(&mut ports) {
            if port.asked.is_none() {
                port.number = place;
            }
        }
        let named = ports.into_iter().map(|port| {
            let key = format!("publish/{endpoint_id}/{}", port.number);
            (key, port)
        });
        named.collect()
    }

    /// Whether the rules of this key, or of one below it, are there.
    fn has_up(&self, key: &str) -> bool {
        self.published.iter().any(|own| is_of(own, key))
    }

    fn withdraw(&mut self, key: &str) -> Result<()> {
        let (gone, kept) = self.published.drain(..).partition(|own| is_of(own, key));
        self.published = kept;
        let gone: Vec<String> = gone;
        gone.iter().try_for_each(|key| nat::remove(key))
    }

    fn withdraw_all(&mut self) -> Result<()> {
        self.published
            .drain(..)
            .try_for_each(|key| nat::remove(&key))
    }
}

/// Whether a key is this one, or that of another family's rules beside it.
fn is_of(own: &str, key: &str) -> bool {
    own.strip_prefix(key)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Takes endpoints away whose cable is gone. An engine that was killed never says which of its containers have ended, and their ports would
/// stay taken.
pub(crate) fn sweep() -> Result<()> {
    let here = here()?;
    for network_id in network::all()? {
        for endpoint_id in members(&network_id)? {
            if !here.contains(&port(&endpoint_id)) {
                log::info!("endpoint {endpoint_id} went with its container");
                delete(&endpoint_id)?;
            }
        }
    }
    Ok(())
}

fn here() -> Result<BTreeSet<String>> {
    let links = links::list()?.into_iter();
    Ok(links
        .filter(|link| link.here)
        .map(|link| link.key)
        .collect())
}

/// Brings the endpoints of a network back into order: cables go into a bridge that was made again, ports are published that are not.
pub(crate) fn repair(
    network_id: &str,
    net: &Net,
    new_bridge: Option<&Link>,
    rules: &BTreeSet<String>,
) -> Result<()> {
    let mut later: BTreeSet<String> = state::get(LATER)?.unwrap_or_default();
    let known = later.len();
    for endpoint_id in members(network_id)? {
        let Some(mut endpoint) = Endpoint::get(&endpoint_id)? else {
            continue;
        };
        if let Some(bridge) = new_bridge {
            let port = links::open(&port(&endpoint_id))?;
            port.set_master(Some(bridge))?;
            if !net.connected {
                port.set_isolated(true)?;
            }
        }
        let is_whole = endpoint.published.iter().all(|key| rules.contains(key));
        if new_bridge.is_some() || !is_whole {
            endpoint.withdraw_all()?;
            ENDPOINTS.put(&endpoint_id, &endpoint)?;
            if !endpoint.ports.is_empty() {
                later.insert(endpoint_id);
            }
        }
    }
    if later.len() > known {
        state::set(LATER, &later)?;
    }
    Ok(())
}

/// Publishes what a repair left for later.
pub(crate) fn catch_up() -> Result<()> {
    let later: BTreeSet<String> = state::get(LATER)?.unwrap_or_default();
    if later.is_empty() {
        return Ok(());
    }
    for endpoint_id in &later {
        if let Some(mut endpoint) = Endpoint::get(endpoint_id)?
            && endpoint.published.is_empty()
        {
            endpoint.put_up(endpoint_id)?;
            ENDPOINTS.put(endpoint_id, &endpoint)?;
        }
    }
    state::delete(LATER)
}
