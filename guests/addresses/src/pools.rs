//! Pools and their addresses: what the four methods of `IpamDriver` do.

use std::net::{IpAddr, Ipv6Addr};

use dockside_driver::{Error, IpNet, Result, ipam::PoolRequest, random};
use serde::{Deserialize, Serialize};

use crate::{
    config::{Carve, Defaults},
    held::Held,
    leases::Leases,
    state, subnet,
};

/// The address space of the engine's own networks.
pub const LOCAL: &str = "local";
/// The address space of a cluster's networks.
pub const GLOBAL: &str = "global";

/// What the state says of a pool, under `pool/ID`.
#[derive(Debug, Serialize, Deserialize)]
struct Pool {
    subnet: IpNet,
    /// Where addresses that nobody asked for by name come from; all of the subnet if there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sub_pool: Option<IpNet>,
    /// Where the search for the next address begins: behind the one that was given last, so that an address is not given again
    /// right after its release, while others still send to its old owner.
    next: IpAddr,
    /// How many of the addresses in the range are held.
    in_use: u64,
}

impl Pool {
    /// The offsets that addresses are chosen from. Empty if the first is greater than the second.
    fn range(&self) -> (u128, u128) {
        let (first, last) = subnet::usable(self.subnet);
        let Some(sub_pool) = self.sub_pool else {
            return (first, last);
        };
        let start = subnet::offset(self.subnet, sub_pool.network()).unwrap_or(0);
        let end = subnet::offset(self.subnet, sub_pool.broadcast()).unwrap_or(last);
        (first.max(start), last.min(end))
    }

    fn in_range(&self, offset: u128) -> bool {
        let (first, last) = self.range();
        (first..=last).contains(&offset)
    }

    fn exhausted(&self) -> Error {
        let (first, last) = self.range();
        let all = (last + 1).saturating_sub(first);
        let (of, wider) = match self.sub_pool {
            Some(range) => (format!(" of its range {range}"), "--ip-range"),
            None => (String::new(), "--subnet"),
        };
        Error::exhausted(format!(
            "pool {} is exhausted: {} of {all} addresses{of} are in use; remove endpoints or create the network with a larger {wider}",
            self.subnet, self.in_use
        ))
    }
}

/// `RequestPool`: the pool's name and its subnet.
///
/// # Errors
/// The subnet is taken, unusable, or none is left to choose.
pub fn request_pool(request: &PoolRequest) -> Result<(String, IpNet)> {
    let space = request.address_space.as_str();
    if space != LOCAL && space != GLOBAL {
        return Err(Error::invalid(format!(
            "there is no address space {space:?}: this driver has {LOCAL:?} and {GLOBAL:?}"
        )));
    }
    let held = Held::new(held_prefix(space, request.ipv6));
    let subnet = match request.pool {
        Some(subnet) => {
            check(subnet, request)?;
            if let Some(other) = held.overlapping(subnet)? {
                return Err(Error::in_use(format!(
                    "{subnet} overlaps with {other}, which is held as pool {:?}; choose another --subnet or remove the network that has it",
                    id(space, other)
                )));
            }
            subnet
        }
        None if request.sub_pool.is_some() => {
            return Err(Error::invalid(
                "--ip-range needs a --subnet that it is a part of",
            ));
        }
        None => offer(request, &held)?,
    };
    let mut pool = Pool {
        subnet,
        sub_pool: request.sub_pool,
        next: subnet.network(),
        in_use: 0,
    };
    let (first, last) = pool.range();
    if first > last {
        return Err(Error::invalid(format!(
            "--ip-range {} has no address that a container of {subnet} can have",
            request.sub_pool.unwrap_or(subnet)
        )));
    }
    pool.next = subnet::address(subnet, first);
    held.insert(subnet)?;
    let id = id(space, subnet);
    put(&id, &pool)?;
    Ok((id, subnet))
}

/// `ReleasePool`: the pool and all of its addresses are free again.
///
/// # Errors
/// The state cannot be read or written.
pub fn release_pool(id: &str) -> Result<()> {
    let Some(pool) = find(id)? else {
        return Ok(());
    };
    if let Some((space, _)) = id.split_once('/') {
        let ipv6 = matches!(pool.subnet, IpNet::V6(_));
        Held::new(held_prefix(space, ipv6)).remove(pool.subnet)?;
    }
    leases(id, &pool).clear()?;
    state::delete(&pool_key(id))
}

/// `RequestAddress`: the address with its pool's prefix.
///
/// # Errors
/// The address is taken, no container can have it, or none is left.
pub fn request_address(id: &str, wanted: Option<IpAddr>, gateway: bool) -> Result<IpNet> {
    let mut pool = find(id)?.ok_or_else(|| {
        Error::not_found(format!(
            "pool {id:?} is not held; the network that it belonged to has to be created again"
        ))
    })?;
    let leases = leases(id, &pool);
    let offset = match wanted {
        Some(address) => {
            let offset = wanted_offset(&pool, address)?;
            if !leases.take(offset)? {
                return Err(Error::in_use(format!(
                    "{address} is in use already in pool {}; choose another address or none",
                    pool.subnet
                )));
            }
            offset
        }
        None => {
            let offset = choose(&pool, &leases, gateway)?.ok_or_else(|| pool.exhausted())?;
            leases.take(offset)?;
            let (first, last) = pool.range();
            let next = if offset < last { offset + 1 } else { first };
            pool.next = subnet::address(pool.subnet, next);
            offset
        }
    };
    if pool.in_range(offset) {
        pool.in_use = pool.in_use.saturating_add(1);
    }
    put(id, &pool)?;
    let address = subnet::address(pool.subnet, offset);
    Ok(IpNet::new(address, pool.subnet.prefix_len())?)
}

/// `ReleaseAddress`. One that is not held is no error.
///
/// # Errors
/// The state cannot be read or written.
pub fn release_address(id: &str, address: IpAddr) -> Result<()> {
    let Some(mut pool) = find(id)? else {
        return Ok(());
    };
    let Some(offset) = subnet::offset(pool.subnet, address) else {
        return Ok(());
    };
    if leases(id, &pool).free(offset)? && pool.in_range(offset) {
        pool.in_use = pool.in_use.saturating_sub(1);
        put(id, &pool)?;
    }
    Ok(())
}

/// A subnet that overlaps with none that is held.
///
/// The search begins behind the subnet that was offered last: an engine that turned subnets down, because its machine has routes
/// there, does not meet them again with every network.
fn offer(request: &PoolRequest, held: &Held) -> Result<IpNet> {
    let defaults = Defaults::read(&request.options)?;
    let mut carve = if request.ipv6 {
        defaults.ipv6
    } else {
        defaults.ipv4
    };
    if carve.bases.is_empty() && request.ipv6 {
        carve.bases.push(unique_local()?);
    }
    let cursor_key = format!("offered/{}/{}", request.address_space, family(request.ipv6));
    let cursor: Option<IpNet> = state::get(&cursor_key)?;
    for (first, last) in segments(&carve, cursor) {
        if let Some(found) = first_gap(held, first, last)? {
            state::set(&cursor_key, &found)?;
            return Ok(found);
        }
    }
    let bases: Vec<String> = carve.bases.iter().map(IpNet::to_string).collect();
    Err(Error::exhausted(format!(
        "no subnet is left to offer: every /{} of {} is held or overlaps with one that is; remove a network, name a subnet with --subnet, or widen {} under [config]",
        carve.size,
        bases.join(", "),
        if request.ipv6 { "ipv6" } else { "ipv4" },
    )))
}

/// The /48 of this machine for local addresses (RFC 4193, 3.2), made at the first use.
fn unique_local() -> Result<IpNet> {
    const KEY: &str = "unique-local";
    if let Some(known) = state::get(KEY)? {
        return Ok(known);
    }
    let mut octets = [0; 16];
    for (octet, value) in octets
        .iter_mut()
        .zip(std::iter::once(0xfd).chain(random::bytes(5)))
    {
        *octet = value;
    }
    let made = IpNet::new(Ipv6Addr::from(octets).into(), 48)?;
    state::set(KEY, &made)?;
    Ok(made)
}

fn find(id: &str) -> Result<Option<Pool>> {
    state::get(&pool_key(id))
}

fn put(id: &str, pool: &Pool) -> Result<()> {
    state::set(&pool_key(id), pool)
}

fn leases(id: &str, pool: &Pool) -> Leases {
    Leases::new(format!("lease/{id}/"), subnet::host_bits(pool.subnet))
}

/// An address that nobody holds; none if there is none.
fn choose(pool: &Pool, leases: &Leases, gateway: bool) -> Result<Option<u128>> {
    let (first, last) = pool.range();
    if u128::from(pool.in_use) > last - first {
        return Ok(None);
    }
    // People expect the gateway at the start.
    let next = if gateway {
        first
    } else {
        subnet::offset(pool.subnet, pool.next)
            .unwrap_or(first)
            .clamp(first, last)
    };
    match leases.first_free(next, last)? {
        None if next > first => leases.first_free(first, next - 1),
        found => Ok(found),
    }
}

fn wanted_offset(pool: &Pool, address: IpAddr) -> Result<u128> {
    let subnet = pool.subnet;
    let offset = subnet::offset(subnet, address)
        .ok_or_else(|| Error::invalid(format!("{address} is not in pool {subnet}")))?;
    let (first, last) = subnet::usable(subnet);
    let what = match subnet {
        _ if (first..=last).contains(&offset) => return Ok(offset),
        IpNet::V4(_) if offset > last => "the broadcast address",
        IpNet::V4(_) => "the network address",
        IpNet::V6(_) => "the address of any router",
    };
    Err(Error::invalid(format!(
        "{address} is {what} of pool {subnet}; the first usable address is {}",
        subnet::address(subnet, first)
    )))
}

fn check(subnet: IpNet, request: &PoolRequest) -> Result<()> {
    let invalid = |text: String| Err(Error::invalid(text));
    if matches!(subnet, IpNet::V6(_)) != request.ipv6 {
        return invalid(format!(
            "{subnet} is not an IPv{} subnet",
            family(request.ipv6)
        ));
    }
    if subnet != subnet.trunc() {
        return invalid(format!(
            "{subnet} has bits behind its prefix; the subnet is {}",
            subnet.trunc()
        ));
    }
    if let Some(why) = subnet::unusable_because(subnet) {
        return invalid(format!(
            "{subnet} cannot be the subnet of a network: it overlaps with {why}"
        ));
    }
    match request.sub_pool {
        Some(range) if !subnet.contains(&range) => {
            invalid(format!("--ip-range {range} is not a part of {subnet}"))
        }
        _ => Ok(()),
    }
}

/// The subnets to look at, as the first and the last subnet of each stretch, beginning behind `cursor` and ending with it.
fn segments(carve: &Carve, cursor: Option<IpNet>) -> Vec<(IpNet, IpNet)> {
    let whole: Vec<(IpNet, IpNet)> = carve
        .bases
        .iter()
        .filter_map(|base| {
            let first = subnet::containing(base.network(), carve.size)?;
            let last = subnet::containing(base.broadcast(), carve.size)?;
            Some((first, last))
        })
        .collect();
    let at = cursor.and_then(|cursor| carve.bases.iter().position(|base| base.contains(&cursor)));
    let (Some(at), Some(cursor)) = (at, cursor) else {
        return whole;
    };
    // The last subnet of the cursor's address is the cursor itself unless the size was changed since.
    let Some(cursor) = subnet::containing(cursor.broadcast(), carve.size) else {
        return whole;
    };
    let mut order: Vec<(IpNet, IpNet)> = whole
        .iter()
        .cycle()
        .skip(at)
        .take(whole.len() + 1)
        .copied()
        .collect();
    if let Some((first, last)) = order.first_mut() {
        match subnet::next(cursor) {
            Some(next) if *last != cursor => *first = next,
            _ => {
                order.remove(0);
            }
        }
    }
    if let Some((_, last)) = order.last_mut() {
        *last = cursor;
    }
    order
}

/// The first subnet from `first` to `last`, in steps of their size, that overlaps with none that is held.
fn first_gap(held: &Held, first: IpNet, last: IpNet) -> Result<Option<IpNet>> {
    let mut candidate = first;
    while subnet::number(candidate.network()) <= subnet::number(last.network()) {
        let Some(other) = held.overlapping(candidate)? else {
            return Ok(Some(candidate));
        };
        // A held subnet that is larger is passed in one step.
        let taken = if other.contains(&candidate) {
            subnet::containing(other.broadcast(), candidate.prefix_len())
        } else {
            Some(candidate)
        };
        match taken.and_then(subnet::next) {
            Some(next) => candidate = next,
            None => return Ok(None),
        }
    }
    Ok(None)
}

fn id(space: &str, subnet: IpNet) -> String {
    format!("{space}/{subnet}")
}

fn pool_key(id: &str) -> String {
    format!("pool/{id}")
}

fn held_prefix(space: &str, ipv6: bool) -> String {
    format!("held/{space}/{}/", family(ipv6))
}

fn family(ipv6: bool) -> u8 {
    if ipv6 { 6 } else { 4 }
}

#[cfg(test)]
mod tests;
