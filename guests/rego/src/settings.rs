//! What the operator wants, from `[config]` and from the arguments that opa-docker-authz takes.

use dockside_authz::Place;
use dockside_driver::{Error, KeyValues, Result, config};

use crate::policy::{BuiltinErrors, RULE};

/// Where a text is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// Here.
    Inline(String),
    /// In files that the operator grants.
    Files(Place),
}

/// What becomes of decisions in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DecisionLog {
    /// All are written.
    All,
    /// Denials are.
    Denied,
    /// None is, but errors are.
    Off,
}

/// Everything that can be set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Settings {
    /// The policy; none denies everything.
    pub(crate) policy: Option<Origin>,
    /// What the policy finds as `data`, besides what a bundle brings.
    pub(crate) data: Vec<Origin>,
    /// A policy that is asked too and decides nothing.
    pub(crate) dry_run: Option<Place>,
    /// The rule that decides.
    pub(crate) rule: String,
    /// What a built-in function that fails does.
    pub(crate) builtin_errors: BuiltinErrors,
    /// Whether `HEAD /_ping` passes without being judged.
    pub(crate) skip_ping: bool,
    /// What is logged.
    pub(crate) decision_log: DecisionLog,
    /// What is masked in the log beside what is masked always: JSON pointers into the input.
    pub(crate) mask: Vec<String>,
}

/// The keys under `[config]`. What a relay adds has a dot in its name, besides `args`.
const KEYS: [&str; 12] = [
    "policy",
    "policy-file",
    "data",
    "data-file",
    "dry-run-file",
    "rule",
    "builtin-errors",
    "skip-ping",
    "decision-log",
    "mask",
    "args",
    "bundle",
];

impl Settings {
    /// Reads them.
    ///
    /// # Errors
    /// A key or an argument that is unknown or makes no sense: a setting that is misspelt could be the one that denies.
    pub(crate) fn read() -> Result<Self> {
        Self::of(&config::all()?)
    }

    fn of(all: &KeyValues) -> Result<Self> {
        if let Some((key, _)) = all
            .iter()
            .find(|(key, _)| !key.contains('.') && !KEYS.contains(key))
        {
            return Err(Error::invalid(format!(
                "unknown key {key:?} under [config]: there are {}",
                KEYS.join(", ")
            )));
        }
        let place = |key| {
            let read = |text: &str| {
                text.parse::<Place>()
                    .map_err(|error| error.context(format!("{key} under [config]")))
            };
            all.get(key).map(read).transpose()
        };
        let policies = [
            all.get("policy")
                .map(|text| Origin::Inline(text.to_owned())),
            place("policy-file")?.map(Origin::Files),
            place("bundle")?.map(Origin::Files),
        ];
        let mut policies = policies.into_iter().flatten();
        let policy = policies.next();
        if policies.next().is_some() {
            return Err(Error::invalid(
                "policy, policy-file and bundle under [config] exclude each other",
            ));
        }
        let data = [
            all.get("data").map(|text| Origin::Inline(text.to_owned())),
            place("data-file")?.map(Origin::Files),
        ];
        let mut settings = Self {
            policy,
            data: data.into_iter().flatten().collect(),
            dry_run: place("dry-run-file")?,
            rule: rule(all.get("rule").unwrap_or(RULE)),
            builtin_errors: parsed(all, "builtin-errors", str::parse)?.unwrap_or_default(),
            skip_ping: all.boolean("skip-ping")?.unwrap_or(true),
            decision_log: parsed(all, "decision-log", decision_log)?.unwrap_or(DecisionLog::Denied),
            mask: all
                .get("mask")
                .unwrap_or_default()
                .split_whitespace()
                .map(str::to_owned)
                .collect(),
        };
        if let Some(arguments) = all.get("args") {
            settings.take(arguments)?;
        }
        Ok(settings)
    }

    /// Takes the arguments of opa-docker-authz, as Go's package `flag` reads them.
    fn take(&mut self, arguments: &str) -> Result<()> {
        // Without -quiet that program writes every decision.
        self.decision_log = DecisionLog::All;
        let mut words = arguments.split_whitespace();
        while let Some(word) = words.next() {
            let wrong = |what: &str| Err(Error::invalid(format!("argument {word}: {what}")));
            let Some(flag) = word.strip_prefix("--").or_else(|| word.strip_prefix('-')) else {
                return wrong("arguments begin with -");
            };
            let (name, value) = match flag.split_once('=') {
                Some((name, value)) => (name, Some(value)),
                None => (flag, None),
            };
            let is_set = match value {
                None | Some("1" | "t" | "T" | "true" | "TRUE" | "True") => Some(true),
                Some("0" | "f" | "F" | "false" | "FALSE" | "False") => Some(false),
                Some(_) => None,
            };
            match name {
                "skip-ping" | "quiet" | "log-only-denied" | "check" | "version" => {
                    let Some(is_set) = is_set else {
                        return wrong("say true or false");
                    };
                    match name {
                        "skip-ping" => self.skip_ping = is_set,
                        "quiet" if is_set => self.decision_log = DecisionLog::Off,
                        "log-only-denied" if is_set && self.decision_log == DecisionLog::All => {
                            self.decision_log = DecisionLog::Denied;
                        }
                        "check" | "version" if is_set => {
                            return wrong(
                                "that program ends after it; ask `dockside run PLUGIN check` or `dockside inspect PLUGIN`",
                            );
                        }
                        _ => {}
                    }
                    continue;
                }
                "policy-file" | "data-file" | "allowPath" | "plugin-name" => {}
                "config-file" => {
                    return wrong(
                        "configurations of OPA are not read: grant the bundle as a file, and name it by `bundle` under [config]",
                    );
                }
                _ => {
                    return wrong(
                        "there are -policy-file, -data-file, -allowPath, -skip-ping, -quiet, -log-only-denied, -check, -plugin-name",
                    );
                }
            }
            let Some(value) = value.or_else(|| words.next()) else {
                return wrong("needs a value");
            };
            match name {
                "policy-file" => self.policy = Some(Origin::Files(opa_place(value)?)),
                "data-file" => self.data.push(Origin::Files(opa_place(value)?)),
                "allowPath" => self.rule = rule(value),
                // A plugin is called what Docker knows it by.
                _ => {}
            }
        }
        Ok(())
    }
}

/// A path as that program takes it: relative ones start at its working directory, which is `/opa`.
fn opa_place(path: &str) -> Result<Place> {
    let path = path.strip_prefix("./").unwrap_or(path);
    if path.starts_with('/') {
        path.parse()
    } else {
        format!("/opa/{path}").parse()
    }
}

/// `/docker/authz/allow` is `data.docker.authz.allow`.
fn rule(text: &str) -> String {
    match text.strip_prefix('/') {
        Some(path) => format!("data.{}", path.replace('/', ".")),
        None => text.to_owned(),
    }
}

fn decision_log(text: &str) -> Result<DecisionLog, &'static str> {
    match text {
        "all" => Ok(DecisionLog::All),
        "denied" => Ok(DecisionLog::Denied),
        "off" => Ok(DecisionLog::Off),
        _ => Err("say all, denied or off"),
    }
}

fn parsed<T, E: std::fmt::Display>(
    all: &KeyValues,
    key: &str,
    read: impl FnOnce(&str) -> Result<T, E>,
) -> Result<Option<T>> {
    all.get(key).map(read).transpose().map_err(|error| {
        Error::invalid(format!(
            "{key} = {:?} under [config]: {error}",
            all.get(key).unwrap_or_default()
        ))
    })
}

#[cfg(test)]
#[allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]
mod tests {
    use super::*;
    use dockside_driver::testing;

    fn of(pairs: &[(&str, &str)]) -> Result<Settings> {
        Settings::of(&pairs.iter().copied().collect())
    }

    fn files(set: &str, name: &str) -> Option<Origin> {
        Some(Origin::Files(Place {
            set: set.into(),
            name: name.into(),
        }))
    }

    #[test]
    fn arguments_of_opa_docker_authz_mean_what_they_mean_there() {
        testing::reset();
        for (arguments, policy, rule, skip_ping, log) in [
            (
                "-policy-file /opa/policies/authz.rego",
                files("policies", "authz.rego"),
                RULE,
                true,
                DecisionLog::All,
            ),
            (
                "-policy-file\npolicies/a/authz.rego\n-quiet",
                files("policies", "a/authz.rego"),
                RULE,
                true,
                DecisionLog::Off,
            ),
            (
                "--policy-file=policy.rego -log-only-denied -allowPath=/a/b/c --skip-ping=false",
                files("opa", "policy.rego"),
                "data.a.b.c",
                false,
                DecisionLog::Denied,
            ),
            (
                "-quiet=false -allowPath data.x.y -plugin-name z",
                None,
                "data.x.y",
                true,
                DecisionLog::All,
            ),
        ] {
            let settings = of(&[("args", arguments), ("mounts.policy", "/etc/docker")]).unwrap();
            assert_eq!(settings.policy, policy, "{arguments}");
            assert_eq!(
                (
                    settings.rule.as_str(),
                    settings.skip_ping,
                    settings.decision_log
                ),
                (rule, skip_ping, log),
                "{arguments}"
            );
        }
        // The machine's /etc/docker itself.
        testing::grant_files("opa");
        let settings = of(&[("args", "-policy-file /opa/policies/authz.rego")]).unwrap();
        assert_eq!(settings.policy, files("opa", "policies/authz.rego"));
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_what_would() {
        for (pairs, expected) in [
            (&[("polcy-file", "a/b")][..], "unknown key \"polcy-file\""),
            (
                &[("policy", "x"), ("policy-file", "a/b")],
                "exclude each other",
            ),
            (
                &[("policy-file", "/etc/docker/authz.rego")],
                "[grants.files]",
            ),
            (&[("builtin-errors", "maybe")], "say deny or undefined"),
            (&[("decision-log", "some")], "say all, denied or off"),
            (&[("args", "-policy-file")], "needs a value"),
            (&[("args", "policy.rego")], "begin with -"),
            (&[("args", "-nothing")], "there are -policy-file"),
            (&[("args", "-quiet=maybe")], "say true or false"),
            (&[("args", "-check")], "dockside run PLUGIN check"),
            (&[("args", "-config-file /opa/opa.yaml")], "bundle"),
        ] {
            let error = of(pairs).unwrap_err();
            assert!(error.message().contains(expected), "{pairs:?}: {error}");
        }
    }
}
