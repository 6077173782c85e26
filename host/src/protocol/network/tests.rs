#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]
use super::super::decode;
use super::*;
use crate::protocol::address::{cidr_from_guest, ip_from_guest};

fn call(method: &str, body: &str) -> Result<Call, String> {
    let method = Method::parse(&format!("NetworkDriver.{method}")).unwrap();
    match decode(method, body.as_bytes()) {
        Ok(Decoded::Call(super::super::Call::Network(call))) => {
            assert_eq!(call.method(), method);
            Ok(call)
        }
        Ok(other) => panic!("{method} {body}: {other:?}"),
        Err(error) => Err(error.to_string()),
    }
}

fn text(cidr: Option<types::Cidr>) -> String {
    cidr.map(|cidr| cidr_from_guest(cidr).unwrap().to_string())
        .unwrap_or_default()
}

fn data(entries: &[IpamData]) -> Vec<String> {
    entries
        .iter()
        .map(|entry| {
            let aux: Vec<String> = entry
                .aux_addresses
                .iter()
                .map(|(name, cidr)| format!("{name}={}", text(Some(*cidr))))
                .collect();
            format!(
                "{} {} {} {}",
                entry.address_space,
                text(entry.pool),
                text(entry.gateway),
                aux.join(",")
            )
        })
        .collect()
}

fn pairs(pairs: &[(&str, &str)]) -> Vec<KeyValue> {
    pairs
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect()
}

const PORTS: &str = r#"{"com.docker.network.endpoint.exposedports":[{"Proto":6,"Port":80}],"com.docker.network.portmap":[{"Proto":6,"IP":"","Port":80,"HostIP":"","HostPort":8080,"HostPortEnd":8080}]}"#;

fn check_ports(options: &EndpointOptions) {
    assert_eq!(options.raw, PORTS);
    assert!(options.generic.is_empty());
    assert!(matches!(
        options.exposed_ports.as_slice(),
        [types::Port {
            transport: types::Transport::Tcp,
            number: 80
        }]
    ));
    assert!(matches!(
        options.port_map.as_slice(),
        [types::PortBinding {
            transport: types::Transport::Tcp,
            container_address: None,
            container_port: 80,
            host_address: None,
            host_port: 8080,
            host_port_end: 8080,
        }]
    ));
}

#[test]
fn a_network_is_created_with_what_engines_send() {
    let body = r#"{"NetworkID":"204f990c","Options":{"com.docker.network.enable_ipv6":false,"com.docker.network.generic":{"parent":"eth9"}},
        "IPv4Data":[{"AddressSpace":"LocalDefault","Gateway":"10.77.0.1/24","Pool":"10.77.0.0/24"}],"IPv6Data":[]}"#;
    let Ok(Call::CreateNetwork {
        network_id,
        options,
        ipv4,
        ipv6,
    }) = call("CreateNetwork", body)
    else {
        panic!()
    };
    assert_eq!(network_id, "204f990c");
    assert_eq!(options.generic, pairs(&[("parent", "eth9")]));
    assert_eq!(
        (options.enable_ipv4, options.enable_ipv6, options.internal),
        (None, false, false)
    );
    assert_eq!(
        options.raw,
        r#"{"com.docker.network.enable_ipv6":false,"com.docker.network.generic":{"parent":"eth9"}}"#
    );
    assert_eq!(data(&ipv4), ["LocalDefault 10.77.0.0/24 10.77.0.1/24 "]);
    assert!(ipv6.is_empty());

    let body = r#"{"NetworkID":"n","Options":{"com.docker.network.enable_ipv6":false,"com.docker.network.generic":{},"com.docker.network.internal":true},
        "IPv4Data":[{"AddressSpace":"x-local","AuxAddresses":{"h1":"10.88.5.5/16","h2":"10.88.200.7/16"},"Gateway":"10.88.0.9/16","Pool":"10.88.0.0/16"}],"IPv6Data":null}"#;
    let Ok(Call::CreateNetwork { options, ipv4, .. }) = call("CreateNetwork", body) else {
        panic!()
    };
    assert!(options.internal);
    assert_eq!(
        data(&ipv4),
        ["x-local 10.88.0.0/16 10.88.0.9/16 h1=10.88.5.5/16,h2=10.88.200.7/16"]
    );

    let body = r#"{"NetworkID":"n","Options":{"com.docker.network.enable_ipv4":true,"com.docker.network.enable_ipv6":true,"com.docker.network.generic":{"a":"b","n":5,"l":[1]}},
        "IPv4Data":[{"AddressSpace":"x-local","Pool":"10.200.0.0/24"}],"IPv6Data":[{"AddressSpace":"x-local","Gateway":"fd99:2::1/64","Pool":"fd99:2::/64"}]}"#;
    let Ok(Call::CreateNetwork {
        options,
        ipv4,
        ipv6,
        ..
    }) = call("CreateNetwork", body)
    else {
        panic!()
    };
    assert_eq!(
        (options.enable_ipv4, options.enable_ipv6),
        (Some(true), true)
    );
    assert_eq!(
        options.generic,
        pairs(&[("a", "b"), ("n", "5"), ("l", "[1]")])
    );
    assert_eq!(data(&ipv4), ["x-local 10.200.0.0/24  "]);
    assert_eq!(data(&ipv6), ["x-local fd99:2::/64 fd99:2::1/64 "]);

    let body = r#"{"NetworkID":"n","Options":null,"IPv4Data":[{"AddressSpace":"null","Pool":"0.0.0.0/0"}]}"#;
    let Ok(Call::CreateNetwork { options, ipv4, .. }) = call("CreateNetwork", body) else {
        panic!()
    };
    assert_eq!((options.raw.as_str(), options.generic.len()), ("{}", 0));
    assert_eq!(data(&ipv4), ["null 0.0.0.0/0  "]);
}

#[test]
fn an_endpoint_is_created_with_what_engines_send() {
    let body = format!(
        r#"{{"NetworkID":"204f990c","EndpointID":"ec57ba5b","Interface":{{"Address":"10.77.0.2/24","AddressIPv6":"","MacAddress":""}},"Options":{PORTS}}}"#
    );
    let Ok(Call::CreateEndpoint {
        endpoint,
        interface,
        options,
    }) = call("CreateEndpoint", &body)
    else {
        panic!()
    };
    assert_eq!(
        (endpoint.network_id.as_str(), endpoint.endpoint_id.as_str()),
        ("204f990c", "ec57ba5b")
    );
    assert_eq!(text(interface.address), "10.77.0.2/24");
    assert!(interface.address_ipv6.is_none() && interface.mac_address.is_none());
    check_ports(&options);

    let body = r#"{"NetworkID":"n","EndpointID":"e","Interface":{"Address":"","AddressIPv6":"fd99:2::5/64","MacAddress":"02:11:22:33:44:55"},
        "Options":{"com.docker.network.endpoint.exposedports":null,"com.docker.network.portmap":[{"Proto":132,"IP":"10.0.0.2","Port":1,"HostIP":"::1","HostPort":0,"HostPortEnd":0}],
        "com.docker.network.endpoint.dnsservers":["8.8.8.8"],"com.docker.network.endpoint.macaddress":"AhEiM0RV","com.docker.network.endpoint.ifname":"x0","k":{"a":1}}}"#;
    let Ok(Call::CreateEndpoint {
        interface, options, ..
    }) = call("CreateEndpoint", body)
    else {
        panic!()
    };
    let mac = (0x02, 0x11, 0x22, 0x33, 0x44, 0x55);
    assert_eq!(interface.mac_address, Some(mac));
    assert_eq!(text(interface.address_ipv6), "fd99:2::5/64");
    assert_eq!(options.mac_address, Some(mac));
    assert_eq!(options.dns_servers, ["8.8.8.8"]);
    assert_eq!(
        options.generic,
        pairs(&[
            ("com.docker.network.endpoint.ifname", "x0"),
            ("k", r#"{"a":1}"#)
        ])
    );
    let binding = &options.port_map[0];
    assert!(matches!(binding.transport, types::Transport::Sctp));
    assert_eq!(
        binding
            .host_address
            .map(|ip| ip_from_guest(ip).unwrap().to_string())
            .as_deref(),
        Some("::1")
    );
}

#[test]
fn the_rest_of_an_endpoints_life_is_read_as_engines_send_it() {
    let body = format!(
        r#"{{"NetworkID":"n","EndpointID":"e","SandboxKey":"/var/run/docker/netns/9b4a3e1e1f31","Options":{PORTS}}}"#
    );
    let Ok(Call::Join {
        endpoint,
        sandbox_key,
        options,
    }) = call("Join", &body)
    else {
        panic!()
    };
    assert_eq!(
        (endpoint.endpoint_id.as_str(), sandbox_key.as_str()),
        ("e", "/var/run/docker/netns/9b4a3e1e1f31")
    );
    check_ports(&options);
    let body = format!(r#"{{"NetworkID":"n","EndpointID":"e","Options":{PORTS}}}"#);
    let Ok(Call::ProgramExternalConnectivity { options, .. }) =
        call("ProgramExternalConnectivity", &body)
    else {
        panic!()
    };
    check_ports(&options);
    for method in [
        "DeleteEndpoint",
        "EndpointOperInfo",
        "Leave",
        "RevokeExternalConnectivity",
    ] {
        let call = call(method, "{\"NetworkID\":\"n\",\"EndpointID\":\"e\"}\n").unwrap();
        assert_eq!(call.network_id(), Some("n"));
    }
    for method in ["DeleteNetwork", "FreeNetwork"] {
        assert_eq!(
            call(method, "{\"NetworkID\":\"n\"}\n")
                .unwrap()
                .network_id(),
            Some("n")
        );
    }
}

#[test]
fn what_only_managers_and_clusters_send_is_read() {
    let body = r#"{"NetworkID":"kc1v","Options":{"opt1":"val1"},"IPv4Data":[{"AddressSpace":"","Gateway":"10.62.0.1/24","Pool":"10.62.0.0/24"}],"IPv6Data":null}"#;
    let Ok(Call::AllocateNetwork {
        options,
        ipv4,
        ipv6,
        ..
    }) = call("AllocateNetwork", body)
    else {
        panic!()
    };
    assert_eq!(options, pairs(&[("opt1", "val1")]));
    assert_eq!(
        (data(&ipv4), ipv6.len()),
        (vec![" 10.62.0.0/24 10.62.0.1/24 ".to_owned()], 0)
    );

    let body = r#"{"Options":{"com.docker.network.enable_ipv4":"true","com.docker.network.enable_ipv6":true,"com.docker.network.generic":{"a":"b"}}}"#;
    let Ok(Call::GwAllocCheck { options }) = call("GwAllocCheck", body) else {
        panic!()
    };
    assert_eq!(
        (options.enable_ipv4, options.enable_ipv6),
        (Some(true), true)
    );

    let body = r#"{"DiscoveryType":1,"DiscoveryData":{"Address":"192.168.88.2","BindAddress":"","Self":false}}"#;
    for method in ["DiscoverNew", "DiscoverDelete"] {
        let (Call::DiscoverNew(what) | Call::DiscoverDelete(what)) = call(method, body).unwrap()
        else {
            panic!()
        };
        let Discovery::Node(node) = what else {
            panic!("{what:?}")
        };
        assert_eq!(
            (
                node.address.as_str(),
                node.bind_address.as_str(),
                node.self_
            ),
            ("192.168.88.2", "", false)
        );
    }
    let body = r#"{"DiscoveryType":3,"DiscoveryData":[{"k":1}]}"#;
    let Ok(Call::DiscoverNew(Discovery::Other((3, json)))) = call("DiscoverNew", body) else {
        panic!()
    };
    assert_eq!(json, r#"[{"k":1}]"#);
}

#[test]
fn nonsense_is_refused_with_the_field() {
    let options =
        |options: &str| format!(r#"{{"NetworkID":"n","EndpointID":"e","Options":{{{options}}}}}"#);
    let cases = [
        ("CreateNetwork", "{}".to_owned(), "NetworkID"),
        (
            "DeleteNetwork",
            r#"{"NetworkID":""}"#.to_owned(),
            "NetworkID",
        ),
        ("Leave", r#"{"NetworkID":"n"}"#.to_owned(), "EndpointID"),
        (
            "CreateNetwork",
            r#"{"NetworkID":"n","IPv4Data":{}}"#.to_owned(),
            "IPv4Data",
        ),
        (
            "CreateNetwork",
            r#"{"NetworkID":"n","IPv4Data":[7]}"#.to_owned(),
            "IPv4Data[0]",
        ),
        (
            "CreateNetwork",
            r#"{"NetworkID":"n","IPv4Data":[{"Pool":"10.0.0.0"}]}"#.to_owned(),
            "IPv4Data[0].Pool",
        ),
        (
            "CreateNetwork",
            r#"{"NetworkID":"n","IPv4Data":[{"Pool":"fd00::/64"}]}"#.to_owned(),
            "fd00::/64 in IPv4Data",
        ),
        (
            "CreateNetwork",
            r#"{"NetworkID":"n","IPv4Data":[{"Pool":"10.0.0.0/24","Gateway":"10.0.1.1/24"}]}"#
                .to_owned(),
            "10.0.1.1/24 in IPv4Data is outside of its subnet 10.0.0.0/24",
        ),
        (
            "CreateNetwork",
            r#"{"NetworkID":"n","IPv4Data":[{"Pool":"10.0.0.0/24","AuxAddresses":{"h":"10.0.1.2/24"}}]}"#
                .to_owned(),
            "10.0.1.2/24 in IPv4Data is outside",
        ),
        (
            "CreateNetwork",
            r#"{"NetworkID":"n","IPv6Data":[{"Pool":"fd00::/64","Gateway":"10.0.0.1/24"}]}"#
                .to_owned(),
            "10.0.0.1/24 in IPv6Data",
        ),
        (
            "CreateNetwork",
            r#"{"NetworkID":"n","IPv4Data":[{"AuxAddresses":{"h":""}}]}"#.to_owned(),
            "AuxAddresses.h",
        ),
        (
            "CreateNetwork",
            options(r#""com.docker.network.generic":[]"#),
            "generic",
        ),
        (
            "CreateNetwork",
            options(r#""com.docker.network.enable_ipv6":"maybe""#),
            "enable_ipv6",
        ),
        (
            "CreateEndpoint",
            r#"{"NetworkID":"n","EndpointID":"e","Interface":{"Address":"10.0.0.1"}}"#.to_owned(),
            "Interface.Address",
        ),
        (
            "CreateEndpoint",
            r#"{"NetworkID":"n","EndpointID":"e","Interface":{"MacAddress":"x"}}"#.to_owned(),
            "Interface.MacAddress",
        ),
        (
            "CreateEndpoint",
            options(r#""com.docker.network.endpoint.macaddress":"AhEiM0Q=""#),
            "macaddress",
        ),
        (
            "CreateEndpoint",
            options(r#""com.docker.network.endpoint.exposedports":[{"Proto":256,"Port":80}]"#),
            "Proto",
        ),
        (
            "CreateEndpoint",
            options(r#""com.docker.network.endpoint.exposedports":[{"Proto":6,"Port":65536}]"#),
            "65536",
        ),
        (
            "CreateEndpoint",
            options(
                r#""com.docker.network.portmap":[{"Proto":6,"Port":1,"HostPort":9,"HostPortEnd":8}]"#,
            ),
            "9 to 8",
        ),
        (
            "CreateEndpoint",
            options(r#""com.docker.network.portmap":[{"Proto":6,"Port":1,"HostIP":"x"}]"#),
            "HostIP",
        ),
        (
            "CreateEndpoint",
            options(r#""com.docker.network.endpoint.dnsservers":[1]"#),
            "dnsservers",
        ),
        (
            "DiscoverNew",
            r#"{"DiscoveryType":-1}"#.to_owned(),
            "DiscoveryType",
        ),
        (
            "DiscoverNew",
            r#"{"DiscoveryType":1,"DiscoveryData":[]}"#.to_owned(),
            "DiscoveryData",
        ),
    ];
    for (method, body, field) in cases {
        let error = call(method, &body).unwrap_err();
        assert!(error.contains(field), "{body}: {error}");
        assert!(
            error.contains(&format!("NetworkDriver.{method}")),
            "{body}: {error}"
        );
        assert!(!error.contains('\n'), "{error}");
    }
}
