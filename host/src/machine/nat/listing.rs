//! What the kernel has, as `nft` lists it.

use std::collections::HashMap;
use std::net::IpAddr;

use serde_json::Value;

use super::base::TABLE;
use super::program;
use super::script::{Element, first_error, refusal};
use crate::machine::{ErrorKind, MachineError};

/// The chain of the table that tells it from another one of this name.
const SIGN: &str = "held";

/// What there is, without its rules.
pub(super) struct Overview {
    /// Each table's family with its name.
    tables: Vec<(String, String)>,
    /// The names of our table's chains; none if there is no table of ours.
    chains: Option<Vec<String>>,
}

impl Overview {
    /// Reads it.
    pub(super) fn read() -> Result<Overview, MachineError> {
        // Not in one command: nft 1.1 then lists the tables of that family only.
        let tables = list("list tables")?;
        let objects = list("list chains inet")?;
        let chains: Vec<String> = each(&objects, "chain")
            .filter(|chain| chain.get("table").and_then(Value::as_str) == Some("dockside"))
            .filter_map(|chain| text(chain, "name"))
            .collect();
        Ok(Overview {
            tables: each(&tables, "table")
                .filter_map(|table| Some((text(table, "family")?, text(table, "name")?)))
                .collect(),
            chains: chains.iter().any(|name| name == SIGN).then_some(chains),
        })
    }

    /// Whether nftables has the filter table of iptables for a family.
    pub(super) fn has_filter(&self, family: &str) -> bool {
        self.tables
            .iter()
            .any(|(known, name)| known == family && name == "filter")
    }

    /// Whether there is a table of our table's name that is another's.
    pub(super) fn has_impostor(&self) -> bool {
        let ours = |(family, name): &(String, String)| family == "inet" && name == "dockside";
        self.chains.is_none() && self.tables.iter().any(ours)
    }

    /// Whether there is our table.
    pub(super) fn has_table(&self) -> bool {
        self.chains.is_some()
    }

    /// Whether our table has a chain.
    pub(super) fn has_chain(&self, chain: &str) -> bool {
        self.chains.iter().flatten().any(|name| name == chain)
    }

    /// The rule sets' identifiers.
    pub(super) fn ids(&self) -> impl Iterator<Item = &str> {
        self.chains
            .iter()
            .flatten()
            .filter_map(|chain| chain.strip_prefix("r_"))
    }
}

/// A chain of a table, as far as it can be told apart from nothing.
pub(super) struct ForeignChain {
    pub(super) name: String,
    pub(super) drops: bool,
    pub(super) rules: usize,
}

/// Whether the filter table of iptables has the chain that packets are forwarded by.
pub(super) fn has_forward(family: &str) -> Result<bool, MachineError> {
    match list(&format!("list chain {family} filter FORWARD")) {
        Ok(_) => Ok(true),
        Err(error) if error.kind == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// The chains of the filter table of iptables, and whether there is anything else in it.
pub(super) fn filter(family: &str) -> Result<(Vec<ForeignChain>, bool), MachineError> {
    let objects = list(&format!("list table {family} filter"))?;
    let rules = |name: &str| {
        each(&objects, "rule")
            .filter(|rule| rule.get("chain").and_then(Value::as_str) == Some(name))
            .count()
    };
    let chains = each(&objects, "chain")
        .filter_map(|chain| {
            let name = text(chain, "name")?;
            Some(ForeignChain {
                drops: chain.get("policy").and_then(Value::as_str) == Some("drop"),
                rules: rules(&name),
                name,
            })
        })
        .collect();
    let more = objects.iter().any(|object| {
        ["metainfo", "table", "chain", "rule"]
            .iter()
            .all(|kind| object.get(kind).is_none())
    });
    Ok((chains, more))
}

/// The whole table.
pub(super) struct Listing {
    /// Each chain with the number of its rules.
    rules: HashMap<String, usize>,
    /// Each rule set's identifier with the comment that it was made with.
    digests: HashMap<String, String>,
    /// Each key of a map or a set, with the chain that it leads to.
    elements: HashMap<(String, String), Option<String>>,
}

impl Listing {
    /// Reads it; none if there is no table.
    pub(super) fn read() -> Result<Option<Listing>, MachineError> {
        let objects = match list(&format!("list table {TABLE}")) {
            Ok(objects) => objects,
            Err(error) if error.kind == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut rules: HashMap<String, usize> = each(&objects, "chain")
            .filter_map(|chain| Some((text(chain, "name")?, 0)))
            .collect();
        if !rules.contains_key(SIGN) {
            return Ok(None);
        }
        let mut digests = HashMap::new();
        for rule in each(&objects, "rule") {
            let Some(chain) = text(rule, "chain") else {
                continue;
            };
            if let (Some(id), Some(digest)) = (chain.strip_prefix("r_"), text(rule, "comment")) {
                digests.insert(id.to_owned(), digest);
            }
            *rules.entry(chain).or_default() += 1;
        }
        let mut elements_found = HashMap::new();
        for kind in ["map", "set"] {
            for set in each(&objects, kind) {
                let name = text(set, "name").unwrap_or_default();
                for (key, target) in elements(set) {
                    elements_found.insert((name.clone(), key), target);
                }
            }
        }
        Ok(Some(Listing {
            rules,
            digests,
            elements: elements_found,
        }))
    }

    /// The number of a chain's rules, if there is that chain.
    pub(super) fn rules(&self, chain: &str) -> Option<usize> {
        self.rules.get(chain).copied()
    }

    /// What a rule set was made with.
    pub(super) fn digest(&self, id: &str) -> Option<&str> {
        self.digests.get(id).map(String::as_str)
    }

    /// Whether a key is where it should be and leads to where it should.
    pub(super) fn has(&self, element: &Element) -> bool {
        self.elements
            .get(&(element.set.to_owned(), element.key.clone()))
            .is_some_and(|target| *target == element.chain)
    }

    /// Whether a key is in a map or a set, wherever it leads.
    pub(super) fn has_key(&self, set: &str, key: &str) -> bool {
        self.elements
            .contains_key(&(set.to_owned(), key.to_owned()))
    }

    /// The keys that lead to these chains.
    pub(super) fn leading_to(&self, chains: &[String]) -> Vec<(&'static str, String)> {
        let mut found = Vec::new();
        for ((set, key), target) in &self.elements {
            let set = super::base::set_name(set);
            if let (Some(set), Some(target)) = (set, target)
                && chains.contains(target)
            {
                found.push((set, key.clone()));
                // A name belongs to whoever has the link.
                if set == "links"
                    && self
                        .elements
                        .contains_key(&("names".to_owned(), key.clone()))
                {
                    found.push(("names", key.clone()));
                }
            }
        }
        found
    }
}

/// The keys of a map; none if there is no table.
pub(super) fn keys(map: &str) -> Result<Vec<String>, MachineError> {
    let objects = match list(&format!("list map {TABLE} {map}")) {
        Ok(objects) => objects,
        Err(error) if error.kind == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    Ok(each(&objects, "map")
        .flat_map(elements)
        .map(|(key, _)| key)
        .collect())
}

fn list(command: &str) -> Result<Vec<Value>, MachineError> {
    let what = "read the firewall's tables";
    let finished = program::run("nft", "nftables", &["-j", command], None, None)?;
    if !finished.success {
        let (_, said) = first_error(&finished.errors);
        return Err(refusal(what, said));
    }
    let unreadable = |why: String| {
        MachineError::new(
            ErrorKind::Other,
            format!("cannot {what}: nft printed {why}"),
        )
    };
    if finished.output.trim().is_empty() {
        return Ok(Vec::new());
    }
    let mut printed: Value = serde_json::from_str(&finished.output)
        .map_err(|error| unreadable(format!("what is no JSON: {error}")))?;
    match printed.get_mut("nftables").map(Value::take) {
        Some(Value::Array(objects)) => Ok(objects),
        _ => Err(unreadable("no list of objects".to_owned())),
    }
}

fn each<'a>(objects: &'a [Value], kind: &'a str) -> impl Iterator<Item = &'a Value> {
    objects.iter().filter_map(move |object| object.get(kind))
}

fn text(object: &Value, field: &str) -> Option<String> {
    object.get(field)?.as_str().map(str::to_owned)
}

/// Each key of a map or a set, with the chain that it leads to.
fn elements(set: &Value) -> impl Iterator<Item = (String, Option<String>)> {
    let found = set.get("elem").and_then(Value::as_array);
    found.into_iter().flatten().filter_map(|element| {
        let (key, verdict) = match element {
            Value::Array(pair) => (pair.first()?, pair.get(1)),
            key => (key, None),
        };
        let target = verdict
            .and_then(|verdict| verdict.pointer("/jump/target"))
            .and_then(Value::as_str);
        Some((key_text(key)?, target.map(str::to_owned)))
    })
}

/// A key as scripts have it.
fn key_text(key: &Value) -> Option<String> {
    if let Some(inner) = key.pointer("/elem/val") {
        return key_text(inner);
    }
    if let Some(parts) = key.get("concat").and_then(Value::as_array) {
        let parts: Option<Vec<String>> = parts.iter().map(part_text).collect();
        let mut parts = parts?;
        // A protocol has its number where the machine has no /etc/protocols. Ports come last.
        let protocol = parts.len().checked_sub(2)?;
        if let Some(protocol) = parts.get_mut(protocol) {
            for (number, name) in [("6", "tcp"), ("17", "udp"), ("132", "sctp")] {
                if protocol == number {
                    *protocol = name.to_owned();
                }
            }
        }
        return Some(parts.join(" . "));
    }
    key.as_str().map(|link| format!("\"{link}\""))
}

fn part_text(part: &Value) -> Option<String> {
    match part {
        Value::String(text) => Some(match text.parse::<IpAddr>() {
            Ok(address) => address.to_string(),
            Err(_) => text.clone(),
        }),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}
