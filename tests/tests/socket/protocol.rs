//! What Docker's engines really send, and what they can read.

use std::fs;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};

use anyhow::Result;
use dockside_tests::client::Connection;
use serde_json::json;

use crate::{ok, with_driver, with_fixtures};

/// A whole request with these header lines.
fn request(path: &str, headers: &str, body: &str) -> Vec<u8> {
    format!(
        "POST {path} HTTP/1.1\r\n{headers}Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

#[test]
fn every_kind_announces_itself() -> Result<()> {
    for (driver, kind) in [
        ("local", "VolumeDriver"),
        ("pool", "IpamDriver"),
        ("null", "NetworkDriver"),
        ("rego", "authz"),
    ] {
        let toml = match driver {
            "local" => crate::DIRECTORIES,
            "rego" => {
                "[grants.files]\n[config]\npolicy = \"package docker.authz\\ndefault allow = false\"\n"
            }
            _ => "",
        };
        let (site, _daemon) = with_driver(driver, toml)?;
        let mut caller = site.caller(driver);
        for body in ["", "{}", "{}\n"] {
            let answer = caller.call_raw("Plugin.Activate", body.as_bytes())?;
            assert_eq!(answer.at("/Implements"), json!([kind]), "{driver} {body:?}");
        }
    }
    Ok(())
}

#[test]
fn any_host_content_type_and_ending_is_taken() -> Result<()> {
    let (site, _daemon) = with_fixtures(&["counter-1"])?;
    for headers in [
        "Host: \r\n",
        "Host: plugin.moby.localhost\r\n",
        "Host: plugin\r\n",
        "Host: example.org:8080\r\n",
        "Host: \r\nContent-Type: application/json\r\n",
        "Host: plugin\r\nContent-Type: application/vnd.docker.plugins.v1.1+json\r\n",
        "Host: \r\nContent-Type: text/plain\r\n",
        "Host: \r\nAccept: application/vnd.docker.plugins.v1.2+json\r\nUser-Agent: Go-http-client/1.1\r\n",
        "Host: \r\nAccept-Encoding: gzip\r\n",
        "Host: \r\nX-Unknown: value\r\n",
    ] {
        for body in ["{}", "{}\n", " {} "] {
            let mut connection = Connection::open(&site.socket("counter-1"))?;
            connection.send(&request("/VolumeDriver.List", headers, body))?;
            let answer = connection.receive()?;
            assert!(answer.is_success(), "{headers:?} {body:?}: {answer:?}");
        }
    }
    Ok(())
}

#[test]
fn null_absent_and_unknown_fields_are_taken() -> Result<()> {
    let (site, _daemon) = with_fixtures(&["counter-1"])?;
    let mut caller = site.caller("counter-1");
    for (number, body) in [
        json!({ "Opts": null }),
        json!({}),
        json!({ "Opts": {} }),
        json!({ "Opts": { "a": "b" }, "Later": [1, {}] }),
    ]
    .iter()
    .enumerate()
    {
        let mut body = body.clone();
        body["Name"] = json!(format!("volume-{number}"));
        ok(&mut caller, "VolumeDriver.Create", body)?;
    }
    Ok(())
}

#[test]
fn a_call_that_needs_a_body_and_has_none_changes_nothing() -> Result<()> {
    let (site, _daemon) = with_fixtures(&["counter-1"])?;
    let mut caller = site.caller("counter-1");
    for method in ["Create", "Remove", "Mount", "Unmount", "Path"] {
        let answer = caller.call_raw(&format!("VolumeDriver.{method}"), b"")?;
        assert!(
            answer.status >= 400 && !answer.err().is_empty(),
            "{method}: {answer:?}"
        );
    }
    assert!(crate::listed(&mut caller)?.is_empty());
    // These have no arguments to lose. Podman lists with an empty body.
    for method in ["List", "Capabilities"] {
        assert!(
            caller
                .call_raw(&format!("VolumeDriver.{method}"), b"")?
                .is_success(),
            "{method}"
        );
    }
    Ok(())
}

#[test]
fn a_get_that_nobody_can_answer_closes_the_connection_without_a_byte() -> Result<()> {
    let (site, _daemon) = with_fixtures(&["counter-broken"])?;
    for body in ["", "{\"Name\": \"never-heard-of\"}\n", "not JSON"] {
        let mut connection = Connection::open(&site.socket("counter-broken"))?;
        connection.send_post("/VolumeDriver.Get", "", body.as_bytes())?;
        assert_eq!(connection.receive_rest()?, b"", "{body:?}");
    }
    Ok(())
}

#[test]
fn a_volume_that_is_known_not_to_exist_is_an_error() -> Result<()> {
    let (site, _daemon) = with_fixtures(&["counter-1"])?;
    let answer = site
        .caller("counter-1")
        .call("VolumeDriver.Get", &json!({ "Name": "missing" }))?;
    assert!(
        answer.status >= 400 && answer.err().contains("missing"),
        "{answer:?}"
    );
    Ok(())
}

#[test]
fn methods_of_other_kinds_and_unknown_ones_answer_404() -> Result<()> {
    let (site, _daemon) = with_fixtures(&["counter-1"])?;
    let mut caller = site.caller("counter-1");
    for method in [
        "NetworkDriver.GetCapabilities",
        "NetworkDriver.ProgramExternalConnectivity",
        "IpamDriver.RequestPool",
        "AuthZPlugin.AuthZReq",
        "VolumeDriver.Destroy",
        "volumedriver.create",
        "LogDriver.StartLogging",
        "VolumeDriver.Create/more",
        "nothing",
    ] {
        let answer = caller.call(method, &json!({ "Name": "v" }))?;
        assert_eq!(answer.status, 404, "{method}: {answer:?}");
        assert!(!answer.err().is_empty(), "{method}: {answer:?}");
    }
    Ok(())
}

#[test]
fn errors_of_ipam_carry_both_keys() -> Result<()> {
    let (site, _daemon) = with_driver("pool", "")?;
    let answer = site.caller("pool").call(
        "IpamDriver.RequestAddress",
        &json!({ "PoolID": "nowhere", "Address": "", "Options": null }),
    )?;
    assert!(answer.status >= 400, "{answer:?}");
    assert!(!answer.err().is_empty(), "{answer:?}");
    assert_eq!(answer.at("/Err"), answer.at("/Error"));
    Ok(())
}

#[test]
fn malformed_requests_are_refused_and_the_next_one_is_served() -> Result<()> {
    let (site, mut daemon) = with_fixtures(&["counter-1"])?;
    let socket = site.socket("counter-1");
    for body in [
        "{",
        "[]",
        "\"text\"",
        "{\"Name\": 7}",
        "{\"Name\": {}}",
        "{\"Opts\": [1]}",
        "\u{feff}{}",
        "{\"Name\":\"\\ud800\"}",
        &"[".repeat(100_000),
    ] {
        let mut connection = Connection::open(&socket)?;
        connection.send_post("/VolumeDriver.Create", "", body.as_bytes())?;
        let answer = connection.receive()?;
        assert!(
            answer.status >= 400 && !answer.err().is_empty(),
            "{body:.40}: {answer:?}"
        );
    }
    for garbage in [
        "\r\n\r\n\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        "POST /VolumeDriver.List HTTP/9.9\r\n\r\n",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "POST /VolumeDriver.List HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        "POST /VolumeDriver.List HTTP/1.1\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{} ",
        "POST /VolumeDriver.List HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        "\u{0}\u{1}\u{2}",
    ] {
        let mut connection = Connection::open(&socket)?;
        connection.send(garbage.as_bytes())?;
        connection.stream().shutdown(std::net::Shutdown::Write)?;
        // Whatever it answers: it ends the connection and goes on.
        let _ = connection.receive_rest();
    }
    assert!(daemon.is_running()?);
    assert!(crate::listed(&mut site.caller("counter-1"))?.is_empty());
    Ok(())
}

#[test]
fn chunked_bodies_are_read() -> Result<()> {
    let (site, _daemon) = with_fixtures(&["counter-1"])?;
    let mut connection = Connection::open(&site.socket("counter-1"))?;
    connection.send(b"POST /VolumeDriver.Create HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n7\r\n{\"Name\"\r\n7\r\n:\"abc\"}\r\n0\r\n\r\n")?;
    assert!(connection.receive()?.is_success());
    assert_eq!(crate::listed(&mut site.caller("counter-1"))?, ["abc"]);
    Ok(())
}

#[test]
fn a_body_over_the_limit_is_refused_with_the_setting_to_change() -> Result<()> {
    let (site, _daemon) = with_fixtures(&["counter-1"])?;
    let mut connection = Connection::open(&site.socket("counter-1"))?;
    let body = format!("{{\"Name\":\"{}\"}}", "x".repeat(40 << 20));
    // The answer may come before everything is sent.
    let _ = connection.send_post("/VolumeDriver.Create", "", body.as_bytes());
    let answer = connection.receive()?;
    assert_eq!(answer.status, 413);
    assert!(answer.err().contains("max-body"), "{answer:?}");
    assert!(crate::listed(&mut site.caller("counter-1"))?.is_empty());
    Ok(())
}

#[test]
fn one_connection_carries_many_calls() -> Result<()> {
    let (site, _daemon) = with_fixtures(&["counter-1"])?;
    let mut connection = Connection::open(&site.socket("counter-1"))?;
    for _ in 0..200 {
        connection.send_post("/VolumeDriver.List", "", b"{}\n")?;
        let answer = connection.receive()?;
        assert!(answer.is_success());
        assert_eq!(answer.header("connection"), None);
    }
    Ok(())
}

#[test]
fn sockets_belong_to_the_owner_alone_and_nothing_else_lies_beside_them() -> Result<()> {
    let (site, mut daemon) = with_fixtures(&["counter-1", "echo"])?;
    let mut names = Vec::new();
    for entry in fs::read_dir(&site.plugins)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        // An engine takes every socket in this directory for a plugin.
        assert!(metadata.file_type().is_socket(), "{:?}", entry.path());
        assert_eq!(
            metadata.permissions().mode() & 0o777,
            0o600,
            "{:?}",
            entry.path()
        );
        names.push(entry.file_name().into_string().unwrap());
    }
    names.sort();
    assert_eq!(names, ["counter-1.sock", "echo.sock"]);
    daemon.terminate()?;
    // A socket that nobody listens on costs an engine 15 s on each `docker volume ls`.
    assert_eq!(fs::read_dir(&site.plugins)?.count(), 0);
    Ok(())
}
