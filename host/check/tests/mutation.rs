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

use dockside_check::{Check, Kind, Need};

/// Deadlines and idle limits of the checks and of the plugin are so much shorter than an engine's.
const PATIENCE: &str = "0.05";
/// Most of a run is waiting, so more of them than there are cores.
const AT_ONCE: usize = 6;

/// Breaks that necessarily fail other checks too: `(broken, also fails)`, with the reason beside it.
const ALSO: &[(&str, &[&str])] = &[
    // Without kinds there is nothing to call.
    ("P01", &["P03", "P04"]),
    // A name is whole if it comes back as it was.
    ("V03", &["P16"]),
    // How failures are told is seen at calls about what is not there.
    ("V06", &["P18"]),
    ("V19", &["P18"]),
    ("N14", &["P18"]),
    // A client that did not wait calls again.
    ("V10", &["P35"]),
    ("N09", &["P35"]),
    ("I20", &["P35"]),
    // What is lost when two calls meet.
    ("X02", &["P35"]),
    // After a restart of the machine the engine unmounts under IDs that the plugin forgot.
    ("V29", &["V44"]),
    // The engine's first question, which the section on transport asks in many ways, is allowed with an `Err`.
    (
        "A03",
        &["P06", "P07", "P08", "P09", "P14", "P21", "P24", "P35"],
    ),
];

/// Checks that need not fail each time that they may.
const BY_CHANCE: &[&str] = &["P35"];

/// Verdict and what was seen, by ID, of the fixture plugin with these arguments.
fn run(arguments: &[&str]) -> BTreeMap<String, (String, String)> {
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
    let verdicts = run(&[]);
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
    let verdicts = run(&["--with", "replay,mac", "--only", "I"]);
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
    let verdicts = run(&["--with", "global", "--only", &own.join(",")]);
    for id in own {
        assert_eq!(verdicts[id].0, "pass", "{id}: {verdicts:#?}");
    }
}

#[test]
fn each_broken_plugin_fails_its_own_check_and_no_other() {
    let root = rustix::process::geteuid().is_root();
    let fault = |check: &dockside_check::Check| {
        !check.needs.iter().any(|need| match need {
            Need::Root => !root,
            // What these are about is not in the fixture plugin: dockside's swaps, and the engine itself.
            Need::Driver | Need::Engine => true,
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

/// The kind on the fixture plugin's command line.
fn name_of(kind: Kind) -> &'static str {
    match kind {
        Kind::Volume => "volume",
        Kind::Network => "network",
        Kind::Ipam => "ipam",
        Kind::Authz => "authz",
    }
}

/// Every quick check, at a plugin of the check's kind alone, and the check itself.
fn mutated(check: &Check) -> Result<(), String> {
    let id = check.id;
    let broken = |more: &[&str]| {
        let mut arguments = vec!["--break", id];
        if let Some(kind) = check.kind {
            arguments.extend(["--kinds", name_of(kind)]);
        }
        arguments.extend(more);
        run(&arguments)
    };
    let mut verdicts = broken(&["--quick"]);
    if check.slow {
        verdicts.extend(broken(&["--only", id]));
    }
    match verdicts.remove(id) {
        Some((verdict, _)) if verdict == "fail" => {}
        other => return Err(format!("{id}: broken in that way, it gives {other:?}")),
    }
    let may: &[&str] = ALSO
        .iter()
        .find(|(broken, _)| *broken == id)
        .map_or(&[], |(_, also)| also);
    let stale = may.iter().find(|also| {
        !BY_CHANCE.contains(also)
            && verdicts
                .get(**also)
                .is_none_or(|(verdict, _)| verdict != "fail")
    });
    if let Some(stale) = stale {
        return Err(format!(
            "{id}: broken in that way, it no longer fails {stale}, as ALSO says"
        ));
    }
    let others: Vec<String> = verdicts
        .into_iter()
        .filter(|(other, (verdict, _))| verdict == "fail" && !may.contains(&other.as_str()))
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
