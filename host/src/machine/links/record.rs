//! What a network link of ours is, in full.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::edit::Edit;

/// An Ethernet address.
pub type Mac = [u8; 6];

/// How many digits of an identifier go into a name: 40 random bits do not meet by chance, and leave room below Linux's 15 bytes.
const NAME_DIGITS: usize = 10;

/// A network link that the host makes.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Minted by the host: at least ten lower-case hexadecimal digits, random. It becomes the link's alias, which proves that it is ours.
    pub id: String,
    /// The name that [`mint_name`] gives for the identifier.
    pub name: String,
    /// What it is.
    pub kind: LinkKind,
    /// Largest packet in bytes, 68 to 65535. None: what the kernel chooses.
    #[serde(default)]
    pub mtu: Option<u32>,
    /// Its Ethernet address. None: the one that [`mint_mac`] gives, which then may change.
    #[serde(default)]
    pub mac: Option<Mac>,
    /// The bridge that it is a port of.
    #[serde(default)]
    pub master: Option<String>,
    /// The bridge may be one that is not ours. The operator's grant decides this, never a driver.
    #[serde(default)]
    pub foreign_master: bool,
    /// How the bridge treats it. Needs a master. None: as the kernel does.
    #[serde(default)]
    pub port: Option<BridgePort>,
    /// Up or down.
    #[serde(default)]
    pub up: bool,
    /// Addresses of the host on the link. There may be others.
    #[serde(default)]
    pub addresses: Vec<IpNet>,
    /// Routes through the link, in the host's main table. There may be others.
    #[serde(default)]
    pub routes: Vec<Route>,
    /// Forwarding entries. There may be others, which the kernel learned.
    #[serde(default)]
    pub fdb: Vec<FdbEntry>,
    /// Permanent neighbours. There may be others, which the kernel learned.
    #[serde(default)]
    pub neighbours: Vec<Neighbour>,
}

impl Link {
    /// A link with nothing set on it, which is down.
    pub fn new(id: &str, kind: LinkKind) -> Link {
        Link {
            id: id.to_owned(),
            name: mint_name(id),
            kind,
            mtu: None,
            mac: None,
            master: None,
            foreign_master: false,
            port: None,
            up: false,
            addresses: Vec::new(),
            routes: Vec::new(),
            fdb: Vec::new(),
            neighbours: Vec::new(),
        }
    }

    /// The two ends of a virtual cable. Performing the first makes both; performing the second sets what its record says.
    pub fn veth(id: &str, peer_id: &str) -> (Link, Link) {
        let end = |id: &str| End {
            name: mint_name(id),
            id: id.to_owned(),
        };
        (
            Link::new(id, LinkKind::VethPair { peer: end(peer_id) }),
            Link::new(peer_id, LinkKind::VethPeer { peer: end(id) }),
        )
    }

    /// Whether it is an end of a virtual cable.
    pub fn is_pair(&self) -> bool {
        self.kind.peer().is_some()
    }

    /// Everything that the record says, in the order in which the kernel takes it.
    pub(super) fn edits(&self) -> Vec<Edit> {
        let mut edits = vec![Edit::Kind(self.kind.clone())];
        edits.extend(self.mac.map(Edit::Mac));
        edits.extend(self.mtu.map(Edit::Mtu));
        edits.push(Edit::Master {
            to: self.master.clone(),
            foreign: self.foreign_master,
        });
        edits.extend(self.port.clone().map(Edit::Port));
        // Routes need a link that is up, and a link that goes down loses its routes and its IPv6 addresses.
        edits.push(Edit::Up(self.up));
        edits.extend(self.addresses.iter().copied().map(Edit::AddAddress));
        edits.extend(self.neighbours.iter().cloned().map(Edit::AddNeighbour));
        edits.extend(self.routes.iter().cloned().map(Edit::AddRoute));
        edits.extend(self.fdb.iter().cloned().map(Edit::AddFdb));
        edits
    }
}

/// One end of a virtual cable, as the other end's record names it.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct End {
    /// The name of the link.
    pub name: String,
    /// The identifier of its record.
    pub id: String,
}

/// What a link is, with what belongs to its kind.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub enum LinkKind {
    /// A switch of the kernel's own.
    Bridge {
        /// Runs the spanning tree protocol of the kernel.
        #[serde(default)]
        stp: bool,
        /// Sends multicast only where it was asked for. Off: to every port.
        #[serde(default)]
        multicast_snooping: bool,
        /// Keeps VLANs apart.
        #[serde(default)]
        vlan_filtering: bool,
    },
    /// A virtual cable. Its record makes and ends both ends.
    VethPair {
        /// The other end, which has a record of its own.
        peer: End,
    },
    /// The other end of a virtual cable. Its record only sets it; ending it ends both ends.
    VethPeer {
        /// The end whose record makes the cable.
        peer: End,
    },
    /// An Ethernet segment over UDP.
    Vxlan {
        /// Network identifier, 24 bits.
        vni: u32,
        /// UDP port, 4789 by the standard.
        port: u16,
        /// The host's own address in what it sends.
        #[serde(default)]
        local: Option<IpAddr>,
        /// Where frames without a forwarding entry go: one host, or a multicast group, which needs a device.
        #[serde(default)]
        remote: Option<IpAddr>,
        /// The link of the host that it sends through.
        #[serde(default)]
        device: Option<String>,
        /// Learns from what arrives which host has which Ethernet address.
        #[serde(default)]
        learning: bool,
    },
    /// A further Ethernet address on a link of the host.
    Macvlan {
        /// The link of the host.
        parent: String,
        /// Who sees whom.
        mode: MacvlanMode,
    },
}

impl LinkKind {
    /// The kernel's word for it.
    pub fn word(&self) -> &'static str {
        match self {
            LinkKind::Bridge { .. } => "bridge",
            LinkKind::VethPair { .. } | LinkKind::VethPeer { .. } => "veth",
            LinkKind::Vxlan { .. } => "vxlan",
            LinkKind::Macvlan { .. } => "macvlan",
        }
    }

    /// The other end of a virtual cable.
    pub(super) fn peer(&self) -> Option<&End> {
        match self {
            LinkKind::VethPair { peer } | LinkKind::VethPeer { peer } => Some(peer),
            _ => None,
        }
    }
}

/// Who sees whom on one parent.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum MacvlanMode {
    /// Each sees each.
    Bridge,
    /// None sees another.
    Private,
    /// The switch behind the parent decides.
    Vepa,
    /// The parent is given away whole.
    Passthru,
}

/// How a bridge treats one of its ports.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(default)]
pub struct BridgePort {
    /// Exchanges frames with ports that are not isolated, and with the host, only.
    pub isolated: bool,
    /// Frames may leave where they came in.
    pub hairpin: bool,
    /// Senders are learned.
    pub learning: bool,
    /// Frames to unknown receivers are sent here too.
    pub flood: bool,
    /// The bridge answers for neighbours that it knows.
    pub neigh_suppress: bool,
}

impl Default for BridgePort {
    /// What the kernel sets on a new port.
    fn default() -> BridgePort {
        BridgePort {
            isolated: false,
            hairpin: false,
            learning: true,
            flood: true,
            neigh_suppress: false,
        }
    }
}

/// A route through a link of ours.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Where to, with no bits set beyond the prefix.
    pub destination: IpNet,
    /// By way of which neighbour. None: they are on the link.
    #[serde(default)]
    pub gateway: Option<IpAddr>,
    /// The host's own address in what it sends there. None: the kernel chooses.
    #[serde(default)]
    pub source: Option<IpAddr>,
    /// The lower is preferred. None: what the kernel chooses, 0 for IPv4 and 1024 for IPv6.
    #[serde(default)]
    pub metric: Option<u32>,
    /// The destination may be everything, or so much that it takes the place of the host's default route. The operator's grant decides
    /// this, never a driver.
    #[serde(default)]
    pub allow_default: bool,
}

/// A forwarding entry.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub enum FdbEntry {
    /// In a vxlan link: the host that has an Ethernet address.
    Remote {
        /// The Ethernet address. All zeros: every address without an entry. Zeros and multicast addresses may have several hosts.
        mac: Mac,
        /// The host.
        to: IpAddr,
    },
    /// In the bridge that the link is a port of: the address is behind this port.
    Port {
        /// The Ethernet address.
        mac: Mac,
        /// In this VLAN only, 1 to 4094.
        #[serde(default)]
        vlan: Option<u16>,
    },
}

/// A neighbour's Ethernet address, which the kernel neither asks for nor forgets.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct Neighbour {
    /// The neighbour.
    pub ip: IpAddr,
    /// Its Ethernet address.
    pub mac: Mac,
}

/// The name of the link with an identifier: twelve bytes.
pub fn mint_name(id: &str) -> String {
    format!("dk{}", id.chars().take(NAME_DIGITS).collect::<String>())
}

/// An Ethernet address for the link with an identifier. It is marked as given out locally, so it meets no manufacturer's.
///
/// A link that was made without an address gets another one from udev a moment later, and a bridge a new one with every port.
pub fn mint_mac(id: &str) -> Mac {
    let mut mac = [0x02, 0, 0, 0, 0, 0];
    let digits = id.chars().filter_map(|c| c.to_digit(16));
    for (place, digit) in digits.take(NAME_DIGITS).enumerate() {
        if let Some(byte) = mac.get_mut(1 + place / 2) {
            *byte = *byte << 4 | digit as u8;
        }
    }
    mac
}
