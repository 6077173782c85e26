//! Addresses for networks: pools, and the addresses of each that are held, in the plugin's state.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use dockside_driver::{
    Error, IpNet, Ipam, Ipv4Net, Ipv6Net, KeyValues, Result, Table,
    ipam::{AddressRequest, AddressResponse, PoolRequest, PoolResponse},
    state,
};
use serde::{Deserialize, Serialize};

use crate::Driver;

/// Where subnets for networks without `--subnet` come from, and the length of their prefix.
const OFFERED_IPV4: (IpNet, u8) = (
    IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(10, 99, 0, 0), 16)),
    24,
);
/// Make this one yours: RFC 4193 wants 40 random bits behind `fd`.
const OFFERED_IPV6: (IpNet, u8) = (
    IpNet::V6(Ipv6Net::new_assert(
        Ipv6Addr::new(0xfd00, 0xd0c5, 0x1de0, 0, 0, 0, 0, 0),
        48,
    )),
    64,
);
const SPACES: [&str; 2] = ["local", "global"];

/// What is remembered of a pool.
#[derive(Serialize, Deserialize)]
struct Pool {
    space: String,
    subnet: IpNet,
    /// The first and the last address to choose from.
    range: (IpAddr, IpAddr),
    /// Where the search for a free address begins: what was released is not given to the next one who asks.
    next: IpAddr,
    /// How often it was asked for.
    networks: u32,
}

static POOLS: Table<Pool> = Table::new("pools/");

/// The addresses of a pool that are held; true for gateways.
fn leases(pool_id: &str) -> Table<bool> {
    Table::with_prefix(format!("leases/{pool_id}/"))
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u32::from(address).into(),
        IpAddr::V6(address) => address.into(),
    }
}

/// The address behind this one. None behind the last one that there is.
fn behind(address: IpAddr) -> Option<IpAddr> {
    match address {
        IpAddr::V4(address) => u32::from(address)
            .checked_add(1)
            .map(|next| Ipv4Addr::from(next).into()),
        IpAddr::V6(address) => u128::from(address)
            .checked_add(1)
            .map(|next| Ipv6Addr::from(next).into()),
    }
}

/// The first and the last address that a container can have.
fn usable(subnet: IpNet) -> (IpAddr, IpAddr) {
    let (first, last) = (subnet.network(), subnet.broadcast());
    if subnet.max_prefix_len() - subnet.prefix_len() <= 1 {
        return (first, last);
    }
    // The first one is the network's, or that of any router (RFC 4291, 2.6.1); the last one IPv4's broadcast address.
    let last = match last {
        IpAddr::V4(last) => Ipv4Addr::from(u32::from(last) - 1).into(),
        IpAddr::V6(_) => last,
    };
    (behind(first).unwrap_or(first), last)
}

fn overlap(one: IpNet, other: IpNet) -> bool {
    one.contains(&other) || other.contains(&one)
}

/// The subnets of an address space that are held.
fn held(space: &str) -> Result<Vec<IpNet>> {
    let mut held = Vec::new();
    for (_, pool) in POOLS.iter()? {
        if pool.space == space {
            held.push(pool.subnet);
        }
    }
    Ok(held)
}

/// Why a subnet cannot be that of a network.
fn check(subnet: IpNet, ipv6: bool) -> Result<()> {
    let first = subnet.network();
    let why = if matches!(subnet, IpNet::V6(_)) != ipv6 {
        "is of the other family"
    } else if subnet != subnet.trunc() {
        "has bits behind its prefix"
    } else if subnet.prefix_len() < 8 {
        "is larger than a /8"
    } else if first.is_loopback() || first.is_multicast() || first.is_unspecified() {
        "is not for networks"
    } else {
        return Ok(());
    };
    Err(Error::invalid(format!("{subnet} {why}")))
}

/// A subnet that overlaps with none of those that are held. Never the same one twice while it is held: Docker asks on until it likes one.
fn offer(ipv6: bool, held: &[IpNet]) -> Result<IpNet> {
    let (from, prefix) = if ipv6 { OFFERED_IPV6 } else { OFFERED_IPV4 };
    let mut next = Some(from.network());
    while let Some(subnet) = next.map(|first| IpNet::new(first, prefix)).transpose()? {
        if !from.contains(&subnet) {
            break;
        }
        if !held.iter().any(|other| overlap(subnet, *other)) {
            return Ok(subnet);
        }
        next = behind(subnet.broadcast());
    }
    Err(Error::exhausted(format!(
        "every /{prefix} of {from} is held: remove a network, or name a subnet with --subnet"
    )))
}

impl Pool {
    fn new(request: &PoolRequest, subnet: IpNet, sub_pool: Option<IpNet>) -> Result<Self> {
        let (low, high) = usable(subnet);
        let whole = sub_pool.unwrap_or(subnet);
        let range = (whole.network().max(low), whole.broadcast().min(high));
        if range.0 > range.1 {
            return Err(Error::invalid(format!(
                "--ip-range {whole} has no address that a container can have"
            )));
        }
        Ok(Self {
            space: request.address_space.clone(),
            subnet,
            range,
            next: range.0,
            networks: 0,
        })
    }

    /// The address that was asked for. It may lie outside of `--ip-range`, as gateways do.
    fn wanted(&self, address: IpAddr, leases: &Table<bool>) -> Result<IpAddr> {
        let (low, high) = usable(self.subnet);
        if !self.subnet.contains(&address) || address < low || address > high {
            return Err(Error::invalid(format!(
                "{address} is no address that a container in {} can have",
                self.subnet
            )));
        }
        if leases.contains(&address.to_string())? {
            return Err(Error::in_use(format!("{address} is in use already")));
        }
        Ok(address)
    }

    /// A free address. The search goes once around.
    fn choose(&mut self, leases: &Table<bool>) -> Result<IpAddr> {
        let (first, last) = self.range;
        let mut address = self.next;
        for _ in 0..=number(last) - number(first) {
            let next = behind(address)
                .filter(|next| *next <= last)
                .unwrap_or(first);
            if !leases.contains(&address.to_string())? {
                self.next = next;
                return Ok(address);
            }
            address = next;
        }
        Err(Error::exhausted(format!(
            "every address of {} is in use: remove a container, or take a larger --subnet",
            self.subnet
        )))
    }
}

impl Ipam for Driver {
    fn request_pool(request: &PoolRequest) -> Result<PoolResponse> {
        let space = &request.address_space;
        if !SPACES.contains(&space.as_str()) {
            return Err(Error::invalid(format!(
                "there is no address space {space:?}: say local or global"
            )));
        }
        if request.sub_pool.is_some() && request.pool.is_none() {
            return Err(Error::invalid(
                "--ip-range needs a --subnet that it is a part of",
            ));
        }
        let held = held(space)?;
        let subnet = match request.pool {
            Some(subnet) => subnet,
            None => offer(request.ipv6, &held)?,
        };
        check(subnet, request.ipv6)?;
        let mut id = format!("{space}/{subnet}");
        if let Some(range) = request.sub_pool {
            if !subnet.contains(&range) {
                return Err(Error::invalid(format!(
                    "--ip-range {range} is not a part of {subnet}"
                )));
            }
            id = format!("{id}+{range}");
        }
        let mut pool = match POOLS.get(&id)? {
            Some(known) => known,
            None => {
                if let Some(other) = held.into_iter().find(|other| overlap(subnet, *other)) {
                    return Err(Error::in_use(format!(
                        "{subnet} overlaps with {other}, which is held: choose another --subnet"
                    )));
                }
                Pool::new(request, subnet, request.sub_pool)?
            }
        };
        pool.networks += 1;
        POOLS.put(&id, &pool)?;
        Ok(PoolResponse {
            pool_id: id,
            pool: subnet,
            gateway: None,
            data: KeyValues::new(),
        })
    }

    fn release_pool(pool_id: &str) -> Result<()> {
        let Some(mut pool) = POOLS.get(pool_id)? else {
            return Ok(());
        };
        if pool.networks > 1 {
            pool.networks -= 1;
            return POOLS.put(pool_id, &pool);
        }
        for key in state::keys(&format!("leases/{pool_id}/"))? {
            state::delete(&key)?;
        }
        POOLS.remove(pool_id)
    }

    fn request_address(request: &AddressRequest) -> Result<AddressResponse> {
        let id = &request.pool_id;
        let missing = || Error::not_found(format!("there is no pool {id:?}"));
        let mut pool = POOLS.get(id)?.ok_or_else(missing)?;
        let leases = leases(id);
        let address = match request.address {
            Some(address) => pool.wanted(address, &leases)?,
            None => {
                let address = pool.choose(&leases)?;
                POOLS.put(id, &pool)?;
                address
            }
        };
        leases.put(&address.to_string(), &request.gateway)?;
        Ok(AddressResponse {
            address: IpNet::new(address, pool.subnet.prefix_len())?,
            data: KeyValues::new(),
        })
    }

    fn release_address(pool_id: &str, address: IpAddr) -> Result<()> {
        leases(pool_id).remove(&address.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dockside_driver::{ErrorCode, testing};

    fn request(pool: &str) -> PoolRequest {
        PoolRequest {
            address_space: "local".into(),
            pool: pool.parse().ok(),
            ipv6: pool.contains(':'),
            ..PoolRequest::default()
        }
    }

    fn pool(pool: &str) -> String {
        Driver::request_pool(&request(pool)).unwrap().pool_id
    }

    fn ask(pool_id: &str, wanted: Option<&str>) -> Result<String> {
        let request = AddressRequest {
            pool_id: pool_id.into(),
            address: wanted.map(|wanted| wanted.parse().unwrap()),
            ..AddressRequest::default()
        };
        Driver::request_address(&request).map(|given| given.address.to_string())
    }

    fn refused<T: std::fmt::Debug>(result: Result<T>) -> ErrorCode {
        result.unwrap_err().code()
    }

    #[test]
    fn addresses_come_in_order_and_a_released_one_is_not_the_next() {
        let id = pool("10.0.0.0/24");
        assert_eq!(ask(&id, None).unwrap(), "10.0.0.1/24");
        assert_eq!(ask(&id, None).unwrap(), "10.0.0.2/24");
        Driver::release_address(&id, "10.0.0.2".parse().unwrap()).unwrap();
        assert_eq!(ask(&id, None).unwrap(), "10.0.0.3/24");
        assert_eq!(ask(&id, Some("10.0.0.2")).unwrap(), "10.0.0.2/24");
    }

    #[test]
    fn a_pool_has_so_many_addresses() {
        for (subnet, count) in [
            ("10.0.0.0/29", 6),
            ("10.0.1.0/30", 2),
            ("10.0.2.0/31", 2),
            ("10.0.3.0/32", 1),
            ("fd00::/126", 3),
            ("fd01::/127", 2),
            ("255.255.255.255/32", 1),
        ] {
            let id = pool(subnet);
            let given: Vec<_> = (0..count).map(|_| ask(&id, None).unwrap()).collect();
            assert_eq!(
                refused(ask(&id, None)),
                ErrorCode::Exhausted,
                "{subnet}: {given:?}"
            );
            let first: IpNet = given[0].parse().unwrap();
            Driver::release_address(&id, first.addr()).unwrap();
            assert_eq!(ask(&id, None).unwrap(), given[0]);
        }
    }

    #[test]
    fn an_address_that_is_wanted_is_given_once_and_only_if_a_container_can_have_it() {
        let id = pool("10.0.0.0/24");
        assert_eq!(ask(&id, Some("10.0.0.9")).unwrap(), "10.0.0.9/24");
        assert_eq!(refused(ask(&id, Some("10.0.0.9"))), ErrorCode::InUse);
        for wanted in ["10.0.0.0", "10.0.0.255", "10.0.1.1", "fd00::1"] {
            assert_eq!(
                refused(ask(&id, Some(wanted))),
                ErrorCode::InvalidArgument,
                "{wanted}"
            );
        }
        assert_eq!(refused(ask("local/10.9.0.0/24", None)), ErrorCode::NotFound);
    }

    #[test]
    fn a_range_is_where_addresses_come_from_and_a_gateway_may_lie_outside() {
        let wish = PoolRequest {
            sub_pool: "10.0.0.128/31".parse().ok(),
            ..request("10.0.0.0/24")
        };
        let id = Driver::request_pool(&wish).unwrap().pool_id;
        assert_eq!(ask(&id, None).unwrap(), "10.0.0.128/24");
        assert_eq!(ask(&id, None).unwrap(), "10.0.0.129/24");
        assert_eq!(refused(ask(&id, None)), ErrorCode::Exhausted);
        assert_eq!(ask(&id, Some("10.0.0.1")).unwrap(), "10.0.0.1/24");
    }

    #[test]
    fn the_same_pool_again_counts_and_another_one_may_not_overlap() {
        let id = pool("10.0.0.0/24");
        assert_eq!(pool("10.0.0.0/24"), id);
        assert_eq!(
            refused(Driver::request_pool(&request("10.0.0.128/25"))),
            ErrorCode::InUse
        );
        let elsewhere = PoolRequest {
            address_space: "global".into(),
            ..request("10.0.0.128/25")
        };
        let elsewhere = Driver::request_pool(&elsewhere).unwrap().pool_id;
        ask(&id, None).unwrap();
        Driver::release_pool(&id).unwrap();
        ask(&id, None).unwrap();
        for _ in 0..2 {
            Driver::release_pool(&id).unwrap();
        }
        assert_eq!(refused(ask(&id, None)), ErrorCode::NotFound);
        Driver::release_pool(&elsewhere).unwrap();
        assert!(testing::state().is_empty());
    }

    #[test]
    fn subnets_that_are_offered_never_overlap() {
        for ipv6 in [false, true] {
            let wish = PoolRequest {
                ipv6,
                ..request("")
            };
            let mut given: Vec<IpNet> = Vec::new();
            for _ in 0..20 {
                let subnet = Driver::request_pool(&wish).unwrap().pool;
                assert!(
                    !given.iter().any(|other| overlap(*other, subnet)),
                    "{subnet}"
                );
                given.push(subnet);
            }
        }
    }

    #[test]
    fn pools_that_make_no_sense_are_refused() {
        let mut wishes: Vec<_> = [
            "10.0.0.1/24",
            "0.0.0.0/0",
            "127.0.0.0/16",
            "224.0.0.0/8",
            "::/0",
        ]
        .into_iter()
        .map(request)
        .collect();
        let good = || request("10.0.0.0/24");
        wishes.extend([
            PoolRequest {
                address_space: "mine".into(),
                ..good()
            },
            PoolRequest {
                ipv6: true,
                ..good()
            },
            PoolRequest {
                sub_pool: "10.0.1.0/25".parse().ok(),
                ..good()
            },
            PoolRequest {
                sub_pool: "10.0.0.0/25".parse().ok(),
                ..request("")
            },
        ]);
        for wish in wishes {
            let code = refused(Driver::request_pool(&wish));
            assert_eq!(code, ErrorCode::InvalidArgument, "{wish:?}");
        }
    }
}
