//! The driver against a model of a few lines, in a long random run.
//!
//! `DOCKSIDE_OPERATIONS` says how many operations (default 5,000), `DOCKSIDE_SEED` which (default: one of this moment, which is printed).

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use dockside_driver::{
    Error, ErrorCode, IpNet, KeyValues, MacAddr, Result, ipam::AddressRequest, ipam::PoolRequest,
    testing,
};
use proptest::prelude::Rng;
use proptest::test_runner::{RngAlgorithm, TestRng};

use crate::{addresses, admin, pools, subnet};

/// What a held address is held for.
#[derive(Clone, Debug)]
struct Lease {
    mac: Option<MacAddr>,
    gateway: bool,
    generation: u32,
}

#[derive(Clone, Debug)]
struct Pool {
    subnet: IpNet,
    /// Ranges, and how many networks each has.
    ranges: BTreeMap<Option<IpNet>, u32>,
    engine: usize,
    generation: u32,
    held: BTreeMap<IpAddr, Lease>,
}

/// Everything that the driver should know, in sets.
#[derive(Default)]
struct Model {
    pools: BTreeMap<IpNet, Pool>,
    reserved: BTreeMap<IpNet, BTreeMap<IpAddr, Option<MacAddr>>>,
    engine: usize,
}

impl Pool {
    fn is_usable(&self, address: IpAddr) -> bool {
        let (first, last) = subnet::usable(self.subnet);
        subnet::offset(self.subnet, address).is_some_and(|at| (first..=last).contains(&at))
    }

    fn addresses(&self, range: Option<IpNet>) -> impl Iterator<Item = IpAddr> {
        let of = range.unwrap_or(self.subnet);
        (0..=subnet::last_offset(of)).map(move |at| subnet::address(of, at))
    }
}

impl Model {
    fn whom(&self, subnet: IpNet, address: IpAddr) -> Option<Option<MacAddr>> {
        self.reserved.get(&subnet)?.get(&address).copied()
    }

    fn has_free(&self, pool: &Pool, range: Option<IpNet>) -> bool {
        pool.addresses(range).any(|address| {
            pool.is_usable(address)
                && !pool.held.contains_key(&address)
                && self.whom(pool.subnet, address).is_none()
        })
    }
}

struct Run {
    rng: TestRng,
    model: Model,
    granted: usize,
}

fn id(pool: IpNet, range: Option<IpNet>) -> String {
    let range = range.map(|range| format!("/{range}")).unwrap_or_default();
    format!("{}/{pool}{range}", pools::LOCAL)
}

fn mac(number: u32) -> MacAddr {
    format!("02:00:00:00:00:{number:02x}").parse().unwrap()
}

impl Run {
    fn below(&mut self, limit: u32) -> u32 {
        self.rng.next_u32() % limit
    }

    fn one_in(&mut self, of: u32) -> bool {
        self.below(of) == 0
    }

    /// A small subnet in a small world, so that the same things are met again and again.
    fn subnet(&mut self) -> IpNet {
        let low = self.below(128);
        let (base, length) = if self.one_in(4) {
            let base = std::net::Ipv6Addr::from((0xfd00 << 112) | u128::from(low));
            (IpAddr::V6(base), 121 + self.below(8))
        } else {
            (IpAddr::V4((0x0a00_0000 | low).into()), 25 + self.below(8))
        };
        subnet::containing(base, u8::try_from(length).unwrap()).unwrap()
    }

    fn known(&mut self) -> Option<(IpNet, Option<IpNet>)> {
        let all: Vec<_> = self
            .model
            .pools
            .iter()
            .flat_map(|(subnet, pool)| pool.ranges.keys().map(|range| (*subnet, *range)))
            .collect();
        let count = u32::try_from(all.len()).unwrap();
        (count > 0).then(|| all[self.below(count) as usize])
    }

    fn address_in(&mut self, subnet: IpNet) -> IpAddr {
        // Now and then one that lies beside it.
        let span = u32::try_from(subnet::last_offset(subnet)).unwrap() + 2;
        let offset = u128::from(self.below(span));
        match subnet {
            IpNet::V4(net) => {
                IpAddr::V4((u32::from(net.network()).wrapping_add(offset as u32)).into())
            }
            IpNet::V6(net) => IpAddr::V6((u128::from(net.network()) + offset).into()),
        }
    }

    fn step(&mut self) {
        match self.below(100) {
            0..12 => {
                let wanted = self.subnet();
                let wanted = match self.known() {
                    Some((known, _)) if self.one_in(2) => known,
                    _ => wanted,
                };
                let range = self.one_in(3).then(|| {
                    let at = self.address_in(wanted);
                    let longest = u32::from(wanted.max_prefix_len() - wanted.prefix_len());
                    let length =
                        wanted.prefix_len() + u8::try_from(self.below(longest + 1)).unwrap();
                    subnet::containing(at, length).filter(|range| wanted.contains(range))
                });
                self.request_pool(wanted, range.flatten());
            }
            12..20 => self.release_pool(),
            20..62 => self.request_address(),
            62..90 => self.release_address(),
            90..97 => self.reserve(),
            _ => self.restart(),
        }
    }

    fn request_pool(&mut self, wanted: IpNet, range: Option<IpNet>) {
        let range = range.filter(|range| *range != wanted);
        let request = PoolRequest {
            address_space: pools::LOCAL.into(),
            pool: Some(wanted),
            sub_pool: range,
            ipv6: matches!(wanted, IpNet::V6(_)),
            engine: format!("engine {}", self.model.engine),
            ..PoolRequest::default()
        };
        let answer = pools::request_shared_pool(&request);
        let new = Pool {
            subnet: wanted,
            ranges: BTreeMap::new(),
            engine: self.model.engine,
            generation: 0,
            held: BTreeMap::new(),
        };
        let is_empty = !new.addresses(range).any(|address| new.is_usable(address));
        let overlaps = |other: &&IpNet| **other != wanted && subnet::overlap(**other, wanted);
        if is_empty {
            assert_eq!(answer.unwrap_err().code(), ErrorCode::InvalidArgument);
        } else if self.model.pools.keys().any(|other| overlaps(&other)) {
            assert_eq!(answer.unwrap_err().code(), ErrorCode::InUse);
        } else {
            assert_eq!(answer.unwrap(), (id(wanted, range), wanted));
            let pool = self.model.pools.entry(wanted).or_insert(new);
            if pool.engine != self.model.engine {
                pool.engine = self.model.engine;
                pool.generation += 1;
                pool.ranges.values_mut().for_each(|networks| *networks = 0);
            }
            *pool.ranges.entry(range).or_default() += 1;
        }
    }

    fn release_pool(&mut self) {
        let Some((subnet, range)) = self.known() else {
            return;
        };
        pools::release_pool(&id(subnet, range)).unwrap();
        let pool = self.model.pools.get_mut(&subnet).unwrap();
        let networks = pool.ranges.get_mut(&range).unwrap();
        *networks = networks.saturating_sub(1);
        if *networks == 0 {
            pool.ranges.remove(&range);
        }
        if pool.ranges.is_empty() {
            self.model.pools.remove(&subnet);
        }
    }

    fn request_address(&mut self) {
        let Some((subnet, range)) = self.known() else {
            return;
        };
        let wish = self.one_in(3).then(|| self.address_in(subnet));
        let gateway = self.one_in(8);
        let number = self.below(12);
        let mac = (number > 3 && !gateway).then(|| mac(number));
        let request = AddressRequest {
            pool_id: id(subnet, range),
            address: wish,
            gateway,
            mac_address: mac,
            ..AddressRequest::default()
        };
        let fails_later = self.one_in(20);
        let answer = if fails_later {
            let before = testing::state();
            let failed: Result<()> = testing::call(|| {
                addresses::request_address(&request)?;
                Err(Error::other("later"))
            });
            failed.unwrap_err();
            assert!(testing::state() == before, "a failed call left something");
            return;
        } else {
            addresses::request_address(&request)
        };
        let pool = &self.model.pools[&subnet];
        let kept = self.model.reserved.get(&subnet).and_then(|reserved| {
            reserved
                .iter()
                .find(|(_, kept)| mac.is_some() && **kept == mac)
        });
        let wanted = wish.or(kept.map(|(address, _)| *address));
        let lease = Lease {
            mac,
            gateway,
            generation: pool.generation,
        };
        let Some(wanted) = wanted else {
            match answer {
                Ok(given) => {
                    let address = given.addr();
                    assert_eq!(given.prefix_len(), subnet.prefix_len());
                    assert!(range.unwrap_or(subnet).contains(&address) && pool.is_usable(address));
                    assert!(
                        !pool.held.contains_key(&address),
                        "{address} was given twice"
                    );
                    assert_eq!(self.model.whom(subnet, address), None);
                    self.model
                        .pools
                        .get_mut(&subnet)
                        .unwrap()
                        .held
                        .insert(address, lease);
                    self.granted += 1;
                }
                Err(error) => {
                    assert_eq!(error.code(), ErrorCode::Exhausted, "{error}");
                    assert!(!self.model.has_free(pool, range), "{error}");
                }
            }
            return;
        };
        let reserved = self.model.whom(subnet, wanted);
        let expected = if !pool.subnet.contains(&wanted) || !pool.is_usable(wanted) {
            Err(ErrorCode::InvalidArgument)
        } else if reserved.is_some_and(|kept| kept.is_none() || kept != mac) {
            Err(ErrorCode::InUse)
        } else {
            match pool.held.get(&wanted) {
                None => Ok(()),
                Some(held) if held.mac.is_some() && mac.is_some() => {
                    if held.mac == mac {
                        Ok(())
                    } else {
                        Err(ErrorCode::InUse)
                    }
                }
                Some(held)
                    if held.generation < pool.generation
                        && mac.is_none()
                        && held.gateway == gateway =>
                {
                    Ok(())
                }
                Some(_) => Err(ErrorCode::InUse),
            }
        };
        match (answer, expected) {
            (Ok(given), Ok(())) => {
                assert_eq!(given.addr(), wanted);
                self.model
                    .pools
                    .get_mut(&subnet)
                    .unwrap()
                    .held
                    .insert(wanted, lease);
                self.granted += 1;
            }
            (Err(error), Err(code)) => assert_eq!(error.code(), code, "{error}"),
            (answer, expected) => panic!("{request:?}: {answer:?}, not {expected:?}"),
        }
    }

    fn release_address(&mut self) {
        let Some((subnet, range)) = self.known() else {
            return;
        };
        let address = self.address_in(subnet);
        addresses::release_address(&id(subnet, range), address).unwrap();
        self.model
            .pools
            .get_mut(&subnet)
            .unwrap()
            .held
            .remove(&address);
    }

    fn reserve(&mut self) {
        let Some((subnet, _)) = self.known() else {
            return;
        };
        let address = self.address_in(subnet);
        let number = self.below(12);
        let mac = (number > 3).then(|| mac(number));
        let verb = if self.one_in(2) {
            "reserve"
        } else {
            "unreserve"
        };
        let mut arguments = KeyValues::new();
        arguments.insert("pool", id(subnet, None));
        arguments.insert("address", address);
        if let Some(mac) = mac {
            arguments.insert("mac", mac);
        }
        let answer = admin::run(verb, &arguments)
            .map(drop)
            .map_err(|error| error.code());
        let pool = &self.model.pools[&subnet];
        let reserved = self.model.reserved.entry(subnet).or_default();
        let expected = if !subnet.contains(&address) {
            Err(ErrorCode::InvalidArgument)
        } else if verb == "unreserve" {
            reserved
                .remove(&address)
                .map(drop)
                .ok_or(ErrorCode::NotFound)
        } else if pool
            .held
            .get(&address)
            .is_some_and(|held| mac.is_none() || held.mac != mac)
            || mac.is_some()
                && reserved
                    .iter()
                    .any(|(other, kept)| *kept == mac && *other != address)
        {
            Err(ErrorCode::InUse)
        } else {
            reserved.insert(address, mac);
            Ok(())
        };
        assert_eq!(answer, expected, "{verb} {arguments:?}");
    }

    /// The engine starts again and asks for some of what it had, as it does; the rest it has forgotten.
    fn restart(&mut self) {
        self.model.engine += 1;
        let known: Vec<_> = self
            .model
            .pools
            .iter()
            .flat_map(|(subnet, pool)| {
                let ranges = pool.ranges.iter().filter(|(_, networks)| **networks > 0);
                ranges.map(|(range, _)| (*subnet, *range))
            })
            .collect();
        for (subnet, range) in known {
            if !self.one_in(4) {
                self.request_pool(subnet, range);
            }
        }
    }

    fn compare(&self) {
        let listed = admin::run("leases", &[("limit", "100000")].into_iter().collect()).unwrap();
        let listed: Vec<dockside_driver::serde_json::Value> =
            dockside_driver::serde_json::from_str(&listed).unwrap();
        let listed: Vec<IpAddr> = listed
            .iter()
            .map(|lease| lease["address"].as_str().unwrap().parse().unwrap())
            .collect();
        let distinct: BTreeSet<_> = listed.iter().copied().collect();
        assert_eq!(listed.len(), distinct.len(), "an address is listed twice");
        let expected: BTreeSet<_> = self
            .model
            .pools
            .values()
            .flat_map(|pool| pool.held.keys().copied())
            .collect();
        assert_eq!(distinct, expected);
    }
}

#[test]
fn the_driver_agrees_with_the_model() {
    let number = |name: &str| {
        std::env::var(name)
            .ok()
            .map(|text| text.parse::<u64>().unwrap())
    };
    let operations = number("DOCKSIDE_OPERATIONS").unwrap_or(5_000);
    let seed = number("DOCKSIDE_SEED").unwrap_or_else(dockside_driver::time::unix_seconds);
    println!("DOCKSIDE_SEED={seed}");
    testing::reset();
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let mut run = Run {
        rng: TestRng::from_seed(RngAlgorithm::ChaCha, &bytes),
        model: Model::default(),
        granted: 0,
    };
    for operation in 0..operations {
        run.step();
        if operation % 500 == 0 {
            run.compare();
        }
    }
    run.compare();
    println!(
        "{operations} IPAM operations, {} addresses given, seed {seed}: 0 divergences from the model, 0 duplicate addresses",
        run.granted
    );
    // Nothing is left when everything was given back.
    while let Some((subnet, range)) = run.known() {
        let networks = run.model.pools[&subnet].ranges[&range].max(1);
        for _ in 0..networks {
            pools::release_pool(&id(subnet, range)).unwrap();
        }
        let pool = run.model.pools.get_mut(&subnet).unwrap();
        pool.ranges.remove(&range);
        if pool.ranges.is_empty() {
            run.model.pools.remove(&subnet);
        }
    }
    let left: Vec<String> = crate::state::cost::keys();
    assert!(
        left.iter().all(|key| key.starts_with("reserved/")),
        "{left:?}"
    );
}
