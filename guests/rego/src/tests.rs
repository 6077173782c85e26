#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use dockside_driver::{
    authz::{ApiVersion, RequestBody},
    testing,
};

use super::*;

const READ_ONLY: &str = "package docker.authz\n\nallow { input.Method = \"GET\" }\n";
const NO_HOST: &str = include_str!("../policies/no-host-access.rego");

fn request(method: &str, target: &str, body: Option<&str>) -> Request {
    let version = ApiVersion {
        major: 1,
        minor: 41,
    };
    Request {
        method: method.into(),
        uri: format!("/v1.41{target}"),
        api_version: Some(version),
        path: target.split('/').skip(1).map(str::to_owned).collect(),
        body: body.map_or(RequestBody::None, |text| RequestBody::Json(text.into())),
        ..Request::default()
    }
}

fn decide(policy: &str, request: &Request) -> Decision {
    testing::set_config("policy", policy);
    Rego::authz_req(request).unwrap()
}

#[test]
fn policies_decide_about_requests() {
    let create = "/containers/create";
    for (policy, method, target, body, allowed) in [
        (READ_ONLY, "GET", "/containers/json", None, true),
        (READ_ONLY, "HEAD", "/containers/x/archive", None, false),
        (READ_ONLY, "POST", create, Some("{}"), false),
        (READ_ONLY, "DELETE", "/containers/x", None, false),
        (NO_HOST, "GET", "/containers/json", None, true),
        (NO_HOST, "POST", "/containers/x/start", None, true),
        (
            NO_HOST,
            "POST",
            create,
            Some(r#"{"Image": "debian", "HostConfig": {"Binds": ["data:/data"]}}"#),
            true,
        ),
        (
            NO_HOST,
            "POST",
            create,
            Some(include_str!("tests/docker-run.json")),
            true,
        ),
        (
            NO_HOST,
            "POST",
            create,
            Some(r#"{"HostConfig": {"Privileged": true}}"#),
            false,
        ),
        (
            NO_HOST,
            "POST",
            create,
            Some(r#"{"HostConfig": {"Runtime": "other"}}"#),
            false,
        ),
        (
            NO_HOST,
            "POST",
            create,
            Some(r#"{"HostConfig": {"MaskedPaths": []}}"#),
            false,
        ),
        (
            NO_HOST,
            "POST",
            create,
            Some(r#"{"HostConfig": {"VolumesFrom": ["x"]}}"#),
            false,
        ),
        (
            NO_HOST,
            "POST",
            create,
            Some(r#"{"HostConfig": {"SecurityOpt": ["seccomp=unconfined"]}}"#),
            false,
        ),
        (
            NO_HOST,
            "POST",
            create,
            Some(r#"{"HostConfig": {"SecurityOpt": ["no-new-privileges"]}}"#),
            true,
        ),
        (
            NO_HOST,
            "POST",
            create,
            Some(r#"{"HostConfig": {"PidMode": "host"}}"#),
            false,
        ),
        (
            NO_HOST,
            "POST",
            create,
            Some(r#"{"HostConfig": {"CapAdd": ["SYS_ADMIN"]}}"#),
            false,
        ),
        (
            NO_HOST,
            "POST",
            create,
            Some(r#"{"HostConfig": {"Devices": [{"PathOnHost": "/dev/sda"}]}}"#),
            false,
        ),
        (
            NO_HOST,
            "POST",
            create,
            Some(r#"{"HostConfig": {"Binds": ["/:/host:ro"]}}"#),
            false,
        ),
        (
            NO_HOST,
            "POST",
            create,
            Some(r#"{"HostConfig": {"Mounts": [{"Type": "bind", "Source": "/etc"}]}}"#),
            false,
        ),
        (
            NO_HOST,
            "POST",
            "/volumes/create",
            Some(r#"{"DriverOpts": {"o": "bind", "device": "/etc"}}"#),
            false,
        ),
        (
            NO_HOST,
            "POST",
            "/volumes/create",
            Some(r#"{"Name": "data"}"#),
            true,
        ),
        (
            NO_HOST,
            "POST",
            "/containers/x/exec",
            Some(r#"{"Privileged": true}"#),
            false,
        ),
        (
            NO_HOST,
            "POST",
            "/containers/x/exec",
            Some(r#"{"Cmd": ["ls"]}"#),
            true,
        ),
        (NO_HOST, "POST", "/plugins/pull", Some("[]"), false),
        (NO_HOST, "POST", "/swarm/init", Some("{}"), false),
        (NO_HOST, "POST", "/services/create", Some("{}"), false),
        (NO_HOST, "POST", "/images/create", None, true),
        (NO_HOST, "POST", "/build", None, false),
        (NO_HOST, "POST", "/session", None, false),
    ] {
        let decision = decide(policy, &request(method, target, body));
        assert_eq!(
            decision == Decision::Allow,
            allowed,
            "{method} {target} {body:?}: {decision:?}"
        );
    }
}

#[test]
fn a_denial_says_what_was_denied_or_why() {
    assert_eq!(
        decide(
            READ_ONLY,
            &request("POST", "/containers/create", Some("{}"))
        ),
        Decision::Deny("the policy does not allow POST /containers/create".into())
    );
    let Decision::Deny(reason) = decide(
        NO_HOST,
        &request(
            "POST",
            "/containers/create",
            Some(r#"{"HostConfig": {"Privileged": true, "Binds": ["/etc:/x"]}}"#),
        ),
    ) else {
        panic!("allowed");
    };
    assert_eq!(
        reason,
        "privileged containers are not allowed; the host's directory /etc is not allowed"
    );
}

#[test]
fn without_a_usable_policy_everything_is_denied() {
    let get = request("GET", "/containers/json", None);
    let ping = Request {
        method: "HEAD".into(),
        path: vec!["_ping".into()],
        ..Request::default()
    };
    for request in [&get, &ping] {
        testing::reset();
        let decision = Rego::authz_req(request).unwrap();
        assert!(
            matches!(&decision, Decision::Deny(reason) if reason.contains("\"policy\"")),
            "{decision:?}"
        );
        assert_ne!(
            Rego::authz_res(request, &Response::default()).unwrap(),
            Decision::Allow
        );
        for policy in [
            "",
            "nonsense",
            "package docker.authz",
            "package docker.authz\nallow := 1",
        ] {
            let denied =
                matches!(decide(policy, request), Decision::Deny(reason) if !reason.is_empty());
            // That a value is of the wrong type is only known after an evaluation, which a ping does not need.
            assert!(
                denied || (is_ping(request) && policy.ends_with('1')),
                "{policy}"
            );
        }
    }
    assert!(Rego::start(StartReason::Installed).is_err());
}

#[test]
fn a_client_may_always_ask_whether_the_engine_is_there() {
    let mut ping = Request {
        method: "HEAD".into(),
        path: vec!["_ping".into()],
        ..Request::default()
    };
    assert_eq!(decide(READ_ONLY, &ping), Decision::Allow);
    ping.path = vec!["_ping".into(), "x".into()];
    assert_ne!(decide(READ_ONLY, &ping), Decision::Allow);
}

#[test]
fn a_changed_policy_takes_effect_in_an_instance_that_lives_on() {
    let get = request("GET", "/info", None);
    for _ in 0..2 {
        assert_eq!(decide(READ_ONLY, &get), Decision::Allow);
        assert_ne!(
            decide("package docker.authz\nallow := false", &get),
            Decision::Allow
        );
        testing::set_config("rule", "data.docker.authz.other");
        assert_ne!(decide(READ_ONLY, &get), Decision::Allow);
        testing::set_config("rule", "data.docker.authz.allow");
    }
}

#[test]
fn responses_are_judged_by_their_own_rule() {
    let get = request("GET", "/info", None);
    let response = Response {
        status: Some(200),
        body: br#"{"Name": "secret"}"#.to_vec(),
        ..Response::default()
    };
    testing::set_config("policy", READ_ONLY);
    assert_eq!(Rego::authz_res(&get, &response).unwrap(), Decision::Allow);
    testing::set_config(
        "policy",
        "package docker.authz\nallow := true\nallow_response if input.Response.Body.Name != \"secret\"",
    );
    assert_eq!(
        Rego::authz_res(&get, &response).unwrap(),
        Decision::Deny("the policy does not allow the answer to GET /info".into())
    );
}

#[test]
fn what_a_policy_prints_is_logged() {
    testing::reset();
    decide(
        "package docker.authz\nallow if { print(\"method\", input.Method); true }",
        &request("GET", "/info", None),
    );
    let log = testing::log();
    assert!(
        log.iter().any(|(_, line)| line.contains("method GET")),
        "{log:?}"
    );
}
