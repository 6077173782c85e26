//! The driver `infoblox` and a grid: requests over TLS, secrets in headers, notes in the outbox, through the daemon.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::thread;
use std::time::Duration;

use anyhow::Result;
use dockside_tests::client::Caller;
use dockside_tests::daemon::{Daemon, Site, until};
use dockside_tests::files;
use dockside_tests::wapi::{Fault, PASSWORD, USER, Wapi};
use serde_json::{Value, json};

use crate::{ok, refused};

const ATTRIBUTES: [&str; 3] = ["Docker Request", "Network Name", "CMP Type"];

pub(crate) fn with_grid() -> Result<(Wapi, Site, Daemon)> {
    let wapi = Wapi::start(&ATTRIBUTES)?;
    let site = Site::new()?;
    settings(&site, &wapi, PASSWORD)?;
    site.drop_in(&files::driver("infoblox")?, "infoblox")?;
    let daemon = site.serve()?;
    daemon.wait_plugin("infoblox")?;
    Ok((wapi, site, daemon))
}

/// The operator's file. The user's name is a secret that the driver reads, the password one that it does not.
fn settings(site: &Site, wapi: &Wapi, password: &str) -> Result<()> {
    for (name, secret) in [("password", password), ("user", USER)] {
        let path = site.drivers.join(name);
        fs::write(&path, secret)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
    }
    fs::write(site.drivers.join("ca.pem"), &wapi.ca)?;
    let address = wapi.address;
    site.configure(
        "infoblox",
        &format!(
            r#"[config]
grid-host = "{}"
wapi-port = {}
wapi-username-secret = "user"
local-network-container = "10.90.0.0/23, 10.95.0.0/24"
extattrs = "CMP Type=Docker"
http-request-timeout = 1
settle-seconds = 2

[grants.http]
allow = ["* https://{address}/wapi/"]
private = ["127.0.0.0/8"]
ca = "ca.pem"
secrets = ["wapi-password"]

[grants.secrets]
use = ["user"]
reveal = ["user"]

[grants.outbox]

[secrets]
wapi-password = {{ file = "password" }}
user = {{ file = "user" }}
"#,
            address.ip(),
            address.port(),
        ),
    )
}

pub(crate) fn pool(subnet: &str, options: Value) -> Value {
    json!({ "AddressSpace": "local", "Pool": subnet, "SubPool": "", "Options": options, "V6": false })
}

pub(crate) fn address(pool: &Value, wish: &str, number: u32) -> Value {
    let mac = format!("02:00:00:00:00:{number:02x}");
    json!({ "PoolID": pool, "Address": wish, "Options": { "com.docker.network.endpoint.macaddress": mac } })
}

fn request_pool(caller: &mut Caller, subnet: &str) -> Result<Value> {
    Ok(ok(caller, "IpamDriver.RequestPool", pool(subnet, json!({})))?.at("/PoolID"))
}

/// Until nothing of the grid's is left that is Docker's.
fn is_empty(wapi: &Wapi) -> Result<()> {
    until("the grid's objects to be gone", || {
        wapi.count("network") + wapi.count("fixedaddress") == 0
            && wapi.count("extensibleattributedef") == ATTRIBUTES.len()
    })
}

#[test]
fn networks_and_addresses_are_objects_of_the_grid() -> Result<()> {
    let (wapi, site, _daemon) = with_grid()?;
    let mut caller = site.caller("infoblox");
    let chosen = request_pool(&mut caller, "")?;
    assert_eq!(chosen, "local/10.90.0.0/24");
    let given = ok(
        &mut caller,
        "IpamDriver.RequestAddress",
        address(&chosen, "", 1),
    )?;
    assert_eq!(given.at("/Address"), "10.90.0.1/24");
    let made = wapi.grid().all("fixedaddress");
    assert_eq!(
        (made[0].text("mac"), made[0].attribute("CMP Type")),
        ("02:00:00:00:00:01", "Docker")
    );
    let release = json!({ "PoolID": chosen, "Address": "10.90.0.1" });
    ok(&mut caller, "IpamDriver.ReleaseAddress", release)?;
    assert_eq!(wapi.count("fixedaddress"), 0);
    ok(
        &mut caller,
        "IpamDriver.ReleasePool",
        json!({ "PoolID": chosen }),
    )?;
    is_empty(&wapi)?;
    // Neither the password nor the user's name is to be seen.
    let said = format!(
        "{}{}",
        site.log_end(),
        site.ask("/v1/plugin?name=infoblox")?
    );
    assert!(!said.contains(PASSWORD), "{said}");
    Ok(())
}

#[test]
fn a_grid_that_breaks_in_the_middle_leaves_no_second_object_and_none_at_the_end() -> Result<()> {
    let (wapi, site, _daemon) = with_grid()?;
    let mut caller = site.caller("infoblox");
    let pool = request_pool(&mut caller, "10.91.0.0/24")?;
    let faults = [
        Fault::DropBefore,
        Fault::DropAfter,
        Fault::Slow(Duration::from_millis(1500)),
        Fault::Status(500),
    ];
    let mut given = 0;
    for (number, fault) in (1..).zip(faults) {
        wapi.break_next([fault]);
        ok(
            &mut caller,
            "IpamDriver.RequestAddress",
            address(&pool, "", number),
        )?;
        given += 1;
        assert_eq!(wapi.count("fixedaddress"), given, "{fault:?}");
    }
    // Twice in a row is too much for one call; what it left is cleared up.
    wapi.break_next([Fault::Late(Duration::from_millis(700)), Fault::DropBefore]);
    refused(
        &mut caller,
        "IpamDriver.RequestAddress",
        address(&pool, "", 20),
    )?;
    // The second one of two is in the grid's hands when the first one's answer is lost.
    wapi.break_next([Fault::Late(Duration::from_millis(700))]);
    ok(
        &mut caller,
        "IpamDriver.RequestAddress",
        address(&pool, "", 21),
    )?;
    given += 1;
    until("what came late to be deleted", || {
        let made = wapi.grid().all("fixedaddress");
        made.len() == given
            && made
                .iter()
                .all(|one| one.text("mac") != "02:00:00:00:00:14")
    })?;
    ok(
        &mut caller,
        "IpamDriver.ReleasePool",
        json!({ "PoolID": pool }),
    )?;
    is_empty(&wapi)
}

#[test]
fn what_a_killed_daemon_had_made_is_deleted_by_the_next_one() -> Result<()> {
    let (wapi, site, mut daemon) = with_grid()?;
    let pool = request_pool(&mut site.caller("infoblox"), "10.91.0.0/24")?;
    for number in 1..=3 {
        // The grid has made the address, and its answer is on the way.
        wapi.break_next([Fault::Slow(Duration::from_secs(5))]);
        let (mut caller, asked) = (site.caller("infoblox"), address(&pool, "", number));
        let waiting = thread::spawn(move || caller.call_once("IpamDriver.RequestAddress", &asked));
        until("the grid to have made the address", || {
            wapi.count("fixedaddress") > 0
        })?;
        daemon.kill()?;
        assert!(waiting.join().unwrap().is_err());
        daemon = site.serve()?;
        daemon.wait_plugin("infoblox")?;
        until("the address of the killed daemon to be gone", || {
            wapi.count("fixedaddress") == 0
        })?;
    }
    let mut caller = site.caller("infoblox");
    ok(
        &mut caller,
        "IpamDriver.RequestAddress",
        address(&pool, "10.91.0.1", 9),
    )?;
    ok(
        &mut caller,
        "IpamDriver.ReleasePool",
        json!({ "PoolID": pool }),
    )?;
    is_empty(&wapi)
}

#[test]
fn many_clients_get_as_many_addresses_from_a_grid_that_breaks_at_random() -> Result<()> {
    let (wapi, site, _daemon) = with_grid()?;
    let pool = request_pool(&mut site.caller("infoblox"), "10.91.0.0/24")?;
    let faults = [
        Fault::None,
        Fault::DropAfter,
        Fault::None,
        Fault::DropBefore,
        Fault::Status(503),
    ];
    wapi.break_next(faults.into_iter().cycle().take(60));
    let clients: Vec<_> = (0..8u32)
        .map(|client| {
            let (mut caller, pool) = (site.caller("infoblox"), pool.clone());
            thread::spawn(move || -> Result<usize> {
                let mut given = 0;
                for number in 0..6 {
                    let asked = address(&pool, "", 1 + client * 6 + number);
                    given += usize::from(
                        caller
                            .call("IpamDriver.RequestAddress", &asked)?
                            .is_success(),
                    );
                }
                Ok(given)
            })
        })
        .collect();
    let mut given = 0;
    for client in clients {
        given += client.join().unwrap()?;
    }
    assert!(given > 24, "{given} of 48");
    wapi.break_next([]);
    until("one object for each address", || {
        wapi.count("fixedaddress") == given
    })?;
    ok(
        &mut site.caller("infoblox"),
        "IpamDriver.ReleasePool",
        json!({ "PoolID": pool }),
    )?;
    is_empty(&wapi)
}

#[test]
fn without_the_grid_the_error_says_so_and_leases_are_known() -> Result<()> {
    let (wapi, site, mut daemon) = with_grid()?;
    let mut caller = site.caller("infoblox");
    let pool = request_pool(&mut caller, "10.91.0.0/24")?;
    ok(
        &mut caller,
        "IpamDriver.RequestAddress",
        address(&pool, "10.91.0.7", 1),
    )?;
    drop(wapi);
    let text = refused(
        &mut caller,
        "IpamDriver.RequestAddress",
        address(&pool, "", 2),
    )?;
    assert!(text.contains("the Infoblox grid cannot be asked"), "{text}");
    daemon.kill()?;
    let daemon = site.serve()?;
    daemon.wait_plugin("infoblox")?;
    let mut caller = site.caller("infoblox");
    let again = ok(
        &mut caller,
        "IpamDriver.RequestAddress",
        address(&pool, "10.91.0.7", 1),
    )?;
    assert_eq!(again.at("/Address"), "10.91.0.7/24");
    ok(
        &mut caller,
        "IpamDriver.ReleasePool",
        json!({ "PoolID": pool }),
    )?;
    Ok(())
}

#[test]
fn a_wrong_password_and_a_missing_grant_are_said_so() -> Result<()> {
    let (wapi, site, daemon) = with_grid()?;
    settings(&site, &wapi, "wrong")?;
    let mut caller = site.caller("infoblox");
    let text = refused(&mut caller, "IpamDriver.RequestPool", pool("", json!({})))?;
    assert!(text.contains(&format!("refuses the user {USER}")), "{text}");
    settings(&site, &wapi, PASSWORD)?;
    let path = site.drivers.join("infoblox.toml");
    let narrow = fs::read_to_string(&path)?.replace("/wapi/\"]", "/elsewhere/\"]");
    site.configure("infoblox", &narrow)?;
    let mut text = String::new();
    until("the new grant to be in force", || {
        let asked = caller.call("IpamDriver.RequestPool", &pool("", json!({})));
        text = asked.map(|answer| answer.err()).unwrap_or_default();
        text.contains("not granted")
    })?;
    assert!(
        daemon.log_end().contains("add \\\"GET https://")
            || daemon.log_end().contains("grants.http"),
        "{}",
        daemon.log_end()
    );
    Ok(())
}
