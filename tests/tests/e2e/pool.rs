//! The driver `pool` in the place of the engine's own IPAM and of pyipam, with real engines.

use anyhow::{Result, ensure};
use dockside_tests::engine::{Engine, Version};
use serde_json::Value;

use crate::{Setup, inspect, null, pool};

fn setup(version: Version, test: &str) -> Result<Option<Setup>> {
    let Some(setup) = Setup::new(version, test, &[pool()?, null()?])? else {
        return Ok(None);
    };
    setup.engine.up(&[])?;
    setup.engine.image()?;
    Ok(Some(setup))
}

fn create(engine: &Engine, arguments: &[&str]) -> Result<()> {
    let mut all = vec!["network", "create", "--ipam-driver", "pool"];
    all.extend(arguments);
    engine.docker(&all).map(drop)
}

/// What a container on a network prints.
fn printed(engine: &Engine, network: &str, arguments: &[&str], command: &str) -> Result<String> {
    let mut all = vec!["run", "--rm", "--network", network];
    all.extend(arguments);
    all.extend(["busybox:local", "sh", "-c", command]);
    engine.docker(&all)
}

/// What a verb answers.
fn verb(setup: &Setup, arguments: &[&str]) -> Result<Value> {
    let output = setup
        .site
        .command("run")?
        .args(["--json", "pool"])
        .args(arguments)
        .output()?;
    ensure!(output.status.success(), "{arguments:?}: {output:?}");
    Ok(serde_json::from_slice(&output.stdout)?)
}

fn count(rows: &Value) -> usize {
    rows.as_array().map_or(0, Vec::len)
}

pub(crate) fn ranges_and_point_to_point_are_as_pyipam_gives_them(version: Version) -> Result<()> {
    let test = "ranges_and_point_to_point_are_as_pyipam_gives_them";
    let Some(setup) = setup(version, test)? else {
        return Ok(());
    };
    let engine = &setup.engine;
    let last = "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff";
    let both = [
        "--internal",
        "--driver",
        "bridge",
        "--ipv6",
        "--subnet",
        "192.168.255.0/24",
        "--gateway",
        "192.168.255.254",
        "--subnet",
        "2001:db8::/32",
        "--gateway",
        last,
    ];
    let ranges = [
        "--ip-range",
        "192.168.255.128/26",
        "--ip-range",
        "2001:db8:aaaa:bbbb::/64",
        "test1",
    ];
    create(engine, &[&both[..], &ranges].concat())?;
    let seen = printed(engine, "test1", &[], "ip addr show")?;
    for expected in ["192.168.255.129/24", "2001:db8:aaaa:bbbb::1/32"] {
        assert!(seen.contains(expected), "{expected}: {seen}");
    }
    let wishes = [
        "--ip",
        "192.168.255.25",
        "--ip6",
        "2001:db8:dddd:eeee:ffff:1:2:3",
    ];
    let seen = printed(engine, "test1", &wishes, "ip addr show")?;
    for expected in ["192.168.255.25/24", "2001:db8:dddd:eeee:ffff:1:2:3/32"] {
        assert!(seen.contains(expected), "{expected}: {seen}");
    }
    engine.docker(&["network", "rm", "test1"])?;

    create(
        engine,
        &[
            "-d",
            "blank",
            "--ipam-opt",
            "ptp=1",
            "--subnet",
            "10.91.0.0/30",
            "single",
        ],
    )?;
    engine.docker(&[
        "run",
        "-d",
        "--init",
        "--network",
        "single",
        "--name",
        "pp",
        "busybox:local",
        "sleep",
        "100000",
    ])?;
    let attached =
        inspect(engine, "container", "pp")?["NetworkSettings"]["Networks"]["single"].clone();
    assert_eq!(attached["IPPrefixLen"], 32, "{attached}");
    engine.docker(&["rm", "-f", "pp"])?;
    engine.docker(&["network", "rm", "single"])?;

    // One network that cannot be made, with its pool already given, leaves nothing.
    let failed = engine.docker_fails(&[
        "network",
        "create",
        "-d",
        "blank",
        "--ipam-driver",
        "pool",
        "--subnet",
        "10.92.0.0/24",
        "--gateway",
        "10.92.0.1",
        "--aux-address",
        "a=10.92.0.1",
        "n",
    ])?;
    assert!(failed.contains("10.92.0.1"), "{failed}");
    assert_eq!(count(&verb(&setup, &["pools"])?), 0);
    assert_eq!(count(&verb(&setup, &["leases"])?), 0);
    setup.down()
}

pub(crate) fn an_engine_that_starts_again_has_the_addresses_that_it_had(
    version: Version,
) -> Result<()> {
    let test = "an_engine_that_starts_again_has_the_addresses_that_it_had";
    let Some(mut setup) = setup(version, test)? else {
        return Ok(());
    };
    create(
        &setup.engine,
        &[
            "-d",
            "blank",
            "--subnet",
            "10.94.0.0/24",
            "--ip-range",
            "10.94.0.128/25",
            "--aux-address",
            "a=10.94.0.200",
            "n",
        ],
    )?;
    let run = |engine: &Engine, name: &str| {
        engine.docker(&[
            "run",
            "-d",
            "--init",
            "--network",
            "n",
            "--name",
            name,
            "busybox:local",
            "sleep",
            "100000",
        ])
    };
    run(&setup.engine, "first")?;
    let before = verb(&setup, &["leases"])?;
    assert_eq!(count(&before), 3, "{before}");
    for _ in 0..2 {
        setup.engine.kill()?;
        setup.engine.up(&[])?;
        setup.engine.docker(&["start", "first"])?;
        let pools = verb(&setup, &["pools"])?;
        assert_eq!(pools[0]["networks"], 1, "{pools}");
        let now = verb(&setup, &["leases"])?;
        assert_eq!(count(&now), 3, "{now}");
    }
    // The state is lost, and the engine brings it back.
    setup.engine.stop()?;
    setup.daemon.terminate()?;
    std::fs::remove_dir_all(&setup.site.data)?;
    std::fs::create_dir_all(&setup.site.data)?;
    setup.daemon = setup.site.serve()?;
    setup.daemon.wait_plugin("pool")?;
    setup.engine.up(&[])?;
    let now = verb(&setup, &["leases"])?;
    let all = now.to_string();
    assert!(
        all.contains("10.94.0.129") && all.contains("10.94.0.200"),
        "{now}"
    );
    setup.engine.docker(&["rm", "-f", "first"])?;
    setup.engine.docker(&["network", "rm", "n"])?;
    assert_eq!(count(&verb(&setup, &["pools"])?), 0);
    setup.down()
}

pub(crate) fn a_reserved_address_goes_to_its_container(version: Version) -> Result<()> {
    let Some(setup) = setup(version, "a_reserved_address_goes_to_its_container")? else {
        return Ok(());
    };
    let engine = &setup.engine;
    create(engine, &["-d", "bridge", "--subnet", "10.95.0.0/24", "n"])?;
    let mac = "02:42:0a:5f:00:63";
    verb(
        &setup,
        &["reserve", "address=10.95.0.2", &format!("mac={mac}")],
    )?;
    let seen = printed(engine, "n", &[], "ip addr show")?;
    assert!(seen.contains("10.95.0.3/24"), "{seen}");
    let seen = printed(engine, "n", &["--mac-address", mac], "ip addr show")?;
    assert!(
        seen.contains("10.95.0.2/24") && seen.contains(mac),
        "{seen}"
    );
    verb(&setup, &["unreserve", "address=10.95.0.2"])?;
    engine.docker(&["network", "rm", "n"])?;
    setup.down()
}
