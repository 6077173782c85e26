//! What books and READMEs tell users to type, as scripts in `tests/exercises`, with dockside's drivers behind it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Result, ensure};
use dockside_tests::engine::{Engine, Version};
use dockside_tests::files;

use crate::effects::{down, nothing_is_left};
use crate::hosts::weave;
use crate::ssh::{PASSWORD, PORT, Server, is_missing};
use crate::{Plugin, Setup};

/// Where the engine is told to look for what it would get from the Internet.
const MIRROR: &str = "http://127.0.0.1:5081";

/// The daemon's part of it.
const REGISTRY: &str = "registry = \"127.0.0.1:5081\"\n";

/// Runs an exercise, with the engine's client as `docker`.
pub(crate) fn exercise(engine: &Engine, name: &str, variables: &[(&str, &str)]) -> Result<()> {
    let programs = engine.shared().join("programs");
    fs::create_dir_all(&programs)?;
    let docker = programs.join("docker");
    fs::write(&docker, engine.client_script())?;
    fs::set_permissions(&docker, fs::Permissions::from_mode(0o755))?;
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut all: Vec<PathBuf> = vec![programs];
    all.extend(std::env::split_paths(&path));
    let script = files::workspace().join("tests/exercises").join(name);
    let output = Command::new(&script)
        .env("PATH", std::env::join_paths(all)?)
        .env("IMAGE", "busybox:local")
        .envs(variables.iter().copied())
        .output()?;
    ensure!(
        output.status.success(),
        "{name}: {}\n{}{}\nthe engine's log ends\n{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
        engine.log_end()
    );
    Ok(())
}

/// The driver `sshfs` with its operator's file, for servers that are trusted as they are, and an engine that finds it by dockside's registry.
pub(crate) fn volumes_over_ssh(version: Version) -> Result<()> {
    let test = "volumes_over_ssh";
    // The daemon and sshfs run among the engine's own mounts, and the newest engine's tree has no sshfs.
    if version == Version::Newest || is_missing(test) {
        return Ok(());
    }
    let plugin = Plugin {
        name: "vieux/sshfs",
        file: "sshfs",
        component: files::driver("sshfs")?,
        toml: String::new(),
    };
    let mut server = None;
    let setup = Setup::serving(version, test, &[plugin], |engine, site| {
        let made = Server::new(engine, &engine.shared().join("server"))?;
        let text = fs::read_to_string(files::workspace().join("guests/sshfs/sshfs.toml"))?
            .replace("# StrictHostKeyChecking", "StrictHostKeyChecking")
            .replace("use = []", "use = [\"key\"]");
        let base = &made.base;
        site.configure(
            "sshfs",
            &format!("{text}\n[secrets]\nkey = {{ file = \"{base}/key\" }}\n"),
        )?;
        fs::write(&site.config, REGISTRY)?;
        server = Some(made);
        engine.serve_within(site)
    })?;
    let Some((setup, server)) = setup.zip(server) else {
        return Ok(());
    };
    let engine = &setup.engine;
    engine.up(&["--registry-mirror", MIRROR])?;
    engine.image()?;
    let remote = server.remote();
    let variables = [
        ("SSHCMD", remote.as_str()),
        ("PORT", PORT),
        ("PASSWORD", PASSWORD),
        ("KEYS", server.base.as_str()),
        ("KEY", "key"),
    ];
    exercise(engine, "15.03", &variables)?;
    exercise(engine, "vieux-sshfs", &variables)?;
    ensure!(fs::read_dir(format!("{}/remote", server.base))?.count() == 0);
    nothing_is_left(&setup)?;
    down(setup)
}

/// The driver `mesh` as a swarm's network plugin, under the name of Weave Net's.
pub(crate) fn a_service_on_a_network_of_a_plugin(version: Version) -> Result<()> {
    let test = "a_service_on_a_network_of_a_plugin";
    let setup = Setup::serving(version, test, &[weave()?], |engine, site| {
        fs::write(&site.config, REGISTRY)?;
        engine.serve_inside(site)
    })?;
    let Some(setup) = setup else {
        return Ok(());
    };
    setup.engine.up(&["--registry-mirror", MIRROR])?;
    setup.engine.image()?;
    exercise(&setup.engine, "15.02", &[])?;
    nothing_is_left(&setup)?;
    down(setup)
}
