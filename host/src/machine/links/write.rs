//! Sets one thing on a link.

use std::net::IpAddr;

use ipnet::IpNet;
use netlink_packet_core::{NLM_F_APPEND, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE};
use netlink_packet_route::address::{AddressAttribute, AddressFlags, AddressMessage};
use netlink_packet_route::link::{
    BridgeStpState, InfoBridge, InfoBridgePort, InfoData, InfoMacVlan, InfoPortData, InfoPortKind,
    InfoVxlan, LinkAttribute, LinkFlags, LinkInfo, LinkMessage,
};
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState,
};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use rustix::io::Errno;

use super::edit::Edit;
use super::read::{self, Seen};
use super::record::{BridgePort, FdbEntry, LinkKind, Neighbour, Route};
use super::socket::{Kernel, Refusal};
use super::state::{State, id_of};

/// Sets it. That it is so already is no error.
pub(super) fn apply(kernel: &mut Kernel, link: &Seen, edit: &Edit) -> Result<(), Refusal> {
    let index = link.index;
    let refusal = match order(kernel, link, edit) {
        // The kernel passes over an option that it does not change, rather than refuse it.
        Ok(()) if matches!(edit, Edit::Kind(_)) => return changed(kernel, index, edit),
        Ok(()) => return Ok(()),
        Err(refusal) => refusal,
    };
    let gone = matches!(refusal.errno, |Errno::SRCH| Errno::NOENT
        | Errno::ADDRNOTAVAIL
        | Errno::NODEV);
    let removing = matches!(
        edit,
        Edit::RemoveAddress(_)
            | Edit::RemoveRoute(_)
            | Edit::RemoveFdb(_)
            | Edit::RemoveNeighbour(_)
    );
    if removing && gone {
        return Ok(());
    }
    // Whether it is the same that is there already is for the tables to say: the kernel does not.
    if refusal.errno == Errno::EXIST
        && let Some(now) = read::by_index(kernel, index)?
        && State::of(now).holds(kernel, edit)?
    {
        return Ok(());
    }
    Err(refusal)
}

fn changed(kernel: &mut Kernel, index: u32, edit: &Edit) -> Result<(), Refusal> {
    if let Some(now) = read::by_index(kernel, index)?
        && State::of(now).holds(kernel, edit)?
    {
        return Ok(());
    }
    let text =
        "the kernel does not change this on a link that is there, so the link must be made anew";
    Err(Refusal::new(Errno::INVAL, text))
}

fn order(kernel: &mut Kernel, link: &Seen, edit: &Edit) -> Result<(), Refusal> {
    let index = link.index;
    match edit {
        Edit::Kind(kind) => {
            let mut message = LinkMessage::default();
            message.header.index = index;
            message.attributes = kind_attributes(kernel, kind, Some(link))?;
            kernel.change(RouteNetlinkMessage::NewLink(message), 0)
        }
        Edit::Mac(mac) => set(kernel, index, LinkAttribute::Address(mac.to_vec())),
        Edit::Mtu(mtu) => set(kernel, index, LinkAttribute::Mtu(*mtu)),
        Edit::Master { to: None, .. } => set(kernel, index, LinkAttribute::Controller(0)),
        Edit::Master {
            to: Some(to),
            foreign,
        } => {
            let bridge = bridge(kernel, to, *foreign)?;
            set(kernel, index, LinkAttribute::Controller(bridge))
        }
        Edit::Port(port) => {
            let mut message = LinkMessage::default();
            message.header.index = index;
            message.attributes = vec![LinkAttribute::LinkInfo(vec![
                LinkInfo::PortKind(InfoPortKind::Bridge),
                LinkInfo::PortData(InfoPortData::BridgePort(port_options(port))),
            ])];
            kernel.change(RouteNetlinkMessage::NewLink(message), 0)
        }
        Edit::Up(up) => {
            let mut message = LinkMessage::default();
            message.header.index = index;
            message.header.change_mask = LinkFlags::Up;
            if *up {
                message.header.flags = LinkFlags::Up;
            }
            kernel.change(RouteNetlinkMessage::SetLink(message), 0)
        }
        Edit::AddAddress(address) => {
            if matches!(address, IpNet::V6(_)) {
                enable_ipv6(&link.name)?;
            }
            let message = RouteNetlinkMessage::NewAddress(address_message(index, address));
            kernel.change(message, NLM_F_CREATE | NLM_F_EXCL)
        }
        Edit::RemoveAddress(address) => {
            let message = RouteNetlinkMessage::DelAddress(address_message(index, address));
            kernel.change(message, 0)
        }
        Edit::AddRoute(route) => {
            let message = RouteNetlinkMessage::NewRoute(route_message(index, route));
            kernel.change(message, NLM_F_CREATE | NLM_F_EXCL)
        }
        Edit::RemoveRoute(route) => {
            let mut message = route_message(index, route);
            // Whoever set it.
            message.header.protocol = RouteProtocol::Unspec;
            message.header.scope = RouteScope::NoWhere;
            kernel.change(RouteNetlinkMessage::DelRoute(message), 0)
        }
        Edit::AddFdb(entry) => {
            // Only these addresses may have several hosts, and the kernel takes the flag for no other.
            let several = match entry {
                FdbEntry::Remote { mac, .. } => {
                    *mac == [0; 6] || mac.first().is_some_and(|b| b & 1 == 1)
                }
                FdbEntry::Port { .. } => false,
            };
            let flag = if several { NLM_F_APPEND } else { NLM_F_EXCL };
            let message = RouteNetlinkMessage::NewNeighbour(fdb_message(index, entry));
            kernel.change(message, NLM_F_CREATE | flag)
        }
        Edit::RemoveFdb(entry) => {
            let message = RouteNetlinkMessage::DelNeighbour(fdb_message(index, entry));
            kernel.change(message, 0)
        }
        Edit::AddNeighbour(Neighbour { ip, mac }) => {
            let mut message = neighbour_message(index, ip);
            message.header.state = NeighbourState::Permanent;
            message
                .attributes
                .push(NeighbourAttribute::LinkLayerAddress(mac.to_vec()));
            let message = RouteNetlinkMessage::NewNeighbour(message);
            kernel.change(message, NLM_F_CREATE | NLM_F_REPLACE)
        }
        Edit::RemoveNeighbour(ip) => {
            let message = RouteNetlinkMessage::DelNeighbour(neighbour_message(index, ip));
            kernel.change(message, 0)
        }
    }
}

/// Sets one attribute of a link.
pub(super) fn set(
    kernel: &mut Kernel,
    index: u32,
    attribute: LinkAttribute,
) -> Result<(), Refusal> {
    let mut message = LinkMessage::default();
    message.header.index = index;
    message.attributes = vec![attribute];
    kernel.change(RouteNetlinkMessage::SetLink(message), 0)
}

/// The number of a link of the host that must be there.
fn existing(kernel: &mut Kernel, name: &str) -> Result<Seen, Refusal> {
    read::by_name(kernel, name)?
        .ok_or_else(|| Refusal::new(Errno::NODEV, format!("there is no network link {name}")))
}

fn bridge(kernel: &mut Kernel, name: &str, foreign: bool) -> Result<u32, Refusal> {
    let bridge = existing(kernel, name)?;
    if bridge.kind.as_deref() != Some("bridge") {
        return Err(Refusal::new(Errno::INVAL, format!("{name} is no bridge")));
    }
    if !foreign && id_of(&bridge).is_none() {
        return Err(Refusal::new(
            Errno::INVAL,
            format!(
                "the bridge {name} was not made by dockside, and the plugin's grant names no such bridge"
            ),
        ));
    }
    Ok(bridge.index)
}

/// What makes a link of a kind, apart from a virtual cable's other end, or changes one that is there.
pub(super) fn kind_attributes(
    kernel: &mut Kernel,
    kind: &LinkKind,
    there: Option<&Seen>,
) -> Result<Vec<LinkAttribute>, Refusal> {
    let mut info = vec![LinkInfo::Kind(read::kernels_kind(kind))];
    let mut attributes = Vec::new();
    match kind {
        LinkKind::VethPair { .. } | LinkKind::VethPeer { .. } => {}
        LinkKind::Bridge {
            stp,
            multicast_snooping,
            vlan_filtering,
        } => {
            let stp = if *stp {
                BridgeStpState::KernelStp
            } else {
                BridgeStpState::Disabled
            };
            let mut options = vec![
                InfoBridge::StpState(stp),
                InfoBridge::MulticastSnooping(*multicast_snooping),
            ];
            // A kernel without VLANs on bridges refuses the option, even to be told no.
            if *vlan_filtering || there.is_some_and(Seen::filters_vlans) {
                options.push(InfoBridge::VlanFiltering(*vlan_filtering));
            }
            info.push(LinkInfo::Data(InfoData::Bridge(options)));
        }
        LinkKind::Macvlan { parent, mode } => {
            attributes.push(LinkAttribute::Link(existing(kernel, parent)?.index));
            let mode = InfoMacVlan::Mode(read::kernels_mode(*mode));
            info.push(LinkInfo::Data(InfoData::MacVlan(vec![mode])));
        }
        LinkKind::Vxlan {
            vni,
            port,
            local,
            remote,
            device,
            learning,
        } => {
            let mut options = vec![InfoVxlan::Id(*vni), InfoVxlan::Learning(*learning)];
            // The kernel takes no port for a link that is there, not even the one that it has.
            options.extend(there.is_none().then_some(InfoVxlan::Port(*port)));
            options.extend(local.map(|ip| match ip {
                IpAddr::V4(ip) => InfoVxlan::Local(ip),
                IpAddr::V6(ip) => InfoVxlan::Local6(ip),
            }));
            options.extend(remote.map(|ip| match ip {
                IpAddr::V4(ip) => InfoVxlan::Group(ip),
                IpAddr::V6(ip) => InfoVxlan::Group6(ip),
            }));
            if let Some(device) = device {
                options.push(InfoVxlan::Link(existing(kernel, device)?.index));
            }
            info.push(LinkInfo::Data(InfoData::Vxlan(options)));
        }
    }
    attributes.push(LinkAttribute::LinkInfo(info));
    Ok(attributes)
}

fn port_options(port: &BridgePort) -> Vec<InfoBridgePort> {
    vec![
        InfoBridgePort::Isolated(port.isolated),
        InfoBridgePort::HairpinMode(port.hairpin),
        InfoBridgePort::Learning(port.learning),
        InfoBridgePort::UnicastFlood(port.flood),
        InfoBridgePort::NeighSupress(port.neigh_suppress),
    ]
}

fn family(ip: &IpAddr) -> AddressFamily {
    match ip {
        IpAddr::V4(_) => AddressFamily::Inet,
        IpAddr::V6(_) => AddressFamily::Inet6,
    }
}

/// Hosts that turn IPv6 off do so for new links; one that is given an IPv6 address is meant to have it.
fn enable_ipv6(name: &str) -> Result<(), Refusal> {
    let path = format!("/proc/sys/net/ipv6/conf/{name}/disable_ipv6");
    let refused = |error: std::io::Error| {
        Refusal::new(
            Errno::from_io_error(&error).unwrap_or(Errno::IO),
            format!("IPv6 is off on the link, and {path} cannot be changed"),
        )
    };
    match std::fs::read_to_string(&path) {
        Ok(now) if now.trim() == "0" => Ok(()),
        Ok(_) => std::fs::write(&path, "0").map_err(refused),
        // The kernel then refuses the address, and says why.
        Err(_) => Ok(()),
    }
}

fn address_message(index: u32, address: &IpNet) -> AddressMessage {
    let ip = address.addr();
    let mut message = AddressMessage::default();
    message.header.family = family(&ip);
    message.header.prefix_len = address.prefix_len();
    message.header.index = index;
    message.attributes = vec![AddressAttribute::Local(ip), AddressAttribute::Address(ip)];
    if ip.is_ipv6() {
        // On a bridge without a port that is up, an address would stay tentative, and unusable, until the first container comes.
        message
            .attributes
            .push(AddressAttribute::Flags(AddressFlags::Nodad));
    }
    message
}

fn route_address(ip: IpAddr) -> RouteAddress {
    match ip {
        IpAddr::V4(ip) => RouteAddress::Inet(ip),
        IpAddr::V6(ip) => RouteAddress::Inet6(ip),
    }
}

fn route_message(index: u32, route: &Route) -> RouteMessage {
    let destination = route.destination;
    let mut message = RouteMessage::default();
    message.header.address_family = family(&destination.addr());
    message.header.destination_prefix_length = destination.prefix_len();
    message.header.table = RouteHeader::RT_TABLE_MAIN;
    message.header.protocol = RouteProtocol::Static;
    message.header.kind = RouteType::Unicast;
    message.header.scope = match (destination, route.gateway) {
        (IpNet::V4(_), None) => RouteScope::Link,
        _ => RouteScope::Universe,
    };
    message.attributes = vec![
        RouteAttribute::Oif(index),
        RouteAttribute::Priority(route.priority()),
    ];
    if destination.prefix_len() > 0 {
        let ip = route_address(destination.addr());
        message.attributes.push(RouteAttribute::Destination(ip));
    }
    let gateway = route.gateway.map(route_address);
    let source = route.source.map(route_address);
    message
        .attributes
        .extend(gateway.map(RouteAttribute::Gateway));
    message
        .attributes
        .extend(source.map(RouteAttribute::PrefSource));
    message
}

fn neighbour_address(ip: &IpAddr) -> NeighbourAttribute {
    NeighbourAttribute::Destination(match ip {
        IpAddr::V4(ip) => NeighbourAddress::Inet(*ip),
        IpAddr::V6(ip) => NeighbourAddress::Inet6(*ip),
    })
}

fn neighbour_message(index: u32, ip: &IpAddr) -> NeighbourMessage {
    let mut message = NeighbourMessage::default();
    message.header.family = family(ip);
    message.header.ifindex = index;
    message.attributes = vec![neighbour_address(ip)];
    message
}

fn fdb_message(index: u32, entry: &FdbEntry) -> NeighbourMessage {
    let mut message = NeighbourMessage::default();
    message.header.family = AddressFamily::Bridge;
    message.header.ifindex = index;
    match entry {
        FdbEntry::Remote { mac, to } => {
            message.header.flags = NeighbourFlags::Own;
            message.header.state = NeighbourState::Permanent;
            message.attributes = vec![
                NeighbourAttribute::LinkLayerAddress(mac.to_vec()),
                neighbour_address(to),
            ];
        }
        FdbEntry::Port { mac, vlan } => {
            message.header.flags = NeighbourFlags::Controller;
            message.header.state = NeighbourState::Noarp;
            message.attributes = vec![NeighbourAttribute::LinkLayerAddress(mac.to_vec())];
            message
                .attributes
                .extend(vlan.map(NeighbourAttribute::Vlan));
        }
    }
    message
}
