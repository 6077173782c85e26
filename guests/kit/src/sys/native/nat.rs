use std::net::IpAddr;

use super::{Machine, memory, refuse};
use crate::{
    Refusal, Result, Transport,
    nat::{Publish, Rule},
    testing,
};

/// Where the host looks for a free port: Linux's own range for ports that nobody asked for.
const PORTS: std::ops::RangeInclusive<u16> = 32768..=60999;

impl Machine {
    fn taken(&self, transport: Transport, address: Option<IpAddr>, port: u16) -> bool {
        // None, and the unspecified address of an IP version, stand for many.
        let overlap = |other: Option<IpAddr>| match (address, other) {
            (Some(one), Some(other)) => {
                let many = one.is_unspecified() || other.is_unspecified();
                one == other || many && one.is_ipv4() == other.is_ipv4()
            }
            _ => true,
        };
        let clashes = |rule: &testing::Rule| match rule {
            testing::Rule::Publish {
                transport: other_transport,
                host_address: other_address,
                host_port: other_port,
                ..
            } => *other_transport == transport && *other_port == port && overlap(*other_address),
            _ => false,
        };
        self.rules.values().flatten().any(clashes)
    }

    fn publish(&mut self, key: &str, wish: &Publish<'_>) -> Result<testing::Rule> {
        let Publish {
            transport,
            host_address,
            container_address,
            container_port,
            ..
        } = *wish;
        if container_port == 0 || matches!(transport, Transport::Other(_)) {
            return refuse(
                Refusal::Invalid,
                format!("port {container_port} of {transport} cannot be published"),
            );
        }
        // The set itself is not there yet: the ports that it has so far are under its key.
        let free = |port: &u16| !self.taken(transport, host_address, *port);
        let host_port = match wish.host_port {
            0 => PORTS.into_iter().find(free),
            port => Some(port).filter(free),
        };
        let Some(host_port) = host_port else {
            return match wish.host_port {
                0 => refuse(Refusal::Exhausted, "every port is in use"),
                port => refuse(
                    Refusal::AlreadyExists,
                    format!("port {port} of this machine is in use already"),
                ),
            };
        };
        let rule = testing::Rule::Publish {
            transport,
            host_address,
            host_port,
            container_address,
            container_port,
            link: wish.link.0.known().to_owned(),
        };
        self.rules
            .entry(key.to_owned())
            .or_default()
            .push(rule.clone());
        Ok(rule)
    }

    fn apply(&mut self, key: &str, rules: &[Rule<'_>]) -> Result<Vec<u16>> {
        self.rules.insert(key.to_owned(), Vec::new());
        let mut ports = Vec::new();
        for rule in rules {
            let (link, rule) = match rule {
                Rule::Masquerade { source, link } => (
                    link,
                    testing::Rule::Masquerade {
                        source: *source,
                        link: link.0.known().to_owned(),
                    },
                ),
                Rule::Publish(wish) => {
                    self.link(wish.link.0.known())?;
                    if let testing::Rule::Publish { host_port, .. } = self.publish(key, wish)? {
                        ports.push(host_port);
                    }
                    continue;
                }
                Rule::Forward(link) => (link, testing::Rule::Forward(link.0.known().to_owned())),
                Rule::Internal(link) => (link, testing::Rule::Internal(link.0.known().to_owned())),
                Rule::Isolate(link) => (link, testing::Rule::Isolate(link.0.known().to_owned())),
            };
            self.link(link.0.known())?;
            self.rules.entry(key.to_owned()).or_default().push(rule);
        }
        Ok(ports)
    }
}

pub(crate) fn apply_rules(key: &str, rules: &[Rule<'_>]) -> Result<Vec<u16>> {
    memory(|memory| {
        if memory.machine.rules.contains_key(key) {
            return refuse(
                Refusal::AlreadyExists,
                format!("there is a set of rules for {key:?} already"),
            );
        }
        let applied = memory.machine.apply(key, rules);
        if applied.is_err() {
            memory.machine.rules.remove(key);
        }
        applied
    })
}

pub(crate) fn remove_rules(key: &str) -> Result<()> {
    memory(|memory| memory.machine.rules.remove(key));
    Ok(())
}

pub(crate) fn rule_keys() -> Vec<String> {
    memory(|memory| memory.machine.rules.keys().cloned().collect())
}
