//! Volumes by the driver `local` and by fixtures.

use std::fs;
use std::path::Path;
use std::thread;

use anyhow::Result;
use dockside_tests::daemon::until;
use serde_json::json;

use crate::{DIRECTORIES, listed, ok, refused, with_driver, with_fixtures};

#[test]
fn creating_and_removing_again_changes_nothing() -> Result<()> {
    let (site, _daemon) = with_driver("local", DIRECTORIES)?;
    let mut caller = site.caller("local");
    for _ in 0..2 {
        ok(
            &mut caller,
            "VolumeDriver.Create",
            json!({ "Name": "vol", "Opts": null }),
        )?;
    }
    let mountpoint = ok(
        &mut caller,
        "VolumeDriver.Mount",
        json!({ "Name": "vol", "ID": "one" }),
    )?
    .at("/Mountpoint");
    let mountpoint = Path::new(mountpoint.as_str().unwrap()).to_path_buf();
    fs::write(mountpoint.join("file"), "kept")?;
    ok(
        &mut caller,
        "VolumeDriver.Create",
        json!({ "Name": "vol", "Opts": null }),
    )?;
    assert_eq!(fs::read_to_string(mountpoint.join("file"))?, "kept");
    ok(
        &mut caller,
        "VolumeDriver.Unmount",
        json!({ "Name": "vol", "ID": "one" }),
    )?;
    // Surplus and unknown unmounts happen after a crash of the engine.
    ok(
        &mut caller,
        "VolumeDriver.Unmount",
        json!({ "Name": "vol", "ID": "one" }),
    )?;
    for _ in 0..2 {
        ok(&mut caller, "VolumeDriver.Remove", json!({ "Name": "vol" }))?;
    }
    // What was in it is deleted behind the answer.
    until("the directory to go", || !mountpoint.exists())?;
    refused(
        &mut caller,
        "VolumeDriver.Mount",
        json!({ "Name": "vol", "ID": "two" }),
    )?;
    Ok(())
}

#[test]
fn a_mountpoint_is_an_absolute_directory_below_the_data_directory() -> Result<()> {
    let (site, _daemon) = with_driver("local", DIRECTORIES)?;
    let mut caller = site.caller("local");
    let data = site.data.canonicalize()?;
    for name in [
        "plain",
        "../../../etc",
        "a b/ü€",
        "a/b",
        ".",
        "..",
        "-rf",
        "new\nline",
        "nul\u{0}l",
        "quote\"'",
        &"long".repeat(1250),
    ] {
        ok(
            &mut caller,
            "VolumeDriver.Create",
            json!({ "Name": name, "Opts": null }),
        )?;
        let got = ok(&mut caller, "VolumeDriver.Get", json!({ "Name": name }))?;
        assert_eq!(got.at("/Volume/Name"), name);
        let mounted = ok(
            &mut caller,
            "VolumeDriver.Mount",
            json!({ "Name": name, "ID": "x" }),
        )?
        .at("/Mountpoint");
        let path = Path::new(mounted.as_str().unwrap());
        assert!(path.is_absolute() && path.is_dir(), "{name:?}: {path:?}");
        assert!(
            path.canonicalize()?.starts_with(&data),
            "{name:?}: {path:?}"
        );
    }
    assert_eq!(listed(&mut caller)?.len(), 11);
    Ok(())
}

#[test]
fn calls_in_parallel_lose_nothing() -> Result<()> {
    let (site, _daemon) = with_fixtures(&["counter-1"])?;
    ok(
        &mut site.caller("counter-1"),
        "VolumeDriver.Create",
        json!({ "Name": "shared" }),
    )?;
    let writers: Vec<_> = (0..32)
        .map(|writer| {
            let mut caller = site.caller("counter-1");
            thread::spawn(move || -> Result<()> {
                for number in 0..10 {
                    ok(
                        &mut caller,
                        "VolumeDriver.Create",
                        json!({ "Name": format!("v-{writer}-{number}") }),
                    )?;
                    // Counts in one key that all of them change.
                    ok(&mut caller, "VolumeDriver.Get", json!({ "Name": "shared" }))?;
                }
                Ok(())
            })
        })
        .collect();
    for writer in writers {
        writer.join().unwrap()?;
    }
    let mut caller = site.caller("counter-1");
    assert_eq!(listed(&mut caller)?.len(), 321);
    assert_eq!(crate::status(&mut caller, "shared", "calls")?, "321");
    Ok(())
}

#[test]
fn a_broken_driver_s_volumes_are_answered_from_the_catalogue() -> Result<()> {
    let (site, mut daemon) = with_fixtures(&["counter-1"])?;
    let mut caller = site.caller("counter-1");
    ok(
        &mut caller,
        "VolumeDriver.Create",
        json!({ "Name": "kept", "Opts": { "a": "b" } }),
    )?;
    let before = ok(&mut caller, "VolumeDriver.Get", json!({ "Name": "kept" }))?;
    daemon.terminate()?;
    site.drop_in(
        &dockside_tests::files::fixture("counter-broken")?,
        "counter-1",
    )?;
    let _daemon = site.serve()?;
    let mut caller = site.caller("counter-1");
    let after = ok(&mut caller, "VolumeDriver.Get", json!({ "Name": "kept" }))?;
    assert_eq!(after.at("/Volume/Name"), "kept");
    assert_eq!(
        after.at("/Volume/Mountpoint"),
        before.at("/Volume/Mountpoint")
    );
    assert_eq!(listed(&mut caller)?, ["kept"]);
    ok(&mut caller, "VolumeDriver.Path", json!({ "Name": "kept" }))?;
    // What changes something cannot be answered by anybody else.
    for method in ["Create", "Remove", "Mount"] {
        refused(
            &mut caller,
            &format!("VolumeDriver.{method}"),
            json!({ "Name": "kept", "ID": "x" }),
        )?;
    }
    Ok(())
}
