//! Networks whose driver makes bridges, cables and rules.

use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use dockside_tests::daemon::until;
use dockside_tests::engine::{Engine, Version};
use dockside_tests::skip::skipped;
use dockside_tests::world::is_installed;
use serde_json::Value;

use crate::effects::{GRANTS, MOUNTS, PLUGIN, down, holds, nothing_is_left, setup};
use crate::{Setup, inspect};

/// The machine's address on the cable to the outside, and the one of who is there. TEST-NET-2 of RFC 5737.
pub(crate) const MACHINE: &str = "198.51.100.1";
pub(crate) const OUTSIDE: &str = "198.51.100.2";

/// Programs that these tests need besides the engine's.
pub(crate) fn is_missing(test: &str) -> bool {
    let missing = [("nft", "nftables"), ("unshare", "util-linux")]
        .into_iter()
        .find(|(tool, _)| !is_installed(tool));
    if let Some((tool, package)) = missing {
        skipped(test, &format!("{tool} is not there: install {package}"));
    }
    missing.is_some()
}

/// Another machine, at the end of a cable from the engine's. It knows no way to any container.
pub(crate) struct Outside(Child);

impl Outside {
    pub(crate) fn new(engine: &Engine) -> Result<Outside> {
        let outside = Outside(
            Command::new("setpriv")
                .args(["--pdeathsig", "KILL", "--", "unshare", "--net"])
                .args(["--", "sleep", "infinity"])
                .stdin(Stdio::null())
                .spawn()?,
        );
        let pid = outside.0.id();
        let own = std::fs::read_link("/proc/self/ns/net")?;
        until("a network of its own", || {
            std::fs::read_link(format!("/proc/{pid}/ns/net")).is_ok_and(|link| link != own)
        })?;
        engine.shell_beside(&format!(
            "ip link add outside0 type veth peer name eth0 netns {pid}
             ip addr add {MACHINE}/24 dev outside0
             ip link set outside0 up
             ip route add default via {OUTSIDE}"
        ))?;
        outside.shell(&format!(
            "ip link set lo up; ip addr add {OUTSIDE}/24 dev eth0; ip link set eth0 up"
        ))?;
        Ok(outside)
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command
            .arg(format!("--net=/proc/{}/ns/net", self.0.id()))
            .args(["--", program])
            .stdin(Stdio::null());
        command
    }

    pub(crate) fn shell(&self, script: &str) -> Result<String> {
        let output = self.command("sh").args(["-ec", script]).output()?;
        ensure!(
            output.status.success(),
            "outside: {script}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

impl Drop for Outside {
    fn drop(&mut self) {
        // The cable goes with the namespace.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The firewall as Docker made it: every rule, without the counters.
pub(crate) fn firewall(engine: &Engine) -> Result<String> {
    engine.shell_beside(
        "for save in iptables-save ip6tables-save; do echo $save; $save | sed -e '/^#/d' -e 's/\\[[0-9:]*\\]//'; done
         nft -s list ruleset | sed 's/counter//'",
    )
}

/// The same before any test: the engine makes some of its tables with its first container.
pub(crate) fn first_firewall(engine: &Engine) -> Result<String> {
    engine.docker(&["run", "--rm", "busybox:local", "true"])?;
    firewall(engine)
}

pub(crate) fn is_unchanged(before: &str, after: &str) -> Result<()> {
    if before == after {
        return Ok(());
    }
    let without = |text: &str, other: &str| {
        let lines = text
            .lines()
            .filter(|line| !other.lines().any(|one| one == *line));
        lines.collect::<Vec<_>>().join("\n")
    };
    bail!(
        "gone from the firewall:\n{}\nnew in it:\n{}\nit was\n{before}\nand is\n{after}",
        without(before, after),
        without(after, before)
    )
}

fn create(engine: &Engine, arguments: &[&str]) -> Result<()> {
    let mut all = vec!["network", "create", "-d", PLUGIN];
    all.extend(arguments);
    engine.docker(&all).map(drop)
}

/// A container with a web server that says its name.
pub(crate) fn start_server(
    engine: &Engine,
    network: &str,
    name: &str,
    arguments: &[&str],
) -> Result<()> {
    let script =
        format!("mkdir -p /www && echo {name} > /www/index.html && exec httpd -f -p 80 -h /www");
    let mut all = vec!["run", "-d", "--network", network, "--name", name];
    all.extend(arguments);
    all.extend(["busybox:local", "sh", "-c", &script]);
    engine.docker(&all)?;
    serves(engine, name, "http://127.0.0.1/", name)
}

/// Waits until a web server says `answer` to a container.
pub(crate) fn serves(engine: &Engine, from: &str, url: &str, answer: &str) -> Result<()> {
    let mut last = String::new();
    let served = until("the web server to answer", || {
        let said = engine.try_docker(&["exec", from, "wget", "-q", "-O", "-", url]);
        last = format!("{said:?}");
        said.is_ok_and(|said| said.out == answer)
    });
    served.with_context(|| format!("{url} from {from}: {last}"))
}

pub(crate) fn address(engine: &Engine, container: &str, network: &str) -> Result<String> {
    let seen = inspect(engine, "container", container)?;
    let address = &seen["NetworkSettings"]["Networks"][network]["IPAddress"];
    Ok(address.as_str().unwrap_or_default().to_owned())
}

/// The keys of the links that belong to endpoints.
fn cables(setup: &Setup) -> Result<Vec<String>> {
    let mut links = holds(setup, "link")?;
    links.retain(|key| !key.starts_with("net/"));
    Ok(links)
}

/// Says more about a failure: what the firewall and the daemon say.
pub(crate) fn explained<T>(setup: &Setup, result: Result<T>) -> Result<T> {
    result.with_context(|| {
        format!(
            "the firewall is\n{}\nthe daemon's log ends\n{}",
            firewall(&setup.engine).unwrap_or_default(),
            setup.daemon.log_end()
        )
    })
}

pub(crate) fn a_bridge_connects_containers_with_each_other_and_the_outside(
    version: Version,
) -> Result<()> {
    let test = "a_bridge_connects_containers_with_each_other_and_the_outside";
    if is_missing(test) {
        return Ok(());
    }
    let Some(setup) = setup(version, test, &format!("{GRANTS}{MOUNTS}"), &[])? else {
        return Ok(());
    };
    let outside = Outside::new(&setup.engine)?;
    let before = first_firewall(&setup.engine)?;
    let used = traffic(&setup, &outside);
    explained(&setup, used)?;
    nothing_is_left(&setup)?;
    is_unchanged(&before, &firewall(&setup.engine)?)?;
    down(setup)
}

fn traffic(setup: &Setup, outside: &Outside) -> Result<()> {
    let engine = &setup.engine;
    create(engine, &["--subnet", "10.95.0.0/24", "n"])?;
    start_server(engine, "n", "aa", &["-p", "18080:80"])?;
    start_server(engine, "n", "bb", &["-p", "127.0.0.1:18081:80"])?;
    // Among each other: by address and by name.
    let (a, b) = (address(engine, "aa", "n")?, address(engine, "bb", "n")?);
    engine.docker(&["exec", "bb", "ping", "-c", "1", "-W", "5", &a])?;
    serves(engine, "aa", &format!("http://{b}/"), "bb")?;
    serves(engine, "bb", "http://aa/", "aa")?;
    // To the outside, which can only answer the machine.
    engine.docker(&["exec", "aa", "ping", "-c", "1", "-W", "5", OUTSIDE])?;
    // From the outside and from the machine.
    let get = |address: &str| format!("curl -sS -m 10 http://{address}/");
    let public = format!("{MACHINE}:18080");
    assert_eq!(outside.shell(&get(&public))?, "aa\n");
    for place in [public.as_str(), "127.0.0.1:18080"] {
        assert_eq!(engine.shell_beside(&get(place))?, "aa\n");
    }
    assert_eq!(engine.shell_beside(&get("127.0.0.1:18081"))?, "bb\n");
    assert!(outside.shell(&get(&format!("{MACHINE}:18081"))).is_err());
    // A container reaches what is published as everybody does.
    serves(engine, "bb", &format!("http://{public}/"), "aa")?;
    // Docker's own networks are not connected with it.
    start_server(engine, "bridge", "cc", &[])?;
    let said = engine.docker_fails(&["exec", "cc", "ping", "-c", "1", "-W", "1", &a])?;
    ensure!(!said.contains("OCI"), "{said}");
    engine.docker(&["rm", "-f", "cc"])?;

    engine.docker(&["rm", "-f", "bb"])?;
    ensure!(
        engine.shell_beside(&get("127.0.0.1:18081")).is_err(),
        "the port of a removed container answers"
    );
    assert_eq!(outside.shell(&get(&public))?, "aa\n");
    engine.docker(&["rm", "-f", "aa"])?;
    until("the cables to go", || {
        cables(setup).is_ok_and(|cables| cables.is_empty())
    })
    .with_context(|| format!("{:?}", cables(setup)))?;
    engine.docker(&["network", "rm", "n"])?;
    Ok(())
}

pub(crate) fn cables_of_killed_containers_are_forgotten(version: Version) -> Result<()> {
    let test = "cables_of_killed_containers_are_forgotten";
    if is_missing(test) {
        return Ok(());
    }
    let Some(setup) = setup(version, test, &format!("{GRANTS}{MOUNTS}"), &[])? else {
        return Ok(());
    };
    let engine = &setup.engine;
    create(engine, &["--subnet", "10.96.0.0/24", "n"])?;
    start_server(engine, "n", "aa", &["-p", "18090:80"])?;
    start_server(engine, "n", "bb", &[])?;
    assert_eq!(cables(&setup)?.len(), 4);
    // The engine ends what it sees end.
    engine.docker(&["kill", "bb"])?;
    until("the cable of a killed container to go", || {
        cables(&setup).is_ok_and(|cables| cables.len() == 2)
    })
    .with_context(|| format!("{:?}", cables(&setup)))?;

    // Without an engine nobody says that a container has ended.
    let pid = inspect(engine, "container", "aa")?["State"]["Pid"].to_string();
    engine.kill()?;
    let namespace = format!("/proc/{pid}/ns/net");
    ensure!(
        std::path::Path::new(&namespace).exists(),
        "no container {pid}"
    );
    engine.shell_beside(&format!("kill -KILL {pid}"))?;
    // The engine holds the namespace of a container by a mount.
    engine.shell("for held in $(awk '$9 == \"nsfs\" || $8 == \"nsfs\" {print $5}' /proc/self/mountinfo | grep /netns/); do umount $held; done")?;
    until("the cable to go with its container", || {
        engine
            .shell_beside("ip -o link show type veth")
            .is_ok_and(|links| !links.contains("dk"))
    })?;
    assert_eq!(cables(&setup)?.len(), 2);
    let said = reconcile(&setup, &["--dry-run"])?;
    ensure!(
        said.to_string().contains("went with the container"),
        "{said}"
    );
    assert_eq!(cables(&setup)?.len(), 2);
    reconcile(&setup, &[])?;
    assert!(cables(&setup)?.is_empty(), "{:?}", cables(&setup)?);
    assert_eq!(holds(&setup, "link")?.len(), 1);

    // The next engine finds the network as it was.
    engine.up(&[])?;
    engine.docker(&["start", "aa", "bb"])?;
    let a = address(engine, "aa", "n")?;
    let reached = serves(engine, "bb", &format!("http://{a}/"), "aa");
    explained(&setup, reached)?;
    assert_eq!(
        engine.shell_beside("curl -sS -m 10 http://127.0.0.1:18090/")?,
        "aa\n"
    );
    engine.docker(&["rm", "-f", "aa", "bb"])?;
    engine.docker(&["network", "rm", "n"])?;
    nothing_is_left(&setup)?;
    down(setup)
}

/// What `dockside reconcile` finds.
pub(crate) fn reconcile(setup: &Setup, arguments: &[&str]) -> Result<Value> {
    let output = setup
        .site
        .command("reconcile")?
        .arg("--json")
        .args(arguments)
        .output()?;
    serde_json::from_slice(&output.stdout).with_context(|| {
        format!(
            "dockside reconcile: {}",
            String::from_utf8_lossy(&output.stderr)
        )
    })
}
