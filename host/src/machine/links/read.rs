//! What the kernel has.

use std::net::IpAddr;

use ipnet::IpNet;
use netlink_packet_route::address::{AddressAttribute, AddressMessage};
use netlink_packet_route::link::{
    BridgeStpState, InfoBridge, InfoBridgePort, InfoData, InfoKind, InfoMacVlan, InfoPortData,
    InfoVxlan, LinkAttribute, LinkExtentMask, LinkFlags, LinkInfo, LinkMessage, MacVlanMode,
};
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState,
};
use netlink_packet_route::nsid::{NsidAttribute, NsidMessage};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteType,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use rustix::io::Errno;

use super::record::{BridgePort, FdbEntry, LinkKind, Mac, MacvlanMode, Neighbour, Route};
use super::socket::{Kernel, Refusal};

/// A link as the kernel describes it.
#[derive(Debug, Clone, Default)]
pub(super) struct Seen {
    pub(super) index: u32,
    pub(super) name: String,
    pub(super) alias: Option<String>,
    pub(super) group: u32,
    pub(super) kind: Option<String>,
    pub(super) mtu: u32,
    pub(super) mac: Vec<u8>,
    pub(super) master: Option<u32>,
    pub(super) up: bool,
    /// The link that this one stands on, or a virtual cable's other end.
    pub(super) lower: Option<u32>,
    /// That link is in another network namespace.
    pub(super) lower_elsewhere: bool,
    data: Option<InfoData>,
    port: Vec<InfoBridgePort>,
}

impl Seen {
    fn new(message: LinkMessage) -> Seen {
        let mut seen = Seen {
            index: message.header.index,
            up: message.header.flags.contains(LinkFlags::Up),
            ..Seen::default()
        };
        for attribute in message.attributes {
            match attribute {
                LinkAttribute::IfName(name) => seen.name = name,
                LinkAttribute::IfAlias(alias) => seen.alias = Some(alias),
                LinkAttribute::Group(group) => seen.group = group,
                LinkAttribute::Mtu(mtu) => seen.mtu = mtu,
                LinkAttribute::Address(mac) => seen.mac = mac,
                LinkAttribute::Controller(index) => seen.master = (index != 0).then_some(index),
                LinkAttribute::Link(index) => seen.lower = Some(index),
                LinkAttribute::LinkNetNsId(_) => seen.lower_elsewhere = true,
                LinkAttribute::LinkInfo(infos) => {
                    for info in infos {
                        match info {
                            LinkInfo::Kind(kind) => seen.kind = Some(kind.to_string()),
                            LinkInfo::Data(data) => seen.data = Some(data),
                            LinkInfo::PortData(InfoPortData::BridgePort(port)) => seen.port = port,
                            _ => {}
                        }
                    }
                }
                _ => {}
            }
        }
        seen
    }

    /// The options of its kind that a record may set.
    #[cfg(test)]
    pub(super) fn options(&self) -> String {
        match &self.data {
            Some(InfoData::Bridge(options)) => format!(
                "{:?}",
                options
                    .iter()
                    .filter(|one| matches!(
                        one,
                        InfoBridge::StpState(_) | InfoBridge::MulticastSnooping(_)
                    ))
                    .collect::<Vec<_>>()
            ),
            other => format!("{other:?}"),
        }
    }

    /// Whether it is a bridge that keeps VLANs apart.
    pub(super) fn filters_vlans(&self) -> bool {
        match &self.data {
            Some(InfoData::Bridge(options)) => options.contains(&InfoBridge::VlanFiltering(true)),
            _ => false,
        }
    }

    /// The options of a port, if it is one of a bridge.
    pub(super) fn port(&self) -> Option<BridgePort> {
        if self.port.is_empty() {
            return None;
        }
        let mut port = BridgePort::default();
        for one in &self.port {
            match one {
                InfoBridgePort::Isolated(on) => port.isolated = *on,
                InfoBridgePort::HairpinMode(on) => port.hairpin = *on,
                InfoBridgePort::Learning(on) => port.learning = *on,
                InfoBridgePort::UnicastFlood(on) => port.flood = *on,
                InfoBridgePort::NeighSupress(on) => port.neigh_suppress = *on,
                _ => {}
            }
        }
        Some(port)
    }

    /// Whether it is what a record says it is, options included.
    pub(super) fn is(&self, kernel: &mut Kernel, kind: &LinkKind) -> Result<bool, Refusal> {
        if self.kind.as_deref() != Some(kind.word()) {
            return Ok(false);
        }
        match (kind, &self.data) {
            (LinkKind::VethPair { .. } | LinkKind::VethPeer { .. }, _) => Ok(true),
            (
                LinkKind::Bridge {
                    stp,
                    multicast_snooping,
                    vlan_filtering,
                },
                Some(InfoData::Bridge(options)),
            ) => {
                let mut has = (false, false, false);
                for option in options {
                    match option {
                        InfoBridge::StpState(state) => has.0 = *state != BridgeStpState::Disabled,
                        InfoBridge::MulticastSnooping(on) => has.1 = *on,
                        InfoBridge::VlanFiltering(on) => has.2 = *on,
                        _ => {}
                    }
                }
                Ok(has == (*stp, *multicast_snooping, *vlan_filtering))
            }
            (LinkKind::Vxlan { .. }, Some(InfoData::Vxlan(options))) => {
                is_vxlan(kernel, kind, options)
            }
            (LinkKind::Macvlan { parent, mode }, Some(InfoData::MacVlan(options))) => {
                let Some(parent) = by_name(kernel, parent)? else {
                    return Ok(false);
                };
                // On a macvlan link, the kernel takes what that stands on.
                let on = match parent.kind.as_deref() {
                    Some("macvlan") => parent.lower,
                    _ => Some(parent.index),
                };
                let same = options.contains(&InfoMacVlan::Mode(kernels_mode(*mode)));
                Ok(same && self.lower == on && !self.lower_elsewhere)
            }
            _ => Ok(false),
        }
    }
}

fn is_vxlan(kernel: &mut Kernel, kind: &LinkKind, options: &[InfoVxlan]) -> Result<bool, Refusal> {
    let LinkKind::Vxlan {
        vni,
        port,
        local,
        remote,
        device,
        learning,
    } = kind
    else {
        return Ok(false);
    };
    let mut has = (0, 0, None, None, None, false);
    for option in options {
        match option {
            InfoVxlan::Id(id) => has.0 = *id,
            InfoVxlan::Port(port) => has.1 = *port,
            InfoVxlan::Local(ip) => has.2 = Some(IpAddr::V4(*ip)),
            InfoVxlan::Local6(ip) => has.2 = Some(IpAddr::V6(*ip)),
            InfoVxlan::Group(ip) => has.3 = Some(IpAddr::V4(*ip)),
            InfoVxlan::Group6(ip) => has.3 = Some(IpAddr::V6(*ip)),
            InfoVxlan::Link(index) => has.4 = Some(*index).filter(|index| *index != 0),
            InfoVxlan::Learning(on) => has.5 = *on,
            _ => {}
        }
    }
    let through = match device {
        None => None,
        Some(device) => match by_name(kernel, device)? {
            None => return Ok(false),
            Some(device) => Some(device.index),
        },
    };
    let given = |ip: Option<IpAddr>| ip.filter(|ip| !ip.is_unspecified());
    let has = (has.0, has.1, given(has.2), given(has.3), has.4, has.5);
    Ok(has == (*vni, *port, *local, *remote, through, *learning))
}

pub(super) fn kernels_mode(mode: MacvlanMode) -> MacVlanMode {
    match mode {
        MacvlanMode::Bridge => MacVlanMode::Bridge,
        MacvlanMode::Private => MacVlanMode::Private,
        MacvlanMode::Vepa => MacVlanMode::Vepa,
        MacvlanMode::Passthru => MacVlanMode::Passthrough,
    }
}

/// The kernel's name for what a record says a link is.
pub(super) fn kernels_kind(kind: &LinkKind) -> InfoKind {
    match kind {
        LinkKind::Bridge { .. } => InfoKind::Bridge,
        LinkKind::VethPair { .. } | LinkKind::VethPeer { .. } => InfoKind::Veth,
        LinkKind::Vxlan { .. } => InfoKind::Vxlan,
        LinkKind::Macvlan { .. } => InfoKind::MacVlan,
    }
}

fn no_statistics() -> LinkAttribute {
    LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats])
}

/// The link of a name.
pub(super) fn by_name(kernel: &mut Kernel, name: &str) -> Result<Option<Seen>, Refusal> {
    let mut message = LinkMessage::default();
    message.attributes = vec![LinkAttribute::IfName(name.to_owned()), no_statistics()];
    one(kernel, message)
}

/// The link of a number.
pub(super) fn by_index(kernel: &mut Kernel, index: u32) -> Result<Option<Seen>, Refusal> {
    let mut message = LinkMessage::default();
    message.header.index = index;
    message.attributes = vec![no_statistics()];
    one(kernel, message)
}

fn one(kernel: &mut Kernel, message: LinkMessage) -> Result<Option<Seen>, Refusal> {
    match kernel.get(RouteNetlinkMessage::GetLink(message)) {
        Ok(Some(RouteNetlinkMessage::NewLink(link))) => Ok(Some(Seen::new(link))),
        Ok(_) => Ok(None),
        Err(refusal) if refusal.errno == Errno::NODEV => Ok(None),
        Err(refusal) => Err(refusal),
    }
}

/// Every link, here or in the network namespace that has a number here.
pub(super) fn all(kernel: &mut Kernel, namespace: Option<i32>) -> Result<Vec<Seen>, Refusal> {
    let mut message = LinkMessage::default();
    message.attributes = vec![no_statistics()];
    message
        .attributes
        .extend(namespace.map(LinkAttribute::IfNetnsId));
    let links = kernel.table(RouteNetlinkMessage::GetLink(message))?;
    Ok(links
        .into_iter()
        .filter_map(|link| match link {
            RouteNetlinkMessage::NewLink(link) => Some(Seen::new(link)),
            _ => None,
        })
        .collect())
}

/// The numbers of the other network namespaces that the kernel knows here: among them each into which a link of this one was moved.
pub(super) fn namespaces(kernel: &mut Kernel) -> Result<Vec<i32>, Refusal> {
    let known = kernel.table(RouteNetlinkMessage::GetNsId(NsidMessage::default()))?;
    let mut numbers = Vec::new();
    for one in known {
        let RouteNetlinkMessage::NewNsId(one) = one else {
            continue;
        };
        for attribute in one.attributes {
            if let NsidAttribute::Id(number) = attribute
                && number >= 0
            {
                numbers.push(number);
            }
        }
    }
    Ok(numbers)
}

/// The addresses of the host on a link.
pub(super) fn addresses(kernel: &mut Kernel, index: u32) -> Result<Vec<IpNet>, Refusal> {
    let mut message = AddressMessage::default();
    message.header.index = index;
    let table = kernel.table(RouteNetlinkMessage::GetAddress(message))?;
    let mut found = Vec::new();
    for one in table {
        let RouteNetlinkMessage::NewAddress(one) = one else {
            continue;
        };
        // IPv6 has no local address beside the address, except on a point-to-point link.
        let mut ip = None;
        for attribute in &one.attributes {
            match attribute {
                AddressAttribute::Local(local) => ip = Some(*local),
                AddressAttribute::Address(address) => ip = ip.or(Some(*address)),
                _ => {}
            }
        }
        if one.header.index == index
            && let Some(net) = ip.and_then(|ip| IpNet::new(ip, one.header.prefix_len).ok())
        {
            found.push(net);
        }
    }
    Ok(found)
}

fn ip_of(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(ip) => Some(IpAddr::V4(*ip)),
        RouteAddress::Inet6(ip) => Some(IpAddr::V6(*ip)),
        _ => None,
    }
}

/// The routes of the main table through a link.
pub(super) fn routes(kernel: &mut Kernel, index: u32) -> Result<Vec<Route>, Refusal> {
    let mut found = Vec::new();
    for (family, nowhere) in [
        (AddressFamily::Inet, IpAddr::from([0; 4])),
        (AddressFamily::Inet6, IpAddr::from([0; 16])),
    ] {
        let mut message = RouteMessage::default();
        message.header.address_family = family;
        message.attributes = vec![
            RouteAttribute::Oif(index),
            RouteAttribute::Table(RouteHeader::RT_TABLE_MAIN.into()),
        ];
        let table = match kernel.table(RouteNetlinkMessage::GetRoute(message)) {
            Ok(table) => table,
            // The table of a family comes to be with its first route.
            Err(refusal) if refusal.errno == Errno::NOENT => continue,
            Err(refusal) => return Err(refusal),
        };
        for one in table {
            let RouteNetlinkMessage::NewRoute(one) = one else {
                continue;
            };
            if one.header.kind != RouteType::Unicast
                || one.header.address_family != family
                || !one.attributes.contains(&RouteAttribute::Oif(index))
            {
                continue;
            }
            let mut destination = nowhere;
            let (mut gateway, mut source, mut metric) = (None, None, 0);
            for attribute in &one.attributes {
                match attribute {
                    RouteAttribute::Destination(ip) => {
                        destination = ip_of(ip).unwrap_or(destination);
                    }
                    RouteAttribute::Gateway(ip) => gateway = ip_of(ip),
                    RouteAttribute::PrefSource(ip) => source = ip_of(ip),
                    RouteAttribute::Priority(priority) => metric = *priority,
                    _ => {}
                }
            }
            if let Ok(destination) = IpNet::new(destination, one.header.destination_prefix_length) {
                found.push(Route {
                    destination,
                    gateway,
                    source,
                    metric: Some(metric),
                    allow_default: true,
                });
            }
        }
    }
    Ok(found)
}

/// The parts of a neighbour or forwarding entry that matter here.
struct Entry {
    mac: Mac,
    to: Option<IpAddr>,
    vlan: Option<u16>,
    in_bridge: bool,
    own: bool,
    state: NeighbourState,
}

fn neighbour_ip(address: NeighbourAddress) -> Option<IpAddr> {
    match address {
        NeighbourAddress::Inet(ip) => Some(ip.into()),
        NeighbourAddress::Inet6(ip) => Some(ip.into()),
        // A forwarding entry does not say of which family the host's address is.
        NeighbourAddress::Other(bytes) => <[u8; 4]>::try_from(bytes.as_slice())
            .map(IpAddr::from)
            .or_else(|_| <[u8; 16]>::try_from(bytes.as_slice()).map(IpAddr::from))
            .ok(),
        _ => None,
    }
}

fn entries(kernel: &mut Kernel, index: u32, family: AddressFamily) -> Result<Vec<Entry>, Refusal> {
    let mut message = NeighbourMessage::default();
    message.header.family = family;
    if family == AddressFamily::Bridge {
        message.header.ifindex = index;
    } else {
        message.attributes = vec![NeighbourAttribute::IfIndex(index)];
    }
    let mut found = Vec::new();
    for one in kernel.table(RouteNetlinkMessage::GetNeighbour(message))? {
        let RouteNetlinkMessage::NewNeighbour(one) = one else {
            continue;
        };
        if one.header.ifindex != index {
            continue;
        }
        let mut entry = Entry {
            mac: [0; 6],
            to: None,
            vlan: None,
            in_bridge: false,
            own: one.header.flags.contains(NeighbourFlags::Own),
            state: one.header.state,
        };
        for attribute in one.attributes {
            match attribute {
                NeighbourAttribute::LinkLayerAddress(mac) => {
                    entry.mac = mac.try_into().unwrap_or_default();
                }
                NeighbourAttribute::Destination(to) => entry.to = neighbour_ip(to),
                NeighbourAttribute::Vlan(vlan) => entry.vlan = Some(vlan),
                NeighbourAttribute::Controller(_) => entry.in_bridge = true,
                _ => {}
            }
        }
        found.push(entry);
    }
    Ok(found)
}

/// The forwarding entries of a link that nobody learned.
pub(super) fn fdb(kernel: &mut Kernel, index: u32) -> Result<Vec<FdbEntry>, Refusal> {
    let found = entries(kernel, index, AddressFamily::Bridge)?;
    Ok(found
        .into_iter()
        .filter_map(|entry| match (entry.own, entry.in_bridge, entry.to) {
            (true, _, Some(to)) if entry.state == NeighbourState::Permanent => {
                Some(FdbEntry::Remote { mac: entry.mac, to })
            }
            (false, true, _) if entry.state == NeighbourState::Noarp => Some(FdbEntry::Port {
                mac: entry.mac,
                vlan: entry.vlan,
            }),
            _ => None,
        })
        .collect())
}

/// The permanent neighbours on a link.
pub(super) fn neighbours(kernel: &mut Kernel, index: u32) -> Result<Vec<Neighbour>, Refusal> {
    let mut found = Vec::new();
    for family in [AddressFamily::Inet, AddressFamily::Inet6] {
        for entry in entries(kernel, index, family)? {
            if let (NeighbourState::Permanent, Some(ip)) = (entry.state, entry.to) {
                found.push(Neighbour { ip, mac: entry.mac });
            }
        }
    }
    Ok(found)
}
