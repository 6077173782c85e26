use dockside_driver::{
    Error, IpNet, Ipam, Ipv4Net, KeyValues, Result, Table,
    ipam::{AddressRequest, AddressResponse, PoolRequest, PoolResponse},
    state,
    testing::model,
};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeSet, net::IpAddr};

/// What is wrong with a driver.
const NOTHING: u8 = 0;
const OFFERS_THE_SAME: u8 = 1;
const GIVES_TWICE: u8 = 2;
const FREES_ALL: u8 = 3;
const GIVES_THE_NETWORK: u8 = 4;
const FORGETS_A_FAILURE: u8 = 5;
const KEEPS_A_POOL: u8 = 6;
const IS_SOON_EMPTY: u8 = 7;
const IGNORES_WISHES: u8 = 8;
const LEAKS_AN_ADDRESS: u8 = 9;

#[derive(Serialize, Deserialize)]
struct Pool {
    subnet: Ipv4Net,
    times: u32,
    held: BTreeSet<IpAddr>,
}

static POOLS: Table<Pool> = Table::new("pools/");

struct Driver<const FAULT: u8>;

impl<const FAULT: u8> Ipam for Driver<FAULT> {
    fn request_pool(request: &PoolRequest) -> Result<PoolResponse> {
        let held = |subnet: &Ipv4Net| -> Result<bool> {
            let pools: Vec<_> = POOLS.iter()?.collect();
            let overlap = |other: Ipv4Net| other.contains(subnet) || subnet.contains(&other);
            Ok(pools.into_iter().any(|(_, pool)| overlap(pool.subnet)))
        };
        let subnet = match request.pool {
            Some(IpNet::V4(subnet)) => subnet,
            Some(IpNet::V6(_)) => return Err(Error::invalid("no IPv6")),
            None => {
                let mut all = (0..=255).map(|third| format!("10.99.{third}.0/24"));
                loop {
                    let next = all
                        .next()
                        .ok_or_else(|| Error::exhausted("no pool is left"))?;
                    let next = next.parse()?;
                    if FAULT == OFFERS_THE_SAME || !held(&next)? {
                        break next;
                    }
                }
            }
        };
        let id = subnet.to_string();
        let mut pool = match POOLS.get(&id)? {
            Some(pool) => pool,
            None if FAULT != OFFERS_THE_SAME && held(&subnet)? => {
                return Err(Error::in_use("it overlaps"));
            }
            None => Pool {
                subnet,
                times: 0,
                held: BTreeSet::new(),
            },
        };
        pool.times += 1;
        POOLS.put(&id, &pool)?;
        Ok(PoolResponse {
            pool_id: id,
            pool: subnet.into(),
            gateway: None,
            data: KeyValues::new(),
        })
    }

    fn release_pool(pool_id: &str) -> Result<()> {
        let Some(mut pool) = POOLS.get(pool_id)? else {
            return Ok(());
        };
        pool.times = pool.times.saturating_sub(1);
        match pool.times {
            0 if FAULT != KEEPS_A_POOL => POOLS.remove(pool_id),
            _ => POOLS.put(pool_id, &pool),
        }
    }

    fn request_address(request: &AddressRequest) -> Result<AddressResponse> {
        let mut pool = POOLS
            .get(&request.pool_id)?
            .ok_or_else(|| Error::not_found("there is no such pool"))?;
        let mut all: Vec<IpAddr> = pool.subnet.hosts().map(IpAddr::V4).collect();
        if FAULT == GIVES_THE_NETWORK {
            all.insert(0, pool.subnet.network().into());
        }
        if FAULT == IS_SOON_EMPTY {
            all.truncate(3);
        }
        let free = |address: &&IpAddr| FAULT == GIVES_TWICE || !pool.held.contains(*address);
        let mut wanted = all
            .iter()
            .filter(|address| request.address.is_none_or(|wanted| wanted == **address));
        let found = match FAULT {
            IGNORES_WISHES => all.iter().find(free),
            _ => wanted.find(free),
        };
        let found = *found.ok_or_else(|| match request.address {
            Some(wanted) => Error::in_use(format!("{wanted} cannot be had")),
            None => Error::exhausted("no address is left"),
        })?;
        pool.held.insert(found);
        let kept = POOLS.put(&request.pool_id, &pool);
        if FAULT != FORGETS_A_FAILURE {
            kept?;
        }
        if FAULT == LEAKS_AN_ADDRESS {
            state::set(&format!("owner/{found}"), &1)?;
        }
        Ok(AddressResponse {
            address: IpNet::new(found, pool.subnet.prefix_len()).map_err(|_| "no prefix")?,
            data: KeyValues::new(),
        })
    }

    fn release_address(pool_id: &str, address: IpAddr) -> Result<()> {
        let Some(mut pool) = POOLS.get(pool_id)? else {
            return Ok(());
        };
        if FAULT == FREES_ALL {
            pool.held.clear();
        }
        pool.held.remove(&address);
        POOLS.put(pool_id, &pool)
    }
}

fn check<const FAULT: u8>() -> Result<(), String> {
    model::ipam::<Driver<FAULT>>().seed(1).cases(1000).check()
}

#[test]
fn a_driver_that_is_right_passes() {
    check::<NOTHING>().unwrap();
}

#[test]
fn what_is_wrong_with_a_driver_is_found_and_short() {
    type Check = fn() -> Result<(), String>;
    let table: &[(Check, &str)] = &[
        (check::<OFFERS_THE_SAME>, "is held"),
        (check::<GIVES_TWICE>, "held already"),
        (check::<FREES_ALL>, "held already"),
        (check::<GIVES_THE_NETWORK>, "answers 10."),
        (check::<FORGETS_A_FAILURE>, "held already"),
        (check::<KEEPS_A_POOL>, "left"),
        (check::<IS_SOON_EMPTY>, " fails: "),
        (check::<IGNORES_WISHES>, "answers 10."),
        (check::<LEAKS_AN_ADDRESS>, "\"owner/10."),
    ];
    for (check, words) in table {
        let found = check().expect_err(words);
        assert!(found.contains(words), "{words}: {found}");
        let shown = found.lines().filter(|line| line.starts_with("  ")).count();
        assert!(shown <= 12, "{words}: {found}");
    }
}
