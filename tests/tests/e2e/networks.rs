//! Networks: addresses from the driver `pool`, for the driver `null` and for the engine's own bridge.

use anyhow::Result;
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

fn create(engine: &Engine, driver: &str, arguments: &[&str], name: &str) -> Result<()> {
    let mut all = vec!["network", "create", "-d", driver, "--ipam-driver", "pool"];
    all.extend(arguments);
    all.push(name);
    engine.docker(&all).map(drop)
}

fn run(engine: &Engine, network: &str, name: &str, arguments: &[&str]) -> Result<()> {
    let mut all = vec!["run", "-d", "--init", "--network", network, "--name", name];
    all.extend(arguments);
    all.extend(["busybox:local", "sleep", "100000"]);
    engine.docker(&all).map(drop)
}

/// A field of a container's attachment to a network.
fn attached(engine: &Engine, container: &str, network: &str, field: &str) -> Result<Value> {
    Ok(
        inspect(engine, "container", container)?["NetworkSettings"]["Networks"][network][field]
            .clone(),
    )
}

pub(crate) fn an_address_of_the_pool_is_given_taken_and_given_back(version: Version) -> Result<()> {
    let Some(setup) = setup(
        version,
        "an_address_of_the_pool_is_given_taken_and_given_back",
    )?
    else {
        return Ok(());
    };
    let engine = &setup.engine;
    create(
        engine,
        "blank",
        &["--subnet", "10.91.7.0/24", "--gateway", "10.91.7.254"],
        "n",
    )?;
    let seen = inspect(engine, "network", "n")?;
    assert_eq!(
        (&seen["Driver"], &seen["IPAM"]["Driver"]),
        (&"blank".into(), &"pool".into())
    );
    assert_eq!(seen["IPAM"]["Config"][0]["Subnet"], "10.91.7.0/24");

    run(engine, "n", "wish", &["--ip", "10.91.7.77"])?;
    assert_eq!(attached(engine, "wish", "n", "IPAddress")?, "10.91.7.77");
    run(engine, "n", "any", &[])?;
    let any = attached(engine, "any", "n", "IPAddress")?;
    assert!(
        any.as_str().is_some_and(|ip| ip.starts_with("10.91.7.")
            && ip != "10.91.7.77"
            && ip != "10.91.7.254"),
        "{any}"
    );

    engine.docker(&[
        "create",
        "--network",
        "n",
        "--ip",
        "10.91.7.77",
        "--name",
        "late",
        "busybox:local",
        "sleep",
        "100000",
    ])?;
    let refused = engine.docker_fails(&["start", "late"])?;
    assert!(refused.contains("10.91.7.77"), "{refused}");
    engine.docker(&["rm", "-f", "wish"])?;
    engine.docker(&["start", "late"])?;
    assert_eq!(attached(engine, "late", "n", "IPAddress")?, "10.91.7.77");

    engine.docker(&["rm", "-f", "late", "any"])?;
    engine.docker(&["network", "rm", "n"])?;
    // The pool is free again as well.
    create(engine, "blank", &["--subnet", "10.91.7.0/24"], "again")?;
    engine.docker(&["network", "rm", "again"])?;
    setup.down()
}

pub(crate) fn a_bridge_with_both_address_families_connects_containers(
    version: Version,
) -> Result<()> {
    let Some(setup) = setup(
        version,
        "a_bridge_with_both_address_families_connects_containers",
    )?
    else {
        return Ok(());
    };
    let engine = &setup.engine;
    create(
        engine,
        "bridge",
        &[
            "--ipv6",
            "--subnet",
            "10.92.0.0/24",
            "--subnet",
            "fd92::/64",
        ],
        "n",
    )?;
    run(
        engine,
        "n",
        "aa",
        &["--ip", "10.92.0.20", "--ip6", "fd92::20"],
    )?;
    run(engine, "n", "bb", &[])?;
    assert_eq!(
        attached(engine, "aa", "n", "GlobalIPv6Address")?,
        "fd92::20"
    );
    let b = attached(engine, "bb", "n", "GlobalIPv6Address")?;
    assert!(b.as_str().is_some_and(|ip| ip.starts_with("fd92::")), "{b}");
    engine.docker(&["exec", "bb", "ping", "-c", "1", "-W", "5", "10.92.0.20"])?;
    engine.docker(&["exec", "bb", "ping", "-c", "1", "-W", "5", "aa"])?;
    // Without a wish the driver chooses both pools.
    create(engine, "bridge", &["--ipv6"], "free")?;
    let seen = inspect(engine, "network", "free")?;
    assert_eq!(
        seen["IPAM"]["Config"].as_array().map(Vec::len),
        Some(2),
        "{seen}"
    );
    engine.docker(&["rm", "-f", "aa", "bb"])?;
    engine.docker(&["network", "rm", "n", "free"])?;
    setup.down()
}

pub(crate) fn an_exhausted_pool_is_a_clear_error(version: Version) -> Result<()> {
    let Some(setup) = setup(version, "an_exhausted_pool_is_a_clear_error")? else {
        return Ok(());
    };
    let engine = &setup.engine;
    // Six addresses, one of them the gateway's.
    create(engine, "blank", &["--subnet", "10.93.0.0/29"], "n")?;
    for name in ["c1", "c2", "c3", "c4", "c5"] {
        run(engine, "n", name, &[])?;
    }
    let refused =
        engine.docker_fails(&["run", "--rm", "--network", "n", "busybox:local", "true"])?;
    assert!(
        refused.contains("IpamDriver.RequestAddress") && refused.contains("10.93.0.0/29"),
        "{refused}"
    );
    engine.docker(&["rm", "-f", "c3"])?;
    engine.docker(&["run", "--rm", "--network", "n", "busybox:local", "true"])?;
    engine.docker(&["rm", "-f", "c1", "c2", "c4", "c5"])?;
    engine.docker(&["network", "rm", "n"])?;
    setup.down()
}

pub(crate) fn networks_and_addresses_survive_restarts(version: Version) -> Result<()> {
    let Some(mut setup) = setup(version, "networks_and_addresses_survive_restarts")? else {
        return Ok(());
    };
    create(&setup.engine, "blank", &["--subnet", "10.94.0.0/24"], "n")?;
    run(&setup.engine, "n", "cc", &["--ip", "10.94.0.9"])?;
    setup.engine.kill()?;
    setup.daemon.kill()?;
    setup.daemon = setup.site.serve()?;
    setup.daemon.wait_plugin("pool")?;
    setup.daemon.wait_plugin("blank")?;
    let engine = &setup.engine;
    engine.up(&[])?;
    engine.docker(&["start", "cc"])?;
    assert_eq!(attached(engine, "cc", "n", "IPAddress")?, "10.94.0.9");
    engine.docker(&["rm", "-f", "cc"])?;
    engine.docker(&["network", "rm", "n"])?;
    setup.down()
}
