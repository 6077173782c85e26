//! Ports of the host that nobody has yet.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, ipproto};

use super::Transport;
use super::check::bound;
use super::listing;
use crate::machine::MachineError;

/// Whether a port of the host is free: not published by dockside, and no process has it. `host` is an address of the host; none, or the
/// unspecified one, stands for all. A moment later it can be taken: [`perform`](super::perform) refuses only what dockside itself has.
pub fn port_free(transport: Transport, host: Option<IpAddr>, port: u16) -> bool {
    let host = bound(host);
    // If the table cannot be read, publishing will say why.
    if is_published(transport, host, port).unwrap_or(false) {
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

fn is_published(
    transport: Transport,
    host: Option<IpAddr>,
    port: u16,
) -> Result<bool, MachineError> {
    let key = format!("{} . {port}", transport.name());
    let maps: &[&str] = match host {
        Some(IpAddr::V4(_)) => &["any4", "bound4"],
        Some(IpAddr::V6(_)) => &["any6", "bound6"],
        None => &["any4", "any6", "bound4", "bound6"],
    };
    for map in maps {
        let taken = |found: &String| match found.strip_suffix(&key) {
            Some("") => true,
            Some(address) => address
                .strip_suffix(" . ")
                .is_some_and(|address| host.is_none_or(|host| address == host.to_string())),
            None => false,
        };
        if listing::keys(map)?.iter().any(taken) {
            return Ok(true);
        }
    }
    Ok(false)
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
