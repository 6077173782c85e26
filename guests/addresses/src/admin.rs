//! What `dockside run` can do with pools: look at them, reserve addresses, and free what no engine will free.

use std::net::IpAddr;

use dockside_driver::{
    Error, IpNet, KeyValues, MacAddr, Result,
    admin::{self, Rows, Verb, argument, verb},
    serde_json,
};
use serde_json::{Value, json};

use crate::{
    addresses,
    held::Held,
    owners::Owners,
    pools::{self, GLOBAL, LOCAL},
    record::{Id, not_held},
    reserved::{self, Reserved},
    subnet,
};

/// Addresses that are listed if nobody says how many.
const DEFAULT_LIMIT: usize = 10_000;

/// The verbs of [`run`].
pub fn verbs() -> Vec<Verb> {
    let pool = || argument("pool").help("The pool's name or its subnet");
    let address = || argument("address").help("The address");
    vec![
        verb("pools").help("List the pools, and how many networks and addresses each has"),
        verb("leases")
            .help("List the addresses that are held")
            .argument(pool())
            .argument(
                argument("limit")
                    .integer(1..=10_000_000)
                    .default("10000")
                    .help("How many at most"),
            ),
        verb("reservations").help("List the addresses that are reserved"),
        verb("reserve")
            .help("Keep an address for a container, or for nobody")
            .argument(address().required())
            .argument(argument("mac").help("The container's Ethernet address"))
            .argument(pool()),
        verb("unreserve")
            .help("Keep an address no longer")
            .argument(address().required())
            .argument(pool()),
        verb("release")
            .help("Free an address that no container has, or a pool that no network has with all its addresses")
            .argument(pool())
            .argument(address()),
    ]
}

/// Does what a verb of [`verbs`] says.
///
/// # Errors
/// There is no such pool or address, or it is in use.
pub fn run(verb: &str, arguments: &KeyValues) -> Result<String> {
    match verb {
        "pools" => list_pools(),
        "leases" => list_leases(arguments),
        "reservations" => list_reservations(),
        "reserve" => reserve(arguments),
        "unreserve" => unreserve(arguments),
        "release" => release(arguments),
        _ => Err(admin::unknown(verb)),
    }
}

/// Calls this for each held subnet.
fn each_pool(mut see: impl FnMut(Id<'_>) -> Result<()>) -> Result<()> {
    for space in [LOCAL, GLOBAL] {
        for ipv6 in [false, true] {
            for subnet in Held::of(space, ipv6).all()? {
                see(Id {
                    space,
                    subnet,
                    sub_pool: None,
                })?;
            }
        }
    }
    Ok(())
}

fn list_pools() -> Result<String> {
    let mut rows = Rows::new(["pool", "networks", "in-use", "reserved", "next", "ptp"]);
    each_pool(|id| {
        let Some(pool) = id.pool()? else {
            return Ok(());
        };
        for range in &pool.ranges {
            let name = Id {
                sub_pool: range.sub_pool,
                ..id.clone()
            };
            rows.push([
                json!(name.to_string()),
                json!(range.networks),
                json!(pool.in_use),
                json!(Reserved::of(&id)?.iter().count()),
                json!(range.next),
                json!(range.ptp),
            ]);
        }
        Ok(())
    })?;
    Ok(rows.to_json())
}

fn list_leases(arguments: &KeyValues) -> Result<String> {
    let limit: usize = arguments.parse("limit")?.unwrap_or(DEFAULT_LIMIT);
    let wanted = arguments.get("pool");
    let mut rows = Rows::new(["address", "pool", "for", "mac", "name", "since"]);
    let mut left = limit;
    let mut found = wanted.is_none();
    each_pool(|id| {
        if wanted.is_some_and(|wanted| !is_called(&id, wanted)) {
            return Ok(());
        }
        found = true;
        let owners = addresses::owners(&id);
        id.leases().visit(&mut |offset| {
            if left > 0 {
                rows.push(lease(&id, offset, &owners)?);
            }
            left = left.saturating_sub(1);
            Ok(left > 0)
        })
    })?;
    match wanted {
        Some(wanted) if !found => Err(not_held(wanted)),
        _ => Ok(rows.to_json()),
    }
}

fn lease(id: &Id<'_>, offset: u128, owners: &Owners) -> Result<[Value; 6]> {
    let address = subnet::address(id.subnet, offset);
    let owner = owners.get(offset)?;
    let owner = owner.as_ref();
    let name = owner.map(|owner| owner.name.as_str());
    Ok([
        json!(address),
        json!(id.to_string()),
        json!(owner.map(|owner| owner.purpose.name())),
        json!(owner.and_then(|owner| owner.mac)),
        json!(name.filter(|name| !name.is_empty())),
        json!(owner.map(|owner| rfc3339(owner.since))),
    ])
}

/// Whether a user may call a pool so: by its name, its subnet, or the name of one of its ranges.
fn is_called(id: &Id<'_>, wanted: &str) -> bool {
    wanted == id.subnet.to_string()
        || Id::parse(wanted)
            .is_some_and(|wanted| (wanted.space, wanted.subnet) == (id.space, id.subnet))
}

fn list_reservations() -> Result<String> {
    let mut rows = Rows::new(["address", "mac", "pool", "by"]);
    for (address, mac) in Reserved::configured()?.iter() {
        rows.push([
            json!(address),
            json!(mac),
            Value::Null,
            json!("configuration"),
        ]);
    }
    // They outlive their pools.
    for name in reserved::pools()? {
        let Some(id) = Id::parse(&name) else {
            continue;
        };
        for (address, mac) in Reserved::stored(&id)?.iter() {
            rows.push([
                json!(address),
                json!(mac),
                json!(name),
                json!("dockside run"),
            ]);
        }
    }
    Ok(rows.to_json())
}

fn reserve(arguments: &KeyValues) -> Result<String> {
    let address = address(arguments)?;
    let mac: Option<MacAddr> = arguments.parse("mac")?;
    with_pool(arguments, address, |id| {
        let offset = subnet::offset(id.subnet, address).unwrap_or_default();
        let owner = addresses::owners(id).get(offset)?;
        if let Some(owner) = owner
            && (mac.is_none() || owner.mac != mac)
        {
            return Err(Error::in_use(format!(
                "{address} is in use by {}; it can be reserved when that is gone",
                match (owner.mac, owner.name.as_str()) {
                    (_, name) if !name.is_empty() => format!("the container {name}"),
                    (Some(mac), _) => mac.to_string(),
                    _ => format!("the {}", owner.purpose.name()),
                }
            )));
        }
        reserved::keep(id, address, mac)?;
        said(address, id)
    })
}

fn unreserve(arguments: &KeyValues) -> Result<String> {
    let address = address(arguments)?;
    with_pool(arguments, address, |id| {
        if !reserved::drop(id, address)? {
            return Err(Error::not_found(format!(
                "{address} has no reservation that `dockside run` made in pool {id}; those of the configuration are under [config] in the plugin's TOML file"
            )));
        }
        said(address, id)
    })
}

/// Frees an address that nobody will release, or a pool that no network has.
fn release(arguments: &KeyValues) -> Result<String> {
    let name = arguments.get("pool");
    let Some(address) = arguments.parse::<IpAddr>("address")? else {
        let name = name.ok_or_else(|| Error::invalid("release needs pool=, address= or both"))?;
        let id = Id::parse(name)
            .or_else(|| local(name))
            .ok_or_else(|| not_held(name))?;
        let pool = id.pool()?.ok_or_else(|| not_held(name))?;
        pools::free(&id)?;
        let mut row = Rows::new(["pool", "addresses"]);
        row.push([json!(id.to_string()), json!(pool.in_use)]);
        return Ok(row.to_json());
    };
    with_pool(arguments, address, |id| {
        if !addresses::release_address(&id.to_string(), address)? {
            return Err(Error::not_found(format!(
                "{address} is not held in pool {id}"
            )));
        }
        said(address, id)
    })
}

/// What was done, and where.
fn said(address: IpAddr, id: &Id<'_>) -> Result<String> {
    let mut row = Rows::new(["address", "pool"]);
    row.push([json!(address), json!(id.to_string())]);
    Ok(row.to_json())
}

fn address(arguments: &KeyValues) -> Result<IpAddr> {
    arguments
        .parse("address")?
        .ok_or_else(|| Error::invalid("address= is missing"))
}

/// A pool that is called by its subnet alone.
fn local(subnet: &str) -> Option<Id<'static>> {
    let subnet: IpNet = subnet.parse().ok()?;
    Some(Id {
        space: LOCAL,
        subnet,
        sub_pool: None,
    })
}

/// The pool that is named, or the held one that the address is in.
fn with_pool(
    arguments: &KeyValues,
    address: IpAddr,
    act: impl FnOnce(&Id<'_>) -> Result<String>,
) -> Result<String> {
    if let Some(name) = arguments.get("pool") {
        let id = Id::parse(name).or_else(|| local(name)).ok_or_else(|| {
            Error::invalid(format!(
                "{name:?} is no pool; write its name, such as local/10.90.0.0/24, or its subnet"
            ))
        })?;
        if !id.subnet.contains(&address) {
            return Err(Error::invalid(format!(
                "{address} is not in pool {}",
                id.subnet
            )));
        }
        return act(&Id {
            sub_pool: None,
            ..id
        });
    }
    let single: IpNet = address.into();
    let mut pools = Vec::new();
    for space in [LOCAL, GLOBAL] {
        let held = Held::of(space, address.is_ipv6());
        pools.extend(held.overlapping(single)?.map(|subnet| (space, subnet)));
    }
    match pools.as_slice() {
        [(space, subnet)] => act(&Id {
            space,
            subnet: *subnet,
            sub_pool: None,
        }),
        [] => Err(Error::not_found(format!(
            "{address} is in no pool that is held; name the subnet of one to come with pool="
        ))),
        _ => Err(Error::invalid(format!(
            "{address} is in a local and in a global pool; say which with pool="
        ))),
    }
}

/// A time in UTC (RFC 3339).
fn rfc3339(seconds: u64) -> String {
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    // The civil date of a day's number, with years that begin in March, in eras of 400 years (H. Hinnant, "chrono-compatible date algorithms").
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 {
        month_from_march + 3
    } else {
        month_from_march - 9
    };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z",
        rest / 3600,
        rest % 3600 / 60,
        rest % 60
    )
}

#[cfg(test)]
mod tests;
