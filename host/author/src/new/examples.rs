//! The examples of the repository are what `dockside new` writes.
//!
//! What every project gets a copy of, the kit and the contract, is a symbolic link to the original there.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::BTreeSet;
use std::os::unix::fs::symlink;

use super::*;

/// What a build leaves, besides what `.gitignore` names: npm writes one where there is none.
const LEFT: &str = "package-lock.json";

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn project(lang: Lang) -> Project {
    Project::new("example", &[Kind::Volume, Kind::Authz], lang).unwrap()
}

/// The links of an example: where they are, and what they lead to in the repository.
fn links(lang: Lang) -> Vec<(PathBuf, PathBuf)> {
    if lang == Lang::Rust {
        return vec![("vendor/dockside-driver".into(), "guests/kit".into())];
    }
    let deps = fs::read_dir(repository().join("wit/deps")).unwrap();
    deps.map(|entry| entry.unwrap().file_name())
        .map(|name| {
            (
                Path::new("wit/deps").join(&name),
                Path::new("wit/deps").join(&name),
            )
        })
        .chain([("wit/deps/driver".into(), "wit".into())])
        .collect()
}

/// The way from a link in an example to a place in the repository.
fn way(link: &Path, target: &Path) -> PathBuf {
    // `examples`, the language, and each directory of the link's.
    let up = 2 + link.components().count() - 1;
    std::iter::repeat_n("..", up)
        .collect::<PathBuf>()
        .join(target)
}

/// The files of an example that are its own: neither behind links nor made by a build.
fn own_files(directory: &Path) -> BTreeSet<PathBuf> {
    let ignored = fs::read_to_string(directory.join(".gitignore")).unwrap_or_default();
    let ignored: Vec<&str> = ignored.lines().map(|line| line.trim_matches('/')).collect();
    let mut found = BTreeSet::new();
    let mut open = vec![PathBuf::new()];
    while let Some(place) = open.pop() {
        for entry in fs::read_dir(directory.join(&place)).unwrap() {
            let entry = entry.unwrap();
            let path = place.join(entry.file_name());
            let text = path.to_str().unwrap();
            let kind = entry.file_type().unwrap();
            let name = entry.file_name();
            let is_built = ignored
                .iter()
                .any(|line| *line == text || Some(*line) == name.to_str());
            if is_built || text == LEFT || kind.is_symlink() {
                continue;
            }
            if kind.is_dir() {
                open.push(path);
            } else {
                found.insert(path);
            }
        }
    }
    found
}

/// Makes an example anew.
fn make(lang: Lang, directory: &Path) {
    let _ = fs::remove_dir_all(directory);
    project(lang).write(directory).unwrap();
    for (link, target) in links(lang) {
        let place = directory.join(&link);
        fs::remove_dir_all(&place).unwrap();
        symlink(way(&link, &target), place).unwrap();
    }
}

#[test]
fn examples_are_what_new_projects_are() {
    for lang in Lang::ALL {
        let directory = repository().join("examples").join(lang.word());
        if std::env::var_os("DOCKSIDE_MAKE_EXAMPLES").is_some() {
            make(*lang, &directory);
        }
        let advice = "if the templates are right: DOCKSIDE_MAKE_EXAMPLES=1 cargo test --release -p dockside-author examples";
        let files = project(*lang).files().unwrap();
        for file in &files {
            let path = directory.join(&file.path);
            let content = fs::read(&path).unwrap_or_default();
            assert!(
                content == file.content,
                "{} is not what `dockside new` writes; {advice}",
                path.display()
            );
            let mode = fs::metadata(&path).unwrap().permissions().mode();
            let is_linked = file.vendored().is_some();
            assert!(
                is_linked || (mode & 0o111 != 0) == file.is_executable(),
                "{}: mode {mode:o}",
                path.display()
            );
        }
        let expected: BTreeSet<_> = files
            .iter()
            .filter(|file| file.vendored().is_none())
            .map(|file| file.path.clone())
            .collect();
        assert_eq!(own_files(&directory), expected, "{lang:?}; {advice}");
        for (link, target) in links(*lang) {
            let seen = fs::read_link(directory.join(&link)).unwrap();
            assert_eq!(seen, way(&link, &target), "{lang:?}: {}", link.display());
        }
    }
}
