//! Docker's routes as actions: `POST /v1.41/containers/web/start` is `container_start` of the container `web`, whatever the version.
//!
//! A route is found as the engine's router finds it: the first pattern that fits, and a name can have slashes where the engine's patterns let
//! it. The table has the routes of every API version from 1.24 on.

use dockside_driver::authz::Request;

/// What the name in a path is the name of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A container, by name or ID.
    Container,
    /// An image, by reference or ID.
    Image,
    /// A network, by name or ID.
    Network,
    /// A volume, by name.
    Volume,
    /// A command in a container, by ID.
    Exec,
    /// A managed plugin.
    Plugin,
    /// Something of a swarm: a service, node, task, secret or config.
    Swarm,
    /// The engine itself.
    Engine,
}

/// A request as an action.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// The action: `container_create`.
    pub action: &'static str,
    /// Another name of the action, the one that twistlock/authz has.
    pub alias: Option<&'static str>,
    /// What it acts on.
    pub kind: Kind,
    /// The name in the path, or in the query where the engine takes it from there.
    pub object: Option<String>,
}

impl Route {
    /// Whether the action has this name.
    pub fn is(&self, action: &str) -> bool {
        self.action == action || self.alias == Some(action)
    }
}

/// The action that a request is, or none for what no engine has a route for.
pub fn route(request: &Request) -> Option<Route> {
    let path: Vec<&str> = request.path.iter().map(String::as_str).collect();
    let (name, row) = ROUTES
        .iter()
        .filter(|row| row.0 == request.method)
        .find_map(|row| fits(row.1, &path).map(|name| (name, row)))?;
    let mut action = row.2;
    let mut object = name;
    let query = |key| {
        let value: Option<&str> = request.query.get(key);
        value.filter(|value| !value.is_empty()).map(str::to_owned)
    };
    match action {
        // The engine pulls if there is an image to pull from, and imports otherwise.
        "image_pull" => {
            object = query("fromImage");
            if object.is_none() {
                action = "image_import";
            }
        }
        "container_create" => object = query("name"),
        "container_commit" => object = query("container"),
        _ => {}
    }
    Some(Route {
        action,
        alias: alias(action),
        kind: kind(action),
        object,
    })
}

/// Every action, each once.
pub fn actions() -> Vec<&'static str> {
    let mut actions: Vec<&str> = ROUTES.iter().map(|row| row.2).collect();
    actions.push("image_import");
    actions.sort_unstable();
    actions.dedup();
    actions
}

/// The name that twistlock/authz has for an action, where it has another.
pub fn alias(action: &str) -> Option<&'static str> {
    Some(match action {
        "image_pull" | "image_import" => "image_create",
        "image_archive" => "images_archive",
        "image_load" => "images_load",
        "image_search" => "images_search",
        _ => return None,
    })
}

fn kind(action: &str) -> Kind {
    let (kind, rest) = action.split_once('_').unwrap_or_default();
    match kind {
        "container" if matches!(rest, "exec_start" | "exec_inspect" | "exec_resize") => Kind::Exec,
        "container" => Kind::Container,
        "image" => Kind::Image,
        "network" => Kind::Network,
        "volume" => Kind::Volume,
        "plugin" => Kind::Plugin,
        "service" | "node" | "task" | "secret" | "config" => Kind::Swarm,
        _ => Kind::Engine,
    }
}

/// The name in the place of `{}`, empty if the pattern has none; `{}` stands for one part of a path or several.
fn fits(pattern: &str, path: &[&str]) -> Option<Option<String>> {
    let pattern: Vec<&str> = pattern.split('/').skip(1).collect();
    let Some(place) = pattern.iter().position(|part| *part == "{}") else {
        return (pattern == path).then_some(None);
    };
    let (before, after) = (pattern.get(..place)?, pattern.get(place + 1..)?);
    let names = path.strip_prefix(before)?;
    // `{}/checkpoints/{}` is the only pattern with two.
    if let [fixed, "{}"] = after {
        let end = names.iter().rposition(|part| part == fixed)?;
        let (name, last) = (names.get(..end)?, names.get(end + 1..)?);
        return (!name.is_empty() && !last.is_empty()).then(|| Some(name.join("/")));
    }
    let name = names.strip_suffix(after)?;
    (!name.is_empty()).then(|| Some(name.join("/")))
}

/// Method, path and action, in the order in which the engine looks: one that has no name in it before one that takes any.
const ROUTES: &[(&str, &str, &str)] = &[
    ("GET", "/_ping", "docker_ping"),
    ("HEAD", "/_ping", "docker_ping"),
    ("GET", "/info", "docker_info"),
    ("GET", "/version", "docker_version"),
    ("GET", "/events", "docker_events"),
    ("GET", "/system/df", "docker_df"),
    ("POST", "/auth", "docker_auth"),
    ("POST", "/session", "image_build_session"),
    ("POST", "/grpc", "image_build_grpc"),
    ("POST", "/build", "image_build"),
    ("POST", "/build/prune", "image_build_prune"),
    ("POST", "/build/cancel", "image_build_cancel"),
    // Before the container's own: its DELETE would take it.
    (
        "GET",
        "/containers/{}/checkpoints",
        "container_checkpoint_list",
    ),
    (
        "POST",
        "/containers/{}/checkpoints",
        "container_checkpoint_create",
    ),
    (
        "DELETE",
        "/containers/{}/checkpoints/{}",
        "container_checkpoint_delete",
    ),
    ("GET", "/containers/json", "container_list"),
    ("POST", "/containers/create", "container_create"),
    ("POST", "/containers/prune", "container_prune"),
    ("HEAD", "/containers/{}/archive", "container_archive_head"),
    ("GET", "/containers/{}/archive", "container_archive"),
    ("PUT", "/containers/{}/archive", "container_archive_extract"),
    ("GET", "/containers/{}/export", "container_export"),
    ("GET", "/containers/{}/changes", "container_changes"),
    ("GET", "/containers/{}/json", "container_inspect"),
    ("GET", "/containers/{}/top", "container_top"),
    ("GET", "/containers/{}/logs", "container_logs"),
    ("GET", "/containers/{}/stats", "container_stats"),
    ("GET", "/containers/{}/attach/ws", "container_attachws"),
    ("POST", "/containers/{}/attach", "container_attach"),
    ("POST", "/containers/{}/copy", "container_copyfiles"),
    ("POST", "/containers/{}/exec", "container_exec_create"),
    ("POST", "/containers/{}/kill", "container_kill"),
    ("POST", "/containers/{}/pause", "container_pause"),
    ("POST", "/containers/{}/rename", "container_rename"),
    ("POST", "/containers/{}/resize", "container_resize"),
    ("POST", "/containers/{}/restart", "container_restart"),
    ("POST", "/containers/{}/start", "container_start"),
    ("POST", "/containers/{}/stop", "container_stop"),
    ("POST", "/containers/{}/unpause", "container_unpause"),
    ("POST", "/containers/{}/update", "container_update"),
    ("POST", "/containers/{}/wait", "container_wait"),
    ("DELETE", "/containers/{}", "container_delete"),
    ("POST", "/commit", "container_commit"),
    ("GET", "/exec/{}/json", "container_exec_inspect"),
    ("POST", "/exec/{}/start", "container_exec_start"),
    ("POST", "/exec/{}/resize", "container_exec_resize"),
    ("GET", "/images/json", "image_list"),
    ("GET", "/images/search", "image_search"),
    ("GET", "/images/get", "image_archive"),
    ("POST", "/images/create", "image_pull"),
    ("POST", "/images/load", "image_load"),
    ("POST", "/images/prune", "image_prune"),
    ("GET", "/images/{}/get", "image_archive"),
    ("GET", "/images/{}/history", "image_history"),
    ("GET", "/images/{}/json", "image_inspect"),
    ("GET", "/images/{}/attestations", "image_attestations"),
    ("POST", "/images/{}/push", "image_push"),
    ("POST", "/images/{}/tag", "image_tag"),
    ("DELETE", "/images/{}", "image_delete"),
    ("GET", "/distribution/{}/json", "image_distribution"),
    ("GET", "/networks", "network_list"),
    ("GET", "/networks/{}", "network_inspect"),
    ("POST", "/networks/create", "network_create"),
    ("POST", "/networks/prune", "network_prune"),
    ("POST", "/networks/{}/connect", "network_connect"),
    ("POST", "/networks/{}/disconnect", "network_disconnect"),
    ("DELETE", "/networks/{}", "network_remove"),
    ("GET", "/volumes", "volume_list"),
    ("GET", "/volumes/{}", "volume_inspect"),
    ("POST", "/volumes/create", "volume_create"),
    ("POST", "/volumes/prune", "volume_prune"),
    ("PUT", "/volumes/{}", "volume_update"),
    ("DELETE", "/volumes/{}", "volume_remove"),
    ("GET", "/plugins", "plugin_list"),
    ("GET", "/plugins/privileges", "plugin_privileges"),
    ("POST", "/plugins/create", "plugin_create"),
    ("POST", "/plugins/pull", "plugin_install"),
    ("GET", "/plugins/{}/json", "plugin_inspect"),
    ("POST", "/plugins/{}/disable", "plugin_disable"),
    ("POST", "/plugins/{}/enable", "plugin_enable"),
    ("POST", "/plugins/{}/push", "plugin_push"),
    ("POST", "/plugins/{}/set", "plugin_set"),
    ("POST", "/plugins/{}/upgrade", "plugin_upgrade"),
    ("DELETE", "/plugins/{}", "plugin_remove"),
    ("GET", "/swarm", "swarm_inspect"),
    ("GET", "/swarm/unlockkey", "swarm_unlock_key"),
    ("POST", "/swarm/init", "swarm_init"),
    ("POST", "/swarm/join", "swarm_join"),
    ("POST", "/swarm/leave", "swarm_leave"),
    ("POST", "/swarm/unlock", "swarm_unlock"),
    ("POST", "/swarm/update", "swarm_update"),
    ("GET", "/services", "service_list"),
    ("POST", "/services/create", "service_create"),
    ("GET", "/services/{}/logs", "service_logs"),
    ("GET", "/services/{}", "service_inspect"),
    ("POST", "/services/{}/update", "service_update"),
    ("DELETE", "/services/{}", "service_remove"),
    ("GET", "/nodes", "node_list"),
    ("GET", "/nodes/{}", "node_inspect"),
    ("POST", "/nodes/{}/update", "node_update"),
    ("DELETE", "/nodes/{}", "node_remove"),
    ("GET", "/tasks", "task_list"),
    ("GET", "/tasks/{}/logs", "task_logs"),
    ("GET", "/tasks/{}", "task_inspect"),
    ("GET", "/secrets", "secret_list"),
    ("POST", "/secrets/create", "secret_create"),
    ("GET", "/secrets/{}", "secret_inspect"),
    ("POST", "/secrets/{}/update", "secret_update"),
    ("DELETE", "/secrets/{}", "secret_remove"),
    ("GET", "/configs", "config_list"),
    ("POST", "/configs/create", "config_create"),
    ("GET", "/configs/{}", "config_inspect"),
    ("POST", "/configs/{}/update", "config_update"),
    ("DELETE", "/configs/{}", "config_remove"),
];

#[cfg(test)]
#[allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]
mod tests {
    use super::*;

    fn found(method: &str, target: &str) -> Option<(&'static str, Option<String>)> {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let request = Request {
            method: method.into(),
            path: path.split('/').skip(1).map(str::to_owned).collect(),
            query: query
                .split('&')
                .filter_map(|pair| pair.split_once('='))
                .collect(),
            ..Request::default()
        };
        route(&request).map(|route| (route.action, route.object))
    }

    #[test]
    fn requests_are_the_actions_that_the_engine_takes_them_for() {
        for (method, target, action, object) in [
            ("GET", "/containers/json", "container_list", None),
            // A container of that name.
            (
                "GET",
                "/containers/json/json",
                "container_inspect",
                Some("json"),
            ),
            (
                "POST",
                "/containers/create?name=x",
                "container_create",
                Some("x"),
            ),
            ("POST", "/containers/create?name=", "container_create", None),
            (
                "POST",
                "/containers/create/start",
                "container_start",
                Some("create"),
            ),
            (
                "DELETE",
                "/containers/create",
                "container_delete",
                Some("create"),
            ),
            (
                "DELETE",
                "/containers/a/checkpoints/b",
                "container_checkpoint_delete",
                Some("a"),
            ),
            (
                "DELETE",
                "/containers/a/checkpoints",
                "container_delete",
                Some("a/checkpoints"),
            ),
            (
                "GET",
                "/containers/a/attach/ws",
                "container_attachws",
                Some("a"),
            ),
            ("POST", "/commit?container=a", "container_commit", Some("a")),
            (
                "POST",
                "/images/create?fromImage=a/b&tag=c",
                "image_pull",
                Some("a/b"),
            ),
            (
                "POST",
                "/images/create?fromImage=&fromSrc=-",
                "image_import",
                None,
            ),
            ("GET", "/images/get", "image_archive", None),
            ("GET", "/images/get/get", "image_archive", Some("get")),
            (
                "GET",
                "/images/registry.example.com/a/b:c/json",
                "image_inspect",
                Some("registry.example.com/a/b:c"),
            ),
            // The last part decides.
            (
                "GET",
                "/images/a/json/history",
                "image_history",
                Some("a/json"),
            ),
            (
                "GET",
                "/images/a/history/json",
                "image_inspect",
                Some("a/history"),
            ),
            ("DELETE", "/images/a/b", "image_delete", Some("a/b")),
            ("GET", "/plugins/privileges", "plugin_privileges", None),
            (
                "GET",
                "/plugins/a/b:c/json",
                "plugin_inspect",
                Some("a/b:c"),
            ),
            ("GET", "/services/x/logs", "service_logs", Some("x")),
        ] {
            assert_eq!(
                found(method, target),
                Some((action, object.map(str::to_owned))),
                "{method} {target}"
            );
        }
    }

    #[test]
    fn what_no_engine_has_a_route_for_is_no_action() {
        for (method, target) in [
            ("HEAD", "/containers/json"),
            ("PATCH", "/containers/x"),
            ("POST", "/containers/json"),
            ("GET", "/containers"),
            ("GET", "/containers/x"),
            ("GET", "/containers/x/nothing"),
            ("POST", "/containers/start"),
            ("GET", "/debug/pprof"),
            ("POST", "/Containers/create"),
            ("OPTIONS", "/info"),
            ("GET", "/"),
        ] {
            assert_eq!(found(method, target), None, "{method} {target}");
        }
    }

    #[test]
    fn every_row_is_reached_by_a_request_of_its_pattern() {
        for (method, pattern, action) in ROUTES {
            let target = pattern.replace("{}", "name-of-its-own") + "?fromImage=x";
            let (found, _) = found(method, &target).unwrap();
            assert_eq!(found, *action, "{method} {pattern}");
        }
    }
}
