//! A parsed policy and what it says of a request.

use std::{
    fmt,
    num::{NonZeroU32, NonZeroUsize},
    str::FromStr,
};

use dockside_driver::{Error, Result, log};
use regorus::{Engine, PolicyLengthConfig, Value};

use crate::collections;

/// The name that positions in a policy are given with.
const FILE: &str = "policy";
/// The rule that decides, as opa-docker-authz has it.
const RULE: &str = "data.docker.authz.allow";

/// What a policy is made of. Two policies of equal sources are the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Source {
    /// Rego.
    pub(crate) text: String,
    /// A JSON object: the policy's `data`.
    pub(crate) data: Option<String>,
    /// The rule that decides; none is `data.docker.authz.allow`.
    pub(crate) rule: Option<String>,
    /// What a built-in function that fails, such as `count(null)`, does.
    pub(crate) builtin_errors: BuiltinErrors,
}

/// What a built-in function that fails does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum BuiltinErrors {
    /// The request is denied.
    #[default]
    Deny,
    /// Its value is undefined, as in OPA: then a rule that should forbid something may forbid nothing.
    Undefined,
}

impl FromStr for BuiltinErrors {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "deny" => Ok(Self::Deny),
            "undefined" => Ok(Self::Undefined),
            _ => Err("say deny or undefined"),
        }
    }
}

/// What a policy says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// `true`.
    Allow,
    /// `false` or nothing at all, with the texts of the rule `deny`.
    Deny(Vec<String>),
}

/// A parsed policy.
pub(crate) struct Policy {
    engine: Engine,
    /// The rule that decides about requests.
    rule: String,
    /// The rule that gives reasons, if there is one.
    reasons: Option<String>,
    /// The rule that decides about responses, if there is one.
    response: Option<String>,
    builtin_errors: BuiltinErrors,
}

impl Policy {
    /// Reads a policy, in today's syntax or else in the one before OPA 1.0.
    pub(crate) fn parse(source: &Source) -> Result<Self> {
        let (mut engine, package) = parse(&source.text, false).or_else(|today| {
            let cannot = |why: String| Error::invalid(format!("the policy cannot be read: {why}"));
            if says_today(&source.text) {
                return Err(cannot(today));
            }
            parse(&source.text, true).map_err(|before| {
                cannot(format!("{today}; in the syntax before OPA 1.0: {before}"))
            })
        })?;
        engine.set_strict_builtin_errors(source.builtin_errors == BuiltinErrors::Deny);
        engine.set_gather_prints(true);
        if let Some(text) = &source.data {
            let data = data(text, &package)?;
            engine
                .add_data(data.into())
                .map_err(|error| Error::invalid(summary(&error)))?;
        }
        let rule = source.rule.as_deref().unwrap_or(RULE);
        let prefix = format!("{package}.");
        let declared = |rule: &str| {
            rule.strip_prefix(&prefix).is_some_and(|name| {
                matches!(engine.has_declared_rule_rooted_at(FILE, name), Ok(true))
            })
        };
        if !declared(rule) {
            return Err(Error::invalid(format!(
                "the policy has no rule {rule}: its package is {}",
                package.trim_start_matches("data.")
            )));
        }
        let sibling = |name: &str| {
            let (parent, _) = rule.rsplit_once('.')?;
            Some(format!("{parent}.{name}")).filter(|other| other != rule && declared(other))
        };
        let (reasons, response) = (sibling("deny"), sibling("allow_response"));
        Ok(Self {
            rule: rule.to_owned(),
            reasons,
            response,
            builtin_errors: source.builtin_errors,
            engine,
        })
    }

    /// Whether the policy decides about responses.
    pub(crate) fn judges_responses(&self) -> bool {
        self.response.is_some()
    }

    /// Judges a request.
    pub(crate) fn judge_request(&mut self, input: serde_json::Value) -> Result<Verdict> {
        self.judge(self.rule.clone(), input)
    }

    /// Judges a response. A policy without a rule for responses allows all.
    pub(crate) fn judge_response(&mut self, input: serde_json::Value) -> Result<Verdict> {
        match self.response.clone() {
            Some(rule) => self.judge(rule, input),
            None => Ok(Verdict::Allow),
        }
    }

    fn judge(&mut self, rule: String, input: serde_json::Value) -> Result<Verdict> {
        self.engine.set_input(input.into());
        let value = self.eval(&rule)?;
        match value {
            Value::Bool(true) => return Ok(Verdict::Allow),
            Value::Bool(false) | Value::Undefined => {}
            _ => {
                return Err(Error::other(format!(
                    "the policy's rule {rule} is neither true nor false"
                )));
            }
        }
        let reasons = match self.reasons.clone() {
            None => Vec::new(),
            Some(rule) => texts(&self.eval(&rule)?),
        };
        Ok(Verdict::Deny(reasons))
    }

    fn eval(&mut self, rule: &str) -> Result<Value> {
        let value = self.engine.eval_rule(rule.to_owned());
        for line in self.engine.take_prints().unwrap_or_default() {
            log::info!("{line}");
        }
        value.map_err(|error| {
            log::error!("{error:#}");
            let hint = if self.is_builtin_error(rule) {
                "; with builtin-errors = \"undefined\" under [config] it has no value, as in OPA"
            } else {
                ""
            };
            let (line, _, message) = parts(&error);
            let line = line
                .map(|line| format!("line {line}: "))
                .unwrap_or_default();
            Error::other(format!(
                "the policy cannot be evaluated: {line}{message}{hint}"
            ))
        })
    }

    /// Whether a failed evaluation succeeds when built-in functions may fail.
    fn is_builtin_error(&mut self, rule: &str) -> bool {
        if self.builtin_errors == BuiltinErrors::Undefined {
            return false;
        }
        self.engine.set_strict_builtin_errors(false);
        let succeeds = self.engine.eval_rule(rule.to_owned()).is_ok();
        self.engine.set_strict_builtin_errors(true);
        // What it printed was printed before.
        drop(self.engine.take_prints());
        succeeds
    }
}

/// Whether a policy says itself that it is in today's syntax.
fn says_today(text: &str) -> bool {
    text.lines()
        .any(|line| line.split_ascii_whitespace().eq(["import", "rego.v1"]))
}

fn parse(text: &str, before_1_0: bool) -> Result<(Engine, String), String> {
    let new_engine = || {
        let mut engine = Engine::new();
        engine.set_rego_v0(before_1_0);
        // The operator's own file: the host's limit on memory is the one that matters.
        engine.set_policy_length_config(PolicyLengthConfig {
            max_col: NonZeroU32::MAX,
            max_file_bytes: NonZeroUsize::MAX,
            max_lines: NonZeroUsize::MAX,
        });
        engine
    };
    let add = |engine: &mut Engine, text: &str| {
        engine
            .add_policy(FILE.to_owned(), text.to_owned())
            .map_err(|error| summary(&error))
    };
    let mut engine = new_engine();
    let mut package = add(&mut engine, text)?;
    if let Some(wrapped) = collections::wrapped(&mut engine, text) {
        engine = new_engine();
        package = add(&mut engine, &wrapped)?;
        collections::define(&mut engine).map_err(|error| error.to_string())?;
    }
    Ok((engine, package))
}

/// The policy's data. Values inside the policy's own package would stand in for its rules.
fn data(text: &str, package: &str) -> Result<serde_json::Value> {
    let wrong = |what: String| Error::invalid(format!("the policy's data {what}"));
    let data: serde_json::Value =
        serde_json::from_str(text).map_err(|error| wrong(format!("is no JSON object: {error}")))?;
    if !data.is_object() {
        return Err(wrong("is no JSON object".to_owned()));
    }
    let inside = package
        .split('.')
        .skip(1)
        .try_fold(&data, |value, name| value.get(name));
    if inside.is_some() {
        return Err(wrong(format!(
            "has a value at {package}, which is the policy's own package"
        )));
    }
    Ok(data)
}

/// The texts in the value of a rule `deny`: one, or a list or a set of them.
fn texts(value: &Value) -> Vec<String> {
    let text = |value: &Value| match value {
        Value::String(text) => Some(text.to_string()),
        _ => None,
    };
    match value {
        Value::Array(values) => values.iter().filter_map(text).collect(),
        Value::Set(values) => values.iter().filter_map(text).collect(),
        other => text(other).into_iter().collect(),
    }
}

/// An error of the engine in one line.
fn summary(error: &impl fmt::Display) -> String {
    match parts(error) {
        (Some(line), Some(column), message) => {
            format!("line {line}, column {column}: {message}")
        }
        (_, _, message) => message,
    }
}

/// Line, column and text of an error of the engine, which draws a frame with the line of the policy around them.
fn parts(error: &impl fmt::Display) -> (Option<u32>, Option<u32>, String) {
    let text = format!("{error:#}");
    let message = text
        .split_once("error: ")
        .map_or(text.as_str(), |(_, message)| message);
    let message = message.split_whitespace().collect::<Vec<_>>().join(" ");
    let position = text
        .split_once(&format!("--> {FILE}:"))
        .and_then(|(_, rest)| rest.lines().next())
        .unwrap_or_default();
    let mut numbers = position.split(':').map(|number| number.parse().ok());
    let line = numbers.next().flatten();
    (line, numbers.next().flatten(), message)
}

#[cfg(test)]
mod tests;
