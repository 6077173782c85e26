use super::*;

fn route(destination: &str, gateway: Option<&str>) -> Route {
    Route {
        destination: net(destination),
        gateway: gateway.map(|ip| ip.parse().unwrap()),
        source: None,
        metric: None,
        allow_default: false,
    }
}

/// A bridge with a port, and a vxlan link.
fn network() -> (Link, Link, Link, Link) {
    let network = Link {
        addresses: vec![net("10.1.0.1/24"), net("10.1.0.100/24"), net("fd01::1/64")],
        routes: vec![
            route("10.6.0.0/24", Some("10.1.0.2")),
            route("fd66::/64", Some("fd01::2")),
        ],
        neighbours: vec![Neighbour {
            ip: "10.1.0.3".parse().unwrap(),
            mac: [2, 0, 0, 0, 0, 3],
        }],
        ..bridge(1)
    };
    let (mut port, _) = Link::veth(&id(2), &id(3));
    port.up = true;
    let kind = LinkKind::Vxlan {
        vni: 7,
        port: 4790,
        local: Some("10.1.0.1".parse().unwrap()),
        remote: None,
        device: None,
        learning: false,
    };
    let tunnel = Link::new(&id(4), kind);
    let other = bridge(5);
    for link in [&network, &port, &tunnel, &other] {
        perform(link).unwrap();
    }
    (network, port, tunnel, other)
}

fn edits(network: &Link, other: &Link) -> Vec<(u8, Edit)> {
    let neighbour = |ip: &str, last| Neighbour {
        ip: ip.parse().unwrap(),
        mac: [2, 0, 0, 0, 0, last],
    };
    let remote = |mac, to: &str| FdbEntry::Remote {
        mac,
        to: to.parse().unwrap(),
    };
    let stp = LinkKind::Bridge {
        stp: true,
        multicast_snooping: true,
        vlan_filtering: false,
    };
    let learning = LinkKind::Vxlan {
        vni: 7,
        port: 4790,
        local: Some("10.1.0.1".parse().unwrap()),
        remote: None,
        device: None,
        learning: true,
    };
    let master = |to: Option<&Link>| Edit::Master {
        to: to.map(|to| to.name.clone()),
        foreign: false,
    };
    vec![
        (b'b', Edit::Mtu(1400)),
        (b'b', Edit::Up(false)),
        (b'b', Edit::Mac([2, 0, 0, 0, 8, 8])),
        (b'b', Edit::AddAddress(net("10.8.0.1/24"))),
        (b'b', Edit::AddAddress(net("fd08::1/64"))),
        (b'b', Edit::RemoveAddress(net("10.1.0.1/24"))),
        (b'b', Edit::AddRoute(route("10.7.0.0/24", Some("10.1.0.2")))),
        (b'b', Edit::AddRoute(route("fd77::/64", None))),
        (b'b', Edit::AddNeighbour(neighbour("10.1.0.2", 2))),
        (b'b', Edit::AddNeighbour(neighbour("10.1.0.3", 4))),
        (b'b', Edit::RemoveNeighbour("10.1.0.3".parse().unwrap())),
        (b'p', Edit::Up(false)),
        (b'p', master(Some(network))),
        (b'p', master(Some(other))),
        (b'b', Edit::Kind(stp)),
        (b'v', Edit::Kind(learning)),
        (b'v', Edit::AddFdb(remote([0; 6], "10.1.0.4"))),
        (b'v', Edit::AddFdb(remote([2, 0, 0, 0, 0, 4], "10.1.0.4"))),
        (b'v', Edit::Mtu(1300)),
        (b'v', Edit::Up(true)),
    ]
}

#[test]
fn a_change_is_undone_to_what_was_before_however_often() {
    if !private("changes::a_change_is_undone_to_what_was_before_however_often") {
        return;
    }
    let (network, port, tunnel, other) = network();
    for (on, edit) in edits(&network, &other) {
        let link = match on {
            b'b' => &network,
            b'p' => &port,
            _ => &tunnel,
        };
        let before = snapshot(&link.name);
        let change = Change::prepare(link, edit.clone()).unwrap();
        assert_eq!(snapshot(&link.name), before, "preparing changed something");
        undo_change(&change).unwrap();
        assert_eq!(snapshot(&link.name), before, "{edit}: undone too early");
        perform_change(&change).unwrap();
        perform_change(&change).unwrap();
        let after = snapshot(&link.name);
        assert_ne!(after, before, "{edit}");

        // What was so already is not taken away.
        let nothing = Change::prepare(link, edit.clone()).unwrap();
        perform_change(&nothing).unwrap();
        undo_change(&nothing).unwrap();
        assert_eq!(snapshot(&link.name), after, "{edit}: not this change's");

        let stored = serde_json::to_string(&change).unwrap();
        let change: Change = serde_json::from_str(&stored).unwrap();
        undo_change(&change).unwrap();
        undo_change(&change).unwrap();
        assert_eq!(snapshot(&link.name), before, "{edit}");
    }
}

#[test]
fn a_record_with_its_changes_written_in_is_what_the_kernel_has() {
    if !private("changes::a_record_with_its_changes_written_in_is_what_the_kernel_has") {
        return;
    }
    let (mut network, mut port, mut tunnel, other) = network();
    for (on, edit) in edits(&network.clone(), &other) {
        let link = match on {
            b'b' => &mut network,
            b'p' => &mut port,
            _ => &mut tunnel,
        };
        let change = Change::prepare(link, edit.clone()).unwrap();
        // It takes away what the record goes on to say, until it is undone.
        if matches!(edit, Edit::Up(false)) {
            continue;
        }
        perform_change(&change).unwrap();
        change.write(link);
        assert_eq!(look(link).unwrap(), Presence::Present, "{edit}");
    }
}

#[test]
fn a_change_that_somebody_changed_again_is_left_alone() {
    if !private("changes::a_change_that_somebody_changed_again_is_left_alone") {
        return;
    }
    let (network, ..) = network();
    let change = Change::prepare(&network, Edit::Mtu(1400)).unwrap();
    perform_change(&change).unwrap();
    set(&network.name, LinkAttribute::Mtu(1350));
    undo_change(&change).unwrap();
    assert_eq!(seen(&network.name).mtu, 1350);
}

#[test]
fn a_change_that_leaves_a_record_without_sense_is_refused() {
    let options = Edit::Port(BridgePort::default());
    let small = Link {
        addresses: vec![net("fd01::1/64")],
        mtu: Some(1500),
        ..bridge(1)
    };
    for (link, edit) in [(&bridge(1), options), (&small, Edit::Mtu(1279))] {
        let error = Change::prepare(link, edit).unwrap_err();
        assert_eq!(error.kind, crate::machine::ErrorKind::Invalid);
    }
}

#[test]
fn a_change_outlives_its_link() {
    if !private("changes::a_change_outlives_its_link") {
        return;
    }
    let (network, port, _, other) = network();
    let to = Edit::Master {
        to: Some(network.name.clone()),
        foreign: false,
    };
    let first = Change::prepare(&port, to).unwrap();
    perform_change(&first).unwrap();
    let to = Edit::Master {
        to: Some(other.name.clone()),
        foreign: false,
    };
    let second = Change::prepare(&port, to).unwrap();
    perform_change(&second).unwrap();
    undo(&network).unwrap();
    undo_change(&second).unwrap();
    undo(&port).unwrap();
    undo_change(&first).unwrap();
    let error = perform_change(&first).unwrap_err();
    assert_eq!(error.kind, crate::machine::ErrorKind::NotFound);
}
