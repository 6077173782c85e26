//! Docker's `IpamDriver` on the wire.

use std::net::IpAddr;

use ipnet::IpNet;

use super::address::{cidr_to_guest, ip_to_guest, same_family};
use super::method::Method;
use super::wire::{Object, Problem};
use super::{Answer, Decoded};
use crate::sandbox::bindings::ipam::{AddressRequest, PoolRequest};

/// The option that says what an address is for, and its value for a gateway.
const ADDRESS_TYPE: &str = "RequestAddressType";
const GATEWAY: &str = "com.docker.network.gateway";
const MAC_ADDRESS: &str = "com.docker.network.endpoint.macaddress";

/// A call of an IPAM driver.
#[derive(Debug, Clone, PartialEq)]
pub enum Call {
    /// `IpamDriver.RequestPool`.
    RequestPool(PoolRequest),
    /// `IpamDriver.ReleasePool`.
    ReleasePool {
        /// The pool.
        pool_id: String,
    },
    /// `IpamDriver.RequestAddress`.
    RequestAddress(AddressRequest),
    /// `IpamDriver.ReleaseAddress`.
    ReleaseAddress {
        /// The pool.
        pool_id: String,
        /// The address.
        address: IpAddr,
    },
}

impl Call {
    /// The method that it came by.
    pub fn method(&self) -> Method {
        match self {
            Call::RequestPool(_) => Method::IpamRequestPool,
            Call::ReleasePool { .. } => Method::IpamReleasePool,
            Call::RequestAddress(_) => Method::IpamRequestAddress,
            Call::ReleaseAddress { .. } => Method::IpamReleaseAddress,
        }
    }

    /// Says to the driver which engine process asks.
    pub(crate) fn asked_by(&mut self, engine: &str) {
        if let Call::RequestPool(request) = self {
            engine.clone_into(&mut request.engine);
        }
    }

    /// The pool that it is about.
    pub fn pool_id(&self) -> Option<&str> {
        match self {
            Call::RequestPool(_) => None,
            Call::RequestAddress(request) => Some(&request.pool_id),
            Call::ReleasePool { pool_id } | Call::ReleaseAddress { pool_id, .. } => Some(pool_id),
        }
    }
}

fn request_pool(body: &Object) -> Result<PoolRequest, Problem> {
    let pool = body.subnet("Pool")?;
    let sub_pool = body.subnet("SubPool")?;
    let ipv6 = body.boolean("V6")?.unwrap_or(false);
    check_pools(pool, sub_pool, ipv6)?;
    Ok(PoolRequest {
        address_space: body.name("AddressSpace")?,
        pool: pool.map(cidr_to_guest),
        sub_pool: sub_pool.map(cidr_to_guest),
        options: body.text_map("Options")?,
        ipv6,
        engine: String::new(),
    })
}

fn check_pools(pool: Option<IpNet>, sub_pool: Option<IpNet>, ipv6: bool) -> Result<(), Problem> {
    if let Some(pool) = pool
        && pool.addr().is_ipv6() != ipv6
    {
        let wanted = if ipv6 { "IPv6" } else { "IPv4" };
        return Err(format!("Pool is {pool} and V6 asks for {wanted}"));
    }
    match (pool, sub_pool) {
        (Some(pool), Some(sub_pool)) if !pool.contains(&sub_pool) => {
            Err(format!("SubPool {sub_pool} is not inside Pool {pool}"))
        }
        (None, Some(sub_pool)) => Err(format!(
            "SubPool is {sub_pool} and there is no Pool that it is part of"
        )),
        _ => Ok(()),
    }
}

fn request_address(body: &Object) -> Result<AddressRequest, Problem> {
    let sent = body.object("Options")?;
    let options = body.text_map("Options")?;
    Ok(AddressRequest {
        pool_id: body.required_name("PoolID")?,
        address: body.ip("Address")?.map(ip_to_guest),
        gateway: sent.get(ADDRESS_TYPE).is_some_and(|value| value == GATEWAY),
        mac_address: sent.mac(MAC_ADDRESS)?.map(Into::into),
        options,
    })
}

/// The call that a request asks for; none for a method of another kind or one without a driver's part.
pub(super) fn decode(method: Method, body: &Object) -> Result<Option<Decoded>, Problem> {
    let call = match method {
        Method::IpamRequestPool => Call::RequestPool(request_pool(body)?),
        Method::IpamReleasePool => Call::ReleasePool {
            pool_id: body.required_name("PoolID")?,
        },
        Method::IpamRequestAddress => Call::RequestAddress(request_address(body)?),
        Method::IpamReleaseAddress => {
            let pool_id = body.required_name("PoolID")?;
            match body.ip("Address")? {
                Some(address) => Call::ReleaseAddress { pool_id, address },
                // The engine writes an address that it does not have so, and an error would stop the removal of its network.
                None if body.get("Address").is_some() => {
                    return Ok(Some(Decoded::Answered(Answer::Done)));
                }
                None => return Err("Address is missing".into()),
            }
        }
        _ => return Ok(None),
    };
    Ok(Some(Decoded::Call(super::Call::Ipam(call))))
}

/// Whether a driver's pool is an answer to the request.
pub(crate) fn check_pool(request: &PoolRequest, pool: IpNet) -> Result<(), String> {
    if let Some(wanted) = request.pool
        && wanted != cidr_to_guest(pool)
    {
        return Err(format!("pool is {pool}, which is not the one asked for"));
    }
    if pool.addr().is_ipv6() != request.ipv6 {
        let wanted = if request.ipv6 { "IPv6" } else { "IPv4" };
        return Err(format!("pool is {pool}, and {wanted} was asked for"));
    }
    Ok(())
}

/// Whether a driver's gateway can be one of its pool.
pub(crate) fn check_gateway(pool: IpNet, gateway: IpNet) -> Result<(), String> {
    if same_family(pool.addr(), gateway.addr()) && pool.contains(&gateway.addr()) {
        Ok(())
    } else {
        Err(format!(
            "gateway is {gateway}, which is not in the pool {pool}"
        ))
    }
}

/// Whether a driver's address is an answer to the request.
pub(crate) fn check_address(request: &AddressRequest, address: IpNet) -> Result<(), String> {
    match request.address {
        Some(wanted) if wanted != ip_to_guest(address.addr()) => Err(format!(
            "address is {address}, which is not the one asked for"
        )),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing
    )]
    use super::super::decode;
    use super::*;

    fn call(method: &str, body: &str) -> Result<Call, String> {
        match decode(
            Method::parse(&format!("IpamDriver.{method}")).unwrap(),
            body.as_bytes(),
        ) {
            Ok(Decoded::Call(super::super::Call::Ipam(call))) => Ok(call),
            Ok(other) => panic!("{method} {body}: {other:?}"),
            Err(error) => Err(error.to_string()),
        }
    }

    fn net(text: &str) -> IpNet {
        text.parse().unwrap()
    }

    fn pool(text: &str) -> Option<crate::sandbox::bindings::types::Cidr> {
        Some(cidr_to_guest(net(text)))
    }

    fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect()
    }

    #[test]
    fn pools_are_asked_for_as_engines_do() {
        let cases = [
            (
                r#"{"AddressSpace":"x-local","Pool":"10.88.0.0/16","SubPool":"10.88.5.0/24","Options":{},"V6":false}"#,
                PoolRequest {
                    address_space: "x-local".into(),
                    pool: pool("10.88.0.0/16"),
                    sub_pool: pool("10.88.5.0/24"),
                    options: vec![],
                    ipv6: false,
                    engine: String::new(),
                },
            ),
            (
                r#"{"AddressSpace":"x-local","Pool":"","SubPool":"","Options":{},"V6":true}"#,
                PoolRequest {
                    address_space: "x-local".into(),
                    pool: None,
                    sub_pool: None,
                    options: vec![],
                    ipv6: true,
                    engine: String::new(),
                },
            ),
            (
                r#"{"AddressSpace":"","Pool":"10.88.0.1/16","SubPool":null,"Options":{"a":"b"},"V6":false}"#,
                PoolRequest {
                    address_space: String::new(),
                    pool: pool("10.88.0.0/16"),
                    sub_pool: None,
                    options: pairs(&[("a", "b")]),
                    ipv6: false,
                    engine: String::new(),
                },
            ),
        ];
        for (body, expected) in cases {
            assert_eq!(
                call("RequestPool", body),
                Ok(Call::RequestPool(expected)),
                "{body}"
            );
        }
    }

    #[test]
    fn addresses_are_asked_for_as_engines_do() {
        let ip = |text: &str| Some(ip_to_guest(text.parse().unwrap()));
        let gateway = [(ADDRESS_TYPE, GATEWAY)];
        let mac = [(MAC_ADDRESS, "02:11:22:33:44:55")];
        let cases = [
            (
                r#"{"PoolID":"p","Address":"10.88.0.9","Options":{"RequestAddressType":"com.docker.network.gateway"}}"#,
                AddressRequest {
                    pool_id: "p".into(),
                    address: ip("10.88.0.9"),
                    gateway: true,
                    mac_address: None,
                    options: pairs(&gateway),
                },
            ),
            (
                r#"{"PoolID":"p","Address":"10.88.5.5","Options":null}"#,
                AddressRequest {
                    pool_id: "p".into(),
                    address: ip("10.88.5.5"),
                    gateway: false,
                    mac_address: None,
                    options: vec![],
                },
            ),
            (
                r#"{"PoolID":"p","Address":"","Options":{"com.docker.network.endpoint.macaddress":"02:11:22:33:44:55"}}"#,
                AddressRequest {
                    pool_id: "p".into(),
                    address: None,
                    gateway: false,
                    mac_address: Some((2, 0x11, 0x22, 0x33, 0x44, 0x55)),
                    options: pairs(&mac),
                },
            ),
        ];
        for (body, expected) in cases {
            assert_eq!(
                call("RequestAddress", body),
                Ok(Call::RequestAddress(expected)),
                "{body}"
            );
        }
        assert_eq!(
            call("ReleaseAddress", r#"{"PoolID":"p","Address":"10.88.5.5"}"#),
            Ok(Call::ReleaseAddress {
                pool_id: "p".into(),
                address: "10.88.5.5".parse().unwrap()
            })
        );
        assert_eq!(
            call("ReleasePool", r#"{"PoolID":"p"}"#),
            Ok(Call::ReleasePool {
                pool_id: "p".into()
            })
        );
    }

    #[test]
    fn the_release_of_no_address_is_done_without_the_driver() {
        let body = br#"{"PoolID":"p","Address":""}"#;
        assert!(matches!(
            decode(Method::IpamReleaseAddress, body),
            Ok(Decoded::Answered(Answer::Done))
        ));
    }

    #[test]
    fn nonsense_is_refused_with_the_field() {
        let cases = [
            ("RequestPool", r#"{"Pool":"10.0.0.0/33"}"#, "Pool"),
            ("RequestPool", r#"{"Pool":"10.0.0.0"}"#, "Pool"),
            ("RequestPool", r#"{"Pool":"fd00::/64","V6":false}"#, "V6"),
            ("RequestPool", r#"{"Pool":"10.0.0.0/8","V6":true}"#, "V6"),
            (
                "RequestPool",
                r#"{"Pool":"10.0.0.0/16","SubPool":"10.1.0.0/24"}"#,
                "SubPool",
            ),
            (
                "RequestPool",
                r#"{"Pool":"10.0.0.0/16","SubPool":"10.0.0.0/8"}"#,
                "SubPool",
            ),
            ("RequestPool", r#"{"SubPool":"10.0.0.0/16"}"#, "SubPool"),
            ("RequestPool", r#"{"V6":7}"#, "V6"),
            ("ReleasePool", r#"{}"#, "PoolID"),
            ("ReleasePool", r#"{"PoolID":""}"#, "PoolID"),
            (
                "RequestAddress",
                r#"{"PoolID":"p","Address":"10.0.0.1/24"}"#,
                "Address",
            ),
            (
                "RequestAddress",
                r#"{"PoolID":"p","Options":{"com.docker.network.endpoint.macaddress":"x"}}"#,
                "macaddress",
            ),
            (
                "RequestAddress",
                r#"{"PoolID":"p","Options":[]}"#,
                "Options",
            ),
            ("ReleaseAddress", r#"{"PoolID":"p"}"#, "Address"),
            (
                "ReleaseAddress",
                r#"{"PoolID":"p","Address":"x"}"#,
                "Address",
            ),
        ];
        for (method, body, field) in cases {
            let error = call(method, body).unwrap_err();
            assert!(error.contains(field), "{body}: {error}");
            assert!(
                error.contains(&format!("IpamDriver.{method}")),
                "{body}: {error}"
            );
        }
    }

    #[test]
    fn a_driver_is_told_which_engine_process_asks_for_a_pool() {
        let mut asked = call("RequestPool", r#"{"AddressSpace":"local"}"#).unwrap();
        asked.asked_by("boot/7/9");
        let Call::RequestPool(request) = asked else {
            panic!("{asked:?}");
        };
        assert_eq!(request.engine, "boot/7/9");
    }

    #[test]
    fn an_answer_that_is_not_what_was_asked_for_is_caught() {
        let request = PoolRequest {
            address_space: String::new(),
            pool: pool("10.0.0.0/16"),
            sub_pool: None,
            options: vec![],
            ipv6: false,
            engine: String::new(),
        };
        assert_eq!(check_pool(&request, net("10.0.0.0/16")), Ok(()));
        assert!(check_pool(&request, net("10.0.0.0/17")).is_err());
        let any = PoolRequest {
            pool: None,
            ..request
        };
        assert_eq!(check_pool(&any, net("10.0.0.0/17")), Ok(()));
        assert!(check_pool(&any, net("fd00::/64")).is_err());
        assert_eq!(
            check_gateway(net("10.0.0.0/16"), net("10.0.0.1/16")),
            Ok(())
        );
        assert!(check_gateway(net("10.0.0.0/16"), net("10.1.0.1/16")).is_err());
        assert!(check_gateway(net("10.0.0.0/16"), net("fd00::1/64")).is_err());
    }
}
