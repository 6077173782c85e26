use ipnet::IpNet;
use std::net::IpAddr;

use super::refused;
use crate::{
    MacAddr, Result,
    bindings::imports::dockside::host::links as wit,
    convert::{to_address, to_cidr, to_mac},
    links::{Kind, LinkInfo, MacvlanMode, Route, Settings},
};

pub(crate) use wit::Link;

fn kind(kind: &Kind) -> wit::Kind {
    match kind {
        Kind::Bridge(bridge) => wit::Kind::Bridge(wit::Bridge {
            stp: bridge.stp,
            multicast_snooping: bridge.multicast_snooping,
        }),
        Kind::Vxlan(vxlan) => wit::Kind::Vxlan(wit::Vxlan {
            vni: vxlan.vni,
            port: vxlan.port,
            local: vxlan.local.map(to_address),
            remote: vxlan.remote.map(to_address),
            device: vxlan.device.clone(),
            learning: vxlan.learning,
        }),
        Kind::Macvlan(macvlan) => wit::Kind::Macvlan(wit::Macvlan {
            parent: macvlan.parent.clone(),
            mode: match macvlan.mode {
                MacvlanMode::Bridge => wit::MacvlanMode::Bridge,
                MacvlanMode::Private => wit::MacvlanMode::Private,
                MacvlanMode::Vepa => wit::MacvlanMode::Vepa,
                MacvlanMode::Passthru => wit::MacvlanMode::Passthru,
            },
        }),
    }
}

fn settings(settings: Settings) -> wit::Settings {
    wit::Settings {
        mtu: settings.mtu,
        mac: settings.mac.map(to_mac),
        up: settings.up,
    }
}

fn route(route: Route) -> wit::Route {
    wit::Route {
        destination: to_cidr(route.destination),
        via: route.via.map(to_address),
    }
}

pub(crate) fn create_link(key: &str, what: &Kind, how: Settings) -> Result<Link> {
    wit::create(key, &kind(what), settings(how)).map_err(refused)
}

pub(crate) fn create_pair(key: &str, peer: &str, how: Settings) -> Result<(Link, Link)> {
    wit::create_pair(key, peer, settings(how)).map_err(refused)
}

pub(crate) fn open_link(key: &str) -> Result<Link> {
    wit::open(key).map_err(refused)
}

pub(crate) fn delete_link(key: &str) -> Result<()> {
    wit::delete(key).map_err(refused)
}

pub(crate) fn links() -> Vec<LinkInfo> {
    wit::list_links()
        .into_iter()
        .map(|wit::LinkInfo { key, here }| LinkInfo { key, here })
        .collect()
}

pub(crate) fn set_mtu(link: &Link, mtu: u32) -> Result<()> {
    link.set_mtu(mtu).map_err(refused)
}

pub(crate) fn set_up(link: &Link, up: bool) -> Result<()> {
    link.set_up(up).map_err(refused)
}

pub(crate) fn set_master(link: &Link, bridge: Option<&Link>) -> Result<()> {
    link.set_master(bridge).map_err(refused)
}

pub(crate) fn set_isolated(link: &Link, isolated: bool) -> Result<()> {
    link.set_isolated(isolated).map_err(refused)
}

pub(crate) fn set_hairpin(link: &Link, hairpin: bool) -> Result<()> {
    link.set_hairpin(hairpin).map_err(refused)
}

pub(crate) fn add_address(link: &Link, address: IpNet) -> Result<()> {
    link.add_address(to_cidr(address)).map_err(refused)
}

pub(crate) fn remove_address(link: &Link, address: IpNet) -> Result<()> {
    link.remove_address(to_cidr(address)).map_err(refused)
}

pub(crate) fn add_route(link: &Link, to: Route) -> Result<()> {
    link.add_route(route(to)).map_err(refused)
}

pub(crate) fn remove_route(link: &Link, to: Route) -> Result<()> {
    link.remove_route(route(to)).map_err(refused)
}

pub(crate) fn add_fdb(link: &Link, mac: MacAddr, destination: IpAddr) -> Result<()> {
    link.add_fdb(to_mac(mac), to_address(destination))
        .map_err(refused)
}

pub(crate) fn remove_fdb(link: &Link, mac: MacAddr, destination: IpAddr) -> Result<()> {
    link.remove_fdb(to_mac(mac), to_address(destination))
        .map_err(refused)
}

pub(crate) fn add_neighbour(link: &Link, address: IpAddr, mac: MacAddr) -> Result<()> {
    link.add_neighbour(to_address(address), to_mac(mac))
        .map_err(refused)
}

pub(crate) fn remove_neighbour(link: &Link, address: IpAddr) -> Result<()> {
    link.remove_neighbour(to_address(address)).map_err(refused)
}
