#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod recorded;

use dockside_driver::{
    Admin as _, KeyValues,
    authz::{ApiVersion, RequestBody},
    testing,
};

use super::*;

const POLICY: &str = r#"
[groups]
admins = ["root-admin"]
developers = ["alice", "bob"]

[roles.admin]
actions = ["*"]
unrestricted = true

[roles.viewer]
actions = ["*_list", "*_inspect", "docker_*", "container_logs", "container_top", "container_stats"]
except = ["secret_inspect"]

[roles.developer]
actions = ["container_*", "image_pull", "image_build*", "volume_create", "network_connect"]
containers = ["{user}-*", "dev-*"]
images = ["docker.io/library/*", "registry.example.com/team/*"]
volumes = ["{user}-*"]
mounts = ["/srv/{user}", "/etc/ssl:ro"]
capabilities = ["NET_BIND_SERVICE"]
ports = ["8000-8999"]

[roles.operator]
actions = ["container_start", "container_stop", "container_create", "container_exec*"]
own-containers = true
devices = ["/dev/fuse"]
host-namespaces = ["network"]
security-options = ["apparmor=*"]
fields = ["Sysctls"]
volume-drivers = ["sshfs"]

[[grants]]
groups = ["admins"]
roles = ["admin"]

[[grants]]
groups = ["developers"]
roles = ["viewer", "developer"]

[[grants]]
users = ["olga"]
roles = ["operator"]

[[grants]]
users = ["local"]
roles = ["viewer"]
"#;

fn with_policy_text(text: &str) {
    testing::set_config("policy-file", "policies/rbac.toml");
    testing::put_file("policies", "rbac.toml", text.as_bytes());
}

fn request(user: &str, method: &str, target: &str, body: &str) -> Request {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    Request {
        user: Some(user.to_owned()).filter(|user| !user.is_empty()),
        user_authn_method: (!user.is_empty()).then(|| "TLS".to_owned()),
        method: method.to_owned(),
        uri: target.to_owned(),
        api_version: Some(ApiVersion {
            major: 1,
            minor: 41,
        }),
        path: path.split('/').skip(1).map(str::to_owned).collect(),
        query: query
            .split('&')
            .filter_map(|pair| pair.split_once('='))
            .collect(),
        body: match body {
            "" => RequestBody::None,
            json => RequestBody::Json(json.to_owned()),
        },
        ..Request::default()
    }
}

fn ask(user: &str, method: &str, target: &str, body: &str) -> Result<(), String> {
    match testing::call(|| Rbac::authz_req(&request(user, method, target, body))).unwrap() {
        Decision::Allow => Ok(()),
        Decision::Deny(reason) => Err(reason.split_once(" (decision ").unwrap().0.to_owned()),
    }
}

fn answer(user: &str, method: &str, target: &str, status: u16, body: &str) {
    let response = Response {
        status: Some(status),
        body: body.as_bytes().to_vec(),
        ..Response::default()
    };
    let decision =
        testing::call(|| Rbac::authz_res(&request(user, method, target, ""), &response)).unwrap();
    assert_eq!(decision, Decision::Allow);
}

const CREATE: &str = "/containers/create";

#[test]
fn a_denial_names_the_rule_and_what_would_allow_it() {
    with_policy_text(POLICY);
    testing::link_path("/srv/alice/etc", "/etc");
    for (user, method, target, body, expected) in [
        (
            "eve",
            "GET",
            "/containers/json",
            "",
            "eve may not container_list: eve has no role, it takes the role admin or developer or viewer",
        ),
        (
            "",
            "POST",
            "/containers/x/start",
            "",
            "local may not container_start: local has viewer, it takes the role admin or developer or operator",
        ),
        (
            "alice",
            "GET",
            "/secrets/x",
            "",
            "alice may not secret_inspect: alice has developer, viewer, it takes the role admin",
        ),
        (
            "alice",
            "GET",
            "/nothing/x",
            "",
            "GET /nothing/x is no action of Docker's",
        ),
        (
            "alice",
            "POST",
            CREATE,
            r#"{"Image": "debian"}"#,
            "role developer: the container needs a name: --name {user}-*, dev-* (containers)",
        ),
        (
            "alice",
            "POST",
            "/containers/create?name=web",
            r#"{"Image": "debian"}"#,
            "role developer: the container \"web\" is not allowed, but {user}-*, dev-* (containers)",
        ),
        (
            "alice",
            "POST",
            "/containers/create?name=bob-web",
            r#"{"Image": "debian"}"#,
            "role developer: the container \"bob-web\" is not allowed, but {user}-*, dev-* (containers)",
        ),
        (
            "alice",
            "POST",
            "/containers/create?name=dev-1",
            r#"{"Image": "evil.example.com/debian"}"#,
            "role developer: the image \"evil.example.com/debian\" is not allowed, but docker.io/library/*, registry.example.com/team/* (images)",
        ),
        (
            "alice",
            "POST",
            "/containers/create?name=dev-1",
            r#"{"Image": "debian", "HostConfig": {"Privileged": true}}"#,
            "role developer: privileged is not allowed (privileged = true)",
        ),
        (
            "alice",
            "POST",
            "/containers/create?name=dev-1",
            r#"{"Image": "debian", "HostConfig": {"CapAdd": ["cap_sys_admin"]}}"#,
            "role developer: the capability \"SYS_ADMIN\" is not allowed, but NET_BIND_SERVICE (capabilities = [\"SYS_ADMIN\"])",
        ),
        (
            "alice",
            "POST",
            "/containers/create?name=dev-1",
            r#"{"Image": "debian", "HostConfig": {"PidMode": "host"}}"#,
            "role developer: the machine's pid namespace is not allowed (host-namespaces = [\"pid\"])",
        ),
        (
            "alice",
            "POST",
            "/containers/create?name=dev-1",
            r#"{"Image": "debian", "HostConfig": {"Binds": ["/srv/alice/etc:/x"]}}"#,
            "role developer: the directory /srv/alice/etc, which leads to /etc, is not allowed (mounts = [\"/etc\"])",
        ),
        (
            "alice",
            "POST",
            "/containers/create?name=dev-1",
            r#"{"Image": "debian", "HostConfig": {"Binds": ["/etc/ssl:/x"]}}"#,
            "role developer: the directory /etc/ssl can only be mounted to be read (mounts = [\"/etc/ssl\"])",
        ),
        (
            "alice",
            "POST",
            "/containers/create?name=dev-1",
            r#"{"Image": "debian", "HostConfig": {"Devices": [{"PathOnHost": "/dev/sda"}]}}"#,
            "role developer: the device \"/dev/sda\" is not allowed (devices = [\"/dev/sda\"])",
        ),
        (
            "alice",
            "POST",
            "/containers/create?name=dev-1",
            r#"{"Image": "debian", "HostConfig": {"PortBindings": {"80/tcp": [{"HostPort": "80"}]}}}"#,
            "role developer: the port 80 is not allowed, but 8000-8999 (ports)",
        ),
        (
            "alice",
            "POST",
            "/containers/create?name=dev-1",
            r#"{"Image": "debian", "HostConfig": {"CgroupParent": "/x"}}"#,
            "role developer: HostConfig.CgroupParent is not allowed (fields = [\"CgroupParent\"])",
        ),
        (
            "alice",
            "POST",
            "/containers/create?name=dev-1",
            r#"{"Image": "debian", "HostConfig": {"MaskedPaths": []}}"#,
            "role developer: HostConfig.MaskedPaths is not allowed (fields = [\"MaskedPaths\"])",
        ),
        (
            "alice",
            "POST",
            "/containers/create?name=dev-1",
            r#"{"Image": "debian", "HostConfig": {"NetworkMode": "container:web"}}"#,
            "role developer: the container \"web\" is not allowed, but {user}-*, dev-* (containers)",
        ),
        (
            "alice",
            "POST",
            "/volumes/create",
            r#"{"Name": "bob-data"}"#,
            "role developer: the volume \"bob-data\" is not allowed, but {user}-* (volumes)",
        ),
        (
            "alice",
            "POST",
            "/containers/prune",
            "",
            "role developer: it would remove any container (containers)",
        ),
        (
            "olga",
            "POST",
            "/containers/x/stop",
            "",
            "role operator: olga did not make the container \"x\" (own-containers)",
        ),
    ] {
        assert_eq!(
            ask(user, method, target, body),
            Err(expected.to_owned()),
            "{user} {method} {target} {body}"
        );
    }
}

#[test]
fn what_roles_allow_is_allowed() {
    with_policy_text(POLICY);
    for (user, method, target, body) in [
        ("", "GET", "/containers/json", ""),
        ("eve", "HEAD", "/_ping", ""),
        (
            "root-admin",
            "POST",
            CREATE,
            r#"{"HostConfig": {"Privileged": true, "Binds": ["/:/host"]}}"#,
        ),
        (
            "alice",
            "POST",
            "/containers/create?name=alice-1",
            r#"{"Image": "debian:12"}"#,
        ),
        (
            "alice",
            "POST",
            "/containers/create?name=dev-1",
            r#"{"Image": "registry.example.com/team/a@sha256:0123", "HostConfig": {"CapAdd": ["CAP_NET_BIND_SERVICE"], "SecurityOpt": ["no-new-privileges"], "Binds": ["/srv/alice/x:/x", "/etc/ssl:/s:ro", "alice-data:/d"], "PortBindings": {"80/tcp": [{"HostPort": "8080"}]}, "NetworkMode": "container:dev-2", "OomScoreAdj": 0, "MaskedPaths": null}}"#,
        ),
        (
            "alice",
            "POST",
            "/containers/dev-1/exec",
            r#"{"Cmd": ["sh"]}"#,
        ),
        (
            "alice",
            "POST",
            "/exec/0123456789ab/start",
            r#"{"Detach": false}"#,
        ),
        (
            "alice",
            "POST",
            "/images/create?fromImage=debian&tag=12",
            "",
        ),
        (
            "alice",
            "POST",
            "/volumes/create",
            r#"{"Name": "alice-data", "Driver": "local"}"#,
        ),
        (
            "alice",
            "POST",
            "/networks/net/connect",
            r#"{"Container": "dev-1"}"#,
        ),
        (
            "olga",
            "POST",
            CREATE,
            r#"{"Image": "x", "HostConfig": {"NetworkMode": "host", "Devices": [{"PathOnHost": "/dev/fuse"}], "SecurityOpt": ["apparmor=mine"], "Sysctls": {"net.core.somaxconn": "1"}, "Mounts": [{"Type": "volume", "Source": "v", "VolumeOptions": {"DriverConfig": {"Name": "sshfs"}}}]}}"#,
        ),
    ] {
        assert_eq!(
            ask(user, method, target, body),
            Ok(()),
            "{user} {method} {target} {body}"
        );
    }
}

#[test]
fn no_certificate_makes_a_local_user_and_no_name_stands_for_a_pattern() {
    with_policy_text(POLICY);
    assert_eq!(ask("", "GET", "/info", ""), Ok(()));
    assert!(ask("local", "GET", "/info", "").is_err(), "by certificate");
    for user in ["*", "Alice", "alice ", "{user}", "alice\u{0}"] {
        assert!(ask(user, "GET", "/info", "").is_err(), "{user:?}");
    }
}

/// A full ID.
fn id(start: &str) -> String {
    format!("{start:0<64}")
}

#[test]
fn docker_run_goes_on_by_the_id_of_the_container_that_it_made() {
    with_policy_text(POLICY);
    let mine = id("3f2a9c41d5e6");
    let target = "/containers/create?name=alice-web";
    assert_eq!(
        ask("alice", "POST", target, r#"{"Image": "debian"}"#),
        Ok(())
    );
    let start =
        |user: &str, text: &str| ask(user, "POST", &format!("/containers/{text}/start"), "");
    assert!(start("alice", &mine).is_err(), "not known yet");
    answer(
        "alice",
        "POST",
        target,
        201,
        &format!(r#"{{"Id": "{mine}"}}"#),
    );
    assert_eq!(start("alice", &mine), Ok(()));
    assert_eq!(start("alice", &mine[..12]), Ok(()));
    assert!(start("bob", &mine).is_err(), "the name is alice's");
    // Too short to be nobody else's.
    assert!(start("alice", &mine[..11]).is_err());
    // Renamed to what bob may use, and to what nobody may.
    assert_eq!(
        ask(
            "alice",
            "POST",
            &format!("/containers/{mine}/rename?name=dev-9"),
            ""
        ),
        Ok(())
    );
    answer(
        "alice",
        "POST",
        &format!("/containers/{mine}/rename?name=dev-9"),
        204,
        "",
    );
    assert_eq!(start("bob", &mine), Ok(()));
    assert!(
        ask(
            "alice",
            "POST",
            &format!("/containers/{mine}/rename?name=web"),
            ""
        )
        .is_err()
    );
    answer("alice", "DELETE", &format!("/containers/{mine}"), 204, "");
    assert!(start("bob", &mine).is_err());
    // A creation that failed is none.
    answer(
        "alice",
        "POST",
        target,
        409,
        &format!(r#"{{"Id": "{mine}"}}"#),
    );
    assert!(start("alice", &mine).is_err());
}

#[test]
fn names_that_could_be_ids_are_no_way_to_other_containers() {
    with_policy_text(&POLICY.replace("\"dev-*\"]", "\"dev-*\", \"*\"]"));
    for name in ["de", "0123456789ab", "cafe"] {
        assert!(
            ask(
                "alice",
                "POST",
                &format!("/containers/create?name={name}"),
                r#"{"Image": "debian"}"#
            )
            .is_err(),
            "{name}"
        );
        assert!(
            ask("alice", "POST", &format!("/containers/{name}/stop"), "").is_err(),
            "{name}"
        );
    }
    assert!(ask("alice", "POST", "/containers/dev-1/other/stop", "").is_err());
    assert_eq!(ask("alice", "POST", "/containers/web/stop", ""), Ok(()));
    assert!(
        ask(
            "alice",
            "POST",
            "/containers/create?name=w",
            r#"{"Image": "deadbeef"}"#
        )
        .is_err()
    );
}

#[test]
fn a_container_belongs_to_who_made_it() {
    with_policy_text(POLICY);
    let (hers, other) = (id("aaaaaaaaaaaa"), id("bbbbbbbbbbbb"));
    answer(
        "olga",
        "POST",
        "/containers/create?name=tool",
        201,
        &format!(r#"{{"Id": "{hers}"}}"#),
    );
    answer(
        "alice",
        "POST",
        "/containers/create?name=dev-1",
        201,
        &format!(r#"{{"Id": "{other}"}}"#),
    );
    for (text, allowed) in [
        ("tool", true),
        (hers.as_str(), true),
        ("dev-1", false),
        (other.as_str(), false),
    ] {
        assert_eq!(
            ask("olga", "POST", &format!("/containers/{text}/stop"), "").is_ok(),
            allowed,
            "{text}"
        );
    }
    assert!(
        ask(
            "olga",
            "POST",
            CREATE,
            r#"{"Image": "x", "HostConfig": {"VolumesFrom": ["dev-1:ro"]}}"#
        )
        .is_err()
    );
    // Somebody else's new container of that name.
    answer(
        "alice",
        "POST",
        "/containers/create?name=tool",
        201,
        &format!(r#"{{"Id": "{}"}}"#, id("cccccccccccc")),
    );
    assert!(ask("olga", "POST", "/containers/tool/stop", "").is_err());
}

#[test]
fn the_last_good_policy_stays_and_without_one_everything_is_denied() {
    testing::grant_files("policies");
    testing::set_config("policy-file", "policies/rbac.toml");
    assert!(
        ask("root-admin", "GET", "/info", "")
            .unwrap_err()
            .contains("no usable policy")
    );
    assert!(ask("", "HEAD", "/_ping", "").is_err());
    with_policy_text(POLICY);
    assert_eq!(ask("alice", "GET", "/info", ""), Ok(()));
    for bad in [
        "",
        "[roles",
        "[[grants]]\nusers = [\"eve\"]\nroles = [\"admin\"]",
    ] {
        with_policy_text(bad);
        assert_eq!(ask("alice", "GET", "/info", ""), Ok(()), "{bad}");
        assert!(ask("eve", "GET", "/info", "").is_err(), "{bad}");
    }
    testing::remove_file("policies", "rbac.toml");
    assert_eq!(ask("alice", "GET", "/info", ""), Ok(()));
    let status: Value =
        serde_json::from_str(&Rbac::run("status", &KeyValues::new()).unwrap()).unwrap();
    assert!(status["rejected"].is_string(), "{status}");
    with_policy_text(&POLICY.replace("\"alice\", ", ""));
    assert!(ask("alice", "GET", "/info", "").is_err());
    testing::put_file("break-glass", "", b"fire");
    assert_eq!(ask("eve", "POST", CREATE, "{}"), Ok(()));
}

#[test]
fn every_call_has_a_line_in_the_log() {
    with_policy_text(POLICY);
    let lines = || {
        testing::log()
            .iter()
            .filter_map(|(_, line)| line.split_once("audit "))
            .map(|(_, json)| serde_json::from_str::<Value>(json).unwrap())
            .collect::<Vec<_>>()
    };
    ask("alice", "POST", "/containers/dev-1/start", "").unwrap();
    ask("alice", "POST", "/containers/web/start", "").unwrap_err();
    let all = lines();
    assert_eq!(all.len(), 2, "{all:?}");
    for (line, decision, rule) in [
        (&all[0], "allow", "developer"),
        (&all[1], "deny", "developer"),
    ] {
        assert_eq!(
            (
                &line["user"],
                &line["action"],
                &line["decision"],
                &line["rule"],
                &line["auth"]
            ),
            (
                &json!("alice"),
                &json!("container_start"),
                &json!(decision),
                &json!(rule),
                &json!("TLS")
            )
        );
        assert_eq!(line["id"].as_str().unwrap().len(), 36);
    }
    assert_eq!(all[1]["object"], "web");
    for (audit, more) in [("denied", 1), ("off", 0), ("all", 2)] {
        testing::set_config("audit", audit);
        let before = lines().len();
        ask("alice", "GET", "/info", "").unwrap();
        ask("alice", "GET", "/nothing", "").unwrap_err();
        assert_eq!(lines().len() - before, more, "{audit}");
    }
}

#[test]
fn lines_of_twistlock_authz_mean_what_they_mean_there() {
    with_policy_text(
        "{\"name\":\"policy_1\",\"users\":[\"alice\"],\"actions\":[\"\"]}\n\
         {\"name\":\"policy_3\",\"users\":[\"bob\",\"carol\"],\"actions\":[\"container_create\"]}\n\n\
         {\"name\":\"policy_4\",\"users\":[\"service_account\"],\"actions\":[\"container_logs\",\"container_top\"]}\n\
         {\"name\":\"policy_5\",\"users\":[\"dan\"],\"actions\":[\"^container\"],\"readonly\":true}\n\
         {\"name\":\"policy_6\",\"users\":[\"erin\"],\"actions\":[\"image_create\",\"images_load\"]}\n\
         {\"name\":\"policy_7\",\"users\":[\"\"],\"actions\":[\"docker_version\"]}\n",
    );
    for (user, method, target, expected) in [
        ("alice", "POST", CREATE, Ok(())),
        ("alice", "DELETE", "/containers/x", Ok(())),
        ("bob", "POST", CREATE, Ok(())),
        (
            "carol",
            "POST",
            "/containers/x/start",
            Err("action 'container_start' denied for user 'carol' by policy 'policy_3'"),
        ),
        ("service_account", "GET", "/containers/x/logs", Ok(())),
        ("dan", "GET", "/containers/json", Ok(())),
        (
            "dan",
            "POST",
            CREATE,
            Err(
                "action 'container_create' not allowed for user 'dan' by readonly policy 'policy_5'",
            ),
        ),
        ("erin", "POST", "/images/create?fromImage=x", Ok(())),
        ("erin", "POST", "/images/load", Ok(())),
        ("", "GET", "/version", Ok(())),
        (
            "",
            "GET",
            "/info",
            Err("action 'docker_info' denied for user '' by policy 'policy_7'"),
        ),
        (
            "eve",
            "GET",
            "/info",
            Err("no policy applied (user: 'eve' action: 'docker_info')"),
        ),
        // There, an expression that is found in the empty text allows what is no action.
        (
            "alice",
            "GET",
            "/debug/vars",
            Err("GET /debug/vars is no action of Docker's"),
        ),
    ] {
        assert_eq!(
            ask(user, method, target, ""),
            expected.map_err(str::to_owned),
            "{user} {method} {target}"
        );
    }
}

#[test]
fn verbs_explain_and_check() {
    with_policy_text(POLICY);
    let run = |verb: &str, pairs: &[(&str, &str)]| {
        Rbac::run(verb, &pairs.iter().copied().collect())
            .map(|text| serde_json::from_str::<Value>(&text).unwrap())
    };
    let explained = run(
        "explain",
        &[
            ("method", "POST"),
            ("path", "/v1.44/containers/web/start"),
            ("user", "alice"),
        ],
    )
    .unwrap();
    assert_eq!(
        (
            &explained["allowed"],
            &explained["action"],
            &explained["object"],
            &explained["rule"]
        ),
        (
            &json!(false),
            &json!("container_start"),
            &json!("web"),
            &json!("developer")
        )
    );
    assert_eq!(run("check", &[]).unwrap()["sound"], true);
    testing::put_file(
        "policies",
        "next.toml",
        b"[roles.x]\nactions = [\"container_crate\"]\n[[grants]]\nusers = [\"a\"]\nroles = [\"x\"]",
    );
    let error = run("check", &[("policy", "policies/next.toml")]).unwrap_err();
    assert!(
        error.message().contains("no action container_crate"),
        "{error}"
    );
    let actions = run("actions", &[]).unwrap();
    assert!(
        actions
            .as_array()
            .unwrap()
            .iter()
            .any(|row| row["action"] == "image_pull" && row["also called"] == "image_create")
    );
}

/// An error for a denial, so that one more of them is as good as any error.
fn allows(request: &Request) -> Result<()> {
    match Rbac::authz_req(request)? {
        Decision::Allow => Ok(()),
        Decision::Deny(reason) => Err(Error::other(reason)),
    }
}

#[test]
fn a_host_call_that_fails_allows_nothing_more() {
    let list = request("alice", "GET", "/containers/json", "");
    let create = request("alice", "POST", CREATE, r#"{"Image": "debian"}"#);
    let faults = testing::Faults::new().forgetting(|| ENFORCED.set(None));
    let checked = faults.check(|run| {
        with_policy_text(POLICY);
        run.call("a list", || allows(&list))?;
        run.call("a container", || allows(&create)).or(Ok(()))
    });
    checked.unwrap_or_else(|found| panic!("{found}"));
}
