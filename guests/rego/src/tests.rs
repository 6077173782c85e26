#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use dockside_driver::{
    KeyValues,
    authz::{ApiVersion, RequestBody},
    log::Level,
    testing,
};
use serde_json::json;

use dockside_driver::Admin;

use super::*;
use crate::bundle::tests::bundle;

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
    testing::call(|| Rego::authz_req(request)).unwrap()
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
            "/containers/x/start",
            Some(r#"{"CapAdd": ["ALL"]}"#),
            false,
        ),
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

/// The reason of a denial, without the decision's ID.
fn reason(decision: Decision) -> String {
    match decision {
        Decision::Deny(reason) => {
            let (text, id) = reason.split_once(" (decision ").unwrap();
            assert_eq!(id.len(), 37, "{reason}");
            text.to_owned()
        }
        Decision::Allow => panic!("allowed"),
    }
}

fn logged(level: Level, text: &str) -> usize {
    testing::log()
        .iter()
        .filter(|(at, line)| *at == level && line.contains(text))
        .count()
}

#[test]
fn a_denial_says_what_was_denied_or_why() {
    let create = |body| request("POST", "/containers/create", Some(body));
    assert_eq!(
        reason(decide(READ_ONLY, &create("{}"))),
        "request rejected by administrative policy: POST /containers/create"
    );
    assert_eq!(
        reason(decide(
            NO_HOST,
            &create(r#"{"HostConfig": {"Privileged": true, "Binds": ["/etc:/x"]}}"#),
        )),
        "request rejected by administrative policy: privileged containers are not allowed; the host's directory /etc is not allowed"
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
        let denied = reason(Rego::authz_req(request).unwrap());
        assert!(denied.contains("policy-file"), "{denied}");
        assert_ne!(
            Rego::authz_res(request, &Response::default()).unwrap(),
            Decision::Allow
        );
        for policy in ["", "nonsense", "package docker.authz"] {
            assert_ne!(decide(policy, request), Decision::Allow, "{policy}");
        }
        testing::set_config("polcy", READ_ONLY);
        assert_ne!(decide(READ_ONLY, request), Decision::Allow);
    }
    testing::reset();
    assert!(Rego::start(StartReason::Installed).is_err());
    // Known only after an evaluation.
    let denied = reason(decide("package docker.authz\nallow := 1", &get));
    assert!(denied.contains("neither true nor false"), "{denied}");
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
    }
}

/// The policy is the file `authz.rego` of the set `policies`.
fn with_file(text: &str) {
    testing::set_config("policy-file", "policies/authz.rego");
    testing::put_file("policies", "authz.rego", text.as_bytes());
}

#[test]
fn a_broken_half_written_or_missing_file_leaves_the_last_good_policy_in_force() {
    let allows = |method| {
        let decision = Rego::authz_req(&request(method, "/info", None)).unwrap();
        decision == Decision::Allow
    };
    with_file(READ_ONLY);
    assert!(allows("GET") && !allows("POST"));
    for bad in ["", "package docker.authz\nallow {", "package docker.authz"] {
        with_file(bad);
        assert!(allows("GET") && !allows("POST"), "{bad}");
    }
    // The tests of a policy keep one that does not pass them from coming into force.
    testing::put_file(
        "policies",
        "authz_test.rego",
        b"package t\nimport data.docker.authz\ntest_no_post if not authz.allow with input as {\"Method\": \"POST\"}",
    );
    with_file("package docker.authz\nallow := true");
    assert!(allows("GET") && !allows("POST"));
    testing::remove_file("policies", "authz.rego");
    assert!(allows("GET") && !allows("POST"));
    assert_eq!(
        logged(Level::Error, "stays in force"),
        5,
        "{:?}",
        testing::log()
    );
    let status: Value =
        serde_json::from_str(&Rego::run("status", &KeyValues::new()).unwrap()).unwrap();
    assert!(
        status["rejected"].as_str().unwrap().contains("authz.rego"),
        "{status}"
    );
    with_file("package docker.authz\nimport rego.v1\nallow if input.Method in {\"GET\", \"PUT\"}");
    assert!(allows("PUT") && !allows("POST"));
}

#[test]
fn a_bundle_and_data_in_files_make_a_policy() {
    testing::set_config("bundle", "opa/bundle.tar.gz");
    testing::set_config("data-file", "opa/users.json");
    testing::put_file(
        "opa",
        "bundle.tar.gz",
        &bundle(&[
            (
                "docker/authz.rego",
                "package docker.authz\nallow { data.methods[_] == input.Method; data.users[_] == input.User }",
            ),
            ("data.json", r#"{"methods": ["GET"]}"#),
            (
                ".manifest",
                r#"{"revision": "7", "rego_version": 0, "roots": ["docker", "methods"]}"#,
            ),
        ]),
    );
    let ask = |user: &str| {
        let mut request = request("GET", "/info", None);
        request.user = Some(user.into());
        Rego::authz_req(&request).unwrap() == Decision::Allow
    };
    testing::put_file("opa", "users.json", br#"{"users": ["alice"]}"#);
    assert!(ask("alice") && !ask("bob"));
    testing::put_file("opa", "users.json", br#"{"users": ["bob"]"#);
    assert!(ask("alice") && !ask("bob"));
    testing::put_file("opa", "users.json", br#"{"users": ["bob"]}"#);
    assert!(!ask("alice") && ask("bob"));
    testing::put_file("opa", "bundle.tar.gz", b"half");
    assert!(ask("bob"));
    let check = Rego::run("check", &KeyValues::new()).unwrap_err();
    assert!(check.message().contains("the bundle is damaged"), "{check}");
}

#[test]
fn a_directory_makes_a_policy() {
    testing::set_config("policy-file", "policies/docker");
    for (name, text) in [
        (
            "docker/authz.rego",
            "package docker.authz\nimport rego.v1\nallow if data.docker.methods.safe[_] == input.Method",
        ),
        ("docker/docker/methods/data.json", r#"{"safe": ["GET"]}"#),
        ("docker/.hidden/authz.rego", "nonsense"),
        ("docker/README.md", "nonsense"),
        ("other.rego", "nonsense"),
    ] {
        testing::put_file("policies", name, text.as_bytes());
    }
    assert_eq!(
        Rego::authz_req(&request("GET", "/info", None)).unwrap(),
        Decision::Allow
    );
    assert_ne!(
        Rego::authz_req(&request("PUT", "/info", None)).unwrap(),
        Decision::Allow
    );
}

#[test]
fn roots_break_glass_file_allows_everything_and_every_use_is_logged() {
    with_file("nonsense");
    let post = request("POST", "/containers/create", Some("{}"));
    assert_ne!(Rego::authz_req(&post).unwrap(), Decision::Allow);
    testing::put_file("break-glass", "", b"ticket 7\n");
    for _ in 0..2 {
        assert_eq!(Rego::authz_req(&post).unwrap(), Decision::Allow);
        assert_eq!(
            Rego::authz_res(&post, &Response::default()).unwrap(),
            Decision::Allow
        );
    }
    assert_eq!(
        logged(Level::Error, "BREAK GLASS"),
        2,
        "{:?}",
        testing::log()
    );
    assert_eq!(logged(Level::Error, "ticket 7"), 2);
    testing::remove_file("break-glass", "");
    assert_ne!(Rego::authz_req(&post).unwrap(), Decision::Allow);
}

#[test]
fn a_second_policy_is_asked_and_only_its_differences_are_logged() {
    with_file(READ_ONLY);
    testing::set_config("dry-run-file", "policies/next.rego");
    testing::put_file("policies", "next.rego", b"package docker.authz\nallow if input.Method == \"POST\"\ndeny contains \"only POST\" if input.Method != \"POST\"");
    let ask = |method| Rego::authz_req(&request(method, "/info", None)).unwrap() == Decision::Allow;
    assert!(ask("GET") && !ask("POST") && !ask("PUT"));
    assert_eq!(logged(Level::Warn, "dry run"), 2, "{:?}", testing::log());
    assert_eq!(
        logged(Level::Warn, "denies what the policy in force allows"),
        1
    );
    assert_eq!(logged(Level::Warn, "only POST"), 1);
    testing::put_file("policies", "next.rego", b"package docker.authz\nallow := 1");
    assert!(ask("GET") && !ask("POST"));
    assert_eq!(logged(Level::Warn, "dry run: no decision"), 2);
}

#[test]
fn decisions_are_logged_as_the_settings_say_with_the_id_that_the_user_reads() {
    with_file(READ_ONLY);
    for (setting, value, lines) in [
        ("decision-log", "all", 2),
        ("decision-log", "denied", 1),
        ("decision-log", "off", 0),
        ("args", "-policy-file /opa/policies/authz.rego", 2),
        ("args", "-policy-file /opa/policies/authz.rego -quiet", 0),
        (
            "args",
            "-policy-file /opa/policies/authz.rego -log-only-denied",
            1,
        ),
    ] {
        testing::set_config(setting, value);
        let before = logged(Level::Info, "decision {");
        assert_eq!(
            Rego::authz_req(&request("GET", "/info", None)).unwrap(),
            Decision::Allow
        );
        let Decision::Deny(reason) = Rego::authz_req(&request(
            "POST",
            "/containers/create",
            Some(r#"{"Env": ["DB_PASSWORD=hunter2"]}"#),
        ))
        .unwrap() else {
            panic!("allowed");
        };
        assert_eq!(logged(Level::Info, "decision {") - before, lines, "{value}");
        let (_, id) = reason.split_once("(decision ").unwrap();
        assert_eq!(
            logged(Level::Info, id.trim_end_matches(')')) > 0,
            lines > 0,
            "{value}"
        );
    }
    assert_eq!(logged(Level::Info, "hunter2"), 0);
    assert!(logged(Level::Info, "DB_PASSWORD=**REDACTED**") > 0);
}

#[test]
fn sources_of_binds_are_resolved() {
    with_file(
        "package docker.authz\nallow if not bad\nbad if { some b in input.BindMounts; b.Resolved == \"/etc\" }",
    );
    testing::link_path("/srv/link", "/etc");
    for (source, allowed) in [("/srv/link", false), ("/etc", false), ("/srv/data", true)] {
        let body = json!({"HostConfig": {"Binds": [format!("{source}:/x")]}}).to_string();
        let decision =
            Rego::authz_req(&request("POST", "/containers/create", Some(&body))).unwrap();
        assert_eq!(decision == Decision::Allow, allowed, "{source}");
    }
}

#[test]
fn every_value_of_a_query_is_judged() {
    with_file(
        "package docker.authz\nallow if every name in input.Query.names { startswith(name, \"public/\") }",
    );
    for (names, allowed) in [
        (&["public/a", "public/b"][..], true),
        (&["secret", "public/b"], false),
        (&["public/b", "secret"], false),
    ] {
        let mut request = request("GET", "/images/get", None);
        request.query = names.iter().map(|name| ("names", *name)).collect();
        assert_eq!(
            Rego::authz_req(&request).unwrap() == Decision::Allow,
            allowed,
            "{names:?}"
        );
    }
}

#[test]
fn verbs_check_and_explain() {
    with_file(NO_HOST);
    let run = |verb: &str, pairs: &[(&str, &str)]| {
        Rego::run(verb, &pairs.iter().copied().collect())
            .map(|text| serde_json::from_str::<Value>(&text).unwrap())
    };
    assert_eq!(run("check", &[]).unwrap()["sound"], true);
    let explained = run(
        "explain",
        &[
            ("method", "post"),
            ("path", "/v1.41/containers/create?name=a%2Db"),
            ("body", r#"{"HostConfig": {"Privileged": true}}"#),
            ("user", "alice"),
        ],
    )
    .unwrap();
    assert_eq!(explained["allowed"], false);
    assert_eq!(
        explained["reasons"],
        json!(["privileged containers are not allowed"])
    );
    assert_eq!(explained["rules"]["listed"], true);
    assert_eq!(explained["input"]["PathPlain"], "/v1.41/containers/create");
    assert_eq!(
        (&explained["input"]["Query"], &explained["input"]["User"]),
        (&json!({"name": ["a-b"]}), &json!("alice"))
    );
    testing::put_file(
        "policies",
        "next.rego",
        b"package docker.authz\nallow := true",
    );
    testing::put_file(
        "policies",
        "next_test.rego",
        b"package t\ntest_a := true\ntest_b if data.docker.authz.allow == false",
    );
    let explained = run(
        "explain",
        &[("path", "/info"), ("policy", "policies/next.rego")],
    )
    .unwrap();
    assert_eq!(explained["allowed"], true);
    let failed = run("check", &[("policy", "policies/next.rego")]).unwrap_err();
    assert_eq!(
        failed.message(),
        "1 of the policy's 2 tests fail: data.t.test_b"
    );
    assert!(run("check", &[("policy", "policies/none.rego")]).is_err());
    assert!(run("explain", &[("path", "/"), ("body", "{")]).is_err());
    let names: Vec<_> = Rego::verbs().into_iter().map(|verb| verb.name).collect();
    assert_eq!(names, ["status", "check", "explain"]);
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
        reason(Rego::authz_res(&get, &response).unwrap()),
        "request rejected by administrative policy: the answer to GET /info"
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

/// An error for a denial, so that one more of them is as good as any error.
fn allows(request: &Request) -> Result<()> {
    match Rego::authz_req(request)? {
        Decision::Allow => Ok(()),
        Decision::Deny(reason) => Err(dockside_driver::Error::other(reason)),
    }
}

#[test]
fn a_host_call_that_fails_allows_nothing_more() {
    let get = request("GET", "/containers/json", None);
    let create = request("POST", "/containers/create", Some("{}"));
    let faults = testing::Faults::new().forgetting(|| ENFORCED.set(None));
    let checked = faults.check(|run| {
        testing::set_config("policy", READ_ONLY);
        run.call("a request that is allowed", || allows(&get))?;
        run.call("one that is refused", || allows(&create))
            .or(Ok(()))
    });
    checked.unwrap_or_else(|found| panic!("{found}"));
}
