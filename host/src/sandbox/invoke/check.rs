//! Whether what a function of a driver returns makes sense, and what it is to the host then.

use std::collections::HashSet;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use ipnet::IpNet;
use jiff::Timestamp;
use wasmtime::Store;
use wasmtime::component::Resource;

use super::Resolve;
use crate::capability::directories::DirectoryHandle;
use crate::capability::links::LinkHandle;
use crate::protocol::address::{cidr_from_guest, ip_from_guest, subnet_from_guest};
use crate::protocol::answer::{
    EndpointAddresses, GATEWAY_DATA, InterfaceName, Joined, Pool, Volume,
};
use crate::protocol::ipam::{check_address, check_gateway, check_pool};
use crate::protocol::{Answer, KeyValue, one_line};
use crate::sandbox::bindings::{ipam, network, types, volume};

/// Text of a driver inside an error: quoted, and cut when it is long.
pub(super) fn shown(text: &str) -> String {
    one_line(&format!("{text:?}"), 100)
}

pub(super) fn mountpoint<T>(
    store: &mut Store<T>,
    resolve: &mut Resolve<'_, T>,
    handle: Option<Resource<DirectoryHandle>>,
) -> Result<Option<PathBuf>, String> {
    let Some(handle) = handle else {
        return Ok(None);
    };
    let path = resolve(store, handle)?;
    check_mountpoint(&path)?;
    Ok(Some(path))
}

/// A path that is not absolute an engine resolves inside a container's own configuration, which would be a way out of the container.
fn check_mountpoint(path: &Path) -> Result<(), String> {
    let text = path.to_str().ok_or_else(|| {
        format!("mountpoint {path:?} is not UTF-8, and Docker's protocol has nothing else")
    })?;
    if !path.is_absolute() || text.contains('\0') {
        return Err(format!("mountpoint {text:?} is not an absolute path"));
    }
    Ok(())
}

pub(super) fn volume_info<T>(
    store: &mut Store<T>,
    resolve: &mut Resolve<'_, T>,
    info: volume::VolumeInfo,
) -> Result<Volume, String> {
    let mountpoint = mountpoint(store, resolve, info.mountpoint)?;
    let created_at = info
        .created_at
        .map(|seconds| {
            i64::try_from(seconds)
                .ok()
                .filter(|seconds| Timestamp::from_second(*seconds).is_ok())
                .ok_or_else(|| {
                    format!("created-at is {seconds} seconds after 1970, which is no date")
                })
        })
        .transpose()?;
    Ok(Volume {
        name: info.name,
        mountpoint,
        created_at,
        status: distinct("status", info.status)?,
    })
}

pub(super) fn volume_list<T>(
    store: &mut Store<T>,
    resolve: &mut Resolve<'_, T>,
    infos: Vec<volume::VolumeInfo>,
) -> Result<Vec<Volume>, String> {
    let mut seen = HashSet::new();
    infos
        .into_iter()
        .map(|info| {
            if info.name.is_empty() {
                return Err("the list has a volume without a name".to_owned());
            }
            if !seen.insert(info.name.clone()) {
                return Err(format!(
                    "the list has the volume {} twice",
                    shown(&info.name)
                ));
            }
            volume_info(store, resolve, info)
        })
        .collect()
}

/// Entries that become an object, in which each key can stand once.
pub(super) fn distinct(field: &str, entries: Vec<KeyValue>) -> Result<Vec<KeyValue>, String> {
    let mut seen = HashSet::new();
    match entries.iter().find(|(key, _)| !seen.insert(key)) {
        Some((key, _)) => Err(format!("{field} has the key {} twice", shown(key))),
        None => Ok(entries),
    }
}

/// What a driver adds to an endpoint. An engine fails the container's start when a field comes back that it has sent.
pub(super) fn endpoint(
    sent: &network::EndpointInterface,
    added: network::EndpointInterface,
) -> Result<EndpointAddresses, String> {
    let given = [
        ("address", sent.address.is_some() && added.address.is_some()),
        (
            "address-ipv6",
            sent.address_ipv6.is_some() && added.address_ipv6.is_some(),
        ),
        (
            "mac-address",
            sent.mac_address.is_some() && added.mac_address.is_some(),
        ),
    ];
    if let Some((field, _)) = given.into_iter().find(|(_, both)| *both) {
        return Err(format!(
            "{field} is returned although Docker had set it: return only what was none in interface"
        ));
    }
    Ok(EndpointAddresses {
        address: family("address", added.address, false)?,
        address_ipv6: family("address-ipv6", added.address_ipv6, true)?,
        mac_address: added.mac_address.map(Into::into),
    })
}

fn family(field: &str, cidr: Option<types::Cidr>, ipv6: bool) -> Result<Option<IpNet>, String> {
    let Some(cidr) = cidr else { return Ok(None) };
    let net = cidr_from_guest(cidr).map_err(|why| format!("{field} {why}"))?;
    check_family(field, net.addr(), ipv6)?;
    Ok(Some(net))
}

fn check_family(field: &str, ip: IpAddr, ipv6: bool) -> Result<(), String> {
    if ip.is_ipv6() == ipv6 {
        return Ok(());
    }
    let wanted = if ipv6 { "IPv6" } else { "IPv4" };
    Err(format!("{field} is {ip}, which is no {wanted} address"))
}

pub(super) fn joined(
    response: network::JoinResponse,
    name: impl FnOnce(Resource<LinkHandle>) -> Result<String, String>,
) -> Result<Joined, String> {
    let interface = match response.interface {
        None => None,
        Some(link) => {
            // Linux takes names of 15 bytes, and Docker adds a number.
            let prefix = &response.dst_prefix;
            let plain = prefix.bytes().all(|byte| byte.is_ascii_alphanumeric());
            if !(1..=11).contains(&prefix.len()) || !plain {
                return Err(format!(
                    "dst-prefix is {}, which is no beginning of an interface's name: 1 to 11 letters and digits",
                    shown(prefix)
                ));
            }
            Some(InterfaceName {
                src_name: name(link)?,
                dst_prefix: response.dst_prefix,
            })
        }
    };
    let gateway = |field: &str, ip: Option<types::IpAddress>, ipv6: bool| match ip {
        None => Ok(None),
        Some(ip) => {
            let ip = ip_from_guest(ip).map_err(|why| format!("{field} {why}"))?;
            check_family(field, ip, ipv6)?;
            Ok::<_, String>(Some(ip))
        }
    };
    Ok(Joined {
        interface,
        gateway: gateway("gateway", response.gateway, false)?,
        gateway_ipv6: gateway("gateway-ipv6", response.gateway_ipv6, true)?,
        static_routes: response
            .static_routes
            .into_iter()
            .map(static_route)
            .collect::<Result<_, _>>()?,
        disable_gateway_service: response.disable_gateway_service,
    })
}

fn static_route(route: network::StaticRoute) -> Result<(IpNet, Option<IpAddr>), String> {
    // The kernel refuses a route with bits behind the prefix, and with it the container's start.
    let destination = subnet_from_guest(route.destination)
        .map_err(|why| format!("destination of a static route {why}"))?;
    let next_hop = match route.next_hop {
        None => None,
        Some(ip) => {
            let ip = ip_from_guest(ip)
                .map_err(|why| format!("next-hop of the route to {destination} {why}"))?;
            check_family(
                &format!("next-hop of the route to {destination}"),
                ip,
                destination.addr().is_ipv6(),
            )?;
            Some(ip)
        }
    };
    Ok((destination, next_hop))
}

pub(super) fn pool(
    request: &ipam::PoolRequest,
    response: ipam::PoolResponse,
) -> Result<Pool, String> {
    if response.pool_id.is_empty() {
        return Err("pool-id is empty".to_owned());
    }
    let pool = subnet_from_guest(response.pool).map_err(|why| format!("pool {why}"))?;
    check_pool(request, pool)?;
    let gateway = match response.gateway {
        None => None,
        Some(gateway) => {
            let gateway = cidr_from_guest(gateway).map_err(|why| format!("gateway {why}"))?;
            check_gateway(pool, gateway)?;
            Some(gateway)
        }
    };
    let data = distinct("data", response.data)?;
    if data.iter().any(|(key, _)| key == GATEWAY_DATA) {
        return Err(format!(
            "data has the key {GATEWAY_DATA}: return the gateway as gateway"
        ));
    }
    Ok(Pool {
        id: response.pool_id,
        pool,
        gateway,
        data,
    })
}

pub(super) fn address(
    request: &ipam::AddressRequest,
    response: ipam::AddressResponse,
) -> Result<Answer, String> {
    let address = cidr_from_guest(response.address).map_err(|why| format!("address {why}"))?;
    check_address(request, address)?;
    Ok(Answer::Address {
        address,
        data: distinct("data", response.data)?,
    })
}

/// What a verb answers. JSON is text of any depth to others, so it is only looked at here, and stays as the driver wrote it.
pub(super) fn json(text: String) -> Result<Answer, String> {
    match serde_json::from_str::<&serde_json::value::RawValue>(&text) {
        Ok(_) => Ok(Answer::Json(text)),
        Err(error) => Err(format!("{} is not JSON: {error}", shown(&text))),
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
    use super::*;
    use crate::protocol::address::{cidr_to_guest, ip_to_guest};

    fn cidr(text: &str) -> types::Cidr {
        cidr_to_guest(text.parse().unwrap())
    }

    fn ip(text: &str) -> types::IpAddress {
        ip_to_guest(text.parse().unwrap())
    }

    fn pair(key: &str, value: &str) -> KeyValue {
        (key.to_owned(), value.to_owned())
    }

    const MAC: types::MacAddress = (2, 0, 0, 0, 0, 1);
    const NO_ADDRESSES: network::EndpointInterface = network::EndpointInterface {
        address: None,
        address_ipv6: None,
        mac_address: None,
    };

    #[test]
    fn an_endpoint_gets_only_what_docker_left_open() {
        let v4 = || Some(cidr("10.0.0.2/24"));
        let v6 = || Some(cidr("fd00::2/64"));
        let everything = network::EndpointInterface {
            address: v4(),
            address_ipv6: v6(),
            mac_address: Some(MAC),
        };
        let only = |field: &str| match field {
            "address" => network::EndpointInterface {
                address: v4(),
                ..NO_ADDRESSES
            },
            "address-ipv6" => network::EndpointInterface {
                address_ipv6: v6(),
                ..NO_ADDRESSES
            },
            _ => network::EndpointInterface {
                mac_address: Some(MAC),
                ..NO_ADDRESSES
            },
        };
        let fields = ["address", "address-ipv6", "mac-address"];
        for sent in fields {
            for added in fields {
                let result = endpoint(&only(sent), only(added));
                assert_eq!(result.is_err(), sent == added, "{sent} {added}");
                if let Err(why) = result {
                    assert!(why.starts_with(added), "{why}");
                }
            }
            assert!(endpoint(&only(sent), NO_ADDRESSES).is_ok());
        }
        let all = endpoint(&NO_ADDRESSES, everything).unwrap();
        assert_eq!(all.address.unwrap().to_string(), "10.0.0.2/24");
        assert_eq!(all.address_ipv6.unwrap().to_string(), "fd00::2/64");
        assert_eq!(all.mac_address.unwrap().to_string(), "02:00:00:00:00:01");
    }

    #[test]
    fn an_endpoints_addresses_are_of_their_family() {
        let swapped = network::EndpointInterface {
            address: Some(cidr("fd00::2/64")),
            ..NO_ADDRESSES
        };
        assert!(
            endpoint(&NO_ADDRESSES, swapped)
                .unwrap_err()
                .contains("no IPv4")
        );
        let swapped = network::EndpointInterface {
            address_ipv6: Some(cidr("10.0.0.2/24")),
            ..NO_ADDRESSES
        };
        assert!(
            endpoint(&NO_ADDRESSES, swapped)
                .unwrap_err()
                .contains("no IPv6")
        );
        let long = types::Cidr {
            address: ip("10.0.0.2"),
            prefix_length: 64,
        };
        let long = network::EndpointInterface {
            address: Some(long),
            ..NO_ADDRESSES
        };
        assert!(
            endpoint(&NO_ADDRESSES, long)
                .unwrap_err()
                .contains("64 bits")
        );
    }

    fn join(
        gateway: Option<&str>,
        gateway_ipv6: Option<&str>,
        routes: &[(&str, Option<&str>)],
    ) -> Result<Joined, String> {
        joined(
            network::JoinResponse {
                interface: None,
                dst_prefix: "eth".to_owned(),
                gateway: gateway.map(ip),
                gateway_ipv6: gateway_ipv6.map(ip),
                static_routes: routes
                    .iter()
                    .map(|(destination, next_hop)| network::StaticRoute {
                        destination: cidr(destination),
                        next_hop: next_hop.map(ip),
                    })
                    .collect(),
                disable_gateway_service: true,
            },
            |_| Err("no link".to_owned()),
        )
    }

    #[test]
    fn a_join_names_gateways_and_routes_that_can_be_set() {
        let good = join(
            Some("10.0.0.1"),
            Some("fd00::1"),
            &[("10.9.0.0/16", None), ("::/0", Some("fd00::9"))],
        )
        .unwrap();
        assert_eq!(good.gateway.unwrap().to_string(), "10.0.0.1");
        assert_eq!(good.static_routes.len(), 2);
        assert!(good.disable_gateway_service);
        let cases = [
            (join(Some("fd00::1"), None, &[]), "gateway is fd00::1"),
            (
                join(None, Some("10.0.0.1"), &[]),
                "gateway-ipv6 is 10.0.0.1",
            ),
            (join(None, None, &[("10.9.0.1/16", None)]), "10.9.0.0/16"),
            (
                join(None, None, &[("10.9.0.0/16", Some("fd00::9"))]),
                "next-hop",
            ),
        ];
        for (result, why) in cases {
            let error = result.unwrap_err();
            assert!(error.contains(why), "{error}");
        }
    }

    #[test]
    fn a_pool_is_a_named_subnet_with_its_gateway_inside() {
        let request = ipam::PoolRequest {
            address_space: String::new(),
            pool: None,
            sub_pool: None,
            options: vec![],
            ipv6: false,
            engine: String::new(),
        };
        let response = |subnet: &str| ipam::PoolResponse {
            pool_id: "p".to_owned(),
            pool: cidr(subnet),
            gateway: None,
            data: vec![],
        };
        let good = ipam::PoolResponse {
            gateway: Some(cidr("10.0.0.1/16")),
            ..response("10.0.0.0/16")
        };
        assert_eq!(
            pool(&request, good).unwrap().gateway.unwrap().to_string(),
            "10.0.0.1/16"
        );
        let cases = [
            (
                ipam::PoolResponse {
                    pool_id: String::new(),
                    ..response("10.0.0.0/16")
                },
                "pool-id",
            ),
            (response("10.0.0.1/16"), "10.0.0.0/16"),
            (response("fd00::/64"), "IPv4 was asked for"),
            (
                ipam::PoolResponse {
                    gateway: Some(cidr("10.1.0.1/16")),
                    ..response("10.0.0.0/16")
                },
                "gateway",
            ),
            (
                ipam::PoolResponse {
                    data: vec![pair(GATEWAY_DATA, "10.0.0.1/16")],
                    ..response("10.0.0.0/16")
                },
                "return the gateway as gateway",
            ),
            (
                ipam::PoolResponse {
                    data: vec![pair("a", "1"), pair("a", "2")],
                    ..response("10.0.0.0/16")
                },
                "twice",
            ),
        ];
        for (response, why) in cases {
            let error = pool(&request, response).unwrap_err();
            assert!(error.contains(why), "{error}");
        }
    }

    #[test]
    fn an_address_is_the_one_asked_for() {
        let request = ipam::AddressRequest {
            pool_id: "p".to_owned(),
            address: Some(ip("10.0.0.5")),
            gateway: false,
            mac_address: None,
            options: vec![],
        };
        let response = |text: &str| ipam::AddressResponse {
            address: cidr(text),
            data: vec![],
        };
        assert!(address(&request, response("10.0.0.5/16")).is_ok());
        assert!(address(&request, response("10.0.0.6/16")).is_err());
        let any = ipam::AddressRequest {
            address: None,
            ..request
        };
        assert!(address(&any, response("10.0.0.6/16")).is_ok());
    }

    #[test]
    fn a_mountpoint_is_an_absolute_path() {
        use std::os::unix::ffi::OsStrExt;
        assert!(check_mountpoint(Path::new("/var/lib/dockside/v1")).is_ok());
        let odd = std::ffi::OsStr::from_bytes(b"/v\xff");
        for path in [
            Path::new(""),
            Path::new("v1"),
            Path::new("./v1"),
            Path::new("/v\0x"),
            Path::new(odd),
        ] {
            assert!(check_mountpoint(path).is_err(), "{path:?}");
        }
    }
}
