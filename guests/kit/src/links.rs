//! Network links (`dockside:host/links`). Needs the grant `links`.
//!
//! ```
//! use dockside_driver::links::{self, Bridge, Settings};
//!
//! let bridge = links::create("net", Bridge::default(), Settings::up())?;
//! bridge.add_address("10.0.0.1/24".parse()?)?;
//! let (port, container) = links::create_pair("port", "container", Settings::up())?;
//! port.set_master(Some(&bridge))?;
//! # Ok::<(), dockside_driver::Error>(())
//! ```
//!
//! A link is known by a key: any text. The host makes its name. What a call makes or changes is undone if the call fails; what it deletes is
//! deleted once the call has succeeded.

use ipnet::IpNet;
use std::{fmt, net::IpAddr, str::FromStr};

use crate::{Error, MacAddr, Result, sys};

/// A network link that the host made for this plugin.
#[derive(Debug)]
pub struct Link(pub(crate) sys::Link);

impl Link {
    /// The key that it was made under.
    pub fn key(&self) -> String {
        self.0.key()
    }

    /// The name that the host gave it.
    pub fn name(&self) -> String {
        self.0.name()
    }

    /// Changes the MTU, in bytes.
    pub fn set_mtu(&self, mtu: u32) -> Result<()> {
        sys::set_mtu(&self.0, mtu)
    }

    /// Switches it on or off.
    pub fn set_up(&self, up: bool) -> Result<()> {
        sys::set_up(&self.0, up)
    }

    /// Puts it into a bridge of this plugin's, or takes it out of the one that it is in.
    pub fn set_master(&self, bridge: Option<&Link>) -> Result<()> {
        sys::set_master(&self.0, bridge.map(|bridge| &bridge.0))
    }

    /// Keeps this port of a bridge from reaching other ports that are kept so too.
    pub fn set_isolated(&self, isolated: bool) -> Result<()> {
        sys::set_isolated(&self.0, isolated)
    }

    /// Lets frames leave by the port of a bridge that they came in by: a container reaches itself under an address of the machine's.
    pub fn set_hairpin(&self, hairpin: bool) -> Result<()> {
        sys::set_hairpin(&self.0, hairpin)
    }

    /// Adds an address.
    pub fn add_address(&self, address: IpNet) -> Result<()> {
        sys::add_address(&self.0, address)
    }

    /// Removes an address. One that is not there is no error.
    pub fn remove_address(&self, address: IpNet) -> Result<()> {
        sys::remove_address(&self.0, address)
    }

    /// Adds a route. Needs the destination to lie within `routes` in the grant.
    pub fn add_route(&self, route: Route) -> Result<()> {
        sys::add_route(&self.0, route)
    }

    /// Removes a route. One that is not there is no error.
    pub fn remove_route(&self, route: Route) -> Result<()> {
        sys::remove_route(&self.0, route)
    }

    /// Says behind which VXLAN end an Ethernet address is; [`MacAddr::ANY`] is for all that are not known.
    pub fn add_fdb(&self, mac: MacAddr, destination: IpAddr) -> Result<()> {
        sys::add_fdb(&self.0, mac, destination)
    }

    /// Takes that back. An entry that is not there is no error.
    pub fn remove_fdb(&self, mac: MacAddr, destination: IpAddr) -> Result<()> {
        sys::remove_fdb(&self.0, mac, destination)
    }

    /// Says which Ethernet address an IP address has.
    pub fn add_neighbour(&self, address: IpAddr, mac: MacAddr) -> Result<()> {
        sys::add_neighbour(&self.0, address, mac)
    }

    /// Takes that back. An entry that is not there is no error.
    pub fn remove_neighbour(&self, address: IpAddr) -> Result<()> {
        sys::remove_neighbour(&self.0, address)
    }
}

/// What a link is. Made of what stands for it: a [`Bridge`], a [`Vxlan`], a [`Macvlan`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A bridge.
    Bridge(Bridge),
    /// A VXLAN tunnel.
    Vxlan(Vxlan),
    /// A MACVLAN link.
    Macvlan(Macvlan),
}

/// A bridge.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bridge {
    /// Whether it speaks the spanning tree protocol.
    pub stp: bool,
    /// Whether it learns which ports want which multicast groups.
    pub multicast_snooping: bool,
}

/// A VXLAN tunnel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vxlan {
    /// Its network identifier, 24 bits.
    pub vni: u32,
    /// UDP port.
    pub port: u16,
    /// The address that it sends from; none lets the kernel choose.
    pub local: Option<IpAddr>,
    /// A single other end or a multicast group; none for entries of [`Link::add_fdb`] alone.
    pub remote: Option<IpAddr>,
    /// The link that it sends through. Needs it under `parents` in the grant.
    pub device: Option<String>,
    /// Whether it learns where addresses are from what arrives.
    pub learning: bool,
}

impl Vxlan {
    /// UDP port that IANA gave to VXLAN.
    pub const PORT: u16 = 4789;

    /// A tunnel with this network identifier of 24 bits, at [`Vxlan::PORT`], with [`Link::add_fdb`] for its other ends.
    pub const fn new(vni: u32) -> Self {
        Self {
            vni,
            port: Self::PORT,
            local: None,
            remote: None,
            device: None,
            learning: false,
        }
    }

    /// Another UDP port.
    #[must_use]
    pub fn port(self, port: u16) -> Self {
        Self { port, ..self }
    }

    /// It sends from this address.
    #[must_use]
    pub fn local(self, local: IpAddr) -> Self {
        Self {
            local: Some(local),
            ..self
        }
    }

    /// Its only other end, or a multicast group.
    #[must_use]
    pub fn remote(self, remote: IpAddr) -> Self {
        Self {
            remote: Some(remote),
            ..self
        }
    }

    /// It sends through this link of the machine. Needs it under `parents` in the grant.
    #[must_use]
    pub fn device(self, device: impl Into<String>) -> Self {
        Self {
            device: Some(device.into()),
            ..self
        }
    }

    /// It learns where addresses are from what arrives.
    #[must_use]
    pub fn learning(self) -> Self {
        Self {
            learning: true,
            ..self
        }
    }
}

/// How MACVLAN links of one parent see each other. As text: `bridge`, `private`, `vepa`, `passthru`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MacvlanMode {
    /// They reach each other directly.
    #[default]
    Bridge,
    /// Not at all.
    Private,
    /// Through the switch outside.
    Vepa,
    /// A single link takes the parent over.
    Passthru,
}

impl fmt::Display for MacvlanMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Bridge => "bridge",
            Self::Private => "private",
            Self::Vepa => "vepa",
            Self::Passthru => "passthru",
        })
    }
}

impl FromStr for MacvlanMode {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "bridge" => Ok(Self::Bridge),
            "private" => Ok(Self::Private),
            "vepa" => Ok(Self::Vepa),
            "passthru" => Ok(Self::Passthru),
            _ => Err(Error::invalid(format!(
                "{text:?} is no MACVLAN mode: say bridge, private, vepa or passthru"
            ))),
        }
    }
}

/// A link with an Ethernet address of its own on another link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Macvlan {
    /// The machine's link below it. Needs it under `parents` in the grant.
    pub parent: String,
    /// The mode.
    pub mode: MacvlanMode,
}

impl Macvlan {
    /// One on this link of the machine.
    pub fn new(parent: impl Into<String>, mode: MacvlanMode) -> Self {
        Self {
            parent: parent.into(),
            mode,
        }
    }
}

macro_rules! kinds {
    ($($kind:ident)*) => {
        $(impl From<$kind> for Kind {
            fn from(kind: $kind) -> Self {
                Self::$kind(kind)
            }
        })*
    };
}

kinds!(Bridge Vxlan Macvlan);

/// What any link can have from the beginning. By default it is switched off.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// MTU in bytes; none is the kernel's default.
    pub mtu: Option<u32>,
    /// Ethernet address; none is a random one.
    pub mac: Option<MacAddr>,
    /// Whether it is switched on.
    pub up: bool,
}

impl Settings {
    /// It is switched on.
    pub const fn up() -> Self {
        Self {
            mtu: None,
            mac: None,
            up: true,
        }
    }

    /// The same with this MTU in bytes.
    #[must_use]
    pub const fn mtu(mut self, mtu: u32) -> Self {
        self.mtu = Some(mtu);
        self
    }

    /// The same with this Ethernet address.
    #[must_use]
    pub const fn mac(mut self, mac: MacAddr) -> Self {
        self.mac = Some(mac);
        self
    }
}

/// A route through a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// Where it leads.
    pub destination: IpNet,
    /// The next hop; none means that the destination is on the link.
    pub via: Option<IpAddr>,
}

impl Route {
    /// A route to what is on the link.
    pub const fn on_link(destination: IpNet) -> Self {
        Self {
            destination,
            via: None,
        }
    }

    /// A route by a next hop.
    pub const fn via(destination: IpNet, next_hop: IpAddr) -> Self {
        Self {
            destination,
            via: Some(next_hop),
        }
    }
}

/// What the host knows of a link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkInfo {
    /// The key that it was made under.
    pub key: String,
    /// Whether it is in the host's network namespace. The end of a veth pair that a container has is not.
    pub here: bool,
}

/// Makes a link. There must be none of that key.
pub fn create(key: &str, kind: impl Into<Kind>, settings: Settings) -> Result<Link> {
    sys::create_link(key, &kind.into(), settings).map(Link)
}

/// Makes two links that are the ends of one cable. [`Network::join`](crate::Network::join) gives one of them to the container. The Ethernet
/// address of the settings is that of the first.
pub fn create_pair(key: &str, peer: &str, settings: Settings) -> Result<(Link, Link)> {
    sys::create_pair(key, peer, settings).map(|(one, other)| (Link(one), Link(other)))
}

/// Finds a link. There must be one of that key: the error is `not-found` otherwise.
pub fn open(key: &str) -> Result<Link> {
    sys::open_link(key).map(Link)
}

/// Deletes a link, and with one end of a pair the other. One that went with its container is no error.
pub fn delete(key: &str) -> Result<()> {
    sys::delete_link(key)
}

/// All links of this plugin, sorted by key.
pub fn list() -> Result<Vec<LinkInfo>> {
    Ok(sys::links())
}
