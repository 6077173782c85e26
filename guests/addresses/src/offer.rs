//! Subnets for networks that name none.

use std::net::Ipv6Addr;

use dockside_driver::{Error, IpNet, Result, ipam::PoolRequest, random};

use crate::{
    config::{Carve, Defaults},
    held::{Held, family},
    state, subnet,
};

/// A subnet that overlaps with none that is held.
///
/// The search begins behind the subnet that was offered last: an engine that turned subnets down, because its machine has routes
/// there, does not meet them again with every network.
pub(crate) fn offer(request: &PoolRequest, held: &Held) -> Result<IpNet> {
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
