#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use super::*;

/// Every set of the kinds that a language has, but the empty one.
fn mixes(lang: Lang) -> Vec<Vec<Kind>> {
    let kinds = template::kinds(lang);
    (1..1_usize << kinds.len())
        .map(|set| {
            let all = kinds.iter().enumerate();
            all.filter(|(bit, _)| set >> bit & 1 == 1)
                .map(|(_, kind)| *kind)
                .collect()
        })
        .collect()
}

fn paths(files: &[File]) -> Vec<String> {
    files
        .iter()
        .map(|file| file.path.display().to_string())
        .collect()
}

fn text<'a>(files: &'a [File], path: &str) -> &'a str {
    let file = files.iter().find(|file| file.path == Path::new(path));
    str::from_utf8(&file.unwrap_or_else(|| panic!("no {path}")).content).unwrap()
}

#[test]
fn every_mix_of_kinds_is_a_project_in_every_language() {
    for lang in Lang::ALL {
        for kinds in mixes(*lang) {
            let files = Project::new("disks", &kinds, *lang)
                .unwrap()
                .files()
                .unwrap();
            let paths = paths(&files);
            for needed in ["build", "README.md", ".gitignore", "disks.toml"] {
                assert!(
                    paths.iter().any(|path| path == needed),
                    "{lang:?} {kinds:?}: no {needed}"
                );
            }
            for file in files.iter().filter(|file| file.vendored().is_none()) {
                let text = str::from_utf8(&file.content).unwrap();
                let place = format!("{lang:?} {kinds:?}: {}", file.path.display());
                assert!(
                    !text.contains("{=") && !text.contains("{%"),
                    "{place} was not rendered"
                );
                assert!(
                    text.ends_with('\n'),
                    "{place} does not end with a line feed"
                );
                // Python has two between functions, and no more.
                let most = if place.ends_with(".py") { 2 } else { 1 };
                assert!(
                    !text.contains(&"\n".repeat(most + 2)),
                    "{place} has more than {most} blank lines"
                );
            }
            let own = || files.iter().filter(|file| file.vendored().is_none());
            for kind in Kind::ALL {
                assert_eq!(
                    own().any(|file| file.path.to_string_lossy().contains(kind.word())),
                    kinds.contains(kind),
                    "{lang:?} {kinds:?}: {kind:?} in {paths:?}"
                );
            }
        }
    }
}

#[test]
fn the_name_is_in_file_names_and_texts() {
    for lang in Lang::ALL {
        let project = Project::new("My.disks_2", &[Kind::Volume], *lang).unwrap();
        let files = project.files().unwrap();
        assert!(paths(&files).contains(&"My.disks_2.toml".to_owned()));
        assert!(text(&files, "README.md").contains("docker volume create -d My.disks_2"));
        assert!(text(&files, "build").contains("My.disks_2.wasm"));
    }
}

#[test]
fn a_package_name_suits_package_managers() {
    for (name, package) in [("disks", "driver-disks"), ("9P.fs_x", "driver-9p-fs-x")] {
        assert_eq!(template::package(name), package);
    }
}

#[test]
fn an_existing_directory_is_left_alone() {
    let scratch = tempfile::tempdir().unwrap();
    let project = Project::new("disks", &[Kind::Volume], Lang::Rust).unwrap();
    for make in [
        (|path: &Path| fs::create_dir(path).unwrap()) as fn(&Path),
        |path| fs::write(path, "mine").unwrap(),
        |path| std::os::unix::fs::symlink("/nowhere", path).unwrap(),
    ] {
        let place = tempfile::tempdir_in(scratch.path()).unwrap();
        let place = place.path().join("disks");
        make(&place);
        let before = fs::symlink_metadata(&place).unwrap().modified().unwrap();
        let error = project.write(&place).unwrap_err().to_string();
        assert!(error.contains("exists already"), "{error}");
        let after = fs::symlink_metadata(&place).unwrap();
        assert_eq!(after.modified().unwrap(), before);
    }
}

#[test]
fn what_cannot_be_written_leaves_nothing() {
    let scratch = tempfile::tempdir().unwrap();
    let file = scratch.path().join("file");
    fs::write(&file, "").unwrap();
    let project = Project::new("disks", &[Kind::Volume], Lang::Rust).unwrap();
    assert!(project.write(&file.join("disks")).is_err());
    // No file name has more than 255 bytes.
    let long = Project::new(&"x".repeat(252), &[Kind::Volume], Lang::Rust).unwrap();
    assert!(long.write(&scratch.path().join("long")).is_err());
    assert!(!scratch.path().join("long").exists());
}

#[test]
fn programs_can_be_run_and_other_files_cannot() {
    let scratch = tempfile::tempdir().unwrap();
    let place = scratch.path().join("deep/er/disks");
    let project = Project::new("disks", Kind::ALL, Lang::Js).unwrap();
    for file in project.write(&place).unwrap() {
        let mode = fs::metadata(place.join(&file.path))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(
            mode & 0o111 != 0,
            file.is_executable(),
            "{}",
            file.path.display()
        );
        assert_eq!(fs::read(place.join(&file.path)).unwrap(), file.content);
    }
}

#[test]
fn words_that_are_no_choice_name_the_choices() {
    let error = "volumes".parse::<Kind>().unwrap_err().to_string();
    assert_eq!(
        error,
        "there is no kind of plugin \"volumes\": say one of volume, network, ipam, authz"
    );
    let error = "java".parse::<Lang>().unwrap_err().to_string();
    assert!(error.contains("rust, js"), "{error}");
    for lang in Lang::ALL {
        for kind in Kind::ALL {
            let project = Project::new("disks", &[*kind], *lang);
            assert_eq!(
                project.is_ok(),
                template::kinds(*lang).contains(kind),
                "{lang:?} {kind:?}"
            );
        }
    }
    for name in ["a/b", "a:b"] {
        assert!(
            Project::new(name, &[Kind::Volume], Lang::Rust).is_err(),
            "{name}"
        );
    }
    assert!(Project::new("disks", &[], Lang::Rust).is_err());
}

#[test]
fn the_lock_file_of_a_rust_project_has_the_versions_that_the_kit_is_tested_with() {
    let versions = |text: &str| -> Vec<String> {
        let entries = text.split("[[package]]\n").skip(1);
        entries
            .map(|entry| entry.lines().take(2).collect::<Vec<_>>().join(" "))
            .collect()
    };
    let tested = versions(include_str!("../../../../guests/Cargo.lock"));
    let project = Project::new("disks", Kind::ALL, Lang::Rust).unwrap();
    let files = project.files().unwrap();
    for entry in versions(text(&files, "Cargo.lock")) {
        assert!(
            tested.contains(&entry) || entry.contains("driver-disks"),
            "{entry} is not in guests/Cargo.lock"
        );
    }
}

#[test]
fn the_kit_and_the_contract_come_along_unchanged() {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let same = |files: &[File], path: &str, original: &str| {
        let original = fs::read_to_string(repository.join(original)).unwrap();
        assert_eq!(text(files, path), original, "{path}");
    };
    let rust = Project::new("disks", &[Kind::Volume], Lang::Rust).unwrap();
    let rust = rust.files().unwrap();
    for (path, original) in [
        ("vendor/dockside-driver/Cargo.toml", "guests/kit/Cargo.toml"),
        ("vendor/dockside-driver/src/lib.rs", "guests/kit/src/lib.rs"),
        ("vendor/dockside-driver/wit/volume.wit", "wit/volume.wit"),
        (
            "vendor/dockside-driver/wit/deps/host/links.wit",
            "wit/deps/host/links.wit",
        ),
    ] {
        same(&rust, path, original);
    }
    let js = Project::new("disks", &[Kind::Volume], Lang::Js).unwrap();
    let js = js.files().unwrap();
    same(&js, "wit/deps/driver/volume.wit", "wit/volume.wit");
    same(&js, "wit/deps/host/links.wit", "wit/deps/host/links.wit");
}
