//! The host in memory refuses what the real one refuses, and a failed call leaves nothing.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use dockside_driver::{
    Error, ErrorCode, MacAddr, Refusal, Result, Transport, directories,
    http::{Request, Response},
    images::{self, Attributes, Filesystem},
    links::{self, Bridge, Macvlan, MacvlanMode, Route, Settings, Vxlan},
    mounts::{self, Cifs, Flags, Health, Helper, Nfs, Overlay, Source, Tmpfs},
    nat::{self, Publish, Rule},
    outbox,
    reconcile::{Fact, Fate, Subject},
    secrets, state, testing,
};

const MIB: u64 = 1 << 20;

fn directory(key: &str) -> dockside_driver::Directory {
    directories::create(key, Attributes::default()).unwrap()
}

fn refusal<T: std::fmt::Debug>(result: Result<T>) -> Refusal {
    result.unwrap_err().refusal().unwrap()
}

#[test]
fn every_source_can_be_mounted() {
    testing::set_secret("s", b"x", false);
    let (lower, upper, work) = (directory("l"), directory("u"), directory("w"));
    let image = images::create("i", 8 * MIB, Filesystem::Ext4, Attributes::default()).unwrap();
    let secret = secrets::open("s").unwrap();
    let flags = Flags {
        read_only: true,
        ..Flags::default()
    };
    let sources: [(Source<'_>, &str); 8] = [
        ((&lower).into(), "directory l"),
        (Source::HostPath("/srv".into()), "host-path /srv"),
        (Tmpfs::new(MIB).into(), "tmpfs 1048576"),
        (
            Overlay::new(&upper, &work).lower(&lower).into(),
            "overlay l u w",
        ),
        ((&image).into(), "image i"),
        (
            Nfs::new("10.0.0.1", "/x").option("soft", "").into(),
            "nfs 10.0.0.1:/x 4.2 soft",
        ),
        (
            Cifs::new("h", "share").login("me", &secret).into(),
            "cifs //h/share me password:s",
        ),
        (
            Helper::new("sshfs", "h:/x")
                .option("port", 22)
                .secret("identity", &secret)
                .into(),
            "sshfs h:/x port=22 identity:s",
        ),
    ];
    for (number, (source, words)) in sources.into_iter().enumerate() {
        let key = number.to_string();
        assert_eq!(mounts::mount(&key, source, flags).unwrap().key(), key);
        let mount = &testing::mounts()[number].1;
        assert_eq!((mount.source.as_str(), mount.flags), (words, flags));
    }
}

#[test]
fn what_is_in_use_stays() {
    let (data, image) = (
        directory("d"),
        images::create("i", 8 * MIB, Filesystem::Ext4, Attributes::default()).unwrap(),
    );
    images::clone("i", "copy").unwrap();
    let place = mounts::mount("m", &data, Flags::default()).unwrap();
    mounts::mount("im", &image, Flags::default()).unwrap();
    mounts::mount("again", &place, Flags::default()).unwrap();
    for (refused, what) in [
        (directories::remove("d"), "the directory of a mount"),
        (images::delete("i"), "a mounted image"),
        (images::restore("i", "copy"), "a mounted image's content"),
        (
            mounts::mount("im2", &image, Flags::default()).map(drop),
            "a mounted image, once more",
        ),
        (mounts::unmount("m"), "the source of a mount"),
    ] {
        assert_eq!(refusal(refused), Refusal::InUse, "{what}");
    }
    images::grow("i", 16 * MIB).unwrap();
    images::clone("i", "larger").unwrap();
    for key in ["again", "m", "im"] {
        mounts::unmount(key).unwrap();
    }
    directories::remove("d").unwrap();
    images::restore("i", "copy").unwrap();
    images::delete("i").unwrap();
}

#[test]
fn wishes_that_make_no_sense_are_refused() {
    directory("d");
    let make =
        |size, filesystem| images::create("i", size, filesystem, Attributes::default()).map(drop);
    links::create("b", Bridge::default(), Settings::up()).unwrap();
    for (refused, what) in [
        (
            mounts::mount("m", Tmpfs::new(0), Flags::default()).map(drop),
            "a tmpfs without a size",
        ),
        (
            mounts::mount("m", Source::HostPath("etc".into()), Flags::default()).map(drop),
            "a path that is not absolute",
        ),
        (
            mounts::mount("m", Nfs::new("h", "/").version("5"), Flags::default()).map(drop),
            "an NFS version",
        ),
        (
            mounts::mount("m", Helper::new("sh", "-c"), Flags::default()).map(drop),
            "a helper",
        ),
        (make(MIB, Filesystem::Ext4), "a small ext4"),
        (make(299 * MIB, Filesystem::Xfs), "a small xfs"),
        (make(8 * MIB + 1, Filesystem::Ext4), "half a block"),
        (
            links::create("v", Vxlan::new(1 << 24), Settings::up()).map(drop),
            "25 bits",
        ),
        (
            links::create_pair("p", "p", Settings::up()).map(drop),
            "two ends of one key",
        ),
        (outbox::note(&[0; 65537]), "a note that is too long"),
    ] {
        assert_eq!(refusal(refused), Refusal::Invalid, "{what}");
    }
    let shrunk = || {
        make(16 * MIB, Filesystem::Ext4)?;
        images::grow("i", 8 * MIB)
    };
    assert_eq!(shrunk().unwrap_err().code(), ErrorCode::InvalidArgument);
}

#[test]
fn a_key_is_free_or_taken() {
    directory("k");
    mounts::mount("k", Tmpfs::new(MIB), Flags::default()).unwrap();
    images::create("k", 8 * MIB, Filesystem::Ext4, Attributes::default()).unwrap();
    let link = links::create("k", Bridge::default(), Settings::up()).unwrap();
    nat::apply("k", [Rule::Forward(&link)]).unwrap();
    for taken in [
        directories::create("k", Attributes::default()).map(drop),
        mounts::mount("k", Tmpfs::new(MIB), Flags::default()).map(drop),
        images::clone("k", "k").map(drop),
        links::create("k", Macvlan::new("eth0", MacvlanMode::Vepa), Settings::up()).map(drop),
        links::create_pair("new", "k", Settings::up()).map(drop),
        nat::apply("k", [Rule::Isolate(&link)]).map(drop),
    ] {
        let error = taken.unwrap_err();
        assert_eq!(error.code(), ErrorCode::AlreadyExists);
        assert_eq!(error.refusal(), Some(Refusal::AlreadyExists));
    }
    assert_eq!(links::list().unwrap().len(), 1);
    for missing in [
        directories::open("x").map(drop),
        mounts::open("x").map(drop),
        mounts::unmount("x"),
        images::open("x").map(drop),
        images::clone("x", "y").map(drop),
        links::open("x").map(drop),
        links::delete("x"),
    ] {
        assert_eq!(refusal(missing), Refusal::NotFound);
    }
    nat::remove("x").unwrap();
}

#[test]
fn a_pair_goes_as_it_came() {
    let bridge = links::create("b", Bridge::default(), Settings::up()).unwrap();
    let mac = MacAddr::locally_administered([1; 6]);
    let (one, other) = links::create_pair("one", "other", Settings::up().mac(mac)).unwrap();
    one.set_master(Some(&bridge)).unwrap();
    one.set_isolated(true).unwrap();
    one.set_hairpin(true).unwrap();
    assert_eq!(refusal(other.set_hairpin(true)), Refusal::Invalid);
    assert_eq!(refusal(other.set_master(Some(&one))), Refusal::Invalid);
    testing::move_link("other", false);
    assert_eq!(refusal(other.set_mtu(1400)), Refusal::NotFound);
    let here: Vec<_> = links::list()
        .unwrap()
        .iter()
        .map(|link| link.here)
        .collect();
    assert_eq!(here, [true, true, false]);
    assert_eq!(testing::links()[1].1.mac, mac);
    assert_ne!(testing::links()[2].1.mac, mac);
    links::delete("other").unwrap();
    assert_eq!(links::list().unwrap().len(), 1);
    assert_eq!(refusal(one.set_up(false)), Refusal::NotFound);
}

#[test]
fn entries_of_a_link_come_and_go() {
    let link = links::create("v", Vxlan::new(7).learning(), Settings::default()).unwrap();
    let (mac, end) = (MacAddr::ANY, "192.0.2.1".parse().unwrap());
    let address = "10.0.0.1/24".parse().unwrap();
    let route = Route::via("10.9.0.0/16".parse().unwrap(), "10.0.0.2".parse().unwrap());
    // Saying a thing twice is saying it once.
    for _ in 0..2 {
        link.add_address(address).unwrap();
        link.add_route(route).unwrap();
        link.add_fdb(mac, end).unwrap();
        link.add_neighbour(end, mac).unwrap();
    }
    let elsewhere = Route::on_link(route.destination);
    assert_eq!(refusal(link.add_route(elsewhere)), Refusal::AlreadyExists);
    let known = testing::links().remove(0).1;
    assert_eq!(
        (known.addresses, known.routes),
        (vec![address], vec![route])
    );
    assert_eq!(
        (known.fdb, known.neighbours),
        (vec![(mac, end)], vec![(end, mac)])
    );
    for _ in 0..2 {
        link.remove_address(address).unwrap();
        link.remove_route(route).unwrap();
        link.remove_fdb(mac, end).unwrap();
        link.remove_neighbour(end).unwrap();
    }
    let known = testing::links().remove(0).1;
    assert!(known.addresses.is_empty() && known.routes.is_empty());
    assert!(known.fdb.is_empty() && known.neighbours.is_empty());
}

#[test]
fn a_port_leads_to_one_container() {
    let link = links::create("b", Bridge::default(), Settings::up()).unwrap();
    let publish = |transport, host_port| {
        Rule::Publish(Publish {
            transport,
            host_address: None,
            host_port,
            container_address: "10.0.0.2".parse().unwrap(),
            container_port: 80,
            link: &link,
        })
    };
    let tcp = Transport::Tcp;
    assert_eq!(
        nat::apply("a", [publish(tcp, 8080), publish(tcp, 0)]).unwrap(),
        [8080, 32768]
    );
    assert_eq!(
        refusal(nat::apply("b", [publish(tcp, 0), publish(tcp, 8080)])),
        Refusal::AlreadyExists
    );
    assert_eq!(
        nat::apply("b", [publish(Transport::Udp, 8080), publish(tcp, 0)]).unwrap(),
        [8080, 32769]
    );
    nat::remove("a").unwrap();
    assert_eq!(nat::apply("c", [publish(tcp, 8080)]).unwrap(), [8080]);
    assert_eq!(nat::keys().unwrap(), ["b", "c"]);
    assert_eq!(
        refusal(nat::apply("d", [publish(Transport::Other(1), 1)])),
        Refusal::Invalid
    );
}

#[test]
fn a_call_that_fails_leaves_nothing_but_its_notes() {
    testing::answer_http(|_| Ok(Response::default()));
    let call = |fails: bool| {
        testing::call(|| {
            directory("d");
            state::set("k", &1)?;
            images::create("i", 8 * MIB, Filesystem::Ext4, Attributes::default())?;
            let bridge = links::create("b", Bridge::default(), Settings::up())?;
            nat::apply("b", [Rule::Internal(&bridge)])?;
            mounts::mount("m", Tmpfs::new(MIB), Flags::default())?;
            outbox::note_json("volume-1")?;
            Request::post("http://storage/volumes").send()?;
            match fails {
                true => Err(Error::other("no")),
                false => Ok(()),
            }
        })
    };
    let nothing = || {
        testing::directories().is_empty()
            && testing::state().is_empty()
            && testing::images().is_empty()
            && testing::links().is_empty()
            && testing::rules().is_empty()
            && testing::mounts().is_empty()
    };
    call(true).unwrap_err();
    assert!(nothing());
    assert_eq!(
        testing::unsettled(),
        [("call-1".into(), b"\"volume-1\"".to_vec())]
    );
    let panicked = std::panic::catch_unwind(|| {
        testing::call::<()>(|| {
            directory("d");
            std::panic::resume_unwind(Box::new("a driver's fault"))
        })
    });
    assert!(panicked.is_err() && nothing());
    call(false).unwrap();
    assert!(!nothing() && testing::unsettled().is_empty());
    let keys: Vec<_> = testing::http_requests()
        .iter()
        .flat_map(|request| request.headers.clone())
        .collect();
    assert_eq!(
        keys,
        [
            ("Idempotency-Key".into(), "call-1-1".to_owned()),
            ("Idempotency-Key".into(), "call-3-1".into()),
        ]
    );
}

#[test]
fn content_moves_with_copies() {
    let content = || -> Vec<u64> {
        let images = testing::images().into_iter();
        images.map(|(_, image)| image.content).collect()
    };
    images::create("a", 8 * MIB, Filesystem::Ext4, Attributes::default()).unwrap();
    images::clone("a", "b").unwrap();
    images::create("c", 16 * MIB, Filesystem::Ext4, Attributes::default()).unwrap();
    let before = content();
    assert!(before[0] == before[1] && before[0] != before[2]);
    images::restore("a", "c").unwrap();
    assert_eq!(content(), [before[2], before[1], before[2]]);
    assert_eq!(images::list().unwrap()[0].size, 16 * MIB);
}

#[test]
fn a_reboot_takes_what_is_in_the_kernel() {
    directory("d");
    mounts::mount("m", Tmpfs::new(MIB), Flags::default()).unwrap();
    links::create("b", Bridge::default(), Settings::up()).unwrap();
    let fact = |subject, key: &str, fate| Fact {
        subject,
        key: key.into(),
        fate,
    };
    assert_eq!(
        testing::reboot(),
        [
            fact(Subject::Mount, "m", Fate::Rebooted),
            fact(Subject::Link, "b", Fate::Rebooted),
        ]
    );
    assert!(mounts::list().unwrap().is_empty() && links::list().unwrap().is_empty());
    assert_eq!(
        testing::lose(Subject::Directory, "d"),
        fact(Subject::Directory, "d", Fate::Removed)
    );
    assert!(directories::keys().unwrap().is_empty());
    mounts::mount("m", Tmpfs::new(MIB), Flags::default()).unwrap();
    testing::set_health("m", Health::Degraded);
    assert_eq!(mounts::list().unwrap()[0].health, Health::Degraded);
}

#[test]
fn a_secret_is_used_and_only_seen_if_that_is_granted() {
    testing::set_secret("used", b"x", false);
    testing::set_secret("seen", b"y", true);
    assert_eq!(secrets::open("seen").unwrap().reveal().unwrap(), b"y");
    let hidden = secrets::open("used").unwrap();
    assert_eq!(hidden.name(), "used");
    let error = hidden.reveal().unwrap_err();
    assert_eq!(
        (error.code(), error.refusal()),
        (ErrorCode::Unavailable, Some(Refusal::NotGranted))
    );
    assert_eq!(refusal(secrets::open("other")), Refusal::NotGranted);
}
