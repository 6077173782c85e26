//! What `dockside run` can do with the grid.

use dockside_addresses::record::{Id, not_held};
use dockside_driver::{
    Error, KeyValues, Result,
    admin::{self, Rows, Verb, argument, verb},
};
use serde_json::{Value, json};

use crate::{addresses, later, networks, wapi::Wapi};

/// The verbs of [`run`].
pub(crate) fn verbs() -> Vec<Verb> {
    let pool = || argument("pool").help("The pool's name, such as local/10.90.0.0/24");
    vec![
        verb("check").help("Ask the grid whether it answers, and for what it lacks"),
        verb("create-attributes").help(
            "Define the extensible attributes that the driver uses, where the grid lacks them",
        ),
        verb("pools").help("List the networks that the engine has"),
        verb("leases")
            .help("List the addresses that the engine has")
            .argument(pool()),
        verb("release")
            .help("Free a pool that no network has, with all its addresses")
            .argument(pool().required()),
        verb("pending").help("List what is deleted when the grid answers again"),
    ]
}

/// Does what a verb says.
pub(crate) fn run(verb: &str, arguments: &KeyValues) -> Result<String> {
    match verb {
        "check" => attributes(false),
        "create-attributes" => attributes(true),
        "pools" => pools(),
        "leases" => leases(arguments.get("pool")),
        "release" => release(arguments.get("pool").unwrap_or_default()),
        "pending" => {
            let mut rows = Rows::new(["object"]);
            for reference in later::pending()? {
                rows.push([reference]);
            }
            Ok(rows.to_json())
        }
        _ => Err(admin::unknown(verb)),
    }
}

fn attributes(create: bool) -> Result<String> {
    let wapi = Wapi::open()?;
    let mut rows = Rows::new(["attribute", "state"]);
    for name in wapi.settings.attribute_names() {
        let is_there = !wapi.find(later::LOCK, None, &[("name", name)])?.is_empty();
        let state = match (is_there, create) {
            (true, _) => "defined",
            (false, true) => {
                let body = json!({ "name": name, "type": "STRING", "flags": "C" });
                wapi.ensure(later::LOCK, &body)?;
                "created"
            }
            (false, false) => "missing: run create-attributes",
        };
        rows.push([name, state]);
    }
    Ok(rows.to_json())
}

fn pools() -> Result<String> {
    let mut rows = Rows::new(["pool", "networks", "view", "name", "object"]);
    for (key, network) in networks::all()? {
        for (range, networks) in &network.ranges {
            let range = range.map(|range| format!("/{range}")).unwrap_or_default();
            rows.push([
                json!(format!("{key}{range}")),
                json!(networks),
                json!(network.view),
                json!(network.name),
                json!(network.reference),
            ]);
        }
    }
    Ok(rows.to_json())
}

fn leases(wanted: Option<&str>) -> Result<String> {
    let mut rows = Rows::new(["address", "pool", "mac", "name", "gateway", "object"]);
    let mut found = wanted.is_none();
    for (key, _) in networks::all()? {
        let Some(id) = Id::parse(&key).filter(|_| wanted.is_none_or(|wanted| wanted == key)) else {
            continue;
        };
        found = true;
        for (address, lease) in addresses::all(&id)? {
            rows.push([
                Value::from(address),
                json!(key),
                json!(lease.mac),
                json!(Some(lease.name).filter(|name| !name.is_empty())),
                json!(lease.gateway),
                json!(lease.reference),
            ]);
        }
    }
    match wanted {
        Some(wanted) if !found => Err(not_held(wanted)),
        _ => Ok(rows.to_json()),
    }
}

fn release(name: &str) -> Result<String> {
    let id = Id::parse(name).ok_or_else(|| {
        Error::invalid(format!(
            "{name:?} is no pool; `dockside run` with the verb pools lists them"
        ))
    })?;
    let network = networks::get(&id)?.ok_or_else(|| not_held(name))?;
    networks::free(&id, &network)?;
    let mut rows = Rows::new(["pool", "object"]);
    rows.push([name, &network.reference]);
    Ok(rows.to_json())
}
