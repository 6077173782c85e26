//! One pool: which addresses there are, and which are held.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::space::overlap;
use crate::breaks::Breaks;

/// A pool that is held by at least one network.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Pool {
    pub(super) space: String,
    net: IpNet,
    range: Option<IpNet>,
    /// So many networks asked for it and have not released it.
    pub(super) networks: u32,
    /// The engine that asked for it last, by its greeting.
    pub(super) epoch: u64,
    /// The address that was given last: the next search begins behind it.
    pub(super) last: Option<IpAddr>,
    /// The gateway that the answer to `RequestPool` named.
    pub(super) told: Option<IpAddr>,
    held: BTreeMap<IpAddr, u64>,
}

/// An address that is asked for by name.
pub(super) struct Wish<'a> {
    pub(super) text: &'a str,
    pub(super) gateway: bool,
    /// The engine that asks, if engines replay: what an earlier one held is its own.
    pub(super) epoch: Option<u64>,
}

impl Pool {
    pub(super) fn new(space: &str, net: IpNet, range: Option<IpNet>, epoch: u64) -> Self {
        Self {
            space: space.to_owned(),
            net,
            range,
            networks: 0,
            epoch,
            last: None,
            told: None,
            held: BTreeMap::new(),
        }
    }

    pub(super) fn net(&self) -> IpNet {
        self.net
    }

    /// Where addresses are chosen from.
    pub(super) fn range(&self) -> IpNet {
        self.range.unwrap_or(self.net)
    }

    pub(super) fn overlaps(&self, net: IpNet, only_equal: bool) -> bool {
        if only_equal {
            self.net == net
        } else {
            overlap(self.net, net)
        }
    }

    pub(super) fn cidr(&self, address: IpAddr) -> String {
        format!("{address}/{}", self.net.prefix_len())
    }

    pub(super) fn holds(&self, address: IpAddr) -> bool {
        self.held.contains_key(&address)
    }

    pub(super) fn hold(&mut self, address: IpAddr, epoch: u64) {
        self.held.insert(address, epoch);
        self.last = Some(address);
    }

    pub(super) fn free(&mut self, address: IpAddr) {
        self.held.remove(&address);
    }

    pub(super) fn forget(&mut self) {
        self.held.clear();
    }

    pub(super) fn exhausted(&self) -> String {
        format!(
            "pool {} is exhausted: {} addresses are in use",
            self.range(),
            self.held.len()
        )
    }

    /// Whether the search has come to the end of the range.
    pub(super) fn ended(&self) -> bool {
        let end = number(self.range().broadcast());
        self.last.is_some_and(|last| number(last) + 1 >= end) && self.net.prefix_len() < 30
    }

    /// The next address behind `since` that is free, round about. `beyond`: of the whole pool if the range has none.
    pub(super) fn choose(&self, since: Option<IpAddr>, beyond: bool) -> Option<IpAddr> {
        self.choose_in(self.range(), since).or_else(|| {
            if beyond {
                self.choose_in(self.net, since)
            } else {
                None
            }
        })
    }

    fn choose_in(&self, range: IpNet, since: Option<IpAddr>) -> Option<IpAddr> {
        let (first, end) = (number(range.network()), number(range.broadcast()));
        let from = since
            .filter(|last| range.contains(last))
            .map_or(first, |last| number(last).saturating_add(1));
        // Among one more than those that nobody can get there is one that somebody can.
        let most = self.held.len() as u128 + 3;
        (from..=end)
            .chain(first..=end)
            .take(usize::try_from(most.saturating_mul(2)).unwrap_or(usize::MAX))
            .map(|number| self.address(number))
            .find(|address| self.usable(*address) && !self.holds(*address))
    }

    /// One that is asked for by name.
    pub(super) fn wanted(&self, wish: &Wish<'_>, breaks: &Breaks) -> Result<IpAddr, String> {
        let address: IpAddr = wish
            .text
            .parse()
            .map_err(|_| format!("{:?} is no address", wish.text))?;
        if !self.net.contains(&address) {
            return Err(format!("{address} is outside of {}", self.net));
        }
        let lax = breaks.on("I12") && address == self.net.broadcast();
        if !self.usable(address) && !lax {
            return Err(format!("{address} is the address of {} itself", self.net));
        }
        match (self.held.get(&address), wish.epoch) {
            (Some(since), Some(now)) if *since < now => Ok(address),
            (Some(_), _) if wish.gateway && self.told == Some(address) => Ok(address),
            (Some(_), _) if breaks.on("I24") && wish.text.contains(char::is_uppercase) => {
                Ok(address)
            }
            (Some(_), _) => Err(format!("{address} is in use")),
            (None, _) => Ok(address),
        }
    }

    /// IPv4: neither the network's address nor that of its broadcast (RFC 3021 has an exception for /31). IPv6: not the
    /// routers' address (RFC 4291, 2.6.1; RFC 6164 has an exception for /127).
    fn usable(&self, address: IpAddr) -> bool {
        match self.net {
            IpNet::V4(net) if net.prefix_len() < 31 => {
                address != net.network() && address != net.broadcast()
            }
            IpNet::V6(net) if net.prefix_len() < 127 => address != net.network(),
            _ => true,
        }
    }

    fn address(&self, number: u128) -> IpAddr {
        match self.net {
            IpNet::V4(_) => Ipv4Addr::from(u32::try_from(number).unwrap_or_default()).into(),
            IpNet::V6(_) => Ipv6Addr::from(number).into(),
        }
    }
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(four) => u32::from(four).into(),
        IpAddr::V6(six) => six.into(),
    }
}
