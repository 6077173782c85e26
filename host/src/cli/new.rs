//! `dockside new`

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::bail;
use dockside_author::new::{File, Kind, Lang, Project, titles};

use super::{OK, print_json};
use crate::config::PluginName;
use crate::protocol;

pub(super) const AFTER_HELP: &str = "\
The project builds with one command (./build), has a unit test, a NAME.toml with the grants that it needs, and a README that says how to
go on. Nothing is fetched before the first build.";

pub(super) fn run(
    name: &str,
    kinds: &[Kind],
    lang: Lang,
    directory: Option<PathBuf>,
    json: bool,
) -> anyhow::Result<u8> {
    let plugin: PluginName = name.parse()?;
    for kind in kinds {
        if plugin.reserved_for(docker_kind(*kind)).is_some() {
            bail!(
                "Docker keeps the name {name:?} for a {} driver of its own, and would never ask this one: choose another name",
                kind.title()
            );
        }
    }
    let project = Project::new(name, kinds, lang)?;
    let directory = directory.unwrap_or_else(|| PathBuf::from(name));
    let files = project.write(&directory)?;
    let next = project.next_commands(&directory);
    if json {
        let paths: Vec<_> = files.iter().map(|file| &file.path).collect();
        print_json(&serde_json::json!({
            "name": name, "directory": directory, "files": paths, "next": next,
        }))?;
        return Ok(OK);
    }
    say!(
        "{} is a new {} driver in {}:\n",
        directory.display(),
        titles(project.kinds()),
        lang.title()
    );
    for line in listing(&files) {
        say!("    {line}");
    }
    say!("\nNext (README.md says what the build needs, and how to go on):\n");
    for command in next {
        say!("    {command}");
    }
    Ok(OK)
}

fn docker_kind(kind: Kind) -> protocol::Kind {
    match kind {
        Kind::Volume => protocol::Kind::Volume,
        Kind::Network => protocol::Kind::Network,
        Kind::Ipam => protocol::Kind::Ipam,
        Kind::Authz => protocol::Kind::Authz,
    }
}

/// The author's own files each, those that came along by directory.
fn listing(files: &[File]) -> Vec<String> {
    let mut vendored: BTreeMap<&str, usize> = BTreeMap::new();
    let mut lines = Vec::new();
    for file in files {
        match file.vendored() {
            Some(directory) => *vendored.entry(directory).or_default() += 1,
            None => lines.push(file.path.display().to_string()),
        }
    }
    lines.extend(
        vendored
            .into_iter()
            .map(|(directory, count)| format!("{directory}/ ({count} files)")),
    );
    lines
}
