//! Copies.

use std::os::unix::fs::MetadataExt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rustix::fs::statvfs;

use super::*;

/// Writes, renames and removes files until told to stop. A file has the bytes of its number, whole, under its final name.
fn write_on(directory: &Path, stop: &AtomicBool, written: &AtomicU64) {
    let mut number = 0_u64;
    while !stop.load(Ordering::Relaxed) {
        let bytes = vec![(number % 256) as u8; 30_000];
        let temporary = directory.join("temporary");
        let file = File::create(&temporary).unwrap();
        io::Write::write_all(&mut &file, &bytes).unwrap();
        file.sync_all().unwrap();
        fs::rename(&temporary, directory.join(format!("file-{}", number % 100))).unwrap();
        number += 1;
        written.store(number, Ordering::Relaxed);
    }
}

#[test]
fn a_copy_of_an_image_that_is_written_to_is_consistent_and_mounts_beside_its_source() {
    let Some(place) = Place::new(2048) else {
        return;
    };
    for filesystem in Filesystem::ALL {
        let source = place.image("source", filesystem);
        perform(&source, soon()).unwrap();
        let mounted = place.mount(&source);
        // Never synced: a copy has it because the source is brought to rest.
        fs::write(mounted.path.join("before"), "before").unwrap();
        let (stop, written) = (AtomicBool::new(false), AtomicU64::new(0));
        thread::scope(|scope| {
            let writer = scope.spawn(|| write_on(&mounted.path, &stop, &written));
            for round in 0..4 {
                let seen = written.load(Ordering::Relaxed);
                until("the writer goes on", || {
                    written.load(Ordering::Relaxed) > seen + 3
                });
                let copy = place.copy(&format!("copy-{round}"), &source);
                perform(&copy, soon()).unwrap();
                if filesystem != Filesystem::Xfs {
                    // An xfs has a log to be replayed here, on purpose, which the check does not do.
                    sound(&copy);
                }
                let beside = place.mount(&copy);
                assert_eq!(fs::read(beside.path.join("before")).unwrap(), b"before");
                assert!(!beside.path.join("after").exists());
                let mut files = 0;
                for entry in fs::read_dir(&beside.path).unwrap() {
                    let entry = entry.unwrap();
                    if entry.file_name().to_str().unwrap().starts_with("file-") {
                        let bytes = fs::read(entry.path()).unwrap();
                        assert_eq!(bytes.len(), 30_000);
                        assert!(bytes.iter().all(|byte| *byte == bytes[0]));
                        files += 1;
                    }
                }
                assert!(files > 3, "{filesystem}: {files}");
                fs::write(beside.path.join("copy"), "copy").unwrap();
                assert!(!mounted.path.join("copy").exists());
                drop(beside);
                sound(&copy);
                // A copy of a copy, at rest.
                let second = place.copy(&format!("second-{round}"), &copy);
                perform(&second, soon()).unwrap();
                sound(&second);
                assert_eq!(
                    fs::read(place.mount(&second).path.join("copy")).unwrap(),
                    b"copy"
                );
                undo(&copy).unwrap();
                undo(&second).unwrap();
            }
            stop.store(true, Ordering::Relaxed);
            writer.join().unwrap();
        });
        fs::write(mounted.path.join("after"), "after").unwrap();
        drop(mounted);
        sound(&source);
        undo(&source).unwrap();
        assert_eq!(place.left(), Vec::<String>::new());
    }
}

#[test]
fn a_restored_image_has_what_the_snapshot_has() {
    let Some(place) = Place::new(1024) else {
        return;
    };
    for filesystem in Filesystem::ALL {
        let first = place.image("first", filesystem);
        perform(&first, soon()).unwrap();
        let mounted = place.mount(&first);
        fs::write(mounted.path.join("state"), "good").unwrap();
        let snapshot = place.copy("snapshot", &first);
        perform(&snapshot, soon()).unwrap();
        fs::write(mounted.path.join("state"), "bad").unwrap();
        drop(mounted);

        let restored = place.copy("restored", &snapshot);
        perform(&restored, soon()).unwrap();
        undo(&first).unwrap();
        let mounted = place.mount(&restored);
        assert_eq!(fs::read(mounted.path.join("state")).unwrap(), b"good");
        fs::write(mounted.path.join("state"), "newer").unwrap();
        drop(mounted);
        assert_eq!(
            fs::read(place.mount(&snapshot).path.join("state")).unwrap(),
            b"good"
        );
        assert_eq!(place.left(), ["restored.img", "snapshot.img"]);
        undo(&restored).unwrap();
        undo(&snapshot).unwrap();
    }
}

#[test]
fn a_copy_shares_its_blocks_where_the_file_system_can() {
    let Some(place) = Place::new(3072) else {
        return;
    };
    for below in [Filesystem::Xfs, Filesystem::Btrfs] {
        let mut base = place.image(&format!("below-{below}"), below);
        base.size = 1024 * MIB;
        perform(&base, soon()).unwrap();
        let base_mounted = place.mount(&base);
        for filesystem in Filesystem::ALL {
            let file = |id: &str| base_mounted.path.join(format!("{id}.img"));
            let source = Image {
                file: file("source"),
                ..place.image("source", filesystem)
            };
            perform(&source, soon()).unwrap();
            let mounted = place.mount(&source);
            let data: Vec<u8> = (0..253_u8).cycle().take(40 << 20).collect();
            fs::write(mounted.path.join("data"), &data).unwrap();
            rustix::fs::syncfs(File::open(&mounted.path).unwrap()).unwrap();
            rustix::fs::syncfs(File::open(&base_mounted.path).unwrap()).unwrap();
            let free = || {
                rustix::fs::syncfs(File::open(&base_mounted.path).unwrap()).unwrap();
                let figures = statvfs(&base_mounted.path).unwrap();
                figures.f_bfree * figures.f_frsize
            };
            let before = free();
            let copy = Image {
                file: file("copy"),
                ..place.copy("copy", &source)
            };
            perform(&copy, soon()).unwrap();
            let taken = before.saturating_sub(free());
            assert!(taken < 10 * MIB, "{filesystem} on {below} took {taken}");
            drop(mounted);
            let beside = place.mount(&copy);
            assert!(fs::read(beside.path.join("data")).unwrap() == data);
            drop(beside);
            sound(&copy);
            undo(&copy).unwrap();
            undo(&source).unwrap();
        }
        assert_eq!(fs::read_dir(&base_mounted.path).unwrap().count(), 0);
        drop(base_mounted);
        sound(&base);
        undo(&base).unwrap();
    }
}

#[test]
fn a_copy_keeps_holes_on_a_disk_that_shares_nothing() {
    for place in [Place::new(512), Place::on_disk()] {
        let Some(place) = place else {
            return;
        };
        let mut source = place.image("source", Filesystem::Ext4);
        source.size = 4096 * MIB;
        perform(&source, soon()).unwrap();
        let mounted = place.mount(&source);
        fs::write(mounted.path.join("data"), vec![3; 20 << 20]).unwrap();
        drop(mounted);
        let copy = place.copy("copy", &source);
        perform(&copy, soon()).unwrap();
        let taken = usage(&copy.file).unwrap();
        assert_eq!(taken.apparent, source.size);
        assert!(taken.allocated < 60 * MIB, "{taken:?}");
        sound(&copy);
        undo(&copy).unwrap();
        undo(&source).unwrap();
    }
}

#[test]
fn a_copy_without_room_is_refused_with_figures_and_leaves_nothing() {
    let Some(place) = Place::new(40) else {
        return;
    };
    let source = place.image("source", Filesystem::Ext4);
    perform(&source, soon()).unwrap();
    let mounted = place.mount(&source);
    fs::write(mounted.path.join("data"), vec![3; 25 << 20]).unwrap();
    rustix::fs::syncfs(File::open(&mounted.path).unwrap()).unwrap();
    let error = perform(&place.copy("copy", &source), soon()).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Exhausted, "{error}");
    assert!(error.message.contains("MB are free"), "{error}");
    assert_eq!(place.left(), ["source.img"]);
    fs::write(mounted.path.join("goes on"), "yes").unwrap();
    drop(mounted);
    undo(&source).unwrap();
}

#[test]
fn a_copy_that_does_not_fit_its_source_is_refused() {
    let Some(place) = Place::new(512) else {
        return;
    };
    let source = place.image("source", Filesystem::Ext4);
    let copy = place.copy("copy", &source);
    assert_eq!(
        perform(&copy, soon()).unwrap_err().kind,
        ErrorKind::NotFound
    );
    perform(&source, soon()).unwrap();
    let wrong = [
        Image {
            size: source.size * 2,
            ..copy.clone()
        },
        Image {
            size: 512 * MIB,
            filesystem: Filesystem::Xfs,
            ..copy.clone()
        },
    ];
    for image in wrong {
        assert_eq!(
            perform(&image, soon()).unwrap_err().kind,
            ErrorKind::Invalid
        );
    }
    assert_eq!(place.left(), ["source.img"]);
    undo(&source).unwrap();
}

#[test]
fn two_copies_of_one_image_at_once_both_come_out() {
    let Some(place) = Place::new(512) else {
        return;
    };
    let source = place.image("source", Filesystem::Ext4);
    perform(&source, soon()).unwrap();
    let mounted = place.mount(&source);
    fs::write(mounted.path.join("data"), vec![3; 20 << 20]).unwrap();
    let copies: Vec<_> = (0..4)
        .map(|number| place.copy(&format!("copy-{number}"), &source))
        .collect();
    thread::scope(|scope| {
        for copy in &copies {
            scope.spawn(|| perform(copy, soon()).unwrap());
        }
    });
    fs::write(mounted.path.join("goes on"), "yes").unwrap();
    drop(mounted);
    for copy in &copies {
        sound(copy);
        undo(copy).unwrap();
    }
    undo(&source).unwrap();
    assert_eq!(place.left(), Vec::<String>::new());
}

#[test]
fn what_somebody_else_froze_stays_frozen() {
    let Some(place) = Place::new(512) else {
        return;
    };
    let source = place.image("source", Filesystem::Ext4);
    perform(&source, soon()).unwrap();
    let mounted = place.mount(&source);
    ran([
        "fsfreeze".as_ref(),
        "--freeze".as_ref(),
        mounted.path.as_os_str(),
    ]);
    let error = perform(&place.copy("copy", &source), soon()).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Busy, "{error}");
    assert_eq!(place.left(), ["source.img"]);
    // Succeeds only if it is frozen.
    ran([
        "fsfreeze".as_ref(),
        "--unfreeze".as_ref(),
        mounted.path.as_os_str(),
    ]);
    drop(mounted);
    undo(&source).unwrap();
}

#[test]
fn undo_thaws_what_a_killed_copy_left_frozen() {
    let Some(place) = Place::new(2048) else {
        return;
    };
    for filesystem in Filesystem::ALL {
        let source = place.image("source", filesystem);
        perform(&source, soon()).unwrap();
        let mounted = place.mount(&source);
        let copy = place.copy("copy", &source);
        fs::write(source.file.with_file_name(".copy.img.frozen"), "").unwrap();
        ran([
            "fsfreeze".as_ref(),
            "--freeze".as_ref(),
            mounted.path.as_os_str(),
        ]);
        undo(&copy).unwrap();
        fs::write(mounted.path.join("goes on"), "yes").unwrap();
        drop(mounted);
        assert_eq!(place.left(), ["source.img"]);
        undo(&source).unwrap();
    }
}

#[test]
fn a_copy_of_what_is_mounted_read_only_works() {
    let Some(place) = Place::new(2048) else {
        return;
    };
    for filesystem in Filesystem::ALL {
        let source = place.image("source", filesystem);
        perform(&source, soon()).unwrap();
        let mounted = place.mount(&source);
        ran([
            "mount".as_ref(),
            "-o".as_ref(),
            "remount,ro".as_ref(),
            mounted.path.as_os_str(),
        ]);
        let copy = place.copy("copy", &source);
        perform(&copy, soon()).unwrap();
        let before = fs::metadata(&mounted.path).unwrap().ino();
        drop(mounted);
        sound(&copy);
        assert_eq!(
            fs::metadata(place.mount(&copy).path.clone()).unwrap().ino(),
            before
        );
        undo(&copy).unwrap();
        undo(&source).unwrap();
    }
}
