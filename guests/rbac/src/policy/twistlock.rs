//! Policies of twistlock/authz: one JSON object on each line.

use dockside_driver::{Error, Result};
use regex_lite::Regex;
use serde::{Deserialize, Serialize};

use dockside_authz::routes::Route;

use super::{Allowed, Denied};

/// A line. As there, keys that nobody knows are passed over.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Line {
    name: String,
    users: Vec<String>,
    actions: Vec<String>,
    readonly: bool,
}

/// A line with its expressions compiled.
#[derive(Clone, Debug)]
pub(crate) struct Compiled {
    line: Line,
    actions: Vec<Regex>,
}

impl PartialEq for Compiled {
    fn eq(&self, other: &Self) -> bool {
        self.line == other.line
    }
}

impl Eq for Compiled {}

/// Whether a text begins with such a line.
pub(super) fn is_one(text: &str) -> bool {
    let first = text.lines().next().unwrap_or_default();
    serde_json::from_str::<serde_json::Value>(first.trim())
        .is_ok_and(|value| value.get("users").is_some() && value.get("actions").is_some())
}

pub(super) fn parse(text: &str) -> Result<Vec<Line>> {
    text.lines()
        .enumerate()
        .filter(|(_, line)| !line.trim().is_empty())
        .map(|(number, line)| {
            serde_json::from_str(line.trim()).map_err(|error| {
                Error::invalid(format!(
                    "the policy cannot be read: line {}: {error}",
                    number + 1
                ))
            })
        })
        .collect()
}

impl Compiled {
    pub(super) fn new(line: &Line) -> Result<Self> {
        let compile = |text: &String| {
            Regex::new(text).map_err(|error| {
                Error::invalid(format!(
                    "the policy makes no sense: {}: action {text:?}: {error}",
                    line.name
                ))
            })
        };
        Ok(Self {
            actions: line.actions.iter().map(compile).collect::<Result<_>>()?,
            line: line.clone(),
        })
    }
}

/// As that program decides: the first line that names the user, by the first of its expressions that is found in the action.
pub(crate) fn judge(
    lines: &[Compiled],
    user: &str,
    method: &str,
    route: &Route,
) -> Result<Allowed, Denied> {
    let name = route.alias.unwrap_or(route.action);
    let denied = |rule: Option<&str>, reason: String| Denied {
        rule: rule.map(str::to_owned),
        reason,
    };
    let Some(Compiled { line, actions }) = lines
        .iter()
        .find(|compiled| compiled.line.users.iter().any(|known| known == user))
    else {
        return Err(denied(
            None,
            format!("no policy applied (user: '{user}' action: '{name}')"),
        ));
    };
    let rule = line.name.as_str();
    if !actions.iter().any(|action| action.is_match(name)) {
        return Err(denied(
            Some(rule),
            format!("action '{name}' denied for user '{user}' by policy '{rule}'"),
        ));
    }
    if line.readonly && method != "GET" {
        return Err(denied(
            Some(rule),
            format!("action '{name}' not allowed for user '{user}' by readonly policy '{rule}'"),
        ));
    }
    Ok(Allowed {
        rule: rule.to_owned(),
    })
}
