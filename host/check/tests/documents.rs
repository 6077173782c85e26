//! The page about the checks and the reference of the profile say what there is.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

use std::fmt::Write as _;
use std::path::PathBuf;

use dockside_check::{Check, Need, Profile};

fn place(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .join(path)
}

fn row(check: &Check) -> String {
    let needs: Vec<&str> = check
        .needs
        .iter()
        .map(|need| match need {
            Need::Root => "root",
            Need::Process => "process",
            Need::Fault => "fault",
            Need::Driver => "driver",
            Need::Engine => "engine",
        })
        .chain(check.slow.then_some("*slow*"))
        .collect();
    let text = |text: &str| text.replace('|', "\\|");
    format!(
        "| {} | {} | {} | {} | {} |\n",
        check.id,
        check.level.letter(),
        needs.join(", "),
        text(check.title),
        text(check.rule)
    )
}

fn table() -> String {
    let checks = dockside_check::all();
    let mut table = format!(
        "{} checks.\n\n| ID | level | needs | what is done | what is expected, and why |\n| --- | --- | --- | --- | --- |\n",
        checks.len()
    );
    table.extend(checks.iter().map(row));
    let left_out = dockside_check::left_out();
    if !left_out.is_empty() {
        table +=
            "\nOf the numbers, these are left out because nobody can check them from outside:\n\n";
        for (id, reason) in left_out {
            writeln!(table, "- {id}: {reason}").unwrap();
        }
    }
    table
}

#[test]
fn the_page_lists_the_checks_as_they_are() {
    const BEGIN: &str = "<!-- checks -->\n";
    const END: &str = "<!-- end -->";
    let file = place("docs/check.md");
    let page = std::fs::read_to_string(&file).unwrap();
    let (before, rest) = page.split_once(BEGIN).unwrap();
    let (_, after) = rest.split_once(END).unwrap();
    let wanted = format!("{before}{BEGIN}{}{END}{after}", table());
    if std::env::var_os("DOCKSIDE_UPDATE").is_some() {
        std::fs::write(&file, &wanted).unwrap();
        return;
    }
    assert!(
        page == wanted,
        "docs/check.md is not current: DOCKSIDE_UPDATE=1 cargo test --release -p dockside-check --test documents"
    );
}

#[test]
fn the_reference_of_the_profile_is_a_profile() {
    let profile = Profile::read(&place("examples/check.toml")).unwrap();
    // What it shows is more than the defaults, or it would show nothing.
    assert!(profile.hooks.hang.is_some());
    assert!(!profile.allow.is_empty());
}
