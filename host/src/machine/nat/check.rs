//! What is refused before any tool hears of it.

use std::collections::HashSet;
use std::net::IpAddr;

use ipnet::IpNet;

use super::{Rule, RuleSet};
use crate::machine::{ErrorKind, MachineError};

/// IFNAMSIZ of the kernel, without the closing zero.
const NAME_BYTES: usize = 15;
/// Digits of an identifier: chain names are built from it.
const ID_DIGITS: usize = 64;
/// Rules in one set: every TCP and UDP port that a driver may reasonably publish, and short enough for one transaction.
const MOST_RULES: usize = 4096;
/// How much of a refused value an error repeats.
const SHOWN: usize = 40;

type Checked = Result<(), MachineError>;

pub(super) fn rule_set(set: &RuleSet) -> Checked {
    let id = &set.id;
    if id.is_empty()
        || id.len() > ID_DIGITS
        || !id.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
    {
        return Err(invalid(format!(
            "{} is no identifier of a rule set: it is 1 to {ID_DIGITS} lower-case hexadecimal digits",
            shown(id)
        )));
    }
    if set.rules.len() > MOST_RULES {
        return Err(invalid(format!(
            "{} rules are too many for one rule set: it may have {MOST_RULES}",
            set.rules.len()
        )));
    }
    let mut published = HashSet::new();
    for one in &set.rules {
        rule(one)?;
        if let Rule::Publish {
            transport,
            host,
            host_port,
            to,
            ..
        } = one
            && !published.insert((*transport, bound(*host), *host_port, to.is_ipv4()))
        {
            return Err(MachineError::new(
                ErrorKind::Exists,
                format!(
                    "port {host_port}/{} is published twice by one rule set",
                    transport.name()
                ),
            ));
        }
    }
    Ok(())
}

fn rule(rule: &Rule) -> Checked {
    name(rule.link())?;
    match rule {
        Rule::Masquerade { source, .. } => match source {
            IpNet::V6(net) if net.network().to_ipv4_mapped().is_some() => {
                Err(mapped(&source.to_string()))
            }
            _ => Ok(()),
        },
        Rule::Forward { .. } | Rule::Internal { .. } | Rule::Isolate { .. } => Ok(()),
        Rule::Publish {
            host,
            host_port,
            to,
            to_port,
            loopback,
            ..
        } => {
            if *host_port == 0 || *to_port == 0 {
                return Err(invalid("port 0 cannot be published"));
            }
            unicast(to)?;
            if to.is_loopback() {
                return Err(invalid(format!(
                    "a port cannot lead to {to}: it is a loopback address"
                )));
            }
            let Some(host) = bound(*host) else {
                return Ok(());
            };
            unicast(&host)?;
            if host.is_ipv4() != to.is_ipv4() {
                return Err(invalid(format!(
                    "a port of {host} cannot lead to {to}: one is IPv4 and the other IPv6"
                )));
            }
            if host.is_loopback() && (host.is_ipv6() || !loopback) {
                return Err(invalid(format!(
                    "a port of {host} cannot be published on this link: the kernel does not lead what goes to it to another link"
                )));
            }
            Ok(())
        }
    }
}

/// The host's address that a port is bound to, if it is one.
pub(super) fn bound(host: Option<IpAddr>) -> Option<IpAddr> {
    host.filter(|address| !address.is_unspecified())
}

fn unicast(address: &IpAddr) -> Checked {
    match address {
        IpAddr::V4(v4) if v4.is_broadcast() => {}
        IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some() => return Err(mapped(&v6.to_string())),
        // The kernel cannot tell which link one of these belongs to.
        IpAddr::V6(v6) if v6.is_unicast_link_local() => {}
        _ if address.is_multicast() || address.is_unspecified() => {}
        _ => return Ok(()),
    }
    Err(invalid(format!(
        "{address} cannot have a published port: it is not the address of one machine"
    )))
}

fn mapped(what: &str) -> MachineError {
    invalid(format!(
        "{what} is an IPv4 address written as IPv6: write it as IPv4"
    ))
}

/// A link's name. Stricter than the kernel: it is written into scripts of nft, where `*` at the end means any rest, and into paths of
/// sysctls, where `all` and `default` mean other things.
pub(super) fn name(name: &str) -> Checked {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    if name.is_empty()
        || name.len() > NAME_BYTES
        || !name.bytes().all(plain)
        || name.starts_with(['-', '.'])
        || matches!(name, "lo" | "all" | "default")
    {
        return Err(invalid(format!(
            "{} is no name of a network's link: it is 1 to {NAME_BYTES} letters, digits, dashes, underscores and dots",
            shown(name)
        )));
    }
    Ok(())
}

fn shown(value: &str) -> String {
    let short: String = value.chars().take(SHOWN).collect();
    if short.len() < value.len() {
        format!("{short:?}…")
    } else {
        format!("{short:?}")
    }
}

fn invalid(text: impl Into<String>) -> MachineError {
    MachineError::new(ErrorKind::Invalid, text)
}
