//! Backups and what becomes of them when something fails.

use super::*;
use dockside_driver::{
    Error,
    testing::{BlobOperation, judge_blobs, set_blob},
};

/// Makes a backup and returns its name.
fn backup(volume: &str) -> String {
    let made = run("backup", &[("volume", volume)]).unwrap();
    made["backup"].as_str().unwrap().to_owned()
}

fn all() -> Vec<String> {
    column(&run("backups", &[]).unwrap(), "backup")
}

/// Without the store's name.
fn id(backup: &str) -> &str {
    backup.strip_prefix("disk/").unwrap()
}

#[test]
fn a_backup_is_restored_as_it_was() {
    store();
    volume("v");
    for (place, text) in [(1, "one"), (5, "five"), (127, "last")] {
        write("v", place * PIECE, text);
    }
    write("v", (8 << 20) - 3, "end");
    ImageDriver::mount("v", "1").unwrap();
    let backup = backup("v");
    assert!(
        testing::images().len() == 1,
        "the copy that was read is gone"
    );
    write("v", PIECE, "two");
    for (name, reference) in [
        ("a", backup.clone()),
        ("b", id(&backup).to_owned()),
        (
            "c",
            format!("s3://bucket@region/path/?backup={}&volume=v", id(&backup)),
        ),
    ] {
        create(name, &[("backup", &reference)]).unwrap();
        assert_eq!(read(name, PIECE, 3), "one");
        assert_eq!(read(name, 5 * PIECE, 4), "five");
        assert_eq!(read(name, 127 * PIECE, 4), "last");
        assert_eq!(read(name, (8 << 20) - 3, 9), "end");
        assert_eq!(read(name, 9 * PIECE, 1), "\0");
    }
    run(
        "restore",
        &[("backup", &backup), ("to", "d"), ("size", "9m")],
    )
    .unwrap();
    assert_eq!(
        ImageDriver::get("d").unwrap().status.get("size"),
        Some("9MiB")
    );
    let size = run("backup-verify", &[("backup", &backup)]).unwrap();
    assert!(size.as_str().unwrap().starts_with("256KiB read"), "{size}");
    assert!(blobs("locks/").is_empty());
    assert_eq!(all(), [backup]);
}

#[test]
fn what_a_store_has_is_not_sent_again() {
    store();
    volume("v");
    write("v", PIECE, "same");
    write("v", 2 * PIECE, "same");
    backup("v");
    // The file system's own piece, and one for the two that are equal.
    assert_eq!(blobs("chunks/").len(), 2);
    write("v", 3 * PIECE, "new");
    // Zeros are nowhere, also where something was.
    write("v", 2 * PIECE, "\0\0\0\0");
    let second = run("backup", &[("volume", "v")]).unwrap();
    assert_eq!(second["sent"], "64KiB");
    assert_eq!(blobs("chunks/").len(), 3);
    create("w", &[("from", "v")]).unwrap();
    let third = run("backup", &[("volume", "w")]).unwrap();
    assert_eq!(third["sent"], "0B");
    assert_eq!(all().len(), 3);
    assert_eq!(
        column(&run("backups", &[("volume", "w")]).unwrap(), "volume"),
        ["w"]
    );
}

#[test]
fn a_snapshot_can_be_backed_up() {
    store();
    volume("v");
    write("v", PIECE, "old");
    run("snapshot", &[("volume", "v"), ("name", "s")]).unwrap();
    write("v", PIECE, "new");
    let made = run("backup", &[("volume", "v@s")]).unwrap();
    assert_eq!(
        (&made["volume"], &made["snapshot"]),
        (&"v".into(), &"s".into())
    );
    create("w", &[("backup", made["backup"].as_str().unwrap())]).unwrap();
    assert_eq!(read("w", PIECE, 3), "old");
}

#[test]
fn deleting_a_backup_frees_what_no_other_needs() {
    store();
    volume("v");
    write("v", PIECE, "shared");
    let first = backup("v");
    write("v", 2 * PIECE, "second only");
    let second = backup("v");
    assert_eq!(blobs("chunks/").len(), 3);
    assert_eq!(
        run("backup-delete", &[("backup", &second)]).unwrap(),
        "64KiB freed"
    );
    assert_eq!(blobs("chunks/").len(), 2);
    run("backup-verify", &[("backup", &first)]).unwrap();
    run("backup-delete", &[("backup", &first)]).unwrap();
    assert!(testing::blobs("disk").is_empty());
    assert!(run("backup-delete", &[("backup", &first)]).is_err());
}

#[test]
fn many_pieces_are_collected_in_parts() {
    store();
    volume("v");
    for place in 0..100 {
        write("v", place * PIECE + 8, &format!("piece {place}"));
    }
    let kept = backup("v");
    let at = crate::repository::Reference::parse(&kept).unwrap();
    for place in 0..100 {
        write("v", place * PIECE + 8, &format!("other {place}"));
    }
    let other = backup("v");
    crate::repository::retract(&crate::repository::Reference::parse(&other).unwrap()).unwrap();
    let freed = testing::call(|| {
        crate::lock::with("disk", crate::lock::Kind::Exclusive, "test", |lock| {
            crate::collect::collect("disk", lock, 0..=255, 10)
        })
    });
    assert_eq!(freed.unwrap().pieces, 100);
    assert_eq!(blobs("chunks/").len(), 100);
    crate::backup::verify(&at).unwrap();
}

#[test]
fn an_interrupted_backup_leaves_a_usable_store_and_the_next_one_goes_on() {
    store();
    volume("v");
    for place in 0..20 {
        write("v", place * PIECE + 8, &format!("piece {place}"));
    }
    let first = backup("v");
    for place in 0..20 {
        write("v", place * PIECE + 8, &format!("other {place}"));
    }
    // Whichever write it is that fails: pieces, the manifest, the summary, the lock.
    for failing in 1..=23 {
        let mut count = 0;
        judge_blobs(move |operation, _| {
            count += u32::from(operation == BlobOperation::Put);
            match operation == BlobOperation::Put && count == failing {
                true => Err(Error::unavailable("the store is down")),
                false => Ok(()),
            }
        });
        let before = blobs("chunks/").len();
        let failed = run("backup", &[("volume", "v")]);
        judge_blobs(|_, _| Ok(()));
        match failed {
            Ok(_) => break,
            Err(error) => assert_eq!(error.code(), ErrorCode::Unavailable, "{failing}"),
        }
        assert!(blobs("chunks/").len() >= before);
        assert_eq!(all(), std::slice::from_ref(&first), "{failing}");
        assert!(blobs("locks/").is_empty(), "{failing}");
        run("backup-verify", &[("backup", &first)]).unwrap();
        assert_eq!(testing::images().len(), 1);
    }
    let second = run("backup", &[("volume", "v")]);
    let second = second.unwrap();
    assert_eq!(second["sent"], "0B", "all of it was there by then");
    run("backup-delete", &[("backup", &first)]).unwrap();
    assert_eq!(blobs("chunks/").len(), 20);
    assert_eq!(blobs("manifests/").len(), blobs("backups/").len());
}

#[test]
fn damage_is_found_and_named() {
    store();
    volume("v");
    write("v", PIECE, "data");
    let backup = backup("v");
    let piece = blobs("chunks/").remove(1);
    let was = testing::blobs("disk");
    let was = |name: &str| {
        was.iter()
            .find(|(other, _)| other == name)
            .unwrap()
            .1
            .clone()
    };
    let manifest = format!("manifests/{}", id(&backup));
    let summary = format!("backups/{}", id(&backup));
    let hostile = String::from_utf8(was(&manifest))
        .unwrap()
        .replace("[1,", "[100000,");
    for (name, data, reason) in [
        (&piece, None, "is gone"),
        (&piece, Some(&b"short"[..]), "is not what was written"),
        (
            &piece,
            Some(&vec![1; 64 << 10][..]),
            "is not what was written",
        ),
        (&manifest, None, "its manifest is gone"),
        (
            &manifest,
            Some(hostile.as_bytes()),
            "is not the one that was written",
        ),
        (&summary, Some(b"{}"), "is damaged"),
    ] {
        set_blob("disk", name, data);
        for error in [
            create("w", &[("backup", &backup)]).unwrap_err(),
            run("backup-verify", &[("backup", &backup)]).unwrap_err(),
        ] {
            assert!(error.message().contains(reason), "{error}");
            assert_eq!(error.code(), ErrorCode::Other);
        }
        assert_eq!(testing::images().len(), 1);
        assert_eq!(run("backups", &[]).unwrap().as_array().unwrap().len(), 1);
        set_blob("disk", name, Some(&was(name)));
    }
    create("w", &[("backup", &backup)]).unwrap();
}

#[test]
fn nothing_is_cleared_away_while_a_backup_cannot_be_read() {
    store();
    volume("v");
    write("v", PIECE, "one");
    let first = backup("v");
    write("v", PIECE, "two");
    let second = backup("v");
    set_blob("disk", &format!("manifests/{}", id(&first)), None);
    let before = blobs("chunks/");
    let error = run("backup-delete", &[("backup", &second)]).unwrap_err();
    assert!(
        error.message().contains("delete that backup first"),
        "{error}"
    );
    assert_eq!(blobs("chunks/"), before);
    // The damaged one can go, and then what is left over does.
    run("backup-delete", &[("backup", &first)]).unwrap();
    assert!(blobs("chunks/").is_empty());
}

#[test]
fn who_deletes_pieces_is_alone() {
    store();
    testing::set_time(1_000_000);
    volume("v");
    let first = backup("v");
    // Another machine is at work.
    set_blob("disk", "locks/shared-1", None);
    testing::set_time(1_000_000);
    dockside_driver::blobs::put("disk", "locks/shared-1", b"a backup of x").unwrap();
    write("v", PIECE, "new");
    let second = backup("v");
    let said = run("backup-delete", &[("backup", &second)]).unwrap();
    assert!(said.as_str().unwrap().contains("later"), "{said}");
    assert_eq!(all(), std::slice::from_ref(&first));
    assert_eq!(blobs("chunks/").len(), 2);
    dockside_driver::blobs::delete("disk", "locks/shared-1").unwrap();

    dockside_driver::blobs::put("disk", "locks/exclusive-2", b"old pieces are being deleted")
        .unwrap();
    for error in [
        run("backup", &[("volume", "v")]).unwrap_err(),
        create("w", &[("backup", &first)]).unwrap_err(),
    ] {
        assert!(
            error.message().contains("old pieces are being deleted"),
            "{error}"
        );
        assert_eq!(error.code(), ErrorCode::Unavailable);
    }
    assert_eq!(blobs("locks/"), ["locks/exclusive-2"]);
    // Its machine was switched off.
    testing::set_time(1_000_000 + 15 * 60 + 1);
    let third = backup("v");
    assert!(blobs("locks/").is_empty());
    run("backup-delete", &[("backup", &third)]).unwrap();
    assert_eq!(blobs("chunks/").len(), 1);
}

#[test]
fn a_lock_is_renewed_by_who_works_for_long() {
    store();
    testing::set_time(1_000_000);
    volume("v");
    for place in 0..20 {
        write("v", place * PIECE + 8, &format!("piece {place}"));
    }
    let mut time = 1_000_000;
    judge_blobs(move |operation, name| {
        if operation == BlobOperation::Put && name.starts_with("chunks/") {
            time += 10 * 60;
            testing::set_time(time);
            // Somebody else looks for locks that are old.
            let locks = dockside_driver::blobs::list("disk", "locks/").unwrap();
            assert!(
                locks
                    .iter()
                    .all(|lock| time * 1000 - lock.modified <= 11 * 60 * 1000)
            );
        }
        Ok(())
    });
    backup("v");
    assert!(blobs("locks/").is_empty());
}

#[test]
fn the_place_of_backups_is_found_or_asked_for() {
    volume("v");
    let error = run("backup", &[("volume", "v")]).unwrap_err();
    assert!(error.message().contains("[grants.blobs]"), "{error}");
    testing::grant_store("a");
    let made = run("backup", &[("volume", "v")]).unwrap();
    assert!(made["backup"].as_str().unwrap().starts_with("a/backup-"));
    testing::grant_store("b");
    let error = run("backup", &[("volume", "v")]).unwrap_err();
    assert!(error.message().contains("one of a, b"), "{error}");
    let made = run("backup", &[("volume", "v"), ("store", "b")]).unwrap();
    assert!(made["backup"].as_str().unwrap().starts_with("b/backup-"));
    testing::set_config("store", "a");
    let made = run("backup", &[("volume", "v")]).unwrap();
    assert!(made["backup"].as_str().unwrap().starts_with("a/backup-"));
    let error = run("backup", &[("volume", "v"), ("store", "c")]).unwrap_err();
    assert_eq!(error.refusal(), Some(Refusal::NotGranted));
    testing::set_config("store", "d");
    assert!(run("backup", &[("volume", "v")]).is_err());
    for size in ["100k", "32m", "x"] {
        testing::set_config("chunk-size", size);
        let error = run("backup", &[("volume", "v"), ("store", "a")]).unwrap_err();
        assert!(error.message().contains("power of two"), "{error}");
    }
}
