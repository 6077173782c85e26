//! Loopback addresses on a link, for ports that are published on them.

use std::path::PathBuf;

use super::{Rule, RuleSet};
use crate::machine::{ErrorKind, MachineError};

fn sysctl(link: &str) -> PathBuf {
    ["/proc/sys/net/ipv4/conf", link, "route_localnet"]
        .iter()
        .collect()
}

fn links(set: &RuleSet) -> impl Iterator<Item = &str> {
    set.rules.iter().filter_map(|rule| match rule {
        Rule::Publish {
            to,
            link,
            loopback: true,
            ..
        } if to.is_ipv4() => Some(link.as_str()),
        _ => None,
    })
}

/// Turns it on. It goes with the link.
pub(super) fn perform(set: &RuleSet) -> Result<(), MachineError> {
    for link in links(set) {
        if !on(link) {
            std::fs::write(sysctl(link), "1").map_err(|error| match error.kind() {
                std::io::ErrorKind::NotFound => MachineError::new(
                    ErrorKind::NotFound,
                    format!("cannot publish a port on the host's loopback addresses: the link {link} does not exist"),
                ),
                _ => MachineError::io(&format!("turn on route_localnet of the link {link}"), &error),
            })?;
        }
    }
    Ok(())
}

/// What differs.
pub(super) fn missing(set: &RuleSet) -> Option<String> {
    links(set)
        .find(|link| !on(link))
        .map(|link| format!("route_localnet of the link {link} is off"))
}

fn on(link: &str) -> bool {
    std::fs::read_to_string(sysctl(link)).is_ok_and(|value| value.trim() == "1")
}
