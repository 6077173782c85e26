use super::*;

fn full_bridge(number: u32) -> Link {
    Link {
        mtu: Some(1500),
        mac: Some([2, 0, 0, 0, 1, 1]),
        addresses: vec![net("10.1.0.1/24"), net("fd01::1/64")],
        routes: vec![
            Route {
                destination: net("10.2.0.0/16"),
                gateway: Some("10.1.0.9".parse().unwrap()),
                source: Some("10.1.0.1".parse().unwrap()),
                metric: Some(7),
                allow_default: false,
            },
            Route {
                destination: net("10.3.0.7/32"),
                gateway: None,
                source: None,
                metric: None,
                allow_default: false,
            },
            Route {
                destination: net("fd02::/64"),
                gateway: Some("fd01::9".parse().unwrap()),
                source: None,
                metric: None,
                allow_default: false,
            },
        ],
        neighbours: vec![
            Neighbour {
                ip: "10.1.0.9".parse().unwrap(),
                mac: [2, 0, 0, 0, 9, 9],
            },
            Neighbour {
                ip: "fd01::9".parse().unwrap(),
                mac: [2, 0, 0, 0, 9, 9],
            },
        ],
        ..bridge(number)
    }
}

fn vxlan(number: u32, local: Option<&str>, remote: Option<&str>, device: Option<&str>) -> Link {
    let kind = LinkKind::Vxlan {
        vni: number,
        port: 4790,
        local: local.map(|ip| ip.parse().unwrap()),
        remote: remote.map(|ip| ip.parse().unwrap()),
        device: device.map(str::to_owned),
        learning: number.is_multiple_of(2),
    };
    Link {
        up: true,
        ..Link::new(&id(number), kind)
    }
}

fn macvlan(number: u32, parent: &str, mode: MacvlanMode) -> Link {
    let parent = parent.to_owned();
    Link::new(&id(number), LinkKind::Macvlan { parent, mode })
}

#[test]
fn every_kind_becomes_what_its_record_says_and_goes_without_a_trace() {
    if !private("kinds::every_kind_becomes_what_its_record_says_and_goes_without_a_trace") {
        return;
    }
    let base = full_bridge(1);
    let (mut pair, mut peer) = Link::veth(&id(2), &id(3));
    pair.master = Some(base.name.clone());
    pair.up = true;
    pair.mtu = Some(1400);
    pair.port = Some(BridgePort {
        isolated: true,
        hairpin: true,
        learning: false,
        flood: false,
        neigh_suppress: true,
    });
    pair.fdb = vec![FdbEntry::Port {
        mac: [2, 0, 0, 0, 5, 5],
        vlan: None,
    }];
    peer.mac = Some([2, 0, 0, 0, 7, 7]);
    peer.addresses = vec![net("10.9.0.1/31")];
    let fdb = |to: &str| FdbEntry::Remote {
        mac: [0; 6],
        to: to.parse().unwrap(),
    };
    let fdb = vec![
        fdb("192.0.2.9"),
        fdb("192.0.2.10"),
        FdbEntry::Remote {
            mac: [2, 0, 0, 0, 6, 6],
            to: "192.0.2.9".parse().unwrap(),
        },
    ];
    let other = LinkKind::Bridge {
        stp: true,
        multicast_snooping: true,
        vlan_filtering: false,
    };
    let records = [
        base.clone(),
        Link::new(&id(4), other),
        pair,
        peer,
        Link {
            mtu: Some(1450),
            master: Some(base.name.clone()),
            fdb,
            ..vxlan(11, Some("192.0.2.1"), None, Some(&mint_name(&id(4))))
        },
        vxlan(12, None, None, None),
        vxlan(13, None, Some("192.0.2.8"), None),
        vxlan(14, None, Some("239.1.1.1"), Some(&base.name)),
        vxlan(15, Some("2001:db8::1"), Some("2001:db8::2"), None),
        Link {
            up: true,
            addresses: vec![net("10.4.0.1/24")],
            ..macvlan(20, &base.name, MacvlanMode::Bridge)
        },
        macvlan(21, &base.name, MacvlanMode::Private),
        macvlan(22, &base.name, MacvlanMode::Vepa),
        macvlan(23, &mint_name(&id(4)), MacvlanMode::Passthru),
        macvlan(24, &mint_name(&id(21)), MacvlanMode::Private),
    ];
    let made = |record: &Link| match perform(record) {
        Ok(()) => true,
        Err(error) if error.kind == crate::machine::ErrorKind::Missing => {
            println!("skipped: {error}");
            false
        }
        Err(error) => panic!("{error}\n{record:?}"),
    };
    let records: Vec<Link> = records.into_iter().filter(made).collect();
    assert!(!records.is_empty());
    for record in &records {
        assert_eq!(look(record).unwrap(), Presence::Present, "{record:?}");
        assert_eq!(repair(record).unwrap(), Vec::<String>::new());
        assert_eq!(whereabouts(record).unwrap(), Whereabouts::Here);
        assert!(exists(&record.name).unwrap());
        if !matches!(record.kind, LinkKind::VethPeer { .. }) {
            let again = perform(record).unwrap_err();
            assert_eq!(again.kind, crate::machine::ErrorKind::Exists, "{again}");
            assert_eq!(look(record).unwrap(), Presence::Present);
        }
    }
    let mut listed: Vec<_> = list_ours().unwrap().into_iter().map(|one| one.id).collect();
    let mut ids: Vec<_> = records.iter().map(|one| one.id.clone()).collect();
    listed.sort();
    ids.sort();
    assert_eq!(listed, ids);
    for record in records.iter().rev() {
        undo(record).unwrap();
        undo(record).unwrap();
        assert_eq!(look(record).unwrap(), Presence::Absent);
        assert_eq!(whereabouts(record).unwrap(), Whereabouts::Gone);
    }
    assert_eq!(names(), ["lo"]);
}

#[test]
fn a_bridge_keeps_vlans_apart_where_the_kernel_can() {
    if !private("kinds::a_bridge_keeps_vlans_apart_where_the_kernel_can") {
        return;
    }
    let kind = |vlan_filtering| LinkKind::Bridge {
        stp: false,
        multicast_snooping: false,
        vlan_filtering,
    };
    let record = Link::new(&id(1), kind(true));
    match perform(&record) {
        Err(error) if error.kind == crate::machine::ErrorKind::Missing => {
            println!("skipped: the kernel has no VLANs on bridges");
            assert_eq!(names(), ["lo"]);
            return;
        }
        made => made.unwrap(),
    }
    assert_eq!(look(&record).unwrap(), Presence::Present);
    let without = Link::new(&id(1), kind(false));
    assert_eq!(repair(&without).unwrap().len(), 1);
    assert_eq!(look(&without).unwrap(), Presence::Present);
}

#[test]
fn an_ipv6_address_is_usable_at_once_even_where_ipv6_is_off() {
    if !private("kinds::an_ipv6_address_is_usable_at_once_even_where_ipv6_is_off") {
        return;
    }
    std::fs::write("/proc/sys/net/ipv6/conf/default/disable_ipv6", "1").unwrap();
    let record = full_bridge(1);
    perform(&record).unwrap();
    let table = std::fs::read_to_string("/proc/net/if_inet6").unwrap();
    let line = table.lines().find(|line| line.starts_with("fd01")).unwrap();
    let flags = line.split_whitespace().nth(4).unwrap();
    let flags = u8::from_str_radix(flags, 16).unwrap();
    // IFA_F_TENTATIVE
    assert_eq!(flags & 0x40, 0, "{line}");
}

#[test]
fn a_bridge_keeps_its_mtu_when_ports_with_another_come() {
    if !private("kinds::a_bridge_keeps_its_mtu_when_ports_with_another_come") {
        return;
    }
    for (number, mtu) in [(1, 1500), (2, 1280), (3, 68), (4, 65535)] {
        let record = Link {
            mtu: Some(mtu),
            ..bridge(number)
        };
        perform(&record).unwrap();
        let (mut pair, _) = Link::veth(&id(100 + number), &id(200 + number));
        pair.mtu = Some(1400);
        pair.master = Some(record.name.clone());
        perform(&pair).unwrap();
        assert_eq!(seen(&record.name).mtu, mtu);
    }
}

#[test]
fn what_somebody_else_changed_is_named_and_repaired() {
    if !private("kinds::what_somebody_else_changed_is_named_and_repaired") {
        return;
    }
    let record = full_bridge(1);
    perform(&record).unwrap();
    let (mut port, _) = Link::veth(&id(2), &id(3));
    port.master = Some(record.name.clone());
    port.port = Some(BridgePort {
        isolated: true,
        ..BridgePort::default()
    });
    port.up = true;
    perform(&port).unwrap();
    let kernel = &mut Kernel::default();
    let index = seen(&record.name);
    let mut disturb = |link: &Seen, edit: Edit| super::super::write::apply(kernel, link, &edit);
    disturb(&index, Edit::Mtu(1300)).unwrap();
    disturb(&index, Edit::Mac([2, 9, 9, 9, 9, 9])).unwrap();
    disturb(&index, Edit::RemoveAddress(net("10.1.0.1/24"))).unwrap();
    let other = LinkKind::Bridge {
        stp: true,
        multicast_snooping: true,
        vlan_filtering: false,
    };
    disturb(&index, Edit::Kind(other)).unwrap();
    disturb(&seen(&port.name), Edit::Up(false)).unwrap();
    let out = Edit::Master {
        to: None,
        foreign: false,
    };
    disturb(&seen(&port.name), out).unwrap();

    let Presence::Changed(text) = look(&record).unwrap() else {
        panic!("the bridge is as it was")
    };
    for part in ["MTU", "MAC", "options", "10.1.0.1/24", "10.2.0.0/16"] {
        assert!(text.contains(part), "{part} is missing in: {text}");
    }
    let Presence::Changed(text) = look(&port).unwrap() else {
        panic!("the port is as it was")
    };
    for part in ["down", &record.name, "port"] {
        assert!(text.contains(part), "{part} is missing in: {text}");
    }
    assert!(repair(&record).unwrap().len() >= 5);
    assert_eq!(repair(&port).unwrap().len(), 3);
    assert_eq!(look(&record).unwrap(), Presence::Present);
    assert_eq!(look(&port).unwrap(), Presence::Present);
}

#[test]
fn what_went_with_a_restart_of_the_machine_is_made_again() {
    if !private("kinds::what_went_with_a_restart_of_the_machine_is_made_again") {
        return;
    }
    let network = full_bridge(1);
    let (mut pair, mut peer) = Link::veth(&id(2), &id(3));
    pair.master = Some(network.name.clone());
    pair.up = true;
    peer.mac = Some([2, 0, 0, 0, 7, 7]);
    for link in [&network, &pair, &peer] {
        assert!(!repair(link).unwrap().is_empty());
    }
    for link in [&network, &pair, &peer] {
        assert_eq!(look(link).unwrap(), Presence::Present);
        assert_eq!(repair(link).unwrap(), Vec::<String>::new());
    }
}

#[test]
fn two_hundred_links_come_and_go_and_no_thread_leaves_its_namespace() {
    if !private("kinds::two_hundred_links_come_and_go_and_no_thread_leaves_its_namespace") {
        return;
    }
    let namespace = Namespace::new();
    std::thread::scope(|scope| {
        for worker in 0..4 {
            let namespace = &namespace;
            scope.spawn(move || {
                for number in 0..25 {
                    let number = worker * 1000 + number * 2;
                    let (pair, peer) = Link::veth(&id(number), &id(number + 1));
                    perform(&pair).unwrap();
                    perform(&peer).unwrap();
                    if number % 4 == 0 {
                        namespace.take(&peer.name);
                        assert_eq!(whereabouts(&peer).unwrap(), Whereabouts::Elsewhere);
                    }
                    undo(&peer).unwrap();
                    undo(&pair).unwrap();
                }
            });
        }
    });
    assert_eq!(names(), ["lo"]);
    let mut namespaces = std::collections::HashSet::new();
    for task in std::fs::read_dir("/proc/self/task").unwrap() {
        let path = task.unwrap().path().join("ns/net");
        if let Ok(namespace) = std::fs::read_link(path) {
            namespaces.insert(namespace);
        }
    }
    assert_eq!(namespaces.len(), 1);
}
