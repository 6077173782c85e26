//! Directories at paths that users name, with the daemon killed at every failpoint of their making and of their removal.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use dockside_tests::client::Answer;
use dockside_tests::daemon::{Daemon, until};
use dockside_tests::files;
use dockside_tests::world::{Program, World};
use serde_json::{Value, json};

const DRIVER: &str = "mobyfs";

fn serve(world: &World) -> Result<Daemon> {
    world.arm("")?;
    let daemon = world.serve(Program::Failpoints)?;
    daemon.wait_plugin(DRIVER)?;
    world.settled()?;
    Ok(daemon)
}

fn call(world: &World, method: &str, body: &Value) -> std::io::Result<Answer> {
    world
        .site
        .caller(DRIVER)
        .call_once(&format!("VolumeDriver.{method}"), body)
}

fn done(world: &World, method: &str, body: &Value) -> Result<()> {
    let answer = call(world, method, body)?;
    ensure!(answer.is_success(), "{method} {body}: {answer:?}");
    world.settled().map(drop)
}

/// Everything below a directory.
fn tree(directory: &Path) -> Result<BTreeSet<String>> {
    fn walk(directory: &Path, root: &Path, found: &mut BTreeSet<String>) -> Result<()> {
        for entry in fs::read_dir(directory)? {
            let path = entry?.path();
            found.insert(path.strip_prefix(root)?.display().to_string());
            if path.is_dir() {
                walk(&path, root, found)?;
            }
        }
        Ok(())
    }
    let mut found = BTreeSet::new();
    walk(directory, directory, &mut found)?;
    Ok(found)
}

/// Kills the daemon in a call, and starts it again. None if the call does not come there: the first one had more to write than the others.
fn killed(
    world: &World,
    daemon: &mut Daemon,
    point: &str,
    method: &str,
    body: &Value,
) -> Result<Option<bool>> {
    world.arm(&format!("{point}:kill"))?;
    let answer = call(world, method, body);
    if answer.is_ok() {
        // What is written behind the answer is nobody's to wait for.
        world.arm("")?;
        if world.settled().is_ok() && daemon.is_running()? {
            return Ok(None);
        }
    }
    until("the daemon to be killed", || {
        daemon.is_running().is_ok_and(|running| !running)
    })?;
    *daemon = serve(world)?;
    Ok(Some(answer.is_ok()))
}

fn is(found: &BTreeSet<String>, expected: &[&str]) -> bool {
    found.iter().eq(expected)
}

#[test]
fn a_kill_while_a_path_is_made_or_removed_leaves_nothing_or_everything() -> Result<()> {
    let Some(world) = World::new("effects::paths")? else {
        return Ok(());
    };
    let root = world.outside.join("root");
    fs::create_dir(&root)?;
    world.site.configure(
        DRIVER,
        &format!(
            "[grants]\ndirectories = {{}}\n[grants.mounts]\nhost-paths = [{root:?}]\nmake-paths = true\n"
        ),
    )?;
    world.site.drop_in(&files::driver(DRIVER)?, DRIVER)?;
    let volume = json!({ "Name": "v" });
    let create = json!({ "Name": "v", "Opts": {
        "mountpoint": root.join("a/b"), "mode": "2750", "delete-on-remove": "true" } });
    let fill = || fs::write(root.join("a/b/data"), "data");
    // The parent that was made stays, because others may use it by then.
    let clear = || fs::remove_dir(root.join("a"));

    let mut daemon = serve(&world)?;
    let made = call(&world, "Create", &create)?;
    let making = world.visits()?;
    ensure!(made.is_success(), "{made:?}");
    world.settled()?;
    fill()?;
    world.arm("")?;
    let removed = call(&world, "Remove", &volume)?;
    let removing = world.visits()?;
    ensure!(removed.is_success(), "{removed:?}");
    world.settled()?;
    ensure!(is(&tree(&root)?, &["a"]), "{:?}", tree(&root)?);
    clear()?;

    let mut kills = 0;
    for (place, number) in &making {
        let point = format!("{place}:{number}");
        let at = || format!("killed at {point} of the creation");
        let answered = killed(&world, &mut daemon, &point, "Create", &create).with_context(at)?;
        kills += usize::from(answered.is_some());
        let is_there = call(&world, "Get", &volume)?.is_success();
        let found = tree(&root)?;
        ensure!(
            is_there || answered != Some(true),
            "{}: it was answered and is gone",
            at()
        );
        let expected: &[&str] = if is_there { &["a", "a/b"] } else { &[] };
        ensure!(is(&found, expected), "{}: {is_there}, {found:?}", at());
        if is_there {
            done(&world, "Remove", &volume).with_context(at)?;
            clear().with_context(at)?;
        }
    }
    for (place, number) in &removing {
        let point = format!("{place}:{number}");
        let at = || format!("killed at {point} of the removal");
        if !call(&world, "Get", &volume)?.is_success() {
            done(&world, "Create", &create).with_context(at)?;
        }
        fill()?;
        let answered = killed(&world, &mut daemon, &point, "Remove", &volume).with_context(at)?;
        kills += usize::from(answered.is_some());
        let is_there = call(&world, "Get", &volume)?.is_success();
        let found = tree(&root)?;
        ensure!(
            !is_there || answered != Some(true),
            "{}: it was answered and is there",
            at()
        );
        let expected: &[&str] = if is_there {
            &["a", "a/b", "a/b/data"]
        } else {
            &["a"]
        };
        ensure!(is(&found, expected), "{}: {is_there}, {found:?}", at());
    }
    ensure!(kills > 10, "only {kills} places were visited");
    eprintln!("effects::paths: {kills} kills");
    Ok(())
}
