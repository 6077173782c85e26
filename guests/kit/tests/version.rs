//! The crate's version says which contract it is for.

#![allow(missing_docs, clippy::unwrap_used)]

use std::{fs, path::Path};

/// The versions of all of our own packages in a folder of WIT, with the file of each.
fn packages(folder: &Path, found: &mut Vec<(String, String)>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            packages(&path, found);
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        for line in text.lines() {
            let name = line.strip_prefix("package dockside:");
            if let Some((_, version)) = name.and_then(|name| name.split_once('@')) {
                let version = version.trim_end_matches(';').to_owned();
                found.push((path.display().to_string(), version));
            }
        }
    }
}

/// A copy of the crate has `src` and `wit`, and no tests.
#[test]
fn the_manifest_names_no_file_of_the_tests() {
    let manifest = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml"));
    let manifest = manifest.unwrap();
    for section in ["[[test]]", "[[example]]", "[[bench]]", "workspace = true"] {
        assert!(!manifest.contains(section), "{section}");
    }
}

#[test]
fn the_kit_has_the_first_two_numbers_of_its_contract() {
    let mut found = Vec::new();
    packages(
        &Path::new(env!("CARGO_MANIFEST_DIR")).join("wit"),
        &mut found,
    );
    assert!(found.len() > 10, "{found:?}");
    for (file, version) in found {
        assert_eq!(version, dockside_driver::CONTRACT, "{file}");
    }
    let two = |version: &str| version.rsplit_once('.').unwrap().0.to_owned();
    assert_eq!(
        two(env!("CARGO_PKG_VERSION")),
        two(dockside_driver::CONTRACT)
    );
}
