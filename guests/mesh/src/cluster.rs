//! The other hosts.

use std::{collections::BTreeMap, net::IpAddr};

use dockside_driver::{Error, Result, config, state};
use serde::{Deserialize, Serialize};

/// The setting and the option that name the hosts.
pub(crate) const PEERS: &str = "peers";
/// The setting that says which of them this one is.
const ADDRESS: &str = "address";
const SLICES: &str = "slices";
/// State: the nodes of the swarm that Docker told of, by address; true is this one.
const NODES: &str = "nodes";

/// Where a network finds its other hosts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Peers {
    /// In `peers` under `[config]`.
    Config,
    /// In its own option.
    Listed(Vec<IpAddr>),
    /// Docker names the nodes of the swarm.
    Swarm,
}

/// This host and the others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Hosts {
    /// The address that this host sends from, if it is known.
    pub(crate) own: Option<IpAddr>,
    pub(crate) others: Vec<IpAddr>,
}

/// The hosts of the configuration, in its order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Listed {
    pub(crate) all: Vec<IpAddr>,
    pub(crate) own: IpAddr,
}

fn wrong(key: &str, value: &str, what: &str) -> Error {
    Error::invalid(format!("{key} = {value:?} under [config] {what}"))
}

/// Reads a list of addresses.
fn addresses(text: &str) -> Result<Vec<IpAddr>, String> {
    let mut all: Vec<IpAddr> = Vec::new();
    for part in text.split([',', ' ']).filter(|part| !part.is_empty()) {
        let address = part.parse().map_err(|_| {
            format!(
                "{part:?} is no IP address; name hosts by theirs, as in \"192.0.2.1,192.0.2.2\""
            )
        })?;
        if all.contains(&address) {
            return Err(format!("{address} is in it twice"));
        }
        if all.iter().any(|other| other.is_ipv4() != address.is_ipv4()) {
            return Err("has addresses of both IP versions; a tunnel has one".into());
        }
        all.push(address);
    }
    Ok(all)
}

/// The address that this host sends from, if the operator says it.
fn own() -> Result<Option<IpAddr>> {
    config::parse(ADDRESS)
}

/// The hosts of the configuration; none if this one is alone.
pub(crate) fn configured() -> Result<Option<Listed>> {
    let Some(text) = config::get(PEERS)? else {
        return Ok(None);
    };
    let all = addresses(&text).map_err(|what| wrong(PEERS, &text, &what))?;
    if all.is_empty() {
        return Ok(None);
    }
    let own = own()?.ok_or_else(|| {
        wrong(
            PEERS,
            &text,
            &format!("needs {ADDRESS}, the one of these that is this host's"),
        )
    })?;
    if !all.contains(&own) {
        return Err(wrong(
            ADDRESS,
            &own.to_string(),
            &format!("is not one of {PEERS} = {text:?}; the list has all hosts, this one too"),
        ));
    }
    Ok(Some(Listed { all, own }))
}

/// The most slices that a pool is cut into: a subnet of 256 addresses leaves none of them with less than four.
const MOST_SLICES: usize = 4096;

impl Listed {
    /// Into how many slices the hosts cut a pool, a power of two, and which one is this host's.
    ///
    /// The places are in an order in which a list that outgrows its power of two leaves every host the first half of what it had.
    pub(crate) fn slice(&self) -> Result<(u32, u128)> {
        let wanted = match config::parse::<usize>(SLICES)? {
            None => self.all.len(),
            Some(slices) if (self.all.len()..=MOST_SLICES).contains(&slices) => slices,
            Some(slices) => {
                return Err(wrong(
                    SLICES,
                    &slices.to_string(),
                    &format!(
                        "is not from {} (the number of hosts) to {MOST_SLICES}",
                        self.all.len()
                    ),
                ));
            }
        };
        let bits = wanted.next_power_of_two().trailing_zeros();
        let place = self.all.iter().position(|host| *host == self.own);
        let place = place.unwrap_or_default() as u128;
        let reversed = if bits == 0 {
            0
        } else {
            place.reverse_bits() >> (u128::BITS - bits)
        };
        Ok((bits, reversed))
    }
}

impl Peers {
    /// What the option of a network says; none if the network is this host's alone.
    pub(crate) fn choose(option: Option<&str>, has_vni: bool) -> Result<Option<Self>> {
        match option {
            Some("none") => Ok(None),
            Some(text) => {
                let wrong = |what| Error::invalid(format!("option {PEERS}={text}: {what}"));
                let all = addresses(text).map_err(wrong)?;
                let own = own()?.ok_or_else(|| {
                    wrong(format!(
                        "set {ADDRESS} under [config], this host's own address, for networks across hosts"
                    ))
                })?;
                match all.first() {
                    None => Err(wrong("name the hosts, or say none".into())),
                    Some(first) if first.is_ipv4() != own.is_ipv4() => Err(wrong(format!(
                        "this host's own address, {own}, is of the other IP version"
                    ))),
                    Some(_) => Ok(Some(Self::Listed(all))),
                }
            }
            None if configured()?.is_some() => Ok(Some(Self::Config)),
            // A swarm's manager chose the identifier.
            None if has_vni => Ok(Some(Self::Swarm)),
            None => Ok(None),
        }
    }

    /// The hosts, as they are now.
    pub(crate) fn hosts(&self) -> Result<Hosts> {
        let (own, mut others) = match self {
            Self::Config => match configured()? {
                Some(listed) => (Some(listed.own), listed.all),
                None => (own()?, Vec::new()),
            },
            Self::Listed(all) => (own()?, all.clone()),
            Self::Swarm => {
                let mut nodes = nodes()?;
                // A swarm of one machine may know it by an address that no other machine reaches.
                nodes.retain(|address, _| !address.is_loopback() && !address.is_unspecified());
                let told = nodes.iter().find(|(_, own)| **own);
                let own = own()?.or(told.map(|(address, _)| *address));
                let others = nodes.iter().filter(|(_, own)| !**own);
                (own, others.map(|(address, _)| *address).collect())
            }
        };
        if let Some(own) = own {
            others.retain(|other| *other != own && other.is_ipv4() == own.is_ipv4());
        }
        Ok(Hosts { own, others })
    }
}

fn nodes() -> Result<BTreeMap<IpAddr, bool>> {
    Ok(state::get(NODES)?.unwrap_or_default())
}

/// A node of the swarm came, or is still there. Returns whether that is news.
pub(crate) fn node_came(address: IpAddr, own: bool) -> Result<bool> {
    let mut nodes = nodes()?;
    if nodes.get(&address) == Some(&own) {
        return Ok(false);
    }
    if own {
        // A node has one address.
        nodes.retain(|_, is_own| !*is_own);
    }
    nodes.insert(address, own);
    state::set(NODES, &nodes)?;
    Ok(true)
}

/// A node of the swarm left. Returns whether that is news.
pub(crate) fn node_left(address: IpAddr) -> Result<bool> {
    let mut nodes = nodes()?;
    let known = nodes.remove(&address).is_some();
    if known {
        state::set(NODES, &nodes)?;
    }
    Ok(known)
}
