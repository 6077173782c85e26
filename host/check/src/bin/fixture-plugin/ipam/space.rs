//! Where pools may lie.

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use std::net::{Ipv4Addr, Ipv6Addr};

/// The address space of this machine's networks, and that of a cluster's.
pub(super) const SPACES: [&str; 2] = ["fixture-local", "fixture-global"];

/// Where pools of the plugin's own choice come from, and how long their prefixes are.
pub(super) const FAMILIES: [Family; 2] = [
    Family {
        base: IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(10, 240, 0, 0), 20)),
        prefix: 24,
    },
    Family {
        base: IpNet::V6(Ipv6Net::new_assert(
            Ipv6Addr::new(0xfd66, 0x6978, 0x7475, 0, 0, 0, 0, 0),
            60,
        )),
        prefix: 64,
    },
];

#[derive(Debug, Clone, Copy)]
pub(super) struct Family {
    base: IpNet,
    prefix: u8,
}

impl std::fmt::Display for Family {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.base)
    }
}

/// The first pool that overlaps with none of those held.
pub(super) fn free(family: Family, held: impl Iterator<Item = IpNet> + Clone) -> Option<IpNet> {
    family
        .base
        .subnets(family.prefix)
        .ok()?
        .find(|net| !held.clone().any(|other| overlap(*net, other)))
}

pub(super) fn first(family: Family) -> Result<IpNet, String> {
    let mut subnets = family
        .base
        .subnets(family.prefix)
        .map_err(|error| error.to_string())?;
    subnets.next().ok_or_else(|| "no pool".into())
}

pub(super) fn overlap(one: IpNet, other: IpNet) -> bool {
    one.contains(&other) || other.contains(&one)
}

/// A pool as the engine may ask for it: without host bits, and of addresses that a container's interface can have.
pub(super) fn subnet(text: &str) -> Result<IpNet, String> {
    let net: IpNet = text
        .parse()
        .map_err(|_| format!("{text:?} is no subnet such as 10.1.2.0/24"))?;
    if net != net.trunc() {
        return Err(format!(
            "{text} has bits behind its prefix: {}",
            net.trunc()
        ));
    }
    let first = net.network();
    let unusable = match net {
        IpNet::V4(net) => net.prefix_len() == 0 || net.network().octets()[0] == 0,
        IpNet::V6(net) => net.prefix_len() < 8 || net.network().to_ipv4_mapped().is_some(),
    };
    if unusable || first.is_loopback() || first.is_multicast() {
        return Err(format!("no interface can have an address of {net}"));
    }
    Ok(net)
}

/// A pool from a text with bits behind its prefix.
pub(super) fn careless(text: &str) -> Option<IpNet> {
    let net: IpNet = text.parse().ok()?;
    subnet(&net.trunc().to_string()).ok()
}

/// The subnet in a pool's ID.
pub(super) fn of_id(id: &str) -> Option<IpNet> {
    id.split_once('/')?.1.parse().ok()
}
