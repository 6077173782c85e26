//! A parsed policy and what it says of a request.

use std::{
    fmt,
    num::{NonZeroU32, NonZeroUsize},
    str::FromStr,
};

use dockside_driver::{Error, Result, log};
use regorus::{Engine, PolicyLengthConfig, Value};

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
}

impl Policy {
    /// Reads a policy, in today's syntax or else in the one before OPA 1.0.
    pub(crate) fn parse(source: &Source) -> Result<Self> {
        let (mut engine, package) = parse(&source.text, false).or_else(|today| {
            parse(&source.text, true).map_err(|before| {
                Error::invalid(format!(
                    "the policy cannot be read: {today}; in the syntax before OPA 1.0: {before}"
                ))
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
            Error::other(format!(
                "the policy cannot be evaluated: {}",
                summary(&error)
            ))
        })
    }
}

fn parse(text: &str, before_1_0: bool) -> Result<(Engine, String), String> {
    let mut engine = Engine::new();
    engine.set_rego_v0(before_1_0);
    // The operator's own file: the limits only have to keep memory in bounds, not to guard against strangers.
    engine.set_policy_length_config(PolicyLengthConfig {
        max_col: NonZeroU32::MAX,
        max_file_bytes: NonZeroUsize::MAX,
        max_lines: NonZeroUsize::MAX,
    });
    let package = engine
        .add_policy(FILE.to_owned(), text.to_owned())
        .map_err(|error| summary(&error))?;
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

/// An error of the engine in one line: it draws a frame with the line of the policy around its text.
fn summary(error: &impl fmt::Display) -> String {
    let text = format!("{error:#}");
    let message = text
        .split_once("error: ")
        .map_or(text.as_str(), |(_, message)| message);
    let message = message.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut position = text
        .split_once(&format!("--> {FILE}:"))
        .and_then(|(_, rest)| rest.lines().next())
        .unwrap_or_default()
        .split(':');
    match (position.next(), position.next()) {
        (Some(line), Some(column)) => format!("line {line}, column {column}: {message}"),
        _ => message,
    }
}

#[cfg(test)]
mod tests;
