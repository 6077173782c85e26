//! Networks as bridges: each endpoint is a cable from the bridge into its container.

use std::net::IpAddr;

use dockside_driver::{
    Error, IpNet, KeyValues, Link, MacAddr, Network, Refusal, Result, Table,
    links::{self, Bridge, Settings},
    network::{EndpointInterface, EndpointOptions, IpamData, JoinResponse, NetworkOptions},
};
use serde::{Deserialize, Serialize};

use crate::Driver;

const MTU: &str = "com.docker.network.driver.mtu";

/// What is remembered of a network.
#[derive(PartialEq, Serialize, Deserialize)]
struct Net {
    pools: Vec<IpNet>,
    gateways: Vec<IpNet>,
    internal: bool,
    mtu: Option<u32>,
}

/// What is remembered of a container's place on a network.
#[derive(Serialize, Deserialize)]
struct Endpoint {
    address: Option<IpNet>,
    address_ipv6: Option<IpNet>,
    /// The Ethernet address that Docker asked for.
    wanted_mac: Option<String>,
    mac: String,
    sandbox: Option<String>,
}

static NETWORKS: Table<Net> = Table::new("networks/");

fn endpoints(network_id: &str) -> Table<Endpoint> {
    Table::with_prefix(format!("endpoints/{network_id}/"))
}

fn bridge_key(network_id: &str) -> String {
    format!("bridge/{network_id}")
}

/// The end of an endpoint's cable that is in the bridge.
fn port_key(endpoint_id: &str) -> String {
    format!("port/{endpoint_id}")
}

/// The end that the container gets.
fn container_key(endpoint_id: &str) -> String {
    format!("container/{endpoint_id}")
}

fn find_network(network_id: &str) -> Result<Net> {
    let missing = || {
        Error::not_found(format!(
            "there is no network {network_id}: remove it with `docker network rm`, and create it again"
        ))
    };
    NETWORKS.get(network_id)?.ok_or_else(missing)
}

fn find_endpoint(network_id: &str, endpoint_id: &str) -> Result<Endpoint> {
    let missing = || {
        Error::not_found(format!(
            "there is no endpoint {endpoint_id} on network {network_id}"
        ))
    };
    endpoints(network_id).get(endpoint_id)?.ok_or_else(missing)
}

/// None for what is not there.
fn unless_missing<T>(result: Result<T>) -> Result<Option<T>> {
    match result {
        Err(error) if error.refusal() == Some(Refusal::NotFound) => Ok(None),
        other => other.map(Some),
    }
}

fn mtu(options: &KeyValues) -> Result<Option<u32>> {
    if let Some((name, _)) = options.iter().find(|(name, _)| *name != MTU) {
        return Err(Error::invalid(format!(
            "there is no option {name}: this driver has {MTU}"
        )));
    }
    match options.parse(MTU)? {
        Some(mtu) if !(68..=65535).contains(&mtu) => Err(Error::invalid(format!(
            "option {MTU}={mtu}: say a number from 68 to 65535"
        ))),
        mtu => Ok(mtu),
    }
}

/// Addresses that do not fit together make a network that does not work.
fn check_addresses(data: &[&IpamData]) -> Result<()> {
    let taken = NETWORKS.iter()?.flat_map(|(_, net)| net.pools);
    let taken: Vec<IpNet> = taken.collect();
    for data in data {
        let Some(pool) = data.pool else { continue };
        let mut addresses = data.gateway.iter().chain(data.aux_addresses.values());
        if let Some(address) = addresses.find(|address| !pool.contains(&address.addr())) {
            return Err(Error::invalid(format!(
                "{address} is not in the subnet {pool}"
            )));
        }
        let mut overlapping = taken
            .iter()
            .filter(|other| other.contains(&pool) || pool.contains(*other));
        if let Some(other) = overlapping.next() {
            return Err(Error::in_use(format!(
                "{pool} overlaps with {other} of another network"
            )));
        }
    }
    Ok(())
}

impl Net {
    fn settings(&self) -> Settings {
        Settings {
            mtu: self.mtu,
            ..Settings::up()
        }
    }

    /// The network's bridge. It is made again if it is gone: a restart of the machine takes it, and Docker says nothing.
    fn bridge(&self, network_id: &str) -> Result<Link> {
        let key = bridge_key(network_id);
        if let Some(known) = unless_missing(links::open(&key))? {
            return Ok(known);
        }
        let made = links::create(&key, Bridge::default(), self.settings())?;
        for gateway in &self.gateways {
            made.add_address(*gateway)?;
        }
        Ok(made)
    }

    fn gateway(&self, is_family: fn(&IpAddr) -> bool) -> Option<IpAddr> {
        let mut addresses = self.gateways.iter().map(IpNet::addr);
        addresses.find(is_family).filter(|_| !self.internal)
    }
}

impl Network for Driver {
    fn create_network(
        network_id: &str,
        options: &NetworkOptions,
        ipv4: &[IpamData],
        ipv6: &[IpamData],
    ) -> Result<()> {
        let data: Vec<&IpamData> = ipv4.iter().chain(ipv6).collect();
        let net = Net {
            pools: data.iter().filter_map(|data| data.pool).collect(),
            gateways: data.iter().filter_map(|data| data.gateway).collect(),
            internal: options.internal,
            mtu: mtu(&options.generic)?,
        };
        match NETWORKS.get(network_id)? {
            None => {
                check_addresses(&data)?;
                net.bridge(network_id)?;
                NETWORKS.put(network_id, &net)
            }
            Some(known) if known == net => Ok(()),
            Some(_) => Err(Error::already_exists(format!(
                "network {network_id} exists already, with other options or addresses"
            ))),
        }
    }

    fn delete_network(network_id: &str) -> Result<()> {
        for endpoint_id in endpoints(network_id).keys()? {
            Self::delete_endpoint(network_id, &endpoint_id)?;
        }
        unless_missing(links::delete(&bridge_key(network_id)))?;
        NETWORKS.remove(network_id)
    }

    fn create_endpoint(
        network_id: &str,
        endpoint_id: &str,
        interface: &EndpointInterface,
        _options: &EndpointOptions,
    ) -> Result<EndpointInterface> {
        let net = find_network(network_id)?;
        let wanted_mac = interface.mac_address.map(|mac| mac.to_string());
        let mac = match endpoints(network_id).get(endpoint_id)? {
            None => {
                let mac = interface.mac_address.unwrap_or_else(MacAddr::random);
                let (container, port) = (container_key(endpoint_id), port_key(endpoint_id));
                let (_, port) = links::create_pair(&container, &port, net.settings().mac(mac))?;
                port.set_master(Some(&net.bridge(network_id)?))?;
                let endpoint = Endpoint {
                    address: interface.address,
                    address_ipv6: interface.address_ipv6,
                    wanted_mac,
                    mac: mac.to_string(),
                    sandbox: None,
                };
                endpoints(network_id).put(endpoint_id, &endpoint)?;
                mac
            }
            Some(known)
                if (known.address, known.address_ipv6, &known.wanted_mac)
                    == (interface.address, interface.address_ipv6, &wanted_mac) =>
            {
                known.mac.parse()?
            }
            Some(_) => {
                return Err(Error::already_exists(format!(
                    "endpoint {endpoint_id} exists already, with other addresses"
                )));
            }
        };
        // Docker fails the start of the container if what it sent comes back.
        Ok(EndpointInterface {
            mac_address: Some(mac).filter(|_| interface.mac_address.is_none()),
            ..EndpointInterface::default()
        })
    }

    fn delete_endpoint(network_id: &str, endpoint_id: &str) -> Result<()> {
        if endpoints(network_id).contains(endpoint_id)? {
            unless_missing(links::delete(&port_key(endpoint_id)))?;
            endpoints(network_id).remove(endpoint_id)?;
        }
        Ok(())
    }

    fn endpoint_oper_info(network_id: &str, endpoint_id: &str) -> Result<KeyValues> {
        find_endpoint(network_id, endpoint_id).map(|_| KeyValues::new())
    }

    fn join(
        network_id: &str,
        endpoint_id: &str,
        sandbox_key: &str,
        _options: &EndpointOptions,
    ) -> Result<JoinResponse> {
        let net = find_network(network_id)?;
        let mut endpoint = find_endpoint(network_id, endpoint_id)?;
        if endpoint.sandbox.is_some() {
            return Err(Error::in_use(format!(
                "endpoint {endpoint_id} is joined already"
            )));
        }
        endpoint.sandbox = Some(sandbox_key.to_owned());
        endpoints(network_id).put(endpoint_id, &endpoint)?;
        Ok(JoinResponse {
            interface: Some(links::open(&container_key(endpoint_id))?),
            dst_prefix: "eth".into(),
            gateway: net.gateway(IpAddr::is_ipv4),
            gateway_ipv6: net.gateway(IpAddr::is_ipv6),
            static_routes: Vec::new(),
            // Without a gateway Docker would connect the container to a bridge of its own.
            disable_gateway_service: true,
        })
    }

    fn leave(network_id: &str, endpoint_id: &str) -> Result<()> {
        let endpoints = endpoints(network_id);
        if let Some(mut endpoint) = endpoints.get(endpoint_id)? {
            endpoint.sandbox = None;
            endpoints.put(endpoint_id, &endpoint)?;
        }
        Ok(())
    }

    // Publishing ports is not what this driver does. Docker takes "not implemented" for an answer.
    fn program_external_connectivity(_: &str, _: &str, _: &EndpointOptions) -> Result<()> {
        Err(Error::not_implemented("this driver publishes no ports"))
    }

    fn revoke_external_connectivity(_: &str, _: &str) -> Result<()> {
        Err(Error::not_implemented("this driver publishes no ports"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dockside_driver::{ErrorCode, testing};

    fn create(options: &NetworkOptions) -> Result<()> {
        let data = IpamData {
            pool: "10.0.0.0/24".parse().ok(),
            gateway: "10.0.0.1/24".parse().ok(),
            ..IpamData::default()
        };
        Driver::create_network("net", options, &[data], &[])
    }

    fn with_option(name: &str, value: &str) -> NetworkOptions {
        NetworkOptions {
            generic: [(name, value)].into_iter().collect(),
            ..NetworkOptions::default()
        }
    }

    fn connect(endpoint_id: &str, address: &str) -> Result<EndpointInterface> {
        let interface = EndpointInterface {
            address: address.parse().ok(),
            ..EndpointInterface::default()
        };
        Driver::create_endpoint("net", endpoint_id, &interface, &EndpointOptions::default())
    }

    fn join(endpoint_id: &str) -> Result<JoinResponse> {
        Driver::join("net", endpoint_id, "/sandbox", &EndpointOptions::default())
    }

    fn link_keys() -> Vec<String> {
        let links = links::list().unwrap();
        links.into_iter().map(|link| link.key).collect()
    }

    #[test]
    fn a_container_gets_one_end_of_a_cable_whose_other_end_is_in_the_bridge() {
        for _ in 0..2 {
            create(&NetworkOptions::default()).unwrap();
        }
        let made = connect("end", "10.0.0.2/24").unwrap();
        assert!(made.mac_address.is_some() && made.address.is_none());
        // Again, as after a lost answer.
        assert_eq!(connect("end", "10.0.0.2/24").unwrap(), made);
        assert_eq!(link_keys(), ["bridge/net", "container/end", "port/end"]);
        let answer = join("end").unwrap();
        assert_eq!(answer.interface.unwrap().key(), "container/end");
        assert_eq!(answer.gateway, "10.0.0.1".parse().ok());
        assert_eq!(join("end").unwrap_err().code(), ErrorCode::InUse);
        for _ in 0..2 {
            Driver::leave("net", "end").unwrap();
            Driver::delete_endpoint("net", "end").unwrap();
            Driver::delete_network("net").unwrap();
        }
        assert!(link_keys().is_empty() && testing::state().is_empty());
    }

    #[test]
    fn an_internal_network_has_no_gateway() {
        let options = NetworkOptions {
            internal: true,
            ..NetworkOptions::default()
        };
        create(&options).unwrap();
        connect("end", "10.0.0.2/24").unwrap();
        assert_eq!(join("end").unwrap().gateway, None);
    }

    #[test]
    fn the_same_id_with_other_properties_is_an_error() {
        create(&NetworkOptions::default()).unwrap();
        let error = create(&with_option(MTU, "1400")).unwrap_err();
        assert_eq!(error.code(), ErrorCode::AlreadyExists);
        connect("end", "10.0.0.2/24").unwrap();
        let error = connect("end", "10.0.0.3/24").unwrap_err();
        assert_eq!(error.code(), ErrorCode::AlreadyExists);
    }

    #[test]
    fn a_network_takes_its_endpoints_along() {
        create(&NetworkOptions::default()).unwrap();
        for endpoint_id in ["one", "two"] {
            connect(endpoint_id, "").unwrap();
        }
        Driver::delete_network("net").unwrap();
        assert!(link_keys().is_empty() && testing::state().is_empty());
    }

    #[test]
    fn a_bridge_that_went_with_a_restart_of_the_machine_is_made_again() {
        create(&NetworkOptions::default()).unwrap();
        testing::reboot();
        assert!(link_keys().is_empty());
        connect("end", "10.0.0.2/24").unwrap();
        assert_eq!(link_keys(), ["bridge/net", "container/end", "port/end"]);
    }

    #[test]
    fn addresses_that_do_not_fit_together_are_refused() {
        create(&NetworkOptions::default()).unwrap();
        let other = |pool: &str, gateway: &str| {
            let data = IpamData {
                pool: pool.parse().ok(),
                gateway: gateway.parse().ok(),
                ..IpamData::default()
            };
            Driver::create_network("other", &NetworkOptions::default(), &[data], &[])
        };
        let error = other("10.0.0.128/25", "10.0.0.129/25").unwrap_err();
        assert_eq!(error.code(), ErrorCode::InUse);
        let error = other("10.0.1.0/24", "10.0.2.1/24").unwrap_err();
        assert_eq!(error.code(), ErrorCode::InvalidArgument);
        other("10.0.1.0/24", "10.0.1.1/24").unwrap();
    }

    #[test]
    fn what_makes_no_sense_or_is_not_there_is_refused() {
        for (name, value) in [(MTU, "67"), (MTU, "x"), ("colour", "red")] {
            let error = create(&with_option(name, value)).unwrap_err();
            assert_eq!(error.code(), ErrorCode::InvalidArgument, "{name}={value}");
        }
        assert_eq!(connect("end", "").unwrap_err().code(), ErrorCode::NotFound);
        create(&NetworkOptions::default()).unwrap();
        assert_eq!(join("end").unwrap_err().code(), ErrorCode::NotFound);
        let error = Driver::endpoint_oper_info("net", "end").unwrap_err();
        assert_eq!(error.code(), ErrorCode::NotFound);
    }
}
