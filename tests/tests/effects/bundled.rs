//! The drivers that ship with dockside, ended after each of their host calls.

use anyhow::{Context, Result, ensure};
use dockside_tests::files;
use dockside_tests::world::{Program, World};
use serde_json::{Value, json};

/// A driver, its settings and calls of it one after the other.
struct Case {
    driver: &'static str,
    toml: &'static str,
    calls: Vec<(&'static str, Value)>,
}

fn cases() -> Vec<Case> {
    let volume = json!({ "Name": "v" });
    let mount = json!({ "Name": "v", "ID": "one" });
    let network = "a".repeat(64);
    let endpoint = "b".repeat(64);
    let ids = json!({ "NetworkID": network, "EndpointID": endpoint });
    let pool = "10.77.0.0/24";
    let request = json!({
        "RequestMethod": "GET",
        "RequestUri": "/v1.41/info",
        "RequestHeaders": { "User-Agent": "Docker-Client/20.10.24 (linux)" },
    });
    vec![
        Case {
            driver: "local",
            toml: "[grants]\ndirectories = {}\n",
            calls: vec![
                (
                    "VolumeDriver.Create",
                    json!({ "Name": "v", "Opts": { "uid": "7", "mode": "0750" } }),
                ),
                ("VolumeDriver.Get", volume.clone()),
                ("VolumeDriver.List", json!({})),
                ("VolumeDriver.Path", volume.clone()),
                ("VolumeDriver.Mount", mount.clone()),
                ("VolumeDriver.Unmount", mount),
                ("VolumeDriver.Remove", volume),
            ],
        },
        Case {
            driver: "pool",
            toml: "",
            calls: vec![
                ("IpamDriver.GetDefaultAddressSpaces", json!({})),
                (
                    "IpamDriver.RequestPool",
                    json!({ "AddressSpace": "local", "Pool": pool, "SubPool": "", "Options": {}, "V6": false }),
                ),
                (
                    "IpamDriver.RequestAddress",
                    json!({ "PoolID": "POOL", "Address": "10.77.0.9", "Options": null }),
                ),
                (
                    "IpamDriver.ReleaseAddress",
                    json!({ "PoolID": "POOL", "Address": "10.77.0.9" }),
                ),
                ("IpamDriver.ReleasePool", json!({ "PoolID": "POOL" })),
            ],
        },
        Case {
            driver: "null",
            toml: "",
            calls: vec![
                (
                    "NetworkDriver.CreateNetwork",
                    json!({ "NetworkID": network, "Options": {}, "IPv4Data": [], "IPv6Data": [] }),
                ),
                (
                    "NetworkDriver.CreateEndpoint",
                    json!({
                        "NetworkID": network, "EndpointID": endpoint, "Options": {},
                        "Interface": { "Address": "10.77.0.5/24", "AddressIPv6": "", "MacAddress": "" },
                    }),
                ),
                ("NetworkDriver.EndpointOperInfo", ids.clone()),
                (
                    "NetworkDriver.Join",
                    json!({
                        "NetworkID": network, "EndpointID": endpoint,
                        "SandboxKey": "/var/run/docker/netns/x", "Options": {},
                    }),
                ),
                ("NetworkDriver.Leave", ids.clone()),
                ("NetworkDriver.DeleteEndpoint", ids),
                (
                    "NetworkDriver.DeleteNetwork",
                    json!({ "NetworkID": network }),
                ),
            ],
        },
        Case {
            driver: "rego",
            toml: "[grants.files]\n[config]\npolicy = '''\npackage docker.authz\nallow { true }\n'''\n",
            calls: vec![
                ("AuthZPlugin.AuthZReq", request.clone()),
                ("AuthZPlugin.AuthZRes", request),
            ],
        },
    ]
}

/// Whether the engine would go on.
fn goes_on(method: &str, answer: &dockside_tests::client::Answer) -> bool {
    answer.is_success() && (!method.starts_with("AuthZ") || answer.at("/Allow") == json!(true))
}

/// Returns how often a host call failed.
fn each(world: &World, case: &Case) -> Result<usize> {
    world.site.configure(case.driver, case.toml)?;
    world
        .site
        .drop_in(&files::driver(case.driver)?, case.driver)?;
    world.arm("")?;
    let mut daemon = world.serve(Program::Failpoints)?;
    daemon.wait_plugin(case.driver)?;
    let beginning = world.settled()?;
    let mut failures = 0;
    let mut pool = Value::Null;
    for (method, body) in &case.calls {
        let mut body = body.clone();
        if body.get("PoolID").is_some() {
            body["PoolID"] = pool.clone();
        }
        let before = world.settled()?;
        for number in 1.. {
            let at = || format!("{method} without its host call {number}");
            world.arm(&format!("hostcall:{number}:eio"))?;
            let mut caller = world.site.caller(case.driver);
            let answer = caller.call_once(method, &body).with_context(at)?;
            let visits = world.visits()?;
            let came_there = visits.contains(&("hostcall".to_owned(), number));
            // What it reads, the host can answer from what it knows.
            let may_go_on = ["Get", "List", "Path"]
                .iter()
                .any(|read| method.ends_with(read));
            ensure!(
                goes_on(method, &answer) != came_there || may_go_on,
                "{}: {answer:?}",
                at()
            );
            if !came_there {
                if *method == "IpamDriver.RequestPool" {
                    pool = answer.at("/PoolID");
                }
                break;
            }
            failures += 1;
            let difference = before.difference(&world.settled()?);
            ensure!(
                difference.is_empty(),
                "{} something remains:\n{difference}",
                at()
            );
            ensure!(daemon.is_running()?, "{}: the daemon ended", at());
        }
    }
    let difference = beginning.difference(&world.settled()?);
    ensure!(difference.is_empty(), "something remains:\n{difference}");
    world.site.remove(&format!("{}.wasm", case.driver))?;
    Ok(failures)
}

#[test]
fn a_bundled_driver_that_ends_at_any_host_call_leaves_nothing() -> Result<()> {
    let Some(world) = World::new("effects::bundled")? else {
        return Ok(());
    };
    for case in cases() {
        let failures = each(&world, &case).with_context(|| format!("driver {}", case.driver))?;
        eprintln!("effects::bundled: {}: {failures} host calls", case.driver);
    }
    Ok(())
}
