//! Volumes in Docker's own directory of a relay, while the daemon is killed.

use std::io;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use dockside_tests::client::{Answer, Connection};
use dockside_tests::world::{Program, World};
use serde_json::{Value, json};

use crate::kill::kill_in_call;
use crate::{PLUGIN, call, created, is_empty, removed, serve, world};

/// Docker's ID of the plugin.
const ID: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

/// A directory as an engine makes it for a plugin that it runs, and what a relay says of it.
struct Docker {
    directory: PathBuf,
    says: Value,
}

impl Docker {
    fn new(world: &World) -> Result<Docker> {
        let base = world.outside.parent().context("no parent")?;
        let directory = base
            .join("docker/plugins")
            .join(ID)
            .join("propagated-mount");
        let path = directory.display();
        // Shared with what it covers, as on a machine whose root is shared.
        world.run(&format!(
            "mkdir -p {path}; mount --bind {0} {0}; mount --make-shared {0}; mount --bind {path} {path}; mount --make-rshared {path}",
            base.display()
        ))?;
        let table = world.run("cat /proc/self/mountinfo")?;
        let fields = table
            .lines()
            .map(|line| line.split(' ').collect::<Vec<_>>())
            .find(|fields| fields[4] == directory.to_string_lossy())
            .context("it is not mounted")?;
        let line = fields
            .join(" ")
            .replacen(&format!(" {path} rw"), " /volumes rw", 1);
        Ok(Docker {
            directory,
            says: json!({ "relay": 1, "plugin": PLUGIN, "mounts": [line] }),
        })
    }

    fn call(&self, world: &World, method: &str, body: &Value) -> io::Result<Answer> {
        let socket = world
            .site
            .control
            .with_file_name("relay")
            .join("relay.sock");
        Connection::of_relay(&socket, &self.says)?.exchange(method, body)
    }

    fn succeed(&self, world: &World, method: &str, body: &Value) -> Result<Answer> {
        let answer = self.call(world, method, body)?;
        ensure!(answer.is_success(), "{method}: {answer:?}");
        Ok(answer)
    }

    /// How many volumes it shows: what is mounted below it, and what has a directory there.
    fn shows(&self, world: &World) -> Result<(usize, usize)> {
        let table = world.run("cat /proc/self/mountinfo")?;
        let mut points: Vec<&str> = table
            .lines()
            .filter_map(|line| line.split(' ').nth(4))
            .filter(|point| {
                let parent = std::path::Path::new(point).parent();
                parent == Some(self.directory.as_path())
            })
            .collect();
        // What is shared is there twice.
        points.sort_unstable();
        points.dedup();
        let listed = world.run(&format!("ls -A {}", self.directory.display()))?;
        Ok((points.len(), listed.lines().count()))
    }
}

/// How many volumes are shown as far as the daemon's records say.
fn on_record(world: &World) -> Result<usize> {
    let output = world.dockside(&["inspect", PLUGIN, "--json"])?;
    let detail: Value = serde_json::from_slice(&output.stdout)?;
    let holds = detail["holds"].as_array().cloned().unwrap_or_default();
    Ok(holds.iter().filter(|item| item["kind"] == "relay").count())
}

#[test]
fn a_kill_while_a_volume_is_shown_or_hidden_leaves_what_is_on_record() -> Result<()> {
    let Some(world) = world("effects::relay", PLUGIN, "")? else {
        return Ok(());
    };
    let docker = Docker::new(&world)?;
    let (mount, unmount) = ("VolumeDriver.Mount", "VolumeDriver.Unmount");
    let (use_of, end_of) = (
        json!({ "Name": "vol", "ID": "one" }),
        json!({ "Name": "vol", "ID": "one" }),
    );
    let mut daemon = serve(&world, Program::Failpoints)?;
    created(
        &world,
        "vol",
        &[("do", "tmpfs cache 1m"), ("mounts", "cache")],
    )?;
    let mut places = Vec::new();
    for (method, body) in [(mount, &use_of), (unmount, &end_of)] {
        world.arm("")?;
        docker.succeed(&world, method, body)?;
        places.extend(
            world
                .visits()?
                .into_iter()
                .map(|(place, n)| (method, format!("{place}:{n}"))),
        );
    }
    ensure!(
        docker.shows(&world)? == (0, 0),
        "{:?}",
        docker.shows(&world)?
    );
    ensure!(
        places.iter().any(|(_, at)| at.starts_with("effect.after"))
            && places.iter().any(|(_, at)| at.starts_with("undo.after")),
        "nothing was shown: {places:?}"
    );
    for (method, point) in &places {
        let at = || format!("killed at {point} of {method}");
        if *method == unmount {
            docker.succeed(&world, mount, &use_of).with_context(at)?;
        }
        let body = if *method == mount { &use_of } else { &end_of };
        let called = || docker.call(&world, method, body);
        kill_in_call(&world, &mut daemon, point, called).with_context(at)?;
        daemon = serve(&world, Program::Failpoints).with_context(at)?;
        let shows = docker.shows(&world)?;
        let records = on_record(&world)?;
        ensure!(
            shows == (records, records),
            "{}: {shows:?}, {records} on record",
            at()
        );
        // The engine starts a container with it, and ends it.
        let next = json!({ "Name": "vol", "ID": "two" });
        let answer = docker.succeed(&world, mount, &next).with_context(at)?;
        let mountpoint = answer.at("/Mountpoint");
        let shown = mountpoint
            .as_str()
            .and_then(|path| path.strip_prefix("/volumes/"));
        let shown = shown.with_context(|| format!("{}: {mountpoint}", at()))?;
        world.run(&format!(
            "touch {}/{shown}/written",
            docker.directory.display()
        ))?;
        ensure!(
            docker.shows(&world)? == (1, 1),
            "{}: {:?}",
            at(),
            docker.shows(&world)?
        );
        for id in ["two", "one"] {
            docker.succeed(&world, unmount, &json!({ "Name": "vol", "ID": id }))?;
        }
        ensure!(
            docker.shows(&world)? == (0, 0),
            "{}: {:?}",
            at(),
            docker.shows(&world)?
        );
    }
    println!("{} kills", places.len());
    // By its own socket it is where it always was.
    let own = call(&world, mount, json!({ "Name": "vol", "ID": "own" }))?;
    ensure!(
        own.at("/Mountpoint")
            .as_str()
            .is_some_and(|path| path.contains("/mounts/"))
    );
    call(&world, unmount, json!({ "Name": "vol", "ID": "own" }))?;
    removed(&world, "vol")?;
    daemon.terminate()?;
    let (directory, base) = (
        docker.directory.display(),
        world.outside.parent().context("no parent")?,
    );
    world.run(&format!("umount {directory}; umount {}", base.display()))?;
    is_empty(&world.snapshot()?)
}
