//! Ports of this machine that lead to containers.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use dockside_driver::{
    Error, Link, Refusal, Result, log,
    nat::{self, Publish, Rule},
    network::PortBinding,
};
use serde::{Deserialize, Serialize};

/// A port, as it is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Binding {
    transport: String,
    /// None: each that the machine has.
    host_address: Option<IpAddr>,
    /// The first and the last port to try; 0 lets the host choose.
    host_ports: (u16, u16),
    /// None: the endpoint's own.
    container_address: Option<IpAddr>,
    container_port: u16,
}

impl Binding {
    pub(crate) fn new(binding: &PortBinding, default_address: Option<IpAddr>) -> Self {
        Self {
            transport: binding.transport.to_string(),
            host_address: binding.host_address.or(default_address),
            host_ports: (
                binding.host_port,
                binding.host_port_end.max(binding.host_port),
            ),
            container_address: binding.container_address,
            container_port: binding.container_port,
        }
    }

    /// The endpoint's addresses that it is for: the one that it names, or the first of each family that the machine's address can be of.
    fn targets(&self, own: &[IpAddr]) -> Vec<IpAddr> {
        if let Some(address) = self.container_address {
            return vec![address];
        }
        let first = |is_ipv4: bool| own.iter().find(|address| address.is_ipv4() == is_ipv4);
        let wanted = |target: &IpAddr| {
            self.host_address
                .is_none_or(|host| host.is_ipv4() == target.is_ipv4())
        };
        let both = [first(true), first(false)].into_iter().flatten().copied();
        both.filter(wanted).collect()
    }

    fn rule<'a>(&self, host_port: u16, target: IpAddr, link: &'a Link) -> Result<Rule<'a>> {
        // Every address of the machine is every one of the container's IP version: the other version has the same port for its own.
        let every = match target {
            IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        Ok(Rule::Publish(Publish {
            transport: self.transport.parse()?,
            host_address: self.host_address.or(Some(every)),
            host_port,
            container_address: target,
            container_port: self.container_port,
            link,
        }))
    }
}

impl fmt::Display for Binding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host_address {
            Some(address) => SocketAddr::new(address, self.host_ports.0).fmt(f)?,
            None => self.host_ports.0.fmt(f)?,
        }
        write!(f, " to {}/{}", self.container_port, self.transport)
    }
}

/// Publishes a port for each family, and writes the one that was chosen into the binding. Of a range the first that is free is taken.
/// Returns the keys of the sets of rules.
pub(crate) fn publish(
    key: &str,
    binding: &mut Binding,
    own: &[IpAddr],
    link: &Link,
) -> Result<Vec<String>> {
    let targets = binding.targets(own);
    let Some((first_target, others)) = targets.split_first() else {
        log::warn!("{binding} is not published: the container has no address for it");
        return Ok(Vec::new());
    };
    let (first, last) = binding.host_ports;
    for host_port in first..=last {
        let wanted = match host_port {
            // The first family chooses for both.
            0 => vec![binding.rule(0, *first_target, link)?],
            port => targets
                .iter()
                .map(|target| binding.rule(port, *target, link))
                .collect::<Result<_>>()?,
        };
        let chosen = match nat::apply(key, wanted) {
            Err(error) if error.refusal() == Some(Refusal::AlreadyExists) && host_port < last => {
                continue;
            }
            other => other?.first().copied().unwrap_or(host_port),
        };
        binding.host_ports = (chosen, chosen);
        let mut keys = vec![key.to_owned()];
        if host_port == 0 {
            for (number, target) in others.iter().enumerate() {
                let key = format!("{key}/{number}");
                nat::apply(&key, [binding.rule(chosen, *target, link)?])?;
                keys.push(key);
            }
        }
        return Ok(keys);
    }
    Err(Error::exhausted(format!(
        "no port from {first} to {last} is free"
    )))
}
