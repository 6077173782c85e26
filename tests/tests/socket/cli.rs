//! The command line, by what it prints and by its exit status.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result};
use dockside_tests::daemon::Site;
use dockside_tests::{files, skip};
use serde_json::{Value, json};

use crate::{ok, with_fixtures};

/// Exit status, standard output and standard error of one command.
fn run(site: &Site, verb: &str, arguments: &[&str]) -> Result<(Option<i32>, String, String)> {
    let output = site.command(verb)?.args(arguments).output()?;
    Ok((
        output.status.code(),
        String::from_utf8(output.stdout)?,
        String::from_utf8(output.stderr)?,
    ))
}

#[test]
fn every_verb_has_a_table_and_json() -> Result<()> {
    let (site, _daemon) = with_fixtures(&["counter-1", "echo"])?;
    ok(
        &mut site.caller("echo"),
        "VolumeDriver.Create",
        json!({ "Name": "vol" }),
    )?;
    for (verb, arguments, expected) in [
        ("ls", &[][..], "counter-1"),
        ("inspect", &["counter-1"], "VolumeDriver"),
        ("call", &["counter-1", "VolumeDriver.List", "{}"], "Volumes"),
        ("logs", &["echo"], "create vol"),
    ] {
        let (status, out, err) = run(&site, verb, arguments)?;
        assert_eq!(status, Some(0), "{verb}: {out}{err}");
        assert!(out.contains(expected), "{verb}: {out}");
        let mut with_json = arguments.to_vec();
        with_json.push("--json");
        let (status, out, err) = run(&site, verb, &with_json)?;
        assert_eq!(status, Some(0), "{verb} --json: {out}{err}");
        let parsed: Result<Vec<Value>, _> = serde_json::Deserializer::from_str(&out)
            .into_iter()
            .collect();
        assert!(
            parsed.is_ok_and(|values| !values.is_empty()),
            "{verb} --json: {out}"
        );
        assert!(out.contains(expected), "{verb} --json: {out}");
    }
    Ok(())
}

#[test]
fn a_file_can_be_inspected_without_a_daemon() -> Result<()> {
    let site = Site::new()?;
    for (driver, kind) in [
        ("local", "VolumeDriver"),
        ("pool", "IpamDriver"),
        ("null", "NetworkDriver"),
        ("rego", "authz"),
    ] {
        let file = files::driver(driver)?;
        let (status, out, err) = run(&site, "inspect", &[file.to_str().unwrap()])?;
        assert_eq!(status, Some(0), "{driver}: {err}");
        assert!(out.contains(kind), "{driver}: {out}");
    }
    Ok(())
}

#[test]
fn failures_have_their_exit_status_and_a_reason() -> Result<()> {
    let (site, mut daemon) = with_fixtures(&["counter-1"])?;
    let (status, _, err) = run(&site, "inspect", &["missing"])?;
    assert_eq!(status, Some(1));
    assert!(err.contains("missing"), "{err}");
    let (status, out, err) = run(
        &site,
        "call",
        &[
            "counter-1",
            "VolumeDriver.Mount",
            "{\"Name\": \"missing\", \"ID\": \"x\"}",
        ],
    )?;
    assert_eq!(status, Some(1));
    assert!(format!("{out}{err}").contains("missing"), "{out}{err}");
    let (status, ..) = run(&site, "call", &["counter-1"])?;
    assert_eq!(status, Some(2));
    let (status, ..) = run(&site, "ls", &["--no-such-flag"])?;
    assert_eq!(status, Some(2));
    daemon.terminate()?;
    let (status, _, err) = run(&site, "ls", &[])?;
    assert_eq!(status, Some(1));
    assert!(err.contains(site.control.to_str().unwrap()), "{err}");
    Ok(())
}

#[test]
fn check_config_finds_what_is_wrong_without_a_daemon() -> Result<()> {
    let site = Site::new()?;
    site.configure("counter", "[grants]\ndirectories = {}\n")?;
    site.drop_in(&files::fixture("counter-1")?, "counter")?;
    let drivers = site.drivers.to_str().unwrap();
    let (status, out, err) = run(&site, "check-config", &["--drivers", drivers])?;
    assert_eq!(status, Some(0), "{out}{err}");
    site.configure("counter", "[grants]\ndirectory = {}\n")?;
    let (status, out, err) = run(&site, "check-config", &["--drivers", drivers])?;
    assert!(
        status == Some(1) || status == Some(3),
        "{status:?} {out}{err}"
    );
    assert!(format!("{out}{err}").contains("directory"), "{out}{err}");
    Ok(())
}

#[test]
fn the_operators_file_of_each_driver_is_one_that_dockside_takes() -> Result<()> {
    let mut checked = 0;
    for folder in std::fs::read_dir(files::workspace().join("guests"))? {
        let folder = folder?.path();
        let name = folder.file_name().unwrap_or_default().to_string_lossy();
        let Ok(text) = std::fs::read_to_string(folder.join(format!("{name}.toml"))) else {
            continue;
        };
        let site = Site::new()?;
        site.drop_in(&files::driver(&name)?, &name)?;
        site.configure(&name, &text)?;
        let drivers = site.drivers.to_str().unwrap();
        let (_, out, err) = run(&site, "check-config", &["--json", "--drivers", drivers])?;
        let report: Value = serde_json::from_str(&out)?;
        // Certificates and secrets that the operator has yet to put there.
        let wrong: Vec<&Value> = report["problems"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|problem| !problem.to_string().contains("No such file or directory"))
            .collect();
        assert!(wrong.is_empty(), "{name}: {wrong:?} {err}");
        assert_eq!(report["files"][0]["driver"], *name, "{out}");
        checked += 1;
    }
    assert!(checked >= 6, "{checked} files");
    Ok(())
}

#[test]
fn what_a_guest_prints_is_attributed_and_cannot_pose_as_the_daemon() -> Result<()> {
    let (site, daemon) = with_fixtures(&["echo", "hostile"])?;
    ok(
        &mut site.caller("echo"),
        "VolumeDriver.Create",
        json!({ "Name": "vol" }),
    )?;
    let (_, out, _) = run(&site, "logs", &["echo", "--json"])?;
    for text in ["create vol", "create vol on stdout", "create vol on stderr"] {
        let line = out.lines().find(|line| line.contains(text));
        assert!(
            line.is_some_and(|line| line.contains("VolumeDriver.Create")),
            "{text}: {out}"
        );
    }
    for behaviour in [
        "panic-with-ansi",
        "log-with-ansi",
        "error-with-ansi",
        "trap",
    ] {
        let _ = site.caller("hostile").call(
            "VolumeDriver.Create",
            &json!({ "Name": format!("create:{behaviour}") }),
        )?;
    }
    let (_, out, _) = run(&site, "logs", &["hostile"])?;
    let log = std::fs::read_to_string(&site.log)?;
    for (what, text) in [("dockside logs", &out), ("the daemon's log", &log)] {
        assert!(
            !text.contains('\u{1b}') && !text.contains('\u{202e}') && !text.contains('\0'),
            "{what}: {text:?}"
        );
        assert!(
            !text.lines().any(|line| line.starts_with("2026-01-01")),
            "{what}: {text}"
        );
    }
    // The trap's backtrace names the guest's functions.
    assert!(out.contains("create"), "{out}");
    drop(daemon);
    Ok(())
}

#[test]
fn the_units_of_systemd_are_what_it_takes() -> Result<()> {
    let examples = files::workspace().join("examples/systemd");
    let scratch = tempfile::tempdir()?;
    for entry in fs::read_dir(&examples)? {
        let path = entry?.path();
        let text = fs::read_to_string(&path)?;
        let name = path.file_name().context("no name")?;
        // Both the program and what it needs would have to be installed.
        let text = text.replace(
            "/usr/local/bin/dockside",
            files::daemon()?.to_str().context("not UTF-8")?,
        );
        fs::write(scratch.path().join(name), text)?;
    }
    if !dockside_tests::world::is_installed("systemd-analyze") {
        skip::skipped("the_units_of_systemd_are_what_it_takes", "install systemd");
        return Ok(());
    }
    for unit in ["dockside.service", "mobyfs.service"] {
        let output = Command::new("systemd-analyze")
            .arg("verify")
            .arg(scratch.path().join(unit))
            .output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success() && !said.contains(unit),
            "{unit}: {said}"
        );
    }
    Ok(())
}

#[test]
fn the_environment_file_of_mobyfs_holds_what_the_daemon_reads() -> Result<()> {
    let file = files::workspace().join("examples/systemd/mobyfs.env");
    let text = fs::read_to_string(file)?;
    let site = Site::new()?;
    let mut command = Command::new(files::daemon()?);
    command.args(["check-config", "--json"]).env_clear();
    let mut given = Vec::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (name, value) = line.split_once('=').context("no assignment")?;
        // Below the site, because nothing of the machine's own may be looked at.
        let value = match value.strip_prefix('/') {
            Some(below) => site.data.join(below).display().to_string(),
            None => value.to_owned(),
        };
        command.env(name, &value);
        given.push(value);
    }
    fs::create_dir_all(&given[0])?;
    let output = command.output()?;
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{output:?}");
    for value in &given[..5] {
        assert!(said.contains(value), "{value}: {said}");
    }
    Ok(())
}
