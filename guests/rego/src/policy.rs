//! A parsed policy and what it says of a request.

mod syntax;

use std::str::FromStr;

use dockside_driver::{Error, Result, log};
use regorus::{Engine, Value};
use serde::{Deserialize, Serialize};

use syntax::{parts, summary};

/// The rule that decides, as opa-docker-authz has it.
pub(crate) const RULE: &str = "data.docker.authz.allow";
/// What a policy is called that stands in the plugin's TOML file itself.
pub(crate) const INLINE: &str = "policy";
/// Modules of this ending hold the tests of a policy.
const TESTS: &str = "_test.rego";

/// A file of a policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Module {
    /// What it is called in messages.
    pub(crate) name: String,
    /// Rego.
    pub(crate) text: String,
    /// Whether it is in the syntax before OPA 1.0; none if nobody says so.
    pub(crate) before_1_0: Option<bool>,
}

/// What a policy is made of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Text {
    /// Its files.
    pub(crate) modules: Vec<Module>,
    /// JSON objects that together are the policy's `data`.
    pub(crate) data: Vec<serde_json::Value>,
    /// The rule that decides.
    pub(crate) rule: String,
    /// What a built-in function that fails, such as `count(null)`, does.
    pub(crate) builtin_errors: BuiltinErrors,
    /// What its author calls this state of it.
    pub(crate) revision: Option<String>,
}

/// What a built-in function that fails does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
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

/// A test of a policy and what became of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Outcome {
    /// The rule.
    pub(crate) test: String,
    /// Whether it is true.
    pub(crate) passed: bool,
    /// Why it has no value, if it failed with an error.
    pub(crate) error: Option<String>,
}

impl Policy {
    /// Reads a policy, each file in today's syntax or else in the one before OPA 1.0. Its tests are left out.
    pub(crate) fn parse(text: &Text) -> Result<Self> {
        let modules = || text.modules.iter().filter(|module| !is_test(module));
        let (engine, packages) = load(modules(), text)?;
        let declared = |rule: &str| {
            modules().zip(&packages).any(|(module, package)| {
                rule.strip_prefix(package.as_str())
                    .and_then(|rest| rest.strip_prefix('.'))
                    .is_some_and(|name| {
                        matches!(
                            engine.has_declared_rule_rooted_at(&module.name, name),
                            Ok(true)
                        )
                    })
            })
        };
        let rule = text.rule.as_str();
        if !declared(rule) {
            let mut names: Vec<&str> = packages
                .iter()
                .map(|package| package.trim_start_matches("data."))
                .collect();
            names.dedup();
            return Err(Error::invalid(match names.as_slice() {
                [] => "the policy has no file".to_owned(),
                [name] => format!("the policy has no rule {rule}: its package is {name}"),
                names => format!(
                    "the policy has no rule {rule}: its packages are {}",
                    names.join(", ")
                ),
            }));
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
            builtin_errors: text.builtin_errors,
            engine,
        })
    }

    /// Runs the rules `test_…` of a policy, wherever in its files they stand.
    pub(crate) fn test(text: &Text) -> Result<Vec<Outcome>> {
        let (mut engine, packages) = load(text.modules.iter(), text)?;
        let names: Vec<Vec<String>> = engine
            .get_modules()
            .iter()
            .map(|module| syntax::tests(module))
            .collect();
        let mut tests: Vec<String> = packages
            .iter()
            .zip(names)
            .flat_map(|(package, names)| {
                names
                    .into_iter()
                    .map(move |name| format!("{package}.{name}"))
            })
            .collect();
        tests.sort_unstable();
        tests.dedup();
        // As `opa test` has it.
        engine.set_strict_builtin_errors(false);
        Ok(tests
            .into_iter()
            .map(|test| {
                let value = engine.eval_rule(test.clone());
                drop(engine.take_prints());
                Outcome {
                    passed: matches!(value, Ok(Value::Bool(true))),
                    error: value.err().map(|error| summary(&error)),
                    test,
                }
            })
            .collect())
    }

    /// Every rule of the deciding rule's package with its value for this input, and what the policy printed.
    pub(crate) fn explain(
        &mut self,
        input: serde_json::Value,
    ) -> Result<(serde_json::Value, Vec<String>)> {
        self.engine.set_input(input.into());
        let (package, _) = self.rule.rsplit_once('.').unwrap_or_default();
        let results = self.engine.eval_query(package.to_owned(), false);
        let prints = self.engine.take_prints().unwrap_or_default();
        let results = results.map_err(|error| Error::other(summary(&error)))?;
        let value = results
            .result
            .first()
            .and_then(|result| result.expressions.first())
            .map(|expression| &expression.value);
        let value = match value {
            Some(value) => serde_json::to_value(value)
                .map_err(|error| Error::other(format!("the rules' values are no JSON: {error}")))?,
            None => serde_json::Value::Null,
        };
        Ok((value, prints))
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

fn is_test(module: &Module) -> bool {
    module.name.ends_with(TESTS)
}

/// An engine with these files and the data, and the package of each file.
fn load<'a>(
    modules: impl Iterator<Item = &'a Module>,
    text: &Text,
) -> Result<(Engine, Vec<String>)> {
    let mut engine = syntax::engine();
    let mut packages = Vec::new();
    for module in modules {
        let package = syntax::add(&mut engine, module).map_err(|why| {
            Error::invalid(match module.name.as_str() {
                INLINE => format!("the policy cannot be read: {why}"),
                file => format!("the policy cannot be read: {file}: {why}"),
            })
        })?;
        packages.push(package);
    }
    engine.set_strict_builtin_errors(text.builtin_errors == BuiltinErrors::Deny);
    engine.set_gather_prints(true);
    for data in &text.data {
        check_data(data, &packages)?;
        engine.add_data(data.clone().into()).map_err(|error| {
            Error::invalid(format!(
                "the policy's data does not fit together: {}",
                summary(&error)
            ))
        })?;
    }
    Ok((engine, packages))
}

/// Values inside a package of the policy would stand in for its rules.
fn check_data(data: &serde_json::Value, packages: &[String]) -> Result<()> {
    let wrong = |what: String| Err(Error::invalid(format!("the policy's data {what}")));
    if !data.is_object() {
        return wrong("is no JSON object".to_owned());
    }
    let is_inside = |package: &&String| {
        package
            .split('.')
            .skip(1)
            .try_fold(data, |value, name| value.get(name))
            .is_some()
    };
    match packages.iter().find(is_inside) {
        Some(package) => wrong(format!(
            "has a value at {package}, which is the policy's own package"
        )),
        None => Ok(()),
    }
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

#[cfg(test)]
mod tests;
