//! Many lives, and what they leave on the machine.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

use super::external::rules;
use super::life::Net;
use crate::Bench;
use crate::bench::invariants::{Process, World};
use crate::check::{Check, Kind, Level, Need, Outcome, Stop, ensure};
use crate::sandbox::Sandbox;

pub(super) const CHECKS: &[Check] = &[
    Check {
        id: "N30",
        level: Level::Engine,
        kind: Some(Kind::Network),
        needs: &[Need::Root],
        title: "a network's whole life 1,000 times, 64 at once",
        rule: "No call fails, and no link, address, route, rule or neighbour is left: what one container in a thousand leaves is what a machine stumbles over in a month.",
        slow: true,
        run: lives,
    },
    Check {
        id: "N31",
        level: Level::Security,
        kind: Some(Kind::Network),
        needs: &[Need::Root],
        title: "links, addresses, routes, rules and settings of the machine before and after",
        rule: "Equal: a setting that stays changed for all networks (forwarding, filtering of return paths) holds for those that are none of the driver's business too.",
        slow: true,
        run: as_before,
    },
    Check {
        id: "N34",
        level: Level::Security,
        kind: Some(Kind::Network),
        needs: &[Need::Root],
        title: "the network namespaces of the plugin's threads after many calls",
        rule: "Each thread is in the one that it started in: a thread that stays in a container's namespace serves the next call there, and makes the links of one tenant in the container of another.",
        slow: true,
        run: threads,
    },
];

fn lives(bench: &Bench) -> Outcome {
    let before = machine();
    let count = bench.many(1000);
    // With less patience calls may take less time, so fewer wait for each other.
    let most = bench.profile().network.at_once.max(1);
    let workers = 64.min(count / 10).max(2).min(most);
    let next = AtomicUsize::new(0);
    let results = bench.at_once(workers, |_| -> Outcome {
        let sandbox = Sandbox::open()?;
        while next.fetch_add(1, Ordering::Relaxed) < count {
            let net = Net::create(bench)?;
            let endpoint = net.endpoint(0)?;
            endpoint.enter(&sandbox)?;
            endpoint.info().succeeds()?;
            endpoint.end(&sandbox)?;
            net.delete().succeeds()?;
        }
        Ok(())
    });
    results.into_iter().collect::<Outcome<Vec<()>>>()?;
    bench.until(|| {
        let now = machine();
        let new: Vec<&str> = now.difference(&before).map(String::as_str).collect();
        ensure(new.is_empty(), || {
            format!("after {count} lives there is: {}", new.join("; "))
        })
    })
}

/// What lives may leave that the invariants of every check do not look at.
fn machine() -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    for (what, arguments) in [
        ("link", ["-o", "-br", "link"].as_slice()),
        ("neighbour", &["neigh", "show"]),
        ("policy", &["rule", "show"]),
        ("namespace", &["netns", "list"]),
    ] {
        let output = Command::new("ip")
            .args(arguments)
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .output();
        let text = output.map(|output| output.stdout).unwrap_or_default();
        for line in String::from_utf8_lossy(&text).lines() {
            let name = line.split_whitespace().next().unwrap_or_default();
            all.insert(match what {
                // Their state comes and goes with what is at the other end.
                "link" | "neighbour" => format!("{what} {name}"),
                _ => format!("{what} {line}"),
            });
        }
    }
    all.extend(
        rules()
            .into_iter()
            .map(|(count, rule)| format!("rule {count} {rule}")),
    );
    all
}

fn as_before(bench: &Bench) -> Outcome {
    let world = World::now();
    let first = settings();
    let before = machine();
    // What changes by itself is nobody's doing.
    let again = settings();
    let still: BTreeMap<&String, &String> = first
        .iter()
        .filter(|(name, value)| again.get(*name) == Some(*value))
        .collect();
    for internal in [false, true] {
        let mut net = Net::plan(bench).both();
        net.internal = internal;
        if !net.make().is_success() {
            return Err(Stop::skip("networks of both families are N05's subject"));
        }
        let sandbox = Sandbox::open()?;
        let endpoint = net.endpoint(0)?;
        endpoint.enter(&sandbox)?;
        if endpoint.program().status() != 404 {
            endpoint.revoke().succeeds()?;
        }
        endpoint.end(&sandbox)?;
        net.delete().succeeds()?;
    }
    bench.until(|| {
        let mut changes = World::now().changes(&world);
        let now = machine();
        changes.extend(now.difference(&before).map(|line| format!("new: {line}")));
        changes.extend(before.difference(&now).map(|line| format!("gone: {line}")));
        let now = settings();
        for (name, value) in &still {
            if let Some(new) = now.get(*name).filter(|new| new != value) {
                changes.push(format!("{name} was {value} and is {new}"));
            }
        }
        ensure(changes.is_empty(), || {
            format!(
                "the machine is not as it was before: {}",
                changes.join("; ")
            )
        })
    })
}

/// The settings of the network namespace, by path.
fn settings() -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    let mut open = vec![Path::new("/proc/sys/net").to_path_buf()];
    while let Some(directory) = open.pop() {
        for entry in std::fs::read_dir(&directory)
            .into_iter()
            .flatten()
            .flatten()
        {
            let path = entry.path();
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => open.push(path),
                Ok(kind) if kind.is_file() => {
                    if let Ok(value) = std::fs::read_to_string(&path) {
                        all.insert(path.display().to_string(), value.trim().to_owned());
                    }
                }
                _ => {}
            }
        }
    }
    all
}

fn threads(bench: &Bench) -> Outcome {
    let process = Process::behind(bench.socket())
        .ok_or_else(|| Stop::skip("the plugin's process cannot be told from here"))?;
    let before = namespaces(process.pid)?;
    // Each life is five calls.
    let count = bench.many(2000);
    let next = AtomicUsize::new(0);
    let results = bench.at_once(8, |_| -> Outcome {
        let sandbox = Sandbox::open()?;
        let net = Net::create(bench)?;
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= count {
                return net.delete().succeeds().map(drop);
            }
            let endpoint = net.endpoint(u32::try_from(number % 200).unwrap_or(0))?;
            endpoint.enter(&sandbox)?;
            endpoint.end(&sandbox)?;
        }
    });
    results.into_iter().collect::<Outcome<Vec<()>>>()?;
    let now = namespaces(process.pid)?;
    let strange: Vec<&str> = now.difference(&before).map(String::as_str).collect();
    ensure(strange.is_empty(), || {
        format!(
            "after {count} containers a thread of the plugin is in {}, and none was before",
            strange.join(", ")
        )
    })
}

fn namespaces(pid: u32) -> Outcome<BTreeSet<String>> {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task"))
        .map_err(|error| Stop::skip(format!("the plugin's threads cannot be seen: {error}")))?;
    let mut all = BTreeSet::new();
    for task in tasks.flatten() {
        if let Ok(namespace) = std::fs::read_link(task.path().join("ns/net")) {
            all.insert(namespace.display().to_string());
        }
    }
    if all.is_empty() {
        return Err(Stop::skip(
            "the namespaces of the plugin's threads cannot be seen",
        ));
    }
    Ok(all)
}
