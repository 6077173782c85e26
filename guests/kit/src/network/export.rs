use std::marker::PhantomData;

use super::Network;
use crate::{
    Result,
    bindings::{
        imports::dockside::driver::types, network::exports::dockside::driver::network as wit,
    },
    convert::{
        Pairs, address, mac, network, pairs, to_address, to_cidr, to_error, to_mac, to_scope,
        transport,
    },
};

#[doc(hidden)]
pub struct Export<T>(PhantomData<T>);

fn network_options(options: wit::NetworkOptions) -> super::NetworkOptions {
    super::NetworkOptions {
        generic: options.generic.into_iter().collect(),
        enable_ipv4: options.enable_ipv4,
        enable_ipv6: options.enable_ipv6,
        internal: options.internal,
        raw: options.raw,
    }
}

fn ipam_data(data: Vec<wit::IpamData>) -> Result<Vec<super::IpamData>> {
    let one = |data: wit::IpamData| {
        Ok(super::IpamData {
            address_space: data.address_space,
            pool: data.pool.map(network).transpose()?,
            gateway: data.gateway.map(network).transpose()?,
            aux_addresses: data
                .aux_addresses
                .into_iter()
                .map(|(name, address)| Ok((name, network(address)?)))
                .collect::<Result<_>>()?,
        })
    };
    data.into_iter().map(one).collect()
}

fn interface(interface: wit::EndpointInterface) -> Result<super::EndpointInterface> {
    Ok(super::EndpointInterface {
        address: interface.address.map(network).transpose()?,
        address_ipv6: interface.address_ipv6.map(network).transpose()?,
        mac_address: interface.mac_address.map(mac),
    })
}

fn to_interface(interface: super::EndpointInterface) -> wit::EndpointInterface {
    wit::EndpointInterface {
        address: interface.address.map(to_cidr),
        address_ipv6: interface.address_ipv6.map(to_cidr),
        mac_address: interface.mac_address.map(to_mac),
    }
}

fn endpoint_options(options: wit::EndpointOptions) -> super::EndpointOptions {
    let port = |port: types::Port| super::Port {
        transport: transport(port.transport),
        number: port.number,
    };
    let binding = |binding: types::PortBinding| super::PortBinding {
        transport: transport(binding.transport),
        container_address: binding.container_address.map(address),
        container_port: binding.container_port,
        host_address: binding.host_address.map(address),
        host_port: binding.host_port,
        host_port_end: binding.host_port_end,
    };
    super::EndpointOptions {
        exposed_ports: options.exposed_ports.into_iter().map(port).collect(),
        port_map: options.port_map.into_iter().map(binding).collect(),
        mac_address: options.mac_address.map(mac),
        dns_servers: options.dns_servers,
        generic: options.generic.into_iter().collect(),
        raw: options.raw,
    }
}

fn to_join_response(response: super::JoinResponse) -> wit::JoinResponse {
    let route = |route: super::StaticRoute| wit::StaticRoute {
        destination: to_cidr(route.destination),
        next_hop: route.next_hop.map(to_address),
    };
    wit::JoinResponse {
        interface: response.interface.map(|link| link.0),
        dst_prefix: response.dst_prefix,
        gateway: response.gateway.map(to_address),
        gateway_ipv6: response.gateway_ipv6.map(to_address),
        static_routes: response.static_routes.into_iter().map(route).collect(),
        disable_gateway_service: response.disable_gateway_service,
    }
}

fn discovery(what: wit::Discovery) -> super::Discovery {
    match what {
        wit::Discovery::Node(node) => super::Discovery::Node {
            address: node.address,
            bind_address: node.bind_address,
            own: node.self_,
        },
        wit::Discovery::Other((kind, data)) => super::Discovery::Other(kind, data),
    }
}

impl<T: Network> wit::Guest for Export<T> {
    fn get_capabilities() -> wit::NetworkCapabilities {
        let capabilities = T::get_capabilities();
        wit::NetworkCapabilities {
            scope: to_scope(capabilities.scope),
            connectivity_scope: capabilities.connectivity_scope.map(to_scope),
            gw_alloc_checker: capabilities.gw_alloc_checker,
        }
    }

    fn create_network(
        network_id: String,
        options: wit::NetworkOptions,
        ipv4: Vec<wit::IpamData>,
        ipv6: Vec<wit::IpamData>,
    ) -> Result<(), types::Error> {
        let create = || {
            T::create_network(
                &network_id,
                &network_options(options),
                &ipam_data(ipv4)?,
                &ipam_data(ipv6)?,
            )
        };
        create().map_err(to_error)
    }

    fn delete_network(network_id: String) -> Result<(), types::Error> {
        T::delete_network(&network_id).map_err(to_error)
    }

    fn allocate_network(
        network_id: String,
        options: Pairs,
        ipv4: Vec<wit::IpamData>,
        ipv6: Vec<wit::IpamData>,
    ) -> Result<Pairs, types::Error> {
        let options = options.into_iter().collect();
        let allocate =
            || T::allocate_network(&network_id, &options, &ipam_data(ipv4)?, &ipam_data(ipv6)?);
        allocate().map(pairs).map_err(to_error)
    }

    fn free_network(network_id: String) -> Result<(), types::Error> {
        T::free_network(&network_id).map_err(to_error)
    }

    fn gw_alloc_check(options: wit::NetworkOptions) -> Result<wit::GwAllocResponse, types::Error> {
        let response = T::gw_alloc_check(&network_options(options)).map_err(to_error)?;
        Ok(wit::GwAllocResponse {
            skip_ipv4: response.skip_ipv4,
            skip_ipv6: response.skip_ipv6,
        })
    }

    fn create_endpoint(
        network_id: String,
        endpoint_id: String,
        asked: wit::EndpointInterface,
        options: wit::EndpointOptions,
    ) -> Result<wit::EndpointInterface, types::Error> {
        let create = || {
            T::create_endpoint(
                &network_id,
                &endpoint_id,
                &interface(asked)?,
                &endpoint_options(options),
            )
        };
        create().map(to_interface).map_err(to_error)
    }

    fn delete_endpoint(network_id: String, endpoint_id: String) -> Result<(), types::Error> {
        T::delete_endpoint(&network_id, &endpoint_id).map_err(to_error)
    }

    fn endpoint_oper_info(network_id: String, endpoint_id: String) -> Result<Pairs, types::Error> {
        T::endpoint_oper_info(&network_id, &endpoint_id)
            .map(pairs)
            .map_err(to_error)
    }

    fn join(
        network_id: String,
        endpoint_id: String,
        sandbox_key: String,
        options: wit::EndpointOptions,
    ) -> Result<wit::JoinResponse, types::Error> {
        T::join(
            &network_id,
            &endpoint_id,
            &sandbox_key,
            &endpoint_options(options),
        )
        .map(to_join_response)
        .map_err(to_error)
    }

    fn leave(network_id: String, endpoint_id: String) -> Result<(), types::Error> {
        T::leave(&network_id, &endpoint_id).map_err(to_error)
    }

    fn program_external_connectivity(
        network_id: String,
        endpoint_id: String,
        options: wit::EndpointOptions,
    ) -> Result<(), types::Error> {
        T::program_external_connectivity(&network_id, &endpoint_id, &endpoint_options(options))
            .map_err(to_error)
    }

    fn revoke_external_connectivity(
        network_id: String,
        endpoint_id: String,
    ) -> Result<(), types::Error> {
        T::revoke_external_connectivity(&network_id, &endpoint_id).map_err(to_error)
    }

    fn discover_new(what: wit::Discovery) -> Result<(), types::Error> {
        T::discover_new(&discovery(what)).map_err(to_error)
    }

    fn discover_delete(what: wit::Discovery) -> Result<(), types::Error> {
        T::discover_delete(&discovery(what)).map_err(to_error)
    }
}
