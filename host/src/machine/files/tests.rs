#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::os::unix::net::UnixListener;

use tempfile::TempDir;

use super::*;

/// A directory that nobody but root can change, as far as it goes: the system's own for temporary files is everybody's.
fn scratch() -> TempDir {
    let builder = tempfile::Builder::new();
    if rustix::process::geteuid().is_root() {
        builder.tempdir_in("/var/lib").unwrap()
    } else {
        builder.tempdir().unwrap()
    }
}

fn set(path: impl AsRef<Path>) -> Set {
    Set {
        path: path.as_ref().to_owned(),
        root_only: false,
    }
}

fn roots(path: impl AsRef<Path>) -> Set {
    Set {
        root_only: true,
        ..set(path)
    }
}

fn write(root: &Path, name: &str, text: &str) {
    let path = root.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

fn names_of(set: &Set) -> Vec<String> {
    let files = list(set).unwrap();
    files.into_iter().map(|file| file.name).collect()
}

fn text(set: &Set, name: &str) -> String {
    String::from_utf8(read(set, name, 1 << 20).unwrap()).unwrap()
}

fn kind<T: std::fmt::Debug>(result: Result<T, FilesError>) -> ErrorKind {
    match result.unwrap_err() {
        FilesError::Machine(error) => error.kind,
        other => panic!("{other}"),
    }
}

#[test]
fn a_set_is_one_file_or_everything_below_a_directory() {
    let root = scratch();
    write(root.path(), "b/c.rego", "package c");
    write(root.path(), "a.rego", "package a");
    write(root.path(), ".hidden", "");
    write(root.path(), "..2026/a.rego", "of a version");
    let tree = set(root.path());
    assert_eq!(names_of(&tree), [".hidden", "a.rego", "b/c.rego"]);
    assert_eq!(text(&tree, "b/c.rego"), "package c");
    assert_eq!(list(&tree).unwrap()[1].size, 9);
    let one = set(root.path().join("a.rego"));
    assert_eq!(names_of(&one), [""]);
    assert_eq!(text(&one, ""), "package a");
    assert_eq!(kind(read(&one, "a.rego", 10)), ErrorKind::NotFound);
    assert_eq!(kind(read(&tree, "", 10)), ErrorKind::Invalid);
    assert_eq!(kind(read(&tree, "b", 10)), ErrorKind::Invalid);
}

#[test]
fn what_is_not_there_is_not_found() {
    let root = scratch();
    write(root.path(), "a", "");
    for missing in ["x", "x/y", "a/x"] {
        let missing = set(root.path().join(missing));
        assert_eq!(kind(list(&missing)), ErrorKind::NotFound);
        assert_eq!(kind(stamp(&missing)), ErrorKind::NotFound);
        assert_eq!(kind(read(&missing, "", 1)), ErrorKind::NotFound);
    }
    let there = set(root.path());
    for name in ["x", "x/y", "a/x", &"n".repeat(300)] {
        assert!(read(&there, name, 1).is_err(), "{name}");
    }
    assert_eq!(kind(read(&there, "x", 1)), ErrorKind::NotFound);
}

#[test]
fn names_that_are_meant_to_lead_elsewhere_are_refused() {
    let root = scratch();
    write(root.path(), "set/a", "inside");
    write(root.path(), "secret", "outside");
    let inside = set(root.path().join("set"));
    let long = "a/".repeat(3000);
    for name in [
        "../secret",
        "a/../../secret",
        "./a",
        "a/",
        "/a",
        "/etc/passwd",
        "..",
        ".",
        "a\0b",
        "../set/a",
        long.as_str(),
    ] {
        assert_eq!(kind(read(&inside, name, 100)), ErrorKind::Invalid, "{name}");
    }
}

#[test]
fn links_lead_about_inside_a_set_and_never_out_of_it() {
    let root = scratch();
    write(root.path(), "set/sub/a", "inside");
    write(root.path(), "secret", "outside");
    let path = root.path().join("set");
    for (link, to) in [
        ("down", "sub/a"),
        ("sub/up", "../down"),
        ("out", "../secret"),
        ("sub/out", "../../secret"),
        ("there-and-back", "../set/sub/a"),
        ("proc", "/proc/self/root/etc/passwd"),
        ("nowhere", "gone"),
        ("round", "round"),
        ("parent", ".."),
    ] {
        symlink(to, path.join(link)).unwrap();
    }
    symlink(root.path().join("secret"), path.join("absolute")).unwrap();
    symlink(path.join("sub/a"), path.join("absolute-inside")).unwrap();
    let inside = set(&path);
    assert_eq!(names_of(&inside), ["down", "sub/a", "sub/up"]);
    assert_eq!(text(&inside, "sub/up"), "inside");
    for out in [
        "out",
        "sub/out",
        "there-and-back",
        "proc",
        "absolute",
        "absolute-inside",
        "parent/secret",
    ] {
        assert_eq!(kind(read(&inside, out, 100)), ErrorKind::Invalid, "{out}");
    }
    assert_eq!(kind(read(&inside, "nowhere", 100)), ErrorKind::NotFound);
    assert!(read(&inside, "round", 100).is_err());
}

#[test]
fn a_directory_whose_versions_are_swapped_by_a_link_is_read_through_it() {
    let root = scratch();
    let path = root.path().join("set");
    write(&path, "..1/a.rego", "one");
    write(&path, "..2/a.rego", "two");
    symlink("..1", path.join("..data")).unwrap();
    symlink("..data/a.rego", path.join("a.rego")).unwrap();
    let set = set(&path);
    assert_eq!(names_of(&set), ["a.rego"]);
    assert_eq!(text(&set, "a.rego"), "one");
    let before = stamp(&set).unwrap();
    symlink("..2", path.join("..new")).unwrap();
    fs::rename(path.join("..new"), path.join("..data")).unwrap();
    assert_eq!(text(&set, "a.rego"), "two");
    assert_ne!(stamp(&set).unwrap(), before);
}

#[test]
fn a_directory_that_becomes_a_link_between_two_looks_leads_nowhere() {
    let root = scratch();
    write(root.path(), "set/sub/passwd", "inside");
    let path = root.path().join("set");
    let inside = set(&path);
    assert_eq!(names_of(&inside), ["sub/passwd"]);
    fs::rename(path.join("sub"), path.join("old")).unwrap();
    symlink("/etc", path.join("sub")).unwrap();
    assert_eq!(kind(read(&inside, "sub/passwd", 100)), ErrorKind::Invalid);
    assert_eq!(names_of(&inside), ["old/passwd"]);
    // The set's own place is looked up each time.
    fs::rename(&path, root.path().join("before")).unwrap();
    assert_eq!(kind(list(&inside)), ErrorKind::NotFound);
    write(&path, "new", "");
    assert_eq!(names_of(&inside), ["new"]);
}

#[test]
fn links_in_circles_and_links_that_multiply_end() {
    let root = scratch();
    let path = root.path();
    write(path, "a", "");
    symlink(".", path.join("same")).unwrap();
    fs::create_dir(path.join("sub")).unwrap();
    symlink("..", path.join("sub/up")).unwrap();
    assert_eq!(names_of(&set(path)), ["a"]);
    // Each directory twice in the one above it: two to the power of twenty files.
    for level in 0..20 {
        fs::create_dir(path.join(format!("d{level}"))).unwrap();
        for name in ["x", "y"] {
            let to = format!("../d{}", level + 1);
            symlink(to, path.join(format!("d{level}/{name}"))).unwrap();
        }
    }
    write(path, "d20/leaf", "");
    assert_eq!(kind(list(&set(path))), ErrorKind::Exhausted);
}

#[test]
fn only_plain_files_are_opened_and_only_up_to_their_limit() {
    let root = scratch();
    let path = root.path();
    let fifo = path.join("fifo");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &fifo,
        FileType::Fifo,
        rustix::fs::Mode::from_raw_mode(0o600),
        0,
    )
    .unwrap();
    let _socket = UnixListener::bind(path.join("socket")).unwrap();
    write(path, "long", "0123456789");
    let tree = set(path);
    assert_eq!(names_of(&tree), ["long"]);
    for odd in ["fifo", "socket"] {
        assert_eq!(kind(read(&tree, odd, 100)), ErrorKind::Invalid, "{odd}");
    }
    assert_eq!(kind(list(&set(&fifo))), ErrorKind::Invalid);
    assert_eq!(kind(read(&set("/dev/zero"), "", 1)), ErrorKind::Invalid);
    assert_eq!(read(&tree, "long", 10).unwrap().len(), 10);
    assert!(matches!(
        read(&tree, "long", 9),
        Err(FilesError::TooLong(10))
    ));
    // The kernel says 0 for the length of its own files.
    assert!(matches!(
        read(&set("/proc/self/status"), "", 5),
        Err(FilesError::TooLong(6))
    ));
}

#[test]
fn every_change_makes_another_stamp() {
    let root = scratch();
    let path = root.path();
    write(path, "a", "1");
    let tree = set(path);
    let mut seen = vec![stamp(&tree).unwrap()];
    let changes: [&dyn Fn(); 6] = [
        // The same length in the same file, in the same tick of the clock.
        &|| fs::write(path.join("a"), "2").unwrap(),
        &|| write(path, "b", ""),
        &|| fs::rename(path.join("b"), path.join("c")).unwrap(),
        &|| fs::set_permissions(path.join("a"), fs::Permissions::from_mode(0o600)).unwrap(),
        &|| fs::remove_file(path.join("c")).unwrap(),
        &|| {
            write(path, "new", "2");
            fs::rename(path.join("new"), path.join("a")).unwrap();
        },
    ];
    for (number, change) in changes.iter().enumerate() {
        change();
        let now = stamp(&tree).unwrap();
        assert!(!seen.contains(&now), "change {number}");
        seen.push(now);
    }
    // Nobody needs a change to see another one for ever: what is old keeps its stamp.
    let old = set("/proc/self/exe");
    assert_eq!(stamp(&old).unwrap(), stamp(&old).unwrap());
}

#[test]
fn files_for_root_alone_do_not_count_while_others_can_change_them() {
    if !rustix::process::geteuid().is_root() {
        return println!("skipped: only root can give files away");
    }
    let root = scratch();
    let path = root.path();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    write(path, "set/sub/a", "trusted");
    symlink("sub/a", path.join("set/link")).unwrap();
    let tree = roots(path.join("set"));
    let one = roots(path.join("set/sub/a"));
    assert_eq!(names_of(&tree), ["link", "sub/a"]);
    assert_eq!(text(&tree, "link"), "trusted");
    assert_eq!(text(&one, ""), "trusted");
    let refused = |path: &str| {
        for set in [&tree, &one] {
            let name = if set == &tree { "sub/a" } else { "" };
            for error in [
                list(set).map(drop).unwrap_err(),
                stamp(set).map(drop).unwrap_err(),
                read(set, name, 100).map(drop).unwrap_err(),
            ] {
                let FilesError::NotRootOnly(culprit) = &error else {
                    panic!("{error}");
                };
                assert!(culprit.ends_with(path), "{error}");
                assert!(error.to_string().contains("chown"), "{error}");
            }
        }
    };
    for (place, culprit) in [
        ("set/sub/a", "sub/a"),
        ("set/sub", "set/sub"),
        ("set", "set"),
        ("", path.file_name().unwrap().to_str().unwrap()),
    ] {
        let place = path.join(place);
        let before = fs::metadata(&place).unwrap().permissions();
        for mode in [0o775, 0o757] {
            fs::set_permissions(&place, fs::Permissions::from_mode(mode)).unwrap();
            refused(culprit);
        }
        fs::set_permissions(&place, before).unwrap();
        chown(&place, Some(65534), None).unwrap();
        refused(culprit);
        chown(&place, Some(0), None).unwrap();
    }
    assert_eq!(text(&one, ""), "trusted");
    // Whoever can change the link chooses the file.
    let others = tempfile::tempdir().unwrap();
    symlink(path.join("set/sub/a"), others.path().join("link")).unwrap();
    assert!(matches!(
        read(&roots(others.path().join("link")), "", 100),
        Err(FilesError::NotRootOnly(_))
    ));
    // One that is not there counts as not there.
    assert_eq!(
        kind(list(&roots(path.join("set/gone")))),
        ErrorKind::NotFound
    );
}

#[test]
fn a_path_is_followed_to_where_it_leads_and_kept_where_nothing_is() {
    let root = scratch();
    let path = root.path().canonicalize().unwrap();
    let base = path.to_str().unwrap();
    fs::create_dir_all(path.join("real/sub")).unwrap();
    fs::write(path.join("file"), "").unwrap();
    symlink("real", path.join("link")).unwrap();
    symlink(format!("{base}/real/sub"), path.join("real/absolute")).unwrap();
    symlink("../gone/x", path.join("real/dangling")).unwrap();
    symlink("round", path.join("round")).unwrap();
    for (from, to) in [
        ("link/sub", "real/sub"),
        ("link/absolute", "real/sub"),
        ("link/absolute/../new/y", "real/new/y"),
        ("link/dangling/z", "gone/x/z"),
        ("gone/../link", "real"),
        ("gone/./a//b/..", "gone/a"),
        ("file/x", "file/x"),
    ] {
        let resolved = resolve(&format!("{base}/{from}")).unwrap();
        assert_eq!(resolved, format!("{base}/{to}"), "{from}");
    }
    assert_eq!(resolve("/").unwrap(), "/");
    assert_eq!(resolve("/../..").unwrap(), "/");
    let long = format!("/{}", "x".repeat(5000));
    let round = format!("{base}/round");
    for wrong in ["", "relative", "/a\0b", long.as_str(), round.as_str()] {
        assert_eq!(
            resolve(wrong).unwrap_err().kind,
            ErrorKind::Invalid,
            "{wrong}"
        );
    }
}
