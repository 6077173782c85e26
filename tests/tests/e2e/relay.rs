//! Docker's own plugin commands, with dockside's plugins behind them.

use std::fs;

use anyhow::{Context, Result, ensure};
use dockside_tests::daemon::until;
use dockside_tests::engine::{Engine, Version};
use dockside_tests::files;
use serde_json::Value;

use crate::{Plugin, Setup, effects, inspect, local};

/// Where the engine is told to look for what it would get from the Internet.
const MIRROR: &str = "http://127.0.0.1:5081";

/// The daemon's part of it.
const REGISTRY: &str = "registry = \"127.0.0.1:5081\"\n";

fn setup(version: Version, test: &str, plugins: &[Plugin]) -> Result<Option<Setup>> {
    Setup::serving(version, test, plugins, |engine, site| {
        fs::write(&site.config, REGISTRY)?;
        engine.serve_within(site)
    })
}

fn up(engine: &Engine, flags: &[&str]) -> Result<()> {
    let mut all = vec!["--registry-mirror", MIRROR];
    all.extend(flags);
    engine.up(&all)
}

/// What the daemon has in a plugin's status.
fn detail(setup: &Setup, plugin: &str) -> Result<Value> {
    let output = setup
        .site
        .command("inspect")?
        .args([plugin, "--json"])
        .output()?;
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// What a relay of Docker's has mounted, as the engine sees it.
fn shown(engine: &Engine) -> Result<Vec<String>> {
    let table = engine.shell("cat /proc/self/mountinfo")?;
    Ok(table
        .lines()
        .filter(|line| line.contains("/propagated-mount/"))
        .map(str::to_owned)
        .collect())
}

fn plugin_field(engine: &Engine, plugin: &str, field: &str) -> Result<String> {
    engine.docker(&["plugin", "inspect", "-f", field, plugin])
}

fn down(setup: Setup) -> Result<()> {
    // The directory of all daemons of a machine: that of another machine here.
    let _ = setup
        .engine
        .shell("rmdir /run/dockside 2>/dev/null || true");
    setup.down()
}

/// The fixture that shows its configuration, under the name and with the settings of a well-known plugin.
fn sshfs() -> Result<Plugin> {
    Ok(Plugin {
        name: "echo",
        file: "echo",
        component: files::fixture("echo")?,
        toml: "[config]\nserver = \"operator\"\n\"env.DEBUG\" = \"operator\"\n\n[grants]\ndirectories = {}\n\n[relay]\nnames = [\"vieux/sshfs\"]\n\
               env = { DEBUG = \"0\", LEVEL = {} }\nmounts = { sshkey = {} }\nargs = {}\n"
            .to_owned(),
    })
}

pub(crate) fn dockers_own_commands_manage_a_plugin(version: Version) -> Result<()> {
    let Some(setup) = setup(version, "dockers_own_commands_manage_a_plugin", &[sshfs()?])? else {
        return Ok(());
    };
    let engine = &setup.engine;
    up(engine, &[])?;
    engine.image()?;
    let keys = engine.shared().join("keys");
    fs::create_dir(&keys)?;
    // Whoever is asked and does not answer sees what a plugin wants.
    let asked = engine.try_docker(&["plugin", "install", "vieux/sshfs"])?;
    let asked = format!("{}{}", asked.out, asked.err);
    assert!(asked.contains("- mount: ["), "{asked}");
    for right in ["network", "capabilities", "device"] {
        assert!(!asked.contains(&format!("- {right}")), "{asked}");
    }
    engine.docker(&[
        "plugin",
        "install",
        "--grant-all-permissions",
        "vieux/sshfs",
        "DEBUG=1",
        &format!("sshkey.source={}/", keys.display()),
    ])?;
    assert_eq!(
        engine.docker(&["plugin", "ls", "--format", "{{.Name}} {{.Enabled}}"])?,
        "vieux/sshfs:latest true"
    );
    let types = "{{.Config.Interface.Types}} {{.Config.Linux.Capabilities}}";
    assert_eq!(
        plugin_field(engine, "vieux/sshfs", types)?,
        "[docker.volumedriver/1.0] []"
    );
    engine.docker(&["volume", "create", "-d", "vieux/sshfs", "vol"])?;
    let status = inspect(engine, "volume", "vol")?["Status"].clone();
    let configured = |status: &Value, key: &str| status[format!("config.{key}")].clone();
    assert_eq!(configured(&status, "env.DEBUG"), "1", "{status}");
    assert_eq!(configured(&status, "server"), "operator", "{status}");
    assert_eq!(
        configured(&status, "mounts.sshkey"),
        keys.display().to_string(),
        "{status}"
    );
    assert_eq!(configured(&status, "env.LEVEL"), Value::Null, "{status}");
    let written = "echo kept > /data/file";
    let shell = ["run", "--rm", "-v", "vol:/data", "busybox:local"];
    engine.docker(&[&shell[..], &["sh", "-c", written]].concat())?;
    assert_eq!(
        engine.docker(&[&shell[..], &["cat", "/data/file"]].concat())?,
        "kept"
    );
    assert_eq!(shown(engine)?, [""; 0]);

    let refused = engine.docker_fails(&["plugin", "set", "vieux/sshfs", "DEBUG=2"])?;
    assert!(refused.contains("active plugin"), "{refused}");
    let refused = engine.docker_fails(&["plugin", "disable", "vieux/sshfs"])?;
    assert!(refused.contains("in use"), "{refused}");
    engine.docker(&["volume", "rm", "vol"])?;
    engine.docker(&["plugin", "disable", "vieux/sshfs"])?;
    until("the relay to be gone", || {
        detail(&setup, "echo").is_ok_and(|detail| detail["relays"] == serde_json::json!([]))
    })?;
    engine.docker(&[
        "plugin",
        "set",
        "vieux/sshfs",
        "DEBUG=2",
        "args=-x --why not",
    ])?;
    let digest = "{{.PluginReference}} {{.Config.Description}}";
    let before = plugin_field(engine, "vieux/sshfs", digest)?;
    let toml = sshfs()?
        .toml
        .replace("[relay]\n", "[relay]\ndescription = \"the next\"\n");
    setup.site.configure("echo", &toml)?;
    until("the registry to have the next relay", || {
        engine
            .try_docker(&[
                "plugin",
                "upgrade",
                "--grant-all-permissions",
                "vieux/sshfs",
            ])
            .is_ok_and(|said| said.success)
            && plugin_field(engine, "vieux/sshfs", digest).is_ok_and(|now| now != before)
    })?;
    assert!(plugin_field(engine, "vieux/sshfs", digest)?.ends_with("the next"));
    engine.docker(&["plugin", "enable", "vieux/sshfs"])?;
    engine.docker(&["volume", "create", "-d", "vieux/sshfs", "vol"])?;
    let status = inspect(engine, "volume", "vol")?["Status"].clone();
    assert_eq!(configured(&status, "env.DEBUG"), "2", "{status}");
    assert_eq!(configured(&status, "args"), "-x\n--why\nnot", "{status}");
    // Its own socket is not a relay: there the operator's configuration holds.
    let call = ["echo", "VolumeDriver.Get", "{\"Name\":\"vol\"}"];
    let output = setup.site.command("call")?.args(call).output()?;
    let own = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(own.contains("operator") && !own.contains("why"), "{own}");
    engine.docker(&["volume", "rm", "vol"])?;

    // What is written for `docker plugin create` is the same plugin.
    let output = engine.shared().join("relay-files");
    let said = setup
        .site
        .command("relay")?
        .args(["echo", "--output"])
        .arg(&output)
        .output()?;
    ensure!(said.status.success(), "{said:?}");
    let directory = output.display().to_string();
    engine.docker(&["plugin", "create", "local/mine:latest", &directory])?;
    engine.docker(&["plugin", "enable", "local/mine:latest"])?;
    engine.docker(&["volume", "create", "-d", "local/mine", "vol"])?;
    engine.docker(&["volume", "rm", "vol"])?;
    engine.docker(&["plugin", "rm", "-f", "vieux/sshfs", "local/mine"])?;
    assert_eq!(engine.docker(&["plugin", "ls", "-q"])?, "");
    let detail = detail(&setup, "echo")?;
    assert_eq!(detail["holds"], serde_json::json!([]), "{detail}");
    down(setup)
}

fn run_writer(engine: &Engine, driver: &str) -> Result<()> {
    engine.docker(&[
        "run",
        "-d",
        "--init",
        "--name",
        "writer",
        "-v",
        "vol:/data",
        "--volume-driver",
        driver,
        "busybox:local",
        "sh",
        "-c",
        "echo written >> /data/file; exec sleep 100000",
    ])?;
    wait_for(engine, "written")
}

fn wait_for(engine: &Engine, text: &str) -> Result<()> {
    until("the container to write", || {
        engine
            .try_docker(&["exec", "writer", "cat", "/data/file"])
            .is_ok_and(|said| said.out == text)
    })
}

/// Reads through a use of its own what the container wrote.
fn read_beside(engine: &Engine) -> Result<String> {
    let read = [
        "run",
        "--rm",
        "-v",
        "vol:/x",
        "busybox:local",
        "cat",
        "/x/file",
    ];
    engine.docker(&read)
}

pub(crate) fn volumes_of_a_relay_survive_restarts(version: Version) -> Result<()> {
    let Some(mut setup) = setup(version, "volumes_of_a_relay_survive_restarts", &[local()?])?
    else {
        return Ok(());
    };
    up(&setup.engine, &[])?;
    setup.engine.image()?;
    let name = "127.0.0.1:5081/files";
    let install = ["plugin", "install", "--grant-all-permissions", name];
    setup.engine.docker(&install)?;
    run_writer(&setup.engine, name)?;
    let place = shown(&setup.engine)?;
    assert!(!place.is_empty());

    setup.daemon.kill()?;
    setup.daemon = setup.engine.serve_within(&setup.site)?;
    assert_eq!(read_beside(&setup.engine)?, "written");
    setup.daemon.terminate()?;
    setup.daemon = setup.engine.serve_within(&setup.site)?;
    assert_eq!(read_beside(&setup.engine)?, "written");
    let engine = &setup.engine;
    // Still what the first container's mount made: the others joined it and left it.
    assert_eq!(shown(engine)?, place);
    let copy = format!("{}/copy", engine.shared().display());
    engine.docker(&["cp", "writer:/data/file", &copy])?;
    assert_eq!(shown(engine)?, place);

    engine.stop()?;
    up(engine, &["--live-restore"])?;
    engine.docker(&["start", "writer"])?;
    wait_for(engine, "written\nwritten")?;
    engine.stop()?;
    up(engine, &["--live-restore"])?;
    wait_for(engine, "written\nwritten")?;
    engine.docker(&["cp", "writer:/data/file", &copy])?;
    wait_for(engine, "written\nwritten")?;
    engine.kill()?;
    up(engine, &[])?;
    engine.docker(&["start", "writer"])?;
    wait_for(engine, "written\nwritten\nwritten")?;

    // No use of a time before may keep it, and nothing of any of them is left.
    engine.docker(&["rm", "-f", "writer"])?;
    engine.docker(&["volume", "rm", "vol"])?;
    assert_eq!(shown(engine)?, [""; 0]);
    let files = detail(&setup, "files")?;
    assert_eq!(files["holds"], serde_json::json!([]), "{files}");

    // Docker takes a plugin away although a container has a volume of it.
    run_writer(engine, name)?;
    engine.docker(&["plugin", "disable", "-f", name])?;
    engine.docker(&["exec", "writer", "cat", "/data/file"])?;
    until("what the relay showed to be taken away", || {
        let held = detail(&setup, "files").map(|detail| detail["holds"].clone());
        held.is_ok_and(|held| held == serde_json::json!([]))
    })?;
    engine.docker(&["plugin", "enable", name])?;
    assert_eq!(read_beside(engine)?, "written");
    engine.docker(&["rm", "-f", "writer"])?;
    engine.docker(&["volume", "rm", "vol"])?;
    engine.docker(&["plugin", "rm", "-f", name])?;
    assert_eq!(shown(engine)?, [""; 0]);
    down(setup)
}

pub(crate) fn the_replicas_of_a_service_reach_each_other(version: Version) -> Result<()> {
    let relay = "[relay]\nnames = [\"store/weaveworks/net-plugin\"]\n";
    let toml = format!("{}{}{relay}", effects::GRANTS, effects::MOUNTS);
    let weave = Plugin {
        name: "weave",
        file: "weave",
        component: files::fixture("machine-swarm")?,
        toml,
    };
    let test = "the_replicas_of_a_service_reach_each_other";
    // Links need this machine's tools, and nothing of the engine's mounts.
    let serving = Setup::serving(version, test, &[weave], |engine, site| {
        fs::write(&site.config, REGISTRY)?;
        engine.serve_inside(site)
    });
    let Some(setup) = serving? else {
        return Ok(());
    };
    let engine = &setup.engine;
    up(engine, &[])?;
    engine.image()?;
    let name = "store/weaveworks/net-plugin:2.5.2";
    engine.docker(&["plugin", "install", "--grant-all-permissions", name])?;
    engine.docker(&["swarm", "init", "--advertise-addr", "127.0.0.1"])?;
    let create = ["network", "create", "-d", name, "--subnet", "10.62.0.0/24"];
    engine.docker(&[&create[..], &["weavenet"]].concat())?;
    engine.docker(&[
        "service",
        "create",
        "--detach",
        "--no-resolve-image",
        "--name",
        "web",
        "--replicas",
        "3",
        "--network",
        "weavenet",
        "--endpoint-mode",
        "dnsrr",
        "busybox:local",
        "sleep",
        "100000",
    ])?;
    let running = || -> Result<Vec<String>> {
        let list = engine.docker(&[
            "ps",
            "-q",
            "--filter",
            "label=com.docker.swarm.service.name=web",
        ])?;
        Ok(list.lines().map(str::to_owned).collect())
    };
    until("three replicas to run", || {
        running().is_ok_and(|all| all.len() == 3)
    })?;
    let replicas = running()?;
    for from in &replicas {
        for to in &replicas {
            let address = engine.docker(&[
                "inspect",
                "-f",
                "{{.NetworkSettings.Networks.weavenet.IPAddress}}",
                to,
            ])?;
            ensure!(address.starts_with("10.62.0."), "{address}");
            let ping = ["exec", from, "ping", "-c", "1", "-w", "10", &address];
            engine
                .docker(&ping)
                .context("replicas do not reach each other")?;
        }
    }
    engine.docker(&["service", "rm", "web"])?;
    until("the replicas to be gone", || {
        let all = engine.docker(&["ps", "-aq"]);
        all.is_ok_and(|all| all.is_empty())
    })?;
    // Tasks that end hold on to their network for a while.
    until("the network to be free", || {
        engine
            .try_docker(&["network", "rm", "weavenet"])
            .is_ok_and(|said| said.success)
    })?;
    engine.docker(&["swarm", "leave", "--force"])?;
    until("the network's links to be gone", || {
        let held = detail(&setup, "weave").map(|detail| detail["holds"].clone());
        held.is_ok_and(|held| held == serde_json::json!([]))
    })?;
    engine.docker(&["plugin", "rm", "-f", name])?;
    down(setup)
}
