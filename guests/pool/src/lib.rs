//! Docker's IPAM: pools of IPv4 and IPv6 addresses, in which no address is ever given twice.

use std::net::IpAddr;

use dockside_addresses::pools;
use dockside_driver::{
    Ipam, KeyValues, Options, Result,
    ipam::{AddressRequest, AddressResponse, AddressSpaces, PoolRequest, PoolResponse},
    options::{self, Declaration},
};

struct Pool;

impl Ipam for Pool {
    fn get_default_address_spaces() -> AddressSpaces {
        AddressSpaces {
            local: pools::LOCAL.into(),
            global: pools::GLOBAL.into(),
        }
    }

    fn request_pool(request: &PoolRequest) -> Result<PoolResponse> {
        let (pool_id, pool) = pools::request_pool(request)?;
        Ok(PoolResponse {
            pool_id,
            pool,
            gateway: None,
            data: KeyValues::new(),
        })
    }

    fn release_pool(pool_id: &str) -> Result<()> {
        pools::release_pool(pool_id)
    }

    fn request_address(request: &AddressRequest) -> Result<AddressResponse> {
        let address = pools::request_address(&request.pool_id, request.address, request.gateway)?;
        Ok(AddressResponse {
            address,
            data: KeyValues::new(),
        })
    }

    fn release_address(pool_id: &str, address: IpAddr) -> Result<()> {
        pools::release_address(pool_id, address)
    }
}

impl Options for Pool {
    fn declare() -> Vec<Declaration> {
        vec![
            options::ipam("ipv4-size")
                .integer(8..=32)
                .help("Prefix length of the IPv4 subnet, if the driver chooses it"),
            options::ipam("ipv6-size")
                .integer(48..=128)
                .help("Prefix length of the IPv6 subnet, if the driver chooses it"),
        ]
    }
}

dockside_driver::export!(Pool: ipam, options);
