//! What operators ask: which policy is in force, what it says, and what there is to allow.

use dockside_authz::{
    Place, ask, break_glass,
    last_good::{self, Source as _, short},
    routes,
};
use dockside_driver::{
    Admin, KeyValues, Result,
    admin::{self, Rows, Verb, argument, verb},
};
use serde_json::{Value, json};

use crate::{
    Rbac, Written,
    judge::{self, Asked},
    settings, with_policy,
};

impl Admin for Rbac {
    fn verbs() -> Vec<Verb> {
        vec![
            verb("status")
                .help("Which policy is in force, since when, and what became of the last change"),
            verb("check")
                .help("Read a policy and look it through")
                .argument(
                    argument("policy").help("SET/NAME of another policy than the configured one"),
                ),
            verb("actions").help("All actions, as roles name them"),
            ask::arguments().into_iter().fold(
                verb("explain").help("What the policy says of a request, and which rule"),
                Verb::argument,
            ),
        ]
    }

    fn run(verb: &str, arguments: &KeyValues) -> Result<String> {
        match verb {
            "status" => status(),
            "check" => check(arguments),
            "actions" => Ok(actions()),
            "explain" => explain(arguments),
            _ => Err(admin::unknown(verb)),
        }
    }
}

fn status() -> Result<String> {
    let (written, _) = settings()?;
    let (policy, since, rejected) = match last_good::standing(&written) {
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
    admin::answer(&json!({
        "policy": policy,
        "since": since,
        "rejected": rejected,
        "break-glass": break_glass::status(),
    }))
}

fn check(arguments: &KeyValues) -> Result<String> {
    let (configured, _) = settings()?;
    let written = match arguments.parse::<Place>("policy")? {
        Some(place) => Written {
            inline: None,
            file: Some(place),
        },
        None => configured,
    };
    written.compile(&written.read()?)?;
    admin::answer(&json!({ "sound": true }))
}

fn actions() -> String {
    let mut rows = Rows::new(["action", "also called"]);
    for action in routes::actions() {
        rows.push([action, routes::alias(action).unwrap_or_default()]);
    }
    rows.to_json()
}

fn explain(arguments: &KeyValues) -> Result<String> {
    let request = ask::request(arguments)?;
    let (written, _) = settings()?;
    with_policy(&written, |policy, _| {
        let asked = Asked::new(&request, policy)?;
        let judged = judge::judge(policy, &asked)?;
        let (rule, reason) = match &judged {
            Ok(allowed) => (Some(allowed.rule.clone()), None),
            Err(denied) => (denied.rule.clone(), Some(denied.reason.clone())),
        };
        admin::answer(&json!({
            "allowed": judged.is_ok(),
            "user": asked.user,
            "action": asked.route.as_ref().map(|route| route.action),
            "object": asked.route.as_ref().and_then(|route| route.object.clone()),
            "rule": rule,
            "reason": reason,
        }))
    })
}
