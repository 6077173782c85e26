//! The daemon killed, and what it knows afterwards. `tests/bars kill-storm` does it 200 times.

use std::fs;

use anyhow::Result;
use serde_json::json;

use crate::{DIRECTORIES, listed, ok, with_driver};

#[test]
fn what_was_acknowledged_is_there_after_a_kill() -> Result<()> {
    let (site, mut daemon) = with_driver("local", DIRECTORIES)?;
    for round in 0..5 {
        let mut caller = site.caller("local");
        ok(
            &mut caller,
            "VolumeDriver.Create",
            json!({ "Name": format!("v{round}") }),
        )?;
        if round > 0 {
            ok(
                &mut caller,
                "VolumeDriver.Remove",
                json!({ "Name": format!("v{}", round - 1) }),
            )?;
        }
        daemon.kill()?;
        daemon = site.serve()?;
        daemon.wait_plugin("local")?;
        let mut caller = site.caller("local");
        assert_eq!(listed(&mut caller)?, [format!("v{round}")]);
        let mountpoint = ok(
            &mut caller,
            "VolumeDriver.Mount",
            json!({ "Name": format!("v{round}"), "ID": "x" }),
        )?
        .at("/Mountpoint");
        let directory = std::path::Path::new(mountpoint.as_str().unwrap());
        assert!(directory.is_dir());
        // The directories of removed volumes are gone, too.
        assert_eq!(fs::read_dir(directory.parent().unwrap())?.count(), 1);
        ok(
            &mut caller,
            "VolumeDriver.Unmount",
            json!({ "Name": format!("v{round}"), "ID": "x" }),
        )?;
    }
    Ok(())
}

#[test]
fn a_socket_left_by_a_killed_daemon_is_taken_over() -> Result<()> {
    let (site, mut daemon) = with_driver("null", "")?;
    daemon.kill()?;
    assert!(site.socket("null").exists());
    let mut caller = site.caller("null");
    let daemon = site.serve()?;
    daemon.wait_plugin("null")?;
    ok(&mut caller, "NetworkDriver.GetCapabilities", json!({}))?;
    Ok(())
}

#[test]
fn a_daemon_that_is_told_to_stop_answers_what_is_in_flight() -> Result<()> {
    let (site, mut daemon) = crate::with_fixtures(&["slow"])?;
    let calls: Vec<_> = (0..8)
        .map(|number| {
            let mut caller = site.caller("slow");
            std::thread::spawn(move || {
                caller.call(
                    "VolumeDriver.Create",
                    &json!({ "Name": format!("v{number}"), "Opts": { "ms": "1500" } }),
                )
            })
        })
        .collect();
    // All of them have to be at work first.
    dockside_tests::daemon::until("the calls to arrive", || {
        site.ask("/v1/plugin?name=slow")
            .is_ok_and(|detail| detail["calls"].as_u64() >= Some(9))
    })?;
    let status = daemon.terminate()?;
    assert!(status.success(), "{status}");
    for call in calls {
        assert!(call.join().unwrap()?.is_success());
    }
    Ok(())
}
