//! The driver `mesh`: bridges, addresses, ports and the way outward on one host.

use anyhow::{Context, Result, ensure};
use dockside_tests::daemon::until;
use dockside_tests::engine::{Engine, Version};
use dockside_tests::files;

use crate::bridges::{
    MACHINE, OUTSIDE, Outside, address, explained, firewall, first_firewall, is_missing,
    is_unchanged, reconcile, serves, start_server,
};
use crate::effects::{down, holds, nothing_is_left};
use crate::{Plugin, Setup, inspect};

/// The plugin with the operator's file that is shipped, and more settings under `[config]`.
pub(crate) fn mesh(settings: &str) -> Result<Plugin> {
    let file = files::workspace().join("guests/mesh/mesh.toml");
    let shipped = std::fs::read_to_string(&file)?;
    Ok(Plugin {
        name: "mesh",
        file: "mesh",
        component: files::driver("mesh")?,
        toml: shipped.replacen("[config]\n", &format!("[config]\n{settings}\n"), 1),
    })
}

fn setup(version: Version, test: &str) -> Result<Option<Setup>> {
    if is_missing(test) {
        return Ok(None);
    }
    let Some(setup) = Setup::inside(version, test, &[mesh("")?])? else {
        return Ok(None);
    };
    setup.engine.up(&[])?;
    setup.engine.image()?;
    Ok(Some(setup))
}

/// Creates a network with the driver's own addresses.
pub(crate) fn create(engine: &Engine, name: &str, arguments: &[&str]) -> Result<()> {
    let mut all = vec!["network", "create", "-d", "mesh", "--ipam-driver", "mesh"];
    all.extend(arguments);
    all.push(name);
    engine.docker(&all).map(drop)
}

pub(crate) fn ping(engine: &Engine, from: &str, to: &str) -> Result<()> {
    engine
        .docker(&["exec", from, "ping", "-c", "1", "-W", "5", to])
        .map(drop)
}

pub(crate) fn is_unreachable(engine: &Engine, from: &str, to: &str) -> Result<()> {
    let said = engine.docker_fails(&["exec", from, "ping", "-c", "1", "-W", "1", to])?;
    ensure!(!said.contains("OCI"), "{said}");
    Ok(())
}

fn remove(engine: &Engine, containers: &[&str], networks: &[&str]) -> Result<()> {
    engine.docker(&[&["rm", "-f"], containers].concat())?;
    engine.docker(&[&["network", "rm"], networks].concat())?;
    Ok(())
}

pub(crate) fn networks_connect_their_containers_and_nobody_else(version: Version) -> Result<()> {
    let test = "networks_connect_their_containers_and_nobody_else";
    let Some(setup) = setup(version, test)? else {
        return Ok(());
    };
    let outside = Outside::new(&setup.engine)?;
    let before = first_firewall(&setup.engine)?;
    let scenarios = [neighbours, ports, families, closed];
    for scenario in scenarios {
        explained(&setup, scenario(&setup.engine, &outside))?;
    }
    nothing_is_left(&setup)?;
    is_unchanged(&before, &firewall(&setup.engine)?)?;
    down(setup)
}

/// Two networks: each connects its own containers, by address and by name.
fn neighbours(engine: &Engine, _outside: &Outside) -> Result<()> {
    create(engine, "n", &["--subnet", "10.81.0.0/24"])?;
    // Without a subnet the driver chooses one.
    create(engine, "m", &[])?;
    start_server(engine, "n", "aa", &[])?;
    start_server(engine, "n", "bb", &["--ip", "10.81.0.77"])?;
    start_server(engine, "m", "cc", &[])?;
    assert_eq!(address(engine, "bb", "n")?, "10.81.0.77");
    let a = address(engine, "aa", "n")?;
    ping(engine, "bb", &a)?;
    ping(engine, "bb", "aa")?;
    ping(engine, "aa", "bb")?;
    ping(engine, "aa", "10.81.0.1")?;
    is_unreachable(engine, "cc", &a)?;
    engine.docker(&["network", "connect", "m", "aa"])?;
    ping(engine, "cc", "aa")?;
    ping(engine, "aa", "cc")?;
    is_unreachable(engine, "cc", &a)?;
    engine.docker(&["network", "disconnect", "m", "aa"])?;
    ping(engine, "bb", "aa")?;
    remove(engine, &["aa", "bb", "cc"], &["n", "m"])
}

/// The way outward, and ports of the machine.
fn ports(engine: &Engine, outside: &Outside) -> Result<()> {
    create(engine, "n", &["--subnet", "10.82.0.0/24"])?;
    create(engine, "m", &["--subnet", "10.83.0.0/24"])?;
    start_server(engine, "n", "aa", &["-p", "18080:80"])?;
    start_server(engine, "n", "bb", &["-p", "127.0.0.1:18081:80"])?;
    ping(engine, "aa", OUTSIDE)?;
    let get = |address: &str| format!("curl -sS -m 10 http://{address}/");
    let public = format!("{MACHINE}:18080");
    assert_eq!(outside.shell(&get(&public))?, "aa\n");
    assert_eq!(engine.shell_beside(&get("127.0.0.1:18080"))?, "aa\n");
    assert_eq!(engine.shell_beside(&get("127.0.0.1:18081"))?, "bb\n");
    ensure!(outside.shell(&get(&format!("{MACHINE}:18081"))).is_err());
    // A container reaches what is published as everybody does: its neighbour's, and its own.
    for from in ["bb", "aa"] {
        serves(engine, from, &format!("http://{public}/"), "aa").context(from)?;
    }
    engine.docker(&["rm", "-f", "aa"])?;
    ensure!(engine.shell_beside(&get("127.0.0.1:18080")).is_err());
    start_server(engine, "m", "aa", &["-p", "18080:80"])?;
    assert_eq!(outside.shell(&get(&public))?, "aa\n");
    remove(engine, &["aa", "bb"], &["n", "m"])
}

/// IPv6, MTU and multicast.
fn families(engine: &Engine, _outside: &Outside) -> Result<()> {
    let subnets = [
        "--ipv6",
        "--subnet",
        "10.84.0.0/24",
        "--subnet",
        "fd84::/64",
    ];
    let options = [
        "-o",
        "com.docker.network.driver.mtu=1400",
        "-o",
        "works.weave.multicast=true",
    ];
    create(engine, "n", &[&subnets[..], &options].concat())?;
    start_server(engine, "n", "aa", &["-p", "18084:80"])?;
    start_server(engine, "n", "bb", &["--ip6", "fd84::77"])?;
    ping(engine, "aa", "fd84::77")?;
    ping(engine, "aa", "fd84::1")?;
    let mtu = engine.docker(&["exec", "aa", "cat", "/sys/class/net/eth0/mtu"])?;
    assert_eq!(mtu, "1400");
    let routes = engine.docker(&["exec", "aa", "ip", "route"])?;
    ensure!(routes.contains("224.0.0.0/4 dev eth0"), "{routes}");
    let routes = engine.docker(&["exec", "aa", "ip", "-6", "route"])?;
    ensure!(routes.contains("default via fd84::1"), "{routes}");
    assert_eq!(
        engine.shell_beside("curl -sS -m 10 http://127.0.0.1:18084/")?,
        "aa\n"
    );
    let said = engine.docker_fails(&[
        "network",
        "create",
        "-d",
        "mesh",
        "-o",
        "com.docker.network.driver.mut=1",
        "x",
    ])?;
    ensure!(said.contains("did you mean"), "{said}");
    remove(engine, &["aa", "bb"], &["n"])
}

/// Networks without a way outward, and one whose way is Docker's.
fn closed(engine: &Engine, outside: &Outside) -> Result<()> {
    create(engine, "n", &["--internal", "--subnet", "10.85.0.0/24"])?;
    create(
        engine,
        "m",
        &["-o", "gateway=none", "--subnet", "10.86.0.0/24"],
    )?;
    create(
        engine,
        "d",
        &["-o", "gateway=docker", "--subnet", "10.87.0.0/24"],
    )?;
    for (network, one, other) in [("n", "aa", "bb"), ("m", "cc", "dd"), ("d", "ee", "ff")] {
        start_server(engine, network, one, &["-p", "18085:80"])?;
        start_server(engine, network, other, &[])?;
        ping(engine, one, other).context(network)?;
        if network == "d" {
            ping(engine, one, OUTSIDE)?;
            let said = outside.shell(&format!("curl -sS -m 10 http://{MACHINE}:18085/"))?;
            assert_eq!(said, "ee\n");
        } else {
            is_unreachable(engine, one, OUTSIDE).context(network)?;
        }
        engine.docker(&["rm", "-f", one, other])?;
    }
    engine.docker(&["network", "rm", "n", "m", "d"])?;
    // Docker keeps its bridge for as long as it lives.
    engine.docker(&["network", "rm", "docker_gwbridge"])?;
    Ok(())
}

pub(crate) fn networks_survive_kills_and_restarts(version: Version) -> Result<()> {
    let test = "networks_survive_kills_and_restarts";
    let Some(mut setup) = setup(version, test)? else {
        return Ok(());
    };
    let survived = survive(&mut setup);
    explained(&setup, survived)?;
    nothing_is_left(&setup)?;
    down(setup)
}

fn survive(setup: &mut Setup) -> Result<()> {
    let get = "curl -sS -m 10 http://127.0.0.1:18088/";
    create(&setup.engine, "n", &["--subnet", "10.88.0.0/24"])?;
    start_server(&setup.engine, "n", "aa", &["-p", "18088:80"])?;
    start_server(&setup.engine, "n", "bb", &[])?;
    let a = address(&setup.engine, "aa", "n")?;
    let links = holds(setup, "link")?;
    assert_eq!(links.len(), 5, "{links:?}");

    // The daemon: nothing that runs notices, and the next one knows it all.
    setup.daemon.kill()?;
    ping(&setup.engine, "bb", "aa")?;
    assert_eq!(setup.engine.shell_beside(get)?, "aa\n");
    setup.daemon = setup.engine.serve_inside(&setup.site)?;
    setup.daemon.wait_plugin("mesh")?;
    assert_eq!(holds(setup, "link")?, links);
    ping(&setup.engine, "bb", "aa")?;

    // Somebody takes the bridge and the rules away.
    setup
        .engine
        .shell_beside("ip link del $(ip -o link show type bridge | grep -o 'dk[0-9a-f]*' | head -n 1); nft flush table inet dockside; nft delete table inet dockside")?;
    reconcile(setup, &[])?;
    until("the network to be made again", || {
        ping(&setup.engine, "bb", &a).is_ok()
            && setup
                .engine
                .shell_beside(get)
                .is_ok_and(|said| said == "aa\n")
    })?;

    // A container that is killed is forgotten; started again it is as it was.
    setup.engine.docker(&["kill", "bb"])?;
    until("the cable of a killed container to go", || {
        holds(setup, "link").is_ok_and(|links| links.len() == 3)
    })?;
    setup.engine.docker(&["start", "bb"])?;
    ping(&setup.engine, "bb", "aa")?;

    // The engine.
    setup.engine.stop()?;
    setup.engine.up(&[])?;
    setup.engine.docker(&["start", "aa", "bb"])?;
    serves(&setup.engine, "bb", "http://aa/", "aa")?;
    assert_eq!(setup.engine.shell_beside(get)?, "aa\n");

    // Engine and daemon and a container, all at once.
    let pid = inspect(&setup.engine, "container", "aa")?["State"]["Pid"].to_string();
    setup.engine.kill()?;
    setup.daemon.kill()?;
    setup.engine.shell_beside(&format!("kill -KILL {pid}"))?;
    setup.engine.shell("for held in $(awk '$9 == \"nsfs\" || $8 == \"nsfs\" {print $5}' /proc/self/mountinfo | grep /netns/); do umount $held; done")?;
    setup.daemon = setup.engine.serve_inside(&setup.site)?;
    setup.daemon.wait_plugin("mesh")?;
    setup.engine.up(&[])?;
    setup.engine.docker(&["start", "aa", "bb"])?;
    serves(&setup.engine, "bb", "http://aa/", "aa")?;
    assert_eq!(setup.engine.shell_beside(get)?, "aa\n");
    assert_eq!(holds(setup, "link")?.len(), 5);
    remove(&setup.engine, &["aa", "bb"], &["n"])
}
