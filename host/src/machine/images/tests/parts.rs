//! The pieces by themselves.

use super::*;
use crate::machine::images::tool::Tool;

#[test]
fn records_read_what_they_wrote() {
    let image = Image {
        id: "a".to_owned(),
        file: PathBuf::from("/data/images/p/a.img"),
        size: 64 * MIB,
        filesystem: Filesystem::Btrfs,
        from: Some(PathBuf::from("/data/images/p/b.img")),
        owner: Owner::default(),
        blank: false,
    };
    let text = serde_json::to_string(&image).unwrap();
    assert!(text.contains(r#""filesystem":"btrfs""#), "{text}");
    assert_eq!(serde_json::from_str::<Image>(&text).unwrap(), image);
    for filesystem in Filesystem::ALL {
        assert_eq!(
            filesystem.to_string().parse::<Filesystem>().unwrap(),
            filesystem
        );
    }
    for wrong in ["", "EXT4", "ext3", "ext4 "] {
        assert_eq!(
            wrong.parse::<Filesystem>().unwrap_err().kind,
            ErrorKind::Invalid
        );
    }
    assert_eq!(whole(0), 0);
    assert_eq!(whole(1), BLOCK);
    assert_eq!(whole(BLOCK), BLOCK);
    assert_eq!(whole(u64::MAX) % BLOCK, 0);
}

#[test]
fn a_missing_tool_names_its_package() {
    let error: MachineError = Tool::new("mkfs.none", "none-progs", Path::new("/x"))
        .run(soon())
        .unwrap_err()
        .into();
    assert_eq!(error.kind, ErrorKind::Missing);
    assert!(
        error.message.contains("install the package none-progs"),
        "{error}"
    );
}

#[test]
fn a_failed_tool_is_quoted_with_the_name_of_the_file() {
    let failure = Tool::new("stat", "coreutils", Path::new("/data/x.img"))
        .args(["/proc/self/fd/0/nothing"])
        .run(soon())
        .unwrap_err();
    assert!(!failure.late);
    assert!(
        failure
            .error
            .message
            .contains("stat failed for /data/x.img")
            && failure.error.message.contains("'/data/x.img/nothing'"),
        "{}",
        failure.error
    );
}

#[test]
fn a_tool_that_does_not_end_is_killed_at_the_deadline() {
    let started = || {
        fs::read_dir("/proc").unwrap().any(|entry| {
            fs::read(entry.unwrap().path().join("cmdline"))
                .is_ok_and(|line| line == b"/usr/bin/sleep\x0098765\0")
        })
    };
    let failure = Tool::new("sleep", "coreutils", Path::new("/x"))
        .args(["98765"])
        .run(Instant::now() + Duration::from_millis(100))
        .unwrap_err();
    assert!(failure.late, "{}", failure.error);
    assert!(!started());
}

#[test]
fn a_file_with_a_temporary_name_overwrites_nothing_and_goes_if_it_is_not_published() {
    let directory = tempfile::tempdir().unwrap();
    let open = File::open(directory.path()).unwrap();
    let name = OsStr::new("x.img");
    let entries = || fs::read_dir(directory.path()).unwrap().count();

    drop(Temporary::with_name(&open, name).unwrap());
    assert_eq!(entries(), 0);

    for make in [Temporary::new, Temporary::with_name] {
        let temporary = make(&open, name).unwrap();
        io::Write::write_all(&mut temporary.file(), b"first").unwrap();
        temporary.publish().unwrap();
        assert_eq!(fs::read(directory.path().join(name)).unwrap(), b"first");
        for again in [Temporary::new, Temporary::with_name] {
            let error = again(&open, name).unwrap().publish().unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
            assert_eq!(fs::read(directory.path().join(name)).unwrap(), b"first");
            assert_eq!(entries(), 1);
        }
        fs::remove_file(directory.path().join(name)).unwrap();
    }
}

#[test]
fn undo_removes_what_a_killed_perform_can_leave_and_nothing_else() {
    let Some(place) = Place::new(16) else {
        return;
    };
    let image = place.image("a", Filesystem::Ext4);
    fs::create_dir(place.path().join("images")).unwrap();
    for name in [".a.img.part", ".a.img.frozen", "b.img", ".b.img.part"] {
        fs::write(place.path().join("images").join(name), "").unwrap();
    }
    undo(&image).unwrap();
    assert_eq!(place.left(), [".b.img.part", "b.img"]);
}

#[test]
fn a_loop_device_is_found_also_when_the_file_has_no_name_any_more() {
    let Some(place) = Place::new(64) else {
        return;
    };
    let image = place.image("gone", Filesystem::Ext4);
    perform(&image, soon()).unwrap();
    let mounted = place.mount(&image);
    let device = mounted.device();
    let other = place.path().join("link");
    std::os::unix::fs::symlink(&image.file, &other).unwrap();
    assert_eq!(attached(&other).unwrap().as_ref(), Some(&device));
    fs::remove_file(&image.file).unwrap();
    assert_eq!(attached(&image.file).unwrap().as_ref(), Some(&device));
    assert_eq!(undo(&image).unwrap_err().kind, ErrorKind::Busy);
    drop(mounted);
    undo(&image).unwrap();
}

#[test]
fn a_loop_device_is_found_that_was_attached_in_a_mount_namespace_that_is_gone() {
    let Some(place) = Place::new(64) else {
        return;
    };
    let image = place.image("elsewhere", Filesystem::Ext4);
    perform(&image, soon()).unwrap();
    let file = image.file.as_os_str();
    let attach = ["unshare", "--mount", "losetup", "--find", "--show"].map(OsStr::new);
    let device = ran(attach.into_iter().chain([file]));
    let device = Path::new(device.trim_end());
    let open = File::open(device).unwrap();
    // From now on the device goes with the last who has it open.
    ran([
        OsStr::new("losetup"),
        OsStr::new("--detach"),
        device.as_os_str(),
    ]);
    until("the namespace is gone", || {
        let shown = Path::new("/sys/block")
            .join(device.file_name().unwrap())
            .join("loop/backing_file");
        !Path::new(&fs::read_to_string(shown).unwrap()).starts_with(place.path())
    });
    assert_eq!(attached(&image.file).unwrap().as_deref(), Some(device));
    assert_eq!(undo(&image).unwrap_err().kind, ErrorKind::Busy);
    drop(open);
    free(&image.file);
    undo(&image).unwrap();
}
