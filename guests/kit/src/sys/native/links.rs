use ipnet::IpNet;
use std::net::IpAddr;

use super::{Machine, Memory, faults, memory, refuse};
use crate::{
    MacAddr, Refusal, Result,
    links::{Kind, LinkInfo, Route, Settings},
    testing,
};

/// The largest VXLAN network identifier.
const MAX_VNI: u32 = 0x00ff_ffff;

#[derive(Debug)]
pub(crate) struct Link {
    key: String,
    name: String,
}

impl Link {
    pub(crate) fn key(&self) -> String {
        faults::infallible("Link::key", || self.key.clone())
    }

    pub(crate) fn name(&self) -> String {
        faults::infallible("Link::name", || self.name.clone())
    }

    /// The key, without asking the host.
    pub(crate) fn known(&self) -> &str {
        &self.key
    }

    fn of(key: &str, link: &testing::Link) -> Self {
        Self {
            key: key.to_owned(),
            name: link.name.clone(),
        }
    }
}

impl Machine {
    pub(super) fn link(&mut self, key: &str) -> Result<&mut testing::Link> {
        match self.links.get_mut(key) {
            Some(link) => Ok(link),
            None => refuse(Refusal::NotFound, format!("there is no link for {key:?}")),
        }
    }

    fn here(&mut self, key: &str) -> Result<&mut testing::Link> {
        match self.link(key)? {
            link if link.here => Ok(link),
            _ => refuse(
                Refusal::NotFound,
                format!("the link {key:?} is not on this machine now"),
            ),
        }
    }

    pub(crate) fn forget_link(&mut self, key: &str) {
        let peer = self.links.remove(key).and_then(|link| link.peer);
        for gone in peer.iter().map(String::as_str).chain([key]) {
            self.links.remove(gone);
            for link in self.links.values_mut() {
                link.master.take_if(|master| master == gone);
            }
        }
    }
}

fn add(
    memory: &mut Memory,
    key: &str,
    kind: Option<&Kind>,
    peer: Option<&str>,
    settings: Settings,
) -> Result<Link> {
    if memory.machine.links.contains_key(key) {
        return refuse(
            Refusal::AlreadyExists,
            format!("there is a link for {key:?} already"),
        );
    }
    let link = testing::Link {
        name: format!("dock{}", memory.next()),
        kind: kind.cloned(),
        peer: peer.map(str::to_owned),
        mtu: settings.mtu,
        mac: settings.mac.unwrap_or_else(MacAddr::random),
        up: settings.up,
        here: true,
        master: None,
        isolated: false,
        hairpin: false,
        addresses: Vec::new(),
        routes: Vec::new(),
        fdb: Vec::new(),
        neighbours: Vec::new(),
    };
    let handle = Link::of(key, &link);
    memory.machine.links.insert(key.to_owned(), link);
    Ok(handle)
}

pub(crate) fn create_link(key: &str, kind: &Kind, settings: Settings) -> Result<Link> {
    match kind {
        Kind::Vxlan(vxlan) if vxlan.vni > MAX_VNI => {
            let text = format!(
                "{} is no VXLAN network identifier: it has 24 bits",
                vxlan.vni
            );
            refuse(Refusal::Invalid, text)
        }
        Kind::Macvlan(macvlan) if macvlan.parent.is_empty() => {
            refuse(Refusal::Invalid, "a MACVLAN link needs a parent")
        }
        _ => memory(|memory| add(memory, key, Some(kind), None, settings)),
    }
}

pub(crate) fn create_pair(key: &str, peer: &str, settings: Settings) -> Result<(Link, Link)> {
    if key == peer {
        return refuse(
            Refusal::Invalid,
            format!("both ends of a pair are to have the key {key:?}"),
        );
    }
    memory(|memory| {
        let one = add(memory, key, None, Some(peer), settings)?;
        // Two ends with one address would not hear each other.
        let settings = Settings {
            mac: None,
            ..settings
        };
        match add(memory, peer, None, Some(key), settings) {
            Ok(other) => Ok((one, other)),
            Err(error) => {
                memory.machine.links.remove(key);
                Err(error)
            }
        }
    })
}

pub(crate) fn open_link(key: &str) -> Result<Link> {
    memory(|memory| memory.machine.link(key).map(|link| Link::of(key, link)))
}

pub(crate) fn delete_link(key: &str) -> Result<()> {
    memory(|memory| {
        memory.machine.link(key)?;
        memory.machine.forget_link(key);
        Ok(())
    })
}

pub(crate) fn links() -> Vec<LinkInfo> {
    memory(|memory| {
        let info = |(key, link): (&String, &testing::Link)| LinkInfo {
            key: key.clone(),
            here: link.here,
        };
        memory.machine.links.iter().map(info).collect()
    })
}

fn change(link: &Link, change: impl FnOnce(&mut testing::Link)) -> Result<()> {
    memory(|memory| memory.machine.here(&link.key).map(change))
}

/// Adds what is there already or is in nobody's way.
fn put<T: PartialEq>(list: &mut Vec<T>, item: T, clashes: impl Fn(&T) -> bool) -> Result<()> {
    if list.contains(&item) {
        return Ok(());
    }
    if list.iter().any(clashes) {
        return refuse(
            Refusal::AlreadyExists,
            "the link has another entry in the place of this one",
        );
    }
    list.push(item);
    Ok(())
}

fn extend(link: &Link, change: impl FnOnce(&mut testing::Link) -> Result<()>) -> Result<()> {
    memory(|memory| memory.machine.here(&link.key).and_then(change))
}

pub(crate) fn set_mtu(link: &Link, mtu: u32) -> Result<()> {
    change(link, |link| link.mtu = Some(mtu))
}

pub(crate) fn set_up(link: &Link, up: bool) -> Result<()> {
    change(link, |link| link.up = up)
}

pub(crate) fn set_master(link: &Link, bridge: Option<&Link>) -> Result<()> {
    if let Some(bridge) = bridge {
        let kind = memory(|memory| {
            memory
                .machine
                .here(&bridge.key)
                .map(|link| link.kind.clone())
        })?;
        if !matches!(kind, Some(Kind::Bridge(_))) {
            return refuse(Refusal::Invalid, format!("{:?} is no bridge", bridge.key));
        }
    }
    change(link, |link| {
        link.master = bridge.map(|bridge| bridge.key.clone())
    })
}

pub(crate) fn set_isolated(link: &Link, isolated: bool) -> Result<()> {
    extend(link, |link| {
        if link.master.is_none() {
            return refuse(Refusal::Invalid, "only a port of a bridge can be isolated");
        }
        link.isolated = isolated;
        Ok(())
    })
}

pub(crate) fn set_hairpin(link: &Link, hairpin: bool) -> Result<()> {
    extend(link, |link| {
        if link.master.is_none() {
            return refuse(Refusal::Invalid, "only a port of a bridge can be a hairpin");
        }
        link.hairpin = hairpin;
        Ok(())
    })
}

pub(crate) fn add_address(link: &Link, address: IpNet) -> Result<()> {
    extend(link, |link| put(&mut link.addresses, address, |_| false))
}

pub(crate) fn remove_address(link: &Link, address: IpNet) -> Result<()> {
    change(link, |link| {
        link.addresses.retain(|known| *known != address)
    })
}

pub(crate) fn add_route(link: &Link, route: Route) -> Result<()> {
    extend(link, |link| {
        put(&mut link.routes, route, |known| {
            known.destination == route.destination
        })
    })
}

pub(crate) fn remove_route(link: &Link, route: Route) -> Result<()> {
    change(link, |link| link.routes.retain(|known| *known != route))
}

pub(crate) fn add_fdb(link: &Link, mac: MacAddr, destination: IpAddr) -> Result<()> {
    extend(link, |link| {
        put(&mut link.fdb, (mac, destination), |known| {
            known.0 == mac && mac != MacAddr::ANY
        })
    })
}

pub(crate) fn remove_fdb(link: &Link, mac: MacAddr, destination: IpAddr) -> Result<()> {
    change(link, |link| {
        link.fdb.retain(|known| *known != (mac, destination))
    })
}

pub(crate) fn add_neighbour(link: &Link, address: IpAddr, mac: MacAddr) -> Result<()> {
    extend(link, |link| {
        put(&mut link.neighbours, (address, mac), |known| {
            known.0 == address
        })
    })
}

pub(crate) fn remove_neighbour(link: &Link, address: IpAddr) -> Result<()> {
    change(link, |link| {
        link.neighbours.retain(|(known, _)| *known != address)
    })
}
