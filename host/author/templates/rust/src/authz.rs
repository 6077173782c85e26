//! A sample policy: nobody but the administrators gets a privileged container, a part of the machine's file system, or what cannot be judged.

use dockside_driver::{
    Authz, Result,
    authz::{Decision, Request, RequestBody},
    config,
};
use serde_json::Value;

use crate::Driver;

impl Authz for Driver {
    fn authz_req(request: &Request) -> Result<Decision> {
        if is_administrator(request.user.as_deref())? {
            return Ok(Decision::Allow);
        }
        Ok(objection(request).map_or(Decision::Allow, Decision::Deny))
    }
}

fn is_administrator(user: Option<&str>) -> Result<bool> {
    let administrators = config::get("administrators")?.unwrap_or_default();
    Ok(user.is_some_and(|user| {
        !user.is_empty() && administrators.split(',').any(|name| name.trim() == user)
    }))
}

/// Why a request must not pass.
fn objection(request: &Request) -> Option<String> {
    let path: Vec<&str> = request.path.iter().map(String::as_str).collect();
    let judge = match (request.method.as_str(), path.as_slice()) {
        ("POST", ["containers", "create"]) => container,
        ("POST", ["containers", _, "exec"]) => command,
        ("POST", ["volumes", "create"]) => volume,
        // Older engines take a container's configuration here once more.
        ("POST", ["containers", _, "start"]) => {
            let has_body = !matches!(request.body, RequestBody::None);
            return has_body
                .then(|| "a configuration at the start of a container is not allowed".into());
        }
        // Connections that Docker hands over: nobody sees what is said there.
        (_, ["session" | "grpc"]) => {
            let path = path.join("/");
            return Some(format!(
                "/{path} is not allowed, because what is said there cannot be judged"
            ));
        }
        (method, path) if is_daily(method, path) => return None,
        (method, _) => {
            let path = path.join("/");
            return Some(format!(
                "{method} /{path} is not among the requests that this policy knows"
            ));
        }
    };
    let body: Option<Value> = match &request.body {
        RequestBody::Json(body) => serde_json::from_str(body).ok(),
        _ => None,
    };
    match body.filter(Value::is_object) {
        Some(body) => judge(&body),
        None => Some(format!(
            "the body of {} /{} is not there to be judged",
            request.method,
            path.join("/")
        )),
    }
}

/// Whether it says nothing of the machine. All else is denied, so a new endpoint of Docker's is no way around the policy.
fn is_daily(method: &str, path: &[&str]) -> bool {
    match (method, path) {
        ("GET" | "HEAD", _) => true,
        ("POST", ["auth"] | ["networks", "create"]) => true,
        ("POST", ["containers" | "networks" | "volumes", "prune"]) => true,
        ("POST", ["containers", _, action]) => [
            "stop", "restart", "kill", "pause", "unpause", "wait", "resize", "attach", "rename",
        ]
        .contains(action),
        ("POST", ["exec", _, "start" | "resize"]) => true,
        ("POST", ["networks", _, "connect" | "disconnect"]) => true,
        ("PUT", ["containers", _, "archive"]) => true,
        ("DELETE", ["containers" | "networks" | "volumes", _]) => true,
        // The names of images have slashes in them.
        ("POST" | "DELETE", ["images", _, ..]) => true,
        _ => false,
    }
}

// Docker's field names come in Docker's spelling, each once. What is not there is `null`.

fn container(body: &Value) -> Option<String> {
    let host = &body["HostConfig"];
    if !is_false(&host["Privileged"]) {
        return Some("privileged containers are not allowed".into());
    }
    let is_path = |bind: &Value| {
        let source = bind.as_str().unwrap_or("/");
        source.starts_with(['/', '~', '.'])
    };
    if list(&host["Binds"]).iter().any(is_path) {
        return Some("directories of the machine are not allowed in containers".into());
    }
    for mount in list(&host["Mounts"]) {
        if mount["Type"] != "volume" && mount["Type"] != "tmpfs" {
            return Some(format!("mounts of type {} are not allowed", mount["Type"]));
        }
        let options = &mount["VolumeOptions"]["DriverConfig"]["Options"];
        if options
            .as_object()
            .is_some_and(|options| !options.is_empty())
        {
            return Some("options for new volumes are not allowed in mounts".into());
        }
    }
    let spaces = [
        "PidMode",
        "IpcMode",
        "UTSMode",
        "UsernsMode",
        "NetworkMode",
        "CgroupnsMode",
    ];
    let space = spaces.into_iter().find(|space| host[space] == "host")?;
    Some(format!("{space} host is not allowed"))
}

fn command(body: &Value) -> Option<String> {
    (!is_false(&body["Privileged"])).then(|| "privileged commands are not allowed".into())
}

fn volume(body: &Value) -> Option<String> {
    let device = body["DriverOpts"]["device"].as_str();
    device
        .is_some_and(|device| !device.is_empty())
        .then(|| "volumes of devices and directories are not allowed".into())
}

/// What is neither true nor false is not left to the engine.
fn is_false(value: &Value) -> bool {
    value.is_null() || *value == false
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

#[cfg(test)]
mod tests {
    use super::*;
    use dockside_driver::testing;
    use serde_json::json;

    fn ask(path: &str, body: RequestBody, user: Option<&str>) -> Decision {
        ask_by("POST", path, body, user)
    }

    fn ask_by(method: &str, path: &str, body: RequestBody, user: Option<&str>) -> Decision {
        testing::set_config("administrators", "root, alice");
        let request = Request {
            user: user.map(str::to_owned),
            method: method.into(),
            path: path.split('/').map(str::to_owned).collect(),
            body,
            ..Request::default()
        };
        Driver::authz_req(&request).unwrap()
    }

    fn json(body: Value) -> RequestBody {
        RequestBody::Json(body.to_string())
    }

    #[test]
    fn ordinary_requests_are_allowed() {
        for (path, body) in [
            ("containers/create", json(json!({"Image": "busybox"}))),
            (
                "containers/create",
                json(json!({"HostConfig": {
                    "Binds": ["data:/data"],
                    "Mounts": [{"Type": "volume", "Source": "data"}],
                    "NetworkMode": "default",
                }})),
            ),
            ("containers/x/exec", json(json!({"Cmd": ["true"]}))),
            (
                "volumes/create",
                json(json!({"Name": "data", "DriverOpts": {"mode": "0750"}})),
            ),
            ("containers/x/start", RequestBody::None),
        ] {
            assert_eq!(ask(path, body.clone(), None), Decision::Allow, "{body:?}");
        }
        for (method, path) in [
            ("GET", "info"),
            ("GET", "images/json"),
            ("DELETE", "containers/x"),
            ("PUT", "containers/x/archive"),
            ("POST", "images/shop/web/push"),
        ] {
            let decision = ask_by(method, path, RequestBody::None, None);
            assert_eq!(decision, Decision::Allow, "{method} {path}");
        }
    }

    #[test]
    fn what_the_policy_does_not_know_is_denied() {
        for (method, path) in [
            ("POST", "plugins/pull"),
            ("POST", "containers/create/auth"),
            ("POST", "version1.41/containers/create"),
            ("POST", "auth/x"),
            ("OPTIONS", "containers/create"),
            ("DELETE", "containers/x/y"),
        ] {
            let decision = ask_by(method, path, json(json!({"Image": "busybox"})), None);
            assert!(matches!(decision, Decision::Deny(_)), "{method} {path}");
        }
    }

    #[test]
    fn what_leads_to_the_machine_is_denied_but_not_to_administrators() {
        let options = json!({"DriverConfig": {"Options": {"o": "bind"}}});
        for (path, body) in [
            (
                "containers/create",
                json!({"HostConfig": {"Privileged": true}}),
            ),
            (
                "containers/create",
                json!({"HostConfig": {"Privileged": "true"}}),
            ),
            (
                "containers/create",
                json!({"HostConfig": {"Binds": ["/:/host"]}}),
            ),
            (
                "containers/create",
                json!({"HostConfig": {"Mounts": [{"Type": "bind", "Source": "/"}]}}),
            ),
            (
                "containers/create",
                json!({"HostConfig": {"Mounts": [{"Type": "volume", "VolumeOptions": options}]}}),
            ),
            (
                "containers/create",
                json!({"HostConfig": {"PidMode": "host"}}),
            ),
            ("containers/x/exec", json!({"Privileged": true})),
            ("containers/x/start", json!({"Privileged": true})),
            (
                "volumes/create",
                json!({"DriverOpts": {"type": "none", "o": "bind", "device": "/"}}),
            ),
            ("session", json!({})),
            ("grpc", json!({})),
        ] {
            for user in [
                None,
                Some(""),
                Some("bob"),
                Some("Alice"),
                Some("alice, root"),
            ] {
                let decision = ask(path, json(body.clone()), user);
                assert!(matches!(decision, Decision::Deny(_)), "{user:?} {body}");
            }
            let decision = ask(path, json(body.clone()), Some("alice"));
            assert_eq!(decision, Decision::Allow, "{body}");
        }
    }

    #[test]
    fn a_body_that_is_not_there_is_no_harmless_one() {
        for body in [
            RequestBody::None,
            RequestBody::Stream,
            json(Value::Null),
            json(json!([])),
        ] {
            let decision = ask("containers/create", body, None);
            assert!(matches!(decision, Decision::Deny(_)));
        }
    }
}
