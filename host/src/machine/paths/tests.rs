#![allow(clippy::unwrap_used, clippy::panic)]

use std::os::unix::fs::{PermissionsExt, symlink};

use super::*;

struct Site(tempfile::TempDir);

impl Site {
    fn new() -> Site {
        Site(tempfile::tempdir().unwrap())
    }

    fn path(&self, below: &str) -> PathBuf {
        self.0.path().canonicalize().unwrap().join(below)
    }

    fn wanted(&self, below: &str) -> MadePath {
        let path = self.path(below);
        let first = find(&path).unwrap().unwrap_err();
        MadePath {
            id: hex::encode(rand::random::<[u8; 16]>()),
            path,
            first,
            uid: None,
            gid: None,
            mode: Some(0o2750),
        }
    }

    /// Everything below, sorted.
    fn tree(&self) -> Vec<String> {
        fn walk(directory: &Path, root: &Path, found: &mut Vec<String>) {
            for entry in fs::read_dir(directory).unwrap() {
                let path = entry.unwrap().path();
                found.push(path.strip_prefix(root).unwrap().display().to_string());
                if path.is_dir() && !path.is_symlink() {
                    walk(&path, root, found);
                }
            }
        }
        let mut found = Vec::new();
        walk(&self.path(""), &self.path(""), &mut found);
        found.sort();
        found
    }
}

/// Whether directories can be marked here: only root can, and not on every file system.
fn can_mark(site: &Site) -> bool {
    let made = site.wanted("probe");
    perform(&made).unwrap();
    let marked = is_marked(&made);
    undo(&made).unwrap();
    if !marked {
        eprintln!(
            "skipped: directories cannot be marked here: it needs root, and a file system with trusted attributes"
        );
    }
    marked
}

#[test]
fn what_is_made_has_its_parents_and_its_mode_and_goes_without_a_trace() {
    let site = Site::new();
    let made = site.wanted("a/b/c");
    assert_eq!(made.first, site.path("a"));
    perform(&made).unwrap();
    assert_eq!(site.tree(), ["a", "a/b", "a/b/c"]);
    let mode = |below| fs::metadata(site.path(below)).unwrap().permissions().mode() & 0o7777;
    assert_eq!(
        (mode("a"), mode("a/b"), mode("a/b/c")),
        (0o755, 0o755, 0o2750)
    );
    assert_eq!(find(&made.path).unwrap().unwrap().mode, 0o2750);
    undo(&made).unwrap();
    assert!(site.tree().is_empty());
    // Also when it was never made, and when it is undone twice.
    undo(&made).unwrap();
}

#[test]
fn what_a_killed_daemon_left_half_made_goes() {
    let site = Site::new();
    for below in ["", "b", "b/c"] {
        let made = site.wanted("a/b/c");
        fs::create_dir_all(site.path(&temporary(&made)).join(below)).unwrap();
        undo(&made).unwrap();
        assert!(site.tree().is_empty(), "{below}: {:?}", site.tree());
    }
}

#[test]
fn an_undo_leaves_what_others_put_there() {
    let site = Site::new();
    let made = site.wanted("a/b");
    perform(&made).unwrap();
    fs::write(site.path("a/b/file"), "data").unwrap();
    undo(&made).unwrap();
    assert_eq!(site.tree(), ["a", "a/b", "a/b/file"]);
}

#[test]
fn only_what_was_made_is_erased() {
    let site = Site::new();
    if !can_mark(&site) {
        return;
    }
    let made = site.wanted("a/b");
    perform(&made).unwrap();
    fs::create_dir(site.path("a/b/deep")).unwrap();
    fs::write(site.path("a/b/deep/file"), "data").unwrap();
    fs::write(site.path("a/other"), "data").unwrap();
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("file"), "data").unwrap();
    symlink(outside.path(), site.path("a/b/link")).unwrap();
    erase(&Erasure { made: made.clone() }).unwrap();
    assert_eq!(site.tree(), ["a", "a/other"]);
    assert!(outside.path().join("file").exists());
    // What is there in its place is somebody else's.
    fs::create_dir(site.path("a/b")).unwrap();
    fs::write(site.path("a/b/file"), "data").unwrap();
    assert!(matches!(look(&made).unwrap(), Presence::Changed(_)));
    erase(&Erasure { made: made.clone() }).unwrap();
    undo(&made).unwrap();
    assert_eq!(site.tree(), ["a", "a/b", "a/b/file", "a/other"]);
}

#[test]
fn an_erasure_that_was_interrupted_is_finished() {
    let site = Site::new();
    if !can_mark(&site) {
        return;
    }
    let made = site.wanted("a/b");
    perform(&made).unwrap();
    fs::write(site.path("a/b/file"), "data").unwrap();
    fs::rename(site.path("a/b"), site.path("a").join(temporary(&made))).unwrap();
    erase(&Erasure { made }).unwrap();
    assert_eq!(site.tree(), ["a"]);
}

#[test]
fn an_empty_directory_of_somebody_else_stays() {
    let site = Site::new();
    if !can_mark(&site) {
        return;
    }
    let made = site.wanted("a/b");
    fs::create_dir_all(site.path("a/b")).unwrap();
    let error = perform(&made).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Busy);
    undo(&made).unwrap();
    assert_eq!(site.tree(), ["a", "a/b"]);
}

#[test]
fn links_and_files_on_the_way_are_refused() {
    let site = Site::new();
    fs::create_dir(site.path("real")).unwrap();
    fs::write(site.path("file"), "").unwrap();
    symlink("real", site.path("link")).unwrap();
    symlink("nowhere", site.path("dangling")).unwrap();
    for (below, expected) in [
        ("link", "symbolic link"),
        ("link/new", "symbolic link"),
        ("dangling", "symbolic link"),
        ("dangling/new", "symbolic link"),
        ("file", "is no directory"),
        ("file/new", "is no directory"),
        ("real/../new", "no absolute path"),
    ] {
        let error = find(&site.path(below)).unwrap_err();
        assert!(error.message.contains(expected), "{below}: {error}");
    }
    for path in ["", "/", "relative", "/a/../b"] {
        assert!(find(Path::new(path)).is_err(), "{path}");
    }
    assert_eq!(site.tree(), ["dangling", "file", "link", "real"]);
}

#[test]
fn a_link_that_appears_behind_the_look_is_not_followed() {
    let site = Site::new();
    let outside = tempfile::tempdir().unwrap();
    fs::create_dir(site.path("a")).unwrap();
    let made = site.wanted("a/b");
    fs::remove_dir(site.path("a")).unwrap();
    symlink(outside.path(), site.path("a")).unwrap();
    assert!(perform(&made).is_err());
    undo(&made).unwrap();
    assert!(fs::read_dir(outside.path()).unwrap().next().is_none());
}
