//! Reads policies: from the plugin's TOML file, from files, from bundles.

use std::collections::BTreeSet;

use dockside_authz::{
    Place,
    last_good::{self, Source},
};
use dockside_driver::{Error, Result};
use serde_json::Value;

use crate::{
    bundle,
    policy::{INLINE, Module, Outcome, Policy, Text},
    settings::{Origin, Settings},
};

/// A policy as the settings describe it.
pub(crate) struct Described<'a> {
    settings: &'a Settings,
    policy: Option<&'a Origin>,
    name: &'static str,
}

impl<'a> Described<'a> {
    /// The one that decides.
    pub(crate) fn enforcing(settings: &'a Settings) -> Self {
        Self {
            settings,
            policy: settings.policy.as_ref(),
            name: "policy",
        }
    }

    /// Another one with the same data and rule.
    pub(crate) fn other(settings: &'a Settings, policy: &'a Origin) -> Self {
        Self {
            settings,
            policy: Some(policy),
            name: "dry-run policy",
        }
    }

    fn origins(&self) -> impl Iterator<Item = &Origin> {
        self.policy.into_iter().chain(&self.settings.data)
    }
}

impl Source for Described<'_> {
    type Text = Text;
    type Policy = Policy;

    fn name(&self) -> &str {
        self.name
    }

    fn stamp(&self) -> Result<String> {
        let Settings {
            rule,
            builtin_errors,
            ..
        } = self.settings;
        let mut stamp = format!("{rule} {builtin_errors:?}");
        let mut sets = BTreeSet::new();
        for origin in self.origins() {
            match origin {
                Origin::Inline(text) => stamp += &format!(" {text:?}"),
                Origin::Files(place) => {
                    stamp += &format!(" {place}");
                    if sets.insert(&place.set) {
                        stamp += &format!(" {}", place.stamp()?);
                    }
                }
            }
        }
        Ok(stamp)
    }

    fn read(&self) -> Result<Text> {
        let mut text = Text {
            modules: Vec::new(),
            data: Vec::new(),
            rule: self.settings.rule.clone(),
            builtin_errors: self.settings.builtin_errors,
            revision: None,
        };
        match self.policy {
            None => {
                return Err(Error::unavailable(
                    "this plugin needs a value for policy-file, bundle or policy under [config] in its TOML file",
                ));
            }
            Some(Origin::Inline(policy)) => {
                text.modules.push(module(INLINE.to_owned(), policy.clone()))
            }
            Some(Origin::Files(place)) => read_policy(place, &mut text)?,
        }
        for origin in &self.settings.data {
            text.data.push(match origin {
                Origin::Inline(data) => json(data, "the policy's data")?,
                Origin::Files(place) => json(&place.read_text()?, &place.to_string())?,
            });
        }
        Ok(text)
    }

    fn compile(&self, text: &Text) -> Result<Policy> {
        Policy::parse(text)
    }

    fn accept(&self, text: &Text, _policy: &mut Policy) -> Result<()> {
        failures(&Policy::test(text)?).map_or(Ok(()), Err)
    }
}

/// An error that names the tests that failed; none if none did.
pub(crate) fn failures(outcomes: &[Outcome]) -> Option<Error> {
    let failed: Vec<&str> = outcomes
        .iter()
        .filter(|outcome| !outcome.passed)
        .map(|outcome| outcome.test.as_str())
        .collect();
    if failed.is_empty() {
        return None;
    }
    Some(Error::invalid(format!(
        "{} of the policy's {} tests fail: {}",
        failed.len(),
        outcomes.len(),
        failed.join(", ")
    )))
}

/// What is in force, for people.
pub(crate) fn standing(settings: &Settings) -> Result<last_good::Standing> {
    last_good::standing(&Described::enforcing(settings))
}

pub(crate) fn module(name: String, text: String) -> Module {
    Module {
        name,
        text,
        before_1_0: None,
    }
}

/// A bundle, a directory, or one file with its tests beside it.
fn read_policy(place: &Place, text: &mut Text) -> Result<()> {
    if place.name.ends_with(".tar.gz") || place.name.ends_with(".tgz") {
        return bundle::read(&place.read()?, text).map_err(|error| error.context(place));
    }
    let below = place.below()?;
    let Some(tests) = place
        .name
        .strip_suffix(".rego")
        .filter(|_| below.is_empty())
    else {
        if below.is_empty() {
            // A set that is one file, or nothing.
            text.modules
                .push(module(place.to_string(), place.read_text()?));
            return Ok(());
        }
        return read_directory(place, &below, text);
    };
    text.modules
        .push(module(place.to_string(), place.read_text()?));
    let tests = Place {
        set: place.set.clone(),
        name: format!("{tests}_test.rego"),
    };
    match tests.read_text() {
        Ok(found) => text.modules.push(module(tests.to_string(), found)),
        Err(error) if error.code() == dockside_driver::ErrorCode::NotFound => {}
        Err(error) => return Err(error),
    }
    Ok(())
}

/// As OPA reads a directory: policies wherever they are, and what is in `data.json` under the names of the directories.
fn read_directory(place: &Place, files: &[Place], text: &mut Text) -> Result<()> {
    for file in files {
        let inside = file
            .name
            .strip_prefix(&place.name)
            .unwrap_or(&file.name)
            .trim_start_matches('/');
        // Editors and Kubernetes keep other copies in hidden files and directories.
        if inside.split('/').any(|part| part.starts_with('.')) {
            continue;
        }
        if inside.ends_with(".rego") {
            text.modules
                .push(module(file.to_string(), file.read_text()?));
        } else if let Some(directory) = data_directory(inside) {
            let value = json(&file.read_text()?, &file.to_string())?;
            text.data.push(rooted(directory, value));
        }
    }
    Ok(())
}

/// The directory of a `data.json`.
pub(crate) fn data_directory(name: &str) -> Option<&str> {
    match name.strip_suffix("data.json")? {
        "" => Some(""),
        directory => directory.strip_suffix('/'),
    }
}

/// A value under the names of directories.
pub(crate) fn rooted(directory: &str, value: Value) -> Value {
    directory
        .rsplit('/')
        .filter(|name| !name.is_empty())
        .fold(value, |value, name| {
            Value::Object([(name.to_owned(), value)].into_iter().collect())
        })
}

pub(crate) fn json(text: &str, what: &str) -> Result<Value> {
    serde_json::from_str(text)
        .map_err(|error| Error::invalid(format!("{what} is no JSON object: {error}")))
}
