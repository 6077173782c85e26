//! Docker authorization by a Rego policy, with the document and the arguments of opa-docker-authz.

mod bundle;
mod collections;
mod input;
mod policy;
mod record;
mod settings;
mod source;
mod verbs;

use std::cell::RefCell;

use dockside_authz::{
    break_glass, decision,
    last_good::{self, Memory, Standing},
};
use dockside_driver::{
    Authz, Lifecycle, Result, StartReason,
    authz::{Decision, Request, Response},
    log,
};
use serde_json::Value;

use policy::{Policy, Verdict};
use record::Record;
use settings::{DecisionLog, Origin, Settings};
use source::Described;

struct Rego;

/// What opa-docker-authz says to users whom its policy refuses something.
const REJECTED: &str = "request rejected by administrative policy";

/// What a policy said, and which one it was.
struct Judged {
    verdict: Result<Verdict>,
    standing: Option<Standing>,
}

thread_local!(static ENFORCED: Memory<Policy> = const { RefCell::new(None) });

/// Runs an operation on the policy in force. An instance that serves several calls reads it once.
fn with_policy<T>(
    settings: &Settings,
    operation: impl FnOnce(&mut Policy, &Standing) -> Result<T>,
) -> Result<T> {
    last_good::with(&ENFORCED, &Described::enforcing(settings), operation)
}

/// As [`with_policy`], on the policy that decides nothing.
fn with_dry_run<T>(
    settings: &Settings,
    policy: &Origin,
    operation: impl FnOnce(&mut Policy, &Standing) -> Result<T>,
) -> Result<T> {
    thread_local!(static POLICY: Memory<Policy> = const { RefCell::new(None) });
    last_good::with(&POLICY, &Described::other(settings, policy), operation)
}

/// Whether the client only asks if the engine is there, as opa-docker-authz lets it.
fn is_ping(request: &Request) -> bool {
    request.method == "HEAD" && request.api_version.is_none() && request.path == ["_ping"]
}

/// A request in a few words.
fn what(request: &Request, is_answer: bool) -> String {
    // Paths can be long; the beginning says which endpoint it is.
    let path: String = request.path.join("/").chars().take(200).collect();
    let answer = if is_answer { "the answer to " } else { "" };
    format!("{answer}{} /{path}", request.method)
}

/// Judges a request, or the answer to it. Every failure denies.
fn decide(request: &Request, response: Option<&Response>) -> Decision {
    let id = decision::id();
    let user = request.user.as_deref().unwrap_or_default();
    if let Some(reason) = break_glass::broken() {
        if response.is_none() {
            break_glass::report(user, &what(request, false), &id, &reason);
        }
        return Decision::Allow;
    }
    let settings = match Settings::read() {
        Ok(settings) => settings,
        Err(error) => {
            let reason = format!("request rejected: {error} (decision {id})");
            log::error!("{reason}");
            return Decision::Deny(reason);
        }
    };
    let mut input = Value::Null;
    let Some(Judged { verdict, standing }) = judge(&settings, request, response, &mut input) else {
        return Decision::Allow;
    };
    if let Some(place) = &settings.dry_run {
        let origin = Origin::Files(place.clone());
        compare(
            &settings,
            &origin,
            &verdict,
            &input,
            response.is_some(),
            &id,
        );
    }
    let (reason, is_failure) = match verdict {
        Ok(Verdict::Allow) => (None, false),
        Ok(Verdict::Deny(reasons)) if !reasons.is_empty() => (
            Some(format!(
                "{REJECTED}: {} (decision {id})",
                reasons.join("; ")
            )),
            false,
        ),
        Ok(Verdict::Deny(_)) => {
            let what = what(request, response.is_some());
            (Some(format!("{REJECTED}: {what} (decision {id})")), false)
        }
        Err(error) => (
            Some(format!("request rejected: {error} (decision {id})")),
            true,
        ),
    };
    let reason = reason.map(|reason| decision::one_line(&reason));
    let is_logged = match settings.decision_log {
        DecisionLog::All => true,
        DecisionLog::Denied => reason.is_some(),
        DecisionLog::Off => is_failure,
    };
    if is_logged {
        let record = Record {
            id: &id,
            input,
            allowed: reason.is_none(),
            reason: reason.as_deref(),
            standing: standing.as_ref(),
        };
        record::write(record, &settings.mask);
    }
    reason.map_or(Decision::Allow, Decision::Deny)
}

/// What the policy says; none if it is not asked.
fn judge(
    settings: &Settings,
    request: &Request,
    response: Option<&Response>,
    input: &mut Value,
) -> Option<Judged> {
    let mut used = None;
    let mut is_asked = true;
    let verdict = with_policy(settings, |policy, standing| {
        used = Some(standing.clone());
        // Under a policy that cannot be read not even this passes.
        let passes = match response {
            None => settings.skip_ping && is_ping(request),
            Some(_) => !policy.judges_responses() || is_ping(request),
        };
        if passes {
            is_asked = false;
            return Ok(Verdict::Allow);
        }
        match response {
            None => {
                *input = input::of_request(request)?;
                policy.judge_request(input.clone())
            }
            Some(response) => {
                *input = input::of_response(request, response)?;
                policy.judge_response(input.clone())
            }
        }
    });
    is_asked.then_some(Judged {
        verdict,
        standing: used,
    })
}

/// Asks the other policy, and says where it differs.
fn compare(
    settings: &Settings,
    policy: &Origin,
    enforced: &Result<Verdict>,
    input: &Value,
    is_response: bool,
    id: &str,
) {
    let other = with_dry_run(settings, policy, |policy, standing| {
        let verdict = if is_response {
            policy.judge_response(input.clone())?
        } else {
            policy.judge_request(input.clone())?
        };
        Ok((verdict, standing.digest.clone()))
    });
    let allows = |verdict: &Verdict| *verdict == Verdict::Allow;
    let is_allowed = enforced.as_ref().is_ok_and(allows);
    let word = |allowed| if allowed { "allows" } else { "denies" };
    match other {
        Ok((verdict, _)) if allows(&verdict) == is_allowed => {}
        Ok((verdict, digest)) => {
            let reasons = match &verdict {
                Verdict::Deny(reasons) if !reasons.is_empty() => {
                    format!(": {}", decision::one_line(&reasons.join("; ")))
                }
                _ => String::new(),
            };
            log::warn!(
                "dry run: policy {} {} what the policy in force {} (decision {id}){reasons}",
                last_good::short(&digest),
                word(allows(&verdict)),
                word(is_allowed),
            );
        }
        Err(error) => log::warn!("dry run: no decision (decision {id}): {error}"),
    }
}

impl Authz for Rego {
    fn authz_req(request: &Request) -> Result<Decision> {
        Ok(decide(request, None))
    }

    fn authz_res(request: &Request, response: &Response) -> Result<Decision> {
        Ok(decide(request, Some(response)))
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
        let settings = Settings::read()?;
        with_policy(&settings, |policy, _| {
            policy.judge_request(input::of_request(&request)?)
        })?;
        if let Some(place) = &settings.dry_run {
            with_dry_run(&settings, &Origin::Files(place.clone()), |_, _| Ok(()))?;
        }
        Ok(())
    }
}

dockside_driver::export!(Rego: authz, lifecycle, admin);

#[cfg(test)]
mod tests;
