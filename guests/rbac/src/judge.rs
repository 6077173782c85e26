//! What a policy says of a request.

use dockside_authz::routes::{Kind, Route, route};
use dockside_driver::{
    Result,
    authz::{Request, RequestBody},
};
use serde_json::Value;

use crate::{
    container::{self, list, text, texts},
    containers::{self, is_like_an_id},
    images,
    pattern::{self, Pattern},
    policy::{Allowed, Compiled, Denied, Role, judge_lines},
};

/// A request with everything that rules look at.
pub(crate) struct Asked<'a> {
    pub(crate) request: &'a Request,
    /// The action; none if no engine has such a route.
    pub(crate) route: Option<Route>,
    /// The body, `null` if there is none or it is a stream.
    pub(crate) body: Value,
    /// Who asks.
    pub(crate) user: &'a str,
    /// Whether a certificate says so.
    pub(crate) is_certified: bool,
}

impl<'a> Asked<'a> {
    /// Reads a request.
    pub(crate) fn new(request: &'a Request, policy: &'a Compiled) -> Result<Self> {
        let certified = request.user.as_deref().filter(|user| !user.is_empty());
        Ok(Self {
            route: route(request),
            body: match &request.body {
                RequestBody::Json(text) => serde_json::from_str(text).map_err(|error| {
                    dockside_driver::Error::other(format!(
                        "the request's body cannot be read: {error}"
                    ))
                })?,
                RequestBody::None | RequestBody::Stream => Value::Null,
            },
            user: policy.user(certified),
            is_certified: certified.is_some(),
            request,
        })
    }
}

/// Judges a request.
pub(crate) fn judge(policy: &Compiled, asked: &Asked<'_>) -> Result<Result<Allowed, Denied>> {
    let deny = |rule: Option<&str>, reason: String| {
        Ok(Err(Denied {
            rule: rule.map(str::to_owned),
            reason,
        }))
    };
    let Some(route) = &asked.route else {
        return deny(
            None,
            format!(
                "{} /{} is no action of Docker's",
                asked.request.method,
                asked.request.path.join("/")
            ),
        );
    };
    if route.action == "docker_ping" {
        return Ok(Ok(Allowed {
            rule: "everybody".to_owned(),
        }));
    }
    if !policy.lines().is_empty() {
        return Ok(judge_lines(
            policy.lines(),
            asked.user,
            &asked.request.method,
            route,
        ));
    }
    let roles = policy.roles(asked.user, asked.is_certified);
    let mut nearest = None;
    for (name, role) in &roles {
        if !role.has(route) {
            continue;
        }
        match limits(role, asked, route)? {
            Ok(()) => {
                return Ok(Ok(Allowed {
                    rule: (*name).to_owned(),
                }));
            }
            Err(problem) => nearest = nearest.or(Some((*name, problem))),
        }
    }
    let user = asked.user;
    match nearest {
        Some((name, problem)) => deny(Some(name), format!("role {name}: {problem}")),
        None => {
            let others = policy.roles_with(route);
            let others = if others.is_empty() {
                format!("no role has it (actions = [{:?}])", route.action)
            } else {
                format!("it takes the role {}", others.join(" or "))
            };
            let names: Vec<&str> = roles.iter().map(|(name, _)| *name).collect();
            let has = if names.is_empty() {
                format!("{user} has no role")
            } else {
                format!("{user} has {}", names.join(", "))
            };
            deny(
                None,
                format!("{user} may not {}: {has}, {others}", route.action),
            )
        }
    }
}

/// Everything besides the action that a role limits.
fn limits(role: &Role, asked: &Asked<'_>, route: &Route) -> Result<Result<(), String>> {
    let Asked {
        body,
        user,
        request,
        ..
    } = asked;
    let mut used = Vec::new();
    match (route.kind, route.action) {
        (_, "container_prune") if role.containers.is_some() || role.own_containers => {
            return Ok(Err("it would remove any container (containers)".to_owned()));
        }
        (
            _,
            "container_list"
            | "container_exec_start"
            | "container_exec_inspect"
            | "container_exec_resize"
            | "container_prune",
        ) => {}
        (_, "container_create") => {
            if let Some(patterns) = &role.containers {
                let name = route.object.as_deref().unwrap_or_default();
                if let Err(problem) = new_name(patterns, name, user) {
                    return Ok(Err(problem));
                }
            }
        }
        (Kind::Container, action) => {
            used.extend(route.object.clone());
            if route.object.is_none() && (role.containers.is_some() || role.own_containers) {
                return Ok(Err("it names no container".to_owned()));
            }
            if action == "container_rename"
                && let Some(patterns) = &role.containers
                && let Err(problem) = new_name(
                    patterns,
                    request.query.get("name").unwrap_or_default(),
                    user,
                )
            {
                return Ok(Err(problem));
            }
        }
        _ => {}
    }
    used.extend(other_containers(body));
    if matches!(route.action, "network_connect" | "network_disconnect") {
        used.push(text(body, "Container").to_owned());
    }
    for name in used {
        if let Err(problem) = of_container(role, user, &name)? {
            return Ok(Err(problem));
        }
    }
    Ok(objects(role, asked, route).and_then(|()| machine(role, asked, route)))
}

/// A name for a container. One that looks like an ID would be a way to others: when its container is gone, the engine takes it for theirs.
fn new_name(patterns: &[Pattern], name: &str, user: &str) -> Result<(), String> {
    let name = name.strip_prefix('/').unwrap_or(name);
    if name.is_empty() {
        return Err(format!(
            "the container needs a name: --name {} (containers)",
            pattern::list(patterns)
        ));
    }
    if is_like_an_id(name) {
        return Err(format!(
            "the name {name:?} could be taken for an ID (containers)"
        ));
    }
    if patterns.iter().any(|pattern| pattern.fits(name, user)) {
        return Ok(());
    }
    Err(format!(
        "the container {name:?} is not allowed, but {} (containers)",
        pattern::list(patterns)
    ))
}

/// Containers that a container shares something with.
fn other_containers(body: &Value) -> Vec<String> {
    let mut found = Vec::new();
    let Some(host) = body.get("HostConfig") else {
        return found;
    };
    for field in ["NetworkMode", "PidMode", "IpcMode"] {
        found.extend(
            text(host, field)
                .strip_prefix("container:")
                .map(str::to_owned),
        );
    }
    let first = |text: &str| text.split(':').next().unwrap_or_default().to_owned();
    found.extend(texts(host.get("VolumesFrom")).map(first));
    found.extend(texts(host.get("Links")).map(first));
    found
}

/// Whether a container that is there already is one that the role may use.
fn of_container(role: &Role, user: &str, name: &str) -> Result<Result<(), String>> {
    if role.containers.is_none() && !role.own_containers {
        return Ok(Ok(()));
    }
    let name = name.strip_prefix('/').unwrap_or(name);
    let known = containers::find(name)?;
    if role.own_containers
        && known
            .as_ref()
            .is_none_or(|container| container.owner != user)
    {
        return Ok(Err(format!(
            "{user} did not make the container {name:?} (own-containers)"
        )));
    }
    let Some(patterns) = &role.containers else {
        return Ok(Ok(()));
    };
    let called = match &known {
        Some(container) if is_like_an_id(name) => container.name.as_str(),
        _ if is_like_an_id(name) => {
            return Ok(Err(format!(
                "{name:?} looks like an ID and is not known: use the container's name (containers)"
            )));
        }
        _ => name,
    };
    if !called.contains('/') && patterns.iter().any(|pattern| pattern.fits(called, user)) {
        return Ok(Ok(()));
    }
    Ok(Err(format!(
        "the container {called:?} is not allowed, but {} (containers)",
        pattern::list(patterns)
    )))
}

/// Images, volumes and networks by name.
fn objects(role: &Role, asked: &Asked<'_>, route: &Route) -> Result<(), String> {
    let Asked {
        body,
        user,
        request,
        ..
    } = asked;
    if let Some(patterns) = &role.images {
        images::check(patterns, user, request, route, body)?;
    }
    if let Some(patterns) = &role.volumes {
        let mut names: Vec<&str> = Vec::new();
        match route.action {
            "volume_create" => names.push(text(body, "Name")),
            "volume_prune" => return Err("it would remove any volume (volumes)".to_owned()),
            _ if route.kind == Kind::Volume => names.extend(route.object.as_deref()),
            _ => {}
        }
        for bind in texts(body.pointer("/HostConfig/Binds")) {
            let source = bind.split(':').next().unwrap_or_default();
            if bind.contains(':') && !source.starts_with('/') {
                names.push(source);
            }
        }
        for place in ["/HostConfig/Mounts", "/TaskTemplate/ContainerSpec/Mounts"] {
            let volumes = list(body.pointer(place))
                .iter()
                .filter(|mount| text(mount, "Type") == "volume");
            names.extend(
                volumes
                    .map(|mount| text(mount, "Source"))
                    .filter(|name| !name.is_empty()),
            );
        }
        named("volume", patterns, user, &names)?;
    }
    if let Some(patterns) = &role.networks {
        let mut names: Vec<&str> = Vec::new();
        match route.action {
            "network_create" => names.push(text(body, "Name")),
            "network_prune" => return Err("it would remove any network (networks)".to_owned()),
            _ if route.kind == Kind::Network => names.extend(route.object.as_deref()),
            _ => {}
        }
        let mode = body
            .pointer("/HostConfig/NetworkMode")
            .and_then(Value::as_str);
        names.extend(mode.filter(|mode| {
            !matches!(*mode, "" | "default" | "bridge" | "none" | "host")
                && !mode.starts_with("container:")
        }));
        let endpoints = body
            .pointer("/NetworkingConfig/EndpointsConfig")
            .and_then(Value::as_object);
        names.extend(
            endpoints
                .into_iter()
                .flatten()
                .map(|(name, _)| name.as_str())
                .filter(|name| !matches!(*name, "default" | "bridge" | "none" | "host")),
        );
        for place in ["/TaskTemplate/Networks", "/Networks"] {
            names.extend(
                list(body.pointer(place))
                    .iter()
                    .map(|network| text(network, "Target")),
            );
        }
        if let Some(name) = names.iter().find(|name| is_like_an_id(name)) {
            return Err(format!(
                "{name:?} looks like an ID: use the network's name (networks)"
            ));
        }
        named("network", patterns, user, &names)?;
    }
    Ok(())
}

fn named(kind: &str, patterns: &[Pattern], user: &str, names: &[&str]) -> Result<(), String> {
    let fits = |name: &&&str| !patterns.iter().any(|pattern| pattern.fits(name, user));
    match names.iter().find(fits) {
        None => Ok(()),
        Some(name) => Err(format!(
            "the {kind} {name:?} is not allowed, but {} ({kind}s)",
            pattern::list(patterns)
        )),
    }
}

/// What is asked of the machine.
fn machine(role: &Role, asked: &Asked<'_>, route: &Route) -> Result<(), String> {
    let Asked {
        body,
        user,
        request,
        ..
    } = asked;
    match route.action {
        "container_create" | "service_create" | "service_update" | "volume_create" => {
            container::check(role, user, body)
        }
        // Engines up to 23 take one here for old versions of the API.
        "container_start" if !body.is_null() => {
            let body = serde_json::json!({ "HostConfig": body });
            container::check(role, user, &body)
        }
        "container_update" => container::of_host_config(role, body),
        "container_exec_create" if container::is_true(body, "Privileged") => {
            container::privileged(role)
        }
        // A build with the host's network, or with rights that only a privileged one has.
        "image_build" if request.query.get("networkmode") == Some("host") => {
            container::of_host_config(role, &serde_json::json!({ "NetworkMode": "host" }))
        }
        _ => Ok(()),
    }
}
