//! What operators ask: whether a policy is sound, what it says of a request, which one is in force.

use dockside_authz::{
    Place, break_glass,
    last_good::{Source as _, short},
};
use dockside_driver::{
    Admin, Error, KeyValues, Result,
    admin::{self, Verb, argument, verb},
    authz::{ApiVersion, Request, RequestBody},
    serde_json::{self, Value, json},
};

use crate::{
    Rego, input,
    policy::{Policy, Verdict},
    record,
    settings::{Origin, Settings},
    source::{self, Described},
    with_policy,
};

impl Admin for Rego {
    fn verbs() -> Vec<Verb> {
        let policy =
            || argument("policy").help("SET/NAME of another policy than the configured one");
        vec![
            verb("status")
                .help("Which policy is in force, since when, and what became of the last change"),
            verb("check")
                .help("Compile a policy and run its tests")
                .argument(policy()),
            verb("explain")
                .help("What the policy says of a request, with the value of each of its rules")
                .argument(policy())
                .argument(
                    argument("method")
                        .default("GET")
                        .help("GET, POST, PUT, DELETE, HEAD"),
                )
                .argument(
                    argument("path")
                        .required()
                        .help("Path with query: /v1.41/containers/create?name=x"),
                )
                .argument(argument("body").help("The body, JSON"))
                .argument(argument("user").help("The common name in the client's certificate")),
        ]
    }

    fn run(verb: &str, arguments: &KeyValues) -> Result<String> {
        let settings = Settings::read()?;
        match verb {
            "status" => admin::answer(&status(&settings)),
            "check" => check(&settings, arguments),
            "explain" => explain(&settings, arguments),
            _ => Err(admin::unknown(verb)),
        }
    }
}

fn status(settings: &Settings) -> Value {
    let glass = match break_glass::broken() {
        Ok(None) => "no".to_owned(),
        Ok(Some(reason)) => format!("YES, everything is allowed {reason}")
            .trim_end()
            .to_owned(),
        Err(error) => error.into_message(),
    };
    let (policy, since, problem) = match source::standing(settings) {
        Ok(standing) => (
            short(&standing.digest).to_owned(),
            Value::from(standing.since),
            standing.rejected,
        ),
        Err(error) => (
            "none: everything is denied".to_owned(),
            Value::Null,
            Some(error.into_message()),
        ),
    };
    json!({
        "policy": policy,
        "since": since,
        "rejected": problem,
        "rule": settings.rule,
        "dry-run": settings.dry_run.as_ref().map(ToString::to_string),
        "break-glass": glass,
    })
}

/// The policy that the operator names, or the configured one.
fn named(settings: &Settings, arguments: &KeyValues) -> Result<Option<Origin>> {
    let place = arguments.parse::<Place>("policy")?;
    Ok(place.map(Origin::Files).or_else(|| settings.policy.clone()))
}

fn check(settings: &Settings, arguments: &KeyValues) -> Result<String> {
    let origin = named(settings, arguments)?;
    let settings = Settings {
        policy: origin,
        ..settings.clone()
    };
    let text = Described::enforcing(&settings).read()?;
    Policy::parse(&text)?;
    let outcomes = Policy::test(&text)?;
    if let Some(error) = source::failures(&outcomes) {
        let details: Vec<&str> = outcomes
            .iter()
            .filter_map(|outcome| outcome.error.as_deref())
            .collect();
        return Err(if details.is_empty() {
            error
        } else {
            Error::invalid(format!("{error} ({})", details.join("; ")))
        });
    }
    let files: Vec<&str> = text
        .modules
        .iter()
        .map(|module| module.name.as_str())
        .collect();
    admin::answer(&json!({
        "sound": true,
        "files": files.join(", "),
        "revision": text.revision,
        "tests": outcomes.len(),
    }))
}

fn explain(settings: &Settings, arguments: &KeyValues) -> Result<String> {
    let request = request(arguments)?;
    let mut input = input::of_request(&request)?;
    let ask = |policy: &mut Policy| {
        let verdict = policy.judge_request(input.clone())?;
        let (rules, prints) = policy.explain(input.clone())?;
        Ok((verdict, rules, prints))
    };
    let (verdict, rules, prints) = match arguments.parse::<Place>("policy")? {
        None => with_policy(settings, |policy, _| ask(policy))?,
        Some(place) => {
            let origin = Origin::Files(place);
            let described = Described::other(settings, &origin);
            ask(&mut Policy::parse(&described.read()?)?)?
        }
    };
    let (allowed, reasons) = match verdict {
        Verdict::Allow => (true, Vec::new()),
        Verdict::Deny(reasons) => (false, reasons),
    };
    record::hide(&mut input, &settings.mask);
    admin::answer(&json!({
        "allowed": allowed,
        "reasons": reasons,
        "rules": rules,
        "printed": prints,
        "input": input,
    }))
}

/// A request from its parts. The path is taken as it is, without the host's rules for what a client may write.
fn request(arguments: &KeyValues) -> Result<Request> {
    let target = arguments.get("path").unwrap_or_default();
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let mut parts: Vec<String> = path
        .split('/')
        .filter(|part| !part.is_empty())
        .map(|part| decoded(part, false))
        .collect();
    let version = parts.first().and_then(|first| version(first));
    if version.is_some() {
        parts.remove(0);
    }
    let body = match arguments.get("body") {
        None => RequestBody::None,
        Some(text) => {
            serde_json::from_str::<Value>(text)
                .map_err(|error| Error::invalid(format!("body is no JSON: {error}")))?;
            RequestBody::Json(text.to_owned())
        }
    };
    let user = arguments.get("user").filter(|user| !user.is_empty());
    Ok(Request {
        user: user.map(str::to_owned),
        user_authn_method: user.map(|_| "TLS".to_owned()),
        method: arguments
            .get("method")
            .unwrap_or("GET")
            .to_ascii_uppercase(),
        uri: target.to_owned(),
        api_version: version,
        path: parts,
        query: query
            .split('&')
            .filter(|pair| !pair.is_empty())
            .map(|pair| {
                let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
                (decoded(name, true), decoded(value, true))
            })
            .collect(),
        body,
        ..Request::default()
    })
}

fn version(part: &str) -> Option<ApiVersion> {
    let (major, minor) = part.strip_prefix('v')?.split_once('.')?;
    Some(ApiVersion {
        major: major.parse().ok()?,
        minor: minor.parse().ok()?,
    })
}

/// Percent-decoded; in a query a plus is a space.
fn decoded(text: &str, is_query: bool) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        let digits = after.get(..2).and_then(|digits| {
            let digits = std::str::from_utf8(digits).ok()?;
            u8::from_str_radix(digits, 16).ok()
        });
        match (byte, digits) {
            (b'%', Some(value)) => {
                bytes.push(value);
                rest = after.get(2..).unwrap_or_default();
            }
            (b'+', _) if is_query => bytes.push(b' '),
            _ => bytes.push(byte),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
