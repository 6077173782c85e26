use dockside_driver::{
    Error, ErrorCode, IpNet, MacAddr, Network, Reconcile, Result, Table,
    links::{self, Bridge, Settings},
    network::{EndpointInterface, EndpointOptions, IpamData, JoinResponse, NetworkOptions},
    reconcile::{Fact, Subject},
    testing::model,
};

/// What is wrong with a driver.
const NOTHING: u8 = 0;
const ECHOES: u8 = 1;
const SHARES_A_MAC: u8 = 2;
const KEEPS_A_CABLE: u8 = 3;
const TAKES_ANY_NETWORK: u8 = 4;
const FORGETS_AFTER_A_REBOOT: u8 = 5;
const CANNOT_LEAVE_TWICE: u8 = 6;
const KEEPS_A_BRIDGE: u8 = 7;
const SHARES_A_LINK: u8 = 8;
const IGNORES_A_FAILURE: u8 = 9;

static NETWORKS: Table<Option<IpNet>> = Table::new("networks/");
static ENDPOINTS: Table<String> = Table::new("endpoints/");

/// A bridge for each network, and a cable for each endpoint.
struct Driver<const FAULT: u8>;

fn unless_missing(result: Result<()>) -> Result<()> {
    match result {
        Err(error) if error.code() == ErrorCode::NotFound => Ok(()),
        other => other,
    }
}

impl<const FAULT: u8> Network for Driver<FAULT> {
    fn create_network(
        network_id: &str,
        _options: &NetworkOptions,
        ipv4: &[IpamData],
        _ipv6: &[IpamData],
    ) -> Result<()> {
        links::create(network_id, Bridge::default(), Settings::up())?;
        NETWORKS.put(network_id, &ipv4.first().and_then(|data| data.gateway))
    }

    fn delete_network(network_id: &str) -> Result<()> {
        for (id, network) in ENDPOINTS.iter()? {
            if network == network_id {
                Self::delete_endpoint(network_id, &id)?;
            }
        }
        if FAULT != KEEPS_A_BRIDGE {
            unless_missing(links::delete(network_id))?;
        }
        NETWORKS.remove(network_id)
    }

    fn create_endpoint(
        network_id: &str,
        endpoint_id: &str,
        interface: &EndpointInterface,
        _options: &EndpointOptions,
    ) -> Result<EndpointInterface> {
        if FAULT != TAKES_ANY_NETWORK {
            let bridge = links::open(network_id)?;
            let cable = format!("{endpoint_id}.c");
            let (port, _) = links::create_pair(endpoint_id, &cable, Settings::up())?;
            port.set_master(Some(&bridge))?;
        }
        let kept = ENDPOINTS.put(endpoint_id, &network_id.to_owned());
        if FAULT != IGNORES_A_FAILURE {
            kept?;
        }
        let mac_address = match FAULT {
            SHARES_A_MAC => MacAddr([2, 0, 0, 0, 0, 1]),
            _ => MacAddr::random(),
        };
        Ok(EndpointInterface {
            address: interface.address.filter(|_| FAULT == ECHOES),
            address_ipv6: None,
            mac_address: Some(mac_address),
        })
    }

    fn delete_endpoint(_network_id: &str, endpoint_id: &str) -> Result<()> {
        if FAULT != KEEPS_A_CABLE {
            unless_missing(links::delete(endpoint_id))?;
        }
        ENDPOINTS.remove(endpoint_id)
    }

    fn join(
        network_id: &str,
        endpoint_id: &str,
        _sandbox_key: &str,
        _options: &EndpointOptions,
    ) -> Result<JoinResponse> {
        if !ENDPOINTS.contains(endpoint_id)? {
            return Err(Error::not_found("there is no such endpoint"));
        }
        let interface = match FAULT {
            SHARES_A_LINK => links::open(network_id)?,
            _ => links::open(&format!("{endpoint_id}.c"))?,
        };
        Ok(JoinResponse {
            interface: Some(interface),
            dst_prefix: "eth".into(),
            ..JoinResponse::default()
        })
    }

    fn leave(_network_id: &str, endpoint_id: &str) -> Result<()> {
        match FAULT {
            CANNOT_LEAVE_TWICE if !ENDPOINTS.contains(endpoint_id)? => {
                Err(Error::not_found("there is no such endpoint"))
            }
            _ => Ok(()),
        }
    }
}

impl<const FAULT: u8> Reconcile for Driver<FAULT> {
    fn reconcile(facts: &[Fact]) -> Result<()> {
        for fact in facts.iter().filter(|fact| fact.subject == Subject::Link) {
            if FAULT != FORGETS_AFTER_A_REBOOT && NETWORKS.contains(&fact.key)? {
                links::create(&fact.key, Bridge::default(), Settings::up())?;
            }
            ENDPOINTS.remove(&fact.key)?;
        }
        Ok(())
    }
}

fn check<const FAULT: u8>() -> Result<(), String> {
    model::network::<Driver<FAULT>>()
        .reconcile::<Driver<FAULT>>()
        .seed(1)
        .cases(1000)
        .check()
}

#[test]
fn a_driver_that_is_right_passes() {
    check::<NOTHING>().unwrap();
}

#[test]
fn what_is_wrong_with_a_driver_is_found_and_short() {
    type Check = fn() -> Result<(), String>;
    let table: &[(Check, &str)] = &[
        (check::<ECHOES>, "the address that Docker chose"),
        (check::<SHARES_A_MAC>, "that another one has"),
        (check::<KEEPS_A_CABLE>, "left"),
        (check::<TAKES_ANY_NETWORK>, "there is no such network"),
        (check::<FORGETS_AFTER_A_REBOOT>, "there is no link"),
        (check::<CANNOT_LEAVE_TWICE>, "there is no such endpoint"),
        (check::<KEEPS_A_BRIDGE>, "left"),
        (check::<SHARES_A_LINK>, "link"),
        (check::<IGNORES_A_FAILURE>, " fails"),
    ];
    for (check, words) in table {
        let found = check().expect_err(words);
        assert!(found.contains(words), "{words}: {found}");
        let shown = found.lines().filter(|line| line.starts_with("  ")).count();
        assert!(shown <= 12, "{words}: {found}");
    }
}
