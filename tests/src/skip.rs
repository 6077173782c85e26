//! Tests that cannot run on this machine.

use std::fs::OpenOptions;
use std::io::Write;

/// Says that a test did not run and why: on standard error, past the test runner's capture, and as a line of the file that
/// `DOCKSIDE_SKIPPED` names, which `tests/run` prints at its end.
pub fn skipped(test: &str, reason: &str) {
    let line = format!("skipped {test}: {reason}\n");
    // Neither failing matters: the test is skipped all the same.
    let _ = std::io::stderr().write_all(line.as_bytes());
    if let Some(path) = std::env::var_os("DOCKSIDE_SKIPPED") {
        let _ = OpenOptions::new()
            .append(true)
            .create(true)
            .open(path)
            .and_then(|mut file| file.write_all(line.as_bytes()));
    }
}

/// Whether this is a run in which a test that could run here must not be skipped.
pub fn is_ci() -> bool {
    std::env::var_os("CI").is_some_and(|value| value == "true")
}
