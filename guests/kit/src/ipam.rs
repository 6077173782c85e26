//! Docker's `IpamDriver`.
//! A whole driver, which gives the addresses of one pool in their order:
//!
//! ```
//! use dockside_driver::{
//!     Error, Ipam, IpNet, KeyValues, Result, Table,
//!     ipam::{AddressRequest, AddressResponse, PoolRequest, PoolResponse}, testing,
//! };
//! use std::net::IpAddr;
//!
//! struct One;
//!
//! /// Addresses that are taken.
//! static HELD: Table<()> = Table::new("held/");
//!
//! fn pool() -> Result<IpNet> {
//!     Ok("10.0.0.0/24".parse()?)
//! }
//!
//! impl Ipam for One {
//!     fn request_pool(request: &PoolRequest) -> Result<PoolResponse> {
//!         let pool = pool()?;
//!         if request.pool.is_some_and(|wanted| wanted != pool) {
//!             return Err(Error::exhausted(format!("there is no pool but {pool}")));
//!         }
//!         Ok(PoolResponse { pool_id: "one".into(), pool, gateway: None, data: KeyValues::new() })
//!     }
//!     fn release_pool(_pool_id: &str) -> Result<()> {
//!         Ok(())
//!     }
//!     fn request_address(request: &AddressRequest) -> Result<AddressResponse> {
//!         let pool = pool()?;
//!         for address in pool.hosts() {
//!             let is_wanted = request.address.is_none_or(|wanted| wanted == address);
//!             if is_wanted && !HELD.contains(&address.to_string())? {
//!                 HELD.put(&address.to_string(), &())?;
//!                 let address = IpNet::new(address, pool.prefix_len())?;
//!                 return Ok(AddressResponse { address, data: KeyValues::new() });
//!             }
//!         }
//!         Err(Error::exhausted(format!("no address of {pool} is left")))
//!     }
//!     fn release_address(_pool_id: &str, address: IpAddr) -> Result<()> {
//!         HELD.remove(&address.to_string())
//!     }
//! }
//!
//! dockside_driver::export!(One: ipam);
//!
//! let request = AddressRequest { pool_id: "one".into(), ..AddressRequest::default() };
//! let given = testing::call(|| One::request_address(&request))?;
//! assert_eq!(given.address.to_string(), "10.0.0.1/24");
//! # Ok::<(), Error>(())
//! ```

use ipnet::IpNet;
use std::net::IpAddr;

use crate::{KeyValues, MacAddr, Result};

/// What an IPAM driver says of itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// Whether `request_address` needs the endpoint's Ethernet address.
    pub requires_mac_address: bool,
    /// Whether Docker repeats all pools and addresses when the engine starts. A driver that keeps state does not need it.
    pub requires_request_replay: bool,
}

/// The names of the default address spaces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddressSpaces {
    /// For networks of this machine.
    pub local: String,
    /// For networks of a cluster.
    pub global: String,
}

impl Default for AddressSpaces {
    fn default() -> Self {
        Self {
            local: "local".into(),
            global: "global".into(),
        }
    }
}

/// A wish for a pool of addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PoolRequest {
    /// The address space.
    pub address_space: String,
    /// The subnet that the user wants; none lets the driver choose. When the engine finds that the chosen one overlaps with something
    /// of its own it asks again at once, without limit: never offer the same one twice while it is held.
    pub pool: Option<IpNet>,
    /// The part of the subnet that addresses are to come from.
    pub sub_pool: Option<IpNet>,
    /// The user's IPAM options.
    pub options: KeyValues,
    /// Whether IPv6 is wanted.
    pub ipv6: bool,
    /// The engine process that asks: another text after a restart of the engine. Empty if that is not known. An engine that starts repeats
    /// its requests if `requires_request_replay`; with this they can be told from requests for further networks.
    pub engine: String,
}

/// A pool that was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolResponse {
    /// The driver's own name for the pool; Docker repeats it in later calls.
    pub pool_id: String,
    /// The subnet.
    pub pool: IpNet,
    /// The gateway, if the driver fixes one. Docker then requests none, but releases it in the end all the same.
    pub gateway: Option<IpNet>,
    /// Anything else that Docker should keep.
    pub data: KeyValues,
}

/// A wish for an address.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AddressRequest {
    /// The pool.
    pub pool_id: String,
    /// The address that is wanted; none lets the driver choose.
    pub address: Option<IpAddr>,
    /// Whether it is for the network's gateway.
    pub gateway: bool,
    /// The endpoint's Ethernet address, if `requires_mac_address`.
    pub mac_address: Option<MacAddr>,
    /// Everything that Docker sent as options.
    pub options: KeyValues,
}

/// An address that was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddressResponse {
    /// The address, with the prefix that the interface gets.
    pub address: IpNet,
    /// Anything else that Docker should keep.
    pub data: KeyValues,
}

/// An IPAM driver.
pub trait Ipam {
    /// `IpamDriver.GetCapabilities`. A constant: the host asks once, when it loads the component, without state, without configuration
    /// and without grants.
    fn get_capabilities() -> Capabilities {
        Capabilities::default()
    }

    /// `IpamDriver.GetDefaultAddressSpaces`. A constant too.
    fn get_default_address_spaces() -> AddressSpaces {
        AddressSpaces::default()
    }

    /// `IpamDriver.RequestPool`.
    fn request_pool(request: &PoolRequest) -> Result<PoolResponse>;

    /// `IpamDriver.ReleasePool`. Releasing a pool that is not held succeeds.
    fn release_pool(pool_id: &str) -> Result<()>;

    /// `IpamDriver.RequestAddress`.
    fn request_address(request: &AddressRequest) -> Result<AddressResponse>;

    /// `IpamDriver.ReleaseAddress`. Releasing an address that is not held succeeds.
    fn release_address(pool_id: &str, address: IpAddr) -> Result<()>;
}

#[cfg(target_family = "wasm")]
mod export {
    use std::marker::PhantomData;

    use crate::{
        Result,
        bindings::{
            imports::dockside::driver::types, ipam::exports::dockside::driver::ipam as wit,
        },
        convert::{address, mac, network, pairs, to_cidr, to_error},
    };

    #[doc(hidden)]
    pub struct Export<T>(PhantomData<T>);

    fn pool_request(request: wit::PoolRequest) -> Result<super::PoolRequest> {
        Ok(super::PoolRequest {
            address_space: request.address_space,
            pool: request.pool.map(network).transpose()?,
            sub_pool: request.sub_pool.map(network).transpose()?,
            options: request.options.into_iter().collect(),
            ipv6: request.ipv6,
            engine: request.engine,
        })
    }

    fn pool_response(response: super::PoolResponse) -> wit::PoolResponse {
        wit::PoolResponse {
            pool_id: response.pool_id,
            pool: to_cidr(response.pool),
            gateway: response.gateway.map(to_cidr),
            data: pairs(response.data),
        }
    }

    fn address_request(request: wit::AddressRequest) -> super::AddressRequest {
        super::AddressRequest {
            pool_id: request.pool_id,
            address: request.address.map(address),
            gateway: request.gateway,
            mac_address: request.mac_address.map(mac),
            options: request.options.into_iter().collect(),
        }
    }

    fn address_response(response: super::AddressResponse) -> wit::AddressResponse {
        wit::AddressResponse {
            address: to_cidr(response.address),
            data: pairs(response.data),
        }
    }

    impl<T: super::Ipam> wit::Guest for Export<T> {
        fn get_capabilities() -> wit::IpamCapabilities {
            let super::Capabilities {
                requires_mac_address,
                requires_request_replay,
            } = T::get_capabilities();
            wit::IpamCapabilities {
                requires_mac_address,
                requires_request_replay,
            }
        }

        fn get_default_address_spaces() -> wit::AddressSpaces {
            let super::AddressSpaces { local, global } = T::get_default_address_spaces();
            wit::AddressSpaces { local, global }
        }

        fn request_pool(request: wit::PoolRequest) -> Result<wit::PoolResponse, types::Error> {
            pool_request(request)
                .and_then(|request| T::request_pool(&request))
                .map(pool_response)
                .map_err(to_error)
        }

        fn release_pool(pool_id: String) -> Result<(), types::Error> {
            T::release_pool(&pool_id).map_err(to_error)
        }

        fn request_address(
            request: wit::AddressRequest,
        ) -> Result<wit::AddressResponse, types::Error> {
            T::request_address(&address_request(request))
                .map(address_response)
                .map_err(to_error)
        }

        fn release_address(
            pool_id: String,
            released: types::IpAddress,
        ) -> Result<(), types::Error> {
            T::release_address(&pool_id, address(released)).map_err(to_error)
        }
    }
}

#[cfg(target_family = "wasm")]
#[doc(hidden)]
pub use export::Export;
