use ipnet::{IpNet, Ipv4Net};
use proptest::prelude::*;
use std::{
    collections::BTreeSet,
    fmt::{self, Display},
    net::IpAddr,
};

use super::{Common, Trouble, explore};
use crate::{
    ErrorCode, Ipam, KeyValues, MacAddr, Result,
    ipam::{
        AddressRequest, AddressResponse, AddressSpaces, Capabilities, PoolRequest, PoolResponse,
    },
};

/// Pools that users name: 10.87.0.0/29 and those behind it. Small, so that they are soon used up.
const NAMED: u8 = 3;

/// Prefix length of them.
const LENGTH: u8 = 29;

/// Pools that are held at once, at most.
const POOLS: usize = 5;

/// What an IPAM driver is asked by [`ipam`].
#[derive(Clone, Copy, Debug)]
pub struct IpamModel {
    common: Common,
    driver: Driver,
}

#[derive(Clone, Copy, Debug)]
struct Driver {
    capabilities: fn() -> Capabilities,
    spaces: fn() -> AddressSpaces,
    request_pool: fn(&PoolRequest) -> Result<PoolResponse>,
    release_pool: fn(&str) -> Result<()>,
    request_address: fn(&AddressRequest) -> Result<AddressResponse>,
    release_address: fn(&str, IpAddr) -> Result<()>,
}

/// Asks an IPAM driver for pools and addresses, while the machine starts again and host calls fail. What it has to do:
///
/// - A pool that the user names is given as it was named, and one that the driver chooses overlaps with none that is held.
/// - A pool that is held already is given again under the same ID, and is held until it has been released as often; or it is refused.
/// - An address lies in its pool, has the pool's prefix, and is nobody else's. One that was asked for by name is that one, if it is free,
///   and is refused if it is not. A pool gives all its addresses before it says that there are none.
/// - Releasing what is not held succeeds, and frees nothing of anybody else's.
/// - A call that fails changes nothing, and when all is released nothing is left.
pub fn ipam<D: Ipam>() -> IpamModel {
    IpamModel {
        common: Common::new(),
        driver: Driver {
            capabilities: D::get_capabilities,
            spaces: D::get_default_address_spaces,
            request_pool: D::request_pool,
            release_pool: D::release_pool,
            request_address: D::request_address,
            release_address: D::release_address,
        },
    }
}

common!(IpamModel);

impl IpamModel {
    /// Runs it.
    ///
    /// # Errors
    /// What was found, in words: what is wrong, and the calls that lead to it.
    pub fn check(self) -> Result<(), String> {
        explore("addresses", &self.common, Step::strategy(), |steps| {
            World::play(&self, steps)
        })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// A pool that the user names.
    Named(u8),
    /// A pool that the driver chooses.
    Any,
    ReleasePool(usize),
    /// An address of a pool that is held: any, or the one at this offset.
    Address(usize, Option<u8>),
    Gateway(usize),
    Release(usize, usize),
    /// One that is not held.
    ReleaseOther(usize, u8),
    Reboot,
}

impl Step {
    fn strategy() -> impl Strategy<Value = Self> {
        let pool = || 0..POOLS;
        let offset = 0..=(1_u8 << (32 - LENGTH));
        prop_oneof![
            4 => (0..NAMED).prop_map(Self::Named),
            1 => Just(Self::Any),
            2 => pool().prop_map(Self::ReleasePool),
            10 => (pool(), proptest::option::weighted(0.3, offset.clone()))
                .prop_map(|(pool, offset)| Self::Address(pool, offset)),
            1 => pool().prop_map(Self::Gateway),
            5 => (pool(), 0..8_usize).prop_map(|(pool, address)| Self::Release(pool, address)),
            1 => (pool(), offset).prop_map(|(pool, offset)| Self::ReleaseOther(pool, offset)),
            1 => Just(Self::Reboot),
        ]
    }
}

impl Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Named(number) => write!(f, "request the pool {}", named(*number)),
            Self::Any => f.write_str("request any pool"),
            Self::ReleasePool(pool) => write!(f, "release held pool {pool}"),
            Self::Address(pool, None) => write!(f, "request any address of held pool {pool}"),
            Self::Address(pool, Some(offset)) => {
                write!(f, "request address {offset} of held pool {pool}")
            }
            Self::Gateway(pool) => write!(f, "request a gateway's address of held pool {pool}"),
            Self::Release(pool, address) => {
                write!(f, "release held address {address} of held pool {pool}")
            }
            Self::ReleaseOther(pool, offset) => {
                write!(
                    f,
                    "release address {offset} of held pool {pool} if nobody holds it"
                )
            }
            Self::Reboot => f.write_str("the machine starts again"),
        }
    }
}

fn named(number: u8) -> IpNet {
    let net = Ipv4Net::new([10, 87, 0, number << (32 - LENGTH)].into(), LENGTH);
    net.unwrap_or_default().into()
}

struct Pool {
    id: String,
    subnet: IpNet,
    /// How often it was given.
    times: u32,
    held: BTreeSet<IpAddr>,
}

impl Pool {
    /// The address at an offset, which may lie behind the pool.
    fn at(&self, offset: u8) -> IpAddr {
        match self.subnet {
            IpNet::V4(net) => {
                IpAddr::V4(u32::from(net.network()).wrapping_add(offset.into()).into())
            }
            IpNet::V6(net) => {
                IpAddr::V6(u128::from(net.network()).wrapping_add(offset.into()).into())
            }
        }
    }

    fn is_usable(&self, address: IpAddr) -> bool {
        self.subnet.contains(&address)
            && address != self.subnet.network()
            && (address != self.subnet.broadcast() || self.subnet.addr().is_ipv6())
    }

    /// Whether it has an address that nobody holds; a large one always has.
    fn has_free(&self) -> bool {
        let span = self.subnet.max_prefix_len() - self.subnet.prefix_len();
        span > 7
            || (0..1_u8 << span).any(|offset| {
                let address = self.at(offset);
                self.is_usable(address) && !self.held.contains(&address)
            })
    }
}

struct World<'a> {
    common: &'a Common,
    driver: Driver,
    spaces: AddressSpaces,
    needs_mac: bool,
    pools: Vec<Pool>,
    macs: u8,
}

impl<'a> World<'a> {
    fn play(model: &'a IpamModel, steps: &[(Step, Trouble)]) -> Result<(), String> {
        let before = model.common.begin()?;
        let mut world = Self {
            common: &model.common,
            driver: model.driver,
            spaces: (model.driver.spaces)(),
            needs_mac: (model.driver.capabilities)().requires_mac_address,
            pools: Vec::new(),
            macs: 0,
        };
        for (step, trouble) in steps {
            world.step(*step, *trouble)?;
        }
        while !world.pools.is_empty() {
            while world
                .pools
                .first()
                .is_some_and(|pool| !pool.held.is_empty())
            {
                world.release(0, 0, Trouble::None)?;
            }
            world.release_pool(0, Trouble::None)?;
        }
        world.common.nothing_is_left(&before)
    }

    /// Numbers go round, so that a sequence that is made shorter still means something.
    fn pool(&mut self, index: usize) -> Option<&mut Pool> {
        let count = self.pools.len().max(1);
        self.pools.get_mut(index % count)
    }

    fn step(&mut self, step: Step, trouble: Trouble) -> Result<(), String> {
        match step {
            Step::Named(number) => self.request_pool(Some(named(number)), trouble),
            Step::Any if self.pools.len() < POOLS => self.request_pool(None, trouble),
            Step::Any => Ok(()),
            Step::ReleasePool(pool) => self.release_pool(pool, trouble),
            Step::Address(pool, offset) => self.request(pool, offset, false, trouble),
            Step::Gateway(pool) => self.request(pool, None, true, trouble),
            Step::Release(pool, address) => self.release(pool, address, trouble),
            Step::ReleaseOther(pool, offset) => self.release_other(pool, offset, trouble),
            Step::Reboot => self.common.reboot(),
        }
    }

    fn request_pool(&mut self, wanted: Option<IpNet>, trouble: Trouble) -> Result<(), String> {
        let request = PoolRequest {
            address_space: self.spaces.local.clone(),
            pool: wanted,
            engine: "engine".into(),
            ..PoolRequest::default()
        };
        let ask = self.driver.request_pool;
        let shown = wanted.map_or("any pool".into(), |pool| format!("the pool {pool}"));
        let answer = self.common.ask(trouble, || ask(&request));
        let mut pools = self.pools.iter_mut();
        let known = pools.find(|pool| Some(pool.subnet) == wanted);
        let given = match (answer, &known) {
            (Ok(given), _) => given,
            // One that is held may be refused.
            (Err(_), Some(_)) => return Ok(()),
            (Err(failed), None) => return failed.expect(format!("a request for {shown}")),
        };
        if let Some(known) = known {
            known.times += 1;
            return match given.pool_id == known.id && given.pool == known.subnet {
                true => Ok(()),
                false => Err(format!(
                    "a request for {shown}, which is held as {:?}, answers {given:?}",
                    known.id
                )),
            };
        }
        if wanted.is_some_and(|wanted| wanted != given.pool) || given.pool != given.pool.trunc() {
            return Err(format!("a request for {shown} answers {}", given.pool));
        }
        let clash = self.pools.iter().find(|other| {
            other.id == given.pool_id
                || other.subnet.contains(&given.pool)
                || given.pool.contains(&other.subnet)
        });
        // A pool that the driver chose before may be in the way of one that the user names: that has to be an error.
        if let Some(clash) = clash {
            return Err(format!(
                "a request for {shown} answers {:?} {}, and {:?} {} is held",
                given.pool_id, given.pool, clash.id, clash.subnet
            ));
        }
        if given.pool_id.is_empty() {
            return Err(format!("a request for {shown} answers no ID"));
        }
        let held = given.gateway.map(|gateway| gateway.addr());
        self.pools.push(Pool {
            id: given.pool_id,
            subnet: given.pool,
            times: 1,
            held: held.into_iter().collect(),
        });
        Ok(())
    }

    fn release_pool(&mut self, index: usize, trouble: Trouble) -> Result<(), String> {
        let index = index % self.pools.len().max(1);
        let Some(pool) = self.pools.get_mut(index) else {
            return Ok(());
        };
        if pool.times == 1 && !pool.held.is_empty() {
            // Docker releases its addresses first.
            return Ok(());
        }
        let ask = self.driver.release_pool;
        if let Err(failed) = self.common.ask(trouble, || ask(&pool.id)) {
            return failed.expect(format!("the release of pool {:?}", pool.id));
        }
        pool.times -= 1;
        if pool.times == 0 {
            let pool = self.pools.remove(index);
            // Once more frees nobody else's.
            if let Err(failed) = self.common.ask(Trouble::None, || ask(&pool.id)) {
                return failed.expect(format!("a second release of pool {:?}", pool.id));
            }
        }
        Ok(())
    }

    fn request(
        &mut self,
        index: usize,
        offset: Option<u8>,
        gateway: bool,
        trouble: Trouble,
    ) -> Result<(), String> {
        self.macs = self.macs.wrapping_add(1);
        let mac = MacAddr([2, 0, 0, 0, 0, self.macs]);
        let (common, ask) = (self.common, self.driver.request_address);
        let needs_mac = self.needs_mac;
        let Some(pool) = self.pool(index) else {
            return Ok(());
        };
        let mut options = KeyValues::new();
        if gateway {
            options.insert("RequestAddressType", "com.docker.network.gateway");
        }
        let wanted = offset.map(|offset| pool.at(offset));
        let request = AddressRequest {
            pool_id: pool.id.clone(),
            address: wanted,
            gateway,
            mac_address: (needs_mac && !gateway).then_some(mac),
            options,
        };
        let answer = common.ask(trouble, || ask(&request));
        let shown = match wanted {
            Some(wanted) => format!("a request for {wanted} of {}", pool.subnet),
            None => format!("a request for any address of {}", pool.subnet),
        };
        let possible = match wanted {
            Some(wanted) => pool.is_usable(wanted) && !pool.held.contains(&wanted),
            None => pool.has_free(),
        };
        let address = match answer {
            Ok(given) => given.address,
            Err(failed) if possible => return failed.expect(shown),
            Err(failed) if wanted.is_none() && !failed.was_wanted => {
                return match failed.error.code() {
                    ErrorCode::Exhausted => Ok(()),
                    code => Err(format!(
                        "{shown} answers {code:?}, and Exhausted is what it is: {}",
                        failed.error
                    )),
                };
            }
            Err(_) => return Ok(()),
        };
        let given = address.addr();
        if pool.held.contains(&given) {
            return Err(format!("{shown} answers {given}, which is held already"));
        }
        if !pool.is_usable(given) || wanted.is_some_and(|wanted| wanted != given) {
            return Err(format!("{shown} answers {given}"));
        }
        if address.prefix_len() != pool.subnet.prefix_len() {
            return Err(format!("{shown} answers {address}, with another prefix"));
        }
        pool.held.insert(given);
        Ok(())
    }

    fn release(&mut self, index: usize, which: usize, trouble: Trouble) -> Result<(), String> {
        let (common, ask) = (self.common, self.driver.release_address);
        let Some(pool) = self.pool(index) else {
            return Ok(());
        };
        let which = which % pool.held.len().max(1);
        let Some(address) = pool.held.iter().nth(which).copied() else {
            return Ok(());
        };
        if let Err(failed) = common.ask(trouble, || ask(&pool.id, address)) {
            return failed.expect(format!("the release of {address}"));
        }
        pool.held.remove(&address);
        Ok(())
    }

    fn release_other(&mut self, index: usize, offset: u8, trouble: Trouble) -> Result<(), String> {
        let (common, ask) = (self.common, self.driver.release_address);
        let Some(pool) = self.pool(index) else {
            return Ok(());
        };
        let address = pool.at(offset);
        if pool.held.contains(&address) {
            return Ok(());
        }
        match common.ask(trouble, || ask(&pool.id, address)) {
            Ok(()) => Ok(()),
            // What lies outside of the pool may be refused.
            Err(_) if !pool.subnet.contains(&address) => Ok(()),
            Err(failed) => failed.expect(format!("the release of {address}, which nobody holds,")),
        }
    }
}
