//! The grant `links`: network links and the routes over them.

use std::fmt;

use ipnet::IpNet;
use serde::de::{Deserialize, Deserializer, Error as _};

use super::place::is_link_name;
use super::refusal::{Refusal, quoted, shown};
use crate::config::units;

const TABLE: &str = "grants.links";

/// The grant `links` (`dockside:host/links`).
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
#[serde(
    default,
    deny_unknown_fields,
    rename_all = "kebab-case",
    expecting = "a table: links = { kinds = [\"bridge\", \"veth\"] }"
)]
pub struct Links {
    /// Links held at once.
    #[serde(deserialize_with = "units::count::<_, 1, 100_000>")]
    pub max: u32,
    /// What may be made.
    pub kinds: Vec<LinkKind>,
    /// Links of the machine that vxlan and macvlan links may be built on.
    pub parents: Vec<LinkName>,
    /// Destinations that routes may lead to, besides the subnets of the plugin's own addresses.
    #[serde(deserialize_with = "networks")]
    pub routes: Vec<IpNet>,
}

impl Default for Links {
    fn default() -> Self {
        Self {
            max: 1000,
            kinds: vec![LinkKind::Bridge, LinkKind::Veth],
            parents: Vec::new(),
            routes: Vec::new(),
        }
    }
}

/// A kind of link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LinkKind {
    /// A switch.
    Bridge,
    /// A cable: a pair of links.
    Veth,
    /// A tunnel to other machines.
    Vxlan,
    /// A second address on a link of the machine.
    Macvlan,
}

impl LinkKind {
    /// Its name, as the kernel writes it.
    pub fn name(self) -> &'static str {
        match self {
            LinkKind::Bridge => "bridge",
            LinkKind::Veth => "veth",
            LinkKind::Vxlan => "vxlan",
            LinkKind::Macvlan => "macvlan",
        }
    }
}

/// The name of a link of the machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkName(String);

impl LinkName {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for LinkName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for LinkName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<LinkName, D::Error> {
        let name = String::deserialize(deserializer)?;
        if is_link_name(&name) {
            return Ok(LinkName(name));
        }
        Err(D::Error::custom(format!(
            "{name:?} cannot be the name of a link: 1 to 15 characters, as `ip link` shows them, without slashes, colons and spaces"
        )))
    }
}

/// The shortest prefixes of a subnet that routes may lead to only because the plugin has an address in it: a whole private network of IPv4,
/// and what a provider gets of IPv6. With a shorter one, an address would be a default route that nobody granted.
const SHORTEST_V4: u8 = 8;
const SHORTEST_V6: u8 = 32;

impl Links {
    /// Whether one more link may be made, by a plugin that holds `held`. `parent` is a link of the machine, if it is built on one that the
    /// plugin did not make.
    ///
    /// # Errors
    /// When it may not.
    pub fn may_create(
        &self,
        kind: LinkKind,
        parent: Option<&str>,
        held: u64,
    ) -> Result<(), Refusal> {
        if !self.kinds.contains(&kind) {
            let deed = format!("may not make {} links", kind.name());
            // The whole list: in a file that says nothing of kinds, one that is added would take the place of the usual ones.
            let kinds: Vec<String> = self
                .kinds
                .iter()
                .chain([&kind])
                .map(|kind| quoted(kind.name()))
                .collect();
            let line = format!("kinds = [{}]", kinds.join(", "));
            return Err(Refusal::set(deed, line, TABLE));
        }
        if let Some(parent) = parent
            && !self.parents.iter().any(|name| name.as_str() == parent)
        {
            let deed = format!("may not build on the link {}", shown(parent));
            if !is_link_name(parent) {
                return Err(Refusal::invalid(deed, "no link can have that name"));
            }
            return Err(Refusal::add(deed, parent, "parents", TABLE));
        }
        super::room("links", held, self.max, TABLE)
    }

    /// Whether a route may lead to `destination`, where `own` are the subnets of the addresses that the plugin gave to its links.
    ///
    /// # Errors
    /// When it may not.
    pub fn may_route(&self, destination: IpNet, own: &[IpNet]) -> Result<(), Refusal> {
        let wanted = destination.trunc();
        let own = own.iter().filter(|subnet| !is_wide(subnet));
        if self
            .routes
            .iter()
            .chain(own)
            .any(|net| net.contains(&wanted))
        {
            return Ok(());
        }
        let deed = format!("may not set a route to {wanted}");
        Err(Refusal::add(deed, &wanted.to_string(), "routes", TABLE))
    }

    /// Whether a link may have an address with this prefix. The kernel adds a route to its subnet.
    ///
    /// # Errors
    /// When it may not.
    pub fn may_address(&self, address: IpNet) -> Result<(), Refusal> {
        let subnet = address.trunc();
        if !is_wide(&subnet) || self.routes.iter().any(|net| net.contains(&subnet)) {
            return Ok(());
        }
        let deed =
            format!("may not give a link the address {address}, which is a route to {subnet}");
        Err(Refusal::add(deed, &subnet.to_string(), "routes", TABLE))
    }
}

fn is_wide(subnet: &IpNet) -> bool {
    subnet.prefix_len()
        < match subnet {
            IpNet::V4(_) => SHORTEST_V4,
            IpNet::V6(_) => SHORTEST_V6,
        }
}

/// Reads networks. An address with bits behind the prefix is probably a slip.
pub(super) fn networks<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<IpNet>, D::Error> {
    struct Network(IpNet);
    impl<'de> Deserialize<'de> for Network {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Network, D::Error> {
            let text = String::deserialize(deserializer)?;
            let net: IpNet = text.parse().map_err(|_| {
                D::Error::custom(format!(
                    "{text:?} is no network: write an address and the length of its prefix, such as \"10.0.0.0/8\" or \"fd00::/8\""
                ))
            })?;
            if net.trunc() != net {
                return Err(D::Error::custom(format!(
                    "{text:?} has bits behind its prefix: write \"{}\" for the network, or \"{}\" for the one address",
                    net.trunc(),
                    IpNet::from(net.addr())
                )));
            }
            Ok(Network(net))
        }
    }
    let networks = Vec::<Network>::deserialize(deserializer)?;
    Ok(networks.into_iter().map(|Network(net)| net).collect())
}
