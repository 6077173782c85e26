//! The driver `sshfs` with a real SSH server: what users of vieux/docker-volume-sshfs do, and what they lost data by.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use dockside_tests::daemon::until;
use dockside_tests::engine::{Engine, Version};
use dockside_tests::files;
use rustix::process::Signal;

use crate::effects::{detail, down, in_container, nothing_is_left};
use crate::helpers::{helpers, signal_helper};
use crate::ssh::{PASSWORD, PORT, Server, is_missing};
use crate::{Plugin, Setup, inspect};

/// The name that its users know.
const PLUGIN: &str = "vieux/sshfs";

/// The operator's file that comes with the driver, with the secrets of this server.
fn settings(server: &Server) -> Result<String> {
    let shipped = fs::read_to_string(files::workspace().join("guests/sshfs/sshfs.toml"))?;
    let base = &server.base;
    let mut text = shipped
        .replace("use = []", "use = [\"key\"]")
        .replace("probe-every = \"10s\"", "probe-every = \"1s\"");
    ensure!(text != shipped, "the file has changed");
    text = text.replace(
        "[grants.mounts]",
        &format!("\"mounts.sshkey\" = \"{base}\"\n\n[grants.mounts]"),
    );
    Ok(format!(
        "{text}\n[secrets]\nkey = {{ file = \"{base}/key\" }}\n"
    ))
}

/// A running engine with an SSH server on its network and the driver.
fn setup(version: Version, test: &str) -> Result<Option<(Setup, Server)>> {
    if is_missing(test) {
        return Ok(None);
    }
    let plugin = Plugin {
        name: PLUGIN,
        file: "sshfs",
        component: files::driver("sshfs")?,
        toml: String::new(),
    };
    let mut server = None;
    let setup = Setup::serving(version, test, &[plugin], |engine, site| {
        let made = Server::new(engine, &engine.shared().join("server"))?;
        site.configure("sshfs", &settings(&made)?)?;
        server = Some(made);
        engine.serve_inside(site)
    })?;
    let Some((setup, server)) = setup.zip(server) else {
        return Ok(None);
    };
    setup.engine.up(&[])?;
    setup.engine.image()?;
    Ok(Some((setup, server)))
}

fn volume(engine: &Engine, name: &str, remote: &str, options: &[(&str, &str)]) -> Result<()> {
    let mut all = vec![("sshcmd", remote), ("port", PORT)];
    all.extend(options);
    engine.docker(&arguments(name, &all)).map(drop)
}

/// The same, which must fail: what Docker's user reads.
fn refused(engine: &Engine, name: &str, remote: &str, options: &[(&str, &str)]) -> Result<String> {
    let mut all = vec![("sshcmd", remote), ("port", PORT)];
    all.extend(options);
    engine.docker_fails(&arguments(name, &all))
}

fn arguments<'a>(name: &'a str, options: &'a [(&str, &str)]) -> Vec<&'a str> {
    // Leaked: a few short texts of a test.
    let mut all = vec!["volume", "create", "-d", PLUGIN];
    for (option, value) in options {
        let text = match *value {
            "" => (*option).to_owned(),
            value => format!("{option}={value}"),
        };
        all.extend(["-o", Box::leak(text.into_boxed_str())]);
    }
    all.push(name);
    all
}

/// What a container that cannot start on a volume says.
fn run_fails(engine: &Engine, volume: &str) -> Result<String> {
    let volume = format!("{volume}:/data");
    engine.docker_fails(&["run", "--rm", "-v", &volume, "busybox:local", "ls", "/data"])
}

/// A container that goes on, with the volume at /data.
fn container(engine: &Engine, name: &str, volume: &str) -> Result<()> {
    let volume = format!("{volume}:/data");
    let arguments = [
        "run",
        "-d",
        "--init",
        "--name",
        name,
        "-v",
        &volume,
        "busybox:local",
        "sleep",
        "100000",
    ];
    engine.docker(&arguments).map(drop)
}

fn state(engine: &Engine, volume: &str) -> Result<String> {
    let seen = inspect(engine, "volume", volume)?;
    Ok(seen["Status"]["state"]
        .as_str()
        .unwrap_or_default()
        .to_owned())
}

/// Files below a directory that hold a text.
fn files_with(directory: &Path, text: &str) -> Result<Vec<String>> {
    let found = Command::new("grep")
        .args(["-rlFa", "--devices=skip", "-e", text])
        .arg(directory)
        .output()?;
    let list = String::from_utf8_lossy(&found.stdout).into_owned();
    Ok(list.lines().map(str::to_owned).collect())
}

pub(crate) fn volumes_keep_their_files_and_the_server_its_own(version: Version) -> Result<()> {
    let test = "volumes_keep_their_files_and_the_server_its_own";
    let Some((setup, mut server)) = setup(version, test)? else {
        return Ok(());
    };
    let engine = &setup.engine;
    let remote = server.remote();
    let hostkey = fs::read_to_string(format!("{}/host.pub", server.base))?;
    let hostkey = hostkey.trim();
    // One by password, which trusts the first key that it sees; one by a key that the operator has, for a server that is known.
    let trusting = [
        ("password", PASSWORD),
        ("StrictHostKeyChecking", "accept-new"),
        ("allow_other", ""),
    ];
    volume(engine, "one", &remote, &trusting)?;
    let keyed = [("IdentityFile", "/root/.ssh/key"), ("hostkey", hostkey)];
    volume(engine, "two", &remote, &keyed)?;
    in_container(engine, "one", "echo kept > /data/file")
        .with_context(|| format!("the SSH server says\n{}", server.log()))?;
    assert_eq!(in_container(engine, "two", "cat /data/file")?, "kept");
    let nobody = [
        "run",
        "--rm",
        "-u",
        "65534",
        "-v",
        "one:/data",
        "busybox:local",
        "cat",
        "/data/file",
    ];
    assert_eq!(engine.docker(&nobody)?, "kept");
    let file = format!("{}/remote/file", server.base);
    let is_kept = || fs::read_to_string(&file).is_ok_and(|text| text == "kept\n");
    ensure!(is_kept());

    // The password is nowhere but in the file that keeps it.
    container(engine, "user", "one")?;
    let kept = files_with(&setup.site.data, PASSWORD)?;
    ensure!(
        kept.len() == 1 && kept[0].contains("/secrets/"),
        "the password is in {kept:?}"
    );
    let log = fs::read_to_string(&setup.site.log)?;
    let seen = inspect(engine, "volume", "one")?["Status"].to_string();
    let shown = detail(&setup)?.to_string();
    for (what, text) in [
        ("log", &log),
        ("status", &seen),
        ("dockside inspect", &shown),
    ] {
        ensure!(
            !text.contains(PASSWORD),
            "the password is in the {what}: {text}"
        );
    }
    let helper = helpers(&setup)?;
    ensure!(helper.len() == 1, "sshfs runs as {helper:?}");
    for place in ["cmdline", "environ"] {
        let text = fs::read(format!("/proc/{}/{place}", helper[0]))?;
        ensure!(
            !String::from_utf8_lossy(&text).contains(PASSWORD),
            "{place}"
        );
    }
    ensure!(
        seen.contains("127.0.0.1:2222") && seen.contains("\"mounted\""),
        "{seen}"
    );

    // What vieux/sshfs lost data by: the unused volume of two with one place is removed, one in use, and one whose server is gone.
    engine.docker(&["volume", "rm", "two"])?;
    ensure!(is_kept());
    assert_eq!(
        engine.docker(&["exec", "user", "cat", "/data/file"])?,
        "kept"
    );
    let said = engine.docker_fails(&["volume", "rm", "-f", "one"])?;
    ensure!(said.contains("in use"), "{said}");
    volume(engine, "three", &remote, &trusting)?;
    engine.docker(&["rm", "-f", "user"])?;
    in_container(engine, "three", "cat /data/file")?;
    container(engine, "user", "three")?;
    server.stop()?;
    engine.docker(&["rm", "-f", "user"])?;
    for name in ["one", "three"] {
        engine.docker(&["volume", "rm", name])?;
    }
    ensure!(is_kept());
    nothing_is_left(&setup)?;
    down(setup)
}

pub(crate) fn what_is_wrong_is_said_at_once(version: Version) -> Result<()> {
    let test = "what_is_wrong_is_said_at_once";
    let Some((setup, mut server)) = setup(version, test)? else {
        return Ok(());
    };
    let engine = &setup.engine;
    let remote = server.remote();
    let good = [
        ("password", PASSWORD),
        ("StrictHostKeyChecking", "accept-new"),
    ];
    let (trust, bad_key) = (
        good[1],
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJcuVp6FMxyJzMFZOYFE0XGYzTdmSXdOTsvTmsEEYWaM",
    );

    // When the volume is made.
    for (options, words) in [
        (vec![("password", PASSWORD)], ["is not known", "accept-new"]),
        (
            vec![good[0], trust, ("alow_other", "")],
            ["alow_other", "did you mean `allow_other`"],
        ),
        (
            vec![good[0], trust, ("ssh_command", "sh")],
            ["unknown option", "ssh_command"],
        ),
        (
            vec![("IdentityFile", "/root/.ssh/id_rsa"), trust],
            ["id_rsa = { file = ", "[secrets] in sshfs.toml"],
        ),
        (
            vec![("password", "@other"), trust],
            ["add \"other\" to use", "[grants.secrets]"],
        ),
    ] {
        let said = refused(engine, "bad", &remote, &options)?;
        for word in words {
            ensure!(said.contains(word), "{options:?}: {said}");
        }
        ensure!(!said.contains(PASSWORD), "{said}");
    }
    // When it is mounted.
    let missing = format!("{remote}/missing");
    let elsewhere = remote.replace("127.0.0.1", "127.0.0.9");
    for (number, (place, options, words)) in [
        (
            &remote,
            vec![("password", "wrong"), trust],
            "Permission denied",
        ),
        (
            &remote,
            vec![good[0], ("hostkey", bad_key)],
            "Host key verification failed",
        ),
        (&missing, good.to_vec(), "No such file or directory"),
        (&elsewhere, good.to_vec(), "Connection refused"),
    ]
    .into_iter()
    .enumerate()
    {
        let name = format!("v{number}");
        volume(engine, &name, place, &options)?;
        let said = run_fails(engine, &name)?;
        ensure!(said.contains(words), "{options:?}: {said}");
        ensure!(!said.contains(PASSWORD), "{said}");
        engine.docker(&["volume", "rm", &name])?;
    }

    // A key that was taken for good is not forgotten, whatever answers at the server's address later.
    volume(engine, "before", &remote, &good)?;
    in_container(engine, "before", "true")?;
    server.stop()?;
    for name in ["host", "host.pub"] {
        fs::remove_file(format!("{}/{name}", server.base))?;
    }
    let made = Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "", "-f"])
        .arg(format!("{}/host", server.base))
        .status()?;
    ensure!(made.success());
    server.process = Server::start(engine, &server.base)?;
    volume(engine, "after", &remote, &good)?;
    let said = run_fails(engine, "after")?;
    ensure!(
        said.contains("has changed") && said.contains("ssh-keygen -f "),
        "{said}"
    );
    let command = said.split("run: ").nth(1).context("no command")?;
    let command = command
        .lines()
        .next()
        .unwrap_or_default()
        .trim_end_matches('.');
    let forgotten = Command::new("sh").args(["-c", command]).output()?;
    ensure!(forgotten.status.success(), "{command}: {forgotten:?}");
    in_container(engine, "after", "true")?;
    for name in ["before", "after"] {
        engine.docker(&["volume", "rm", name])?;
    }
    nothing_is_left(&setup)?;
    down(setup)
}

pub(crate) fn dead_mounts_work_again(version: Version) -> Result<()> {
    let test = "dead_mounts_work_again";
    let Some((setup, mut server)) = setup(version, test)? else {
        return Ok(());
    };
    let engine = &setup.engine;
    let options = [
        ("password", PASSWORD),
        ("StrictHostKeyChecking", "accept-new"),
    ];
    volume(engine, "vol", &server.remote(), &options)?;
    in_container(engine, "vol", "echo written > /data/file")?;
    container(engine, "old", "vol")?;
    let reads = |container: &str| {
        engine
            .docker(&["exec", container, "cat", "/data/file"])
            .is_ok_and(|text| text == "written")
    };
    ensure!(reads("old"));

    // Nothing that is mounted later can reach a container that has a volume by name.
    let said = engine.docker_fails(&[
        "run",
        "--rm",
        "-v",
        "vol:/data:rslave",
        "busybox:local",
        "true",
    ])?;
    ensure!(said.contains("BindOptions"), "{said}");

    // The server goes and comes back: the very container that runs has its volume again.
    let before = helpers(&setup)?;
    server.stop()?;
    until("the volume to be degraded", || {
        state(engine, "vol").is_ok_and(|state| state == "mounted, and does not answer")
    })
    .with_context(|| format!("{:?}", state(engine, "vol")))?;
    let said = run_fails(engine, "vol")?;
    ensure!(
        said.contains("127.0.0.1 does not answer on port 2222"),
        "{said}"
    );
    server.process = Server::start(engine, &server.base)?;
    until("the container to have its volume again", || reads("old"))
        .with_context(|| setup.daemon.log_end())?;
    assert_eq!(helpers(&setup)?, before);
    until("the volume to be mounted", || {
        state(engine, "vol").is_ok_and(|state| state == "mounted")
    })?;

    // sshfs is killed, or stopped: the next container has the volume, and the old one when it is started again.
    for signal in [Signal::KILL, Signal::STOP] {
        signal_helper(&setup, signal)?;
        assert_eq!(
            in_container(engine, "vol", "cat /data/file")
                .with_context(|| setup.daemon.log_end())?,
            "written"
        );
        // The old mount went with its process.
        ensure!(!reads("old"));
        engine.docker(&["restart", "-t", "0", "old"])?;
        ensure!(reads("old"), "{}", setup.daemon.log_end());
    }
    engine.docker(&["rm", "-f", "old"])?;
    engine.docker(&["volume", "rm", "vol"])?;
    assert_eq!(
        fs::read_to_string(format!("{}/remote/file", server.base))?,
        "written\n"
    );
    nothing_is_left(&setup)?;
    down(setup)
}
