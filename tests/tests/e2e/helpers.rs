//! A volume that a helper program mounts: sshfs from a real SSH server.

use std::fs;

use anyhow::{Context, Result, ensure};
use dockside_tests::daemon::until;
use dockside_tests::engine::{Engine, Version};
use rustix::process::{Pid, Signal};

use crate::effects::{GRANTS, PLUGIN, create, down, holds, in_container, machine, nothing_is_left};
use crate::ssh::{PORT, Server, is_missing};
use crate::{Setup, inspect};

/// A driver that may mount what the server has.
fn settings(server: &Server, on_dead: &str) -> String {
    format!(
        r#"{GRANTS}
[grants.mounts]
probe-every = "1s"
on-dead = "{on_dead}"

[grants.mounts.helpers]
sshfs = ["{}"]

[grants.secrets]
use = ["key", "known-hosts"]

[secrets.key]
file = "{base}/key"

[secrets.known-hosts]
file = "{base}/known-hosts"
"#,
        server.remote(),
        base = server.base,
    )
}

/// A running engine with an SSH server on its network and the driver.
fn setup(version: Version, test: &str, on_dead: &str) -> Result<Option<(Setup, Server)>> {
    if is_missing(test) {
        return Ok(None);
    }
    let mut server = None;
    let setup = Setup::serving(version, test, &[machine("")?], |engine, site| {
        let made = Server::new(engine, &engine.shared().join("server"))?;
        site.configure(PLUGIN, &settings(&made, on_dead))?;
        server = Some(made);
        engine.serve_inside(site)
    })?;
    let Some((setup, server)) = setup.zip(server) else {
        return Ok(None);
    };
    setup.engine.up(&[])?;
    setup.engine.image()?;
    let script = format!(
        "helper files sshfs {} port={PORT} identity=key,known-hosts=known-hosts",
        server.remote()
    );
    create(
        &setup.engine,
        "vol",
        &[("do", &script), ("mounts", "files")],
    )
    .with_context(|| format!("the SSH server says\n{}", server.log()))?;
    Ok(Some((setup, server)))
}

/// The processes of helpers of this daemon: sshfs and the ssh that it runs.
pub(crate) fn helpers(setup: &Setup) -> Result<Vec<i32>> {
    let data = setup.site.data.display().to_string();
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")?.flatten() {
        let pid = entry.file_name().to_string_lossy().parse::<i32>();
        // Gone in between, or no process.
        let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line);
        if line.starts_with("/usr/bin/sshfs") && line.contains(&data) {
            found.extend(pid.ok());
        }
    }
    Ok(found)
}

pub(crate) fn signal_helper(setup: &Setup, signal: Signal) -> Result<()> {
    let helpers = helpers(setup)?;
    ensure!(helpers.len() == 1, "sshfs runs as {helpers:?}");
    for helper in helpers {
        let pid = Pid::from_raw(helper).context("no process ID")?;
        rustix::process::kill_process(pid, signal)?;
    }
    Ok(())
}

/// What the daemon says of a volume whose mount does not work.
fn trouble(engine: &Engine) -> Result<String> {
    let seen = inspect(engine, "volume", "vol")?;
    Ok(seen["Status"]["dockside"]
        .as_str()
        .unwrap_or_default()
        .to_owned())
}

pub(crate) fn a_helper_that_dies_is_reported(version: Version) -> Result<()> {
    let test = "a_helper_that_dies_is_reported";
    let Some((setup, server)) = setup(version, test, "alert")? else {
        return Ok(());
    };
    let engine = &setup.engine;
    in_container(engine, "vol", "echo written > /data/file")?;
    assert_eq!(
        fs::read_to_string(format!("{}/remote/file", server.base))?,
        "written\n"
    );
    assert_eq!(trouble(engine)?, "");
    signal_helper(&setup, Signal::KILL)?;
    until("the volume to be degraded", || {
        trouble(engine).is_ok_and(|said| said.starts_with("degraded: "))
    })
    .with_context(|| format!("{:?}", trouble(engine)))?;
    engine.docker(&["volume", "rm", "vol"])?;
    nothing_is_left(&setup)?;
    down(setup)
}

pub(crate) fn a_helper_that_dies_is_started_again(version: Version) -> Result<()> {
    let test = "a_helper_that_dies_is_started_again";
    let Some((setup, mut server)) = setup(version, test, "remount")? else {
        return Ok(());
    };
    let engine = &setup.engine;
    in_container(engine, "vol", "echo written > /data/file")?;
    signal_helper(&setup, Signal::KILL)?;
    let reads =
        || in_container(engine, "vol", "cat /data/file").is_ok_and(|text| text == "written");
    until("the volume to work again", reads).with_context(|| setup.daemon.log_end())?;
    // The same while the server is away: it is tried until it comes back.
    server.stop()?;
    until("the helper to end with its server", || {
        helpers(&setup).is_ok_and(|helpers| helpers.is_empty())
    })?;
    until("the volume to be degraded", || {
        trouble(engine).is_ok_and(|said| said.starts_with("degraded: "))
    })
    .with_context(|| format!("{:?}", trouble(engine)))?;
    server.process = Server::start(engine, &server.base)?;
    until("the volume to work again after its server came back", reads)
        .with_context(|| setup.daemon.log_end())?;
    assert_eq!(trouble(engine)?, "");
    engine.docker(&["volume", "rm", "vol"])?;
    nothing_is_left(&setup)?;
    down(setup)
}

pub(crate) fn a_helper_outlives_the_daemon(version: Version) -> Result<()> {
    let test = "a_helper_outlives_the_daemon";
    let Some((mut setup, _server)) = setup(version, test, "alert")? else {
        return Ok(());
    };
    in_container(&setup.engine, "vol", "echo written > /data/file")?;
    let before = helpers(&setup)?;
    setup.engine.docker(&[
        "run",
        "-d",
        "--name",
        "reader",
        "-v",
        "vol:/data",
        "busybox:local",
        "sleep",
        "100000",
    ])?;
    let reads = |engine: &Engine| -> Result<()> {
        assert_eq!(
            engine.docker(&["exec", "reader", "cat", "/data/file"])?,
            "written"
        );
        Ok(())
    };
    setup.daemon.kill()?;
    reads(&setup.engine)?;
    setup.daemon = setup.engine.serve_inside(&setup.site)?;
    setup.daemon.wait_plugin(PLUGIN)?;
    reads(&setup.engine)?;
    assert_eq!(helpers(&setup)?, before);
    assert_eq!(holds(&setup, "mount")?, ["files"]);
    in_container(&setup.engine, "vol", "echo more >> /data/file")?;
    setup.engine.docker(&["rm", "-f", "reader"])?;
    setup.engine.docker(&["volume", "rm", "vol"])?;
    nothing_is_left(&setup)?;
    down(setup)
}
