//! `dockside ls`

use http::Method;

use super::{ATTENTION, OK, print_json, table};
use crate::admin::client::ask;
use crate::admin::report::{PluginSummary, Status};
use crate::config::Daemon;

pub(super) async fn run(daemon: &Daemon, json: bool) -> anyhow::Result<u8> {
    let status: Status = ask(&daemon.control, Method::GET, "/v1/status", &[], Vec::new()).await?;
    let healthy = status.problems.is_empty()
        && status.plugins.iter().all(|plugin| {
            plugin.note.is_none() && matches!(plugin.state.as_str(), "serving" | "trial")
        });
    if json {
        print_json(&status)?;
    } else {
        show(&status);
    }
    Ok(if healthy { OK } else { ATTENTION })
}

fn verbs(plugin: &PluginSummary) -> String {
    let names: Vec<&str> = plugin.verbs.iter().map(|verb| verb.name.as_str()).collect();
    if names.is_empty() {
        return "-".to_owned();
    }
    names.join(",")
}

fn show(status: &Status) {
    if status.plugins.is_empty() {
        say!(
            "No plugins. Drop a driver (NAME.wasm) into {}.",
            status.drivers
        );
    } else {
        let rows: Vec<_> = status
            .plugins
            .iter()
            .map(|plugin| {
                [
                    plugin.name.clone(),
                    plugin.kinds.join(","),
                    plugin.state.clone(),
                    plugin.version.clone().unwrap_or_else(|| "-".into()),
                    plugin.calls.to_string(),
                    plugin.faults.to_string(),
                    plugin.file.clone().unwrap_or_else(|| "-".into()),
                    verbs(plugin),
                ]
            })
            .collect();
        table::print(
            &[
                "NAME", "KINDS", "STATE", "VERSION", "CALLS", "FAULTS", "FILE", "VERBS",
            ],
            &rows,
        );
    }
    for plugin in &status.plugins {
        if let Some(note) = &plugin.note {
            say!("\n{}: {note}", plugin.name);
        }
    }
    for problem in &status.problems {
        say!("\n{} is not used: {}", problem.file, problem.reason);
    }
}
