//! Docker's IPAM from an Infoblox grid: networks and addresses are objects of the grid, made and deleted by its WAPI.
//!
//! What the grid was asked is made once, whatever breaks in between: each object says in an extensible attribute which request made it, and is
//! looked for by that before anything is asked again. What a failed call leaves is noted in the outbox before, and deleted after.

mod addresses;
mod admin;
mod later;
mod networks;
mod settings;
mod wapi;

use std::net::IpAddr;

use dockside_addresses::pools::{GLOBAL, LOCAL};
use dockside_driver::{
    Admin, Error, Ipam, KeyValues, Options, Result, Settlement, Timers,
    admin::Verb,
    ipam::{
        AddressRequest, AddressResponse, AddressSpaces, Capabilities, PoolRequest, PoolResponse,
    },
    options::{self, Declaration},
    timers::Schedule,
};

struct Infoblox;

impl Ipam for Infoblox {
    fn get_capabilities() -> Capabilities {
        Capabilities {
            // A fixed address is a client's.
            requires_mac_address: true,
            requires_request_replay: true,
        }
    }

    fn get_default_address_spaces() -> AddressSpaces {
        AddressSpaces {
            local: LOCAL.into(),
            global: GLOBAL.into(),
        }
    }

    fn request_pool(request: &PoolRequest) -> Result<PoolResponse> {
        let (pool_id, pool) = networks::request_pool(request)?;
        Ok(PoolResponse {
            pool_id,
            pool,
            gateway: None,
            data: KeyValues::new(),
        })
    }

    fn release_pool(pool_id: &str) -> Result<()> {
        networks::release_pool(pool_id)
    }

    fn request_address(request: &AddressRequest) -> Result<AddressResponse> {
        Ok(AddressResponse {
            address: addresses::request_address(request)?,
            data: KeyValues::new(),
        })
    }

    fn release_address(pool_id: &str, address: IpAddr) -> Result<()> {
        addresses::release_address(pool_id, address)
    }
}

impl Options for Infoblox {
    fn declare() -> Vec<Declaration> {
        vec![
            options::ipam("network-name")
                .help("Name under which hosts share a network of the grid"),
            options::ipam("prefix-length")
                .integer(1..=128)
                .help("Prefix length of the subnet, if it is taken from a network container"),
        ]
    }
}

impl Timers for Infoblox {
    fn schedules() -> Vec<Schedule> {
        vec![Schedule::new("later", 5)]
    }

    fn tick(_name: &str) -> Result<()> {
        later::tick()
    }
}

impl Settlement for Infoblox {
    fn compensate(_call_key: &str, note: &[u8]) -> Result<()> {
        let note = serde_json::from_slice(note).map_err(|error| {
            Error::other(format!("a note of this driver cannot be read: {error}"))
        })?;
        later::compensate(&note)
    }
}

impl Admin for Infoblox {
    fn verbs() -> Vec<Verb> {
        admin::verbs()
    }

    fn run(verb: &str, arguments: &KeyValues) -> Result<String> {
        admin::run(verb, arguments)
    }
}

dockside_driver::export!(Infoblox: ipam, options, timers, settlement, admin);

#[cfg(test)]
mod tests;
