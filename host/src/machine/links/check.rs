//! What is refused before the kernel is asked.

use std::net::IpAddr;

use ipnet::IpNet;

use super::edit::Edit;
use super::record::{FdbEntry, Link, LinkKind, Mac, MacvlanMode, mint_name};
use crate::machine::{ErrorKind, MachineError};

/// The least that IPv4 works with (RFC 791), and the most that fits into an IP packet.
const MTU: std::ops::RangeInclusive<u32> = 68..=65535;
/// The least that IPv6 works with (RFC 8200). Below it the kernel takes the link's IPv6 addresses away.
const MTU_IPV6: u32 = 1280;
/// IFNAMSIZ of the kernel, without the closing zero.
const NAME_BYTES: usize = 15;
type Checked = Result<(), MachineError>;

fn invalid(text: impl Into<String>) -> MachineError {
    MachineError::new(ErrorKind::Invalid, text)
}

/// What it takes to find a link, and to end it: what is on it no longer matters then.
pub(super) fn identity(link: &Link) -> Checked {
    minted(&link.name, &link.id)?;
    match link.kind.peer() {
        Some(peer) => minted(&peer.name, &peer.id),
        None => Ok(()),
    }
}

/// Everything that a record says.
pub(super) fn link(link: &Link) -> Checked {
    minted(&link.name, &link.id)?;
    if link.master.is_none() && link.port.is_some() {
        return Err(invalid(format!(
            "options as a port need a bridge, and {} is to be a port of none",
            link.name
        )));
    }
    if link.master.as_ref() == Some(&link.name) {
        return Err(invalid(format!("{} cannot be a port of itself", link.name)));
    }
    let ipv6 = link.addresses.iter().any(|one| matches!(one, IpNet::V6(_)));
    if let Some(mtu) = link.mtu.filter(|mtu| ipv6 && *mtu < MTU_IPV6) {
        return Err(invalid(format!(
            "an MTU of {mtu} is too small for IPv6, which needs {MTU_IPV6}"
        )));
    }
    link.edits()
        .iter()
        .try_for_each(|one| edit(&link.kind, one))
}

/// One thing to set on a link of a kind.
pub(super) fn edit(on: &LinkKind, edit: &Edit) -> Checked {
    match edit {
        Edit::Kind(to) => {
            kind(to)?;
            becomes(on, to)
        }
        Edit::Mac(mac) => {
            let passthru = MacvlanMode::Passthru;
            if matches!(on, LinkKind::Macvlan { mode, .. } if *mode == passthru) {
                return Err(invalid(
                    "a macvlan link in the mode passthru has its parent's MAC address: another one would change the parent",
                ));
            }
            unicast(mac)
        }
        Edit::Mtu(mtu) if !MTU.contains(mtu) => Err(invalid(format!(
            "an MTU of {mtu} bytes is not possible: it must be {} to {}",
            MTU.start(),
            MTU.end()
        ))),
        Edit::Master {
            to: Some(bridge), ..
        } => name(bridge),
        Edit::AddAddress(one) | Edit::RemoveAddress(one) => address(one),
        Edit::AddRoute(one) | Edit::RemoveRoute(one) => route(one),
        Edit::AddFdb(one) | Edit::RemoveFdb(one) => fdb(on, one),
        Edit::AddNeighbour(one) => {
            host(&one.ip)?;
            unicast(&one.mac)
        }
        Edit::RemoveNeighbour(ip) => host(ip),
        Edit::Mtu(_) | Edit::Master { to: None, .. } | Edit::Port(_) | Edit::Up(_) => Ok(()),
    }
}

/// Whether the kernel changes a link of one kind into the other.
fn becomes(from: &LinkKind, to: &LinkKind) -> Checked {
    let fixed = match (from, to) {
        (LinkKind::Bridge { .. }, LinkKind::Bridge { .. }) => true,
        (LinkKind::Macvlan { parent: from, .. }, LinkKind::Macvlan { parent: to, .. }) => {
            from == to
        }
        (
            LinkKind::Vxlan {
                vni, port, local, ..
            },
            LinkKind::Vxlan {
                vni: to_vni,
                port: to_port,
                local: to_local,
                ..
            },
        ) => (vni, port, local) == (to_vni, to_port, to_local),
        _ => from == to,
    };
    if fixed {
        return Ok(());
    }
    Err(invalid(format!(
        "this {} cannot become that {}: make a new link",
        from.word(),
        to.word()
    )))
}

fn kind(kind: &LinkKind) -> Checked {
    match kind {
        LinkKind::Bridge { .. } => Ok(()),
        LinkKind::VethPair { peer } | LinkKind::VethPeer { peer } => minted(&peer.name, &peer.id),
        LinkKind::Macvlan { parent, .. } => name(parent),
        LinkKind::Vxlan {
            vni,
            port,
            local,
            remote,
            device,
            ..
        } => {
            if *vni >= 1 << 24 {
                return Err(invalid(format!(
                    "{vni} is no VXLAN network identifier: they have 24 bits"
                )));
            }
            if *port == 0 {
                return Err(invalid(
                    "0 is no UDP port for VXLAN: the standard's is 4789",
                ));
            }
            if let Some(device) = device {
                name(device)?;
            }
            if let Some(local) = local {
                host(local)?;
            }
            let Some(remote) = remote else { return Ok(()) };
            if remote.is_multicast() && device.is_none() {
                return Err(invalid(format!(
                    "VXLAN to the multicast group {remote} needs the device to send through"
                )));
            }
            if !remote.is_multicast() {
                host(remote)?;
            }
            if local.is_some_and(|local| local.is_ipv4() != remote.is_ipv4()) {
                return Err(invalid(format!(
                    "VXLAN to {remote} needs a local address of the same family"
                )));
            }
            Ok(())
        }
    }
}

/// A name that the host minted for an identifier.
fn minted(name: &str, id: &str) -> Checked {
    let digits = id
        .bytes()
        .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    // 128 bits are twice what anyone mints, and an alias has 255 bytes at most.
    if !digits || !(10..=64).contains(&id.len()) || name != mint_name(id) {
        return Err(invalid(format!(
            "{:?} is not the name that belongs to the link {:?}",
            shortened(name),
            shortened(id)
        )));
    }
    Ok(())
}

/// The name of a link of the host that somebody gave.
pub(super) fn name(name: &str) -> Checked {
    // dev_valid_name() of the kernel, and no control characters, which only serve to deceive a reader.
    let bad = |c: char| c == '/' || c == ':' || c.is_whitespace() || c.is_control();
    if name.is_empty()
        || name.len() > NAME_BYTES
        || matches!(name, "." | "..")
        || name.contains(bad)
    {
        return Err(invalid(format!(
            "{:?} is not a name of a network link: those have 1 to {NAME_BYTES} bytes without '/', ':' and white space",
            shortened(name)
        )));
    }
    Ok(())
}

fn shortened(text: &str) -> String {
    text.chars().take(64).collect()
}

fn unicast(mac: &Mac) -> Checked {
    let [first, ..] = *mac;
    if *mac == [0; 6] || first & 1 == 1 {
        return Err(invalid(format!(
            "{} is not the MAC address of one interface",
            super::edit::mac_text(mac)
        )));
    }
    Ok(())
}

/// The shortest prefix that leaves the host's default route its meaning, which two routes to 0.0.0.0/1 and 128.0.0.0/1 do not. 10.0.0.0/8
/// and fc00::/7 are the largest networks that a site has of its own.
fn widest(ip: &IpAddr) -> u8 {
    match ip {
        IpAddr::V4(_) => 8,
        IpAddr::V6(_) => 7,
    }
}

/// An address that one host can have.
fn host(ip: &IpAddr) -> Checked {
    let broadcast = matches!(ip, IpAddr::V4(ip) if ip.is_broadcast());
    let mapped = matches!(ip, IpAddr::V6(ip) if ip.to_ipv4_mapped().is_some());
    if ip.is_unspecified() || ip.is_multicast() || ip.is_loopback() || broadcast || mapped {
        return Err(invalid(format!(
            "{ip} is not an address that a host on a network can have"
        )));
    }
    Ok(())
}

fn address(address: &IpNet) -> Checked {
    host(&address.addr())?;
    // A network with two addresses or one has neither an address of its own nor a broadcast address.
    let bits = address.prefix_len();
    if bits < widest(&address.addr()) {
        return Err(invalid(format!(
            "{address} would take the place of the host's default route: no network is that large"
        )));
    }
    let small = address.max_prefix_len() - bits < 2;
    let taken = match address {
        IpNet::V4(net) => net.addr() == net.network() || net.addr() == net.broadcast(),
        // The all-zeros address is the routers' anycast address, which a gateway may well use.
        IpNet::V6(_) => false,
    };
    if taken && !small {
        return Err(invalid(format!(
            "{address} is a network, or its broadcast address, and not an address of a host"
        )));
    }
    Ok(())
}

fn route(route: &super::record::Route) -> Checked {
    let to = route.destination;
    if to != to.trunc() {
        return Err(invalid(format!(
            "{to} is an address, and a route leads to a network: {}",
            to.trunc()
        )));
    }
    if to.addr().is_loopback() {
        return Err(invalid(format!(
            "{to} is the host's own, so no route leads there"
        )));
    }
    if to.prefix_len() < widest(&to.addr()) && !route.allow_default {
        return Err(invalid(format!(
            "a route to {to} would take the place of the host's default route, which the plugin's grant does not allow"
        )));
    }
    for ip in route.gateway.iter().chain(route.source.iter()) {
        host(ip)?;
        if ip.is_ipv4() != to.addr().is_ipv4() {
            return Err(invalid(format!(
                "{ip} and the destination {to} are of different families"
            )));
        }
    }
    Ok(())
}

fn fdb(on: &LinkKind, entry: &FdbEntry) -> Checked {
    match entry {
        FdbEntry::Remote { to, .. } => {
            if !matches!(on, LinkKind::Vxlan { .. }) {
                return Err(invalid(format!(
                    "a forwarding entry that names a host belongs on a vxlan link, and this is a {}",
                    on.word()
                )));
            }
            host(to)
        }
        FdbEntry::Port { mac, vlan } => {
            unicast(mac)?;
            if let Some(vlan) = vlan.filter(|vlan| !(1..=4094).contains(vlan)) {
                return Err(invalid(format!("{vlan} is no VLAN: they are 1 to 4094")));
            }
            Ok(())
        }
    }
}
