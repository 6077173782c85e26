#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use dockside_driver::{
    ErrorCode, IpNet, Ipam, KeyValues, MacAddr, Network, Options, Reconcile, Result, Timers,
    Transport,
    ipam::{AddressRequest, PoolRequest},
    links::Kind,
    network::{
        Discovery, EndpointInterface, EndpointOptions, IpamData, JoinResponse, NetworkOptions,
        PortBinding,
    },
    reconcile::Subject,
    testing::{self, Rule},
};

use crate::Mesh;

fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

fn data(gateway: &str) -> IpamData {
    let gateway = net(gateway);
    IpamData {
        address_space: "local".into(),
        pool: Some(gateway.trunc()),
        gateway: Some(gateway),
        aux_addresses: BTreeMap::new(),
    }
}

fn options(pairs: &[(&str, &str)]) -> NetworkOptions {
    NetworkOptions {
        generic: pairs.iter().copied().collect(),
        ..NetworkOptions::default()
    }
}

/// Creates the network `n`, which has 10.1.0.1/24 as its gateway.
fn create(pairs: &[(&str, &str)]) -> Result<()> {
    create_as("n", pairs)
}

fn create_as(id: &str, pairs: &[(&str, &str)]) -> Result<()> {
    // Networks of one machine have a subnet each.
    let third: u32 = id.trim_start_matches('n').bytes().map(u32::from).sum();
    let gateway = format!("10.1.{}.1/24", third % 256);
    testing::call(|| Mesh::create_network(id, &options(pairs), &[data(&gateway)], &[]))
}

fn endpoint(network: &str, id: &str, address: &str) -> Result<Option<MacAddr>> {
    let interface = EndpointInterface {
        address: Some(net(address)),
        ..EndpointInterface::default()
    };
    let given = EndpointOptions {
        port_map: vec![binding(80, 0)],
        ..EndpointOptions::default()
    };
    testing::call(|| Mesh::create_endpoint(network, id, &interface, &given))
        .map(|made| made.mac_address)
}

fn join(id: &str) -> JoinResponse {
    testing::call(|| Mesh::join("n", id, "/sandbox", &EndpointOptions::default())).unwrap()
}

fn binding(container_port: u16, host_port: u16) -> PortBinding {
    PortBinding {
        transport: Transport::Tcp,
        container_address: None,
        container_port,
        host_address: None,
        host_port,
        host_port_end: host_port,
    }
}

fn publish(id: &str, ports: &[PortBinding]) -> Result<()> {
    let given = EndpointOptions {
        port_map: ports.to_vec(),
        ..EndpointOptions::default()
    };
    testing::call(|| Mesh::program_external_connectivity("n", id, &given))
}

/// The machine's published ports with the container's address and port.
fn published() -> Vec<(u16, String)> {
    let rules = testing::rules().into_iter().flat_map(|(_, rules)| rules);
    rules
        .filter_map(|rule| match rule {
            Rule::Publish {
                host_port,
                container_address,
                container_port,
                ..
            } => Some((host_port, format!("{container_address} {container_port}"))),
            _ => None,
        })
        .collect()
}

fn tick() {
    testing::call(|| Mesh::tick("upkeep")).unwrap();
}

fn configure(settings: &[(&str, &str)]) {
    testing::reset();
    for (key, value) in settings {
        testing::set_config(key, value);
    }
}

fn link(key: &str) -> testing::Link {
    let found = testing::links().into_iter().find(|(known, _)| known == key);
    found
        .unwrap_or_else(|| panic!("no link {key} among {:?}", testing::links()))
        .1
}

fn tunnel_ends(id: &str) -> BTreeSet<String> {
    let ends = link(&format!("tunnel/{id}")).fdb;
    ends.into_iter()
        .map(|(mac, end)| {
            assert_eq!(mac, MacAddr::ANY);
            end.to_string()
        })
        .collect()
}

fn nothing_is_left() {
    assert_eq!(testing::links(), []);
    assert_eq!(testing::rules(), []);
    let state: Vec<String> = testing::state().into_iter().map(|(key, _)| key).collect();
    assert_eq!(state, Vec::<String>::new());
}

#[test]
fn a_network_goes_as_it_came() {
    testing::reset();
    create(&[("com.docker.network.driver.mtu", "1400")]).unwrap();
    let mac = endpoint("n", "e", "10.1.0.2/24").unwrap();
    assert_eq!(mac.unwrap().to_string(), "02:42:0a:01:00:02");
    let joined = join("e");
    assert_eq!(joined.gateway, Some("10.1.0.1".parse().unwrap()));
    assert_eq!(joined.interface.unwrap().key(), "container/e");
    publish("e", &[binding(80, 8080)]).unwrap();
    assert_eq!(published(), [(8080, "10.1.0.2 80".into())]);
    let port = link("port/e");
    assert_eq!(port.master.as_deref(), Some("bridge/n"));
    assert!(port.hairpin);
    for key in ["bridge/n", "port/e", "container/e"] {
        assert_eq!(link(key).mtu, Some(1400), "{key}");
    }
    testing::call(|| Mesh::leave("n", "e")).unwrap();
    assert_eq!(published(), []);
    testing::call(|| Mesh::delete_endpoint("n", "e")).unwrap();
    testing::call(|| Mesh::delete_endpoint("n", "e")).unwrap();
    testing::call(|| Mesh::delete_network("n")).unwrap();
    testing::call(|| Mesh::delete_network("n")).unwrap();
    nothing_is_left();
}

#[test]
fn a_repeated_call_succeeds_and_one_with_other_arguments_does_not() {
    create(&[]).unwrap();
    create(&[]).unwrap();
    assert!(create(&[("gateway", "none")]).is_err());
    let mac = endpoint("n", "e", "10.0.0.2/24").unwrap();
    assert_eq!(endpoint("n", "e", "10.0.0.2/24").unwrap(), mac);
    assert!(endpoint("n", "e", "10.0.0.3/24").is_err());
    join("e");
    let options = EndpointOptions::default();
    assert!(Mesh::join("n", "e", "/netns/2", &options).is_err());
    Mesh::leave("n", "e").unwrap();
    join("e");
    assert!(Mesh::endpoint_oper_info("n", "never").is_err());
}

#[test]
fn a_network_takes_the_endpoints_along_that_an_engine_forgot() {
    testing::reset();
    create(&[]).unwrap();
    endpoint("n", "e", "10.1.0.2/24").unwrap();
    publish("e", &[binding(80, 8080)]).unwrap();
    testing::call(|| Mesh::delete_network("n")).unwrap();
    nothing_is_left();
}

#[test]
fn the_way_outward_is_the_one_that_was_asked_for() {
    for (pairs, internal, has_gateway, is_closed) in [
        (&[][..], false, true, false),
        (&[("gateway", "mesh")], false, true, false),
        (&[("gateway", "docker")], false, false, false),
        (&[("gateway", "none")], false, false, true),
        (&[], true, false, true),
    ] {
        testing::reset();
        let given = NetworkOptions {
            internal,
            ..options(pairs)
        };
        testing::call(|| Mesh::create_network("n", &given, &[data("10.1.0.1/24")], &[])).unwrap();
        endpoint("n", "e", "10.1.0.2/24").unwrap();
        let joined = join("e");
        let case = format!("{pairs:?} {internal}");
        assert_eq!(joined.gateway.is_some(), has_gateway, "{case}");
        assert_eq!(joined.disable_gateway_service, is_closed, "{case}");
        let rules = &testing::rules()[0].1;
        let forwards = rules.iter().any(|rule| matches!(rule, Rule::Forward(_)));
        let masquerades = |rule: &Rule| matches!(rule, Rule::Masquerade { .. });
        let closed = rules.iter().any(|rule| matches!(rule, Rule::Internal(_)));
        assert_eq!(forwards, has_gateway, "{case}");
        assert_eq!(rules.iter().any(masquerades), has_gateway, "{case}");
        assert_eq!(closed, !has_gateway, "{case}");
        assert!(rules.iter().any(|rule| matches!(rule, Rule::Isolate(_))));
    }
}

#[test]
fn options_of_other_drivers_mean_what_they_mean_there() {
    testing::reset();
    create(&[
        ("works.weave.multicast", "true"),
        ("com.docker.network.bridge.enable_icc", "false"),
        ("com.docker.network.bridge.enable_ip_masquerade", "false"),
        ("com.docker.network.bridge.host_binding_ipv4", "192.0.2.7"),
    ])
    .unwrap();
    endpoint("n", "e", "10.1.0.2/24").unwrap();
    let routes = join("e").static_routes;
    assert_eq!(routes.len(), 1);
    assert_eq!(routes[0].destination, net("224.0.0.0/4"));
    assert_eq!(routes[0].next_hop, None);
    assert!(link("port/e").isolated);
    publish("e", &[binding(80, 8080)]).unwrap();
    let all = testing::rules().into_iter().flat_map(|(_, rules)| rules);
    for rule in all {
        match rule {
            Rule::Masquerade { .. } => panic!("{rule:?}"),
            Rule::Publish { host_address, .. } => {
                assert_eq!(host_address, Some("192.0.2.7".parse().unwrap()));
            }
            _ => {}
        }
    }
}

#[test]
fn every_option_that_is_read_is_declared() {
    let declared: Vec<String> = Mesh::declare().into_iter().map(|one| one.name).collect();
    for name in [
        "com.docker.network.driver.mtu",
        "works.weave.multicast",
        "gateway",
        "peers",
        "vni",
        "addresses",
    ] {
        assert!(declared.iter().any(|known| known == name), "{name}");
    }
}

#[test]
fn a_port_is_published_for_both_families_and_the_first_free_one_of_a_range() {
    testing::reset();
    let v6 = data("fd01::1/64");
    let create = || {
        Mesh::create_network(
            "n",
            &options(&[]),
            &[data("10.1.0.1/24")],
            std::slice::from_ref(&v6),
        )
    };
    testing::call(create).unwrap();
    for (id, v4, v6) in [
        ("e", "10.1.0.2/24", "fd01::2/64"),
        ("f", "10.1.0.3/24", "fd01::3/64"),
    ] {
        let interface = EndpointInterface {
            address: Some(net(v4)),
            address_ipv6: Some(net(v6)),
            mac_address: None,
        };
        let none = EndpointOptions::default();
        testing::call(|| Mesh::create_endpoint("n", id, &interface, &none)).unwrap();
    }
    let range = PortBinding {
        host_address: Some("0.0.0.0".parse().unwrap()),
        host_port_end: 8081,
        ..binding(80, 8080)
    };
    publish("e", &[range]).unwrap();
    publish("f", &[range]).unwrap();
    let taken = published();
    assert_eq!(
        taken,
        [(8080, "10.1.0.2 80".into()), (8081, "10.1.0.3 80".into())]
    );
    testing::call(|| Mesh::revoke_external_connectivity("n", "f")).unwrap();
    publish("f", &[binding(53, 0)]).unwrap();
    let info = Mesh::endpoint_oper_info("n", "f").unwrap();
    let shown = info.get("published").unwrap().to_owned();
    let chosen: Vec<_> = published()
        .into_iter()
        .filter(|(_, to)| to.ends_with(" 53"))
        .collect();
    assert_eq!(chosen.len(), 2, "{chosen:?}");
    assert_eq!(chosen[0].0, chosen[1].0);
    assert_eq!(shown, format!("{} to 53/tcp", chosen[0].0));
    let taken = publish("e", &[]).and_then(|()| {
        testing::call(|| Mesh::revoke_external_connectivity("n", "e"))?;
        publish("e", &[binding(1, chosen[0].0)])
    });
    assert_eq!(taken.unwrap_err().code(), ErrorCode::AlreadyExists);
}

#[test]
fn two_bridges_have_no_address_in_one_subnet() {
    testing::reset();
    let data = |gateway: &str| {
        let with = data("10.1.0.1/24");
        IpamData {
            pool: Some(net(gateway).trunc()),
            gateway: (!gateway.ends_with("30")).then(|| net(gateway)),
            ..with
        }
    };
    let create = |id: &str, gateway: &str| {
        testing::call(|| Mesh::create_network(id, &options(&[]), &[data(gateway)], &[]))
    };
    create("n", "10.1.0.1/24").unwrap();
    create("n", "10.1.0.1/24").unwrap();
    let refused = create("m", "10.1.0.129/25").unwrap_err();
    assert_eq!(refused.code(), ErrorCode::InUse);
    assert!(refused.to_string().contains("network n"), "{refused}");
    // Without an address on this machine nothing is led astray.
    create("bare", "10.1.0.4/30").unwrap();
    create("m", "10.1.1.1/24").unwrap();
}

#[test]
fn the_last_program_of_ports_counts() {
    testing::reset();
    create(&[]).unwrap();
    endpoint("n", "e", "10.1.0.2/24").unwrap();
    let (one, two) = (binding(80, 8080), binding(443, 8443));
    for ports in [
        [one].as_slice(),
        &[one],
        &[two],
        &[one, two],
        &[one],
        &[],
        &[two],
    ] {
        publish("e", ports).unwrap();
        let wanted: Vec<_> = ports
            .iter()
            .map(|port| (port.host_port, format!("10.1.0.2 {}", port.container_port)))
            .collect();
        let mut published = published();
        published.sort();
        assert_eq!(published, wanted);
    }
}

#[test]
fn ports_that_an_older_version_published_stay() {
    testing::reset();
    create(&[]).unwrap();
    endpoint("n", "e", "10.1.0.2/24").unwrap();
    publish("e", &[binding(80, 8080)]).unwrap();
    let mut kept: serde_json::Value = dockside_driver::state::get("endpoint/e").unwrap().unwrap();
    let port = kept["ports"][0].as_object_mut().unwrap();
    port.remove("asked");
    port.remove("number");
    testing::call(|| dockside_driver::state::set("endpoint/e", &kept)).unwrap();
    for ports in [[binding(80, 8080)].as_slice(), &[binding(80, 8081)]] {
        publish("e", ports).unwrap();
        assert_eq!(published(), [(ports[0].host_port, "10.1.0.2 80".into())]);
    }
}

#[test]
fn after_a_restart_of_the_machine_networks_are_there_and_endpoints_are_not() {
    configure(&[("peers", "192.0.2.1,192.0.2.2"), ("address", "192.0.2.1")]);
    create(&[]).unwrap();
    endpoint("n", "e", "10.1.0.2/24").unwrap();
    publish("e", &[binding(80, 8080)]).unwrap();
    let before = (
        link("bridge/n"),
        link("tunnel/n"),
        testing::rules()[0].clone(),
    );
    let facts = testing::reboot();
    testing::call(|| Mesh::reconcile(&facts)).unwrap();
    let mut after = (
        link("bridge/n"),
        link("tunnel/n"),
        testing::rules()[0].clone(),
    );
    after.0.name.clone_from(&before.0.name);
    after.1.name.clone_from(&before.1.name);
    after.1.mac = before.1.mac;
    assert_eq!(before, after);
    assert_eq!(testing::links().len(), 2);
    assert_eq!(published(), []);
    testing::call(|| Mesh::delete_network("n")).unwrap();
    nothing_is_left();
}

#[test]
fn what_somebody_removes_is_made_again_under_containers_that_run() {
    let subjects = [
        (Subject::Link, "bridge/n"),
        (Subject::Link, "tunnel/n"),
        (Subject::Rules, "bridge/n"),
        (Subject::Rules, "publish/e/0"),
    ];
    for (subject, key) in subjects {
        configure(&[("peers", "192.0.2.1,192.0.2.2"), ("address", "192.0.2.1")]);
        create(&[]).unwrap();
        endpoint("n", "e", "10.1.0.2/24").unwrap();
        testing::move_link("container/e", false);
        publish("e", &[binding(80, 8080)]).unwrap();
        let fact = testing::lose(subject, key);
        testing::call(|| Mesh::reconcile(std::slice::from_ref(&fact))).unwrap();
        tick();
        assert_eq!(published(), [(8080, "10.1.0.2 80".into())], "{key}");
        for port in ["port/e", "tunnel/n"] {
            assert_eq!(link(port).master.as_deref(), Some("bridge/n"), "{key}");
        }
        assert_eq!(tunnel_ends("n"), ["192.0.2.2".to_owned()].into(), "{key}");
        assert_eq!(testing::rules().len(), 2, "{key}");
    }
}

#[test]
fn endpoints_go_with_their_cables() {
    testing::reset();
    create(&[]).unwrap();
    endpoint("n", "e", "10.1.0.2/24").unwrap();
    endpoint("n", "f", "10.1.0.3/24").unwrap();
    publish("e", &[binding(80, 8080)]).unwrap();
    testing::move_link("container/f", false);
    testing::move_link("port/e", false);
    tick();
    let keys: Vec<String> = testing::links().into_iter().map(|(key, _)| key).collect();
    assert_eq!(keys, ["bridge/n", "container/f", "port/f"]);
    assert_eq!(published(), []);
    // An endpoint with ports does not wait for that.
    testing::move_link("port/f", false);
    endpoint("n", "g", "10.1.0.4/24").unwrap();
    assert_eq!(testing::links().len(), 3);
}

#[test]
fn hosts_of_one_network_meet_whatever_their_order_of_creation() {
    let vni = |address: &str, ids: &[(&str, &str)]| -> Vec<u32> {
        configure(&[("peers", "192.0.2.1,192.0.2.2"), ("address", address)]);
        ids.iter()
            .map(|(id, gateway)| {
                let data = [data(gateway)];
                testing::call(|| Mesh::create_network(id, &options(&[]), &data, &[])).unwrap();
                match link(&format!("tunnel/{id}")).kind {
                    Some(Kind::Vxlan(vxlan)) => {
                        assert_eq!(vxlan.local, Some(address.parse().unwrap()));
                        assert!(vxlan.learning);
                        vxlan.vni
                    }
                    other => panic!("{other:?}"),
                }
            })
            .collect()
    };
    let one = vni("192.0.2.1", &[("a", "10.1.0.1/24"), ("b", "10.2.0.1/24")]);
    let other = vni(
        "192.0.2.2",
        &[("x", "10.2.0.128/24"), ("y", "10.1.0.128/24")],
    );
    assert_eq!(one, [other[1], other[0]]);
    assert_ne!(one[0], one[1]);
    assert_eq!(link("bridge/x").mtu, Some(1450));
    // Hosts with one gateway's address have its Ethernet address too.
    assert_ne!(link("bridge/x").mac, link("bridge/y").mac);
}

#[test]
fn tunnels_follow_the_configuration_and_the_swarm() {
    let list = |text: &str| -> BTreeSet<String> { text.split(' ').map(str::to_owned).collect() };
    configure(&[("peers", "192.0.2.1,192.0.2.2"), ("address", "192.0.2.1")]);
    create(&[]).unwrap();
    create_as("alone", &[("peers", "none")]).unwrap();
    let named = [("peers", "192.0.2.1,192.0.2.9"), ("vni", "9")];
    create_as("named", &named).unwrap();
    tick();
    assert_eq!(tunnel_ends("n"), list("192.0.2.2"));
    testing::set_config("peers", "192.0.2.1,192.0.2.3,192.0.2.4");
    tick();
    assert_eq!(tunnel_ends("n"), list("192.0.2.3 192.0.2.4"));
    assert_eq!(tunnel_ends("named"), list("192.0.2.9"));
    assert!(
        !testing::links()
            .iter()
            .any(|(key, _)| key == "tunnel/alone")
    );

    testing::reset();
    let node = |address: &str, own| Discovery::Node {
        address: address.into(),
        bind_address: String::new(),
        own,
    };
    let came = |address, own| testing::call(|| Mesh::discover_new(&node(address, own))).unwrap();
    came("127.0.0.1", true);
    create_as("single", &[("vni", "4096")]).unwrap();
    assert!(matches!(
        link("tunnel/single").kind,
        Some(Kind::Vxlan(vxlan)) if vxlan.local.is_none()
    ));
    came("192.0.2.1", true);
    came("192.0.2.2", false);
    create(&[("vni", "4097")]).unwrap();
    create_as("alone", &[]).unwrap();
    came("192.0.2.3", false);
    came("192.0.2.3", false);
    assert_eq!(tunnel_ends("n"), list("192.0.2.2 192.0.2.3"));
    testing::call(|| Mesh::discover_delete(&node("192.0.2.2", false))).unwrap();
    assert_eq!(tunnel_ends("n"), list("192.0.2.3"));
    assert!(
        !testing::links()
            .iter()
            .any(|(key, _)| key == "tunnel/alone")
    );
    testing::call(|| Mesh::discover_new(&Discovery::Other(2, "{}".into()))).unwrap();
    came("not an address", false);
}

#[test]
fn a_manager_gives_each_network_an_identifier_of_its_own() {
    testing::reset();
    let allocate = |id: &str, given: &KeyValues| {
        let options = testing::call(|| Mesh::allocate_network(id, given, &[], &[])).unwrap();
        options.get("vni").unwrap().to_owned()
    };
    let none = KeyValues::new();
    let first = allocate("one", &none);
    assert_eq!(allocate("one", &none), first);
    assert_ne!(allocate("two", &none), first);
    assert_eq!(allocate("three", &KeyValues::new().with("vni", 77)), "77");
    let kept = allocate("four", &KeyValues::new().with("gateway", "docker"));
    assert_ne!(kept, first);
    for id in ["one", "two", "three", "four"] {
        testing::call(|| Mesh::free_network(id)).unwrap();
    }
    assert_eq!(testing::state(), []);
}

fn wish(pool: Option<&str>, range: Option<&str>) -> PoolRequest {
    PoolRequest {
        address_space: "local".into(),
        pool: pool.map(net),
        sub_pool: range.map(net),
        ipv6: pool.is_some_and(|pool| pool.contains(':')),
        ..PoolRequest::default()
    }
}

fn ask(pool_id: &str, address: Option<&str>, gateway: bool) -> Result<IpAddr> {
    let request = AddressRequest {
        pool_id: pool_id.into(),
        address: address.map(|address| address.parse().unwrap()),
        gateway,
        ..AddressRequest::default()
    };
    testing::call(|| Mesh::request_address(&request)).map(|given| given.address.addr())
}

#[test]
fn no_address_is_given_by_two_hosts() {
    for (hosts, slices, pool, range) in [
        (2, None, "10.1.0.0/26", None),
        (3, None, "10.1.0.0/26", None),
        (5, Some("16"), "10.1.0.0/24", None),
        (3, None, "10.1.0.0/16", Some("10.1.7.0/25")),
        (4, None, "fd01::/122", None),
    ] {
        let peers: Vec<String> = (1..=hosts).map(|host| format!("192.0.2.{host}")).collect();
        let mut given = BTreeSet::new();
        for own in &peers {
            configure(&[("peers", &peers.join(",")), ("address", own)]);
            if let Some(slices) = slices {
                testing::set_config("slices", slices);
            }
            let pool = testing::call(|| Mesh::request_pool(&wish(Some(pool), range))).unwrap();
            let gateway = ask(&pool.pool_id, None, true).unwrap();
            assert!(given.insert(gateway), "{gateway} twice");
            let mut count = 0;
            while let Ok(address) = ask(&pool.pool_id, None, false) {
                assert!(given.insert(address), "{address} twice");
                count += 1;
            }
            assert!(count >= 4, "{own} of {hosts} has {count} in {pool:?}");
            for address in &given {
                testing::call(|| Mesh::release_address(&pool.pool_id, *address)).unwrap();
            }
            testing::call(|| Mesh::release_pool(&pool.pool_id)).unwrap();
            let left: Vec<_> = testing::state();
            assert_eq!(left, [], "{own}");
        }
    }
}

#[test]
fn a_host_refuses_the_addresses_of_others() {
    configure(&[("peers", "192.0.2.1,192.0.2.2"), ("address", "192.0.2.2")]);
    let pool = testing::call(|| Mesh::request_pool(&wish(Some("10.1.0.0/24"), None))).unwrap();
    let id = pool.pool_id.as_str();
    let refused = ask(id, Some("10.1.0.7"), false).unwrap_err();
    assert!(refused.message().contains("10.1.0.128/25"), "{refused}");
    assert!(ask(id, Some("10.1.0.200"), false).is_ok());
    // The same command on every host may name the gateway.
    let first = Some("10.1.0.1");
    assert_eq!(ask(id, first, true).unwrap().to_string(), "10.1.0.1");
    assert!(ask(id, first, false).is_err());
    let without = testing::call(|| Mesh::request_pool(&wish(None, None))).unwrap_err();
    assert!(without.message().contains("--subnet"), "{without}");
    let alone = PoolRequest {
        options: KeyValues::new().with("peers", "none"),
        ..wish(None, None)
    };
    assert!(testing::call(|| Mesh::request_pool(&alone)).is_ok());
    let small = testing::call(|| Mesh::request_pool(&wish(Some("10.9.0.0/32"), None)));
    assert_eq!(small.unwrap_err().code(), ErrorCode::Exhausted);
    // The first host keeps the address that others may have as their gateway.
    testing::set_config("address", "192.0.2.1");
    let pool = testing::call(|| Mesh::request_pool(&wish(Some("10.2.0.0/24"), None))).unwrap();
    let id = pool.pool_id.as_str();
    assert_eq!(ask(id, None, false).unwrap().to_string(), "10.2.0.2");
    assert!(ask(id, Some("10.2.0.1"), false).is_err());
    assert_eq!(ask(id, None, true).unwrap().to_string(), "10.2.0.1");
}

#[test]
fn what_cannot_be_is_refused_with_what_to_do() {
    let hosts = &[("peers", "192.0.2.1,192.0.2.2"), ("address", "192.0.2.1")][..];
    for (settings, pairs, expected) in [
        (
            &[("peers", "192.0.2.1,192.0.2.2")][..],
            &[][..],
            "needs address",
        ),
        (
            &[("peers", "192.0.2.1"), ("address", "192.0.2.2")],
            &[],
            "the list has all hosts",
        ),
        (
            &[("peers", "a,b"), ("address", "192.0.2.2")],
            &[],
            "\"a\" is no IP address",
        ),
        (
            &[("peers", "192.0.2.1,192.0.2.1"), ("address", "192.0.2.1")],
            &[],
            "twice",
        ),
        (
            &[("peers", "192.0.2.1,fd00::1"), ("address", "192.0.2.1")],
            &[],
            "both IP versions",
        ),
        (&[], &[("peers", "192.0.2.1")], "set address under [config]"),
        (hosts, &[("vni", "16777216")], "from 1 to 16777215"),
        (hosts, &[("gateway", "x")], "mesh, docker or none"),
    ] {
        configure(settings);
        let error = create(pairs).unwrap_err().to_string();
        assert!(error.contains(expected), "{settings:?} {pairs:?}: {error}");
        assert_eq!(testing::links(), []);
    }
    configure(hosts);
    let engines = IpamData {
        address_space: "LocalDefault".into(),
        ..data("10.1.0.1/24")
    };
    let with = |pairs: &[(&str, &str)]| {
        let given = options(pairs);
        testing::call(|| Mesh::create_network("n", &given, std::slice::from_ref(&engines), &[]))
    };
    let error = with(&[]).unwrap_err().to_string();
    assert!(error.contains("--ipam-driver"), "{error}");
    with(&[("addresses", "trusted")]).unwrap();
    let error = endpoint("nowhere", "e", "10.1.0.2/24").unwrap_err();
    assert_eq!(error.code(), ErrorCode::NotFound);
}

#[test]
fn any_calls_in_any_order_do_what_docker_takes_for_granted() {
    testing::model::network::<Mesh>().reconcile::<Mesh>().run();
}

#[test]
fn any_requests_in_any_order_get_what_nobody_has() {
    // Which pool was offered last.
    testing::model::ipam::<Mesh>().keeps_state().run();
}

#[test]
fn a_host_call_that_fails_leaves_nothing_behind() {
    let given = EndpointOptions {
        port_map: vec![binding(80, 8080)],
        ..EndpointOptions::default()
    };
    let interface = EndpointInterface {
        address: Some(net("10.1.0.2/24")),
        ..EndpointInterface::default()
    };
    testing::each_fault(|run| {
        for (key, value) in [("peers", "192.0.2.1,192.0.2.2"), ("address", "192.0.2.1")] {
            testing::set_config(key, value);
        }
        run.call("create network", || {
            Mesh::create_network("n", &options(&[]), &[data("10.1.0.1/24")], &[])
        })?;
        run.call("create endpoint", || {
            Mesh::create_endpoint("n", "e", &interface, &given)
        })?;
        run.call("join", || Mesh::join("n", "e", "/sandbox", &given))?;
        run.call("publish", || {
            Mesh::program_external_connectivity("n", "e", &given)
        })?;
        run.call("tick", || Mesh::tick("upkeep"))?;
        run.call("revoke", || Mesh::revoke_external_connectivity("n", "e"))?;
        run.call("leave", || Mesh::leave("n", "e"))?;
        run.call("delete endpoint", || Mesh::delete_endpoint("n", "e"))?;
        run.call("delete network", || Mesh::delete_network("n"))
    });
}
