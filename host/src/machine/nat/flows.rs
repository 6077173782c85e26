//! Flows without connections, which the kernel remembers by their ports and goes on leading where they led.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::check::bound;
use super::lock::Lock;
use super::{Rule, RuleSet, Transport, program};

/// Lets the kernel look at the published ports' flows anew. Otherwise a client that does not stop sending never reaches a port that was
/// published after its first packet, and goes on sending to whatever has the address of a container that is gone.
///
/// Without the program `conntrack` (package conntrack), and whatever it says, a flow is remembered until 30 s to 120 s after its last
/// packet: no reason for a call to fail.
pub(super) fn forget(set: &RuleSet, lock: &Lock) {
    if program::find("conntrack").is_none() {
        return;
    }
    for arguments in filters(set) {
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let _ = program::run("conntrack", "conntrack", &arguments, None, Some(lock));
    }
}

fn filters(set: &RuleSet) -> BTreeSet<Vec<String>> {
    set.rules
        .iter()
        .filter_map(|rule| match rule {
            Rule::Publish {
                transport: Transport::Udp,
                host,
                host_port,
                to,
                ..
            } => Some((bound(*host), host_port, to)),
            _ => None,
        })
        .map(|(host, port, to)| {
            let family = match to {
                IpAddr::V4(_) => "ipv4",
                IpAddr::V6(_) => "ipv6",
            };
            let port = port.to_string();
            let mut filter: Vec<String> =
                ["-D", "-f", family, "-p", "udp", "--orig-port-dst", &port]
                    .iter()
                    .map(|word| (*word).to_owned())
                    .collect();
            if let Some(host) = host {
                filter.extend(["--orig-dst".to_owned(), host.to_string()]);
            }
            filter
        })
        .collect()
}
