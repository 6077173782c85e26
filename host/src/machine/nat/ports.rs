//! Ports of the host that nobody has yet.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, ipproto};

use super::Transport;
use super::listing;
use crate::machine::MachineError;

/// Whether a port of the host is free: not published by dockside, and no process has it. `host` is an address of the host; none stands for
/// all, and the unspecified one of an IP version for all of that version. A moment later it can be taken: [`perform`](super::perform) refuses only what dockside itself has.
pub fn port_free(transport: Transport, host: Option<IpAddr>, port: u16) -> bool {
    first_free(transport, host, [port]).is_some()
}

/// The first of many ports that is free in that sense, for little more than the price of looking at one.
pub fn first_free(
    transport: Transport,
    host: Option<IpAddr>,
    ports: impl IntoIterator<Item = u16>,
) -> Option<u16> {
    // If the table cannot be read, publishing will say why.
    let published = published(transport, host).unwrap_or_default();
    ports
        .into_iter()
        .find(|port| !published.contains(port) && unused(transport, host, *port))
}

/// Whether a port at one address of the host and the same at another are in each other's way. None, and the unspecified address of an IP
/// version, stand for many.
pub fn overlap(one: Option<IpAddr>, other: Option<IpAddr>) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => {
            let many = one.is_unspecified() || other.is_unspecified();
            one == other || many && one.is_ipv4() == other.is_ipv4()
        }
        _ => true,
    }
}

fn unused(transport: Transport, host: Option<IpAddr>, port: u16) -> bool {
    match host {
        Some(host) => bindable(transport, SocketAddr::new(host, port)).is_ok(),
        None => [
            IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        ]
        .into_iter()
        .map(|any| bindable(transport, SocketAddr::new(any, port)))
        // A host may lack a family.
        .all(|bound| {
            !bound.is_err_and(|error| {
                !matches!(
                    Errno::from_io_error(&error),
                    Some(Errno::AFNOSUPPORT | Errno::ADDRNOTAVAIL)
                )
            })
        }),
    }
}

/// The ports that are published and would get in each other's way.
fn published(transport: Transport, host: Option<IpAddr>) -> Result<HashSet<u16>, MachineError> {
    let maps: &[&str] = match host {
        Some(IpAddr::V4(_)) => &["any4", "bound4"],
        Some(IpAddr::V6(_)) => &["any6", "bound6"],
        None => &["any4", "any6", "bound4", "bound6"],
    };
    let mut ports = HashSet::new();
    for map in maps {
        for key in listing::keys(map)? {
            let (key, port) = key.rsplit_once(" . ").unwrap_or_default();
            let (address, protocol) = key
                .rsplit_once(" . ")
                .map_or((None, key), |(address, protocol)| (Some(address), protocol));
            let same = |address: &str| overlap(host, address.parse().ok());
            if protocol == transport.name()
                && address.is_none_or(same)
                && let Ok(port) = port.parse()
            {
                ports.insert(port);
            }
        }
    }
    Ok(ports)
}

fn bindable(transport: Transport, address: SocketAddr) -> std::io::Result<()> {
    match transport {
        Transport::Tcp => TcpListener::bind(address).map(drop),
        Transport::Udp => UdpSocket::bind(address).map(drop),
        Transport::Sctp => {
            let family = match address {
                SocketAddr::V4(_) => AddressFamily::INET,
                SocketAddr::V6(_) => AddressFamily::INET6,
            };
            let socket = match rustix::net::socket_with(
                family,
                SocketType::STREAM,
                SocketFlags::CLOEXEC,
                Some(ipproto::SCTP),
            ) {
                Ok(socket) => socket,
                // Without SCTP in the kernel nobody can have the port.
                Err(Errno::PROTONOSUPPORT) => return Ok(()),
                Err(error) => return Err(error.into()),
            };
            Ok(rustix::net::bind(&socket, &address)?)
        }
    }
}
