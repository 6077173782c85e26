//! Addresses that are kept for one Ethernet address, or for nobody: the operator's, under `[config]`, and those that `dockside run` made.

use std::collections::BTreeMap;
use std::net::IpAddr;

use dockside_driver::{Error, IpNet, MacAddr, Result, config};
use serde::{Deserialize, Serialize};

use crate::{record::Id, state, subnet};

/// The configuration's key.
const SETTING: &str = "reservations";

/// What the state's keys begin with.
const PREFIX: &str = "reserved/";

/// How many can be made by `dockside run` in one subnet: the state keeps them in one value, and each request reads it.
const LIMIT: usize = 1000;

/// The reservations of one subnet, by address. No Ethernet address: nobody gets it.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Reserved(BTreeMap<IpAddr, Option<MacAddr>>);

impl Reserved {
    /// All of a subnet. What `dockside run` made goes over the configuration.
    pub(crate) fn of(id: &Id<'_>) -> Result<Self> {
        let mut all = Self::configured()?;
        all.0.retain(|address, _| id.subnet.contains(address));
        all.0.extend(Self::stored(id)?.0);
        Ok(all)
    }

    /// Those that `dockside run` made.
    pub(crate) fn stored(id: &Id<'_>) -> Result<Self> {
        Ok(state::get(&key(id))?.unwrap_or_default())
    }

    /// Those under `[config]`, of all subnets.
    pub(crate) fn configured() -> Result<Self> {
        let Some(text) = config::get(SETTING)? else {
            return Ok(Self::default());
        };
        let mut all = BTreeMap::new();
        let lines = text
            .split(['\n', ',', ';'])
            .map(|line| line.split('#').next().unwrap_or_default().trim());
        for line in lines.filter(|line| !line.is_empty()) {
            let wrong = |what: &str| {
                Error::invalid(format!(
                    "{SETTING} under [config]: {line:?} {what}; write ETHERNET-ADDRESS IP-ADDRESS, or - IP-ADDRESS for nobody"
                ))
            };
            let mut words = line.split_whitespace();
            let (Some(mac), Some(address), None) = (words.next(), words.next(), words.next())
            else {
                return Err(wrong("is not two words"));
            };
            let address: IpAddr = address
                .parse()
                .map_err(|_| wrong("does not end with an IP address"))?;
            let mac = match mac {
                "-" => None,
                mac => Some(
                    mac.parse()
                        .map_err(|_| wrong("does not begin with an Ethernet address"))?,
                ),
            };
            if all.insert(address, mac).is_some() {
                return Err(wrong("reserves an address a second time"));
            }
        }
        Ok(Self(all))
    }

    /// Whom an address is kept for; none if it is kept for nobody in particular and can be given.
    pub(crate) fn at(&self, address: IpAddr) -> Option<Option<MacAddr>> {
        self.0.get(&address).copied()
    }

    /// The address that is kept for an Ethernet address.
    pub(crate) fn of_mac(&self, mac: MacAddr) -> Option<IpAddr> {
        let mut all = self.0.iter();
        all.find(|(_, kept)| **kept == Some(mac))
            .map(|(address, _)| *address)
    }

    /// The first offset from this one on that is kept for nobody.
    pub(crate) fn skip(&self, subnet: IpNet, mut offset: u128) -> u128 {
        while !self.0.is_empty() && self.0.contains_key(&subnet::address(subnet, offset)) {
            offset = offset.saturating_add(1);
        }
        offset
    }

    /// Whether there is none.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All, in order of the addresses.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (IpAddr, Option<MacAddr>)> {
        self.0.iter().map(|(address, mac)| (*address, *mac))
    }
}

/// The names of the pools, held or not, in which `dockside run` made some.
pub(crate) fn pools() -> Result<Vec<String>> {
    let keys = dockside_driver::state::keys(PREFIX)?;
    let name = |key: String| key.strip_prefix(PREFIX).map(str::to_owned);
    Ok(keys.into_iter().filter_map(name).collect())
}

/// Keeps an address. One that was kept before is kept for whom it is kept for last.
pub(crate) fn keep(id: &Id<'_>, address: IpAddr, mac: Option<MacAddr>) -> Result<()> {
    let mut stored = Reserved::stored(id)?;
    if let Some(mac) = mac
        && let Some(other) = stored.of_mac(mac)
        && other != address
    {
        return Err(Error::in_use(format!(
            "{mac} has the reservation {other} in {}; unreserve that first",
            id.subnet
        )));
    }
    stored.0.insert(address, mac);
    if stored.0.len() > LIMIT {
        return Err(Error::exhausted(format!(
            "{} has {LIMIT} reservations, and more cannot be made; create networks with an --ip-range beside what is not Docker's",
            id.subnet
        )));
    }
    state::set(&key(id), &stored)
}

/// Keeps an address no longer; false if it was not kept by `dockside run`.
pub(crate) fn drop(id: &Id<'_>, address: IpAddr) -> Result<bool> {
    let mut stored = Reserved::stored(id)?;
    let was = stored.0.remove(&address).is_some();
    if stored.is_empty() {
        state::delete(&key(id))?;
    } else {
        state::set(&key(id), &stored)?;
    }
    Ok(was)
}

fn key(id: &Id<'_>) -> String {
    format!("{PREFIX}{}/{}", id.space, id.subnet)
}
