//! What the state says of a pool, and how pools are called.

use std::net::IpAddr;

use dockside_driver::{Error, IpNet, Result};
use serde::{Deserialize, Serialize};

use crate::{leases::Leases, state, subnet};

/// A subnet that networks hold, under `pool/SPACE/SUBNET`.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Pool {
    /// The subnet.
    pub(crate) subnet: IpNet,
    /// What the networks that share it take their addresses from; never empty.
    pub(crate) ranges: Vec<Range>,
    /// How many of the addresses are held.
    pub(crate) in_use: u64,
    /// The engine process that asked for the pool last; empty if it is not known.
    #[serde(default)]
    pub(crate) engine: String,
    /// Counts the engine processes that asked for the pool. An address that was last asked for in an earlier generation can be asked for
    /// again: the engine repeats what it knew before it started.
    #[serde(default)]
    pub(crate) generation: u32,
}

/// A part of a subnet that addresses nobody asked for by name come from.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Range {
    /// The part; all of the subnet if there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) sub_pool: Option<IpNet>,
    /// Point to point: addresses stand alone, without a subnet around them.
    #[serde(default, skip_serializing_if = "is_false")]
    pub(crate) ptp: bool,
    /// Addresses asked for by name may be held by somebody already.
    #[serde(default, skip_serializing_if = "is_false")]
    pub(crate) shared: bool,
    /// Where the search for the next address begins: behind the one that was given last, so that an address is not given again right after
    /// its release, while others still send to its old owner.
    pub(crate) next: IpAddr,
    /// How many networks the engine has asked for it; none if it asked before it started last and not since.
    pub(crate) networks: u32,
}

#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_false(value: &bool) -> bool {
    !value
}

impl Range {
    /// The offsets that an interface can have, with the subnet as the network.
    pub(crate) fn usable(&self, subnet: IpNet) -> (u128, u128) {
        if self.ptp {
            (0, subnet::last_offset(subnet))
        } else {
            subnet::usable(subnet)
        }
    }

    /// The offsets that addresses are chosen from. Empty if the first is greater than the second.
    pub(crate) fn offsets(&self, subnet: IpNet) -> (u128, u128) {
        let (first, last) = self.usable(subnet);
        let Some(sub_pool) = self.sub_pool else {
            return (first, last);
        };
        let start = subnet::offset(subnet, sub_pool.network()).unwrap_or(0);
        let end = subnet::offset(subnet, sub_pool.broadcast()).unwrap_or(last);
        (first.max(start), last.min(end))
    }

    /// The offset that is given first. A range's own first address looks like a network's, so it comes last.
    pub(crate) fn start(&self, subnet: IpNet) -> u128 {
        let (first, last) = self.offsets(subnet);
        let looks = |sub_pool: IpNet| subnet::offset(subnet, sub_pool.network()) == Some(first);
        let is_odd = !self.ptp && self.sub_pool.is_some_and(looks);
        if is_odd && last > first + 1 {
            first + 1
        } else {
            first
        }
    }

    /// An address with the prefix that an interface gets.
    pub(crate) fn answer(&self, subnet: IpNet, offset: u128) -> Result<IpNet> {
        let length = if self.ptp {
            subnet.max_prefix_len()
        } else {
            subnet.prefix_len()
        };
        Ok(IpNet::new(subnet::address(subnet, offset), length)?)
    }
}

/// A pool's name, `SPACE/SUBNET` or `SPACE/SUBNET/RANGE`, in its parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Id<'a> {
    /// The address space.
    pub space: &'a str,
    /// The subnet.
    pub subnet: IpNet,
    /// The range, if it is not all of the subnet.
    pub sub_pool: Option<IpNet>,
}

impl<'a> Id<'a> {
    /// Reads a name; none if it cannot be one of this driver's.
    pub fn parse(text: &'a str) -> Option<Self> {
        let (space, rest) = text.split_once('/')?;
        let (subnet, sub_pool) = match rest.match_indices('/').nth(1) {
            Some((at, _)) => (rest.get(..at)?, rest.get(at + 1..)),
            None => (rest, None),
        };
        Some(Self {
            space,
            subnet: subnet.parse().ok()?,
            sub_pool: sub_pool.map(str::parse).transpose().ok()?,
        })
    }

    fn key(&self) -> String {
        format!("pool/{}/{}", self.space, self.subnet)
    }

    /// What the state says of the subnet.
    pub(crate) fn pool(&self) -> Result<Option<Pool>> {
        state::get(&self.key())
    }

    /// Changes what the state says of the subnet.
    pub(crate) fn put(&self, pool: &Pool) -> Result<()> {
        state::set(&self.key(), pool)
    }

    /// Forgets the subnet.
    pub(crate) fn delete(&self) -> Result<()> {
        state::delete(&self.key())
    }

    /// Which of the subnet's addresses are held.
    pub(crate) fn leases(&self) -> Leases {
        let prefix = format!("lease/{}/{}/", self.space, self.subnet);
        Leases::new(prefix, subnet::host_bits(self.subnet))
    }

    /// That nobody holds it.
    pub(crate) fn not_held(&self) -> Error {
        not_held(&self.to_string())
    }
}

/// That nobody holds a pool of this name.
pub fn not_held(id: &str) -> Error {
    Error::not_found(format!(
        "pool {id:?} is not held; the network that it belonged to has to be created again"
    ))
}

impl std::fmt::Display for Id<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.space, self.subnet)?;
        self.sub_pool.map_or(Ok(()), |range| write!(f, "/{range}"))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    #[test]
    fn names_of_pools_are_read_as_they_were_written() {
        for text in [
            "local/10.90.0.0/16",
            "global/10.90.0.0/16/10.90.1.0/24",
            "local/fd00::/32/fd00:1::/64",
        ] {
            assert_eq!(Id::parse(text).expect(text).to_string(), text);
        }
        for text in [
            "",
            "local",
            "local/",
            "local/10.90.0.0",
            "local/10.90.0.0/16/x",
        ] {
            assert_eq!(Id::parse(text), None, "{text}");
        }
    }
}
