//! Docker authorization by a Rego policy, with the document that opa-docker-authz gives to policies.

mod binds;
mod collections;
mod input;
mod policy;

use std::cell::RefCell;

use dockside_driver::{
    Authz, Lifecycle, Result, StartReason,
    authz::{Decision, Request, Response},
    config, log,
};

use policy::{Policy, Source, Verdict};

struct Rego;

/// Runs an operation on the policy of the configuration. An instance that serves several calls parses it once.
fn with_policy<T>(operation: impl FnOnce(&mut Policy) -> Result<T>) -> Result<T> {
    thread_local!(static PARSED: RefCell<Option<(Source, Policy)>> = const { RefCell::new(None) });
    let source = Source {
        text: config::require("policy")?,
        data: config::get("data")?,
        rule: config::get("rule")?,
        builtin_errors: config::parse("builtin-errors")?.unwrap_or_default(),
    };
    PARSED.with_borrow_mut(|parsed| match parsed {
        Some((known, policy)) if *known == source => operation(policy),
        _ => {
            let policy = Policy::parse(&source)?;
            let (_, policy) = parsed.insert((source, policy));
            operation(policy)
        }
    })
}

/// Whether the client only asks if the engine is there, as opa-docker-authz lets it.
fn is_ping(request: &Request) -> bool {
    request.method == "HEAD" && request.api_version.is_none() && request.path == ["_ping"]
}

/// What the user reads and the log keeps. Every failure denies.
fn decision(request: &Request, what: &str, verdict: Result<Verdict>) -> Decision {
    let reason = match verdict {
        Ok(Verdict::Allow) => return Decision::Allow,
        Ok(Verdict::Deny(reasons)) if !reasons.is_empty() => reasons.join("; "),
        Ok(Verdict::Deny(_)) => {
            // Paths can be long; the beginning says which endpoint it is.
            let path: String = request.path.join("/").chars().take(200).collect();
            format!("the policy does not allow {what}{} /{path}", request.method)
        }
        Err(error) => error.message().to_owned(),
    };
    let reason = reason.split_whitespace().collect::<Vec<_>>().join(" ");
    log::info!("denied: {reason}");
    Decision::Deny(reason)
}

impl Authz for Rego {
    fn authz_req(request: &Request) -> Result<Decision> {
        let verdict = with_policy(|policy| {
            if is_ping(request) {
                return Ok(Verdict::Allow);
            }
            policy.judge_request(input::of_request(request)?)
        });
        Ok(decision(request, "", verdict))
    }

    fn authz_res(request: &Request, response: &Response) -> Result<Decision> {
        let verdict = with_policy(|policy| {
            if !policy.judges_responses() || is_ping(request) {
                return Ok(Verdict::Allow);
            }
            policy.judge_response(input::of_response(request, response)?)
        });
        Ok(decision(request, "the answer to ", verdict))
    }
}

impl Lifecycle for Rego {
    /// Tries the policy, so that a faulty one is reported before the first request is denied.
    fn start(_reason: StartReason) -> Result<()> {
        let request = Request {
            method: "GET".into(),
            uri: "/_ping".into(),
            path: vec!["_ping".into()],
            ..Request::default()
        };
        with_policy(|policy| policy.judge_request(input::of_request(&request)?)).map(drop)
    }
}

dockside_driver::export!(Rego: authz, lifecycle);

#[cfg(test)]
mod tests;
