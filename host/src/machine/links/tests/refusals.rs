use super::*;
use crate::machine::ErrorKind;

fn refused(link: &Link) {
    let error = super::super::check::link(link).expect_err(&format!("{link:?}"));
    assert_eq!(error.kind, ErrorKind::Invalid, "{error}");
    assert!(error.message.len() < 400, "{error}");
    // Nothing of a hostile value reaches a terminal as it is.
    assert!(!error.message.contains(['\0', '\n', '\x1b']), "{error}");
}

#[test]
fn names_that_no_link_can_have_are_refused() {
    let long = "x".repeat(16);
    let huge = "x".repeat(5000);
    let names = [
        "",
        ".",
        "..",
        "a/b",
        "../x",
        "a b",
        "a\tb",
        "a\nb",
        "a\0b",
        "a:1",
        "\x1b[2J",
        "\u{a0}x",
        "ααααααααα",
        &long,
        &huge,
    ];
    for name in names {
        let name = name.to_owned();
        let mode = MacvlanMode::Bridge;
        let parent = name.clone();
        refused(&Link::new(&id(1), LinkKind::Macvlan { parent, mode }));
        let device = Some(name.clone());
        let kind = LinkKind::Vxlan {
            vni: 1,
            port: 4789,
            local: None,
            remote: None,
            device,
            learning: false,
        };
        refused(&Link::new(&id(1), kind));
        let master = Some(name.clone());
        refused(&Link {
            master,
            ..bridge(1)
        });
        let error = exists(&name).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Invalid);
        // The record's own.
        refused(&Link { name, ..bridge(1) });
    }
    for id in [
        "",
        "0",
        "000000000",
        "0123456789ABCDEF",
        "../../../../x",
        "zzzzzzzzzzzz",
    ] {
        refused(&Link::new(id, bridge(1).kind));
        refused(&Link::new(&"0".repeat(65), bridge(1).kind));
        refused(&Link::veth(&super::id(1), id).0);
    }
}

#[test]
fn addresses_that_no_host_can_have_are_refused() {
    let addresses = [
        "0.0.0.0/0",
        "0.0.0.0/8",
        "10.0.0.1/0",
        "10.0.0.1/1",
        "200.0.0.1/7",
        "fd00::1/3",
        "10.0.0.0/24",
        "10.0.0.255/24",
        "224.0.0.1/24",
        "255.255.255.255/32",
        "127.0.0.1/8",
        "::/0",
        "::/128",
        "::1/128",
        "ff02::1/64",
        "fd00::1/0",
        "::ffff:10.0.0.1/120",
    ];
    for address in addresses {
        let addresses = vec![net(address)];
        refused(&Link {
            addresses,
            ..bridge(1)
        });
    }
    for mac in [[0; 6], [0xff; 6], [1, 0, 0x5e, 0, 0, 1], [3, 0, 0, 0, 0, 0]] {
        refused(&Link {
            mac: Some(mac),
            ..bridge(1)
        });
        let ip = "10.0.0.1".parse().unwrap();
        let neighbours = vec![Neighbour { ip, mac }];
        refused(&Link {
            neighbours,
            ..bridge(1)
        });
    }
    for mtu in [0, 67, 65536, u32::MAX] {
        refused(&Link {
            mtu: Some(mtu),
            ..bridge(1)
        });
    }
    let addresses = vec![net("fd00::1/64")];
    refused(&Link {
        mtu: Some(1279),
        addresses,
        ..bridge(1)
    });
}

#[test]
fn routes_that_would_take_the_hosts_traffic_are_refused() {
    let refused_or_not = |destination, gateway: Option<&str>, allow_default| {
        let route = Route {
            destination: net(destination),
            gateway: gateway.map(|ip| ip.parse().unwrap()),
            source: None,
            metric: None,
            allow_default,
        };
        let routes = vec![route];
        Link {
            routes,
            ..bridge(1)
        }
    };
    for all in [
        "0.0.0.0/0",
        "::/0",
        "0.0.0.0/1",
        "128.0.0.0/1",
        "64.0.0.0/7",
        "2000::/3",
        "8000::/1",
    ] {
        refused(&refused_or_not(all, None, false));
        super::super::check::link(&refused_or_not(all, None, true)).unwrap();
    }
    for ours in ["10.0.0.0/8", "fc00::/7", "224.0.0.0/4"] {
        let link = refused_or_not(ours, None, false);
        let fine = super::super::check::link(&link);
        assert_eq!(fine.is_ok(), ours != "224.0.0.0/4", "{ours}");
    }
    for odd in ["10.0.0.1/24", "127.0.0.0/8", "127.1.0.0/16", "::1/128"] {
        refused(&refused_or_not(odd, None, true));
    }
    for (to, gateway) in [
        ("10.0.0.0/8", "fd00::1"),
        ("fd00::/64", "10.0.0.1"),
        ("10.0.0.0/8", "0.0.0.0"),
        ("10.0.0.0/8", "127.0.0.1"),
        ("10.0.0.0/8", "224.0.0.1"),
    ] {
        refused(&refused_or_not(to, Some(gateway), true));
    }
}

#[test]
fn tunnels_that_make_no_sense_are_refused() {
    let vxlan = |vni, port, local: Option<&str>, remote: Option<&str>| {
        let kind = LinkKind::Vxlan {
            vni,
            port,
            local: local.map(|ip| ip.parse().unwrap()),
            remote: remote.map(|ip| ip.parse().unwrap()),
            device: None,
            learning: false,
        };
        Link::new(&id(1), kind)
    };
    refused(&vxlan(1 << 24, 4789, None, None));
    refused(&vxlan(u32::MAX, 4789, None, None));
    refused(&vxlan(1, 0, None, None));
    refused(&vxlan(1, 4789, Some("224.0.0.1"), None));
    refused(&vxlan(1, 4789, Some("0.0.0.0"), None));
    refused(&vxlan(1, 4789, Some("10.0.0.1"), Some("fd00::1")));
    refused(&vxlan(1, 4789, None, Some("239.0.0.1")));
    refused(&vxlan(1, 4789, None, Some("255.255.255.255")));
    let to = "224.0.0.1".parse().unwrap();
    let fdb = vec![FdbEntry::Remote { mac: [0; 6], to }];
    refused(&Link {
        fdb,
        ..vxlan(1, 4789, None, None)
    });
    let to = "10.0.0.1".parse().unwrap();
    let fdb = vec![FdbEntry::Remote { mac: [0; 6], to }];
    refused(&Link { fdb, ..bridge(1) });
    let fdb = vec![FdbEntry::Port {
        mac: [2; 6],
        vlan: Some(4095),
    }];
    refused(&Link { fdb, ..bridge(1) });
    refused(&Link {
        port: Some(BridgePort::default()),
        ..bridge(1)
    });
    refused(&Link {
        master: Some(bridge(1).name),
        ..bridge(1)
    });
}

#[test]
fn what_the_kernel_cannot_change_is_refused() {
    let vxlan = |vni, remote: &str| LinkKind::Vxlan {
        vni,
        port: 4789,
        local: None,
        remote: Some(remote.parse().unwrap()),
        device: None,
        learning: false,
    };
    let macvlan = |parent: &str, mode| LinkKind::Macvlan {
        parent: parent.to_owned(),
        mode,
    };
    let (private, passthru) = (MacvlanMode::Private, MacvlanMode::Passthru);
    let cases = [
        (vxlan(1, "10.0.0.1"), Edit::Kind(vxlan(1, "10.0.0.2")), true),
        (
            vxlan(1, "10.0.0.1"),
            Edit::Kind(vxlan(2, "10.0.0.1")),
            false,
        ),
        (vxlan(1, "10.0.0.1"), Edit::Kind(bridge(1).kind), false),
        (
            macvlan("a", private),
            Edit::Kind(macvlan("a", MacvlanMode::Vepa)),
            true,
        ),
        (
            macvlan("a", private),
            Edit::Kind(macvlan("b", private)),
            false,
        ),
        (
            Link::veth(&id(1), &id(2)).0.kind,
            Edit::Kind(Link::veth(&id(1), &id(3)).0.kind),
            false,
        ),
        (macvlan("a", private), Edit::Mac([2, 0, 0, 0, 0, 1]), true),
        // It would become the parent's own.
        (macvlan("a", passthru), Edit::Mac([2, 0, 0, 0, 0, 1]), false),
    ];
    for (kind, edit, fine) in cases {
        let checked = super::super::check::edit(&kind, &edit);
        assert_eq!(checked.is_ok(), fine, "{kind:?} {edit:?}");
    }
}

#[test]
fn a_link_that_cannot_be_finished_leaves_nothing() {
    if !private("refusals::a_link_that_cannot_be_finished_leaves_nothing") {
        return;
    }
    let unreachable = Route {
        destination: net("10.2.0.0/16"),
        gateway: Some("10.99.0.1".parse().unwrap()),
        source: None,
        metric: None,
        allow_default: false,
    };
    let (mut pair, peer) = Link::veth(&id(2), &id(3));
    pair.up = true;
    pair.routes = vec![unreachable.clone()];
    let (good, mut bad) = Link::veth(&id(4), &id(5));
    bad.routes = vec![unreachable.clone()];
    bad.up = true;
    let nowhere = |parent: &str| {
        let parent = parent.to_owned();
        let mode = MacvlanMode::Bridge;
        Link::new(&id(6), LinkKind::Macvlan { parent, mode })
    };
    perform(&good).unwrap();
    let cases = [
        (
            Link {
                routes: vec![unreachable],
                ..bridge(1)
            },
            ErrorKind::Invalid,
        ),
        (pair, ErrorKind::Invalid),
        (bad, ErrorKind::Invalid),
        (peer, ErrorKind::NotFound),
        (nowhere("nowhere"), ErrorKind::NotFound),
        (nowhere("lo"), ErrorKind::Invalid),
        (
            Link {
                master: Some("nowhere".to_owned()),
                ..bridge(7)
            },
            ErrorKind::NotFound,
        ),
        (
            Link {
                master: Some("lo".to_owned()),
                ..bridge(7)
            },
            ErrorKind::Invalid,
        ),
    ];
    for (link, kind) in cases {
        let error = perform(&link).unwrap_err();
        assert_eq!(error.kind, kind, "{error}");
    }
    assert_eq!(names(), ["lo"]);
}

#[test]
fn a_taken_identifier_is_said_and_its_holder_stays() {
    if !private("refusals::a_taken_identifier_is_said_and_its_holder_stays") {
        return;
    }
    let vxlan = |number| {
        let kind = LinkKind::Vxlan {
            vni: 5,
            port: 4790,
            local: None,
            remote: None,
            device: None,
            learning: false,
        };
        Link {
            up: true,
            ..Link::new(&id(number), kind)
        }
    };
    perform(&vxlan(1)).unwrap();
    let error = perform(&vxlan(2)).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Exists);
    assert!(error.message.contains("VNI"), "{error}");
    assert_eq!(look(&vxlan(1)).unwrap(), Presence::Present);
    assert_eq!(look(&vxlan(2)).unwrap(), Presence::Absent);
}

#[test]
fn a_records_name_and_mac_come_from_its_identifier() {
    assert_eq!(mint_name("0123456789abcdef"), "dk0123456789");
    assert_eq!(
        mint_mac("0123456789abcdef"),
        [2, 0x01, 0x23, 0x45, 0x67, 0x89]
    );
    let (pair, peer) = Link::veth(&id(1), &id(2));
    let stored = serde_json::to_string(&[&pair, &peer]).unwrap();
    let read: Vec<Link> = serde_json::from_str(&stored).unwrap();
    assert_eq!(read, [pair, peer]);
    let least = format!(
        "{{\"id\":\"{0}\",\"name\":\"{1}\",\"kind\":{{\"Bridge\":{{}}}}}}",
        id(1),
        mint_name(&id(1))
    );
    let read: Link = serde_json::from_str(&least).unwrap();
    assert_eq!(
        read,
        Link {
            up: false,
            ..bridge(1)
        }
    );
}
