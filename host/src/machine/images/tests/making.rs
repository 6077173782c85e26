//! New images.

use std::os::unix::fs::{MetadataExt, PermissionsExt};

use super::*;

#[test]
fn a_new_image_is_whole_sparse_and_its_owners() {
    let Some(place) = Place::new(1024) else {
        return;
    };
    let owners = [
        Owner::default(),
        Owner {
            uid: 1000,
            gid: 1001,
            mode: 0o2770,
        },
        Owner {
            uid: 0,
            gid: 70_000,
            mode: 0o1777,
        },
    ];
    for filesystem in Filesystem::ALL {
        for (number, owner) in owners.into_iter().enumerate() {
            let mut image = place.image(&format!("{filesystem}-{number}"), filesystem);
            image.owner = owner;
            assert_eq!(look(&image).unwrap(), Presence::Absent);
            perform(&image, soon()).unwrap();
            assert_eq!(look(&image).unwrap(), Presence::Present);
            let file = fs::metadata(&image.file).unwrap();
            assert_eq!(file.permissions().mode() & 0o7777, 0o600);
            let taken = usage(&image.file).unwrap();
            assert_eq!(taken.apparent, image.size);
            assert!(taken.allocated < 80 * MIB, "{taken:?}");
            sound(&image);

            let mounted = place.mount(&image);
            let root = fs::metadata(&mounted.path).unwrap();
            assert_eq!(
                (root.uid(), root.gid(), root.mode() & 0o7777),
                (owner.uid, owner.gid, owner.mode),
                "{filesystem}"
            );
            assert_eq!(
                fs::read_dir(&mounted.path).unwrap().count(),
                0,
                "{filesystem}"
            );
            fs::write(mounted.path.join("kept"), "kept").unwrap();
            assert_eq!(perform(&image, soon()).unwrap_err().kind, ErrorKind::Exists);
            assert_eq!(undo(&image).unwrap_err().kind, ErrorKind::Busy);
            assert_eq!(look(&image).unwrap(), Presence::Present);
            drop(mounted);
            assert_eq!(
                fs::read(place.mount(&image).path.join("kept")).unwrap(),
                b"kept"
            );

            undo(&image).unwrap();
            undo(&image).unwrap();
            assert_eq!(look(&image).unwrap(), Presence::Absent);
            assert_eq!(place.left(), Vec::<String>::new());
        }
    }
}

#[test]
fn an_image_of_the_smallest_size_can_be_used_and_a_smaller_one_is_refused_with_the_figure() {
    let Some(place) = Place::new(1024) else {
        return;
    };
    for (filesystem, figure) in [
        (Filesystem::Ext4, "9 MB"),
        (Filesystem::Xfs, "315 MB"),
        (Filesystem::Btrfs, "115 MB"),
    ] {
        let mut image = place.image("small", filesystem);
        image.owner.uid = 1;
        for size in [0, BLOCK, filesystem.minimum() - BLOCK] {
            image.size = size;
            let error = perform(&image, soon()).unwrap_err();
            assert_eq!(error.kind, ErrorKind::Invalid);
            assert!(error.message.contains(figure), "{error}");
        }
        image.size = filesystem.minimum() + 1;
        assert_eq!(
            perform(&image, soon()).unwrap_err().kind,
            ErrorKind::Invalid
        );
        image.size = whole(filesystem.minimum());
        perform(&image, soon()).unwrap();
        let mounted = place.mount(&image);
        fs::write(mounted.path.join("file"), vec![1; 100_000]).unwrap();
        drop(mounted);
        sound(&image);
        if filesystem == Filesystem::Ext4 {
            let features = ran(["dumpe2fs".as_ref(), "-h".as_ref(), image.file.as_os_str()]);
            assert!(features.contains("has_journal"), "{features}");
        }
        undo(&image).unwrap();
    }
}

#[test]
fn a_full_disk_leaves_nothing_and_says_so() {
    for (filesystem, room) in [
        (Filesystem::Ext4, 1),
        (Filesystem::Xfs, 24),
        (Filesystem::Btrfs, 1),
    ] {
        let Some(place) = Place::new(room) else {
            return;
        };
        let mut image = place.image("full", filesystem);
        image.size = 2048 * MIB;
        // What is left of the room, for ext4 and btrfs write little.
        if room == 1 {
            fs::write(place.path().join("fill"), vec![1; 900_000]).unwrap();
        }
        let error = perform(&image, soon()).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Exhausted, "{filesystem}: {error}");
        assert_eq!(place.left(), Vec::<String>::new(), "{filesystem}");
        assert_eq!(look(&image).unwrap(), Presence::Absent);
        undo(&image).unwrap();
    }
}

#[test]
fn a_deadline_that_is_over_leaves_nothing() {
    let Some(place) = Place::new(512) else {
        return;
    };
    for filesystem in Filesystem::ALL {
        let image = place.image("late", filesystem);
        let error = perform(&image, Instant::now()).unwrap_err();
        assert!(error.message.contains("in the time"), "{error}");
        assert_eq!(place.left(), Vec::<String>::new());
    }
}

#[test]
fn what_the_host_did_not_mint_is_refused() {
    let Some(place) = Place::new(64) else {
        return;
    };
    let file = place.path().join("mine.txt");
    fs::write(&file, "mine").unwrap();
    let good = place.image("good", Filesystem::Ext4);
    let bad = [
        ("", place.path().join(".img")),
        ("mine", file.clone()),
        ("a/b", place.path().join("a/b.img")),
        ("..", place.path().join("...img")),
        ("good", PathBuf::from("good.img")),
        ("other", good.file.clone()),
    ];
    for (id, path) in bad {
        let image = Image {
            id: id.to_owned(),
            file: path,
            ..good.clone()
        };
        for refused in [
            perform(&image, soon()).unwrap_err(),
            undo(&image).unwrap_err(),
            look(&image).unwrap_err(),
        ] {
            assert_eq!(refused.kind, ErrorKind::Invalid, "{refused}");
        }
    }
    assert_eq!(fs::read(&file).unwrap(), b"mine");
}

#[test]
fn a_file_that_is_not_the_image_is_seen_as_changed() {
    let Some(place) = Place::new(64) else {
        return;
    };
    let image = place.image("odd", Filesystem::Ext4);
    perform(&image, soon()).unwrap();
    let changed = |what: &str| match look(&image).unwrap() {
        Presence::Changed(text) => assert!(text.contains(what), "{text}"),
        other => panic!("{other:?}"),
    };
    let file = fs::OpenOptions::new()
        .write(true)
        .open(&image.file)
        .unwrap();
    file.set_len(image.size - BLOCK).unwrap();
    changed("instead of 68");
    file.set_len(0).unwrap();
    file.set_len(image.size + BLOCK).unwrap();
    changed("there is no ext4");
    fs::remove_file(&image.file).unwrap();
    fs::create_dir(&image.file).unwrap();
    changed("not a file");
    assert!(undo(&image).is_err());
    assert!(image.file.is_dir());
}
