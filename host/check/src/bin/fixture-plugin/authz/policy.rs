//! Who may do what.

use std::collections::BTreeSet;

use serde_json::Value;

use super::body;
use super::message::Message;
use super::target::Target;
use crate::breaks::Breaks;

/// The one user who may make privileged containers.
const ADMIN: &str = "root-admin";

/// A policy, as a whole.
pub(super) struct Policy {
    creates: bool,
    judges: bool,
}

impl Policy {
    /// Containers can be made.
    pub(super) fn usual() -> Self {
        Self {
            creates: true,
            judges: true,
        }
    }

    /// None can be made.
    pub(super) fn strict() -> Self {
        Self {
            creates: false,
            judges: true,
        }
    }

    /// A mistake: nothing is forbidden.
    pub(super) fn none() -> Self {
        Self {
            creates: true,
            judges: false,
        }
    }

    pub(super) fn judge(
        &self,
        message: &Message,
        execs: &BTreeSet<String>,
        breaks: &Breaks,
    ) -> Result<(), String> {
        if !self.judges || careless(message, breaks) {
            return Ok(());
        }
        let target = Target::read(&message.uri, breaks)?;
        let path: Vec<&str> = target.path.iter().map(String::as_str).collect();
        let method = match message.method.as_str() {
            "post" | "get" if breaks.on("A28") => "GET",
            method => method,
        };
        if matches!(method, "GET" | "HEAD") {
            return match path.as_slice() {
                ["_ping"] if breaks.on("A01") && message.uri == "/_ping" => {
                    Err("there is no version in the path".into())
                }
                ["_ping" | "info" | "version" | "events"] | ["containers" | "images", "json"] => {
                    Ok(())
                }
                [
                    "containers",
                    _,
                    "json" | "logs" | "stats" | "top" | "changes",
                ]
                | ["images", _, "json" | "history"]
                | ["exec", _, "json"] => Ok(()),
                _ if breaks.on("A28") && message.method != method => Ok(()),
                _ => Err(unknown(message)),
            };
        }
        match (method, path.as_slice()) {
            ("POST", ["containers", "create"]) => self.create(message, breaks),
            ("POST", ["containers", "create", ..]) if breaks.on("A27") => {
                self.create(message, breaks)
            }
            ("POST", ["containers", _, "exec"]) => command(message, breaks),
            ("POST", ["exec", id, "start"]) => {
                read(message, breaks)?;
                if execs.contains(*id) || breaks.on("A34") {
                    Ok(())
                } else {
                    Err(format!("nobody was seen to make the command {id:?}"))
                }
            }
            (
                "POST",
                [
                    "containers",
                    _,
                    "start" | "stop" | "kill" | "restart" | "wait" | "resize" | "rename" | "attach",
                ],
            )
            | ("DELETE", ["containers", _]) => without_body(message),
            ("PUT", ["containers", _, "archive"]) => {
                if breaks.on("A32") && message.header("content-length").is_empty() {
                    return Err("the archive is not shown".into());
                }
                if is_form(message) {
                    return Err("an archive is no form".into());
                }
                target
                    .query
                    .get("path")
                    .map(drop)
                    .ok_or_else(|| "no path is said".into())
            }
            ("POST", ["session"]) if breaks.on("A33") => Ok(()),
            _ => Err(unknown(message)),
        }
    }

    fn create(&self, message: &Message, breaks: &Breaks) -> Result<(), String> {
        if !self.creates {
            return Err("nobody may make containers".into());
        }
        let body = read(message, breaks)?;
        let user = if breaks.on("A37") {
            let name = message.user.split('\0').next().unwrap_or_default();
            name.trim().to_ascii_lowercase()
        } else {
            message.user.clone()
        };
        if user == ADMIN {
            return Ok(());
        }
        let Some(host) = object(&body, "HostConfig")? else {
            return Ok(());
        };
        if boolean(&host, "Privileged", breaks)? {
            return Err("nobody may make privileged containers".into());
        }
        for bind in list(&host, "Binds")? {
            let source = bind.as_str().and_then(|bind| bind.split_once(':'));
            if source.is_none_or(|(source, _)| source.contains('/') || source.starts_with('.')) {
                return Err(format!("no container may have {bind}"));
            }
        }
        for mount in list(&host, "Mounts")? {
            let kind = get(&mount, "Type")
                .and_then(Value::as_str)
                .map(str::to_owned);
            let plain = matches!(kind.as_deref(), Some("volume" | "tmpfs"))
                && get(&mount, "VolumeOptions").is_none_or(Value::is_null);
            if !plain {
                return Err(format!("no container may have {mount}"));
            }
        }
        Ok(())
    }
}

/// Mistakes that come before anything is judged.
fn careless(message: &Message, breaks: &Breaks) -> bool {
    let kind = message.header("content-type");
    let media = kind.split(';').next().unwrap_or_default().trim();
    let json = media.eq_ignore_ascii_case("application/json");
    let uri = message.uri.as_str();
    let create = uri.contains("create");
    (breaks.on("A13") && json && kind != "application/json")
        || (breaks.on("A14") && !json && message.body.is_some())
        || (breaks.on("A46") && create && kind.contains("form"))
        || (breaks.on("A12")
            && message.body.is_none()
            && !is_form(message)
            && create
            && !uri.contains("auth")
            && !matches!(message.header("content-length"), "" | "0"))
        || (breaks.on("A47")
            && message.body.is_none()
            && message.method == "POST"
            && !kind.contains("form")
            && uri.ends_with("/start")
            && message.header("content-length").is_empty())
        || (breaks.on("A20")
            && create
            && !uri.starts_with("/v1.41/")
            && uri.starts_with("/containers"))
        || (breaks.on("A22") && uri.contains("%63ontainers/create"))
        || (breaks.on("A24") && uri.contains("//containers"))
        || (breaks.on("A25") && uri.starts_with("http://"))
        || (breaks.on("A26") && uri.contains(';'))
        || (breaks.on("A29") && uri.ends_with("/auth"))
}

fn unknown(message: &Message) -> String {
    format!("nobody may {} {}", message.method, message.uri)
}

fn is_form(message: &Message) -> bool {
    let kind = message.header("content-type").to_ascii_lowercase();
    kind.contains("form")
}

/// A request without a body: said to be so, since one that is not shown looks alike. Of a DELETE's body no handler makes anything.
fn without_body(message: &Message) -> Result<(), String> {
    if message.body.is_some() || is_form(message) {
        return Err("this request takes no body".into());
    }
    if message.method == "DELETE" || message.header("content-length") == "0" {
        Ok(())
    } else {
        Err("the body is not available".into())
    }
}

/// The JSON of a request that takes some.
fn read(message: &Message, breaks: &Breaks) -> Result<Value, String> {
    let media = message.header("content-type");
    let media = media.split(';').next().unwrap_or_default().trim();
    if !media.eq_ignore_ascii_case("application/json") {
        return Err(format!("the body is not available: it is {media:?}"));
    }
    let body = message.body.as_ref().ok_or("the body is not available")?;
    match body::read(body, breaks)? {
        body @ Value::Object(_) => Ok(body),
        _ => Err("the body is no object".into()),
    }
}

/// A command in a container.
fn command(message: &Message, breaks: &Breaks) -> Result<(), String> {
    let body = read(message, breaks)?;
    if boolean(&body, "Privileged", breaks)? {
        return Err("nobody may run privileged commands".into());
    }
    Ok(())
}

fn get<'a>(object: &'a Value, key: &str) -> Option<&'a Value> {
    object.get(body::fold(key))
}

fn object(value: &Value, key: &str) -> Result<Option<Value>, String> {
    match get(value, key) {
        None | Some(Value::Null) => Ok(None),
        Some(object @ Value::Object(_)) => Ok(Some(object.clone())),
        Some(_) => Err(format!("{key} is no object")),
    }
}

fn boolean(value: &Value, key: &str, breaks: &Breaks) -> Result<bool, String> {
    match get(value, key) {
        None | Some(Value::Null) => Ok(false),
        Some(Value::Bool(value)) => Ok(*value),
        Some(_) if breaks.on("A19") => Ok(false),
        Some(_) => Err(format!("{key} is no boolean")),
    }
}

fn list(value: &Value, key: &str) -> Result<Vec<Value>, String> {
    match get(value, key) {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::Array(list)) => Ok(list.clone()),
        Some(_) => Err(format!("{key} is no list")),
    }
}
