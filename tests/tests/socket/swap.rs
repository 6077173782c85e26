//! The drop-in directory: newer versions, broken ones, and files that are none.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::Command;

use anyhow::{Context, Result};
use dockside_tests::daemon::{Site, until};
use dockside_tests::files;
use serde_json::{Value, json};

use crate::{DIRECTORIES, listed, mentions, ok, refused, status, with_fixtures};

/// Whether the daemon's list of unused files names this one; what it says about it.
fn problem(site: &Site, file: &str) -> Result<Option<String>> {
    let status = site.ask("/v1/status")?;
    let problems = status["problems"].as_array().cloned().unwrap_or_default();
    Ok(problems
        .iter()
        .find(|problem| problem["file"] == file)
        .map(|problem| problem["reason"].as_str().unwrap_or_default().to_owned()))
}

fn wait_problem(site: &Site, file: &str) -> Result<String> {
    until(&format!("{file} to be refused"), || {
        problem(site, file).is_ok_and(|found| found.is_some())
    })
    .with_context(|| site.log_end())?;
    problem(site, file)?.context("it is gone again")
}

/// A status value that is a number, or one as text.
fn number(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| value.as_str()?.parse().ok())
}

fn wait_version(site: &Site, plugin: &str, version: u64) -> Result<()> {
    let mut caller = site.caller(plugin);
    until(&format!("version {version} of {plugin}"), || {
        status(&mut caller, "vol", "version").is_ok_and(|seen| number(&seen) == Some(version))
    })
    .with_context(|| site.log_end())
}

/// A daemon whose plugin `counter` serves version 1 and has a volume.
fn serving_version_1() -> Result<(Site, dockside_tests::daemon::Daemon)> {
    let site = Site::new()?;
    site.configure("counter", DIRECTORIES)?;
    site.drop_in(&files::fixture("counter-1")?, "counter")?;
    let daemon = site.serve()?;
    daemon.wait_plugin("counter")?;
    ok(
        &mut site.caller("counter"),
        "VolumeDriver.Create",
        json!({ "Name": "vol" }),
    )?;
    Ok((site, daemon))
}

#[test]
fn a_newer_file_serves_the_next_call_with_the_old_state() -> Result<()> {
    let (site, _daemon) = serving_version_1()?;
    site.drop_in(&files::fixture("counter-2")?, "counter")?;
    wait_version(&site, "counter", 2)?;
    let made_by = status(&mut site.caller("counter"), "vol", "created-by")?;
    assert_eq!(number(&made_by), Some(1));
    Ok(())
}

#[test]
fn the_highest_version_serves_and_removing_it_goes_back() -> Result<()> {
    let (site, _daemon) = serving_version_1()?;
    site.drop_in(&files::fixture("counter-2")?, "counter@1.10.0")?;
    wait_version(&site, "counter", 2)?;
    // 1.9.0 is below 1.10.0, though not as text.
    site.drop_in(&files::fixture("counter-1")?, "counter@1.9.0")?;
    site.drop_in(&files::fixture("counter-2")?, "counter@1.11.0-rc.1")?;
    site.remove("counter@1.10.0.wasm")?;
    site.remove("counter@1.11.0-rc.1.wasm")?;
    wait_version(&site, "counter", 1)?;
    Ok(())
}

#[test]
fn a_version_that_traps_is_taken_back_and_its_calls_are_answered() -> Result<()> {
    let (site, _daemon) = serving_version_1()?;
    let mut caller = site.caller("counter");
    site.drop_in(&files::fixture("counter-broken")?, "counter")?;
    until("the broken version to be taken back", || {
        // No call fails on the way.
        let answer = status(&mut caller, "vol", "version").unwrap();
        assert_eq!(number(&answer), Some(1));
        site.counter("counter", "reverted")
            .is_ok_and(|count| count == 1)
    })?;
    assert!(site.counter("counter", "rescued")? >= 1);
    let detail = site.ask("/v1/plugin?name=counter")?;
    assert!(
        !detail["rejected"].as_array().unwrap().is_empty(),
        "{detail}"
    );
    // It is not tried again, and the next good one is.
    site.drop_in(&files::fixture("counter-2")?, "counter")?;
    wait_version(&site, "counter", 2)
}

#[test]
fn a_version_that_was_taken_back_stays_so_after_a_restart_as_long_as_there_is_another() -> Result<()>
{
    let (site, mut daemon) = serving_version_1()?;
    site.drop_in(&files::fixture("counter-broken")?, "counter@3.0.0")?;
    let mut caller = site.caller("counter");
    until("the broken version to be taken back", || {
        let answer = status(&mut caller, "vol", "version").unwrap();
        assert_eq!(number(&answer), Some(1));
        site.counter("counter", "reverted")
            .is_ok_and(|count| count == 1)
    })?;
    daemon.kill()?;

    daemon = site.serve()?;
    daemon.wait_plugin("counter")?;
    let reason = wait_problem(&site, "counter@3.0.0.wasm")?;
    assert!(reason.contains("taken back"), "{reason}");
    wait_version(&site, "counter", 1)?;
    assert_eq!(site.counter("counter", "reverted")?, 0);
    daemon.kill()?;

    // With nothing else left it is better than nothing.
    site.remove("counter.wasm")?;
    daemon = site.serve()?;
    daemon.wait_plugin("counter")?;
    let listed = site.ask("/v1/plugin?name=counter")?;
    assert_eq!(listed["state"], "serving", "{listed}");
    Ok(())
}

#[test]
fn files_that_are_no_driver_are_refused_with_a_reason_and_change_nothing() -> Result<()> {
    let (site, _daemon) = serving_version_1()?;
    let good = fs::read(files::fixture("counter-2")?)?;
    type Make = fn(&Site, &[u8]) -> Result<()>;
    let table: &[(&str, Make)] = &[
        ("counter@2.0.1.wasm", |site, _| {
            Ok(fs::write(
                site.drivers.join("counter@2.0.1.wasm"),
                "not wasm",
            )?)
        }),
        ("counter@2.0.2.wasm", |site, good| {
            Ok(fs::write(
                site.drivers.join("counter@2.0.2.wasm"),
                &good[..good.len() / 2],
            )?)
        }),
        ("counter@2.0.3.wasm", |site, _| {
            Ok(fs::write(site.drivers.join("counter@2.0.3.wasm"), "")?)
        }),
        ("counter@2.0.4.wasm", |site, _| {
            // A core module, not a component.
            Ok(fs::write(
                site.drivers.join("counter@2.0.4.wasm"),
                b"\0asm\x01\0\0\0",
            )?)
        }),
        ("counter@2.0.5.wasm", |site, _| {
            Ok(symlink(
                files::fixture("counter-2")?,
                site.drivers.join("counter@2.0.5.wasm"),
            )?)
        }),
        ("counter@2.0.6.wasm", |site, _| {
            assert!(
                Command::new("mkfifo")
                    .arg(site.drivers.join("counter@2.0.6.wasm"))
                    .status()?
                    .success()
            );
            Ok(())
        }),
        ("counter@2.0.7.wasm", |site, _| {
            Ok(fs::create_dir(site.drivers.join("counter@2.0.7.wasm"))?)
        }),
        ("counter@2.0.8.cwasm", |site, _| {
            Ok(fs::write(site.drivers.join("counter@2.0.8.cwasm"), "code")?)
        }),
        ("counter@two.wasm", |site, good| {
            Ok(fs::write(site.drivers.join("counter@two.wasm"), good)?)
        }),
        ("counter@2.0.9.wasm", |site, good| {
            let path = site.drivers.join("counter@2.0.9.wasm");
            fs::write(&path, good)?;
            Ok(fs::set_permissions(
                &path,
                fs::Permissions::from_mode(0o666),
            )?)
        }),
    ];
    let mut caller = site.caller("counter");
    for (file, make) in table {
        make(&site, &good)?;
        let reason = wait_problem(&site, file)?;
        assert!(reason.len() > 10, "{file}: {reason:?}");
        let version = status(&mut caller, "vol", "version")?;
        assert_eq!(number(&version), Some(1), "{file}");
    }
    Ok(())
}

#[test]
fn a_driver_of_somebody_else_is_refused() -> Result<()> {
    if !rustix::process::geteuid().is_root() {
        dockside_tests::skip::skipped(
            "a_driver_of_somebody_else_is_refused",
            "giving a file away needs root",
        );
        return Ok(());
    }
    let (site, _daemon) = serving_version_1()?;
    let path = site.drivers.join(".gift");
    fs::copy(files::fixture("counter-2")?, &path)?;
    std::os::unix::fs::chown(&path, Some(65534), None)?;
    fs::rename(&path, site.drivers.join("counter@2.0.0.wasm"))?;
    let reason = wait_problem(&site, "counter@2.0.0.wasm")?;
    assert!(
        reason.contains("65534") || reason.contains("owner") || reason.contains("belongs"),
        "{reason}"
    );
    Ok(())
}

#[test]
fn what_docker_remembers_cannot_be_changed_by_a_swap() -> Result<()> {
    let (site, _daemon) = serving_version_1()?;
    // `shape` has another scope, the other one another kind.
    for other in [files::fixture("shape")?, files::driver("pool")?] {
        site.drop_in(&other, "counter@9.0.0")?;
        let mut caller = site.caller("counter");
        until("the refusal to be noted", || {
            site.ask("/v1/status")
                .is_ok_and(|status| mentions(&status, "restart") || mentions(&status, "forget"))
        })?;
        assert_eq!(
            caller
                .call("VolumeDriver.Capabilities", &json!({}))?
                .at("/Capabilities/Scope"),
            "local"
        );
        let version = status(&mut caller, "vol", "version")?;
        assert_eq!(number(&version), Some(1));
        site.remove("counter@9.0.0.wasm")?;
        until("the note to go", || {
            site.ask("/v1/status")
                .is_ok_and(|status| !mentions(&status, "forget"))
        })?;
    }
    Ok(())
}

#[test]
fn a_driver_that_cannot_say_what_it_is_is_not_installed() -> Result<()> {
    let site = Site::new()?;
    site.drop_in(&files::fixture("trap-probe")?, "probe")?;
    let _daemon = site.serve()?;
    until("the driver to be reported", || {
        site.ask("/v1/status")
            .is_ok_and(|status| mentions(&status, "probe"))
    })?;
    let status = site.ask("/v1/status")?;
    assert!(
        mentions(&status, "trap") || mentions(&status, "crash"),
        "{status}"
    );
    Ok(())
}

#[test]
fn a_migration_happens_wholly_or_not_at_all() -> Result<()> {
    for (next, works) in [
        ("migrator-2", true),
        ("migrator-2-traps", false),
        ("migrator-2-refuses", false),
        ("migrator-2-broken", false),
    ] {
        let site = Site::new()?;
        site.configure("migrator", DIRECTORIES)?;
        site.drop_in(&files::fixture("migrator-1")?, "migrator@1.0.0")?;
        let daemon = site.serve()?;
        daemon.wait_plugin("migrator")?;
        let mut caller = site.caller("migrator");
        for name in ["one", "two", "three"] {
            ok(&mut caller, "VolumeDriver.Create", json!({ "Name": name }))?;
        }
        site.drop_in(&files::fixture(next)?, "migrator@2.0.0")?;
        let version = |site: &Site| -> Result<String> {
            let seen = status(&mut site.caller("migrator"), "two", "version")?;
            Ok(seen
                .as_str()
                .map_or_else(|| seen.to_string(), str::to_owned))
        };
        if works {
            until("version 2 to serve", || {
                version(&site).is_ok_and(|seen| seen == "2")
            })?;
            assert_eq!(
                status(&mut caller, "two", "migrated-from")?,
                "1.0.0",
                "{next}"
            );
        } else {
            until(&format!("{next} to be refused or taken back"), || {
                // A volume is there at every moment.
                assert_eq!(version(&site).unwrap(), "1", "{next}");
                site.ask("/v1/plugin?name=migrator").is_ok_and(|detail| {
                    detail["note"].is_string() || detail["rejected"] != json!([])
                })
            })?;
        }
        assert_eq!(
            number(&status(&mut caller, "one", "number")?),
            Some(1),
            "{next}"
        );
        let mut names = listed(&mut caller)?;
        names.sort();
        assert_eq!(names, ["one", "three", "two"], "{next}");
        ok(
            &mut caller,
            "VolumeDriver.Create",
            json!({ "Name": "four" }),
        )?;
    }
    Ok(())
}

#[test]
fn a_removed_plugin_says_so_until_it_is_forgotten() -> Result<()> {
    let (site, mut daemon) = serving_version_1()?;
    site.remove("counter.wasm")?;
    let mut caller = site.caller("counter");
    until("the plugin to say that it was removed", || {
        caller
            .call("VolumeDriver.Create", &json!({ "Name": "new" }))
            .is_ok_and(|answer| answer.err().contains("removed"))
    })?;
    // Docker must not forget the volume meanwhile.
    assert_eq!(
        ok(&mut caller, "VolumeDriver.Get", json!({ "Name": "vol" }))?.at("/Volume/Name"),
        "vol"
    );
    // Also over a restart.
    daemon.terminate()?;
    let daemon = site.serve()?;
    let text = refused(
        &mut site.caller("counter"),
        "VolumeDriver.Create",
        json!({ "Name": "new" }),
    )?;
    assert!(
        text.contains("counter") && text.contains("removed"),
        "{text}"
    );
    let forgotten = site.command("forget")?.arg("counter").output()?;
    assert!(forgotten.status.success(), "{forgotten:?}");
    until("the socket to go", || !site.socket("counter").exists())?;
    drop(daemon);
    Ok(())
}

#[test]
fn a_driver_that_comes_back_has_its_state() -> Result<()> {
    let (site, _daemon) = serving_version_1()?;
    site.remove("counter.wasm")?;
    let mut caller = site.caller("counter");
    until("the plugin to be gone", || {
        caller
            .call("VolumeDriver.Create", &json!({ "Name": "vol" }))
            .is_ok_and(|answer| !answer.is_success())
    })?;
    site.drop_in(&files::fixture("counter-2")?, "counter")?;
    wait_version(&site, "counter", 2)
}

#[test]
fn a_file_that_is_written_slowly_is_loaded_once_it_is_whole() -> Result<()> {
    use std::io::Write as _;
    let (site, _daemon) = serving_version_1()?;
    let bytes = fs::read(files::fixture("counter-2")?)?;
    let mut file = fs::File::create(site.drivers.join("counter@2.0.0.wasm"))?;
    let mut caller = site.caller("counter");
    for piece in bytes.chunks(bytes.len() / 20) {
        file.write_all(piece)?;
        file.sync_all()?;
        status(&mut caller, "vol", "version")?;
    }
    drop(file);
    wait_version(&site, "counter", 2)?;
    assert_eq!(site.counter("counter", "swaps")?, 2);
    Ok(())
}

#[test]
fn a_driver_whose_start_traps_serves_all_the_same() -> Result<()> {
    let (site, _daemon) = with_fixtures(&["trap-start"])?;
    let state = site.ask("/v1/plugin?name=trap-start")?["state"].clone();
    assert!(state == "serving" || state == "trial", "{state}");
    Ok(())
}

#[test]
fn a_version_that_was_dropped_in_while_the_daemon_was_down_migrates() -> Result<()> {
    let site = Site::new()?;
    site.configure("migrator", DIRECTORIES)?;
    site.drop_in(&files::fixture("migrator-1")?, "migrator@1.0.0")?;
    let mut daemon = site.serve()?;
    daemon.wait_plugin("migrator")?;
    let mut caller = site.caller("migrator");
    ok(&mut caller, "VolumeDriver.Create", json!({ "Name": "one" }))?;
    daemon.terminate()?;
    site.drop_in(&files::fixture("migrator-2")?, "migrator@2.0.0")?;
    let daemon = site.serve()?;
    daemon.wait_plugin("migrator")?;
    let mut caller = site.caller("migrator");
    assert_eq!(status(&mut caller, "one", "migrated-from")?, "1.0.0");
    Ok(())
}

#[test]
fn a_chain_of_broken_versions_ends_at_the_one_that_works() -> Result<()> {
    let (site, _daemon) = serving_version_1()?;
    let broken = fs::read(files::fixture("counter-broken")?)?;
    for version in 2..=3_u8 {
        // An empty custom section makes another component of it.
        let other = site
            .socket("x")
            .with_file_name(format!("../broken-{version}.wasm"));
        let mut bytes = broken.clone();
        bytes.extend([0, 2, 1, b'0' + version]);
        fs::write(&other, bytes)?;
        site.drop_in(&other, &format!("counter@{version}.0.0"))?;
        until(&format!("version {version} to serve"), || {
            site.ask("/v1/plugin?name=counter")
                .is_ok_and(|detail| detail["version"] == format!("{version}.0.0"))
        })?;
    }
    let seen = status(&mut site.caller("counter"), "vol", "version")?;
    assert_eq!(number(&seen), Some(1));
    assert_eq!(site.counter("counter", "rescued")?, 2);
    Ok(())
}

#[test]
fn a_trap_never_takes_new_settings_back() -> Result<()> {
    let site = Site::new()?;
    site.configure("hostile", DIRECTORIES)?;
    site.drop_in(&files::fixture("hostile")?, "hostile")?;
    let daemon = site.serve()?;
    daemon.wait_plugin("hostile")?;
    site.configure(
        "hostile",
        &format!("{DIRECTORIES}\n[config]\ntightened = \"yes\"\n"),
    )?;
    let tightened = || -> bool {
        site.ask("/v1/plugin?name=hostile")
            .is_ok_and(|detail| detail["config"] == json!(["tightened"]))
    };
    until("the new settings to be used", tightened)?;
    refused(
        &mut site.caller("hostile"),
        "VolumeDriver.Create",
        json!({ "Name": "trap" }),
    )?;
    assert!(tightened());
    Ok(())
}
