//! What operators ask: whether a policy is sound, what it says of a request, which one is in force.

use dockside_authz::{
    Place, ask, break_glass,
    last_good::{Source as _, short},
};
use dockside_driver::{
    Admin, Error, KeyValues, Result,
    admin::{self, Verb, argument, verb},
    serde_json::{Value, json},
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
            ask::arguments().into_iter().fold(
                verb("explain")
                    .help("What the policy says of a request, with the value of each of its rules")
                    .argument(policy()),
                Verb::argument,
            ),
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
        "break-glass": break_glass::status(),
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
    let request = ask::request(arguments)?;
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
