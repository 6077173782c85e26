//! The driver `infoblox` with real engines and a grid that answers over HTTPS.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::thread;
use std::time::Duration;

use anyhow::Result;
use dockside_tests::daemon::until;
use dockside_tests::engine::{Engine, Version};
use dockside_tests::files;
use dockside_tests::wapi::{Fault, PASSWORD, USER, Wapi};
use serde_json::Value;
use tempfile::TempDir;

use crate::{Plugin, Setup, inspect, null};

/// The plugin, with its password and its authority in a directory.
fn plugin(wapi: &Wapi, directory: &TempDir) -> Result<Plugin> {
    let (password, ca) = (
        directory.path().join("password"),
        directory.path().join("ca.pem"),
    );
    fs::write(&password, PASSWORD)?;
    fs::set_permissions(&password, fs::Permissions::from_mode(0o600))?;
    fs::write(&ca, &wapi.ca)?;
    let (address, port) = (wapi.address, wapi.address.port());
    Ok(Plugin {
        name: "infoblox",
        file: "infoblox",
        component: files::driver("infoblox")?,
        toml: format!(
            r#"[config]
grid-host = "127.0.0.1"
wapi-port = {port}
wapi-username = "{USER}"
local-network-container = "10.96.0.0/16"
http-request-timeout = 3
settle-seconds = 1

[grants.http]
allow = ["* https://{address}/wapi/"]
private = ["127.0.0.0/8"]
ca = "{}"
secrets = ["wapi-password"]

[grants.outbox]

[grants.secrets]

[secrets]
wapi-password = {{ file = "{}" }}
"#,
            ca.display(),
            password.display()
        ),
    })
}

fn run(engine: &Engine, name: &str) -> Result<String> {
    engine.docker(&[
        "run",
        "-d",
        "--init",
        "--network",
        "priv",
        "--name",
        name,
        "busybox:local",
        "sleep",
        "100000",
    ])
}

/// A field of a container's attachment.
fn attached(engine: &Engine, container: &str, field: &str) -> Result<String> {
    let all = inspect(engine, "container", container)?;
    let value: &Value = &all["NetworkSettings"]["Networks"]["priv"][field];
    Ok(value.as_str().unwrap_or_default().to_owned())
}

pub(crate) fn containers_have_addresses_of_the_grid_and_leave_none(version: Version) -> Result<()> {
    let test = "containers_have_addresses_of_the_grid_and_leave_none";
    let wapi = Wapi::start(&["Docker Request", "Network Name"])?;
    let directory = tempfile::tempdir()?;
    let plugins = [plugin(&wapi, &directory)?, null()?];
    let Some(mut setup) = Setup::new(version, test, &plugins)? else {
        return Ok(());
    };
    setup.engine.up(&[])?;
    setup.engine.image()?;
    let create = [
        "network",
        "create",
        "-d",
        "blank",
        "--ipam-driver=infoblox",
        "--ipam-opt",
        "prefix-length=26",
        "priv",
    ];
    setup.engine.docker(&create)?;
    let seen = inspect(&setup.engine, "network", "priv")?;
    assert_eq!(
        seen["IPAM"]["Config"][0]["Subnet"], "10.96.0.0/26",
        "{seen}"
    );
    run(&setup.engine, "first")?;
    let (address, mac) = (
        attached(&setup.engine, "first", "IPAddress")?,
        attached(&setup.engine, "first", "MacAddress")?,
    );
    let made = wapi.grid().all("fixedaddress");
    assert!(
        made.iter().any(
            |one| one.text("ipv4addr") == address && (one.text("mac") == mac || mac.is_empty())
        ),
        "{address} {mac}: {made:?}"
    );

    // Killed while the grid has made the address and nobody knows it yet.
    let before = wapi.count("fixedaddress");
    wapi.break_next([Fault::Slow(Duration::from_secs(2))]);
    thread::scope(|scope| -> Result<()> {
        let starting = scope.spawn(|| run(&setup.engine, "second"));
        until("the grid to have made the address", || {
            wapi.count("fixedaddress") > before
        })?;
        setup.daemon.kill()?;
        setup.daemon = setup.site.serve()?;
        setup.daemon.wait_plugin("infoblox")?;
        assert!(starting.join().is_ok_and(|started| started.is_err()));
        Ok(())
    })?;
    until("the address of the killed daemon to be gone", || {
        wapi.count("fixedaddress") == before
    })?;
    setup.engine.docker(&["start", "second"])?;
    assert_eq!(wapi.count("fixedaddress"), before + 1);

    // An engine that starts again has them without the grid's help.
    setup.engine.kill()?;
    setup.engine.up(&[])?;
    setup.engine.docker(&["start", "first", "second"])?;
    let made = wapi.grid().all("fixedaddress");
    for name in ["first", "second"] {
        let address = attached(&setup.engine, name, "IPAddress")?;
        let count = made
            .iter()
            .filter(|one| one.text("ipv4addr") == address)
            .count();
        assert_eq!(count, 1, "{name} {address}: {made:?}");
    }
    setup.engine.docker(&["rm", "-f", "first", "second"])?;
    setup.engine.docker(&["network", "rm", "priv"])?;
    until("the grid to have nothing of Docker's", || {
        wapi.count("network") + wapi.count("fixedaddress") == 0
    })?;
    setup.down()
}
