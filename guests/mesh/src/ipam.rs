//! Addresses. Hosts that share networks without a manager to ask each give from a slice of their own.

use std::net::IpAddr;

use dockside_addresses::{pools, subnet};
use dockside_driver::{
    Error, IpNet, Ipam, KeyValues, Result, Table,
    ipam::{AddressRequest, AddressResponse, AddressSpaces, PoolRequest, PoolResponse},
};
use serde::{Deserialize, Serialize};

use crate::{Mesh, cluster};

/// What is cut of a pool.
#[derive(Debug, Serialize, Deserialize)]
struct Cut {
    subnet: IpNet,
    /// What all hosts give from together.
    range: IpNet,
    /// What this host gives.
    slice: IpNet,
    /// The subnet's first address, which is the gateway's wherever somebody asks for it and nobody else's.
    first: Option<IpAddr>,
}

static CUTS: Table<Cut> = Table::new("cut/");

impl Cut {
    fn new(request: &PoolRequest, listed: &cluster::Listed) -> Result<Self> {
        let subnet = request.pool.ok_or_else(|| {
            Error::invalid(
                "hosts that share networks have to agree on the subnet: give --subnet, the same on each of them, or --ipam-opt peers=none for a network of this host alone",
            )
        })?;
        let range = request.sub_pool.unwrap_or(subnet);
        let (bits, place) = listed.slice()?;
        let prefix = u32::from(range.prefix_len()) + bits;
        let slice = u8::try_from(prefix)
            .ok()
            .and_then(|prefix| {
                let behind = u32::from(range.max_prefix_len()).checked_sub(u32::from(prefix))?;
                let offset = place.checked_shl(behind)?;
                subnet::containing(subnet::address(range, offset), prefix)
            })
            .ok_or_else(|| {
                Error::exhausted(format!(
                    "{range} is too small to be shared by {} hosts; give a larger --subnet",
                    1_u32.checked_shl(bits).unwrap_or(u32::MAX)
                ))
            })?;
        let first = subnet::address(subnet, subnet::usable(subnet).0);
        Ok(Self {
            subnet,
            range,
            slice,
            first: request.sub_pool.is_none().then_some(first),
        })
    }

    fn with_prefix(&self, address: IpAddr) -> Result<IpNet> {
        Ok(IpNet::new(address, self.subnet.prefix_len())?)
    }

    /// The answer that this host may give at once, if there is one.
    fn gateway(&self, request: &AddressRequest) -> Result<Option<IpNet>> {
        match self.first.filter(|_| request.gateway) {
            Some(first) if request.address == Some(first) => self.with_prefix(first).map(Some),
            Some(first) if request.address.is_none() && self.slice.contains(&first) => {
                self.with_prefix(first).map(Some)
            }
            _ => Ok(None),
        }
    }

    fn check(&self, wanted: Option<IpAddr>) -> Result<()> {
        match wanted {
            Some(address) if self.range.contains(&address) && !self.slice.contains(&address) => {
                Err(Error::invalid(format!(
                    "{address} is another host's to give: of {} this one gives {}, by its place in `{}` under [config]",
                    self.range,
                    self.slice,
                    cluster::PEERS
                )))
            }
            _ => Ok(()),
        }
    }
}

impl Ipam for Mesh {
    fn get_default_address_spaces() -> AddressSpaces {
        AddressSpaces {
            local: pools::LOCAL.into(),
            global: pools::GLOBAL.into(),
        }
    }

    fn request_pool(request: &PoolRequest) -> Result<PoolResponse> {
        // A swarm's manager gives the addresses of its networks for all nodes.
        let shared = request.address_space == pools::LOCAL
            && request.options.get(cluster::PEERS) != Some("none");
        let listed = if shared { cluster::configured()? } else { None };
        let (pool_id, pool) = match listed {
            None => pools::request_pool(request)?,
            Some(listed) => {
                let cut = Cut::new(request, &listed)?;
                let (id, pool) = pools::request_pool(&PoolRequest {
                    sub_pool: Some(cut.slice),
                    ..request.clone()
                })?;
                if let Some(first) = cut.first.filter(|first| cut.slice.contains(first)) {
                    pools::request_address(&id, Some(first), true)?;
                }
                CUTS.put(&id, &cut)?;
                (id, pool)
            }
        };
        Ok(PoolResponse {
            pool_id,
            pool,
            gateway: None,
            data: KeyValues::new(),
        })
    }

    fn release_pool(pool_id: &str) -> Result<()> {
        CUTS.remove(pool_id)?;
        pools::release_pool(pool_id)
    }

    fn request_address(request: &AddressRequest) -> Result<AddressResponse> {
        let at_once = match CUTS.get(&request.pool_id)? {
            None => None,
            Some(cut) => {
                let gateway = cut.gateway(request)?;
                if gateway.is_none() {
                    cut.check(request.address)?;
                }
                gateway
            }
        };
        let address = match at_once {
            Some(address) => address,
            None => pools::request_address(&request.pool_id, request.address, request.gateway)?,
        };
        Ok(AddressResponse {
            address,
            data: KeyValues::new(),
        })
    }

    fn release_address(pool_id: &str, address: IpAddr) -> Result<()> {
        match CUTS.get(pool_id)? {
            Some(cut) if cut.first == Some(address) => Ok(()),
            _ => pools::release_address(pool_id, address),
        }
    }
}
