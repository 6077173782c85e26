//! Blobs as files.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tempfile::TempDir;

use super::{get, name, names, prefix, put, soon};
use crate::blobs::directory::Directory;
use crate::blobs::{MAX_BLOB, Store};
use crate::machine::ErrorKind;

fn store(place: &TempDir) -> Arc<Store> {
    Arc::new(Store::Directory(Directory::new(place.path())))
}

/// All files below a directory, hidden ones too.
fn files(place: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(place).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        if entry.file_type().unwrap().is_dir() {
            found.extend(
                files(&entry.path())
                    .iter()
                    .map(|below| format!("{name}/{below}")),
            );
        } else {
            found.push(name);
        }
    }
    found.sort();
    found
}

#[tokio::test]
async fn blobs_are_written_read_listed_and_deleted() {
    let place = TempDir::new().unwrap();
    let store = store(&place);
    put(&store, "x/y/1", b"one").await.unwrap();
    put(&store, "x/2", b"").await.unwrap();
    put(&store, "z", b"three").await.unwrap();
    put(&store, "z", b"3").await.unwrap();
    assert_eq!(get(&store, "x/y/1").await.unwrap(), b"one");
    assert_eq!(get(&store, "z").await.unwrap(), b"3");
    assert_eq!(names(&store, "").await, ["x/2", "x/y/1", "z"]);
    assert_eq!(names(&store, "x/").await, ["x/2", "x/y/1"]);
    assert!(names(&store, "nothing/").await.is_empty());
    assert_eq!(files(place.path()), ["x/2", "x/y/1", "z"]);
    let listed = store.list(prefix("x/y/"), soon()).await.unwrap();
    assert_eq!(listed[0].size, 3);
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap()
        .as_millis();
    assert!(now.abs_diff(u128::from(listed[0].modified)) < 60_000);
    for _ in 0..2 {
        store.delete(name("x/2"), soon()).await.unwrap();
        store.delete(name("no/such"), soon()).await.unwrap();
    }
    assert_eq!(names(&store, "x/").await, ["x/y/1"]);
    let error = get(&store, "x/2").await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::NotFound);
    assert!(error.message.contains("\"x/2\""), "{error}");
}

#[tokio::test]
async fn a_blob_has_a_largest_size() {
    let place = TempDir::new().unwrap();
    let store = store(&place);
    put(&store, "a", &vec![7; MAX_BLOB]).await.unwrap();
    assert_eq!(get(&store, "a").await.unwrap().len(), MAX_BLOB);
    let error = put(&store, "a", &vec![7; MAX_BLOB + 1]).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Invalid);
    fs::write(place.path().join("b"), vec![0; MAX_BLOB + 1]).unwrap();
    let error = get(&store, "b").await.unwrap_err();
    assert!(error.message.contains("a blob has at most"), "{error}");
}

#[tokio::test]
async fn nothing_leads_out_of_the_directory() {
    let outside = TempDir::new().unwrap();
    fs::write(outside.path().join("secret"), "secret").unwrap();
    let place = TempDir::new().unwrap();
    let store = store(&place);
    symlink(outside.path(), place.path().join("up")).unwrap();
    symlink(outside.path().join("secret"), place.path().join("link")).unwrap();
    symlink(place.path(), place.path().join("loop")).unwrap();
    for blob in ["up/secret", "link", "loop/link"] {
        let error = get(&store, blob).await.unwrap_err();
        assert!(error.message.contains("symbolic link"), "{blob}: {error}");
    }
    for blob in ["up/new", "up/a/new", "loop/new"] {
        let error = put(&store, blob, b"x").await.unwrap_err();
        assert!(error.message.contains("symbolic link"), "{blob}: {error}");
    }
    assert!(store.delete(name("up/secret"), soon()).await.is_err());
    assert!(store.list(prefix("up/"), soon()).await.is_err());
    assert!(names(&store, "").await.is_empty());
    // A link in the place of a blob is replaced, and not followed.
    put(&store, "link", b"mine").await.unwrap();
    assert_eq!(get(&store, "link").await.unwrap(), b"mine");
    store.delete(name("loop"), soon()).await.unwrap();
    assert_eq!(files(outside.path()), ["secret"]);
    assert_eq!(fs::read(outside.path().join("secret")).unwrap(), b"secret");
}

#[tokio::test]
async fn what_is_no_file_is_no_blob() {
    let place = TempDir::new().unwrap();
    let store = store(&place);
    let fifo = place.path().join("fifo");
    assert!(
        Command::new("mkfifo")
            .arg(&fifo)
            .status()
            .unwrap()
            .success()
    );
    put(&store, "a/b", b"").await.unwrap();
    assert!(get(&store, "fifo").await.is_err());
    assert!(get(&store, "a").await.is_err());
    assert!(put(&store, "a", b"").await.is_err());
    assert!(put(&store, "a/b/c", b"").await.is_err());
    assert_eq!(names(&store, "").await, ["a/b"]);
}

#[tokio::test]
async fn what_a_killed_daemon_leaves_is_no_blob_and_goes_after_a_day() {
    let place = TempDir::new().unwrap();
    let files_of = Directory::new(place.path());
    let store = store(&place);
    put(&store, "a/x", b"old").await.unwrap();
    let blob = name("a/x");
    let left = files_of.stage(&blob, b"new").unwrap().abandon();
    assert_eq!(get(&store, "a/x").await.unwrap(), b"old");
    assert_eq!(names(&store, "").await, ["a/x"]);
    let left = place.path().join("a").join(left);
    assert!(left.exists(), "somebody may still write it");
    // The next one is not disturbed by it.
    put(&store, "a/x", b"newer").await.unwrap();
    assert_eq!(get(&store, "a/x").await.unwrap(), b"newer");
    let long_ago = SystemTime::now() - Duration::from_secs(25 * 60 * 60);
    let file = fs::File::options().write(true).open(&left).unwrap();
    file.set_modified(long_ago).unwrap();
    assert_eq!(names(&store, "").await, ["a/x"]);
    assert_eq!(files(place.path()), ["a/x"]);
}

#[tokio::test]
async fn a_blob_that_could_not_be_written_leaves_the_one_before() {
    let place = TempDir::new().unwrap();
    let files_of = Directory::new(place.path());
    let store = store(&place);
    put(&store, "x", b"old").await.unwrap();
    let blob = name("x");
    drop(files_of.stage(&blob, b"new").unwrap());
    assert_eq!(get(&store, "x").await.unwrap(), b"old");
    assert_eq!(files(place.path()), ["x"]);
}

#[tokio::test]
async fn a_directory_that_is_not_there_is_not_an_empty_one() {
    let place = TempDir::new().unwrap();
    let path = place.path().join("disk");
    let store = Arc::new(Store::Directory(Directory::new(&path)));
    let errors = [
        store.list(prefix(""), soon()).await.unwrap_err(),
        store.list(prefix("a/"), soon()).await.unwrap_err(),
        get(&store, "a").await.unwrap_err(),
        put(&store, "a", b"").await.unwrap_err(),
        store.delete(name("a/b"), soon()).await.unwrap_err(),
    ];
    for error in errors {
        assert_eq!(error.kind, ErrorKind::Missing, "{error}");
        assert!(error.message.contains("mount the disk"), "{error}");
    }
    assert!(!path.exists());
}
