//! The driver `mesh` on two hosts: two engines and two daemons, each pair in namespaces of its own, with a cable between them.

use std::collections::BTreeSet;
use std::fs;

use anyhow::{Context, Result, ensure};
use dockside_tests::daemon::until;
use dockside_tests::engine::{Engine, Version};
use dockside_tests::files;

use crate::bridges::{address, explained, is_missing, start_server};
use crate::effects::{down, holds, nothing_is_left};
use crate::mesh::{create, is_unreachable, mesh, ping};
use crate::{Plugin, Setup};

/// Where the engine is told to look for what it would get from the Internet, and the daemon's part of it.
const MIRROR: &str = "http://127.0.0.1:5081";
const REGISTRY: &str = "registry = \"127.0.0.1:5081\"\n";

/// The name of Weave Net's plugin, which the driver takes over.
const WEAVE: &str = "store/weaveworks/net-plugin:2.5.2";

/// The cable, and the hosts' addresses on it. TEST-NET-3 of RFC 5737.
const WIRE: &str = "wire0";
const HOSTS: [&str; 2] = ["203.0.113.1", "203.0.113.2"];

/// Two hosts with a plugin each, made from the host's own address, and a cable between them.
fn pair(
    version: Version,
    test: &str,
    plugin: impl Fn(&str) -> Result<Plugin>,
    flags: &[&str],
) -> Result<Option<[Setup; 2]>> {
    if is_missing(test) {
        return Ok(None);
    }
    let host = |own: &str| {
        Setup::serving(version, test, &[plugin(own)?], |engine, site| {
            fs::write(&site.config, REGISTRY)?;
            engine.serve_inside(site)
        })
    };
    let [one, other] = HOSTS;
    let (Some(first), Some(second)) = (host(one)?, host(other)?) else {
        return Ok(None);
    };
    let addresses = [format!("{one}/24"), format!("{other}/24")];
    first
        .engine
        .connect(&second.engine, WIRE, [&addresses[0], &addresses[1]])?;
    for setup in [&first, &second] {
        setup.engine.up(flags)?;
        setup.engine.image()?;
    }
    Ok(Some([first, second]))
}

pub(crate) fn containers_of_two_hosts_are_on_one_network(version: Version) -> Result<()> {
    let test = "containers_of_two_hosts_are_on_one_network";
    let plugin = |own: &str| {
        mesh(&format!(
            "peers = \"{}\"\naddress = \"{own}\"",
            HOSTS.join(",")
        ))
    };
    let Some(mut hosts) = pair(version, test, plugin, &[])? else {
        return Ok(());
    };
    let met = meet(&mut hosts);
    let [first, second] = hosts;
    explained(&first, met.with_context(|| second.daemon.log_end()))?;
    for setup in [first, second] {
        nothing_is_left(&setup)?;
        down(setup)?;
    }
    Ok(())
}

fn meet(hosts: &mut [Setup; 2]) -> Result<()> {
    // The same commands on both.
    for setup in hosts.iter() {
        create(&setup.engine, "blue", &["--subnet", "10.71.0.0/24"])?;
        create(&setup.engine, "red", &["--subnet", "10.72.0.0/24"])?;
    }
    let [one, other] = hosts;
    start_server(&one.engine, "blue", "aa", &[])?;
    start_server(&other.engine, "blue", "bb", &[])?;
    start_server(&other.engine, "red", "cc", &[])?;
    let a = address(&one.engine, "aa", "blue")?;
    let b = address(&other.engine, "bb", "blue")?;
    ping(&one.engine, "aa", &b)?;
    ping(&other.engine, "bb", &a)?;
    is_unreachable(&other.engine, "cc", &a)?;
    // What a container has as its MTU fits through the tunnel.
    let large = ["exec", "aa", "wget", "-q", "-O", "/dev/null"];
    let fill = "dd if=/dev/zero of=/www/large bs=1M count=2 2>/dev/null";
    other.engine.docker(&["exec", "bb", "sh", "-c", fill])?;
    let url = format!("http://{b}/large");
    one.engine.docker(&[&large[..], &[url.as_str()]].concat())?;
    // Each host reaches the containers of both.
    for setup in [&*one, &*other] {
        for address in [&a, &b] {
            setup
                .engine
                .shell_beside(&format!("busybox ping -c 1 -W 5 {address}"))?;
        }
    }

    // One side's daemon is killed.
    let before = holds(one, "link")?;
    one.daemon.kill()?;
    ping(&one.engine, "aa", &b)?;
    ping(&other.engine, "bb", &a)?;
    one.daemon = one.engine.serve_inside(&one.site)?;
    one.daemon.wait_plugin("mesh")?;
    assert_eq!(holds(one, "link")?, before);
    ping(&one.engine, "aa", &b)?;
    ping(&other.engine, "bb", &a)?;

    // The hosts lose each other, and go on by themselves.
    one.engine
        .shell_beside(&format!("ip link set {WIRE} down"))?;
    is_unreachable(&one.engine, "aa", &b)?;
    let mut addresses: BTreeSet<String> = [a.clone(), b.clone()].into();
    for (setup, name) in [(&*one, "dd"), (&*other, "ee")] {
        start_server(&setup.engine, "blue", name, &[])?;
        let given = address(&setup.engine, name, "blue")?;
        ensure!(addresses.insert(given.clone()), "{given} is given twice");
    }
    ping(&one.engine, "aa", "dd")?;
    one.engine.shell_beside(&format!("ip link set {WIRE} up"))?;
    let (d, e) = (
        address(&one.engine, "dd", "blue")?,
        address(&other.engine, "ee", "blue")?,
    );
    for (setup, from, to) in [
        (&*one, "aa", &b),
        (&*other, "bb", &a),
        (&*one, "dd", &e),
        (&*other, "ee", &d),
    ] {
        until("the partition to heal", || {
            ping(&setup.engine, from, to).is_ok()
        })
        .with_context(|| format!("{from} to {to}"))?;
    }
    for (setup, containers) in [(&*one, &["aa", "dd"][..]), (&*other, &["bb", "cc", "ee"])] {
        remove(&setup.engine, containers)?;
    }
    Ok(())
}

fn remove(engine: &Engine, containers: &[&str]) -> Result<()> {
    engine.docker(&[&["rm", "-f"], containers].concat())?;
    engine.docker(&["network", "rm", "blue", "red"])?;
    Ok(())
}

/// The driver as a swarm's network plugin.
pub(crate) fn weave() -> Result<Plugin> {
    Ok(Plugin {
        name: "weave",
        file: "weave",
        component: files::driver("mesh")?,
        toml: fs::read_to_string(files::workspace().join("guests/mesh/weave.toml"))?
            .replace("driver = \"mesh\"\n", ""),
    })
}

pub(crate) fn containers_of_a_swarm_reach_each_other_by_name(version: Version) -> Result<()> {
    let test = "containers_of_a_swarm_reach_each_other_by_name";
    let flags = ["--registry-mirror", MIRROR];
    let Some(mut hosts) = pair(version, test, |_| weave(), &flags)? else {
        return Ok(());
    };
    let swarmed = swarm(&mut hosts);
    let [first, second] = hosts;
    explained(&first, swarmed.with_context(|| second.daemon.log_end()))?;
    for setup in [first, second] {
        nothing_is_left(&setup)?;
        down(setup)?;
    }
    Ok(())
}

fn swarm(hosts: &mut [Setup; 2]) -> Result<()> {
    let [one, other] = hosts;
    for setup in [&*one, &*other] {
        let install = ["plugin", "install", "--grant-all-permissions", WEAVE];
        setup.engine.docker(&install)?;
    }
    let [manager, worker] = HOSTS;
    one.engine
        .docker(&["swarm", "init", "--advertise-addr", manager])?;
    let token = one
        .engine
        .docker(&["swarm", "join-token", "-q", "worker"])?;
    let manager = format!("{manager}:2377");
    let join = ["swarm", "join", "--advertise-addr", worker];
    other
        .engine
        .docker(&[&join[..], &["--token", &token, &manager]].concat())?;
    one.engine.docker(&[
        "network",
        "create",
        "-d",
        WEAVE,
        "--attachable",
        "--subnet",
        "10.62.0.0/24",
        "blue",
    ])?;
    for (setup, name) in [(&*one, "aa"), (&*other, "bb")] {
        start_server(&setup.engine, "blue", name, &[])?;
    }
    by_name(one, other)?;

    one.daemon.kill()?;
    by_name(one, other)?;
    one.daemon = one.engine.serve_inside(&one.site)?;
    one.daemon.wait_plugin("weave")?;
    by_name(one, other)?;

    one.engine
        .shell_beside(&format!("ip link set {WIRE} down"))?;
    let b = address(&other.engine, "bb", "blue")?;
    is_unreachable(&one.engine, "aa", &b)?;
    one.engine.shell_beside(&format!("ip link set {WIRE} up"))?;
    by_name(one, other)?;

    for (setup, name) in [(&*one, "aa"), (&*other, "bb")] {
        setup.engine.docker(&["rm", "-f", name])?;
    }
    until("the network to be free", || {
        one.engine
            .try_docker(&["network", "rm", "blue"])
            .is_ok_and(|said| said.success)
    })?;
    for setup in [&*other, &*one] {
        setup.engine.docker(&["swarm", "leave", "--force"])?;
    }
    for setup in [&*one, &*other] {
        setup.engine.docker(&["plugin", "rm", "-f", WEAVE])?;
    }
    Ok(())
}

/// Each host's container reaches the other's by its name, as soon as the engines have told each other of it.
fn by_name(one: &Setup, other: &Setup) -> Result<()> {
    for (setup, from, to) in [(one, "aa", "bb"), (other, "bb", "aa")] {
        until("the name to be known", || {
            ping(&setup.engine, from, to).is_ok()
        })
        .with_context(|| format!("{from} to {to}"))?;
    }
    Ok(())
}
