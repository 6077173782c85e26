//! The conformance checks, against the drivers that ship with dockside.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use dockside_tests::files;
use serde_json::Value;

/// Deadlines and idle limits, of the checks and of the daemon that they start, are so much shorter than an engine's.
const PATIENCE: &str = "0.05";

/// The drivers, and which checks each goes through here. Those that need a server are asked what needs none.
const DRIVERS: &[(&str, &[&str])] = &[
    ("local", &[]),
    ("image", &["--quick"]),
    ("mobyfs", &["--quick"]),
    ("pool", &["--quick"]),
    ("null", &["--quick"]),
    ("mesh", &[]),
    ("rbac", &["--quick"]),
    ("rego", &["--quick"]),
    ("sshfs", &["--quick", "--only", "P,X"]),
    ("infoblox", &["--quick", "--only", "P,X"]),
];

/// Drivers that decide by a policy: its name where they look for it, the usual one and one that denies more.
const POLICIES: &[(&str, [&str; 3])] = &[
    ("rbac", ["rbac.toml", "team.toml", "viewers.toml"]),
    (
        "rego",
        ["authz.rego", "no-host-access.rego", "read-only.rego"],
    ),
];

/// The driver's profile, with its policies in a directory of their own.
fn profile(driver: &str, dir: &Path) -> Result<Option<PathBuf>> {
    let guest = files::workspace().join("guests").join(driver);
    let profile = guest.join("check.toml");
    let Some((_, [name, usual, strict])) = POLICIES.iter().find(|(known, _)| *known == driver)
    else {
        return Ok(profile.is_file().then_some(profile));
    };
    for (from, to) in [(usual, *name), (usual, "usual"), (strict, "strict")] {
        fs::copy(guest.join("policies").join(from), dir.join(to))?;
    }
    let text = fs::read_to_string(profile)?;
    let own = dir.join("check.toml");
    fs::write(
        &own,
        text.replace("/etc/docker/policies", &dir.display().to_string()),
    )?;
    Ok(Some(own))
}

fn check(driver: &str, arguments: &[&str]) -> Result<Value> {
    let dir = tempfile::tempdir()?;
    let mut command = Command::new(files::daemon()?);
    command
        .arg("check")
        .arg(files::driver(driver)?)
        .args(["--json", "--seed", "1", "--patience", PATIENCE])
        .args(arguments)
        .stdin(Stdio::null());
    if let Some(profile) = profile(driver, dir.path())? {
        command.arg("--profile").arg(profile);
    }
    let output = command.output()?;
    serde_json::from_slice(&output.stdout).with_context(|| {
        format!(
            "{driver}: {}: {}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        )
    })
}

fn with(report: &Value, verdict: &str) -> Vec<String> {
    report["tried"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|tried| tried["verdict"] == verdict)
        .map(Value::to_string)
        .collect()
}

#[test]
fn every_driver_that_ships_passes_the_checks() -> Result<()> {
    let mut wrong = Vec::new();
    for (driver, arguments) in DRIVERS {
        let report = check(driver, arguments)?;
        let (passed, failed) = (with(&report, "pass"), with(&report, "fail"));
        eprintln!(
            "{driver}: {} passed, {} failed, {} known, in {:.0} s",
            passed.len(),
            failed.len(),
            with(&report, "allowed").len(),
            report["seconds"].as_f64().unwrap_or_default()
        );
        ensure!(!passed.is_empty(), "{driver}: {report}");
        wrong.extend(failed.iter().map(|failed| format!("{driver}: {failed}")));
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}
