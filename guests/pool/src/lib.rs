//! Docker's IPAM: pools of IPv4 and IPv6 addresses, in which no address is ever given twice.

use dockside_addresses::{addresses, admin, pools};
use dockside_driver::{
    Admin, Ipam, KeyValues, Options, Result,
    admin::Verb,
    ipam::{
        AddressRequest, AddressResponse, AddressSpaces, Capabilities, PoolRequest, PoolResponse,
    },
    options::{self, Declaration},
};
use std::net::IpAddr;

struct Pool;

impl Ipam for Pool {
    fn get_capabilities() -> Capabilities {
        Capabilities {
            // Without it there could be no reservations.
            requires_mac_address: true,
            // Networks that another driver of this name made are known when the engine has started again, and so are those of a lost state.
            requires_request_replay: true,
        }
    }

    fn get_default_address_spaces() -> AddressSpaces {
        AddressSpaces {
            local: pools::LOCAL.into(),
            global: pools::GLOBAL.into(),
        }
    }

    fn request_pool(request: &PoolRequest) -> Result<PoolResponse> {
        let (pool_id, pool) = pools::request_shared_pool(request)?;
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
        let address = addresses::request_address(request)?;
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
            options::ipam("ptp")
                .boolean()
                .help("Point to point: addresses are /32 and /128, and every address of the subnet is given"),
            options::ipam("validate")
                .boolean()
                .help("no: an address that is asked for by name may be in use already"),
        ]
    }
}

impl Admin for Pool {
    fn verbs() -> Vec<Verb> {
        admin::verbs()
    }

    fn run(verb: &str, arguments: &KeyValues) -> Result<String> {
        admin::run(verb, arguments)
    }
}

dockside_driver::export!(Pool: ipam, options, admin);

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use dockside_driver::testing;

    #[test]
    fn any_requests_in_any_order_get_what_nobody_has() {
        // Which pool was offered last.
        testing::model::ipam::<Pool>().keeps_state().run();
    }

    #[test]
    fn a_host_call_that_fails_leaves_nothing_behind() {
        testing::each_fault(|run| {
            let wanted = PoolRequest {
                address_space: pools::LOCAL.into(),
                pool: Some("10.1.0.0/29".parse()?),
                ..PoolRequest::default()
            };
            let pool = run.call("request pool", || Pool::request_pool(&wanted))?;
            let wanted = AddressRequest {
                pool_id: pool.pool_id.clone(),
                mac_address: Some("02:00:00:00:00:01".parse()?),
                ..AddressRequest::default()
            };
            let given = run.call("request address", || Pool::request_address(&wanted))?;
            let address = given.address.addr();
            run.call("release address", || {
                Pool::release_address(&pool.pool_id, address)
            })?;
            run.call("release pool", || Pool::release_pool(&pool.pool_id))
        });
    }
}
