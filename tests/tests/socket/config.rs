//! `NAME.toml` and `dockside.toml`.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use anyhow::Result;
use dockside_tests::daemon::{Site, until};
use dockside_tests::files;
use serde_json::json;

use crate::{DIRECTORIES, listed, mentions, ok, refused, status, with_fixtures};

#[test]
fn one_driver_serves_several_names_each_with_state_of_its_own() -> Result<()> {
    let site = Site::new()?;
    let names = ["files", "vieux/sshfs", "opa-docker-authz:readonly"];
    site.configure("counter", &format!("names = {names:?}\n\n{DIRECTORIES}"))?;
    site.drop_in(&files::fixture("counter-1")?, "counter")?;
    let daemon = site.serve()?;
    for name in names {
        daemon.wait_plugin(name)?;
        ok(
            &mut site.caller(name),
            "VolumeDriver.Create",
            json!({ "Name": format!("of {name}") }),
        )?;
    }
    for name in names {
        assert_eq!(listed(&mut site.caller(name))?, [format!("of {name}")]);
    }
    // Docker finds a name with a slash in a subdirectory.
    assert!(site.plugins.join("vieux/sshfs.sock").exists());
    assert!(!site.socket("counter").exists());
    Ok(())
}

#[test]
fn a_plugin_without_a_grant_names_it_in_every_answer_and_serves_once_it_is_there() -> Result<()> {
    let site = Site::new()?;
    site.drop_in(&files::fixture("counter-1")?, "counter")?;
    let _daemon = site.serve()?;
    let mut caller = site.caller("counter");
    for (method, body) in [
        ("Create", json!({ "Name": "v" })),
        ("Mount", json!({ "Name": "v", "ID": "x" })),
        ("Remove", json!({ "Name": "v" })),
    ] {
        let text = refused(&mut caller, &format!("VolumeDriver.{method}"), body)?;
        assert!(
            text.contains("directories") && text.contains("counter.toml"),
            "{method}: {text}"
        );
    }
    assert_eq!(site.ask("/v1/plugin?name=counter")?["state"], "blocked");
    site.configure("counter", DIRECTORIES)?;
    until("the plugin to serve", || {
        caller
            .call("VolumeDriver.Create", &json!({ "Name": "v" }))
            .is_ok_and(|answer| answer.is_success())
    })?;
    Ok(())
}

#[test]
fn unknown_keys_are_refused_by_name_and_what_served_keeps_serving() -> Result<()> {
    let (site, _daemon) = with_fixtures(&["counter-1"])?;
    let mut caller = site.caller("counter-1");
    ok(&mut caller, "VolumeDriver.Create", json!({ "Name": "vol" }))?;
    for toml in [
        "[grant]\ndirectories = {}\n",
        "[grants]\ndirectory = {}\n",
        "[limits]\nmemroy = \"1MiB\"\n",
        "names = [\n",
        "names = [\"../x\"]\n",
    ] {
        site.configure("counter-1", toml)?;
        until("the file to be refused", || {
            site.ask("/v1/status")
                .is_ok_and(|status| mentions(&status, "counter-1.toml"))
        })?;
        status(&mut caller, "vol", "version")?;
        site.configure("counter-1", DIRECTORIES)?;
        until("the file to be taken", || {
            site.ask("/v1/status")
                .is_ok_and(|status| !mentions(&status, "counter-1.toml"))
        })?;
    }
    Ok(())
}

#[test]
fn values_come_from_the_file_and_a_change_is_picked_up() -> Result<()> {
    let site = Site::new()?;
    let secret = site.data.with_file_name("secret");
    fs::write(&secret, "from a file\n")?;
    let toml = |greeting: &str| {
        format!(
            "{DIRECTORIES}\n[config]\ngreeting = \"{greeting}\"\npassword = {{ file = \"{}\" }}\nhome = {{ env = \"HOME\" }}\n",
            secret.display()
        )
    };
    site.configure("echo", &toml("hello"))?;
    site.drop_in(&files::fixture("echo")?, "echo")?;
    let daemon = site.serve()?;
    daemon.wait_plugin("echo")?;
    let mut caller = site.caller("echo");
    ok(&mut caller, "VolumeDriver.Create", json!({ "Name": "vol" }))?;
    assert_eq!(status(&mut caller, "vol", "config.greeting")?, "hello");
    assert_eq!(
        status(&mut caller, "vol", "config.password")?,
        "from a file"
    );
    assert_eq!(
        status(&mut caller, "vol", "config.home")?,
        std::env::var("HOME").unwrap_or_default()
    );
    site.configure("echo", &toml("good-bye"))?;
    until("the new value", || {
        status(&mut caller, "vol", "config.greeting").is_ok_and(|value| value == "good-bye")
    })
}

#[test]
fn options_are_checked_before_the_driver_runs() -> Result<()> {
    let (site, _daemon) = with_fixtures(&["echo"])?;
    let mut caller = site.caller("echo");
    for (options, expected) in [
        (json!({ "coutn": "4" }), "count"),
        (json!({ "count": "11" }), "10"),
        (json!({ "count": "many" }), "count"),
        (json!({ "flag": "perhaps" }), "flag"),
        (json!({ "level": "medium" }), "high"),
        (json!({ "size": "big" }), "size"),
    ] {
        let text = refused(
            &mut caller,
            "VolumeDriver.Create",
            json!({ "Name": "vol", "Opts": options }),
        )?;
        assert!(text.contains(expected), "{options}: {text}");
    }
    assert!(listed(&mut caller)?.is_empty());
    ok(
        &mut caller,
        "VolumeDriver.Create",
        json!({ "Name": "vol", "Opts": { "level": "high" } }),
    )?;
    assert_eq!(status(&mut caller, "vol", "level")?, "high");
    assert_eq!(status(&mut caller, "vol", "count")?, "3");
    Ok(())
}

/// Runs a daemon to its end that has its own drivers and sockets, and this data directory and control socket.
fn serve_elsewhere(site: &Site, data: &Path, control: &Path) -> Result<Output> {
    let output = Command::new(files::daemon()?)
        .arg("serve")
        .args(["--drivers".as_ref(), site.drivers.as_os_str()])
        .args(["--plugins".as_ref(), site.plugins.as_os_str()])
        .args(["--data".as_ref(), data.as_os_str()])
        .args(["--control".as_ref(), control.as_os_str()])
        .output()?;
    Ok(output)
}

#[test]
fn a_second_daemon_on_the_same_data_says_who_holds_it() -> Result<()> {
    let (site, mut daemon) = with_fixtures(&["counter-1"])?;
    let other = Site::new()?;
    let output = serve_elsewhere(&other, &site.data, &other.control)?;
    assert!(!output.status.success());
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(text.contains(&daemon.pid().to_string()), "{text}");
    assert!(daemon.is_running()?);
    ok(
        &mut site.caller("counter-1"),
        "VolumeDriver.List",
        json!({}),
    )?;
    Ok(())
}

#[test]
fn a_wrong_key_in_the_daemon_s_file_keeps_it_from_starting() -> Result<()> {
    let site = Site::new()?;
    fs::write(&site.config, "[limits]\nmax-cals = 7\n")?;
    let mut daemon = site.spawn(&[])?;
    until("the daemon to end", || !daemon.is_running().unwrap_or(true))?;
    assert!(
        daemon.log_end().contains("max-cals"),
        "{}",
        daemon.log_end()
    );
    Ok(())
}

#[test]
fn a_slip_in_a_settings_file_leaves_all_of_its_plugins_serving() -> Result<()> {
    let site = Site::new()?;
    let settings = format!("names = [\"one\", \"two\"]\n{DIRECTORIES}");
    site.configure("counter", &settings)?;
    site.drop_in(&files::fixture("counter-1")?, "counter")?;
    let daemon = site.serve()?;
    for plugin in ["one", "two"] {
        daemon.wait_plugin(plugin)?;
    }
    site.configure("counter", &format!("nmaes = []\n{settings}"))?;
    until("the slip to be noticed", || {
        site.ask("/v1/status")
            .is_ok_and(|status| status["problems"] != json!([]))
    })?;
    for plugin in ["one", "two"] {
        ok(
            &mut site.caller(plugin),
            "VolumeDriver.Create",
            json!({ "Name": "vol" }),
        )?;
    }
    Ok(())
}

#[test]
fn a_daemon_whose_control_socket_is_taken_says_so_and_ends() -> Result<()> {
    let (site, mut daemon) = with_fixtures(&["counter-1"])?;
    let other = Site::new()?;
    let output = serve_elsewhere(&other, &other.data, &site.control)?;
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("another program listens"), "{text}");
    assert!(daemon.is_running()?);
    Ok(())
}

#[test]
fn the_files_that_drivers_come_with_are_right() -> Result<()> {
    let site = Site::new()?;
    let mut expected = Vec::new();
    for entry in fs::read_dir(files::workspace().join("guests"))? {
        let folder = entry?.path();
        let name = folder.file_name().unwrap().to_string_lossy().into_owned();
        let Ok(toml) = fs::read_to_string(folder.join(format!("{name}.toml"))) else {
            continue;
        };
        site.configure(&name, &toml)?;
        site.drop_in(&files::driver(&name)?, &name)?;
        expected.push(format!("{name}.toml"));
    }
    assert!(!expected.is_empty());
    expected.sort();
    let output = Command::new(files::daemon()?)
        .args(["check-config", "--json", "--drivers"])
        .arg(&site.drivers)
        .output()?;
    let report: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    let used: Vec<&str> = report["files"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|file| file["file"].as_str())
        .collect();
    // Files that they name, such as keys, are not there.
    assert_eq!(used, expected, "{report}");
    Ok(())
}
