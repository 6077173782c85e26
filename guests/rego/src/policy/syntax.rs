//! The two syntaxes of Rego, and what the engine says of them.

use std::{
    fmt,
    num::{NonZeroU32, NonZeroUsize},
};

use regorus::{
    Engine, PolicyLengthConfig,
    unstable::{Expr, Module as Parsed, Rule, RuleHead},
};

use super::Module;
use crate::collections;

/// Whether a policy says itself that it is in today's syntax.
fn says_today(text: &str) -> bool {
    text.lines()
        .any(|line| line.split_ascii_whitespace().eq(["import", "rego.v1"]))
}

/// An engine without a policy.
pub(super) fn engine() -> Engine {
    let mut engine = Engine::new();
    // The operator's own file: the host's limit on memory is the one that matters.
    engine.set_policy_length_config(PolicyLengthConfig {
        max_col: NonZeroU32::MAX,
        max_file_bytes: NonZeroUsize::MAX,
        max_lines: NonZeroUsize::MAX,
    });
    engine
}

/// Adds a file in the syntax that it is in, and returns its package: `data.docker.authz`.
pub(super) fn add(engine: &mut Engine, module: &Module) -> Result<String, String> {
    if let Some(before_1_0) = module.before_1_0 {
        return add_as(engine, module, before_1_0);
    }
    add_as(engine, module, false).or_else(|today| {
        if says_today(&module.text) {
            return Err(today);
        }
        add_as(engine, module, true)
            .map_err(|before| format!("{today}; in the syntax before OPA 1.0: {before}"))
    })
}

fn add_as(engine: &mut Engine, module: &Module, before_1_0: bool) -> Result<String, String> {
    let add = |engine: &mut Engine, text: &str| {
        engine.set_rego_v0(before_1_0);
        engine
            .add_policy(module.name.clone(), text.to_owned())
            .map_err(|error| summary(&error))
    };
    // What is wrapped has this word.
    if !module.text.contains("some") {
        return add(engine, &module.text);
    }
    // On its own, so that what is wrapped is this file.
    let mut alone = self::engine();
    add(&mut alone, &module.text)?;
    match collections::wrapped(&mut alone, &module.text) {
        Some(wrapped) => {
            // A second time is refused, and there is nothing to do: it is there.
            drop(collections::define(engine));
            add(engine, &wrapped)
        }
        None => add(engine, &module.text),
    }
}

/// The names of the rules of a file that are tests.
pub(super) fn tests(module: &Parsed) -> Vec<String> {
    let name = |rule: &Rule| {
        let refr = match rule {
            Rule::Spec { head, .. } => match head {
                RuleHead::Compr { refr, .. } | RuleHead::Set { refr, .. } => refr,
                RuleHead::Func { .. } => return None,
            },
            Rule::Default { .. } => return None,
        };
        match &**refr {
            Expr::Var { span, .. } => Some(span.text().to_owned()),
            _ => None,
        }
    };
    module
        .policy
        .iter()
        .filter_map(|rule| name(rule))
        .filter(|name| name.starts_with("test_"))
        .collect()
}

/// An error of the engine in one line.
pub(super) fn summary(error: &impl fmt::Display) -> String {
    match parts(error) {
        (Some(line), Some(column), message) => {
            format!("line {line}, column {column}: {message}")
        }
        (_, _, message) => message,
    }
}

/// Line, column and text of an error of the engine, which draws a frame with the line of the policy around them.
pub(super) fn parts(error: &impl fmt::Display) -> (Option<u32>, Option<u32>, String) {
    let text = format!("{error:#}");
    let message = text
        .split_once("error: ")
        .map_or(text.as_str(), |(_, message)| message);
    let message = message.split_whitespace().collect::<Vec<_>>().join(" ");
    let position = text
        .split_once("--> ")
        .and_then(|(_, rest)| rest.lines().next())
        .unwrap_or_default();
    let mut numbers = position
        .rsplit(':')
        .map(|number| number.trim().parse().ok());
    let column = numbers.next().flatten();
    (numbers.next().flatten(), column, message)
}
