//! What drivers do to the machine, while the daemon is killed, the disk is full, the driver fails and the machine restarts: nothing of a
//! call remains, or all of it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod between;
mod bundled;
mod check;
mod disk;
mod drift;
mod guest;
mod hostile;
mod kill;
mod lives;
mod network;
mod operations;
mod paths;
mod reboot;
mod relay;
mod server;

use anyhow::{Context, Result, ensure};
use dockside_tests::client::{Answer, Caller};
use dockside_tests::daemon::Daemon;
use dockside_tests::files;
use dockside_tests::world::{Program, Snapshot, WIRE, World};
use serde_json::{Value, json};

/// The plugin that does what scripts say.
const PLUGIN: &str = "machine";

/// Everything that scripts may ask for. `extra` goes below `[limits]`.
fn settings(world: &World, extra: &str) -> String {
    let outside = world.outside.display();
    format!(
        r#"
[limits]
{extra}

[grants]
directories = {{}}
outbox = {{}}

[grants.mounts]
tmpfs = "64MiB"
host-paths = ["{outside}"]
helpers = {{ sshfs = ["root@127.0.0.1:{outside}"] }}

[grants.images]
max-size = "1GiB"

[grants.links]
kinds = ["bridge", "veth", "vxlan", "macvlan"]
parents = ["{WIRE}"]
routes = ["10.0.0.0/8"]

[grants.nat]
publish = ["1024-65535"]

[grants.http]
allow = ["GET https://example.com/"]

[grants.secrets]
use = ["token", "key", "known"]
keep = 10

[secrets]
token = {{ file = "{outside}/file" }}
key = {{ file = "{outside}/key" }}
known = {{ file = "{outside}/known" }}
"#
    )
}

/// A world with one of the drivers that do what scripts say in it.
fn world(test: &str, fixture: &str, limits: &str) -> Result<Option<World>> {
    let Some(world) = World::new(test)? else {
        return Ok(None);
    };
    world.site.configure(PLUGIN, &settings(&world, limits))?;
    world.site.drop_in(&files::fixture(fixture)?, PLUGIN)?;
    Ok(Some(world))
}

/// A daemon that is ready, with its plugin.
fn serve(world: &World, program: Program) -> Result<Daemon> {
    world.arm("")?;
    let daemon = world.serve(program)?;
    daemon.wait_plugin(PLUGIN)?;
    Ok(daemon)
}

/// A caller without retries on its own connection.
fn caller(world: &World) -> Caller {
    world.site.caller(PLUGIN)
}

/// Creates a volume whose script is this.
fn create(world: &World, name: &str, options: &[(&str, &str)]) -> std::io::Result<Answer> {
    let options: serde_json::Map<String, Value> = options
        .iter()
        .map(|(name, value)| ((*name).to_owned(), json!(value)))
        .collect();
    caller(world).call_once(
        "VolumeDriver.Create",
        &json!({ "Name": name, "Opts": options }),
    )
}

fn call(world: &World, method: &str, body: Value) -> Result<Answer> {
    let answer = caller(world).call_once(method, &body)?;
    ensure!(
        answer.is_success(),
        "{method} {body}: {} {}",
        answer.status,
        String::from_utf8_lossy(&answer.body)
    );
    Ok(answer)
}

fn created(world: &World, name: &str, options: &[(&str, &str)]) -> Result<()> {
    let answer = create(world, name, options)?;
    ensure!(
        answer.is_success(),
        "{options:?}: {} {}",
        answer.status,
        String::from_utf8_lossy(&answer.body)
    );
    Ok(())
}

fn removed(world: &World, name: &str) -> Result<()> {
    call(world, "VolumeDriver.Remove", json!({ "Name": name }))
        .map(drop)
        .with_context(|| format!("the volume {name}"))
}

/// What `Get` shows of a volume. Docker has texts there; these are JSON.
fn status(world: &World, name: &str) -> Result<Value> {
    let shown = call(world, "VolumeDriver.Get", json!({ "Name": name }))?.at("/Volume/Status");
    let fields = shown.as_object().context("no status")?.iter();
    Ok(fields
        .map(|(name, text)| {
            let value = text.as_str().map(serde_json::from_str);
            (
                name.clone(),
                value.and_then(Result::ok).unwrap_or_else(|| text.clone()),
            )
        })
        .collect())
}

/// Nothing of a plugin is on the machine, or in the database.
fn is_empty(snapshot: &Snapshot) -> Result<()> {
    for what in [
        "mount", "loop", "content", "process", "nft", "iptables", "row",
    ] {
        ensure!(!snapshot.has(what), "something remains:\n{snapshot}");
    }
    ensure!(
        !snapshot.to_string().contains("\"dk"),
        "a link remains:\n{snapshot}"
    );
    Ok(())
}
