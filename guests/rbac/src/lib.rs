//! Docker authorization by roles: who may do what, by action and not by URL.

mod container;
mod containers;
mod images;
mod judge;
mod pattern;
mod policy;
mod verbs;

use std::cell::RefCell;

use dockside_authz::{
    Place, break_glass, decision,
    last_good::{self, Memory, Source, Standing},
    routes::{self, Route},
};
use dockside_driver::{
    Authz, Error, Lifecycle, Result, StartReason,
    authz::{Decision, Request, Response},
    config, log,
};
use serde_json::{Value, json};

use judge::Asked;
use policy::{Compiled, Policy};

struct Rbac;

/// What becomes of calls in the log.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Audit {
    All,
    Denied,
    Off,
}

/// Where the policy is.
struct Written {
    inline: Option<String>,
    file: Option<Place>,
}

/// The keys under `[config]`.
const KEYS: [&str; 3] = ["policy", "policy-file", "audit"];

fn settings() -> Result<(Written, Audit)> {
    let all = config::all()?;
    if let Some((key, _)) = all
        .iter()
        .find(|(key, _)| !key.contains('.') && *key != "args" && !KEYS.contains(key))
    {
        return Err(Error::invalid(format!(
            "unknown key {key:?} under [config]: there are {}",
            KEYS.join(", ")
        )));
    }
    let audit = match all.get("audit") {
        None | Some("all") => Audit::All,
        Some("denied") => Audit::Denied,
        Some("off") => Audit::Off,
        Some(other) => {
            return Err(Error::invalid(format!(
                "audit = {other:?} under [config]: say all, denied or off"
            )));
        }
    };
    let written = Written {
        inline: all.get("policy").map(str::to_owned),
        file: all.parse("policy-file")?,
    };
    match (&written.inline, &written.file) {
        (None, None) => Err(Error::unavailable(
            "this plugin needs a value for policy-file under [config] in its TOML file",
        )),
        (Some(_), Some(_)) => Err(Error::invalid(
            "policy and policy-file under [config] exclude each other",
        )),
        _ => Ok((written, audit)),
    }
}

impl Source for Written {
    type Text = String;
    type Policy = Compiled;

    fn name(&self) -> &str {
        "policy"
    }

    fn stamp(&self) -> Result<String> {
        match (&self.inline, &self.file) {
            (Some(text), _) => Ok(format!("text {text}")),
            (None, Some(place)) => Ok(format!("{place} {}", place.stamp()?)),
            (None, None) => Ok(String::new()),
        }
    }

    fn read(&self) -> Result<String> {
        match (&self.inline, &self.file) {
            (Some(text), _) => Ok(text.clone()),
            (None, Some(place)) => place.read_text(),
            (None, None) => Err(Error::unavailable("no policy is named")),
        }
    }

    fn compile(&self, text: &String) -> Result<Compiled> {
        Compiled::new(Policy::parse(text)?)
    }
}

thread_local!(static ENFORCED: Memory<Compiled> = const { RefCell::new(None) });

fn with_policy<T>(
    written: &Written,
    operation: impl FnOnce(&mut Compiled, &Standing) -> Result<T>,
) -> Result<T> {
    last_good::with(&ENFORCED, written, operation)
}

/// What is known of a call when it is written into the log.
struct Call {
    user: String,
    route: Option<Route>,
    rule: Option<String>,
    policy: Option<String>,
    /// Why it is denied.
    reason: Option<String>,
}

fn decide(request: &Request) -> Decision {
    let id = decision::id();
    let certified = request.user.as_deref().unwrap_or_default();
    if let Some(reason) = break_glass::broken() {
        let what = format!("{} /{}", request.method, request.path.join("/"));
        break_glass::report(certified, &what, &id, &reason);
        return Decision::Allow;
    }
    let mut call = Call {
        user: certified.to_owned(),
        route: routes::route(request),
        rule: None,
        policy: None,
        reason: None,
    };
    let mut audit = Audit::All;
    let judged = settings().and_then(|(written, chosen)| {
        audit = chosen;
        with_policy(&written, |policy, standing| {
            call.policy = Some(last_good::short(&standing.digest).to_owned());
            let asked = Asked::new(request, policy)?;
            call.user = asked.user.to_owned();
            judge::judge(policy, &asked)
        })
    });
    match judged {
        Ok(Ok(allowed)) => call.rule = Some(allowed.rule),
        Ok(Err(denied)) => {
            call.rule = denied.rule;
            call.reason = Some(denied.reason);
        }
        Err(error) => call.reason = Some(error.into_message()),
    }
    let is_logged = match audit {
        Audit::All => true,
        Audit::Denied => call.reason.is_some(),
        Audit::Off => false,
    };
    if is_logged {
        log::info!("audit {}", line(&call, request, &id));
    }
    match call.reason {
        None => Decision::Allow,
        Some(reason) => Decision::Deny(decision::one_line(&format!("{reason} (decision {id})"))),
    }
}

fn line(call: &Call, request: &Request, id: &str) -> Value {
    let path: String = request.path.join("/").chars().take(500).collect();
    let route = call.route.as_ref();
    json!({
        "id": id,
        "user": call.user,
        "auth": request.user_authn_method.as_deref().unwrap_or("none"),
        "action": route.map(|route| route.action),
        "object": route.and_then(|route| route.object.as_deref()),
        "request": format!("{} /{path}", request.method),
        "decision": if call.reason.is_none() { "allow" } else { "deny" },
        "rule": call.rule,
        "reason": call.reason,
        "policy": call.policy,
    })
}

/// Remembers which containers there are and who made them.
fn remember(request: &Request, response: &Response) -> Result<()> {
    let Some(route) = routes::route(request) else {
        return Ok(());
    };
    let is_done = response
        .status
        .is_some_and(|status| (200..300).contains(&status));
    let object = route.object.as_deref().unwrap_or_default();
    match route.action {
        "container_create" if is_done => {
            let answer: Value = serde_json::from_slice(&response.body).map_err(|error| {
                Error::other(format!("the engine's answer is no JSON: {error}"))
            })?;
            let Some(id) = answer.get("Id").and_then(Value::as_str) else {
                return Ok(());
            };
            let (written, _) = settings()?;
            let owner = with_policy(&written, |policy, _| {
                Ok(policy.user(request.user.as_deref()).to_owned())
            })?;
            let name = object.strip_prefix('/').unwrap_or(object).to_owned();
            containers::created(id, &containers::Container { name, owner })
        }
        "container_rename" if is_done => {
            let name = request.query.get("name").unwrap_or_default();
            containers::renamed(object, name.strip_prefix('/').unwrap_or(name))
        }
        "container_delete" if is_done => containers::removed(object),
        "container_prune" if is_done => {
            let answer: Value = serde_json::from_slice(&response.body).unwrap_or_default();
            container::texts(answer.get("ContainersDeleted")).try_for_each(containers::removed)
        }
        _ => Ok(()),
    }
}

impl Authz for Rbac {
    fn authz_req(request: &Request) -> Result<Decision> {
        Ok(decide(request))
    }

    fn authz_res(request: &Request, response: &Response) -> Result<Decision> {
        // The engine has acted: hiding its answer would undo nothing.
        if let Err(error) = remember(request, response) {
            log::error!("a container is not known by its ID: {error}");
        }
        Ok(Decision::Allow)
    }
}

impl Lifecycle for Rbac {
    /// Reads the policy, so that a faulty one is reported before the first request is denied.
    fn start(_reason: StartReason) -> Result<()> {
        let (written, _) = settings()?;
        with_policy(&written, |_, _| Ok(()))
    }
}

dockside_driver::export!(Rbac: authz, lifecycle, admin);

#[cfg(test)]
mod tests;
