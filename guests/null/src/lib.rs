//! Networks that connect nothing: a container on one has its loopback and no other interface, and still an address that Docker and
//! its IPAM driver know of. The driver remembers what it was told and makes nothing.

use dockside_driver::{
    Error, KeyValues, Lifecycle, Network, Result, StartReason, Table,
    network::{EndpointInterface, EndpointOptions, IpamData, JoinResponse, NetworkOptions},
    state, time,
};
use serde::{Deserialize, Serialize};

struct Null;

/// A network.
#[derive(Serialize, Deserialize)]
struct Net {
    internal: bool,
    created_at: u64,
    /// None: it was made before this was kept.
    #[serde(default)]
    subnets: Option<Vec<String>>,
}

/// A container's place on a network.
#[derive(Serialize, Deserialize)]
struct Endpoint {
    address: Option<String>,
    address_ipv6: Option<String>,
    sandbox: Option<String>,
}

static NETWORKS: Table<Net> = Table::new("networks/");

const ENDPOINTS: &str = "endpoints/";

fn endpoints(network_id: &str) -> Table<Endpoint> {
    Table::with_prefix(format!("{ENDPOINTS}{network_id}/"))
}

fn endpoint(network_id: &str, endpoint_id: &str) -> Result<Endpoint> {
    let missing = || {
        Error::not_found(format!(
            "there is no endpoint {endpoint_id} on network {network_id}"
        ))
    };
    endpoints(network_id).get(endpoint_id)?.ok_or_else(missing)
}

impl Network for Null {
    fn create_network(
        network_id: &str,
        options: &NetworkOptions,
        ipv4: &[IpamData],
        ipv6: &[IpamData],
    ) -> Result<()> {
        let pools = ipv4.iter().chain(ipv6).filter_map(|data| data.pool);
        let subnets = Some(pools.map(|pool| pool.to_string()).collect());
        if let Some(there) = NETWORKS.get(network_id)? {
            return if there.internal == options.internal
                && (there.subnets.is_none() || there.subnets == subnets)
            {
                Ok(())
            } else {
                Err(Error::already_exists(format!(
                    "network {network_id} is there already, with another subnet or other options"
                )))
            };
        }
        NETWORKS.put(
            network_id,
            &Net {
                internal: options.internal,
                created_at: time::unix_seconds(),
                subnets,
            },
        )
    }

    fn delete_network(network_id: &str) -> Result<()> {
        // An engine that was killed has not taken its endpoints away.
        let left = endpoints(network_id);
        left.keys()?
            .iter()
            .try_for_each(|endpoint_id| left.remove(endpoint_id))?;
        NETWORKS.remove(network_id)
    }

    fn create_endpoint(
        network_id: &str,
        endpoint_id: &str,
        interface: &EndpointInterface,
        _options: &EndpointOptions,
    ) -> Result<EndpointInterface> {
        if !NETWORKS.contains(network_id)? {
            let text = format!(
                "this plugin has no network {network_id}: remove it with `docker network rm` and create it again"
            );
            return Err(Error::not_found(text));
        }
        let text =
            |address: Option<dockside_driver::IpNet>| address.map(|address| address.to_string());
        let endpoint = Endpoint {
            address: text(interface.address),
            address_ipv6: text(interface.address_ipv6),
            sandbox: None,
        };
        if let Some(there) = endpoints(network_id).get(endpoint_id)? {
            return if there.address == endpoint.address
                && there.address_ipv6 == endpoint.address_ipv6
            {
                Ok(EndpointInterface::default())
            } else {
                Err(Error::already_exists(format!(
                    "endpoint {endpoint_id} is there already, with other addresses"
                )))
            };
        }
        endpoints(network_id).put(endpoint_id, &endpoint)?;
        // Nothing to add to what Docker chose: without an interface there is no Ethernet address.
        Ok(EndpointInterface::default())
    }

    fn delete_endpoint(network_id: &str, endpoint_id: &str) -> Result<()> {
        endpoints(network_id).remove(endpoint_id)
    }

    fn endpoint_oper_info(network_id: &str, endpoint_id: &str) -> Result<KeyValues> {
        endpoint(network_id, endpoint_id).map(|_| KeyValues::new())
    }

    fn join(
        network_id: &str,
        endpoint_id: &str,
        sandbox_key: &str,
        _options: &EndpointOptions,
    ) -> Result<JoinResponse> {
        let there = endpoint(network_id, endpoint_id)?;
        if there.sandbox.is_some() {
            return Err(Error::already_exists(format!(
                "endpoint {endpoint_id} is in a container already"
            )));
        }
        let endpoint = Endpoint {
            sandbox: Some(sandbox_key.into()),
            ..there
        };
        endpoints(network_id).put(endpoint_id, &endpoint)?;
        // Otherwise Docker connects the container to a bridge of its own.
        Ok(JoinResponse {
            dst_prefix: "eth".into(),
            disable_gateway_service: true,
            ..JoinResponse::default()
        })
    }

    fn program_external_connectivity(
        network_id: &str,
        endpoint_id: &str,
        _options: &EndpointOptions,
    ) -> Result<()> {
        endpoint(network_id, endpoint_id).map(drop)
    }

    fn leave(network_id: &str, endpoint_id: &str) -> Result<()> {
        match endpoints(network_id).get(endpoint_id)? {
            None => Ok(()),
            Some(endpoint) => endpoints(network_id).put(
                endpoint_id,
                &Endpoint {
                    sandbox: None,
                    ..endpoint
                },
            ),
        }
    }
}

impl Lifecycle for Null {
    fn start(reason: StartReason) -> Result<()> {
        if reason == StartReason::Rebooted {
            // No container is left from the time before, and nobody will delete its endpoints.
            state::keys(ENDPOINTS)?
                .iter()
                .try_for_each(|key| state::delete(key))?;
        }
        Ok(())
    }
}

dockside_driver::export!(Null: network, lifecycle);

#[cfg(test)]
mod tests {
    use super::*;
    use dockside_driver::{ErrorCode, testing};

    fn create() {
        Null::create_network("n", &NetworkOptions::default(), &[], &[]).unwrap();
        let interface = EndpointInterface {
            address: Some("10.0.0.2/24".parse().unwrap()),
            ..Default::default()
        };
        let answer =
            Null::create_endpoint("n", "e", &interface, &EndpointOptions::default()).unwrap();
        assert_eq!(answer, EndpointInterface::default());
    }

    #[test]
    fn a_container_joins_without_interface_and_without_dockers_bridge() {
        create();
        let answer = Null::join("n", "e", "/netns/1", &EndpointOptions::default()).unwrap();
        assert!(
            answer.interface.is_none()
                && answer.gateway.is_none()
                && answer.disable_gateway_service
        );
        Null::leave("n", "e").unwrap();
        Null::delete_endpoint("n", "e").unwrap();
        Null::delete_network("n").unwrap();
        assert!(testing::state().is_empty());
    }

    #[test]
    fn a_repeated_call_succeeds_and_one_with_other_arguments_does_not() {
        create();
        create();
        let internal = NetworkOptions {
            internal: true,
            ..NetworkOptions::default()
        };
        let error = Null::create_network("n", &internal, &[], &[]).unwrap_err();
        assert_eq!(error.code(), ErrorCode::AlreadyExists);
        let options = EndpointOptions::default();
        let error =
            Null::create_endpoint("n", "e", &EndpointInterface::default(), &options).unwrap_err();
        assert_eq!(error.code(), ErrorCode::AlreadyExists);
        Null::join("n", "e", "/netns/1", &options).unwrap();
        assert!(Null::join("n", "e", "/netns/2", &options).is_err());
        Null::leave("n", "e").unwrap();
        Null::join("n", "e", "/netns/2", &options).unwrap();
    }

    #[test]
    fn what_was_never_created_is_not_found() {
        let options = EndpointOptions::default();
        let error =
            Null::create_endpoint("n", "e", &EndpointInterface::default(), &options).unwrap_err();
        assert_eq!(error.code(), ErrorCode::NotFound);
        assert!(Null::endpoint_oper_info("n", "e").is_err());
        assert_eq!(
            Null::join("n", "e", "", &options).unwrap_err().code(),
            ErrorCode::NotFound
        );
    }

    #[test]
    fn taking_away_what_is_gone_succeeds() {
        for _ in 0..2 {
            Null::leave("n", "e").unwrap();
            Null::delete_endpoint("n", "e").unwrap();
            Null::delete_network("n").unwrap();
        }
    }

    #[test]
    fn deleting_a_network_takes_its_own_endpoints_along() {
        create();
        Null::create_network("n2", &NetworkOptions::default(), &[], &[]).unwrap();
        Null::create_endpoint(
            "n2",
            "e",
            &EndpointInterface::default(),
            &EndpointOptions::default(),
        )
        .unwrap();
        Null::delete_network("n").unwrap();
        assert_eq!(state::keys("").unwrap(), ["endpoints/n2/e", "networks/n2"]);
    }

    #[test]
    fn a_reboot_clears_endpoints_and_keeps_networks() {
        create();
        Null::start(StartReason::Restarted).unwrap();
        assert_eq!(state::keys("").unwrap(), ["endpoints/n/e", "networks/n"]);
        Null::start(StartReason::Rebooted).unwrap();
        assert_eq!(state::keys("").unwrap(), ["networks/n"]);
    }

    #[test]
    fn any_calls_in_any_order_do_what_docker_takes_for_granted() {
        testing::model::network::<Null>().lifecycle::<Null>().run();
    }

    #[test]
    fn a_host_call_that_fails_leaves_nothing_behind() {
        let options = EndpointOptions::default();
        testing::each_fault(|run| {
            let network = NetworkOptions::default();
            run.call("create network", || {
                Null::create_network("n", &network, &[], &[])
            })?;
            run.call("create endpoint", || {
                Null::create_endpoint("n", "e", &EndpointInterface::default(), &options)
            })?;
            run.call("join", || Null::join("n", "e", "/netns/1", &options))?;
            run.call("leave", || Null::leave("n", "e"))?;
            run.call("delete network", || Null::delete_network("n"))
        });
    }
}
