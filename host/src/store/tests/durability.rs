//! What is acknowledged is on the disk, and what fails leaves no trace.

use std::thread;

use super::*;

#[test]
fn a_second_store_on_the_directory_is_refused_until_the_first_is_gone() {
    let fixture = Fixture::new();
    let error = Store::open(fixture.directory.path()).unwrap_err();
    assert!(
        matches!(&error, StoreError::Locked { directory, .. } if directory == fixture.directory.path())
    );
    assert!(
        error
            .to_string()
            .contains(&format!("process {},", std::process::id())),
        "{error}"
    );
    let second = fixture.store.clone();
    let Fixture { store, directory } = fixture;
    drop(store);
    Store::open(directory.path()).unwrap_err();
    drop(second);
    Store::open(directory.path()).unwrap();
}

#[test]
fn a_closed_store_is_one_file_that_only_its_user_can_read() {
    use std::os::unix::fs::PermissionsExt;
    let fixture = Fixture::new();
    fixture.set("p", "a", "1");
    let Fixture { store, directory } = fixture;
    for name in ["dockside.db", "dockside.db-wal", "lock"] {
        let mode = std::fs::metadata(directory.path().join(name))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    drop(store);
    let mut names: Vec<_> = std::fs::read_dir(directory.path())
        .unwrap()
        .map(|e| e.unwrap().file_name())
        .collect();
    names.sort();
    assert_eq!(names, ["dockside.db", "lock"]);
}

#[test]
fn databases_of_others_and_of_newer_versions_are_refused() {
    let cases = [
        (
            "PRAGMA user_version = 3",
            "schema version 3, and this dockside knows versions up to 2",
        ),
        ("PRAGMA application_id = 7", "not a database of dockside's"),
    ];
    for (change, expected) in cases {
        let Fixture { store, directory } = Fixture::new();
        drop(store);
        let path = directory.path().join("dockside.db");
        Connection::open(&path)
            .unwrap()
            .execute_batch(change)
            .unwrap();
        let before = std::fs::read(&path).unwrap();
        let error = Store::open(directory.path()).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
        assert_eq!(std::fs::read(&path).unwrap(), before);
    }
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(
        directory.path().join("dockside.db"),
        "not a database at all".repeat(100),
    )
    .unwrap();
    let error = Store::open(directory.path()).unwrap_err().to_string();
    assert!(error.contains("file is not a database"), "{error}");
}

#[test]
fn every_commit_is_forced_to_the_disk() {
    let fixture = Fixture::new();
    let looked = fixture.inside(|connection| {
        let pragma = |name| connection.query_row(&format!("PRAGMA {name}"), [], |row| row.get(0));
        assert_eq!(
            pragma("synchronous"),
            Ok(rusqlite::types::Value::Integer(2))
        );
        assert_eq!(
            pragma("journal_mode"),
            Ok(rusqlite::types::Value::Text("wal".to_owned()))
        );
    });
    committed(looked);
}

#[test]
fn sixty_four_threads_lose_no_increment() {
    const THREADS: usize = 64;
    const EACH: usize = 20;
    let fixture = Fixture::new();
    thread::scope(|scope| {
        for number in 0..THREADS {
            let fixture = &fixture;
            scope.spawn(move || {
                for _ in 0..EACH {
                    // One key that all fight for, and one that only this thread writes.
                    loop {
                        let mut transaction = fixture.begin("p");
                        transaction.increment("shared", 1).unwrap();
                        transaction.increment(&format!("own {number}"), 1).unwrap();
                        if wait(fixture.store.commit(transaction)).unwrap() != Outcome::Conflict {
                            break;
                        }
                    }
                    let plugin = format!("plugin {}", number % 8);
                    fixture.set(&plugin, &format!("blind {number}"), "x");
                }
            });
        }
    });
    let fixture = fixture.reopen();
    let contents: std::collections::BTreeMap<_, _> = fixture.contents("p").into_iter().collect();
    assert_eq!(contents["shared"], (THREADS * EACH).to_string());
    for number in 0..THREADS {
        assert_eq!(contents[&format!("own {number}")], EACH.to_string());
        let other = fixture.contents(&format!("plugin {}", number % 8));
        assert_eq!(other.len(), THREADS / 8);
    }
}

#[test]
fn a_reopened_store_has_everything_that_was_committed() {
    let mut fixture = Fixture::new();
    for round in 0..5 {
        fixture.set("p", &format!("round {round}"), "x");
        let undo = fixture.set("p", "last", &round.to_string());
        fixture = fixture.reopen();
        assert_eq!(fixture.contents("p").len(), round + 2);
        assert_eq!(
            fixture.begin("p").get("last").as_ref().map(text),
            Some(round.to_string())
        );
        // Versions go on counting, so that an undo of before still means the same commit.
        if round % 2 == 1 {
            wait(fixture.store.restore("p", undo)).unwrap();
            assert_eq!(
                fixture.begin("p").get("last").as_ref().map(text),
                Some((round - 1).to_string())
            );
        }
    }
}

/// Copies the database as a power cut would leave it, with at most `length` bytes of its log.
fn copy(from: &Path, length: usize) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    std::fs::copy(
        from.join("dockside.db"),
        directory.path().join("dockside.db"),
    )
    .unwrap();
    let mut log = std::fs::read(from.join("dockside.db-wal")).unwrap();
    log.truncate(length);
    std::fs::write(directory.path().join("dockside.db-wal"), log).unwrap();
    directory
}

#[test]
fn a_copy_of_the_files_has_every_acknowledged_commit() {
    let fixture = Fixture::new();
    for number in 0..30 {
        fixture.set("p", "number", &number.to_string());
        if number % 10 == 9 {
            let copied = copy(fixture.directory.path(), usize::MAX);
            let store = Store::open(copied.path()).unwrap();
            let snapshot = store.plugin("p").unwrap().snapshot();
            assert_eq!(snapshot.get("number").map(text), Some(number.to_string()));
        }
    }
}

#[test]
fn a_log_that_ends_anywhere_shows_whole_transactions_only() {
    const COMMITS: usize = 40;
    let fixture = Fixture::new();
    for number in 0..COMMITS {
        let mut transaction = fixture.begin("p");
        let value = number.to_string().into_bytes();
        transaction.set("first", value.clone()).unwrap();
        // Long, so that one commit is several pages of the log.
        transaction.set("filler", vec![b'x'; 9000]).unwrap();
        transaction.set("last", value).unwrap();
        transaction.put_volume(volume(&number.to_string()));
        committed(wait(fixture.store.commit(transaction)));
    }
    let length = std::fs::metadata(fixture.directory.path().join("dockside.db-wal"))
        .unwrap()
        .len() as usize;
    let mut before = 0;
    for cut in (0..=length).step_by(length / 60) {
        let copied = copy(fixture.directory.path(), cut);
        let Ok(store) = Store::open(copied.path()) else {
            panic!("a log of {cut} bytes keeps the store from opening");
        };
        let snapshot = store.plugin("p").unwrap().snapshot();
        assert_eq!(
            snapshot.get("first"),
            snapshot.get("last"),
            "log of {cut} bytes"
        );
        let volumes = snapshot.volumes().count();
        let expected = volumes.checked_sub(1).map(|last| last.to_string());
        assert_eq!(
            snapshot.get("first").map(text),
            expected,
            "log of {cut} bytes"
        );
        assert!(volumes >= before, "a longer log has no less");
        before = volumes;
    }
    assert!(before >= COMMITS - 2);
}

#[test]
fn a_full_disk_fails_the_commit_and_nothing_else() {
    let fixture = Fixture::new();
    fixture.set("p", "a", "1");
    let before = fixture.contents("p");
    let _ = fixture
        .inside(|connection| limit_pages(connection, 2))
        .unwrap();
    for _ in 0..3 {
        let mut transaction = fixture.begin("p");
        transaction.set("a", *b"2").unwrap();
        transaction.set("large", vec![b'x'; 100_000]).unwrap();
        let error = wait(fixture.store.commit(transaction)).unwrap_err();
        let shown = error.to_string();
        for part in ["plugin \"p\"", "dockside.db", "full", "free some space"] {
            assert!(shown.contains(part), "{shown:?} lacks {part:?}");
        }
        assert_eq!(fixture.contents("p"), before);
    }
    let _ = fixture
        .inside(|connection| limit_pages(connection, 1_000_000))
        .unwrap();
    let mut transaction = fixture.begin("p");
    transaction.set("large", vec![b'x'; 100_000]).unwrap();
    committed(wait(fixture.store.commit(transaction)));
    let expected = fixture.contents("p");
    assert_eq!(expected.len(), 2);
    assert_eq!(fixture.reopen().contents("p"), expected);
}

#[test]
fn one_write_that_does_not_fit_does_not_fail_its_neighbours() {
    let fixture = Fixture::new();
    fixture.set("p", "a", "1");
    fixture.set("q", "a", "1");
    // A committer without the thread, on a copy, so that it is known what is one group.
    let copied = copy(fixture.directory.path(), usize::MAX);
    let connection = database::open(&copied.path().join("dockside.db")).unwrap();
    let mut committer = Committer::new(connection, "test".into()).unwrap();
    limit_pages(&committer.connection, 2);
    let mut work = Vec::new();
    for (plugin, key, length) in [("p", "a", 2), ("q", "large", 100_000), ("q", "a", 3)] {
        let mut transaction = fixture.begin(plugin);
        transaction.set(key, vec![b'x'; length]).unwrap();
        work.push(Work::Commit(Box::new(transaction)));
    }
    let results = committer.group(&work);
    let ok: Vec<_> = results.iter().map(Result::is_ok).collect();
    assert_eq!(ok, [true, false, true]);
    assert_eq!(fixture.contents("p"), pairs(&[("a", "xx")]));
    assert_eq!(fixture.contents("q"), pairs(&[("a", "xxx")]));
    for plugin in ["p", "q"] {
        let stored = committer.stored(plugin);
        assert!(
            stored
                .keys()
                .eq(fixture.store.plugin(plugin).unwrap().snapshot().keys())
        );
    }
}

#[test]
fn a_panic_in_a_commit_leaves_the_committer_at_work() {
    let fixture = Fixture::new();
    fixture.set("p", "a", "1");
    let error = fixture
        .inside(|_| panic!("the log of this test shows a panic"))
        .unwrap_err();
    assert!(matches!(error, StoreError::Internal), "{error}");
    fixture.set("p", "a", "2");
    assert_eq!(fixture.reopen().contents("p"), pairs(&[("a", "2")]));
}

#[test]
fn a_dropped_future_takes_nothing_from_the_commit() {
    let fixture = Fixture::new();
    let mut transaction = fixture.begin("p");
    transaction.set("a", *b"1").unwrap();
    {
        let mut future = std::pin::pin!(fixture.store.commit(transaction));
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        let _ = future.as_mut().poll(&mut context);
    }
    assert_eq!(fixture.reopen().contents("p"), pairs(&[("a", "1")]));
}

#[test]
fn a_restart_never_gives_two_commits_the_same_number() {
    let fixture = Fixture::new();
    let undo = fixture.set("p", "a", "1");
    let removed = fixture.delete("p", "a");
    assert_eq!((undo.len(), removed.len()), (1, 1));
    let fixture = fixture.reopen();
    fixture.set("p", "a", "2");
    wait(fixture.store.restore("p", undo)).unwrap();
    assert_eq!(fixture.contents("p"), pairs(&[("a", "2")]));
}
