//! The daemon over its sockets and its command line, without an engine.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod authz;
mod cli;
mod config;
mod crash;
mod dev;
mod documents;
mod endpoint;
mod hostile;
mod infoblox;
mod ipam;
mod protocol;
mod record;
mod relay;
mod swap;
mod verbs;
mod volume;

use anyhow::{Result, ensure};
use dockside_tests::client::{Answer, Caller};
use dockside_tests::daemon::{Daemon, Site};
use dockside_tests::files;
use serde_json::{Value, json};

/// What a driver that makes directories needs.
const DIRECTORIES: &str = "[grants]\ndirectories = {}\n";

/// A daemon with these fixtures, each as a plugin of the same name with a grant for directories.
fn with_fixtures(fixtures: &[&str]) -> Result<(Site, Daemon)> {
    let site = Site::new()?;
    for fixture in fixtures {
        site.configure(fixture, DIRECTORIES)?;
        site.drop_in(&files::fixture(fixture)?, fixture)?;
    }
    let daemon = site.serve()?;
    for fixture in fixtures {
        daemon.wait_plugin(fixture)?;
    }
    Ok((site, daemon))
}

/// A daemon with one of the drivers that ship with dockside.
fn with_driver(driver: &str, toml: &str) -> Result<(Site, Daemon)> {
    let site = Site::new()?;
    if !toml.is_empty() {
        site.configure(driver, toml)?;
    }
    site.drop_in(&files::driver(driver)?, driver)?;
    let daemon = site.serve()?;
    daemon.wait_plugin(driver)?;
    Ok((site, daemon))
}

/// A call that must succeed.
fn ok(caller: &mut Caller, method: &str, body: Value) -> Result<Answer> {
    let answer = caller.call(method, &body)?;
    ensure!(
        answer.is_success(),
        "{method} {body}: {} {}",
        answer.status,
        String::from_utf8_lossy(&answer.body)
    );
    Ok(answer)
}

/// A call that must be refused the way that every engine understands, and its text.
fn refused(caller: &mut Caller, method: &str, body: Value) -> Result<String> {
    let answer = caller.call(method, &body)?;
    ensure!(
        answer.status >= 400 && !answer.err().is_empty(),
        "{method} {body}: {} {}",
        answer.status,
        String::from_utf8_lossy(&answer.body)
    );
    Ok(answer.err())
}

/// A `Get` of a volume, and one of its status fields.
fn status(caller: &mut Caller, volume: &str, field: &str) -> Result<Value> {
    Ok(ok(caller, "VolumeDriver.Get", json!({ "Name": volume }))?
        .at(&format!("/Volume/Status/{field}")))
}

/// The names that a volume plugin lists, sorted.
fn listed(caller: &mut Caller) -> Result<Vec<String>> {
    let answer = ok(caller, "VolumeDriver.List", json!({}))?;
    let mut names: Vec<String> = answer
        .at("/Volumes")
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|volume| volume["Name"].as_str().map(str::to_owned))
        .collect();
    names.sort();
    Ok(names)
}

/// Whether any text inside a JSON value has this in it.
fn mentions(value: &Value, needle: &str) -> bool {
    match value {
        Value::String(text) => text.contains(needle),
        Value::Array(list) => list.iter().any(|item| mentions(item, needle)),
        Value::Object(object) => object.values().any(|item| mentions(item, needle)),
        _ => false,
    }
}
