//! What `RequestPool` and `ReleasePool` do.

use std::net::IpAddr;

use dockside_driver::{
    Error, IpNet, Result,
    ipam::{AddressRequest, PoolRequest},
};

use crate::{
    addresses,
    held::{Held, family},
    offer,
    record::{Id, Pool, Range},
    subnet,
};

/// The address space of the engine's own networks.
pub const LOCAL: &str = "local";
/// The address space of a cluster's networks.
pub const GLOBAL: &str = "global";

/// `RequestPool` for a driver whose networks cannot share a subnet: the pool's name and its subnet. With a range a pool has another name.
///
/// # Errors
/// The subnet overlaps with one that is held, is unusable, or none is left to choose.
pub fn request_pool(request: &PoolRequest) -> Result<(String, IpNet)> {
    request_for(request, None)
}

/// `RequestPool` for a driver whose networks can share a subnet: what one holds the other does not get. The driver requires a replay: what an
/// engine asks for after its start is what its networks have, and no further network.
///
/// # Errors
/// The subnet overlaps with another one that is held, is unusable, or none is left to choose.
pub fn request_shared_pool(request: &PoolRequest) -> Result<(String, IpNet)> {
    request_for(request, Some(&request.engine))
}

/// `engine` is the process that asks, if networks can share the pool.
fn request_for(request: &PoolRequest, engine: Option<&str>) -> Result<(String, IpNet)> {
    let space = request.address_space.as_str();
    if space != LOCAL && space != GLOBAL {
        return Err(Error::invalid(format!(
            "there is no address space {space:?}: this driver has {LOCAL:?} and {GLOBAL:?}"
        )));
    }
    let held = Held::of(space, request.ipv6);
    let subnet = match request.pool {
        Some(subnet) => {
            check(subnet, request)?;
            subnet
        }
        None if request.sub_pool.is_some() => {
            return Err(Error::invalid(
                "--ip-range needs a --subnet that it is a part of",
            ));
        }
        None => offer::offer(request, &held)?,
    };
    let id = Id {
        space,
        subnet,
        sub_pool: request.sub_pool.filter(|range| *range != subnet),
    };
    let range = range(&id, request)?;
    let known = match (request.pool, engine) {
        (Some(_), Some(engine)) => id.pool()?.map(|pool| (pool, engine)),
        _ => None,
    };
    let pool = match known {
        Some((mut pool, engine)) => {
            begin_generation(&mut pool, engine);
            join(&id, &mut pool, range)?;
            pool
        }
        None => {
            if let Some(other) = held.overlapping(subnet)? {
                let other = Id {
                    space,
                    subnet: other,
                    sub_pool: None,
                };
                return Err(Error::in_use(format!(
                    "{subnet} overlaps with {}, which is held as pool \"{other}\"; choose another --subnet or remove the network that has it",
                    other.subnet
                )));
            }
            held.insert(subnet)?;
            Pool {
                subnet,
                ranges: vec![range],
                in_use: 0,
                engine: engine.unwrap_or_default().to_owned(),
                generation: 0,
            }
        }
    };
    id.put(&pool)?;
    Ok((id.to_string(), subnet))
}

/// An engine that was started again asks for everything that its networks have. What it has not asked for yet counts as no network's.
fn begin_generation(pool: &mut Pool, engine: &str) {
    if engine.is_empty() || engine == pool.engine {
        return;
    }
    // The first engine that says its name is no later one.
    if !pool.engine.is_empty() {
        pool.generation = pool.generation.saturating_add(1);
        for range in &mut pool.ranges {
            range.networks = 0;
        }
    }
    engine.clone_into(&mut pool.engine);
}

/// One network more.
fn join(id: &Id<'_>, pool: &mut Pool, new: Range) -> Result<()> {
    let mut known = pool.ranges.iter_mut();
    match known.find(|range| range.sub_pool == new.sub_pool) {
        Some(known) if (known.ptp, known.shared) != (new.ptp, new.shared) => {
            return Err(Error::in_use(format!(
                "pool \"{id}\" is held with ptp={} and validate={}; give the same --ipam-opt, or choose another --subnet or --ip-range",
                known.ptp, !known.shared
            )));
        }
        Some(known) => known.networks = known.networks.saturating_add(1),
        None => pool.ranges.push(new),
    }
    Ok(())
}

/// The range of a request, as it is at first.
fn range(id: &Id<'_>, request: &PoolRequest) -> Result<Range> {
    let mut range = Range {
        sub_pool: id.sub_pool,
        ptp: request.options.boolean("ptp")?.unwrap_or(false),
        shared: !request.options.boolean("validate")?.unwrap_or(true),
        next: id.subnet.network(),
        networks: 1,
    };
    let (first, last) = range.offsets(id.subnet);
    if first > last {
        return Err(Error::invalid(format!(
            "--ip-range {} has no address that a container of {} can have",
            id.sub_pool.unwrap_or(id.subnet),
            id.subnet
        )));
    }
    range.next = subnet::address(id.subnet, range.start(id.subnet));
    Ok(range)
}

/// `ReleasePool`: when the last network gives it back, the subnet and all of its addresses are free again.
///
/// # Errors
/// The state cannot be read or written.
pub fn release_pool(name: &str) -> Result<()> {
    let Some(id) = Id::parse(name) else {
        return Ok(());
    };
    let Some(mut pool) = id.pool()? else {
        return Ok(());
    };
    let place = |range: &Range| range.sub_pool == id.sub_pool;
    let Some(range) = pool.ranges.iter_mut().find(|range| place(range)) else {
        return Ok(());
    };
    range.networks = range.networks.saturating_sub(1);
    if range.networks == 0 {
        pool.ranges.retain(|range| !place(range));
    }
    if pool.ranges.is_empty() {
        free(&id)
    } else {
        id.put(&pool)
    }
}

/// The subnet and all of its addresses are free again, whoever holds them.
pub(crate) fn free(id: &Id<'_>) -> Result<()> {
    let ipv6 = matches!(id.subnet, IpNet::V6(_));
    Held::of(id.space, ipv6).remove(id.subnet)?;
    addresses::free_all(id)?;
    id.delete()
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

/// `RequestAddress` for a driver that is told neither Ethernet addresses nor names.
///
/// # Errors
/// As [`addresses::request_address`].
pub fn request_address(pool_id: &str, wanted: Option<IpAddr>, gateway: bool) -> Result<IpNet> {
    addresses::request_address(&AddressRequest {
        pool_id: pool_id.to_owned(),
        address: wanted,
        gateway,
        ..AddressRequest::default()
    })
}

/// `ReleaseAddress`. One that is not held is no error.
///
/// # Errors
/// The state cannot be read or written.
pub fn release_address(pool_id: &str, address: IpAddr) -> Result<()> {
    addresses::release_address(pool_id, address).map(drop)
}

#[cfg(test)]
mod tests;
