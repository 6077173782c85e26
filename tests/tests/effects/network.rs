//! What calls about one link do to each other, and what rules do to the machine as a whole.

use std::fs;
use std::io;
use std::thread::{self, JoinHandle};

use anyhow::{Result, ensure};
use dockside_tests::client::Answer;
use dockside_tests::daemon::until;
use dockside_tests::world::{Program, World};
use serde_json::json;

use crate::{caller, create, created, is_empty, removed, serve, status, world};

fn mtu(world: &World) -> Result<String> {
    let shown = world.run(r"ip -o link show type bridge | sed -E 's/.* mtu ([0-9]+).*/\1/'")?;
    Ok(shown.trim().to_owned())
}

/// Creates a volume with a script, and does not wait.
fn begin(world: &World, name: &str, script: &str) -> JoinHandle<io::Result<Answer>> {
    let mut caller = caller(world);
    let body = json!({ "Name": name, "Opts": { "do": script } });
    thread::spawn(move || caller.call_once("VolumeDriver.Create", &body))
}

#[test]
fn a_call_that_fails_takes_back_nothing_of_another_that_changed_the_same_link() -> Result<()> {
    let Some(world) = world("effects::link-turns", "machine", "")? else {
        return Ok(());
    };
    let _daemon = serve(&world, Program::Plain)?;
    created(&world, "v", &[("do", "bridge b mtu=1500")])?;
    let failing = begin(&world, "f", "mtu b 1400; sleep 1500; fail so");
    until("the first call to set the MTU", || {
        mtu(&world).is_ok_and(|mtu| mtu == "1400")
    })?;
    // It finds the link as it wants it, by the grace of a call that fails.
    created(&world, "g", &[("do", "mtu b 1400"), ("undo", "mtu b 1500")])?;
    let failed = failing.join().unwrap()?;
    ensure!(!failed.is_success(), "{failed:?}");
    assert_eq!(mtu(&world)?, "1400");
    let looked = world.dockside(&["reconcile", "--dry-run"])?;
    ensure!(looked.status.success(), "{looked:?}");
    removed(&world, "g")?;
    assert_eq!(mtu(&world)?, "1500");
    removed(&world, "v")?;
    is_empty(&world.settled()?)
}

#[test]
fn calls_that_want_each_others_links_end() -> Result<()> {
    let Some(world) = world("effects::link-deadlock", "machine", "")? else {
        return Ok(());
    };
    let _daemon = serve(&world, Program::Plain)?;
    created(&world, "v", &[("do", "bridge a; bridge b")])?;
    let calls = [
        begin(&world, "one", "mtu a 1400; sleep 300; mtu b 1400"),
        begin(&world, "two", "mtu b 1300; sleep 300; mtu a 1300"),
    ];
    for call in calls {
        let answer = call.join().unwrap()?;
        ensure!(
            answer.is_success() || answer.err().contains("try again"),
            "{answer:?}"
        );
    }
    let looked = world.dockside(&["reconcile", "--dry-run"])?;
    ensure!(looked.status.success(), "{looked:?}");
    Ok(())
}

fn forwarding(world: &World) -> Result<String> {
    let shown =
        world.run("cat /proc/sys/net/ipv4/ip_forward /proc/sys/net/ipv6/conf/all/forwarding")?;
    Ok(shown.split_whitespace().collect::<Vec<_>>().join(" "))
}

fn forward_nothing(world: &World) -> Result<()> {
    world.run(
        "echo 0 > /proc/sys/net/ipv4/ip_forward; echo 0 > /proc/sys/net/ipv6/conf/all/forwarding",
    )?;
    assert_eq!(forwarding(world)?, "0 0");
    Ok(())
}

#[test]
fn forwarding_is_turned_on_for_the_families_that_need_it_and_stays_on() -> Result<()> {
    let Some(world) = world("effects::forwarding", "machine", "")? else {
        return Ok(());
    };
    let _daemon = serve(&world, Program::Plain)?;
    forward_nothing(&world)?;
    created(
        &world,
        "v",
        &[(
            "do",
            "bridge b; addr b 10.9.0.1/24; bridge c; nat i internal@c",
        )],
    )?;
    assert_eq!(forwarding(&world)?, "0 0");
    created(&world, "w", &[("do", "nat n forward@b")])?;
    assert_eq!(forwarding(&world)?, "1 0");
    let log = fs::read_to_string(&world.site.log)?;
    assert_eq!(log.matches("net.ipv4.ip_forward=1").count(), 1, "{log}");
    created(
        &world,
        "x",
        &[("do", "addr b fd09::1/64; nat m masq=fd09::/64@b")],
    )?;
    assert_eq!(forwarding(&world)?, "1 1");
    for volume in ["x", "w", "v"] {
        removed(&world, volume)?;
    }
    assert_eq!(forwarding(&world)?, "1 1");
    is_empty(&world.settled()?)
}

#[test]
fn forwarding_waits_for_an_engine_when_the_driver_asks_by_itself() -> Result<()> {
    let Some(world) = world("effects::forwarding-waits", "machine-hooks", "")? else {
        return Ok(());
    };
    let daemon = serve(&world, Program::Plain)?;
    let script = "bridge b; addr b 10.9.0.1/24; set on-start \"nat n forward@b\"";
    created(&world, "v", &[("do", script)])?;
    drop(daemon);
    forward_nothing(&world)?;
    let _daemon = serve(&world, Program::Plain)?;
    until("the driver to ask for forwarding", || {
        status(&world, "v").is_ok_and(|shown| shown["nat"].to_string().contains('n'))
    })?;
    assert_eq!(forwarding(&world)?, "0 0");
    // Any call of an engine for a network will do, whatever comes of it.
    let news = json!({ "DiscoveryType": 1, "DiscoveryData": { "Address": "10.0.0.1", "BindAddress": "", "Self": true } });
    caller(&world).call_once("NetworkDriver.DiscoverNew", &news)?;
    assert_eq!(forwarding(&world)?, "1 0");
    Ok(())
}

#[test]
fn only_what_is_behind_a_link_can_be_published() -> Result<()> {
    let Some(world) = world("effects::publish", "machine", "")? else {
        return Ok(());
    };
    let _daemon = serve(&world, Program::Plain)?;
    created(
        &world,
        "v",
        &[(
            "do",
            "bridge b; addr b 10.9.0.1/24; bridge c; addr c 10.8.0.1/24; bridge e",
        )],
    )?;
    for (to, link, expected) in [
        ("10.9.1.2", "b", "which has 10.9.0.0/24"),
        ("10.8.0.2", "b", "in no subnet of the link"),
        ("127.0.0.1", "b", "in no subnet of the link"),
        ("[fd09::2]", "b", "in no subnet of the link"),
        ("10.9.0.2", "e", "neither an address nor a route"),
    ] {
        let script = format!("nat n publish=tcp:18080:{to}:80@{link}");
        let answer = create(&world, "w", &[("do", &script)])?;
        assert!(answer.err().contains(expected), "{to}@{link}: {answer:?}");
    }
    created(
        &world,
        "w",
        &[(
            "do",
            "route b 10.77.0.0/16 10.9.0.2; nat n publish=tcp:18080:10.9.0.2:80@b,publish=tcp:18081:10.77.3.4:80@b",
        )],
    )
}
