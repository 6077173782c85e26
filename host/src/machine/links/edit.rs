//! One thing that is set on a link.

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::record::{BridgePort, FdbEntry, Link, LinkKind, Mac, Neighbour, Route};

/// One thing to set on a link, or to take from it.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub enum Edit {
    /// Set what belongs to the kind: a bridge's options, what a vxlan link lets change, a macvlan link's mode.
    Kind(LinkKind),
    /// Set the Ethernet address.
    Mac(Mac),
    /// Set the largest packet, in bytes.
    Mtu(u32),
    /// Make it a port of a bridge, or of none.
    Master {
        /// The bridge.
        to: Option<String>,
        /// It may be one that is not ours.
        foreign: bool,
    },
    /// Set how the bridge treats it.
    Port(BridgePort),
    /// Bring it up, or down. Down takes its routes and IPv6 addresses with it.
    Up(bool),
    /// Add an address of the host.
    AddAddress(IpNet),
    /// Remove an address of the host.
    RemoveAddress(IpNet),
    /// Add a route.
    AddRoute(Route),
    /// Remove a route.
    RemoveRoute(Route),
    /// Add a forwarding entry.
    AddFdb(FdbEntry),
    /// Remove a forwarding entry.
    RemoveFdb(FdbEntry),
    /// Add a neighbour, in place of another Ethernet address for the same one.
    AddNeighbour(Neighbour),
    /// Remove a neighbour.
    RemoveNeighbour(IpAddr),
}

impl Edit {
    /// Writes it into the record of the link that it was done to.
    pub(super) fn write(&self, link: &mut Link) {
        match self.clone() {
            Edit::Kind(kind) => link.kind = kind,
            Edit::Mac(mac) => link.mac = Some(mac),
            Edit::Mtu(mtu) => link.mtu = Some(mtu),
            Edit::Master { to, foreign } => {
                if to.is_none() {
                    link.port = None;
                }
                link.master = to;
                link.foreign_master = foreign;
            }
            Edit::Port(port) => link.port = Some(port),
            Edit::Up(up) => link.up = up,
            Edit::AddAddress(address) => insert(&mut link.addresses, address),
            Edit::RemoveAddress(address) => link.addresses.retain(|one| *one != address),
            Edit::AddRoute(route) => {
                link.routes.retain(|one| !one.same(&route));
                link.routes.push(route);
            }
            Edit::RemoveRoute(route) => link.routes.retain(|one| !one.same(&route)),
            Edit::AddFdb(entry) => insert(&mut link.fdb, entry),
            Edit::RemoveFdb(entry) => link.fdb.retain(|one| *one != entry),
            Edit::AddNeighbour(neighbour) => {
                link.neighbours.retain(|one| one.ip != neighbour.ip);
                link.neighbours.push(neighbour);
            }
            Edit::RemoveNeighbour(ip) => link.neighbours.retain(|one| one.ip != ip),
        }
    }

    /// What a link is like on which this is not so.
    pub(super) fn lacking(&self) -> String {
        match self {
            Edit::Kind(kind) => format!("its options as a {} differ", kind.word()),
            Edit::Mac(mac) => format!("its MAC address is not {}", mac_text(mac)),
            Edit::Mtu(mtu) => format!("its MTU is not {mtu}"),
            Edit::Master { to: Some(to), .. } => format!("it is not a port of {to}"),
            Edit::Master { to: None, .. } => "it is a port of a bridge".to_owned(),
            Edit::Port(_) => "its options as a port of its bridge differ".to_owned(),
            Edit::Up(true) => "it is down".to_owned(),
            Edit::Up(false) => "it is up".to_owned(),
            Edit::AddAddress(address) => format!("it lacks the address {address}"),
            Edit::AddRoute(route) => format!("it lacks the route to {}", route.destination),
            Edit::AddFdb(entry) => format!("it lacks the {}", fdb_text(entry)),
            Edit::AddNeighbour(neighbour) => format!("it lacks the neighbour {}", neighbour.ip),
            Edit::RemoveAddress(address) => format!("it has the address {address}"),
            Edit::RemoveRoute(route) => format!("it has the route to {}", route.destination),
            Edit::RemoveFdb(entry) => format!("it has the {}", fdb_text(entry)),
            Edit::RemoveNeighbour(ip) => format!("it has the neighbour {ip}"),
        }
    }
}

/// As an order: "set the MTU to 1400".
impl fmt::Display for Edit {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Edit::Kind(kind) => write!(out, "set the options of a {}", kind.word()),
            Edit::Mac(mac) => write!(out, "set the MAC address to {}", mac_text(mac)),
            Edit::Mtu(mtu) => write!(out, "set the MTU to {mtu}"),
            Edit::Master { to: Some(to), .. } => write!(out, "make it a port of {to}"),
            Edit::Master { to: None, .. } => out.write_str("take it out of its bridge"),
            Edit::Port(_) => out.write_str("set its options as a port"),
            Edit::Up(true) => out.write_str("bring it up"),
            Edit::Up(false) => out.write_str("bring it down"),
            Edit::AddAddress(address) => write!(out, "add the address {address}"),
            Edit::RemoveAddress(address) => write!(out, "remove the address {address}"),
            Edit::AddRoute(route) => write!(out, "add the route to {}", route.destination),
            Edit::RemoveRoute(route) => write!(out, "remove the route to {}", route.destination),
            Edit::AddFdb(entry) => write!(out, "add the {}", fdb_text(entry)),
            Edit::RemoveFdb(entry) => write!(out, "remove the {}", fdb_text(entry)),
            Edit::AddNeighbour(neighbour) => write!(out, "add the neighbour {}", neighbour.ip),
            Edit::RemoveNeighbour(ip) => write!(out, "remove the neighbour {ip}"),
        }
    }
}

impl Route {
    /// Whether the kernel takes two routes through one link for the same one.
    pub(super) fn same(&self, other: &Route) -> bool {
        self.destination == other.destination
            && self.gateway == other.gateway
            && self.priority() == other.priority()
    }

    /// The metric, with the kernel's own where none is given.
    pub(super) fn priority(&self) -> u32 {
        // IP6_RT_PRIO_USER in the kernel's headers; IPv4 has no default.
        let kernels = match self.destination {
            IpNet::V4(_) => 0,
            IpNet::V6(_) => 1024,
        };
        self.metric.unwrap_or(kernels)
    }
}

fn insert<T: PartialEq>(list: &mut Vec<T>, item: T) {
    if !list.contains(&item) {
        list.push(item);
    }
}

fn fdb_text(entry: &FdbEntry) -> String {
    match entry {
        FdbEntry::Remote { mac, to } => {
            format!("forwarding entry for {} at {to}", mac_text(mac))
        }
        FdbEntry::Port { mac, vlan: None } => format!("forwarding entry for {}", mac_text(mac)),
        FdbEntry::Port {
            mac,
            vlan: Some(vlan),
        } => format!("forwarding entry for {} in VLAN {vlan}", mac_text(mac)),
    }
}

/// An Ethernet address as people write it.
pub(super) fn mac_text(mac: &[u8]) -> String {
    mac.iter()
        .map(|byte| format!("{byte:02x}"))
        .collect::<Vec<_>>()
        .join(":")
}
