//! Whole lives of volumes and networks, with the daemon killed at every failpoint of each of their calls.

use std::thread;

use anyhow::{Context, Result, ensure};
use dockside_tests::client::Answer;
use dockside_tests::daemon::Daemon;
use dockside_tests::world::{Program, World};
use serde_json::{Value, json};

use crate::kill::kill_in_call;
use crate::operations::{End, Expected, judge};
use crate::{call, caller, is_empty, serve, world};

type Step = (&'static str, Value);

/// A volume on a disk image, which is mounted for as long as somebody uses it.
fn volume() -> Vec<Step> {
    let options = json!({
        "do": "image i 16m ext4; mkdir d; tmpfs t 1m",
        "mounts": "e",
        "on-mount": "imgmount e i; bind n mount:e ro",
        "on-unmount": "unmount n; unmount e",
    });
    let mount = |id: &str| json!({ "Name": "v", "ID": id });
    vec![
        (
            "VolumeDriver.Create",
            json!({ "Name": "v", "Opts": options }),
        ),
        ("VolumeDriver.Mount", mount("one")),
        ("VolumeDriver.Mount", mount("two")),
        ("VolumeDriver.Unmount", mount("one")),
        ("VolumeDriver.Unmount", mount("two")),
        ("VolumeDriver.Remove", json!({ "Name": "v" })),
    ]
}

/// A network with a container whose port is published.
fn network() -> Vec<Step> {
    let network = "a".repeat(64);
    let endpoint = "b".repeat(64);
    let ids = json!({ "NetworkID": network, "EndpointID": endpoint });
    let with = |more: Value| {
        let mut body = ids.clone();
        for (name, value) in more.as_object().into_iter().flatten() {
            body[name] = value.clone();
        }
        body
    };
    let ports = json!({
        "com.docker.network.endpoint.exposedports": [{ "Proto": 6, "Port": 80 }],
        "com.docker.network.portmap":
            [{ "Proto": 6, "IP": "", "Port": 80, "HostIP": "", "HostPort": 18080, "HostPortEnd": 18080 }],
    });
    let pool = json!([{ "AddressSpace": "local", "Pool": "10.9.0.0/24", "Gateway": "10.9.0.1/24", "AuxAddresses": {} }]);
    vec![
        (
            "NetworkDriver.CreateNetwork",
            json!({ "NetworkID": network, "Options": {}, "IPv4Data": pool, "IPv6Data": [] }),
        ),
        (
            "NetworkDriver.CreateEndpoint",
            with(json!({
                "Options": ports,
                "Interface": { "Address": "10.9.0.5/24", "AddressIPv6": "", "MacAddress": "06:00:00:00:00:77" },
            })),
        ),
        (
            "NetworkDriver.Join",
            with(json!({ "SandboxKey": "/var/run/docker/netns/x", "Options": ports })),
        ),
        (
            "NetworkDriver.ProgramExternalConnectivity",
            with(json!({ "Options": ports })),
        ),
        ("NetworkDriver.RevokeExternalConnectivity", ids.clone()),
        ("NetworkDriver.Leave", ids.clone()),
        ("NetworkDriver.DeleteEndpoint", ids.clone()),
        (
            "NetworkDriver.DeleteNetwork",
            json!({ "NetworkID": network }),
        ),
    ]
}

fn send(world: &World, (method, body): &Step) -> std::io::Result<Answer> {
    caller(world).call_once(method, body)
}

fn sent(world: &World, (method, body): &Step) -> Result<()> {
    call(world, method, body.clone()).map(drop)
}

/// One step of a life, killed at each of its failpoints. The steps before it are done, and so is it in the end.
fn step(world: &World, daemon: &mut Daemon, steps: &[Step], at: usize) -> Result<usize> {
    let (done, rest) = steps.split_at(at);
    let (one, left) = rest.split_first().context("no step")?;
    let again = |expected: &mut Expected| -> Result<()> {
        left.iter().try_for_each(|step| sent(world, step))?;
        is_empty(&world.settled()?)?;
        done.iter().try_for_each(|step| sent(world, step))?;
        expected.before = world.settled()?.without("content");
        Ok(())
    };
    let before = world.settled()?.without("content");
    world.arm("")?;
    sent(world, one)?;
    let after = world.settled()?.without("content");
    let visits = world.visits()?;
    let mut expected = Expected { before, after };
    again(&mut expected)?;
    let mut last = End::Nothing;
    for (place, number) in &visits {
        let point = format!("{place}:{number}");
        let at = || format!("{}, killed at {point}", one.0);
        let answered = kill_in_call(world, daemon, &point, || send(world, one)).with_context(at)?;
        *daemon = serve(world, Program::Failpoints).with_context(at)?;
        let now = world.settled()?.without("content");
        let end = judge(&now, &expected).with_context(at)?;
        // A call that changes nothing leads from one to the same.
        let changes = !expected.before.unlikeness(&expected.after).is_empty();
        ensure!(
            !changes || end == End::Committed || (last == End::Nothing && !answered),
            "{}: nothing remains of what was committed",
            at()
        );
        last = end;
        if end == End::Committed {
            again(&mut expected).with_context(at)?;
        }
    }
    sent(world, one).with_context(|| format!("{} after all kills", one.0))?;
    Ok(visits.len())
}

fn life(test: &str, steps: &[Step]) -> Result<()> {
    let Some(world) = world(test, "machine", "")? else {
        return Ok(());
    };
    let mut daemon = serve(&world, Program::Failpoints)?;
    let mut kills = 0;
    for at in 0..steps.len() {
        kills += step(&world, &mut daemon, steps, at)
            .with_context(|| format!("the daemon's log ends\n{}", world.site.log_end()))?;
    }
    is_empty(&world.settled()?)?;
    ensure!(world.integrity()? == "ok", "{}", world.integrity()?);
    eprintln!("{test}: {} calls, {kills} kills", steps.len());
    Ok(())
}

#[test]
fn a_kill_in_any_call_of_a_volume_or_a_network_leaves_nothing_or_everything() -> Result<()> {
    thread::scope(|scope| {
        let volume = scope.spawn(|| life("effects::lives: volume", &volume()));
        let network = life("effects::lives: network", &network());
        volume.join().unwrap().and(network)
    })
}
