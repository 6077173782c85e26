//! Ports of the host that nobody has yet.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, ipproto};

use super::Transport;
use super::check::bound;
use super::listing::Listing;

/// Whether a port of the host is free: not published by dockside, and no process has it. `host` is an address of the host; none, or the
/// unspecified one, stands for all. A moment later it can be taken: [`perform`](super::perform) refuses only what dockside itself has.
pub fn port_free(transport: Transport, host: Option<IpAddr>, port: u16) -> bool {
    let host = bound(host);
    let published = Listing::read().is_ok_and(|listing| {
        listing.is_some_and(|listing| is_published(&listing, transport, host, port))
    });
    if published {
        return false;
    }
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

fn is_published(listing: &Listing, transport: Transport, host: Option<IpAddr>, port: u16) -> bool {
    let key = format!("{} . {port}", transport.name());
    let any = |map: &str| listing.keys(map).any(|found| found == key);
    let at = |map: &str, host: Option<IpAddr>| {
        listing
            .keys(map)
            .any(|found| match found.split_once(" . ") {
                Some((address, rest)) => {
                    rest == key && host.is_none_or(|host| address == host.to_string())
                }
                None => false,
            })
    };
    match host {
        Some(IpAddr::V4(_)) => any("any4") || at("bound4", host),
        Some(IpAddr::V6(_)) => any("any6") || at("bound6", host),
        None => any("any4") || any("any6") || at("bound4", None) || at("bound6", None),
    }
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
