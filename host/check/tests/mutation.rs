//! Each check has a plugin that is broken in the one way that the check looks for: it fails that check and nothing else.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

use std::collections::BTreeMap;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Deadlines and idle limits of the checks and of the plugin are so much shorter than an engine's.
const PATIENCE: &str = "0.05";
/// Most of a run is waiting, so more of them than there are cores.
const AT_ONCE: usize = 6;

/// Breaks that necessarily fail other checks too: `(broken, also fails)`, with the reason beside it.
const ALSO: &[(&str, &[&str])] = &[
    // Without kinds there is nothing to call.
    ("P01", &["P03", "P04"]),
];

/// Verdict and what was seen, by ID.
fn run(breaks: Option<&str>, only: &[&str], quick: bool) -> BTreeMap<String, (String, String)> {
    let mut arguments = Vec::new();
    if let Some(id) = breaks {
        arguments.extend(["--break".to_owned(), id.to_owned()]);
    }
    if !only.is_empty() {
        arguments.extend(["--only".to_owned(), only.join(",")]);
    }
    if quick {
        arguments.push("--quick".to_owned());
    }
    run_as(&arguments)
}

/// The same with the fixture plugin's arguments.
fn run_as(arguments: &[String]) -> BTreeMap<String, (String, String)> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fixture-plugin"));
    command.args(["mutate", "--patience", PATIENCE]);
    command.args(arguments);
    let output = command.stderr(Stdio::piped()).output().unwrap();
    let log = String::from_utf8_lossy(&output.stderr);
    let report: serde_json::Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{arguments:?}: {error}\n{log}"));
    let text =
        |value: &serde_json::Value, key: &str| value[key].as_str().unwrap_or_default().to_owned();
    report["tried"]
        .as_array()
        .unwrap()
        .iter()
        .map(|tried| {
            let seen = if tried["verdict"] == "skip" {
                text(tried, "reason")
            } else {
                text(tried, "seen")
            };
            (text(tried, "id"), (text(tried, "verdict"), seen))
        })
        .collect()
}

#[test]
fn a_plugin_without_fault_passes_every_check() {
    let verdicts = run(None, &[], false);
    let wrong: Vec<_> = verdicts
        .iter()
        .filter(|(_, (verdict, _))| verdict == "fail")
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
    let passed = verdicts
        .values()
        .filter(|(verdict, _)| verdict == "pass")
        .count();
    assert!(passed > 0, "{verdicts:#?}");
}

/// What plugins may do or leave is checked only where they do it.
#[test]
fn an_address_manager_that_wants_replays_and_ethernet_addresses_passes_every_check() {
    let arguments = ["--with", "replay,mac", "--only", "I"].map(str::to_owned);
    let verdicts = run_as(&arguments);
    for (id, (verdict, seen)) in &verdicts {
        assert_ne!(verdict, "fail", "{id}: {seen}");
    }
    for id in ["I25", "I26"] {
        assert_eq!(verdicts[id].0, "pass", "{verdicts:#?}");
    }
}

/// What a driver of scope local has no part in.
#[test]
fn a_network_driver_of_scope_global_without_ports_passes_its_checks() {
    let own = ["N01", "N02", "N25", "N28"];
    let arguments = ["--with", "global", "--only", &own.join(",")].map(str::to_owned);
    let verdicts = run_as(&arguments);
    for id in own {
        assert_eq!(verdicts[id].0, "pass", "{id}: {verdicts:#?}");
    }
}

#[test]
fn each_broken_plugin_fails_its_own_check_and_no_other() {
    let root = rustix::process::geteuid().is_root();
    let fault = |check: &dockside_check::Check| {
        !check.needs.iter().any(|need| match need {
            dockside_check::Need::Root => !root,
            // What these are about is not in the fixture plugin: dockside's swaps, and the engine itself.
            dockside_check::Need::Driver | dockside_check::Need::Engine => true,
            _ => false,
        })
    };
    let checks: Vec<_> = dockside_check::all().into_iter().filter(fault).collect();
    let next = AtomicUsize::new(0);
    let wrong = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some(check) = checks.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if let Err(problem) = mutated(check) {
                        wrong.lock().unwrap().push(problem);
                    }
                }
            });
        }
    });
    let wrong = wrong.into_inner().unwrap();
    assert!(
        wrong.is_empty(),
        "{} of {}:\n{}",
        wrong.len(),
        checks.len(),
        wrong.join("\n")
    );
}

/// The check itself, and then every quick one.
fn mutated(check: &dockside_check::Check) -> Result<(), String> {
    let id = check.id;
    let own = run(Some(id), &[id], false);
    match own.get(id) {
        Some((verdict, _)) if verdict == "fail" => {}
        other => return Err(format!("{id}: broken in that way, it gives {other:?}")),
    }
    let may: &[&str] = ALSO
        .iter()
        .find(|(broken, _)| *broken == id)
        .map_or(&[], |(_, also)| also);
    let others: Vec<String> = run(Some(id), &[], true)
        .into_iter()
        .filter(|(other, (verdict, _))| {
            verdict == "fail" && other != id && !may.contains(&other.as_str())
        })
        .map(|(other, (_, seen))| format!("{other} ({seen})"))
        .collect();
    if others.is_empty() {
        Ok(())
    } else {
        Err(format!(
            "{id}: broken in that way, it also fails {}",
            others.join(", ")
        ))
    }
}
