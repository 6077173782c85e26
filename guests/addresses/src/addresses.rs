//! What `RequestAddress` and `ReleaseAddress` do.

use std::net::IpAddr;

use dockside_driver::{Error, IpNet, MacAddr, Result, ipam::AddressRequest, time};

use crate::{
    leases::Leases,
    owners::{Owner, Owners, Purpose, same_page},
    record::{Id, Pool, Range, not_held},
    reserved::Reserved,
    subnet,
};

/// The option by which engines from 29 on say which container an address is for.
const ENDPOINT_NAME: &str = "com.docker.network.endpoint.name";

/// `RequestAddress`: the address with the prefix that its interface gets.
///
/// # Errors
/// The address is in use, reserved, or none that a container can have; or none is left.
pub fn request_address(request: &AddressRequest) -> Result<IpNet> {
    let name = request.pool_id.as_str();
    let id = Id::parse(name).ok_or_else(|| not_held(name))?;
    let mut pool = id.pool()?.ok_or_else(|| id.not_held())?;
    let place = pool
        .ranges
        .iter()
        .position(|range| range.sub_pool == id.sub_pool)
        .ok_or_else(|| id.not_held())?;
    let range = pool.ranges.get(place).ok_or_else(|| id.not_held())?;
    let asked = Asked {
        id: &id,
        pool: &pool,
        range,
        request,
        leases: id.leases(),
        owners: owners(&id),
        reserved: Reserved::of(&id)?,
    };
    let Given {
        offset,
        is_new,
        by_order,
    } = asked.give()?;
    let owner = asked.owner()?;
    let since = match asked.owners.get(offset)? {
        Some(known) if !is_new => known.since,
        _ => owner.since,
    };
    let answer = range.answer(id.subnet, offset)?;
    let next = by_order.then(|| range.behind(id.subnet, offset));
    asked.owners.put(offset, Owner { since, ..owner })?;
    if let (Some(next), Some(range)) = (next, pool.ranges.get_mut(place)) {
        range.next = next;
    }
    if is_new {
        pool.in_use = pool.in_use.saturating_add(1);
    }
    if is_new || by_order {
        id.put(&pool)?;
    }
    Ok(answer)
}

/// `ReleaseAddress`; false if it was not held, which is no error.
///
/// # Errors
/// The state cannot be read or written.
pub fn release_address(name: &str, address: IpAddr) -> Result<bool> {
    let Some(id) = Id::parse(name) else {
        return Ok(false);
    };
    let Some(mut pool) = id.pool()? else {
        return Ok(false);
    };
    let Some(offset) = subnet::offset(id.subnet, address) else {
        return Ok(false);
    };
    if !id.leases().free(offset)? {
        return Ok(false);
    }
    owners(&id).remove(offset)?;
    pool.in_use = pool.in_use.saturating_sub(1);
    id.put(&pool)?;
    Ok(true)
}

/// All addresses of a subnet are free again.
pub(crate) fn free_all(id: &Id<'_>) -> Result<()> {
    let owners = owners(id);
    let mut last = None;
    id.leases().visit(&mut |offset| {
        if !last.is_some_and(|last| same_page(last, offset)) {
            owners.forget_page(offset)?;
        }
        last = Some(offset);
        Ok(true)
    })?;
    id.leases().clear()
}

/// Who holds the addresses of a subnet.
pub(crate) fn owners(id: &Id<'_>) -> Owners {
    Owners::new(format!("owner/{}/{}/", id.space, id.subnet))
}

/// An address that was found for a request.
struct Given {
    offset: u128,
    /// It was free before.
    is_new: bool,
    /// It was the next one.
    by_order: bool,
}

/// A request with what is known about its pool.
struct Asked<'a> {
    id: &'a Id<'a>,
    pool: &'a Pool,
    range: &'a Range,
    request: &'a AddressRequest,
    leases: Leases,
    owners: Owners,
    reserved: Reserved,
}

impl Asked<'_> {
    fn mac(&self) -> Option<MacAddr> {
        // The engine sends none for what is no container's, and it is of no use if it does.
        self.request.mac_address.filter(|_| !self.request.gateway)
    }

    fn owner(&self) -> Result<Owner> {
        let purpose = match (self.request.gateway, self.request.address, self.mac()) {
            (true, ..) => Purpose::Gateway,
            (false, Some(_), None) => Purpose::Auxiliary,
            _ => Purpose::Endpoint,
        };
        Ok(Owner {
            purpose,
            generation: self.pool.generation,
            since: time::unix_seconds(),
            mac: self.mac(),
            name: self
                .request
                .options
                .get(ENDPOINT_NAME)
                .unwrap_or_default()
                .to_owned(),
        })
    }

    fn give(&self) -> Result<Given> {
        if let Some(address) = self.request.address {
            return self.give_wanted(address);
        }
        let kept = self.mac().and_then(|mac| self.reserved.of_mac(mac));
        if let Some(address) = kept {
            return self.give_wanted(address);
        }
        let offset = self.choose()?.ok_or_else(|| self.exhausted())?;
        self.leases.take(offset)?;
        Ok(Given {
            offset,
            is_new: true,
            by_order: true,
        })
    }

    fn give_wanted(&self, address: IpAddr) -> Result<Given> {
        let offset = self.wanted_offset(address)?;
        if let Some(kept) = self.reserved.at(address)
            && (kept.is_none() || kept != self.mac())
        {
            let whom = kept.map_or("nobody".to_owned(), |mac| mac.to_string());
            return Err(Error::in_use(format!(
                "{address} is reserved for {whom} in pool {}; choose another address or none",
                self.pool.subnet
            )));
        }
        let is_new = self.leases.take(offset)?;
        if !is_new && !self.range.shared && !self.is_asked_again(offset)? {
            return Err(Error::in_use(format!(
                "{address} is in use already in pool {}; choose another address or none",
                self.pool.subnet
            )));
        }
        Ok(Given {
            offset,
            is_new,
            by_order: false,
        })
    }

    /// Whether the address is held by who asks for it: a container with the same Ethernet address, or an engine that was started again and
    /// repeats what it had. What it repeats has no Ethernet address, and what a new container asks for has one.
    fn is_asked_again(&self, offset: u128) -> Result<bool> {
        let Some(owner) = self.owners.get(offset)? else {
            return Ok(false);
        };
        if let (Some(one), Some(other)) = (owner.mac, self.mac()) {
            return Ok(one == other);
        }
        let is_gateway = owner.purpose == Purpose::Gateway;
        let is_repeated = owner.generation < self.pool.generation && self.mac().is_none();
        Ok(is_repeated && is_gateway == self.request.gateway)
    }

    /// An address that nobody holds and that is kept for nobody.
    fn choose(&self) -> Result<Option<u128>> {
        let (first, last) = self.range.offsets(self.pool.subnet);
        // People expect the gateway at the start.
        let start = self.range.start(self.pool.subnet);
        let next = if self.request.gateway {
            start
        } else {
            subnet::offset(self.pool.subnet, self.range.next)
                .unwrap_or(start)
                .clamp(first, last)
        };
        match self.first_free(next, last)? {
            None if next > first => self.first_free(first, next - 1),
            found => Ok(found),
        }
    }

    fn first_free(&self, mut from: u128, last: u128) -> Result<Option<u128>> {
        while let Some(found) = self.leases.first_free(from, last)? {
            from = self.reserved.skip(self.pool.subnet, found);
            if from == found {
                return Ok(Some(found));
            }
            if from > last {
                break;
            }
        }
        Ok(None)
    }

    fn exhausted(&self) -> Error {
        let (first, last) = self.range.offsets(self.pool.subnet);
        let all = (last + 1).saturating_sub(first);
        let (of, wider) = match self.range.sub_pool {
            Some(range) => (format!(" of its range {range}"), "--ip-range"),
            None => (String::new(), "--subnet"),
        };
        let used = if self.reserved.is_empty() {
            "in use"
        } else {
            "in use or reserved"
        };
        Error::exhausted(format!(
            "pool {} is exhausted: {all} of {all} addresses{of} are {used}; remove endpoints or create the network with a larger {wider}",
            self.id.subnet
        ))
    }

    fn wanted_offset(&self, address: IpAddr) -> Result<u128> {
        let subnet = self.pool.subnet;
        let offset = subnet::offset(subnet, address)
            .ok_or_else(|| Error::invalid(format!("{address} is not in pool {subnet}")))?;
        let (first, last) = self.range.usable(subnet);
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
}

impl Range {
    /// Where the search goes on behind an address.
    fn behind(&self, subnet: IpNet, offset: u128) -> IpAddr {
        let (first, last) = self.offsets(subnet);
        let next = if offset >= last { first } else { offset + 1 };
        subnet::address(subnet, next)
    }
}
