use super::*;
use crate::machine::ErrorKind;

#[test]
fn a_link_that_is_not_ours_is_never_touched() {
    if !private("strangers::a_link_that_is_not_ours_is_never_touched") {
        return;
    }
    let record = bridge(1);
    let (pair, peer) = Link::veth(&id(2), &id(3));
    make_foreign(&record.name, InfoKind::Bridge, vec![]);
    make_foreign(&peer.name, InfoKind::Bridge, vec![]);
    let attributes = vec![LinkAttribute::Group(super::super::state::UNFINISHED)];
    make_foreign(&pair.name, InfoKind::Bridge, attributes);
    for alias in ["", "somebody's", "dockside:0000000001"] {
        if !alias.is_empty() {
            set(&record.name, LinkAttribute::IfAlias(alias.to_owned()));
        }
        let before = (snapshot(&record.name), names());
        assert_eq!(perform(&record).unwrap_err().kind, ErrorKind::Exists);
        assert_eq!(perform(&pair).unwrap_err().kind, ErrorKind::Exists);
        assert_eq!(perform(&peer).unwrap_err().kind, ErrorKind::NotFound);
        for link in [&record, &pair, &peer] {
            undo(link).unwrap();
            assert_eq!(look(link).unwrap(), Presence::Absent);
            assert_eq!(whereabouts(link).unwrap(), Whereabouts::Gone);
            assert!(repair(link).is_err());
            let change = Change::prepare(link, Edit::Mtu(1400));
            assert_eq!(change.unwrap_err().kind, ErrorKind::NotFound);
        }
        assert_eq!((snapshot(&record.name), names()), before);
    }
}

#[test]
fn a_bridge_of_the_operator_takes_ports_only_by_grant() {
    if !private("strangers::a_bridge_of_the_operator_takes_ports_only_by_grant") {
        return;
    }
    make_foreign("br-lan", InfoKind::Bridge, vec![]);
    let (mut pair, _) = Link::veth(&id(2), &id(3));
    pair.master = Some("br-lan".to_owned());
    let error = perform(&pair).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Invalid, "{error}");
    assert_eq!(names(), ["lo", "br-lan"]);
    pair.foreign_master = true;
    perform(&pair).unwrap();
    assert_eq!(look(&pair).unwrap(), Presence::Present);
    undo(&pair).unwrap();
    assert_eq!(names(), ["lo", "br-lan"]);
}

#[test]
fn a_link_in_a_container_is_known_and_ends_with_its_record_or_with_the_container() {
    if !private(
        "strangers::a_link_in_a_container_is_known_and_ends_with_its_record_or_with_the_container",
    ) {
        return;
    }
    let parent = bridge(1);
    perform(&parent).unwrap();
    let macvlan = |number| {
        let kind = LinkKind::Macvlan {
            parent: parent.name.clone(),
            mode: MacvlanMode::Bridge,
        };
        Link::new(&id(number), kind)
    };
    let place = |id: &str| {
        let ours = list_ours().unwrap();
        ours.iter().find(|one| one.id == id).map(|one| one.place)
    };
    for ended_by_record in [true, false] {
        let namespace = Namespace::new();
        let (pair, peer) = Link::veth(&id(2), &id(3));
        let (pair2, peer2) = Link::veth(&id(4), &id(5));
        let macvlan = macvlan(6);
        for link in [&pair, &peer, &pair2, &peer2, &macvlan] {
            perform(link).unwrap();
        }
        // Docker may take either end.
        let moved = [&peer, &pair2, &macvlan];
        for link in moved {
            namespace.take(&link.name);
            assert_eq!(look(link).unwrap(), Presence::Absent);
            assert_eq!(whereabouts(link).unwrap(), Whereabouts::Elsewhere);
            assert_eq!(repair(link).unwrap_err().kind, ErrorKind::Busy);
            assert_eq!(place(&link.id), Some(Whereabouts::Elsewhere));
        }
        for link in [&pair, &peer2] {
            assert_eq!(look(link).unwrap(), Presence::Present);
        }
        if ended_by_record {
            for link in moved {
                undo(link).unwrap();
                assert_eq!(whereabouts(link).unwrap(), Whereabouts::Gone);
            }
        }
        drop(namespace);
        // The kernel ends the links of a namespace some time after its last process.
        while names().len() > 2 || list_ours().unwrap().len() > 1 {
            std::thread::yield_now();
        }
        for link in [&pair, &peer, &pair2, &peer2, &macvlan] {
            assert_eq!(whereabouts(link).unwrap(), Whereabouts::Gone);
            undo(link).unwrap();
        }
    }
    undo(&parent).unwrap();
    assert_eq!(names(), ["lo"]);
}

#[test]
fn a_link_that_came_back_under_another_name_is_still_ours() {
    if !private("strangers::a_link_that_came_back_under_another_name_is_still_ours") {
        return;
    }
    let record = Link {
        up: false,
        ..bridge(1)
    };
    perform(&record).unwrap();
    set(&record.name, LinkAttribute::IfName("eth0".to_owned()));
    assert_eq!(look(&record).unwrap(), Presence::Absent);
    assert_eq!(whereabouts(&record).unwrap(), Whereabouts::Here);
    assert_eq!(repair(&record).unwrap().len(), 1);
    assert_eq!(look(&record).unwrap(), Presence::Present);
    set(&record.name, LinkAttribute::IfName("eth0".to_owned()));
    undo(&record).unwrap();
    assert_eq!(names(), ["lo"]);
}

#[test]
fn a_cable_is_known_by_its_other_end_when_a_container_changed_its_alias() {
    if !private("strangers::a_cable_is_known_by_its_other_end_when_a_container_changed_its_alias") {
        return;
    }
    let namespace = Namespace::new();
    let (pair, peer) = Link::veth(&id(2), &id(3));
    perform(&pair).unwrap();
    perform(&peer).unwrap();
    set(&peer.name, LinkAttribute::IfAlias("mine".to_owned()));
    assert_eq!(look(&peer).unwrap(), Presence::Absent);
    namespace.take(&peer.name);
    assert_eq!(list_ours().unwrap().len(), 1);
    assert_eq!(whereabouts(&peer).unwrap(), Whereabouts::Elsewhere);
    undo(&peer).unwrap();
    assert_eq!(names(), ["lo"]);
}
