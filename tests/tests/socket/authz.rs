//! Permission: every failure denies.

use anyhow::Result;
use base64::Engine as _;
use dockside_tests::client::Answer;
use serde_json::{Value, json};

use crate::{with_driver, with_fixtures};

const READ_ONLY: &str = "[grants.files]\n[config]\npolicy = '''\npackage docker.authz\nallow { input.Method = \"GET\" }\n'''\n";

/// What the engine does with an answer (moby: `pkg/authorization`): a 200 with `Allow` true passes, whatever else it says.
fn allows(answer: &Answer) -> bool {
    answer.status == 200 && answer.at("/Allow") == json!(true)
}

fn request(method: &str, uri: &str, body: Option<&Value>) -> Value {
    let mut headers = json!({ "User-Agent": "Docker-Client/20.10.24 (linux)" });
    let mut request = json!({ "RequestMethod": method, "RequestUri": uri });
    match body {
        Some(body) => {
            headers["Content-Type"] = json!("application/json");
            headers["Content-Length"] = json!(body.to_string().len().to_string());
            request["RequestBody"] =
                json!(base64::engine::general_purpose::STANDARD.encode(body.to_string()));
        }
        None if method == "POST" => headers["Content-Length"] = json!("0"),
        None => {}
    }
    request["RequestHeaders"] = headers;
    request
}

#[test]
fn a_read_only_policy_allows_get_and_denies_the_rest() -> Result<()> {
    let (site, _daemon) = with_driver("rego", READ_ONLY)?;
    let mut caller = site.caller("rego");
    for (method, uri, body, expected) in [
        ("GET", "/v1.41/containers/json", None, true),
        ("GET", "/v1.41/info", None, true),
        (
            "POST",
            "/v1.41/containers/create",
            Some(json!({ "Image": "busybox" })),
            false,
        ),
        ("DELETE", "/v1.41/containers/abc", None, false),
        ("POST", "/v1.41/containers/abc/start", None, false),
    ] {
        let answer = caller.call("AuthZPlugin.AuthZReq", &request(method, uri, body.as_ref()))?;
        assert_eq!(allows(&answer), expected, "{method} {uri}: {answer:?}");
        if !expected {
            // The engine shows `Msg` and nothing else to the user.
            assert!(
                answer
                    .at("/Msg")
                    .as_str()
                    .is_some_and(|text| !text.is_empty()),
                "{answer:?}"
            );
        }
    }
    Ok(())
}

#[test]
fn what_is_ambiguous_malformed_or_withheld_is_denied() -> Result<()> {
    // A policy that allows everything: what is denied here is denied by the host.
    let (site, _daemon) = with_driver(
        "rego",
        "[grants.files]\n[config]\npolicy = '''\npackage docker.authz\nallow { true }\n'''\n",
    )?;
    let mut caller = site.caller("rego");
    let plain = request(
        "POST",
        "/v1.41/containers/create",
        Some(&json!({ "Image": "busybox" })),
    );
    assert!(allows(&caller.call("AuthZPlugin.AuthZReq", &plain)?));

    let encode = |text: &str| json!(base64::engine::general_purpose::STANDARD.encode(text));
    let change = |pointer: &str, value: Value| {
        let mut changed = plain.clone();
        let (parent, key) = pointer.rsplit_once('/').unwrap();
        changed.pointer_mut(parent).unwrap()[key] = value;
        changed
    };
    let mut withheld = plain.clone();
    withheld.as_object_mut().unwrap().remove("RequestBody");
    for (what, body) in [
        ("no body shown", withheld),
        (
            "a form body",
            change(
                "/RequestHeaders/Content-Type",
                json!("application/x-www-form-urlencoded"),
            ),
        ),
        (
            "a second document",
            change(
                "/RequestBody",
                encode("{\"Image\":\"a\"} {\"Image\":\"b\"}"),
            ),
        ),
        ("no JSON", change("/RequestBody", encode("Image=busybox"))),
        ("not base64", change("/RequestBody", json!("*"))),
        (
            "a bad escape",
            change("/RequestUri", json!("/v1.41/containers/%zz")),
        ),
        ("no method", change("/RequestMethod", json!(""))),
        ("no target", change("/RequestUri", json!(""))),
        ("nothing at all", json!({})),
        ("null", json!(null)),
        ("a list", json!([])),
    ] {
        let answer = caller.call("AuthZPlugin.AuthZReq", &body)?;
        assert!(!allows(&answer), "{what}: {answer:?}");
    }
    let answer = caller.call_raw("AuthZPlugin.AuthZReq", b"")?;
    assert!(!allows(&answer), "an empty body: {answer:?}");
    Ok(())
}

#[test]
fn a_driver_that_fails_denies() -> Result<()> {
    let (site, mut daemon) = with_fixtures(&["trap-authz"])?;
    let mut caller = site.caller("trap-authz");
    for method in ["AuthZPlugin.AuthZReq", "AuthZPlugin.AuthZRes"] {
        for _ in 0..50 {
            let answer = caller.call(method, &request("GET", "/v1.41/info", None))?;
            assert!(!allows(&answer), "{answer:?}");
        }
    }
    assert!(daemon.is_running()?);
    Ok(())
}

#[test]
fn without_a_policy_everything_is_denied() -> Result<()> {
    let (site, _daemon) = with_driver("rego", "[grants.files]\n")?;
    let answer = site
        .caller("rego")
        .call("AuthZPlugin.AuthZReq", &request("GET", "/v1.41/info", None))?;
    assert!(!allows(&answer), "{answer:?}");
    Ok(())
}
