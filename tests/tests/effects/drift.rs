//! Somebody else changes what plugins hold: found, told, repaired; and a plugin that is taken away while it holds something.

use anyhow::{Result, ensure};
use dockside_tests::daemon::until;
use dockside_tests::world::{Program, World};
use serde_json::json;

use crate::{PLUGIN, call, created, is_empty, removed, serve, world};

/// Exit status of a command that worked and found something.
const ATTENTION: i32 = 3;

const HELD: &str = "mkdir d; tmpfs t 4m; bind m d ro; image i 16m ext4; imgmount e i; bridge b mtu=1400; addr b 10.9.0.1/24; \
     route b 10.77.0.0/16 10.9.0.2; pair a p; master p b; isolate p; nat n masq=10.9.0.0/24@b,forward@b";

fn reconcile(world: &World, dry: bool) -> Result<(i32, String)> {
    let arguments: &[&str] = if dry {
        &["reconcile", "--dry-run"]
    } else {
        &["reconcile"]
    };
    let output = world.dockside(arguments)?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    Ok((output.status.code().unwrap_or(-1), text))
}

/// What somebody else does, and a word of what is said about it.
const DRIFTS: &[(&str, &str)] = &[
    (
        "umount $(findmnt -rno TARGET -t tmpfs | grep DATA)",
        "mount/t",
    ),
    (
        "umount $(findmnt -rno TARGET -t ext4 | grep DATA/mounts)",
        "mount/",
    ),
    (
        "for m in $(findmnt -rno TARGET | grep DATA/mounts); do umount $m; done",
        "mount/m",
    ),
    (
        "ip link del $(ip -o link show type bridge | awk -F': ' '{print $2}')",
        "link/b",
    ),
    (
        "ip link set $(ip -o link show type bridge | awk -F': ' '{print $2}') mtu 1300",
        "link/b",
    ),
    (
        "ip addr flush dev $(ip -o link show type bridge | awk -F': ' '{print $2}')",
        "link/b",
    ),
    ("ip route del 10.77.0.0/16", "link/b"),
    (
        "for l in $(ip -o link show type veth | awk -F'[:@] *' '/dk/ {print $2}'); do ip link set $l nomaster; done",
        "link/p",
    ),
    ("nft flush ruleset", "rules/n"),
    ("nft delete table inet dockside", "rules/n"),
];

#[test]
fn what_somebody_else_changes_is_found_and_repaired() -> Result<()> {
    let Some(world) = world("effects::drift", "machine", "")? else {
        return Ok(());
    };
    let _daemon = serve(&world, Program::Plain)?;
    created(&world, "v", &[("do", HELD)])?;
    let whole = world.settled()?.without("content");
    let (code, text) = reconcile(&world, true)?;
    ensure!(code == 0, "nothing has changed yet: {text}");
    for (script, word) in DRIFTS {
        let script = script.replace("DATA", &world.site.data.display().to_string());
        world.run(&script)?;
        let changed = world.settled()?.without("content");
        ensure!(
            !whole.difference(&changed).is_empty(),
            "{script}: does nothing"
        );

        let (code, text) = reconcile(&world, true)?;
        ensure!(
            code == ATTENTION && text.contains(word),
            "{script}: dry run: {code}: {text}"
        );
        let after_dry_run = changed.difference(&world.settled()?.without("content"));
        ensure!(
            after_dry_run.is_empty(),
            "{script}: the dry run has changed\n{after_dry_run}"
        );

        let (code, text) = reconcile(&world, false)?;
        ensure!(code == 0 && text.contains(word), "{script}: {code}: {text}");
        let difference = whole.difference(&world.settled()?.without("content"));
        ensure!(
            difference.is_empty(),
            "{script}: the repair said\n{text}\n  and left\n{difference}"
        );
        let (code, text) = reconcile(&world, true)?;
        ensure!(code == 0, "{script}: after the repair: {text}");
    }
    removed(&world, "v")?;
    is_empty(&world.settled()?)
}

#[test]
fn a_mount_that_somebody_else_ended_is_made_again_for_the_next_container() -> Result<()> {
    let Some(world) = world("effects::drift", "machine", "")? else {
        return Ok(());
    };
    let _daemon = serve(&world, Program::Plain)?;
    for (name, held) in [
        ("bound", "mkdir d; bind m d"),
        ("disk", "image e 16m ext4; imgmount m e"),
    ] {
        created(&world, name, &[("do", held), ("mounts", "m")])?;
        let mount = |id: &str| -> Result<String> {
            let body = json!({ "Name": name, "ID": id });
            let point = call(&world, "VolumeDriver.Mount", body)?.at("/Mountpoint");
            Ok(point.as_str().unwrap_or_default().to_owned())
        };
        let point = mount("one")?;
        world.run(&format!("echo kept > {point}/file; umount {point}"))?;
        let again = mount("two")?;
        ensure!(again == point, "{name}: {again} and {point}");
        world.run(&format!("grep -q kept {point}/file"))?;
        for id in ["one", "two"] {
            call(
                &world,
                "VolumeDriver.Unmount",
                json!({ "Name": name, "ID": id }),
            )?;
        }
        removed(&world, name)?;
    }
    is_empty(&world.settled()?)
}

#[test]
fn an_image_that_somebody_else_removes_is_forgotten() -> Result<()> {
    let Some(world) = world("effects::drift: image", "machine-hooks", "")? else {
        return Ok(());
    };
    let _daemon = serve(&world, Program::Plain)?;
    created(&world, "v", &[("do", "image i 16m ext4")])?;
    world.run(&format!("rm {}/images/*/*.img", world.site.data.display()))?;
    let (code, text) = reconcile(&world, true)?;
    ensure!(
        code == ATTENTION && text.contains("image/i"),
        "{code}: {text}"
    );
    let (code, text) = reconcile(&world, false)?;
    ensure!(code == 0, "{code}: {text}");
    let status = crate::status(&world, "v")?;
    ensure!(
        status["images"]
            .as_object()
            .is_some_and(serde_json::Map::is_empty),
        "{status}"
    );
    ensure!(
        status["events"].to_string().contains("image i removed"),
        "the driver was not told: {status}"
    );
    removed(&world, "v")
}

#[test]
fn a_plugin_that_holds_something_is_only_forgotten_by_force() -> Result<()> {
    let Some(world) = world("effects::drift: forget", "machine", "")? else {
        return Ok(());
    };
    let mut daemon = serve(&world, Program::Plain)?;
    created(&world, "v", &[("do", HELD)])?;
    let whole = world.settled()?.without("content");
    world.site.remove(&format!("{PLUGIN}.wasm"))?;
    until("the plugin to be taken away", || {
        world
            .site
            .ask(&format!("/v1/plugin?name={PLUGIN}"))
            .is_ok_and(|detail| detail["state"] == "removed")
    })?;
    let output = world.dockside(&["forget", PLUGIN])?;
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.code() == Some(1), "{output:?}");
    for held in [
        "mount t", "mount m", "image i", "mount e", "link b", "link a", "link p", "rules n",
    ] {
        ensure!(text.contains(held), "{held} is not in {text}");
    }
    let difference = whole.difference(&world.settled()?.without("content"));
    ensure!(difference.is_empty(), "the refusal changed\n{difference}");
    let output = world.dockside(&["forget", PLUGIN, "--force"])?;
    ensure!(output.status.success(), "{output:?}");
    let now = world.settled()?;
    for what in [
        "mount",
        "loop",
        "content",
        "nft",
        "iptables",
        "row object",
        "process",
    ] {
        ensure!(!now.has(what), "something remains:\n{now}");
    }
    ensure!(daemon.is_running()?);
    Ok(())
}
