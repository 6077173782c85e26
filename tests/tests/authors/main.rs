//! What an author does: a new project of each language and kind is built by its one command, tested by its own tests, checked by
//! `dockside check`, and served by a daemon.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod drive;
mod language;
mod project;

use anyhow::Result;
use dockside_tests::skip;

use language::{C, GO, JS, KINDS, Language, PYTHON, RUST};
use project::Project;

/// A project of all kinds, which is checked, and where a build is quick one of each kind alone.
fn projects_work(language: &Language) -> Result<()> {
    if let Some(reason) = language.missing() {
        skip::skipped(language.word, &reason);
        assert!(!skip::is_ci(), "{}: {reason}", language.word);
        return Ok(());
    }
    let mut mixes = vec![KINDS];
    if language.one_by_one {
        mixes.extend(KINDS.chunks(1));
    }
    for kinds in mixes {
        let project = Project::new(language, kinds)?;
        project.build()?;
        project.test()?;
        drive::drive(&project)?;
        if kinds.len() > 1 {
            project.check()?;
        }
        println!("{} {}: works", language.word, kinds.join(","));
    }
    Ok(())
}

#[test]
fn projects_in_rust_work() -> Result<()> {
    projects_work(&RUST)
}

#[test]
fn projects_in_javascript_work() -> Result<()> {
    projects_work(&JS)
}

#[test]
fn projects_in_python_work() -> Result<()> {
    projects_work(&PYTHON)
}

#[test]
fn projects_in_c_work() -> Result<()> {
    projects_work(&C)
}

#[test]
fn projects_in_go_work() -> Result<()> {
    projects_work(&GO)
}
