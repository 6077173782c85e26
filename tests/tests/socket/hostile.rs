//! Guests that misbehave, as far as it takes no long time. `tests/bars hostile` has all of them, and the clock.

use anyhow::Result;
use dockside_tests::client::Connection;
use serde_json::json;

use crate::{listed, ok, with_fixtures};

#[test]
fn every_way_to_fail_is_one_error_of_one_call() -> Result<()> {
    let (site, mut daemon) = with_fixtures(&["hostile", "counter-1"])?;
    let mut caller = site.caller("hostile");
    let mut neighbour = site.caller("counter-1");
    ok(
        &mut neighbour,
        "VolumeDriver.Create",
        json!({ "Name": "vol" }),
    )?;
    for behaviour in [
        "trap",
        "panic",
        "panic-huge",
        "index",
        "out-of-bounds",
        "abort",
        "exit",
        "exit-1",
        "recurse",
        "grow",
        "error",
        "huge-error",
        "empty-error",
        "bad-text",
        "write-then-trap",
        "write-then-error",
        "handle-flood",
        "huge-value",
        "huge-key",
    ] {
        let answer = caller.call(
            "VolumeDriver.Create",
            &json!({ "Name": format!("create:{behaviour}") }),
        )?;
        let text = answer.err();
        assert!(
            answer.status >= 400 && !text.is_empty(),
            "{behaviour}: {answer:?}"
        );
        assert!(
            text.len() <= 8 << 10 && !text.contains('\n'),
            "{behaviour}: {} bytes: {text:.200}",
            text.len()
        );
        ok(
            &mut neighbour,
            "VolumeDriver.Mount",
            json!({ "Name": "vol", "ID": "x" }),
        )?;
    }
    assert!(daemon.is_running()?);
    // Nothing of what the failed calls wrote remains.
    assert!(listed(&mut caller)?.is_empty());
    Ok(())
}

#[test]
fn a_handle_that_the_host_did_not_make_is_no_mountpoint() -> Result<()> {
    let (site, mut daemon) = with_fixtures(&["hostile"])?;
    let mut caller = site.caller("hostile");
    for handle in [
        "forged-handle",
        "zero-handle",
        "huge-handle",
        "stale-handle",
        "bucket-handle",
    ] {
        let name = format!("mount:{handle}");
        ok(&mut caller, "VolumeDriver.Create", json!({ "Name": name }))?;
        let answer = caller.call("VolumeDriver.Mount", &json!({ "Name": name, "ID": "x" }))?;
        assert!(
            answer.status >= 400 && !answer.err().is_empty(),
            "{handle}: {answer:?}"
        );
        assert!(answer.at("/Mountpoint").is_null(), "{handle}: {answer:?}");
    }
    assert!(daemon.is_running()?);
    Ok(())
}

#[test]
fn a_trap_in_any_method_is_an_error_or_for_get_a_closed_connection() -> Result<()> {
    let (site, mut daemon) =
        with_fixtures(&["counter-broken", "trap-ipam", "trap-network", "trap-authz"])?;
    for (plugin, methods) in [
        (
            "counter-broken",
            &[
                "VolumeDriver.Create",
                "VolumeDriver.Remove",
                "VolumeDriver.Mount",
                "VolumeDriver.Unmount",
                "VolumeDriver.Path",
            ][..],
        ),
        (
            "trap-ipam",
            &[
                "IpamDriver.RequestPool",
                "IpamDriver.ReleasePool",
                "IpamDriver.RequestAddress",
                "IpamDriver.ReleaseAddress",
            ],
        ),
        (
            "trap-network",
            &[
                "NetworkDriver.CreateNetwork",
                "NetworkDriver.DeleteNetwork",
                "NetworkDriver.CreateEndpoint",
                "NetworkDriver.DeleteEndpoint",
                "NetworkDriver.EndpointOperInfo",
                "NetworkDriver.Join",
                "NetworkDriver.Leave",
                "NetworkDriver.ProgramExternalConnectivity",
                "NetworkDriver.RevokeExternalConnectivity",
                "NetworkDriver.DiscoverNew",
                "NetworkDriver.DiscoverDelete",
                "NetworkDriver.AllocateNetwork",
                "NetworkDriver.FreeNetwork",
                "NetworkDriver.GwAllocCheck",
            ],
        ),
    ] {
        let body = json!({
            "Name": "v", "ID": "x", "AddressSpace": "local", "Pool": "10.0.0.0/24", "PoolID": "p", "Address": "10.0.0.1",
            "NetworkID": "n", "EndpointID": "e", "SandboxKey": "/s", "Interface": {}, "Options": {}, "IPv4Data": [], "IPv6Data": [],
            "DiscoveryType": 1, "DiscoveryData": { "Address": "192.0.2.1", "BindAddress": "", "Self": false },
        });
        let mut caller = site.caller(plugin);
        for method in methods {
            let answer = caller.call(method, &body)?;
            assert!(
                answer.status == 500 && !answer.err().is_empty(),
                "{method}: {answer:?}"
            );
        }
    }
    let mut connection = Connection::open(&site.socket("counter-broken"))?;
    connection.send_post("/VolumeDriver.Get", "", b"{\"Name\":\"v\"}\n")?;
    assert_eq!(connection.receive_rest()?, b"");
    assert!(daemon.is_running()?);
    Ok(())
}

#[test]
fn a_guest_finds_nothing_of_the_host() -> Result<()> {
    let site = dockside_tests::daemon::Site::new()?;
    site.configure("escape", crate::DIRECTORIES)?;
    site.drop_in(&dockside_tests::files::fixture("escape")?, "escape")?;
    let _daemon = site.serve()?;
    // It asks for WASI's file system: it may be turned away for that, or find that there is none.
    let answer = site
        .caller("escape")
        .call("VolumeDriver.Create", &json!({ "Name": "vol" }))?;
    assert!(!answer.err().contains("found "), "{answer:?}");
    assert!(!std::path::Path::new("/tmp/escaped").exists());
    Ok(())
}
