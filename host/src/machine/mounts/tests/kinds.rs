//! Every kind of mount that this machine can make.

use super::*;

/// One mount of every kind.
fn every(place: &Place) -> Vec<Mount> {
    std::fs::write(place.directory("granted/a/b").join("file"), "bind").unwrap();
    std::fs::write(place.directory("lower").join("file"), "overlay").unwrap();
    place.directory("upper");
    place.directory("work");
    let mut all = vec![
        place.bind("granted", "a/b"),
        place.bind("granted", ""),
        place.tmpfs(),
        place.mount(Source::Overlay {
            lower: vec![place.path("lower")],
            upper: place.path("upper"),
            work: place.path("work"),
        }),
    ];
    let filesystems = [Filesystem::Ext4, Filesystem::Xfs, Filesystem::Btrfs];
    all.extend(
        filesystems
            .into_iter()
            .filter_map(|filesystem| place.disk(filesystem)),
    );
    all
}

#[test]
fn every_kind_is_made_found_and_taken_away_again() {
    let Some(place) = Place::new() else { return };
    for mount in every(&place) {
        assert_eq!(look(&mount).unwrap(), Presence::Absent, "{mount:?}");
        unmake(&mount);
        make(&mount);
        assert_eq!(look(&mount).unwrap(), Presence::Present, "{mount:?}");
        make(&mount);
        assert_eq!(info(&mount).id, info(&mount).id);
        assert_eq!(mounted_below(&place.path("mounts")).unwrap().len(), 1);
        let options = info(&mount).options;
        for option in ["rw", "nosuid", "nodev"] {
            assert!(options.iter().any(|had| had == option), "{options:?}");
        }
        std::fs::write(mount.point.join("written"), "x").unwrap();
        unmake(&mount);
        place.assert_nothing_left(&mount);
        unmake(&mount);
    }
    assert_eq!(mode(&place.path("mounts/plugin")), 0o711);
}

#[test]
fn what_was_written_is_there_when_it_is_mounted_again() {
    let Some(place) = Place::new() else { return };
    for mount in every(&place) {
        if matches!(mount.source, Source::Tmpfs { .. }) {
            continue;
        }
        make(&mount);
        std::fs::write(mount.point.join("written"), "kept").unwrap();
        unmake(&mount);
        make(&mount);
        let text = std::fs::read_to_string(mount.point.join("written")).unwrap();
        assert_eq!(text, "kept", "{mount:?}");
        unmake(&mount);
        place.assert_nothing_left(&mount);
    }
}

#[test]
fn flags_hold() {
    let Some(place) = Place::new() else { return };
    for mut mount in every(&place) {
        mount.flags = Flags {
            read_only: true,
            no_exec: true,
            no_atime: true,
            allow_suid: true,
            allow_dev: true,
        };
        make(&mount);
        assert_eq!(look(&mount).unwrap(), Presence::Present, "{mount:?}");
        let options = info(&mount).options;
        assert_eq!(options, ["ro", "noexec", "noatime"], "{mount:?}");
        let error = std::fs::write(mount.point.join("x"), "").unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::ReadOnlyFilesystem);
        unmake(&mount);
        place.assert_nothing_left(&mount);
    }
}

#[test]
fn a_tmpfs_has_the_size_owner_and_mode_that_were_asked_for() {
    let Some(place) = Place::new() else { return };
    let mount = place.mount(Source::Tmpfs {
        size: 64 << 10,
        inodes: Some(4),
        uid: Some(1234),
        gid: Some(1235),
        mode: Some(0o1770),
    });
    make(&mount);
    let found = rustix::fs::stat(&mount.point).unwrap();
    assert_eq!((found.st_uid, found.st_gid), (1234, 1235));
    assert_eq!(mode(&mount.point), 0o1770);
    let error = std::fs::write(mount.point.join("a"), vec![1; 65 << 10]).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::StorageFull);
    std::fs::write(mount.point.join("b"), "").unwrap();
    std::fs::write(mount.point.join("c"), "").unwrap();
    let error = std::fs::write(mount.point.join("d"), "").unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::StorageFull);
    unmake(&mount);
    let usual = place.tmpfs();
    make(&usual);
    assert_eq!(mode(&usual.point), 0o755);
    unmake(&usual);
}

#[test]
fn an_overlay_takes_directories_with_any_name() {
    let Some(place) = Place::new() else { return };
    let names = [
        "a:b", "c,d", "e\\f", "g\\:h", "-i", "j k", "l=m", "n\n,suid",
    ];
    for (index, name) in names.iter().enumerate() {
        let path = place.directory(&format!("lower/{name}"));
        std::fs::write(path.join("all"), name).unwrap();
        std::fs::write(path.join(format!("own{index}")), name).unwrap();
    }
    let mount = place.mount(Source::Overlay {
        lower: names
            .iter()
            .map(|name| place.path("lower").join(name))
            .collect(),
        upper: place.directory("u:p,p\\er"),
        work: place.directory("w:o,r\\k"),
    });
    make(&mount);
    assert_eq!(look(&mount).unwrap(), Presence::Present);
    let read = |name: &str| std::fs::read_to_string(mount.point.join(name)).unwrap();
    assert_eq!(read("all"), names[0], "the first is the topmost");
    for (index, name) in names.iter().enumerate() {
        assert_eq!(read(&format!("own{index}")), *name);
    }
    std::fs::write(mount.point.join("all"), "changed").unwrap();
    let changed = std::fs::read_to_string(place.path("u:p,p\\er/all")).unwrap();
    assert_eq!(changed, "changed");
    unmake(&mount);
    place.assert_nothing_left(&mount);
}

#[test]
fn a_copy_of_a_disk_image_is_mounted_beside_the_original() {
    let Some(place) = Place::new() else { return };
    for filesystem in [Filesystem::Ext4, Filesystem::Xfs] {
        let Some(original) = place.disk(filesystem) else {
            continue;
        };
        let Source::Disk { file, .. } = &original.source else {
            panic!("{original:?}");
        };
        let copied = file.with_extension("copy");
        std::fs::copy(file, &copied).unwrap();
        let copy = place.mount(Source::Disk {
            file: copied,
            filesystem,
        });
        make(&original);
        make(&copy);
        std::fs::write(original.point.join("original"), "").unwrap();
        assert!(!copy.point.join("original").exists());
        unmake(&original);
        unmake(&copy);
        place.assert_nothing_left(&copy);
    }
}

#[test]
fn a_disk_image_may_be_on_any_mount() {
    let Some(place) = Place::new() else { return };
    let flags = rustix::mount::MountFlags::empty();
    let images = place.directory("images");
    rustix::mount::mount("images", &images, "tmpfs", flags, c"").unwrap();
    let Some(mount) = place.disk_in("images", Filesystem::Ext4) else {
        return;
    };
    make(&mount);
    assert_eq!(look(&mount).unwrap(), Presence::Present);
    unmake(&mount);
    place.assert_nothing_left(&mount);
    rustix::mount::unmount(&images, rustix::mount::UnmountFlags::empty()).unwrap();
}

#[test]
fn a_disk_bypasses_the_page_cache_below_and_its_device_goes_with_it() {
    let Some(place) = Place::new() else { return };
    let Some(mount) = place.disk(Filesystem::Ext4) else {
        return;
    };
    make(&mount);
    let device = info(&mount).source;
    let about = Path::new("/sys/block")
        .join(Path::new(&device).file_name().unwrap())
        .join("loop");
    let read = |name: &str| std::fs::read_to_string(about.join(name)).unwrap();
    assert_eq!(read("autoclear").trim(), "1");
    // A file system like tmpfs below cannot do it.
    println!("direct I/O: {}", read("dio").trim());
    unmake(&mount);
    place.assert_nothing_left(&mount);
}

#[test]
fn a_mount_in_use_is_detached() {
    let Some(place) = Place::new() else { return };
    let mount = place.tmpfs();
    make(&mount);
    let file = std::fs::File::create(mount.point.join("open")).unwrap();
    unmake(&mount);
    place.assert_nothing_left(&mount);
    drop(file);
}

#[test]
fn whatever_lies_at_the_point_is_taken_away() {
    let Some(place) = Place::new() else { return };
    let mount = place.tmpfs();
    make(&mount);
    let data = c"";
    for _ in 0..3 {
        let flags = rustix::mount::MountFlags::empty();
        rustix::mount::mount("none", &mount.point, "tmpfs", flags, data).unwrap();
    }
    let Presence::Changed(text) = look(&mount).unwrap() else {
        panic!("not noticed");
    };
    assert!(text.contains("4 mounts"), "{text}");
    assert_eq!(refusal(&mount).kind, ErrorKind::Exists);
    assert_eq!(mounted_below(&mount.point).unwrap().len(), 4);
    unmake(&mount);
    place.assert_nothing_left(&mount);
}

#[test]
fn another_mount_at_the_point_is_noticed() {
    let Some(place) = Place::new() else { return };
    let all = every(&place);
    for mount in &all {
        for other in &all {
            if mount == other {
                continue;
            }
            let other = Mount {
                id: mount.id.clone(),
                point: mount.point.clone(),
                ..other.clone()
            };
            make(&other);
            let same = matches!(
                (&mount.source, &other.source),
                (Source::Tmpfs { .. }, Source::Tmpfs { .. })
            );
            assert!(same || matches!(look(mount).unwrap(), Presence::Changed(_)));
            unmake(&other);
        }
    }
    let mut mount = place.tmpfs();
    mount.flags.allow_suid = true;
    make(&mount);
    mount.flags.allow_suid = false;
    let Presence::Changed(text) = look(&mount).unwrap() else {
        panic!("not noticed");
    };
    assert_eq!(text, "is mounted without nosuid");
    unmake(&mount);
}

#[test]
fn a_failure_says_what_is_wrong_and_leaves_nothing() {
    let Some(place) = Place::new() else { return };
    place.directory("granted");
    std::fs::write(place.path("granted/file"), "").unwrap();
    std::fs::write(place.path("garbage"), vec![7; 1 << 20]).unwrap();
    let disk = |name: &str, filesystem| Source::Disk {
        file: place.path(name),
        filesystem,
    };
    let overlay = |lower: &str| Source::Overlay {
        lower: vec![place.path(lower)],
        upper: place.path("absent"),
        work: place.path("absent"),
    };
    let mut cases = vec![
        (
            place.bind("granted", "absent"),
            ErrorKind::NotFound,
            "absent",
        ),
        (place.bind("absent", ""), ErrorKind::NotFound, "absent"),
        (
            place.bind("granted", "file"),
            ErrorKind::Invalid,
            "no directory",
        ),
        (
            place.mount(overlay("granted")),
            ErrorKind::NotFound,
            "absent",
        ),
        (
            place.mount(disk("absent", Filesystem::Ext4)),
            ErrorKind::NotFound,
            "absent",
        ),
    ];
    for filesystem in [Filesystem::Ext4, Filesystem::Xfs, Filesystem::Btrfs] {
        cases.push((
            place.mount(disk("garbage", filesystem)),
            ErrorKind::Invalid,
            "file system",
        ));
    }
    for (mount, kind, text) in cases {
        let error = refusal(&mount);
        assert_eq!(error.kind, kind, "{error}");
        assert!(error.message.contains(text), "{error}");
        place.assert_nothing_left(&mount);
    }
}

#[test]
fn a_damaged_disk_image_is_reported_and_leaves_no_loop_device() {
    let Some(place) = Place::new() else { return };
    let Some(mount) = place.disk(Filesystem::Xfs) else {
        return;
    };
    let Source::Disk { file, .. } = &mount.source else {
        panic!("{mount:?}");
    };
    let image = std::fs::OpenOptions::new().write(true).open(file).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&image, &[9; 200], 8).unwrap();
    let error = refusal(&mount);
    assert!(error.message.contains("xfs image"), "{error}");
    place.assert_nothing_left(&mount);
}

#[test]
fn records_keep_their_form() {
    let text = r#"{"id":"00112233445566778899aabbccddeeff","point":"/d/mounts/p/00112233445566778899aabbccddeeff","source":{"kind":"disk","file":"/d/i","filesystem":"ext4"},"flags":{"read_only":true,"no_exec":false,"no_atime":false,"allow_suid":false,"allow_dev":false}}"#;
    let mount: Mount = serde_json::from_str(text).unwrap();
    assert_eq!(serde_json::to_string(&mount).unwrap(), text);
    for source in [
        r#"{"kind":"bind","root":"/r","beneath":"b"}"#,
        r#"{"kind":"tmpfs","size":1}"#,
        r#"{"kind":"overlay","lower":["/l"],"upper":"/u","work":"/w"}"#,
        r#"{"kind":"nfs","server":"s","path":"/p","version":""}"#,
        r#"{"kind":"cifs","server":"s","share":"p"}"#,
    ] {
        let read: Source = serde_json::from_str(source).unwrap();
        let again: Source = serde_json::from_str(&serde_json::to_string(&read).unwrap()).unwrap();
        assert_eq!(read, again);
    }
}
