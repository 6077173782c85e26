//! The machine restarts: what it held is forgotten, what is on its disk stays, and drivers are told.

use anyhow::{Result, ensure};
use dockside_tests::daemon::until;
use dockside_tests::world::{Program, World};
use serde_json::{Value, json};

use crate::{PLUGIN, call, create, created, is_empty, removed, serve, status, world};

const HELD: &str = "mkdir d; tmpfs t 4m; bind n d; image i 16m ext4; imgmount e i; bridge b; addr b 10.9.0.1/24; pair a p; \
     master p b; nat r masq=10.9.0.0/24@b,forward@b";

/// What a driver does for a mount after a restart. Before one it changes nothing.
const AGAIN: &str = "-imgmount e i";

fn mount(world: &World, id: &str) -> Result<Value> {
    Ok(call(
        world,
        "VolumeDriver.Mount",
        json!({ "Name": "v", "ID": id }),
    )?
    .at("/Mountpoint"))
}

#[test]
fn after_a_restart_of_the_machine_references_are_reset_and_volumes_mount_again() -> Result<()> {
    let Some(mut world) = world("effects::reboot", "machine-hooks", "")? else {
        return Ok(());
    };
    let mut daemon = serve(&world, Program::Failpoints)?;
    created(
        &world,
        "v",
        &[("do", HELD), ("mounts", "e"), ("on-mount", AGAIN)],
    )?;
    let before = mount(&world, "one")?;
    let point = before.as_str().unwrap_or_default().to_owned();
    world.run(&format!("echo precious > {point}/file"))?;
    // It is in use, so it cannot be removed.
    let refused =
        crate::caller(&world).call_once("VolumeDriver.Remove", &json!({ "Name": "v" }))?;
    ensure!(!refused.is_success(), "{refused:?}");
    // A call that is half done when the power goes.
    world.arm("commit.before:9:kill")?;
    let answer = create(
        &world,
        "half",
        &[(
            "do",
            "mkdir x; tmpfs y 1m; image z 16m ext4; bridge w; set on-tick fail; set k 1; set k 2; nat q forward@w; tmpfs yy 1m; tmpfs yyy 1m; tmpfs yyyy 1m; tmpfs yyyyy 1m",
        )],
    );
    ensure!(answer.is_err(), "{answer:?}");
    until("the daemon to be killed", || {
        daemon.is_running().is_ok_and(|running| !running)
    })?;
    world.reboot()?;
    world.arm("")?;
    let mut daemon = world.spawn(Program::Failpoints, &[("DOCKSIDE_BOOT_ID", "another")])?;
    daemon.wait_ready()?;
    daemon.wait_plugin(PLUGIN)?;
    let now = world.settled()?;
    for gone in ["mount", "loop", "nft", "iptables", "file mounts"] {
        ensure!(!now.has(gone), "{gone} is there after the restart:\n{now}");
    }
    ensure!(
        !now.to_string().contains("\"ifname\":\"dk"),
        "a link is there after the restart:\n{now}"
    );
    let shown = status(&world, "v")?;
    ensure!(
        shown["images"]
            .as_object()
            .is_some_and(|images| images.len() == 1 && images.contains_key("i")),
        "{shown}"
    );
    for empty in ["mounts", "links"] {
        ensure!(
            shown[empty]
                .as_object()
                .is_some_and(serde_json::Map::is_empty),
            "{shown}"
        );
    }
    ensure!(
        shown["directories"] == json!(["d"]) && shown["nat"] == json!([]),
        "{shown}"
    );
    let events = shown["events"].to_string();
    for event in [
        "start Rebooted",
        "mount t rebooted",
        "mount e rebooted",
        "link b rebooted",
        "rules r rebooted",
    ] {
        ensure!(events.contains(event), "{event}: not in {events}");
    }
    ensure!(
        !events.contains("image"),
        "images outlive a restart: {events}"
    );
    // A mount of today finds nobody's of yesterday, asks the driver, and what was written is there.
    let again = mount(&world, "two")?;
    ensure!(again != before && !again.is_null(), "{again}");
    let text = world.run(&format!("cat {}/file", again.as_str().unwrap_or_default()))?;
    ensure!(text == "precious\n", "{text}");
    call(
        &world,
        "VolumeDriver.Unmount",
        json!({ "Name": "v", "ID": "two" }),
    )?;
    removed(&world, "v")?;
    is_empty(&world.settled()?.without("row state"))?;
    Ok(())
}

#[test]
fn a_volume_that_was_in_use_before_a_restart_can_be_removed_after_it() -> Result<()> {
    let Some(mut world) = world("effects::reboot: remove", "machine", "")? else {
        return Ok(());
    };
    let mut daemon = serve(&world, Program::Failpoints)?;
    created(&world, "v", &[("do", HELD), ("mounts", "e")])?;
    mount(&world, "one")?;
    daemon.kill()?;
    world.reboot()?;
    let mut daemon = world.spawn(Program::Failpoints, &[("DOCKSIDE_BOOT_ID", "another")])?;
    daemon.wait_ready()?;
    daemon.wait_plugin(PLUGIN)?;
    removed(&world, "v")?;
    is_empty(&world.settled()?)
}

#[test]
fn what_a_call_noted_is_settled_after_a_kill() -> Result<()> {
    let Some(world) = world("effects::reboot: note", "machine-hooks", "")? else {
        return Ok(());
    };
    let mut daemon = serve(&world, Program::Failpoints)?;
    created(&world, "seen", &[])?;
    created(&world, "kept", &[("do", "note of a call that succeeds")])?;
    world.arm("answer.before:1:kill")?;
    let answer = create(&world, "v", &[("do", "note order 17; fail so")]);
    ensure!(answer.is_err(), "{answer:?}");
    until("the daemon to be killed", || {
        daemon.is_running().is_ok_and(|running| !running)
    })?;
    let _daemon = serve(&world, Program::Failpoints)?;
    until("the driver to settle it", || {
        status(&world, "seen").is_ok_and(|shown| shown["events"].to_string().contains("order 17"))
    })?;
    let events = status(&world, "seen")?["events"].to_string();
    ensure!(!events.contains("succeeds"), "{events}");
    until("the note to be forgotten", || {
        world.snapshot().is_ok_and(|now| !now.has("row note"))
    })
}
